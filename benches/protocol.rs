//! The costs of the codec: header, mask, UTF-8, and whole streams through the decoder.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringwire::protocol::deflate::{Deflater, History, Inflater};
use ringwire::protocol::{
    AssemblyPool, Decoder, Input, Limits, OpCode, Role, encode_fragment, encode_frame,
    encode_masked_frame, header, mask, upgrade,
};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const LIMITS: Limits =
    Limits { message_bytes_max: 1 << 20, fragments_max: 1024, compressed: false };
const FRAMES: usize = 1000;

fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("header");
    for length in [64_usize, 4096, 1 << 20] {
        group.bench_with_input(BenchmarkId::new("encode", length), &length, |bencher, &length| {
            bencher.iter(|| header(true, OpCode::Binary, black_box(length), None));
        });
    }
    group.finish();
}

fn masks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mask");
    for size in [16, 64, 125, 1024, 64 * 1024] {
        let mut payload = vec![0x5A; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| mask::apply(black_box(&mut payload), black_box(KEY)));
        });
    }
    group.finish();
}

/// `FRAMES` masked frames of `size` bytes, and the time to hand them all out.
fn whole_frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decoder/1000 whole frames");
    for (opcode, size) in
        [(OpCode::Binary, 16), (OpCode::Binary, 64), (OpCode::Text, 64), (OpCode::Binary, 512)]
    {
        let mut stream = Vec::new();
        for _ in 0..FRAMES {
            encode_masked_frame(&mut stream, opcode, &vec![b'a'; size], KEY);
        }
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(BenchmarkId::new(format!("{opcode:?}"), size), |bencher| {
            bencher.iter_batched_ref(
                || stream.clone(),
                |stream| assert_eq!(decode(stream), FRAMES),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// Text of one, two and three bytes per character, in one frame and in pieces of 1,000 bytes that
/// cut characters.
fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, character) in [("ascii", "a"), ("two bytes", "é"), ("three bytes", "語")] {
        let text = character.repeat(60_000 / character.len());
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut whole = Vec::new();
        encode_masked_frame(&mut whole, OpCode::Text, text.as_bytes(), KEY);
        let mut pieces = Vec::new();
        encode_fragment(&mut pieces, false, OpCode::Text, b"", Some(KEY));
        for piece in text.as_bytes().chunks(1000) {
            encode_fragment(&mut pieces, false, OpCode::Continuation, piece, Some(KEY));
        }
        encode_fragment(&mut pieces, true, OpCode::Continuation, b"", Some(KEY));
        for (form, stream) in [("one frame", whole), ("fragments", pieces)] {
            group.bench_function(BenchmarkId::new(name, form), |bencher| {
                bencher.iter_batched_ref(
                    || stream.clone(),
                    |stream| assert_eq!(decode(stream), 1),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn encoders(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encoder");
    for size in [64, 512, 16 * 1024] {
        let payload = vec![b'a'; size];
        let mut out = Vec::with_capacity(size + 14);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("server", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_frame(&mut out, OpCode::Binary, black_box(&payload));
            });
        });
        group.bench_function(BenchmarkId::new("client", size), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_masked_frame(&mut out, OpCode::Binary, black_box(&payload), KEY);
            });
        });
    }
    group.finish();
}

/// A message of 4 KiB, like those of a chat: alone, as one copy for all, and with what came before.
fn compression(criterion: &mut Criterion) {
    let mut message = Vec::new();
    for number in 0_u32.. {
        let (user, hash) = (number % 7, number.wrapping_mul(0x9E37_79B1));
        message.extend_from_slice(
            format!(r#"{{"type":"message","room":"lobby","user":"user{user}","id":"{hash:x}"}},"#)
                .as_bytes(),
        );
        if message.len() >= 4096 {
            break;
        }
    }
    message.truncate(4096);
    let mut group = criterion.benchmark_group("deflate/4 KiB");
    group.throughput(Throughput::Bytes(message.len() as u64));
    for (name, level, takeover) in
        [("level 1", 1, None), ("level 6", 6, None), ("level 1, takeover 12", 1, Some(12))]
    {
        let mut deflater = Deflater::new(level);
        let window_bits = takeover.unwrap_or(15);
        let mut history = takeover.map(History::new);
        // With takeover the history is full of messages alike.
        let mut out = Vec::new();
        let mut last = Vec::new();
        for _ in 0..2 {
            last.clear();
            deflater.deflate(window_bits, history.as_mut(), &message, &mut last);
        }
        println!("{name}: {} bytes", last.len());
        group.bench_function(BenchmarkId::new("deflate", name), |bencher| {
            bencher.iter(|| {
                out.clear();
                deflater.deflate(window_bits, history.as_mut(), black_box(&message), &mut out);
            });
        });
        let mut inflater = Inflater::new();
        let mut history = takeover.map(History::new);
        if let Some(history) = &mut history {
            let mut first = Vec::new();
            deflater.deflate(window_bits, None, &message, &mut first);
            inflater.inflate(Some(history), &first, 4096).expect("our own");
        }
        group.bench_function(BenchmarkId::new("inflate", name), |bencher| {
            bencher.iter(|| {
                let message = inflater.inflate(history.as_mut(), black_box(&last), 4096);
                black_box(message.expect("our own").len())
            });
        });
    }
    group.finish();
}

fn upgrades(criterion: &mut Criterion) {
    let mut head = Vec::new();
    let agent = ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101");
    let origin = ("Origin", "https://chat.example.org");
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    upgrade::write_request(&mut head, "chat.example.org", "/chat", key, &[], &[agent, origin]);
    let mut out = Vec::new();
    criterion.bench_function("upgrade", |bencher| {
        bencher.iter(|| {
            out.clear();
            let end = upgrade::HeadScanner::new().end_of_head(black_box(&head)).unwrap().unwrap();
            match upgrade::parse_request(&head[..end]) {
                Ok(upgrade::Request::Upgrade(request)) => {
                    upgrade::accept(&mut out, &request, None, None);
                }
                other => panic!("{other:?}"),
            }
        });
    });
}

fn decode(stream: &mut [u8]) -> usize {
    let mut decoder = Decoder::new(Role::Server);
    let mut pool = AssemblyPool::new(2 << 20);
    let mut input = Input::new(stream);
    let mut events = 0;
    while let Some(event) = decoder.next(&mut input, &mut pool, &LIMITS).expect("a valid stream") {
        black_box(event);
        events += 1;
    }
    decoder.release(&mut pool);
    events
}

criterion_group!(benches, headers, masks, whole_frames, text, encoders, compression, upgrades);
criterion_main!(benches);
