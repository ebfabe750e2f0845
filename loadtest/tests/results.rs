//! The commands on saved runs, through the program: `tests/saved` is a run of format 1, which
//! every later version must read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A run of 300 echoes over three measured intervals.
const SAVED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/saved");

/// An empty directory for one test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("results-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the directory of the tests is writable");
    path
}

fn loadtest(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
    (status.code().expect("no signal"), text.into_owned())
}

fn summary(directory: &Path) -> Value {
    let text = fs::read_to_string(directory.join("summary.json")).expect("there is a summary");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The saved run again, in a directory of its own, with a summary that was changed.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let directory = directory(name);
    let mut summary = summary(Path::new(SAVED));
    change(&mut summary);
    fs::write(directory.join("summary.json"), summary.to_string()).expect("it is writable");
    directory.into_os_string().into_string().expect("the path is text")
}

fn slower(name: &str) -> String {
    changed(name, |summary| {
        for field in summary["latency_us"].as_object_mut().expect("percentiles").values_mut() {
            *field = match field.as_u64() {
                Some(count) => Value::from(count),
                None => Value::from(field.as_f64().expect("a number") * 2.0),
            };
        }
    })
}

#[test]
fn a_saved_run_is_reported_again() {
    let page = directory("report").join("both.html");
    let page_text = page.to_str().expect("the path is text");
    let (code, text) = loadtest(&["report", SAVED, SAVED, "--detailed", "--html", page_text]);
    assert_eq!(code, 0, "{text}");
    assert!(fs::read_to_string(page).expect("there is a page").contains("</html>"));
    for part in ["echo ws://", "Recorded Latency", "Detailed Percentile spectrum", "VALID"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_run_compared_with_itself_passes() {
    let (code, text) = loadtest(&["compare", SAVED, SAVED, "--fail-if", "p99>+10%"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_slower_run_fails_with_3_and_names_its_gates() {
    let slow = slower("slow");
    let gates = ["--fail-if", "p99>+10%", "--fail-if", "p99>50ms", "--fail-if", "p50>+5us"];
    let (code, text) = loadtest(&[&["compare", SAVED, &slow][..], &gates].concat());
    assert_eq!(code, 3, "{text}");
    let failed: Vec<_> = text.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert_eq!(failed.len(), 2, "{text}");
    assert!(failed[0].contains("p99>+10%") && failed[1].contains("p50>+5us"), "{text}");
    let median = format!("{SAVED},{slow},{SAVED}");
    let (code, text) = loadtest(&["compare", SAVED, &median, "--fail-if", "p99>+10%"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn a_generator_bound_run_fails_with_4() {
    let bound = changed("bound", |summary| summary["verdict"] = "GENERATOR-BOUND".into());
    let compare = ["compare", SAVED, &bound, "--fail-if", "p99>+10%"];
    let (code, text) = loadtest(&compare);
    assert_eq!(code, 4, "{text}");
    let (code, text) = loadtest(&[&compare[..], &["--allow-generator-bound"]].concat());
    assert_eq!(code, 0, "{text}");
}

#[test]
fn merged_runs_are_saved_with_all_their_files() {
    let out = directory("merged");
    let out_text = out.to_str().expect("the path is text");
    let (code, text) = loadtest(&["merge", SAVED, SAVED, "--out", out_text]);
    assert_eq!(code, 0, "{text}");
    let [once, merged] = [summary(Path::new(SAVED)), summary(&out)];
    assert_eq!(merged["latency_us"]["count"], 600);
    assert_eq!(merged["latency_us"]["p99"], once["latency_us"]["p99"]);
    assert_eq!(merged["config"]["processes"], 2);
    let rows = fs::read_to_string(out.join("timeseries.ndjson")).expect("there are rows");
    let counts: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).expect("it is JSON"))
        .map(|row| row["latency_us"]["count"].clone())
        .collect();
    assert_eq!(counts, [0, 0, 200, 200, 200].map(Value::from));
    assert_eq!(loadtest(&["report", out_text]).0, 0);
}

/// The reader of HdrHistogram's Python version finds in the interval log what the summary says.
#[test]
fn the_interval_log_is_read_by_python() {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/../.deps/venv/bin/python");
    assert!(Path::new(python).exists(), "{python} is missing: run scripts/test, which installs it");
    let out = directory("python");
    let out_text = out.to_str().expect("the path is text");
    let (code, text) = loadtest(&["merge", SAVED, SAVED, "--out", out_text]);
    assert_eq!(code, 0, "{text}");
    let Output { status, stdout, stderr } = Command::new("timeout")
        .args(["60", python, concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_hlog.py")])
        .arg(out.join("latency.hlog"))
        .output()
        .expect("timeout(1) of the coreutils is there");
    let errors = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "run scripts/test, which installs what this needs: {errors}");
    let found: Value = serde_json::from_slice(&stdout).expect("it prints JSON");
    let summary = summary(&out);
    for (tag, lines, name) in [
        ("", 5, "latency"),
        ("uncorrected", 5, "latency_uncorrected"),
        ("connect", 1, "connect"),
        ("churn", 1, "churn"),
    ] {
        let us = &summary["histograms"][name]["us"];
        assert_eq!(found[tag]["lines"], lines, "{tag}: {found}");
        assert_eq!(found[tag]["count"], us["count"], "{tag}: {found}");
        for field in ["p50", "p99", "max"] {
            let nanoseconds = found[tag][field].as_f64().expect("a number");
            let expected = us[field].as_f64().expect("a number") * 1_000.0;
            let close = (nanoseconds - expected).abs() <= expected * 0.001;
            assert!(close, "{tag} {field}: {nanoseconds}, not {expected}");
        }
    }
}

#[test]
fn bad_arguments_and_bad_files_say_so() {
    let (code, text) = loadtest(&["compare", SAVED, SAVED, "--fail-if", "p98>1s"]);
    assert!(code == 2 && text.contains("is no metric"), "{code}: {text}");
    assert_eq!(loadtest(&["report"]).0, 2);
    assert_eq!(loadtest(&["compare", SAVED]).0, 2);
    let newer = changed("newer", |summary| summary["format"] = 2.into());
    let (code, text) = loadtest(&["report", &newer]);
    assert!(code == 1 && text.contains("newer than this loadtest"), "{code}: {text}");
    let (code, text) = loadtest(&["merge", "no-such-run", "--out", "nowhere"]);
    assert!(code == 1 && text.contains("no-such-run"), "{code}: {text}");
    assert!(!Path::new("nowhere").exists());
    let (code, text) = loadtest(&["merge", SAVED, SAVED, "--out", SAVED]);
    assert!(code == 1 && text.contains("would replace a run"), "{code}: {text}");
}

#[test]
fn the_schema_is_printed() {
    let (code, text) = loadtest(&["schema"]);
    assert_eq!(code, 0, "{text}");
    let schema: Value = serde_json::from_str(&text).expect("it is JSON");
    let required = schema["required"].as_array().expect("a list");
    let summary = summary(Path::new(SAVED));
    for field in required {
        let field = field.as_str().expect("a name");
        assert!(summary.get(field).is_some(), "the saved run lacks {field}");
    }
}
