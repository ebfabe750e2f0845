//! Compressed messages of the clients (RFC 7692): one compressor and one decompressor for all
//! connections of a thread.

use ringwire::protocol::deflate::{Agreement, Deflater, History, Inflater, Sending};
use ringwire::protocol::{MessageKind, ProtocolError, Role};

use crate::args::CompressionArguments;
use crate::payload::{MASKING_KEY, MESSAGE_BYTES_MAX};

/// What a connection agreed to, and what its next messages may refer to.
#[derive(Debug)]
pub(crate) struct Compression {
    agreement: Agreement,
    sent: Option<History>,
    received: Option<History>,
}

impl Compression {
    /// Of a connection on which nothing was sent yet.
    pub(crate) fn new(agreement: Agreement) -> Self {
        let history = |sender| {
            let takes_over = agreement.takes_over(sender);
            takes_over.then(|| History::new(agreement.window_bits(sender)))
        };
        Self { agreement, sent: history(Role::Client), received: history(Role::Server) }
    }
}

/// Bytes on compressed connections: without compression, and with it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Pressed {
    /// Frames that were sent.
    pub(crate) sent: (u64, u64),
    /// Payloads of compressed messages that were received.
    pub(crate) received: (u64, u64),
}

impl Pressed {
    /// Adds what was counted elsewhere.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.sent.0 += other.sent.0;
        self.sent.1 += other.sent.1;
        self.received.0 += other.received.0;
        self.received.1 += other.received.1;
    }
}

/// What a thread compresses and inflates with.
#[derive(Debug)]
pub(crate) struct Press {
    deflater: Deflater,
    inflater: Inflater,
    least: usize,
    frames: Vec<u8>,
}

impl Press {
    /// As the user wants it.
    pub(crate) fn new(arguments: &CompressionArguments) -> Self {
        Self {
            deflater: Deflater::new(arguments.level()),
            inflater: Inflater::new(),
            least: arguments.least(),
            frames: Vec::new(),
        }
    }

    /// Whole frames as they go to the server.
    pub(crate) fn deflate(
        &mut self,
        of: &mut Compression,
        frames: &[u8],
        pressed: &mut Pressed,
    ) -> &[u8] {
        let sending = Sending {
            window_bits: of.agreement.window_bits(Role::Client),
            min_bytes: self.least,
            key: Some(MASKING_KEY),
        };
        self.frames.clear();
        self.deflater.deflate_frames(sending, of.sent.as_mut(), frames, &mut self.frames);
        pressed.sent.0 += frames.len() as u64;
        pressed.sent.1 += self.frames.len() as u64;
        &self.frames
    }

    /// What a compressed message of the server contains.
    ///
    /// # Errors
    /// When it is not compressed as it should be, or is text and not UTF-8.
    pub(crate) fn inflate(
        &mut self,
        of: &mut Compression,
        kind: MessageKind,
        compressed: &[u8],
        pressed: &mut Pressed,
    ) -> Result<&[u8], ProtocolError> {
        self.inflater.trim();
        let history = of.received.as_mut();
        let payload = self.inflater.inflate(history, compressed, MESSAGE_BYTES_MAX)?;
        if kind == MessageKind::Text && str::from_utf8(payload).is_err() {
            return Err(ProtocolError::TextInvalid);
        }
        pressed.received.0 += payload.len() as u64;
        pressed.received.1 += compressed.len() as u64;
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use ringwire::protocol::deflate::DeflatePolicy;
    use ringwire::protocol::encode_masked_frame;
    use ringwire::protocol::{AssemblyPool, Decoder, Event, Input, Limits, OpCode};

    use super::*;

    /// Frames of this end, as a server reads them.
    fn read(frames: &[u8]) -> (bool, Vec<u8>) {
        let mut frames = frames.to_vec();
        let mut pool = AssemblyPool::new(1 << 20);
        let limits = Limits { message_bytes_max: 1 << 20, fragments_max: 9, compressed: true };
        let mut input = Input::new(&mut frames);
        let mut decoder = Decoder::new(Role::Server);
        match decoder.next(&mut input, &mut pool, &limits) {
            Ok(Some(Event::Message { compressed, payload, .. })) => (compressed, payload.to_vec()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_survive_both_ways_with_and_without_takeover() {
        let message: Vec<u8> = (0..2_000_u32).map(|at| (at % 50) as u8 + b'A').collect();
        for takeover in [false, true] {
            let policy = DeflatePolicy { takeover, window_bits: 15 };
            let offer = Agreement::offer(policy);
            let (agreement, _) =
                Agreement::negotiate([&*offer].into_iter(), policy).expect("what was offered");
            let mut press = Press::new(&CompressionArguments::default());
            let (mut this, mut pressed) = (Compression::new(agreement), Pressed::default());
            let mut sizes = Vec::new();
            for _ in 0..3 {
                let mut frame = Vec::new();
                encode_masked_frame(&mut frame, OpCode::Text, &message, MASKING_KEY);
                let (is_compressed, payload) = read(press.deflate(&mut this, &frame, &mut pressed));
                assert!(is_compressed);
                sizes.push(payload.len());
                // The other way the histories are apart, and the bytes the same.
                let found = press.inflate(&mut this, MessageKind::Text, &payload, &mut pressed);
                assert_eq!(found, Ok(&message[..]));
            }
            assert_eq!(sizes[2] < sizes[0], takeover, "{sizes:?}");
            assert_eq!(pressed.received, (6_000, sizes.iter().sum::<usize>() as u64));
            assert!(pressed.sent.1 < pressed.sent.0 / 5, "{pressed:?}");
            let mut small = Vec::new();
            encode_masked_frame(&mut small, OpCode::Binary, &[b'a'; 255], MASKING_KEY);
            assert_eq!(press.deflate(&mut this, &small, &mut pressed), small);
        }
    }

    #[test]
    fn what_is_not_compressed_right_is_refused() {
        let policy = DeflatePolicy { takeover: false, window_bits: 15 };
        let offer = Agreement::offer(policy);
        let (agreement, _) =
            Agreement::negotiate([&*offer].into_iter(), policy).expect("what was offered");
        let mut press = Press::new(&CompressionArguments::default());
        let (mut this, mut pressed) = (Compression::new(agreement), Pressed::default());
        let found = press.inflate(&mut this, MessageKind::Binary, b"\xff\xff", &mut pressed);
        assert_eq!(found, Err(ProtocolError::DeflateCorrupt));
        let mut frame = Vec::new();
        encode_masked_frame(&mut frame, OpCode::Binary, &[0xFF; 300], MASKING_KEY);
        let (_, payload) = read(press.deflate(&mut this, &frame, &mut pressed));
        let found = press.inflate(&mut this, MessageKind::Text, &payload, &mut pressed);
        assert_eq!(found, Err(ProtocolError::TextInvalid));
    }
}
