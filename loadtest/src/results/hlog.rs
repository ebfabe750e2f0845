//! The interval log of HdrHistogram, format 1.3: `latency.hlog`.
//!
//! Lines without a tag are the latencies from the intended times, since HistogramLogProcessor
//! takes those by default; its default unit makes milliseconds of the nanoseconds. `uncorrected`
//! tags those from the real sends; what was measured over the whole run has a line with its name.

use super::{Packed, Results};

/// The tag of latencies counted from the real sends.
const UNCORRECTED: &str = "uncorrected";

/// Histograms of the summary that have lines of their own for each interval.
const HEADLINES: [(&str, Option<&str>); 2] =
    [("latency", None), ("latency_uncorrected", Some(UNCORRECTED))];

/// The log of a run. Without intervals it has one line for each histogram of the whole run.
pub(super) fn file(results: &Results) -> String {
    let summary = &results.summary;
    let start = summary.started_unix_seconds;
    let mut out = format!(
        "#[Logged with {} {}]\n#[Histogram log format version 1.3]\n\
         #[StartTime: {start:.3} (seconds since epoch), {}]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
         \"Interval_Compressed_Histogram\"\n",
        summary.tool,
        summary.version,
        date(start)
    );
    let length =
        results.intervals.last().map_or(summary.config.duration_seconds, |last| last.row.t);
    for (name, histogram) in &summary.histograms {
        let headline = HEADLINES.iter().find(|(headline, _)| headline == name);
        let tag = match headline {
            Some(_) if !results.intervals.is_empty() => continue,
            Some((_, tag)) => *tag,
            None => Some(name.as_str()),
        };
        line(&mut out, tag, 0.0, length, histogram.us.max, &histogram.v2);
    }
    for interval in &results.intervals {
        let row = &interval.row;
        let start = row.t - row.length;
        let latency = interval.latency.base64();
        line(&mut out, None, start, row.length, row.latency_us.max, &latency);
        let (max, latency) =
            (row.latency_uncorrected_us.max, interval.latency_uncorrected.base64());
        line(&mut out, Some(UNCORRECTED), start, row.length, max, &latency);
    }
    out
}

/// The latencies of each interval of a log, corrected and uncorrected; lines with other tags are
/// skipped.
///
/// # Errors
/// When a line is no line of a log, or its histogram is damaged.
pub(super) fn read(text: &str) -> Result<[Vec<Packed>; 2], String> {
    let mut found = [Vec::new(), Vec::new()];
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with(['#', '"']) {
            continue;
        }
        let (tag, fields) = match line.strip_prefix("Tag=") {
            Some(rest) => rest.split_once(',').map(|(tag, fields)| (Some(tag), fields)),
            None => Some((None, line)),
        }
        .ok_or_else(|| format!("line {number}: a tag without an interval"))?;
        let kind = match tag {
            None => 0,
            Some(UNCORRECTED) => 1,
            Some(_) => continue,
        };
        let mut fields = fields.split(',');
        let histogram = fields
            .nth(3)
            .filter(|_| fields.next().is_none())
            .ok_or_else(|| format!("line {number}: an interval has four fields"))?;
        let packed =
            Packed::from_base64(histogram).map_err(|reason| format!("line {number}: {reason}"))?;
        found[kind].push(packed);
    }
    Ok(found)
}

/// Adds a line: seconds, seconds, microseconds.
fn line(out: &mut String, tag: Option<&str>, start: f64, length: f64, max: f64, histogram: &str) {
    if let Some(tag) = tag {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        *out += &format!("Tag={},", tag.chars().map(plain).collect::<String>());
    }
    // Readers know no sign.
    let start = if start > 0.0 { start } else { 0.0 };
    *out += &format!("{start:.3},{length:.3},{:.3},{histogram}\n", max / 1_000.0);
}

/// A time of the Unix epoch as `Wed Sep 09 08:24:39 UTC 2015`.
fn date(unix_seconds: f64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [(&str, i64); 12] = [
        ("Jan", 31),
        ("Feb", 28),
        ("Mar", 31),
        ("Apr", 30),
        ("May", 31),
        ("Jun", 30),
        ("Jul", 31),
        ("Aug", 31),
        ("Sep", 30),
        ("Oct", 31),
        ("Nov", 30),
        ("Dec", 31),
    ];
    let second = unix_seconds.clamp(0.0, 253_402_300_799.0) as i64;
    let (mut day, second) = (second / 86_400, second % 86_400);
    let weekday = DAYS[(day % 7) as usize];
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    // At most the 8,029 years that are left of four digits.
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let days = |month: usize| MONTHS[month].1 + i64::from(month == 1 && leap(year));
    while day >= days(month) {
        day -= days(month);
        month += 1;
    }
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let name = MONTHS[month].0;
    format!("{weekday} {name} {:02} {hour:02}:{minute:02}:{second:02} UTC {year}", day + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::results::{examples, new_histogram};

    #[test]
    fn it_begins_as_the_format_demands() {
        let text = file(&examples::run(1));
        let head: Vec<_> = text.lines().take(4).collect();
        assert_eq!(
            head,
            [
                "#[Logged with loadtest 0.1.0]",
                "#[Histogram log format version 1.3]",
                "#[StartTime: 1441812279.474 (seconds since epoch), Wed Sep 09 15:24:39 UTC 2015]",
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\
                 \"Interval_Compressed_Histogram\"",
            ]
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0.0), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(951_782_400.0), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(1_798_761_599.9), "Thu Dec 31 23:59:59 UTC 2026");
        assert_eq!(date(f64::INFINITY), "Fri Dec 31 23:59:59 UTC 9999");
        assert_eq!(date(f64::NAN), date(0.0));
    }

    #[test]
    fn the_reader_of_the_crate_finds_the_whole_run() {
        let results = examples::run(1);
        let text = file(&results);
        let mut sums = BTreeMap::new();
        let mut starts = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let LogEntry::Interval(interval) = entry.unwrap() else { continue };
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let histogram = Deserializer::new().deserialize::<u64, _>(&mut &bytes[..]).unwrap();
            assert!((interval.max() - histogram.max() as f64 / 1e6).abs() < 0.001);
            starts.push(interval.start_timestamp());
            let name = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
            sums.entry(name).or_insert_with(new_histogram).add(&histogram).unwrap();
        }
        assert!(starts.is_sorted());
        let whole = |name: &str| results.summary.histograms[name].histogram().unwrap();
        let expected = [
            ("", whole("latency")),
            ("churn", new_histogram()),
            ("connect", whole("connect")),
            ("uncorrected", whole("latency_uncorrected")),
        ];
        assert_eq!(sums, expected.map(|(name, sum)| (name.to_owned(), sum)).into());
    }

    #[test]
    fn without_intervals_the_whole_run_is_one() {
        let mut results = examples::run(1);
        results.intervals.clear();
        let [corrected, uncorrected] = read(&file(&results)).unwrap();
        assert_eq!((corrected.len(), uncorrected.len()), (1, 1));
        let whole = results.summary.histograms["latency"].histogram().unwrap();
        assert_eq!(corrected[0].histogram().unwrap(), whole);
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for (text, reason) in [
            ("#\n1.0,1.0,1.0", "line 2: an interval has four fields"),
            ("1,1,1,HISTF,1", "line 1: an interval has four fields"),
            ("Tag=uncorrected", "line 1: a tag"),
            ("1,1,1,HISTF", "line 1: not base64"),
            ("1,1,1,HIST", "line 1: a histogram is cut off"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.starts_with(reason), "{found}");
        }
    }
}
