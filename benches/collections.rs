//! The slab and the wheel at the size of a full shard, touched in an order that defeats the cache.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use ringwire::collections::{GenerationalSlab, Key, Wheel};

/// Connections of a shard in use.
const ENTRIES: u32 = 100_000;

/// Prime to [`ENTRIES`]: steps of it visit every index once.
const STRIDE: u32 = 61_803;

/// Ticks to the deadline of a heartbeat.
const HEARTBEAT: u32 = 300;

criterion_group!(benches, slab, wheel);
criterion_main!(benches);

fn slab(criterion: &mut Criterion) {
    let mut slab = GenerationalSlab::with_capacity(ENTRIES as usize + 1);
    let keys: Vec<Key> =
        (0..ENTRIES).map(|value| slab.insert([u64::from(value); 8]).expect("has room")).collect();
    let mut group = criterion.benchmark_group("slab");
    let mut at = 0;
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            at = next_index(at);
            slab.get(black_box(keys[at as usize])).map(|value| value[0])
        });
    });
    group.bench_function("insert and remove", |bencher| {
        bencher.iter(|| {
            let key = slab.insert(black_box([0; 8])).expect("has room");
            slab.remove(key)
        });
    });
}

fn wheel(criterion: &mut Criterion) {
    let mut wheel = Wheel::new(1024);
    for index in 0..ENTRIES {
        wheel.arm(index, 1 + index % HEARTBEAT);
    }
    let mut group = criterion.benchmark_group("wheel");
    let mut at = 0;
    group.bench_function("arm again", |bencher| {
        bencher.iter(|| {
            at = next_index(at);
            wheel.arm(black_box(at), 1 + at % HEARTBEAT);
        });
    });
    group.bench_function("next due", |bencher| bencher.iter(|| black_box(&wheel).next_due()));
    let mut now = 0;
    group.bench_function("pop and arm", |bencher| {
        bencher.iter(|| {
            let index = loop {
                match wheel.pop_due(now) {
                    Some(index) => break index,
                    None => now = now.wrapping_add(1),
                }
            };
            wheel.arm(index, now.wrapping_add(HEARTBEAT));
        });
    });
}

fn next_index(index: u32) -> u32 {
    (index + STRIDE) % ENTRIES
}
