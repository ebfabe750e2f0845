//! Reading the files of a run back. They may be damaged, or of somebody else: everything that is
//! read is bounded and checked.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{INTERVAL_LOG, SUMMARY, TIME_SERIES};
use super::{FORMAT, Interval, Results, Summary, hlog, rows};

/// A summary with dozens of histograms of 200 KiB, a thousand times.
const SUMMARY_BYTES_MAX: u64 = 64 << 20;

/// Ten days of intervals of a second with two histograms of 500 B each.
const SERIES_BYTES_MAX: u64 = 1 << 30;

/// What must be known before the rest can be understood.
#[derive(Deserialize)]
struct Header {
    format: u32,
}

impl Results {
    /// Reads a run: its directory, or its `summary.json`. A run without its time series has no
    /// intervals.
    ///
    /// # Errors
    /// When there is no summary, a file is damaged, or its format is newer than this program.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let (directory, summary) = if path.is_dir() {
            (path.to_owned(), path.join(SUMMARY))
        } else {
            (path.parent().map(Path::to_owned).unwrap_or_default(), path.to_owned())
        };
        let named = |path: &PathBuf, reason| format!("{}: {reason}", path.display());
        let text = read(&summary, SUMMARY_BYTES_MAX)?.ok_or_else(|| {
            named(&summary, "there is no such file; give the directory of --out".to_owned())
        })?;
        let summary = parse(&text).map_err(|reason| named(&summary, reason))?;
        let [series, log] = [TIME_SERIES, INTERVAL_LOG].map(|name| directory.join(name));
        let (Some(rows), Some(histograms)) =
            (read(&series, SERIES_BYTES_MAX)?, read(&log, SERIES_BYTES_MAX)?)
        else {
            return Ok(Self { summary, intervals: Vec::new() });
        };
        let rows = rows::read(&rows).map_err(|reason| named(&series, reason))?;
        let histograms = hlog::read(&histograms).map_err(|reason| named(&log, reason))?;
        if rows.is_empty() {
            return Ok(Self { summary, intervals: Vec::new() });
        }
        let [latency, uncorrected] = histograms;
        if rows.len() != latency.len() || rows.len() != uncorrected.len() {
            let reason = format!(
                "{} corrected and {} uncorrected intervals for the {} rows of {TIME_SERIES}: the \
                 files are not of one run",
                latency.len(),
                uncorrected.len(),
                rows.len()
            );
            return Err(named(&log, reason));
        }
        let intervals = rows
            .into_iter()
            .zip(latency)
            .zip(uncorrected)
            .map(|((row, latency), latency_uncorrected)| Interval {
                row,
                latency,
                latency_uncorrected,
            })
            .collect();
        Ok(Self { summary, intervals })
    }
}

/// A summary whose histograms can be decoded.
fn parse(text: &str) -> Result<Summary, String> {
    let damaged = |error| format!("not the summary of a run: {error}");
    let header: Header = serde_json::from_str(text).map_err(damaged)?;
    if header.format > FORMAT {
        return Err(format!(
            "format {} is newer than this loadtest, which reads up to {FORMAT}: use the version \
             that wrote it",
            header.format
        ));
    }
    let summary: Summary = serde_json::from_str(text).map_err(damaged)?;
    for (name, histogram) in &summary.histograms {
        histogram.histogram().map_err(|reason| format!("the histogram {name}: {reason}"))?;
    }
    Ok(summary)
}

