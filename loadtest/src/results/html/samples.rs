//! Results of runs that never were: for tests of the page.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::results::{
    Config, Connections, CpuShare, Environment, ErrorCount, Figure, Generator, Interval, Kernel,
    Load, LoadModel, Merge, Messages, NamedHistogram, Packed, Percentiles, Rate, Results, Rooms,
    Row, RowPhase, Server, Step, Summary, ThreadShare, Verdict, new_histogram,
};

/// An echo run with everything that a page can show: a stall of the server in its middle moves
/// the corrected tail and hardly the uncorrected one. `slowness` stretches all latencies.
pub(super) fn everything(slowness: f64) -> Results {
    let mut results = idle();
    let mut whole = new_histogram();
    let mut whole_uncorrected = new_histogram();
    results.intervals = phases(&[
        (RowPhase::Connect, 6),
        (RowPhase::WarmUp, 5),
        (RowPhase::Measure, 60),
        (RowPhase::Settle, 2),
        (RowPhase::Leave, 2),
    ]);
    for (index, interval) in results.intervals.iter_mut().enumerate() {
        let busy = !matches!(interval.row.phase, RowPhase::Connect | RowPhase::Leave);
        load_row(&mut interval.row, index);
        if busy {
            let stall = if index == 40 { 900_000.0 * slowness } else { 0.0 };
            let corrected = latencies(slowness, index, stall);
            let uncorrected = latencies(slowness, index, stall / 200.0);
            interval.row.latency_us = percentiles(&corrected);
            interval.row.latency_uncorrected_us = percentiles(&uncorrected);
            interval.latency = packed(&corrected);
            interval.latency_uncorrected = packed(&uncorrected);
            whole.add(&corrected).expect("the bounds are the same");
            whole_uncorrected.add(&uncorrected).expect("the bounds are the same");
        }
    }
    let summary = &mut results.summary;
    summary.verdict = Verdict::GateFailed;
    summary.exit_code = 3;
    summary.reasons = vec!["p99 1.21 s is over the gate of 50 ms (--fail-if 'p99>50ms')".into()];
    summary.notes = vec![
        "Both ends are on one host: the kernel's memory is that of server and clients.".into(),
        "The CPU governor is `powersave`: expect latencies that vary.".into(),
    ];
    summary.latency_of = "echo round trip".into();
    summary.latency_us = percentiles(&whole);
    summary.latency_uncorrected_us = percentiles(&whole_uncorrected);
    summary.latency_gap = "The server stalled: messages waited up to 1.4 s for their turn, which \
                           the uncorrected figures hide."
        .into();
    summary.histograms.insert("latency".into(), named("echo round trip", &whole));
    summary
        .histograms
        .insert("latency_uncorrected".into(), named("echo round trip", &whole_uncorrected));
    summary.histograms.insert(
        "schedule_lag".into(),
        named("lateness of the generator", &latencies(0.01, 1, 0.0)),
    );
    load_summary(summary, slowness);
    results
}

fn load_summary(summary: &mut Summary, slowness: f64) {
    summary.config.scenario = "echo".into();
    summary.config.load = Some(Load {
        model: LoadModel::Open,
        payload_bytes: "64".into(),
        kind: "binary".into(),
        depth: None,
        poisson: true,
        masking_key: [0xA1, 0x02, 0x33, 0xF4],
    });
    summary.config.rooms = Some(Rooms {
        rooms: 2_500,
        members: 4,
        nodes: 3,
        nodes_per_room: 2,
        order: "publisher".into(),
        reconnect: true,
    });
    summary.messages = Messages {
        measured_seconds: 60.0,
        scheduled: 6_000_000,
        sent: 5_998_700,
        received: 5_998_688,
        missing: 12,
        shed: 1_300,
        ..Messages::default()
    };
    summary.rate = Rate {
        target: Some(100_000.0),
        achieved: 99_978.3 / slowness.max(1.0),
        received: 99_978.1 / slowness.max(1.0),
        ratio: Some(0.999_783 / slowness.max(1.0)),
    };
    summary.figures = vec![
        Figure {
            name: "recovered_99_seconds".into(),
            value: 1.734,
            label: "Time until 99 % of the clients were back".into(),
            merge: Merge::Max,
        },
        Figure {
            name: "retries".into(),
            value: 12_345.0,
            label: "Handshakes tried again".into(),
            merge: Merge::Sum,
        },
    ];
    summary.steps = steps();
    summary.errors = vec![
        ErrorCount { stage: "connect".into(), kind: "ECONNREFUSED".into(), count: 31 },
        ErrorCount { stage: "open".into(), kind: "closed with 1011".into(), count: 1_204 },
    ];
    summary.connections.lost = 1_204;
    summary.connections.achieved = 9_969;
}

