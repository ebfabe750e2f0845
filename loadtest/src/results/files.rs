//! The files of a run, written so that none is ever half there.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Results, Summary, hgrm, hlog, html, rows};

pub(super) const SUMMARY: &str = "summary.json";
pub(super) const INTERVAL_LOG: &str = "latency.hlog";
pub(super) const TIME_SERIES: &str = "timeseries.ndjson";
const TIME_SERIES_TABLE: &str = "timeseries.csv";
const PAGE: &str = "report.html";

/// The percentile files and the histogram of each. Plotters name a curve after its file, up to the
/// first dot.
const PERCENTILES: [(&str, &str); 2] =
    [("latency.hgrm", "latency"), ("latency_uncorrected.hgrm", "latency_uncorrected")];

impl Results {
    /// Writes the run to a directory, which is created if needed; files of another run in it are
    /// replaced, `summary.json` last.
    ///
    /// # Errors
    /// When the directory or a file cannot be written.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), String> {
        fs::create_dir_all(directory)
            .map_err(|error| format!("the directory {}: {error}", directory.display()))?;
        for (file, name) in PERCENTILES {
            let path = directory.join(file);
            let Some(histogram) = self.summary.histograms.get(name) else {
                remove(&path)?;
                continue;
            };
            let about = about(&self.summary, &histogram.of, name);
            let histogram = histogram.histogram().map_err(|reason| format!("{name}: {reason}"))?;
            write(&path, &hgrm::file(&about, &histogram))?;
        }
        write(&directory.join(INTERVAL_LOG), &hlog::file(self))?;
        write(&directory.join(TIME_SERIES), &rows::ndjson(&self.intervals)?)?;
        write(&directory.join(TIME_SERIES_TABLE), &rows::csv(&self.intervals)?)?;
        self.save_html(directory)?;
        let mut summary = serde_json::to_string_pretty(&self.summary)
            .map_err(|error| format!("the summary is not valid JSON: {error}"))?;
        summary.push('\n');
        write(&directory.join(SUMMARY), &summary)
    }
}

impl Results {
    /// Writes `report.html` to a directory.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save_html(&self, directory: &Path) -> Result<(), String> {
        save_page(&directory.join(PAGE), &[(&self.summary.config.scenario, self)])
    }
}

/// Writes a page that shows runs over each other, each with its name.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn save_page(path: &Path, runs: &[(&str, &Results)]) -> Result<(), String> {
    write(path, &html::render(runs))
}

/// Lines of metadata for a percentile file.
fn about(summary: &Summary, of: &str, name: &str) -> [String; 3] {
    let (tool, version) = (&summary.tool, &summary.version);
    let (scenario, url) = (&summary.config.scenario, &summary.config.url);
    [
        format!("Logged with {tool} {version}"),
        format!("Run: {scenario} {url}, {} connections", summary.config.connections),
        format!("Values: {of}, {name}, microseconds"),
    ]
}

/// Removes a file of another run, if there is one.
fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file under another name first. What was there stays whole until the new one is.
fn write(path: &Path, text: &str) -> Result<(), String> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // Nothing is lost if this fails, too: the name says what it is.
        let _ = fs::remove_file(&temporary);
        format!("{}: {error}", path.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::examples::{self, Directory};

    #[test]
    fn every_file_is_there_and_no_other() {
        let directory = Directory::new();
        let results = examples::run(1);
        results.save(directory.path()).unwrap();
        results.save(directory.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "latency.hgrm",
                "latency.hlog",
                "latency_uncorrected.hgrm",
                "report.html",
                "summary.json",
                "timeseries.csv",
                "timeseries.ndjson",
            ]
        );
    }

    #[test]
    fn a_run_without_latencies_leaves_none_of_another() {
        let directory = Directory::new();
        let mut results = examples::run(1);
        results.save(directory.path()).unwrap();
        results.summary.histograms.clear();
        results.save(directory.path()).unwrap();
        assert!(!directory.path().join("latency.hgrm").exists());
    }

    #[test]
    fn a_directory_that_cannot_be_is_an_error() {
        let directory = Directory::new();
        let file = directory.path().join("file");
        write(&file, "text").unwrap();
        let reason = examples::run(1).save(&file.join("run")).unwrap_err();
        assert!(reason.contains("file/run"), "{reason}");
    }
}