/// A file as text; nothing when there is none.
fn read(path: &Path, bytes_max: u64) -> Result<Option<String>, String> {
    let named = |reason: String| format!("{}: {reason}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(error.to_string())),
    };
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|error| named(error.to_string()))?;
    if text.len() as u64 > bytes_max {
        return Err(named(format!("more than {bytes_max} bytes are not read")));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::results::examples::{self, Directory};

    fn saved() -> Directory {
        let directory = Directory::new();
        examples::run(1).save(directory.path()).unwrap();
        directory
    }

    /// What loading says when one text in a file is another.
    fn damaged(file: &str, from: &str, to: &str) -> String {
        let directory = saved();
        let path = directory.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        Results::load(directory.path()).unwrap_err()
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let (first, second) = (saved(), Directory::new());
        Results::load(first.path()).unwrap().save(second.path()).unwrap();
        for entry in fs::read_dir(first.path()).unwrap() {
            let path = entry.unwrap().path();
            let again = second.path().join(path.file_name().unwrap());
            let [text, again] = [&path, &again].map(|path| fs::read_to_string(path).unwrap());
            assert_eq!(text, again, "{}", path.display());
        }
        let by_file = Results::load(&first.path().join(SUMMARY)).unwrap();
        assert_eq!(by_file.intervals.len(), 5);
        let original = examples::run(1);
        for (loaded, original) in by_file.intervals.iter().zip(&original.intervals) {
            assert_eq!(loaded.latency, original.latency);
            assert_eq!(loaded.latency_uncorrected, original.latency_uncorrected);
        }
    }

    #[test]
    fn the_time_series_may_be_missing() {
        for name in [TIME_SERIES, INTERVAL_LOG] {
            let directory = saved();
            fs::remove_file(directory.path().join(name)).unwrap();
            let loaded = Results::load(directory.path()).unwrap();
            assert!(loaded.intervals.is_empty());
            assert_eq!(loaded.summary.latency_us.count, 300);
            loaded.save(directory.path()).unwrap();
            assert!(Results::load(directory.path()).unwrap().intervals.is_empty());
        }
    }

    #[test]
    fn damage_is_an_error_that_says_where() {
        for (file, from, to, reason) in [
            (SUMMARY, "\"format\": 1", "\"format\": 2", "newer than this loadtest"),
            (SUMMARY, "\"VALID\"", "\"FINE\"", "unknown variant `FINE`"),
            (SUMMARY, "\"run_id\"", "\"id\"", "missing field `run_id`"),
            (SUMMARY, "HISTF", "HIS*F", "the histogram churn: not base64"),
            (SUMMARY, "HISTF", "HISTFAAA", "the histogram churn: "),
            (SUMMARY, "{", "[", "not the summary of a run"),
            (TIME_SERIES, "{", "", "line 1: "),
            (INTERVAL_LOG, "Tag=uncorrected,1", "Tag=other,1", "not of one run"),
            (INTERVAL_LOG, "Tag=uncorrected,1.000,1.000", "Tag=uncorrected", "four fields"),
        ] {
            let found = damaged(file, from, to);
            assert!(found.contains(reason) && found.contains(file), "{reason}: {found}");
        }
    }

    #[test]
    fn what_is_damaged_and_still_loads_can_be_shown_and_merged() {
        let text = serde_json::to_string(&examples::run(1).summary).unwrap();
        let mut loaded = 0;
        for at in (0..text.len()).step_by(23) {
            let mut damaged = text.clone();
            // Long numbers, cut words, and lost signs of the syntax.
            damaged.replace_range(at..=at, if at % 2 == 0 { "9999999999999999999" } else { "e9" });
            let Ok(summary) = parse(&damaged) else { continue };
            loaded += 1;
            let results = Results { summary, intervals: Vec::new() };
            results.summary.text(true).unwrap();
            let merged = Results::merge(vec![results.clone(), results]).unwrap();
            merged.summary.text(false).unwrap();
        }
        assert!(loaded > 30, "{loaded}");
    }

    #[test]
    fn what_is_not_there_or_not_text_is_an_error() {
        let directory = Directory::new();
        let reason = Results::load(directory.path()).unwrap_err();
        assert!(reason.contains("there is no such file"), "{reason}");
        fs::write(directory.path().join(SUMMARY), [0xff, 0xfe]).unwrap();
        assert!(Results::load(directory.path()).is_err());
        fs::write(directory.path().join(SUMMARY), "[".repeat(1 << 20)).unwrap();
        assert!(Results::load(directory.path()).is_err());
    }
}
