//! Runs for tests: small, and complete in every field.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process};

use hdrhistogram::Histogram;

use super::{
    Compressed, Config, Connections, CpuShare, Environment, ErrorCount, FORMAT, Figure, Generator,
    Interval, Kernel, Load, LoadModel, Merge, Messages, NamedHistogram, Packed, Percentiles, Rate,
    Results, Row, RowPhase, Server, Step, Summary, ThreadShare, TlsHandshakes, Verdict,
    latency_gap, new_histogram,
};

/// A directory that goes with the test.
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// A new one.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("loadtest-{}-{next}", process::id()));
        fs::create_dir_all(&path).expect("tests may write to the directory for temporary files");
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A histogram of these nanoseconds.
pub(crate) fn recorded(nanoseconds: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = new_histogram();
    for value in nanoseconds {
        histogram.record(value).expect("in the bounds");
    }
    histogram
}

/// The corrected latencies of one second of a run, in nanoseconds: 100 of them, around `slowness`
/// times a tenth of a millisecond, and others each second.
pub(crate) fn latencies(slowness: u64, second: u64) -> impl Iterator<Item = u64> {
    (0..100).map(move |step| slowness * (90_000 + step * 200 + second * 7_000))
}

/// A run of five intervals (connect, warm-up, two of measure, settle) against a server that takes
/// `slowness` times a tenth of a millisecond.
pub(crate) fn run(slowness: u64) -> Results {
    let phases = [
        RowPhase::Connect,
        RowPhase::WarmUp,
        RowPhase::Measure,
        RowPhase::Measure,
        RowPhase::Settle,
    ];
    let intervals = (0..).zip(phases).map(|(second, phase)| interval(slowness, second, phase));
    Results { summary: summary(slowness), intervals: intervals.collect() }
}

fn interval(slowness: u64, second: u64, phase: RowPhase) -> Interval {
    let counts = matches!(phase, RowPhase::Measure | RowPhase::Settle);
    let latency = if counts { recorded(latencies(slowness, second)) } else { new_histogram() };
    let uncorrected =
        recorded(latencies(slowness, second).filter(|_| counts).map(|value| value - 1_000));
    Interval {
        row: Row {
            t: (second + 1) as f64,
            length: 1.0,
            phase,
            connections: 10,
            opened: if phase == RowPhase::Connect { 10 } else { 0 },
            farewells: 0,
            returned: 0,
            target_rate: counts.then_some(100.0),
            achieved_rate: 100.0,
            received_rate: 99.0,
            sent: 100,
            received: 99,
            errors: 1,
            shed: 2,
            max_schedule_lag_us: 12.5,
            latency_us: Percentiles::of(&latency),
            latency_uncorrected_us: Percentiles::of(&uncorrected),
            generator_cpus: 0.25,
            server_cpus: Some(0.5),
            server_resident_bytes: Some(1 << 20),
            tcp_buffer_bytes: 4_096,
        },
        latency: Packed::of(&latency),
        latency_uncorrected: Packed::of(&uncorrected),
    }
}

