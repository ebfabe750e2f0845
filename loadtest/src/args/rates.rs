//! Rates on the command line.

use std::str::FromStr;

/// Connections started per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum ConnectRate {
    /// As fast as they open.
    Max,
    /// That many, all threads together.
    PerSecond(f64),
}

impl FromStr for ConnectRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(rate) if rate.is_finite() && rate >= 0.01 => Ok(Self::PerSecond(rate)),
            _ => Err("give a number of connections per second, at least 0.01, or max".to_owned()),
        }
    }
}

/// Something per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e9).contains(&rate) => Ok(rate),
        _ => Err("give a number per second, from 0.001 to 1e9".to_owned()),
    }
}
