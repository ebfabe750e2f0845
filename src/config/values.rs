//! How the values of flags and file are written.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserializer, de};

/// An address, or `off`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admin(pub(super) Option<SocketAddr>);

impl FromStr for Admin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        let address = text.parse().map_err(|_| "expected ADDR:PORT or off".to_owned())?;
        Ok(Self(Some(address)))
    }
}

/// A length of time: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let millis =
            scaled(text, &TIME_UNITS).ok_or("expected a duration such as 500ms, 30s, 2m or 1h")?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl Display for Span {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// A number of bytes, plain or with `KiB`, `MiB` or `GiB`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteSize(pub(super) usize);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, &BYTE_UNITS)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| "expected bytes such as 65536, 64KiB or 1MiB".to_owned())
    }
}

/// A value, or `off`.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrOff<T>(pub(super) Option<T>);

impl<T: FromStr<Err = String>> FromStr for OrOff<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value))).map_err(|error| format!("{error}, or off"))
    }
}

/// A number of things, one or more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) NonZeroU32);

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self).map_err(|_| "expected a whole number such as 100".to_owned())
    }
}

/// A number of things per time, such as `100/60s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountRate(pub(super) Rate);

impl FromStr for CountRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = Rate::read(text, &[("", 1)]).map(Self);
        rate.ok_or_else(|| "expected a number per time such as 100/60s".to_owned())
    }
}

/// A number of bytes per time, such as `1MiB/60s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ByteRate(pub(super) Rate);

impl FromStr for ByteRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rate = Rate::read(text, &BYTE_UNITS).map(Self);
        rate.ok_or_else(|| "expected bytes per time such as 1MiB/60s".to_owned())
    }
}

/// An amount within a time, before its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) amount: u64,
    pub(super) span: Duration,
}

impl Rate {
    fn read(text: &str, units: &[(&str, u64)]) -> Option<Self> {
        let (amount, span) = text.split_once('/')?;
        let Span(span) = span.parse().ok()?;
        Some(Self { amount: scaled(amount, units)?, span })
    }
}

const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

const BYTE_UNITS: [(&str, u64); 4] =
    [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a whole number followed by one of `units`, times what that unit stands for.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// Reads a string or a whole number of the file the way its flag is read.
pub(super) fn scalar<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    struct Scalar<T>(std::marker::PhantomData<T>);

    impl<T: FromStr<Err = String>> de::Visitor<'_> for Scalar<T> {
        type Value = T;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a string or a whole number")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(E::custom)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    deserializer.deserialize_any(Scalar(std::marker::PhantomData)).map(Some)
}
