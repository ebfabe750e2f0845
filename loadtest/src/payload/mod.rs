//! The messages: prebuilt frames that carry a stamp, recognised when they come back.
//!
//! A stamp is 28 bytes at the front of the payload: sender and number of the message (4 bytes
//! each), the run (4), the time it was intended for and the time it was sent (8 each, nanoseconds
//! of the run's clock), the lowest byte first. In text each half byte is one hexadecimal digit.
//! Smaller messages carry sender and number only, the smallest the lowest bits of those.

mod sizes;

use ringwire::protocol::{MessageKind, OpCode, header, mask};

pub(crate) use self::sizes::{MESSAGE_BYTES_MAX, Sizes, bytes};

/// Bytes of sender and number, and of a whole stamp, in a binary message.
const NAME_BYTES: usize = 8;
const STAMP_BYTES: usize = 28;

/// Bytes that are compared in the middle and at the end of a message; shorter ones are compared as
/// a whole.
const SAMPLE_BYTES: usize = 8;

/// Masks every frame of a run. RFC 6455 section 5.3 wants a fresh random key for each frame, which
/// protects proxies; the server's work is the same with this one, and the generator has none.
pub(crate) const MASKING_KEY: [u8; 4] = [0x5A, 0xC3, 0x3C, 0xA5];

/// Bytes that a whole stamp takes.
pub(crate) const fn stamp_size(text: bool) -> usize {
    if text { 2 * STAMP_BYTES } else { STAMP_BYTES }
}

/// Bytes that sender and number take.
pub(crate) const fn name_size(text: bool) -> usize {
    if text { 2 * NAME_BYTES } else { NAME_BYTES }
}

/// What a message says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    /// The number of the connection that sends it.
    pub(crate) sender: u32,
    /// Its number among those of the sender.
    pub(crate) number: u32,
    /// When it was to be sent.
    pub(crate) intended: u64,
    /// When it is sent.
    pub(crate) sent: u64,
}

impl Stamp {
    /// Sender and number in one; no two messages of a run have the same.
    #[inline]
    pub(crate) const fn name(&self) -> u64 {
        (self.sender as u64) << 32 | self.number as u64
    }

    /// Writes what there is room for.
    #[inline]
    fn write(&self, run: u32, kind: MessageKind, place: &mut [u8]) {
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&self.name().to_le_bytes());
        bytes[8..12].copy_from_slice(&run.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.intended.to_le_bytes());
        bytes[20..].copy_from_slice(&self.sent.to_le_bytes());
        if kind == MessageKind::Binary {
            place.copy_from_slice(&bytes[..place.len()]);
        } else {
            let digits = bytes.iter().flat_map(|byte| [byte & 0xF, byte >> 4]);
            place.iter_mut().zip(digits).for_each(|(place, digit)| *place = hexadecimal(digit));
        }
    }
}

/// What a received message says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Received {
    /// Sender and number, or the lowest bits of them.
    pub(crate) name: u64,
    /// The intended and the actual time of sending, if the message had room for them.
    pub(crate) times: Option<(u64, u64)>,
}

/// Why a message is none of this run's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flaw {
    /// It was never sent like this.
    Corrupt,
    /// It is of another run, or of a kind and size that this one does not send.
    Foreign,
}

/// Which message of a client an answer answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// The one that is awaited.
    Awaited,
    /// One that was answered before.
    Earlier,
    /// One so many messages later.
    Later(u32),
    /// None that was sent.
    Unknown,
}

/// The messages of a run, of one size or several.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    sizes: Sizes,
    templates: Vec<Template>,
    run: u32,
    verify: bool,
}

impl Payloads {
    /// Messages of the run with this number; whether those that are received are compared with
    /// what was sent.
    pub(crate) fn new(sizes: &Sizes, text: bool, run: u32, verify: bool) -> Self {
        let templates = sizes.sizes.iter().map(|&(size, _)| Template::new(size, text)).collect();
        Self { sizes: sizes.clone(), templates, run, verify }
    }

