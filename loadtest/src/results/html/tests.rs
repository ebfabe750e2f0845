//! The page in a real browser, and the data it is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::data::{Series, curve};
use super::render;
use super::samples::{everything, idle, packed, percentiles, phases};
use crate::results::{ErrorCount, Percentiles, Results, RowPhase, Verdict, new_histogram};

/// How long the browser may take for all pages; it takes a few seconds.
const BROWSER_SECONDS: &str = "120";

/// What a reader finds on a page.
#[derive(Debug, Deserialize)]
struct Found {
    file: String,
    title: String,
    text: String,
    /// Messages on the console, exceptions and breaches of the content security policy.
    problems: Vec<String>,
    requests: Vec<String>,
    /// Elements that only injected markup could have made.
    foreign: usize,
    charts: Vec<Chart>,
    /// Labels that lie over each other or are cut off.
    overlaps: Vec<String>,
    /// By chart, what it shows when the pointer is over it.
    tips: BTreeMap<String, String>,
    /// The titles of y axes with every switch once pressed.
    switched: Vec<String>,
    /// Pixels the page takes on a screen of 400.
    phone_width: u32,
}

#[derive(Debug, Deserialize)]
struct Chart {
    id: String,
    title: String,
    description: String,
    x_title: String,
    y_title: String,
    x_ticks: Vec<String>,
    y_ticks: Vec<String>,
    series: Vec<String>,
    broken: bool,
}

impl Found {
    fn chart(&self, id: &str) -> &Chart {
        let found = self.charts.iter().find(|chart| chart.id == id);
        found.unwrap_or_else(|| panic!("{} has no chart {id}", self.file))
    }

    fn chart_ids(&self) -> Vec<&str> {
        self.charts.iter().map(|chart| chart.id.as_str()).collect()
    }

    /// What holds for every page.
    fn is_sound(&self) {
        let Self { file, problems, requests, overlaps, .. } = self;
        assert_eq!(problems, &Vec::<String>::new(), "{file}");
        assert_eq!(requests, &Vec::<String>::new(), "{file}");
        assert_eq!(overlaps, &Vec::<String>::new(), "{file}");
        assert_eq!(self.foreign, 0, "{file}");
        assert_eq!(self.phone_width, 400, "{file} is wider than a phone");
        for chart in &self.charts {
            let Chart { id, title, description, x_title, y_title, .. } = chart;
            assert!(!chart.broken, "{file}: {id} has places that are no numbers");
            for text in [title, description, x_title, y_title] {
                assert!(!text.is_empty(), "{file}: {id} leaves something unsaid");
            }
            assert!(chart.x_ticks.len() > 1 && chart.y_ticks.len() > 1, "{file}: {chart:?}");
            assert!(self.tips.contains_key(id), "{file}: {id} shows no values");
        }
        for word in ["undefined", "NaN", "[object", "null"] {
            assert!(!self.text.contains(word), "{file} says {word}:\n{}", self.text);
        }
    }
}

#[test]
fn a_browser_shows_the_reports() {
    let slow = everything(1.9);
    let extreme = extreme();
    let runs = [1.0, 1.2, 0.8, 1.5, 2.5].map(everything);
    let names = ["before", "after", "other server", "slow", "slowest"];
    let overlay: Vec<(&str, &Results)> = names.into_iter().zip(&runs).collect();
    let pages = [
        ("everything", render(&[("everything", &slow)])),
        ("idle", render(&[("idle", &idle())])),
        ("overlay", render(&overlay)),
        ("hostile", render(&[(HOSTILE, &hostile())])),
        ("extreme", render(&[("extreme", &extreme)])),
        ("mixed", render(&[("idle", &idle()), (HOSTILE, &hostile()), ("extreme", &extreme)])),
    ];
    let found = open_in_browser(&pages);
    found.values().for_each(Found::is_sound);
    shows_everything(&found["everything"]);
    shows_idle(&found["idle"]);
    shows_overlay(&found["overlay"]);
    assert!(found["hostile"].text.contains(HOSTILE), "{}", found["hostile"].text);
}

