//! `loadtest calibrate`: the generator against its null echo, in one process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

fn calibrate(words: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("calibrate")
        .args(words.split_ascii_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

#[test]
fn every_step_has_figures() {
    let folder = std::env::temp_dir().join(format!("loadtest-calibrate-{}", std::process::id()));
    let words = "--duration 200ms --connections 20 --out";
    let output = calibrate(&format!("{words} {}", folder.display()))
        .wait_with_output()
        .expect("the program ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("One thread of this generator on this host"), "{text}");
    let file = folder.join("calibration.json");
    let report: Value = serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON");
    fs::remove_dir_all(folder).expect("a folder of ours");
    let rows = report["rows"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["connects", "floor", "ceiling", "pipelined", "slow", "10%", "50%", "90%"]);
    for row in rows {
        assert!(text.contains(&format!("{}:", row["name"].as_str().expect("a name"))), "{text}");
        let figures = row.as_object().expect("a row");
        let numbers = figures.iter().filter(|(_, figure)| figure.is_number());
        // A schedule may well be kept to the nanosecond that is told apart.
        for (name, figure) in numbers.filter(|(name, _)| *name != "schedule_lag_p99_us") {
            assert!(figure.as_f64() > Some(0.0), "{name} in {row}");
        }
    }
    assert!(rows[0]["resident_bytes_per_connection"].is_number(), "{report}");
    assert!(rows[1]["p99_us"].as_f64() >= rows[1]["p50_us"].as_f64(), "{report}");
    assert!(report["conclusion"].is_string(), "{report}");
}

#[test]
fn an_interrupted_calibration_concludes_nothing() {
    let mut child = calibrate("--duration 1h");
    let stdout = child.stdout.take().expect("a pipe");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    // Its row says that the first step is done; the next one takes an hour.
    assert!(lines.any(|line| line.contains("connects:")), "no row");
    kill_process(Pid::from_child(&child), Signal::INT).expect("the program runs");
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("the program ends").code(), Some(130), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("One thread")), "{rest:?}");
}