    /// The masked frame of a message.
    #[inline]
    pub(crate) fn frame(&mut self, stamp: &Stamp) -> &[u8] {
        let template = self.sizes.of(stamp.name());
        self.templates[template].stamped(stamp, self.run)
    }

    /// What the receiver of a message sees, without a frame around it.
    #[inline]
    pub(crate) fn payload(&mut self, stamp: &Stamp) -> &[u8] {
        let template = self.sizes.of(stamp.name());
        self.templates[template].stamped_payload(stamp, self.run)
    }

    /// What a received message says of itself. The kind, the length, the run and samples of the
    /// payload are checked.
    ///
    /// # Errors
    /// When it is no message of this run.
    #[inline]
    pub(crate) fn read(&self, kind: MessageKind, payload: &[u8]) -> Result<Received, Flaw> {
        let of_size = |template: &&Template| template.payload.len() == payload.len();
        let template = self.templates.iter().find(of_size).ok_or(Flaw::Foreign)?;
        template.read(kind, payload, self.run, self.verify)
    }

    /// Which message `payload` answers, when the one with the stamp `awaited` is awaited.
    ///
    /// # Errors
    /// When it is no message of this run.
    #[inline]
    pub(crate) fn answer(
        &self,
        kind: MessageKind,
        payload: &[u8],
        awaited: &Stamp,
    ) -> Result<Answer, Flaw> {
        if !self.verify {
            return Ok(Answer::Awaited);
        }
        let received = self.read(kind, payload)?;
        if self.is(received, awaited.name(), payload.len()) {
            return Ok(Answer::Awaited);
        }
        let of_client = (received.name >> 32) as u32 == awaited.sender
            && payload.len() >= name_size(kind == MessageKind::Text);
        if !of_client || !self.is(received, received.name, payload.len()) {
            return Ok(Answer::Unknown);
        }
        let ahead = (received.name as u32).wrapping_sub(awaited.number);
        Ok(if ahead < 1 << 31 { Answer::Later(ahead) } else { Answer::Earlier })
    }

    /// Whether `received`, read from a payload of `size` bytes, is the message with this name.
    #[inline]
    pub(crate) fn is(&self, received: Received, name: u64, size: usize) -> bool {
        let template = &self.templates[self.sizes.of(name)];
        template.payload.len() == size && template.is_name(received.name, name)
    }
}

/// A message of one size as a masked frame.
#[derive(Clone, Debug)]
struct Template {
    frame: Vec<u8>,
    payload_at: usize,
    /// What a receiver sees, but for the stamp, which is that of another message.
    payload: Vec<u8>,
    stamp_bytes: usize,
    is_whole: bool,
    kind: MessageKind,
}

/// What does not compress.
fn noise(size: usize) -> Vec<u8> {
    (0..size as u64).map(|position| mix(position) as u8).collect()
}

/// What compresses as JSON does: the names come again and again, the values do not. Without quotes,
/// so that it can be a string of JSON as it is.
fn records(size: usize) -> Vec<u8> {
    let mut text = String::with_capacity(size + 128);
    for number in 0.. {
        if text.len() >= size {
            break;
        }
        let value = mix(number);
        let (id, price, volume) = (value >> 40, value % 100_000, (value >> 20) % 1000);
        let side = if value & 1 == 0 { "buy" } else { "sell" };
        text.push_str(&format!(
            "{{id:{id},price:{}.{:02},volume:{volume},side:{side}}},",
            price / 100,
            price % 100
        ));
    }
    text.truncate(size);
    text.into_bytes()
}

impl Template {
    fn new(size: usize, text: bool) -> Self {
        let kind = if text { MessageKind::Text } else { MessageKind::Binary };
        let payload = if text { records(size) } else { noise(size) };
        let (head, head_size) = header(true, OpCode::from(kind), size, Some(MASKING_KEY));
        let mut frame = head[..head_size].to_vec();
        frame.extend_from_slice(&payload);
        mask::apply(&mut frame[head_size..], MASKING_KEY);
        let is_whole = size >= stamp_size(text);
        let stamp_bytes = if is_whole { stamp_size(text) } else { name_size(text).min(size) };
        Self { frame, payload_at: head_size, payload, stamp_bytes, is_whole, kind }
    }

