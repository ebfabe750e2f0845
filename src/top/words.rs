//! Numbers in the units people read, and texts that are safe to show.

use unicode_width::UnicodeWidthChar;

/// Thousands and so on, without a unit: `0`, `999`, `1.2 k`, `34 M`.
pub(super) fn short(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T", "P"])
}

/// `1.2 k/s`.
pub(super) fn rate(number: f64) -> String {
    let text = short(number);
    if text.contains(' ') { text + "/s" } else { text + " /s" }
}

/// `512 B`, `3.4 MiB`.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"])
}

/// A time in seconds: `12 µs`, `1.2 ms`, `3.4 s`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{} s", digits(seconds)),
        0.001.. => format!("{} ms", digits(seconds * 1e3)),
        0.000_001.. => format!("{} µs", digits(seconds * 1e6)),
        _ => format!("{} ns", digits(seconds * 1e9)),
    }
}

/// The two largest units of a long time: `3 d 4 h`, `12 min 9 s`, `9 s`.
pub(super) fn age(seconds: f64) -> String {
    let seconds = seconds as u64;
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min")];
    let all: Vec<_> = units.into_iter().chain([(seconds % 60, "s")]).collect();
    let first = all.iter().position(|(count, _)| *count > 0).unwrap_or(all.len() - 1);
    let parts = all[first..].iter().take(2).map(|(count, unit)| format!("{count} {unit}"));
    parts.collect::<Vec<_>>().join(" ")
}

/// A whole number with its thousands set apart: `1,234,567`.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The time of day of a moment in milliseconds of Unix time, in UTC: `20:14:05`.
pub(super) fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A text of somebody else on one line, with nothing in it that moves the cursor, turns the
/// direction of writing or is not seen: such characters are spelled out.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unseen(character) {
            safe.extend(character.escape_unicode());
        } else {
            safe.push(character);
        }
    }
    safe
}

/// Controls (Cc), formats (Cf) and the separators of lines and paragraphs (Zl, Zp) of Unicode.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0xAD | 0x600..=0x605
                | 0x61C
                | 0x6DD
                | 0x70F
                | 0x890..=0x891
                | 0x8E2
                | 0x180E
                | 0x200B..=0x200F
                | 0x2028..=0x202E
                | 0x2060..=0x206F
                | 0xFEFF
                | 0xFFF0..=0xFFFB
                | 0x110BD
                | 0x110CD
                | 0x13430..=0x1343F
                | 0x1BCA0..=0x1BCA3
                | 0x1D173..=0x1D17A
                | 0xE0000..=0xE0FFF
        )
}

/// The columns that a text without unseen characters takes in a terminal.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The part of a text that fits so many columns; `…` tells that something is missing.
pub(super) fn cut(text: &str, columns_max: usize) -> String {
    if width(text) <= columns_max {
        return text.to_owned();
    }
    let Some(mut left) = columns_max.checked_sub(1) else { return String::new() };
    let fits = |character: &char| {
        let rest = left.checked_sub(columns(*character));
        left = rest.unwrap_or(0);
        rest.is_some()
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// A text on as many lines of at most so many columns as it takes.
pub(super) fn wrapped(text: &str, columns_max: usize) -> String {
    let (mut lines, mut used) = (String::new(), 0);
    for character in text.chars() {
        if used + columns(character) > columns_max {
            lines.push('\n');
            used = 0;
        }
        used += columns(character);
        lines.push(character);
    }
    lines
}

/// A text of exactly so many columns, cut or followed by spaces.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    text.extend(std::iter::repeat_n(' ', columns - width(&text)));
    text
}

fn columns(character: char) -> usize {
    character.width().unwrap_or(0)
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let (mut number, mut unit) = (number, 0);
    // What would be shown as 1000 or 1024 of a unit is 1 of the next.
    while number.round() >= step && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = if unit == 0 { format!("{number:.0}") } else { digits(number) };
    format!("{digits} {}", units[unit]).trim_end().to_owned()
}

/// Two digits at least: `1.2`, `12`, `123`.
fn digits(number: f64) -> String {
    if number < 9.95 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units() {
        assert_eq!([0.0, 999.0, 1200.0, 34e6].map(short), ["0", "999", "1.2 k", "34 M"]);
        assert_eq!([999.6, 999_600.0].map(short), ["1.0 k", "1.0 M"]);
        assert_eq!([0.0, 7.0, 1.2e6].map(rate), ["0 /s", "7 /s", "1.2 M/s"]);
        assert_eq!([0.0, 1023.0, 3.4 * 1048576.0].map(bytes), ["0 B", "1023 B", "3.4 MiB"]);
        assert_eq!([0.0, 12e-6, 0.0012, 3.4].map(time), ["0.0 ns", "12 µs", "1.2 ms", "3.4 s"]);
        assert_eq!(
            [9.9, 729.0, 3600.0, 273_600.0].map(age),
            ["9 s", "12 min 9 s", "1 h 0 min", "3 d 4 h"]
        );
        assert_eq!([0, 999, 1000, 1_234_567].map(whole), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(clock(1_700_000_045_999), "22:14:05");
    }

    #[test]
    fn numbers_that_no_server_should_send_harm_nobody() {
        for number in [f64::MAX, f64::INFINITY, f64::NAN, -1.0] {
            for text in [short(number), rate(number), bytes(number), time(number), age(number)] {
                assert!(!text.is_empty());
            }
        }
    }

    #[test]
    fn nothing_of_others_reaches_the_terminal_unseen() {
        assert_eq!(escaped("Grüße 世界 😀"), "Grüße 世界 😀");
        assert_eq!(escaped("\u{1b}[2J\r\n\t"), "\\u{1b}[2J\\u{d}\\u{a}\\u{9}");
        assert_eq!(escaped("\u{9b}\u{202e}\u{200d}"), "\\u{9b}\\u{202e}\\u{200d}");
    }

    #[test]
    fn wide_characters_are_never_cut_in_half() {
        assert_eq!(width("a世"), 3);
        assert_eq!(cut("世界", 4), "世界");
        assert_eq!(cut("世界", 3), "世…");
        assert_eq!(cut("世界", 2), "…");
        assert_eq!(cut("世界", 0), "");
        assert_eq!(wrapped("a世界b", 4), "a世\n界b");
        assert_eq!(padded("世界", 6), "世界  ");
        assert_eq!(padded("世界世", 5), "世界…");
        assert_eq!(padded("世界世", 4), "世… ");
    }
}
