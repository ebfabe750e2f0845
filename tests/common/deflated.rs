//! The other end of permessage-deflate (RFC 7692), by zlib alone: nothing of the server is in it.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use super::raw::{BINARY, Frame, RawClient, TEXT, frame, request};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::net::SocketAddr;

/// Marks a compressed message in its first byte (RFC 7692 section 6).
pub(crate) const RSV1: u8 = 0x40;

/// What a message leaves out at its end (RFC 7692 section 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// What is offered with these parameters, as a line of the request.
pub(crate) fn offer(parameters: &str) -> String {
    format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}\r\n")
}

/// The extensions that a response names.
pub(crate) fn granted(head: &str) -> Option<&str> {
    let name = "sec-websocket-extensions";
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let found = fields.find(|(found, _)| found.eq_ignore_ascii_case(name));
    assert!(fields.all(|(found, _)| !found.eq_ignore_ascii_case(name)), "twice in {head}");
    found.map(|(_, value)| value)
}

/// Text of words in no order: it compresses, with any window.
pub(crate) fn words(length: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 8] =
        ["anchor ", "breeze ", "cordage ", "drift ", "eddy ", "fathom ", "gunwale ", "halyard "];
    let mut noise = Noise(seed);
    let mut text = Vec::new();
    while text.len() < length {
        text.extend_from_slice(WORDS[usize::from(noise.byte() & 7)].as_bytes());
    }
    text.truncate(length);
    text
}

/// Text that resembles nothing but itself, and still becomes shorter.
pub(crate) fn unique(seed: u64) -> Vec<u8> {
    [digits(1000, seed), vec![b'-'; 500]].concat()
}

/// Text that comes twice, further apart than a window of so many bits: whoever looks back further
/// makes it half as long.
pub(crate) fn twofold(window_bits: u8, seed: u64) -> Vec<u8> {
    let digits = digits((1 << window_bits) * 5 / 4, seed);
    [&digits[..], &digits, &[b'-'; 500]].concat()
}

/// Nothing in it comes twice, but by chance.
fn digits(length: usize, seed: u64) -> Vec<u8> {
    let noise = noise(length, seed);
    noise.iter().map(|byte| b"0123456789abcdef"[usize::from(byte & 15)]).collect()
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise(seed);
    (0..length).map(|_| noise.byte()).collect()
}

/// The xorshift64* generator.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    }
}

/// A message that refers to none before it.
pub(crate) fn deflated(payload: &[u8]) -> Vec<u8> {
    Sender::new(15, false).deflate(payload)
}

/// One that compresses messages.
pub(crate) struct Sender {
    stream: Compress,
    takes_over: bool,
}

impl Sender {
    pub(crate) fn new(window_bits: u8, takes_over: bool) -> Self {
        let stream = Compress::new_with_window_bits(Compression::new(6), false, window_bits);
        Self { stream, takes_over }
    }

    pub(crate) fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.takes_over {
            self.stream.reset();
        }
        let mut out = Vec::with_capacity(payload.len() + payload.len() / 8 + 64);
        let before = self.stream.total_in();
        self.stream.compress_vec(payload, &mut out, FlushCompress::Sync).expect("it compresses");
        assert_eq!(self.stream.total_in() - before, payload.len() as u64);
        assert!(out.len() < out.capacity() && out.ends_with(&TAIL), "the flush is whole");
        out.truncate(out.len() - TAIL.len());
        out
    }
}

/// One that inflates messages, whatever window they need: zlib in Rust takes any reference as far
/// as the largest window goes.
pub(crate) struct Reader {
    stream: Decompress,
    /// What was agreed to.
    pub(crate) window_bits: u8,
    takes_over: bool,
}

impl Reader {
    pub(crate) fn new(window_bits: u8, takes_over: bool) -> Self {
        Self { stream: Decompress::new(false), window_bits, takes_over }
    }

    pub(crate) fn inflate(&mut self, compressed: &[u8]) -> Vec<u8> {
        if !self.takes_over {
            self.stream.reset(false);
        }
        let bytes = [compressed, &TAIL].concat();
        let (mut rest, mut out) = (&bytes[..], Vec::with_capacity(16 * 1024));
        loop {
            let before = self.stream.total_in();
            let status = self.stream.decompress_vec(rest, &mut out, FlushDecompress::Sync);
            assert_ne!(status.expect("it is DEFLATE"), Status::StreamEnd, "no stream ends");
            rest = &rest[(self.stream.total_in() - before) as usize..];
            if out.len() < out.capacity() {
                assert!(rest.is_empty(), "{} bytes are left", rest.len());
                return out;
            }
            out.reserve(out.len());
        }
    }
}

/// A connection on which compression was agreed to.
pub(crate) struct Deflating {
    pub(crate) raw: RawClient,
    pub(crate) sender: Sender,
    pub(crate) reader: Reader,
}

impl Deflating {
    /// Comes with an offer, which the server must take; goes by what the server makes of it.
    pub(crate) fn open(address: SocketAddr, path: &str, parameters: &str) -> Self {
        let mut raw = RawClient::connect(address);
        raw.send(&request(path, &offer(parameters)));
        let head = raw.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let granted = granted(&head).unwrap_or_else(|| panic!("nothing granted: {head}"));
        Self::by(raw, granted)
    }

    /// Over a connection that was granted this.
    pub(crate) fn by(raw: RawClient, granted: &str) -> Self {
        let bits = |name: &str| {
            let value = granted.split("; ").find_map(|part| part.strip_prefix(name));
            value.map_or(15, |value| value.parse().expect("a window is a number"))
        };
        let takes_over = |end: &str| !granted.contains(&format!("{end}_no_context_takeover"));
        // zlib cannot send with a window of 256 bytes; without takeover a message within it can.
        let own = bits("client_max_window_bits=").max(9);
        Self {
            raw,
            sender: Sender::new(own, takes_over("client")),
            reader: Reader::new(bits("server_max_window_bits="), takes_over("server")),
        }
    }

    /// Sends a message compressed.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        let compressed = self.sender.deflate(payload);
        self.raw.send_frame(first | RSV1, &compressed);
    }

    /// What a frame contains, and how long it was if it was compressed.
    pub(crate) fn read(&mut self, frame: &Frame) -> (Option<usize>, Vec<u8>) {
        assert!([TEXT, BINARY].contains(&(frame.first & !RSV1)), "{frame:?}");
        if frame.first & RSV1 == 0 {
            return (None, frame.payload.clone());
        }
        (Some(frame.payload.len()), self.reader.inflate(&frame.payload))
    }

    /// The next message.
    pub(crate) fn hear(&mut self) -> (Option<usize>, Vec<u8>) {
        let frame = self.raw.read_frame().expect("the server goes on");
        self.read(&frame)
    }

    /// Sends a message compressed and expects it back; says how long it was if it came compressed.
    #[track_caller]
    pub(crate) fn echo(&mut self, payload: &[u8]) -> Option<usize> {
        self.send(BINARY, payload);
        let (length, heard) = self.hear();
        assert!(heard == payload, "{} bytes came back as {}", payload.len(), heard.len());
        length
    }
}

/// A masked frame with a compressed message.
pub(crate) fn compressed_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first | RSV1, &deflated(payload))
}
