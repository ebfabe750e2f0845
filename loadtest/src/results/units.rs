//! Figures in the units that people read.

/// Microseconds as wrk2 writes times.
pub(crate) fn time(microseconds: f64) -> String {
    /// From how many microseconds on, their number, and its name.
    const UNITS: [(f64, f64, &str); 3] = [(51e6, 60e6, "m"), (1e6, 1e6, "s"), (850.0, 1e3, "ms")];
    let unit = UNITS.iter().find(|(from, _, _)| microseconds >= *from);
    let (_, size, name) = unit.unwrap_or(&(0.0, 1.0, "us"));
    format!("{:.2}{name}", microseconds / size)
}

/// Bytes with a binary unit.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let scale = |power: u32| f64::from(1_u32 << power);
    match UNITS.iter().find(|(power, _)| bytes.abs() >= scale(*power)) {
        Some((power, unit)) => format!("{:.1} {unit}", bytes / scale(*power)),
        None => format!("{bytes:.0} B"),
    }
}

/// A number with as many digits as tell something.
pub(crate) fn number(number: f64) -> String {
    if number == number.trunc() || number.abs() >= 1_000.0 {
        format!("{number:.0}")
    } else if number.abs() >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_wrk2() {
        for (microseconds, text) in [
            (0.0, "0.00us"),
            (849.0, "849.00us"),
            (850.0, "0.85ms"),
            (6_670.0, "6.67ms"),
            (1_380_000.0, "1.38s"),
            (900_000.0, "900.00ms"),
            (90e6, "1.50m"),
        ] {
            assert_eq!(time(microseconds), text);
        }
    }

    #[test]
    fn sizes_and_numbers_are_short() {
        assert_eq!(
            [bytes(322.0), bytes(1536.0), bytes(-2_097_152.0)],
            ["322 B", "1.5 KiB", "-2.0 MiB"]
        );
        assert_eq!(
            [number(3.0), number(0.9876), number(12.34), number(12_345.6)],
            ["3", "0.988", "12.3", "12346"]
        );
    }
}