    #[inline]
    fn stamped(&mut self, stamp: &Stamp, run: u32) -> &[u8] {
        let place = &mut self.frame[self.payload_at..self.payload_at + self.stamp_bytes];
        stamp.write(run, self.kind, place);
        mask::apply(place, MASKING_KEY);
        &self.frame
    }

    #[inline]
    fn stamped_payload(&mut self, stamp: &Stamp, run: u32) -> &[u8] {
        stamp.write(run, self.kind, &mut self.payload[..self.stamp_bytes]);
        &self.payload
    }

    #[inline]
    fn read(
        &self,
        kind: MessageKind,
        payload: &[u8],
        run: u32,
        verify: bool,
    ) -> Result<Received, Flaw> {
        if verify && kind != self.kind {
            return Err(Flaw::Foreign);
        }
        if verify && !self.samples_match(payload) {
            return Err(Flaw::Corrupt);
        }
        let mut bytes = [0; STAMP_BYTES];
        let stamp = &payload[..self.stamp_bytes];
        match self.kind {
            MessageKind::Binary => bytes[..stamp.len()].copy_from_slice(stamp),
            MessageKind::Text => digits(stamp, &mut bytes).ok_or(Flaw::Corrupt)?,
        }
        let number = |at: usize| {
            u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut out"))
        };
        if self.is_whole && bytes[8..12] != run.to_le_bytes() {
            return Err(Flaw::Foreign);
        }
        Ok(Received { name: number(0), times: self.is_whole.then(|| (number(12), number(20))) })
    }

    #[inline]
    fn is_name(&self, received: u64, name: u64) -> bool {
        let bits = match self.kind {
            MessageKind::Binary => 8 * self.stamp_bytes.min(NAME_BYTES),
            MessageKind::Text => 4 * self.stamp_bytes.min(2 * NAME_BYTES),
        };
        bits == 0 || (received ^ name) << (64 - bits) == 0
    }

    #[inline]
    fn samples_match(&self, payload: &[u8]) -> bool {
        let (start, end) = (self.stamp_bytes, payload.len());
        if end - start <= 2 * SAMPLE_BYTES {
            return payload[start..] == self.payload[start..];
        }
        let middle = start + (end - start) / 2 - SAMPLE_BYTES;
        payload[middle..middle + SAMPLE_BYTES] == self.payload[middle..middle + SAMPLE_BYTES]
            && payload[end - SAMPLE_BYTES..] == self.payload[end - SAMPLE_BYTES..]
    }
}

/// Scatters the bits of a number (the finisher of splitmix64).
#[inline]
pub(crate) const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

const fn hexadecimal(digit: u8) -> u8 {
    b"0123456789abcdef"[digit as usize & 0xF]
}