fn steps() -> Vec<Step> {
    let rates = [25_000.0, 50_000.0, 100_000.0, 200_000.0, 150_000.0, 125_000.0];
    let step = |rate: f64| {
        let passed = rate <= 125_000.0;
        let p99 = if passed { 800.0 + rate / 50.0 } else { rate * 3.0 };
        Step {
            connections: 10_000,
            rate: Some(rate),
            achieved: rate * 0.9997,
            latency_us: Percentiles { count: 1000, p50: p99 / 3.0, p99, max: p99 * 4.0, ..NONE },
            passed,
            reason: if passed { String::new() } else { "p99 450 ms > 50 ms".into() },
        }
    };
    rates.into_iter().map(step).collect()
}

const NONE: Percentiles = Percentiles {
    count: 0,
    min: 0.0,
    mean: 0.0,
    stdev: 0.0,
    p50: 0.0,
    p75: 0.0,
    p90: 0.0,
    p99: 0.0,
    p99_9: 0.0,
    p99_99: 0.0,
    max: 0.0,
};

fn load_row(row: &mut Row, index: usize) {
    let wave = (index as f64 * 0.7).sin();
    row.achieved_rate = match row.phase {
        RowPhase::Connect | RowPhase::Settle | RowPhase::Leave => 0.0,
        RowPhase::WarmUp => 50_000.0,
        RowPhase::Measure => 100_000.0 + wave * 300.0,
    };
    row.target_rate = (row.achieved_rate > 0.0).then_some(100_000.0);
    row.received_rate =
        if index == 40 { 12_000.0 } else { (row.achieved_rate + wave * 900.0).max(0.0) };
    row.max_schedule_lag_us = 80.0 + 60.0 * wave;
    row.errors = if index == 40 { 1_204 } else { 0 };
    row.shed = if index == 41 { 1_300 } else { 0 };
    row.generator_cpus = 0.61 + 0.05 * wave;
    row.server_cpus = Some(if index == 40 { 0.1 } else { 0.93 + 0.04 * wave });
    row.tcp_buffer_bytes = 300_000 + (wave.abs() * 2e6) as u64;
}

/// Connections that were held and sent nothing: the least that a page can show.
pub(super) fn idle() -> Results {
    let handshakes = latencies(1.0, 3, 0.0);
    let mut histograms = BTreeMap::new();
    for name in ["connect", "upgrade", "handshake"] {
        histograms.insert(name.to_owned(), named("opening of a connection", &handshakes));
    }
    let phases = phases(&[(RowPhase::Connect, 4), (RowPhase::Measure, 10), (RowPhase::Leave, 1)]);
    Results { summary: idle_summary(histograms), intervals: phases }
}

fn idle_summary(histograms: BTreeMap<String, NamedHistogram>) -> Summary {
    Summary {
        tool: "loadtest".into(),
        version: "1.0.0".into(),
        format: 1,
        verdict: Verdict::Valid,
        exit_code: 0,
        reasons: Vec::new(),
        notes: Vec::new(),
        run_id: "5f3a9c0d12e4b687".into(),
        started_unix_seconds: 1_790_000_000.25,
        config: config(),
        environment: host(),
        connections: Connections {
            requested: 10_000,
            achieved: 10_000,
            opened: 10_000,
            lost: 0,
            closed_cleanly: 10_000,
            pings_answered: 20_000,
            connect_seconds: 0.8123,
            connects_per_second: 12_310.4,
            tls: None,
            compression: None,
        },
        messages: Messages::default(),
        rate: Rate::default(),
        latency_of: String::new(),
        latency_us: NONE,
        latency_uncorrected_us: NONE,
        latency_gap: String::new(),
        figures: Vec::new(),
        steps: Vec::new(),
        errors: Vec::new(),
        generator: generator(),
        server: Some(server()),
        kernel: Kernel {
            slab_bytes_per_connection: 8_121.5,
            tcp_buffer_bytes_max: 2_301_952,
            tcp_time_wait_after: 17,
        },
        histograms,
    }
}

fn config() -> Config {
    Config {
        scenario: "idle".into(),
        url: "ws://127.0.0.1:9001/echo".into(),
        connections: 10_000,
        threads: 2,
        cpus: vec![2, 3],
        source_addresses: 4,
        duration_seconds: 60.0,
        warmup_seconds: 5.0,
        interval_seconds: 1.0,
        load: None,
        rooms: None,
        tls: None,
        compression: None,
        verified: true,
        processes: 1,
    }
}

