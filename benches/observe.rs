//! What an echo pays to be counted: its own counters, and its share of what a turn tells. An echo
//! costs 3.5 µs of processor time in all.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ringwire::observe::{Histogram, ShardCounters, exposition};

criterion_group!(benches, counting, reading);
criterion_main!(benches);

fn counting(criterion: &mut Criterion) {
    let counters = Box::new(ShardCounters::default());
    let start = Instant::now();
    let mut group = criterion.benchmark_group("observe");
    group.bench_function("one echo", |bencher| bencher.iter(|| count_echo(&counters)));
    group.bench_function("one turn", |bencher| bencher.iter(|| tell_turn(&counters)));
    // The most that an echo can pay: nobody shares its turn.
    group.bench_function("one echo alone in its turn", |bencher| {
        bencher.iter(|| {
            count_echo(&counters);
            tell_turn(&counters);
            counters.turn_time.record(black_box(start).elapsed());
        });
    });
    let histogram = Histogram::default();
    let mut nanoseconds = 1_000;
    group.bench_function("one time", |bencher| {
        bencher.iter(|| {
            // Through all octaves, in steps that a predictor cannot learn.
            nanoseconds = nanoseconds * 48_271 % 0x7FFF_FFFF;
            histogram.record(Duration::from_nanos(black_box(nanoseconds)));
        });
    });
}

/// As a shard does for each message that it reads and sends back.
fn count_echo(counters: &ShardCounters) {
    counters.bytes_received.add(black_box(518));
    counters.messages_received.add(black_box(1));
    counters.messages_sent.add(black_box(1));
    counters.bytes_sent.add(black_box(514));
}

/// As a shard does once per turn, its two clocks apart.
fn tell_turn(counters: &ShardCounters) {
    counters.turns.add(1);
    counters.completions.add(black_box(1));
    for gauge in [
        &counters.completion_queue_depth,
        &counters.connections,
        &counters.audience,
        &counters.rooms,
        &counters.room_members,
        &counters.history_messages,
        &counters.history_bytes,
        &counters.assembly_bytes,
        &counters.replies_kept_bytes,
        &counters.slow_readers,
        &counters.backlog_bytes,
        &counters.completion_pressure,
    ] {
        gauge.set(black_box(1));
    }
}

/// What a scrape and a look at percentiles cost the thread that asks.
fn reading(criterion: &mut Criterion) {
    let shards: Vec<ShardCounters> = (0..4).map(|_| ShardCounters::default()).collect();
    for (number, shard) in shards.iter().enumerate() {
        (1..1000)
            .for_each(|step| shard.turn_time.record(Duration::from_micros(step + number as u64)));
    }
    let mesh = ringwire::mesh::Mesh::new(shards.len()).expect("the host has descriptors");
    let mut group = criterion.benchmark_group("observe");
    group.bench_function("exposition of 4 shards", |bencher| {
        bencher.iter(|| exposition(&shards, &mesh, None));
    });
    group.bench_function("snapshot", |bencher| bencher.iter(|| shards[0].turn_time.snapshot()));
}