fn shows_everything(page: &Found) {
    assert_eq!(page.title, "echo ws://127.0.0.1:9001/echo – loadtest");
    let expected = [
        "percentiles",
        "latency",
        "distributions",
        "rate",
        "connections",
        "opened",
        "errors",
        "server-cpu",
        "server-memory",
        "tcp-buffers",
        "generator-cpu",
        "schedule-lag",
        "search",
    ];
    assert_eq!(page.chart_ids(), expected);
    let percentiles = page.chart("percentiles");
    assert_eq!(percentiles.series, ["corrected", "uncorrected"]);
    assert_eq!(percentiles.x_ticks[..4], ["0", "50", "90", "99"]);
    assert!(percentiles.y_ticks.contains(&"10\u{202f}ms".into()), "{:?}", percentiles.y_ticks);
    assert!(page.tips["percentiles"].contains("corrected"), "{:?}", page.tips);
    assert_eq!(page.chart("latency").series, ["p99", "max", "p50"]);
    assert_eq!(page.chart("latency").x_title, "time since the first connection (s)");
    assert_eq!(page.chart("rate").y_ticks.last().map(String::as_str), Some("125,000"));
    assert_eq!(page.chart("server-memory").y_title, "resident memory (MiB)");
    assert!(page.tips["rate"].contains("100,000/s"), "{:?}", page.tips);
    assert!(page.switched.contains(&"latency (s)".into()), "{:?}", page.switched);
    for text in [
        "GATE-FAILED",
        "2,500 rooms of 4 members · each room on 2 of 3 nodes · order of the publisher",
        "9,969 of 10,000",
        "52.62\u{202f}% of 100,000/s",
        "The server stalled",
        "1,204",
        "Time until 99 % of the clients were back",
        "failed: p99 450 ms > 50 ms",
        "'p99>50ms'",
        "net.core.somaxconn",
    ] {
        assert!(page.text.contains(text), "no {text} in:\n{}", page.text);
    }
}

fn shows_idle(page: &Found) {
    let expected =
        ["distributions", "connections", "opened", "server-cpu", "server-memory", "generator-cpu"];
    assert_eq!(page.chart_ids(), expected);
    assert!(page.text.contains("VALID") && page.text.contains("Handshake p99"), "{}", page.text);
    assert!(page.tips["connections"].contains("10,000"), "{:?}", page.tips);
}

fn shows_overlay(page: &Found) {
    let names = ["before", "after", "other server", "slow", "slowest"];
    for id in ["percentiles", "latency", "rate", "connections", "server-memory"] {
        assert_eq!(page.chart(id).series, names, "{id}");
    }
    assert_eq!(page.chart("rate").x_title, "time since measuring began (s)");
    assert!(page.chart("rate").x_ticks.contains(&"0".into()), "{:?}", page.chart("rate"));
    assert!(page.text.contains("+19") || page.text.contains("+20"), "{}", page.text);
}

/// Breaks out of a block of data, an attribute or a comment, where the page lets it.
const HOSTILE: &str =
    "</script><img src=x onerror=alert(1)><!--\"'><style>*{}</style>{script}{data}\u{2028}";

/// Texts that try to become part of the page, everywhere a text comes from outside.
fn hostile() -> Results {
    let mut results = everything(1.0);
    let summary = &mut results.summary;
    summary.config.url = HOSTILE.into();
    summary.reasons = vec![HOSTILE.into()];
    summary.notes = vec![HOSTILE.into()];
    summary.latency_gap = HOSTILE.into();
    summary.latency_of = HOSTILE.into();
    summary.environment.command = vec![HOSTILE.into()];
    summary.environment.cpu = HOSTILE.into();
    summary.environment.settings.insert(HOSTILE.into(), HOSTILE.into());
    summary.errors = vec![ErrorCount { stage: HOSTILE.into(), kind: HOSTILE.into(), count: 1 }];
    let any = summary.histograms["latency"].clone();
    summary.histograms.insert(HOSTILE.into(), any);
    for figure in &mut summary.figures {
        figure.label = HOSTILE.into();
    }
    results
}

/// Numbers at the ends of their ranges: zeros, the greatest there are, and blobs that are none.
fn extreme() -> Results {
    let mut results = everything(1.0);
    let summary = &mut results.summary;
    summary.verdict = Verdict::CouldNotRun;
    summary.started_unix_seconds = f64::MAX;
    summary.connections.requested = u64::MAX;
    summary.connections.achieved = 0;
    summary.rate.achieved = 0.0;
    summary.rate.ratio = Some(0.0);
    summary.messages.missing = u64::MAX;
    summary.generator.threads[0].busy = f64::MAX;
    summary.steps[0].latency_us.p99 = 1e9;
    let mut one = new_histogram();
    one.saturating_record(u64::MAX);
    one.saturating_record(1);
    summary.latency_us = percentiles(&one);
    summary.histograms.insert("latency".into(), super::samples::named("a day", &one));
    for (name, blob) in [("empty", ""), ("letters", "HISTFAAA"), ("not_base64", "§")] {
        let mut broken = summary.histograms["latency"].clone();
        broken.v2 = blob.into();
        summary.histograms.insert(name.into(), broken);
    }
    for (index, interval) in results.intervals.iter_mut().enumerate() {
        let row = &mut interval.row;
        row.latency_us = if index % 2 == 0 { percentiles(&one) } else { Percentiles::default() };
        row.length = if index == 7 { 0.0 } else { row.length };
        row.tcp_buffer_bytes = if index == 20 { u64::MAX } else { 0 };
        row.received_rate = if index == 20 { 1e12 } else { 0.0 };
        row.server_resident_bytes = None;
        row.server_cpus = None;
    }
    results
}