fn host() -> Environment {
    let settings = [("net.core.somaxconn", "4096"), ("net.ipv4.tcp_mem", "88560 118080 177120")];
    Environment {
        host: "bench-1".into(),
        kernel: "Linux 6.12.9".into(),
        cpu: "AMD Ryzen 9 7945HX".into(),
        cpus: 32,
        memory_bytes: 64 << 30,
        descriptors: 1_048_576,
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        command: ["loadtest", "echo", "--url", "ws://127.0.0.1:9001/echo", "--fail-if", "p99>50ms"]
            .map(str::to_owned)
            .into(),
    }
}

fn generator() -> Generator {
    let share = |cpu, busy, waiting| ThreadShare { cpu, busy, waiting };
    Generator {
        cpu_seconds: 41.2,
        resident_bytes: 31_457_280,
        resident_bytes_per_connection: 1_634.2,
        ring_pressure: 0,
        threads: vec![share(2, 0.614, 0.003), share(3, 0.587, 0.012)],
        cpus: vec![
            CpuShare { cpu: 2, busy: 0.614, waiting: 0.003 },
            CpuShare { cpu: 3, busy: 0.587, waiting: 0.012 },
        ],
        foreign_cpus_busy: Some(0.041),
    }
}

fn server() -> Server {
    Server {
        cpu_seconds: 56.2,
        cpu_user_seconds: Some(12.3),
        cpu_seconds_per_million_messages: Some(9.37),
        user_ns_per_message: Some(2_050.0),
        system_ns_per_message: Some(7_318.0),
        connect_cpu_seconds: 0.61,
        resident_before_bytes: 6 << 20,
        resident_connected_bytes: 21 << 20,
        resident_measured_bytes: 23 << 20,
        resident_after_bytes: 9 << 20,
        resident_bytes_per_connection: 1_572.9,
    }
}

/// A second each, without messages.
pub(super) fn phases(phases: &[(RowPhase, usize)]) -> Vec<Interval> {
    let all = phases.iter().flat_map(|&(phase, count)| std::iter::repeat_n(phase, count));
    let mut connections = 0;
    let row = |(index, phase)| {
        let opened = if phase == RowPhase::Connect { 2_500 } else { 0 };
        connections = if phase == RowPhase::Leave { 0 } else { connections + opened };
        let row = Row {
            t: (index + 1) as f64,
            length: 1.0,
            phase,
            connections,
            opened,
            farewells: 0,
            returned: 0,
            target_rate: None,
            achieved_rate: 0.0,
            received_rate: 0.0,
            sent: 0,
            received: 0,
            errors: 0,
            shed: 0,
            max_schedule_lag_us: 0.0,
            latency_us: NONE,
            latency_uncorrected_us: NONE,
            generator_cpus: 0.02,
            server_cpus: Some(if opened > 0 { 0.8 } else { 0.01 }),
            server_resident_bytes: Some((6 << 20) + connections * 1_573),
            tcp_buffer_bytes: 0,
        };
        Interval { row, latency: Packed::default(), latency_uncorrected: Packed::default() }
    };
    all.enumerate().map(row).collect()
}

/// Latencies with the long tail that echoes have: around 200 µs, up to `stall` µs.
fn latencies(slowness: f64, seed: usize, stall: f64) -> Histogram<u64> {
    let mut histogram = new_histogram();
    for index in 1..=5_000_u64 {
        let share = index as f64 / 5_001.0;
        let base = 150.0 + 40.0 * (seed as f64 * 0.9).sin() + 90.0 * share;
        let tail = 12.0 * (1.0 / (1.0 - share)).powf(0.62);
        let waited = stall * (share - 0.3).max(0.0);
        histogram.saturating_record(((base + tail) * slowness * 1_000.0 + waited * 1_000.0) as u64);
    }
    histogram
}

pub(super) fn packed(histogram: &Histogram<u64>) -> Packed {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut bytes).expect("a vector has room");
    Packed(bytes)
}

pub(super) fn named(of: &str, histogram: &Histogram<u64>) -> NamedHistogram {
    let v2 = STANDARD.encode(packed(histogram).0);
    NamedHistogram { of: of.into(), us: percentiles(histogram), v2 }
}

pub(super) fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
    Percentiles {
        count: histogram.len(),
        min: histogram.min() as f64 / 1_000.0,
        mean: histogram.mean() / 1_000.0,
        stdev: histogram.stdev() / 1_000.0,
        p50: us(0.5),
        p75: us(0.75),
        p90: us(0.9),
        p99: us(0.99),
        p99_9: us(0.999),
        p99_99: us(0.9999),
        max: histogram.max() as f64 / 1_000.0,
    }
}
