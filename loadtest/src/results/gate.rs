//! Conditions on a run: what must not be (`--fail-if`), and what must be (`--slo`).
//!
//! One grammar serves both: METRIC OPERATOR NUMBER. A number with a sign or `%` is relative to
//! another run, the base; one without is a value with the unit of the metric.

use std::fmt;
use std::str::FromStr;

use super::Summary;
use super::metric::{Metric, Unit};

/// A condition, as `p99>50ms` or `rate<-5%`.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Gate {
    metric: Metric,
    operator: Operator,
    limit: Limit,
    /// As it was given.
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Above,
    AtLeast,
    Below,
    AtMost,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Limit {
    /// In the unit of the metric.
    Value(f64),
    /// In the unit of the metric, more than the base.
    Difference(f64),
    /// In parts of the base, more than it.
    Share(f64),
}

/// Operators, the longer first where one begins with another.
const OPERATORS: [(&str, Operator); 4] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
];

impl Gate {
    /// Why the run fails, read as what must not be: `p99>50ms` fails a run with a p99 of 60 ms.
    /// What cannot be judged fails, too. `base` is the run that a relative gate compares with.
    pub(crate) fn failure(&self, new: &Summary, base: Option<&Summary>) -> Option<String> {
        self.failure_of(self.metric.of(new), base.and_then(|base| self.metric.of(base)))
    }

    /// Why the run fails, read as what must be: `p99<50ms` fails a run with a p99 of 60 ms.
    pub(crate) fn breach(&self, new: &Summary, base: Option<&Summary>) -> Option<String> {
        self.judge(self.metric.of(new), base.and_then(|base| self.metric.of(base)), true)
    }

    /// [`Self::failure`], of values of [`Self::metric`].
    pub(crate) fn failure_of(&self, new: Option<f64>, base: Option<f64>) -> Option<String> {
        self.judge(new, base, false)
    }

    /// What it judges.
    pub(crate) const fn metric(&self) -> &Metric {
        &self.metric
    }

    /// Whether it needs a base, which a run alone does not have.
    pub(crate) const fn is_relative(&self) -> bool {
        !matches!(self.limit, Limit::Value(_))
    }

    /// Why it fails, if the condition does not turn out as `wanted`.
    fn judge(&self, new: Option<f64>, base: Option<f64>, wanted: bool) -> Option<String> {
        let Some(value) = new else {
            return Some(format!("{self}: the run has no {}", self.metric));
        };
        let limit = match (self.limit, base) {
            (Limit::Value(limit), _) => limit,
            (Limit::Difference(more), Some(base)) => base + more,
            (Limit::Share(share), Some(base)) => base * (1.0 + share),
            (_, None) => {
                return Some(format!("{self}: there is no {} to compare with", self.metric));
            }
        };
        if self.operator.holds(value, limit) == wanted {
            return None;
        }
        let unit = self.metric.unit();
        let compared = match base.filter(|_| self.is_relative()) {
            Some(base) => format!(", the base has {}", unit.show(base)),
            None => String::new(),
        };
        Some(format!("{self}: the run has {}{compared}", unit.show(value)))
    }
}

impl Operator {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
        }
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl FromStr for Gate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = OPERATORS.iter().find_map(|(sign, operator)| {
            text.split_once(sign).map(|(metric, limit)| (metric.trim(), *operator, limit.trim()))
        });
        let Some((metric, operator, limit)) = found else {
            return Err("give METRIC, one of < <= > >=, and a number, as p99>50ms".to_owned());
        };
        let metric: Metric = metric.parse()?;
        let limit = parse_limit(limit, metric.unit())?;
        Ok(Self { metric, operator, limit, text: text.to_owned() })
    }
}

