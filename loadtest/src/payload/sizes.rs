//! How big the messages of a run are.

use std::fmt;
use std::str::FromStr;

use super::mix;

/// Bytes of a message at most: one that a client assembles must fit its memory.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Sizes that are told apart, at most: a range is divided evenly into as many.
const SIZES_MAX: usize = 64;

/// The sizes of payloads in bytes, each with its weight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sizes {
    pub(super) sizes: Vec<(usize, u32)>,
    weights: u32,
    text: String,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sizes = if let Some((low, high)) = text.split_once("..") {
            range(bytes(low)?, bytes(high)?)?
        } else {
            let parts = text.split(',').map(|part| match part.split_once(':') {
                Some((size, weight)) => match weight.parse() {
                    Ok(weight @ 1..=1_000_000) => Ok((bytes(size)?, weight)),
                    _ => Err(format!("the weight {weight} is no number from 1 to 1000000")),
                },
                None => Ok((bytes(part)?, 1)),
            });
            parts.collect::<Result<Vec<_>, _>>()?
        };
        if sizes.len() > SIZES_MAX {
            return Err(format!("{} sizes are more than {SIZES_MAX}", sizes.len()));
        }
        let weights = sizes.iter().map(|&(_, weight)| weight).sum();
        Ok(Self { sizes, weights, text: text.to_owned() })
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Sizes {
    /// The smallest and the largest.
    pub(crate) fn bounds(&self) -> (usize, usize) {
        let sizes = self.sizes.iter().map(|&(size, _)| size);
        (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0))
    }

    /// Which of the sizes the message with this name has: the same for whoever asks.
    #[inline]
    pub(super) fn of(&self, name: u64) -> usize {
        if self.sizes.len() == 1 {
            return 0;
        }
        let mut ticket = (mix(name) % u64::from(self.weights)) as u32;
        let drawn = self.sizes.iter().position(|&(_, weight)| match ticket.checked_sub(weight) {
            Some(rest) => {
                ticket = rest;
                false
            }
            None => true,
        });
        drawn.expect("a ticket is less than the sum of the weights")
    }
}

fn range(low: usize, high: usize) -> Result<Vec<(usize, u32)>, String> {
    if low > high {
        return Err(format!("{low} is more than {high}"));
    }
    let steps = (high - low).min(SIZES_MAX - 1);
    Ok((0..=steps).map(|step| (low + (high - low) * step / steps.max(1), 1)).collect())
}

/// A number of bytes as `512`, `4KiB`, `1MiB`.
pub(crate) fn bytes(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.trim().split_once(|letter: char| !letter.is_ascii_digit()) {
        None => (text.trim(), 1),
        Some((digits, _)) => match &text.trim()[digits.len()..] {
            "B" => (digits, 1),
            "KiB" | "K" => (digits, 1 << 10),
            "MiB" | "M" => (digits, 1 << 20),
            other => return Err(format!("the unit {other} is none of B, KiB, MiB")),
        },
    };
    match digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)) {
        Some(size) if size <= MESSAGE_BYTES_MAX => Ok(size),
        _ => Err(format!("{text} is no size up to {} MiB", MESSAGE_BYTES_MAX >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_divided_evenly() {
        let sizes: Sizes = "16..1024".parse().expect("a range");
        assert_eq!((sizes.sizes.len(), sizes.bounds()), (64, (16, 1024)));
        assert_eq!("5..5".parse::<Sizes>().expect("a range").sizes, [(5, 1)]);
        assert_eq!("5..7".parse::<Sizes>().expect("a range").sizes, [(5, 1), (6, 1), (7, 1)]);
        for bad in ["", "x", "7..5", "65MiB", "5:0", "5:x", "1GiB", "-1"] {
            assert!(bad.parse::<Sizes>().is_err(), "{bad}");
        }
    }
}