#[test]
fn no_text_ends_the_block_of_data() {
    let page = render(&[(HOSTILE, &hostile())]);
    let (_, data) = page.split_once(r#"id="data">"#).expect("the page has a block of data");
    let (data, _) = data.split_once("</script>").expect("the block ends");
    let data: serde_json::Value = serde_json::from_str(data).expect("the block is JSON");
    assert_eq!(data["runs"][0]["name"], HOSTILE);
    assert_eq!(data["runs"][0]["summary"]["notes"][0], HOSTILE);
}

#[test]
fn the_page_holds_no_compressed_histograms() {
    let page = render(&[("idle", &idle())]);
    assert!(!page.contains("HISTFAAA"));
    assert!(page.contains(r#""name":"handshake""#));
}

#[test]
fn the_curve_ends_at_the_maximum() {
    let mut histogram = new_histogram();
    assert!(curve(&histogram).is_empty());
    for microseconds in 1..=1_000 {
        histogram.saturating_record(microseconds * 1_000);
    }
    let points = curve(&histogram);
    let value_at = |share: f64| {
        let near = |(tail, _): &&(f64, f64)| (tail - share).abs() < 1e-12;
        points.iter().find(near).map(|(_, us)| us.round())
    };
    assert_eq!(value_at(0.5), Some(500.0));
    assert_eq!(value_at(0.1), Some(900.0));
    assert_eq!(value_at(0.01), Some(990.0));
    assert_eq!(points.last().map(|(tail, us)| (*tail, us.round())), Some((0.001, 1_000.0)));
    assert!(points.is_sorted_by(|a, b| a.0 > b.0 && a.1 <= b.1), "{points:?}");
}

#[test]
fn many_intervals_become_fewer_without_losing_a_maximum() {
    let mut intervals = phases(&[(RowPhase::Connect, 7), (RowPhase::Measure, 4_000)]);
    let mut rare = new_histogram();
    rare.saturating_record(1_000_000);
    rare.saturating_record_n(1_000, 9);
    for interval in &mut intervals[7..] {
        interval.latency = packed(&rare);
        interval.row.latency_us = percentiles(&rare);
        interval.row.achieved_rate = 10.0;
    }
    intervals[100].row.latency_us.max = 5_000.0;
    intervals[100].row.length = 3.0;
    intervals[100].row.achieved_rate = 50.0;
    let series = Series::new(&intervals, 500);
    assert!(series.t.len() <= 502, "{}", series.t.len());
    assert_eq!(series.t.last(), Some(&4_007.0));
    assert_eq!(series.length.iter().sum::<f64>(), 4_009.0);
    assert_eq!(series.phase.iter().filter(|phase| **phase == RowPhase::Connect).count(), 1);
    assert_eq!(series.max_us.iter().flatten().copied().fold(0.0, f64::max), 5_000.0);
    // The 99th percentile of 90 messages, 9 of them of 1 ms.
    assert_eq!(series.p99_us[1].map(f64::round), Some(1_000.0));
    let odd = series.achieved_rate.iter().copied().fold(0.0, f64::max);
    assert_eq!(odd, (3.0 * 50.0 + 8.0 * 10.0) / 11.0);
}

/// Writes the pages to a folder of their own and opens each in headless Chromium.
///
/// # Panics
/// When the browser or what drives it is missing or fails.
fn open_in_browser(pages: &[(&str, String)]) -> BTreeMap<String, Found> {
    let folder = std::env::temp_dir().join(format!("loadtest-pages-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("there is a folder for temporary files");
    let files: Vec<PathBuf> = pages
        .iter()
        .map(|(name, page)| {
            let file = folder.join(format!("{name}.html"));
            fs::write(&file, page).expect("the folder takes files");
            file
        })
        .collect();
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients");
    // timeout(1) ends the program's whole process group, the browser included.
    let output = Command::new("timeout")
        .args(["--kill-after=5", BROWSER_SECONDS, "node"])
        .arg(clients.join("chromium_report.mjs"))
        .args(&files)
        .output()
        .expect("timeout(1) of the coreutils is there");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "chromium_report.mjs ended with {}: run scripts/test, which installs what it needs.\n\
         It printed:\n{printed}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
    fs::remove_dir_all(&folder).expect("the folder is our own");
    let found: Vec<Found> = serde_json::from_str(&printed)
        .unwrap_or_else(|error| panic!("no list of pages ({error}):\n{printed}"));
    let name = |page: &Found| page.file.trim_end_matches(".html").to_owned();
    found.into_iter().map(|page| (name(&page), page)).collect()
}