fn summary(slowness: u64) -> Summary {
    let latency = recorded((2..5).flat_map(|second| latencies(slowness, second)));
    let uncorrected =
        recorded((2..5).flat_map(|second| latencies(slowness, second)).map(|value| value - 1_000));
    let (latency_us, latency_uncorrected_us) =
        (Percentiles::of(&latency), Percentiles::of(&uncorrected));
    Summary {
        tool: "loadtest".to_owned(),
        version: "0.1.0".to_owned(),
        format: FORMAT,
        verdict: Verdict::Valid,
        exit_code: 0,
        reasons: Vec::new(),
        notes: vec!["a note".to_owned()],
        run_id: "0123456789abcdef".to_owned(),
        started_unix_seconds: 1_441_812_279.474,
        config: config(),
        environment: environment(),
        connections: Connections {
            requested: 10,
            achieved: 10,
            opened: 10,
            lost: 0,
            closed_cleanly: 10,
            pings_answered: 3,
            connect_seconds: 0.5,
            connects_per_second: 20.0,
            tls: Some(TlsHandshakes { tls_1_2: 1, tls_1_3: 9, resumed: 4 }),
            compression: Some(Compressed { connections: 8, ..Compressed::default() }),
        },
        messages: messages(),
        rate: Rate { target: Some(100.0), achieved: 98.0, received: 97.0, ratio: Some(0.98) },
        latency_of: "echo round trip".to_owned(),
        latency_us,
        latency_uncorrected_us,
        latency_gap: latency_gap(Some(LoadModel::Open), &latency_us, &latency_uncorrected_us),
        figures: figures(),
        steps: vec![Step {
            connections: 10,
            rate: Some(100.0),
            achieved: 98.0,
            latency_us,
            passed: true,
            reason: String::new(),
        }],
        errors: vec![ErrorCount {
            stage: "open".to_owned(),
            kind: "ECONNRESET".to_owned(),
            count: 2,
        }],
        generator: generator(),
        server: Some(server()),
        kernel: Kernel {
            slab_bytes_per_connection: 3_000.0,
            tcp_buffer_bytes_max: 8_192,
            tcp_time_wait_after: 1,
        },
        histograms: [
            ("latency", NamedHistogram::of("echo round trip", &latency)),
            ("latency_uncorrected", NamedHistogram::of("echo round trip", &uncorrected)),
            ("connect", NamedHistogram::of("TCP connect", &recorded([40_000, 50_000]))),
            ("churn", NamedHistogram::of("nothing", &new_histogram())),
        ]
        .map(|(name, histogram)| (name.to_owned(), histogram))
        .into(),
    }
}

fn config() -> Config {
    Config {
        scenario: "echo".to_owned(),
        url: "ws://127.0.0.1:8080/echo".to_owned(),
        connections: 10,
        threads: 1,
        cpus: vec![0],
        source_addresses: 2,
        duration_seconds: 3.0,
        warmup_seconds: 1.0,
        interval_seconds: 1.0,
        load: Some(Load {
            model: LoadModel::Open,
            payload_bytes: "64".to_owned(),
            kind: "binary".to_owned(),
            depth: None,
            poisson: false,
            masking_key: [1, 2, 3, 4],
        }),
        rooms: None,
        tls: None,
        compression: Some("shared".to_owned()),
        verified: true,
        processes: 1,
    }
}

fn environment() -> Environment {
    Environment {
        host: "alpha".to_owned(),
        kernel: "6.18.0".to_owned(),
        cpu: "a processor".to_owned(),
        cpus: 2,
        memory_bytes: 8 << 30,
        descriptors: 20_000,
        settings: [("net.core.somaxconn".to_owned(), "4096".to_owned())].into(),
        command: ["loadtest", "echo"].map(str::to_owned).into(),
    }
}

fn messages() -> Messages {
    Messages {
        measured_seconds: 3.0,
        scheduled: 310,
        sent: 303,
        received: 300,
        missing: 3,
        duplicate: 1,
        out_of_order: 0,
        corrupt: 0,
        shed: 7,
    }
}

fn figures() -> Vec<Figure> {
    [
        ("deliveries", 5.0, Merge::Sum),
        ("slowest_seconds", 2.0, Merge::Max),
        ("fastest_seconds", 0.5, Merge::Min),
    ]
    .map(|(name, value, merge)| Figure {
        name: name.to_owned(),
        value,
        label: name.replace('_', " "),
        merge,
    })
    .into()
}

fn generator() -> Generator {
    Generator {
        cpu_seconds: 1.5,
        resident_bytes: 10 << 20,
        resident_bytes_per_connection: 500.0,
        ring_pressure: 0,
        threads: vec![ThreadShare { cpu: 0, busy: 0.4, waiting: 0.01 }],
        cpus: vec![CpuShare { cpu: 0, busy: 0.4, waiting: 0.01 }],
        foreign_cpus_busy: Some(0.02),
    }
}

fn server() -> Server {
    Server {
        cpu_seconds: 0.9,
        cpu_user_seconds: Some(0.3),
        cpu_seconds_per_million_messages: Some(3_000.0),
        user_ns_per_message: Some(1_000_000.0),
        system_ns_per_message: Some(2_000_000.0),
        connect_cpu_seconds: 0.1,
        resident_before_bytes: 1 << 20,
        resident_connected_bytes: (1 << 20) + 4_000,
        resident_measured_bytes: (1 << 20) + 5_000,
        resident_after_bytes: 1 << 20,
        resident_bytes_per_connection: 400.0,
    }
}