/// A number with its unit, which may be left out of 0.
fn parse_limit(text: &str, unit: Unit) -> Result<Limit, String> {
    let bad = || format!("{text:?} is no number");
    let signed = text.starts_with(['+', '-']);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
    let number: f64 = digits.parse().map_err(|_| bad())?;
    if !number.is_finite() || digits.is_empty() {
        return Err(bad());
    }
    let value = match (&text[digits.len()..], unit) {
        ("%", _) => return Ok(Limit::Share(number / 100.0)),
        ("", Unit::Plain | Unit::Bytes) => number,
        ("", _) if number == 0.0 => number,
        (suffix, Unit::Microseconds) => number * scale(suffix)? * 1e6,
        (suffix, Unit::Seconds) => number * scale(suffix)?,
        (suffix, _) => return Err(format!("{text:?}: {suffix} is no unit of this metric")),
    };
    Ok(if signed { Limit::Difference(value) } else { Limit::Value(value) })
}

/// Seconds of a unit of time.
fn scale(unit: &str) -> Result<f64, String> {
    match unit {
        "ns" => Ok(1e-9),
        "us" => Ok(1e-6),
        "ms" => Ok(1e-3),
        "s" => Ok(1.0),
        _ => Err("a time needs one of the units ns, us, ms, s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples;

    fn gate(text: &str) -> Gate {
        text.parse().unwrap()
    }

    #[test]
    fn conditions_that_must_not_be_fail_when_they_are() {
        let (base, slow) = (examples::run(1).summary, examples::run(2).summary);
        for (text, fails) in [
            ("p99>1s", false),
            ("p99 > 150us", true),
            ("p99>+10%", true),
            ("p99>110%", false),
            ("p99>+10us", true),
            ("p99>+1ms", false),
            ("p50<-5%", false),
            ("rate<98", false),
            ("rate<=98", true),
            ("missing>0", true),
            ("corrupt>0", false),
            ("connect_seconds>=500ms", true),
            ("server_bytes>+0%", false),
        ] {
            let reason = gate(text).failure(&slow, Some(&base));
            assert_eq!(reason.is_some(), fails, "{text}: {reason:?}");
        }
        let reason = gate("missing>2").failure(&slow, None).unwrap();
        assert_eq!(reason, "missing>2: the run has 3");
        let reason = gate("p50>+10%").failure(&slow, Some(&base)).unwrap();
        assert!(reason.contains("us, the base has 1"), "{reason}");
    }

    #[test]
    fn conditions_that_must_be_fail_when_they_are_not() {
        let run = examples::run(1).summary;
        assert_eq!(gate("p99<50ms").breach(&run, None), None);
        assert!(gate("p99<50us").breach(&run, None).is_some());
        assert_eq!(gate("p99<50us").failure(&run, None), None);
    }

    #[test]
    fn what_cannot_be_judged_fails() {
        let run = examples::run(1).summary;
        for text in ["churn.p99>1s", "churn.p99<1s", "figure.other>1", "p99>+10%"] {
            assert!(gate(text).failure(&run, None).is_some(), "{text}");
            assert!(gate(text).breach(&run, None).is_some(), "{text}");
        }
        assert!(gate("p99>+10%").is_relative() && gate("p99>+1s").is_relative());
        assert!(!gate("p99>1s").is_relative());
    }

    #[test]
    fn a_base_of_nothing_is_a_base() {
        let zero = |new| gate("errors>+10%").failure_of(Some(new), Some(0.0)).is_some();
        assert_eq!((zero(0.0), zero(1.0)), (false, true));
    }

    #[test]
    fn bad_conditions_are_refused() {
        for text in [
            "",
            "p99",
            "p99>",
            "p98>1s",
            ">1s",
            "p99>1",
            "p99>1h",
            "p99>x%",
            "p99>nan",
            "p99>infs",
            "rate>5ms",
            "rate>1e999",
            "p99>1%%",
            "p99>%",
            "p99>+",
            "p99=1s",
        ] {
            assert!(text.parse::<Gate>().is_err(), "{text}");
        }
        assert!("p99>0".parse::<Gate>().is_ok());
    }
}