/// The bytes that digits stand for, the lower half of each first.
fn digits(digits: &[u8], bytes: &mut [u8; STAMP_BYTES]) -> Option<()> {
    for (at, &digit) in digits.iter().enumerate() {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        bytes[at / 2] |= value << (4 * (at % 2));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u32 = 77;

    fn payloads(sizes: &str, text: bool) -> Payloads {
        Payloads::new(&sizes.parse().expect("sizes"), text, RUN, true)
    }

    fn stamp(name: u64) -> Stamp {
        let (sender, number) = ((name >> 32) as u32, name as u32);
        Stamp { sender, number, intended: 1_234_567_890_123, sent: u64::MAX - 5 }
    }

    /// What a server that echoes would see and send back.
    fn unmasked(payloads: &mut Payloads, stamp: &Stamp) -> Vec<u8> {
        let at = payloads.templates[payloads.sizes.of(stamp.name())].payload_at;
        let mut payload = payloads.frame(stamp)[at..].to_vec();
        mask::apply(&mut payload, MASKING_KEY);
        payload
    }

    #[test]
    fn stamps_survive_the_round_trip() {
        for text in [false, true] {
            let kind = if text { MessageKind::Text } else { MessageKind::Binary };
            for size in [0, 1, 7, 8, 15, 16, 17, 27, 28, 40, 55, 56, 125, 126, 65_536] {
                let mut payloads = payloads(&size.to_string(), text);
                for name in [0, 1, 0xFEDC_BA98_7654_3210, u64::MAX] {
                    let stamp = stamp(name);
                    let payload = unmasked(&mut payloads, &stamp);
                    assert_eq!(payload.len(), size);
                    assert_eq!(payload, payloads.payload(&stamp));
                    let received = payloads.read(kind, &payload).expect("a message of ours");
                    assert!(payloads.is(received, name, size), "size {size}");
                    assert!(size == 0 || !payloads.is(received, name ^ 1, size), "size {size}");
                    let whole = size >= stamp_size(text);
                    assert_eq!(received.times, whole.then_some((stamp.intended, stamp.sent)));
                }
            }
        }
    }

    #[test]
    fn whatever_was_not_sent_is_refused() {
        let mut ours = payloads("100", true);
        let payload = unmasked(&mut ours, &stamp(7));
        assert!(str::from_utf8(&payload).is_ok());
        assert_eq!(ours.read(MessageKind::Binary, &payload), Err(Flaw::Foreign));
        assert_eq!(ours.read(MessageKind::Text, &payload[..99]), Err(Flaw::Foreign));
        for damaged in [0, 77, 99] {
            let mut payload = payload.clone();
            payload[damaged] = b'?';
            let read = ours.read(MessageKind::Text, &payload);
            assert_eq!(read, Err(Flaw::Corrupt), "byte {damaged}");
        }
        let theirs = Payloads { run: RUN + 1, ..ours };
        assert_eq!(theirs.read(MessageKind::Text, &payload), Err(Flaw::Foreign));
    }

    #[test]
    fn answers_are_told_apart() {
        let mut ours = payloads("30", false);
        let mut answer = |number: u32, awaited: u32| {
            let payload = unmasked(&mut ours, &stamp(7 << 32 | u64::from(number)));
            let awaited = stamp(7 << 32 | u64::from(awaited));
            ours.answer(MessageKind::Binary, &payload, &awaited)
        };
        assert_eq!(answer(5, 5), Ok(Answer::Awaited));
        assert_eq!(answer(4, 5), Ok(Answer::Earlier));
        assert_eq!(answer(1, u32::MAX), Ok(Answer::Later(2)));
        let theirs = unmasked(&mut ours, &stamp(8 << 32 | 5));
        let awaited = stamp(7 << 32 | 5);
        let found = ours.answer(MessageKind::Binary, &theirs, &awaited);
        assert_eq!(found, Ok(Answer::Unknown));
        let small = payloads("3", false);
        let found = small.answer(MessageKind::Binary, &[4, 0, 0], &awaited);
        assert_eq!(found, Ok(Answer::Unknown), "too little of the number is there to tell");
    }

    #[test]
    fn sizes_are_drawn_by_their_weights() {
        let sizes: Sizes = "10:3,1KiB:1".parse().expect("two sizes");
        assert_eq!(sizes.bounds(), (10, 1024));
        let small = (0..10_000).filter(|&name| sizes.of(name) == 0).count();
        assert!((7_300..7_700).contains(&small), "{small}");
        let mut payloads = payloads("10:3,1KiB:1", false);
        for name in 0..100 {
            let payload = unmasked(&mut payloads, &stamp(name));
            let received = payloads.read(MessageKind::Binary, &payload).expect("a message");
            assert!(payloads.is(received, name, payload.len()));
            assert!(!payloads.is(received, name, 1034 - payload.len()), "the other size");
        }
    }
}
