//! Bytes in, events out: frames, fragments, limits and text, cut anywhere.

use std::ops::Range;

use simdutf8::basic;

use super::assembly::Assembly;
use super::header::{HEADER_BYTES_MAX, Header};
use super::{
    AssemblyPool, Event, Input, Limits, MessageKind, OpCode, ProtocolError, Role, close, mask,
};

/// Where in the stream of frames a decoder is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// In front of a header or inside it.
    Header { bytes: HeaderPart, len: u8 },
    /// Inside a payload.
    Payload(Frame),
    /// After a close frame: what follows is ignored (RFC 6455 section 5.5.1).
    Closed,
    /// After an error, for good.
    Failed(ProtocolError),
}

/// All but the last byte of the longest header. With one more, what a decoder is in the middle of
/// would not fit 16 bytes.
type HeaderPart = [u8; HEADER_BYTES_MAX - 1];

/// A frame whose header was read and whose payload is not complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// Bytes of payload still to come.
    remaining: u64,
    /// Begins at the next byte of payload.
    key: [u8; 4],
    opcode: OpCode,
    fin: bool,
    /// The message that it belongs to is compressed.
    compressed: bool,
}

const BETWEEN_FRAMES: Phase = Phase::Header { bytes: [0; HEADER_BYTES_MAX - 1], len: 0 };

/// A complete message or control frame, and where its payload lies.
struct Ready {
    /// Never a continuation: a message carries the opcode of its first frame.
    opcode: OpCode,
    compressed: bool,
    payload: Place,
}

enum Place {
    Input(Range<usize>),
    Message,
    Control,
}

/// The receiving half of one connection. It holds no buffer between messages.
#[derive(Debug)]
pub struct Decoder {
    phase: Phase,
    assembly: Option<Box<Assembly>>,
    /// Frames of the open message so far.
    fragments: u16,
    /// The type of the open message: set between its first frame and its last.
    message: Option<MessageKind>,
    /// The open message is compressed.
    compressed: bool,
    role: Role,
}

// One sits in every idle connection.
const _: () = assert!(size_of::<Decoder>() <= 32);

impl Decoder {
    /// A decoder for what this end receives after the upgrade.
    pub const fn new(role: Role) -> Self {
        Self {
            phase: BETWEEN_FRAMES,
            assembly: None,
            fragments: 0,
            message: None,
            compressed: false,
            role,
        }
    }

    /// The next event, or `None` when the input is used up. Call it until then: a delivered message
    /// keeps its buffer until the next call.
    ///
    /// Text fails at its first byte that cannot be UTF-8, unless it is compressed, and a length at
    /// its header, without waiting for the rest of the frame. How the stream is cut into chunks
    /// changes nothing, except that only what is cut needs memory and can be
    /// [`ProtocolError::Overloaded`].
    ///
    /// # Errors
    ///
    /// A broken rule or limit ends the connection: every later call returns the same error. After a
    /// close event every later call ignores its input and returns `Ok(None)`.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        pool: &mut AssemblyPool,
        limits: &Limits,
    ) -> Result<Option<Event<'a>>, ProtocolError> {
        if self.assembly.is_some() {
            self.forget_delivered(pool);
        }
        let ready = match self.advance(input, pool, limits) {
            Ok(Some(ready)) => ready,
            Ok(None) => return Ok(None),
            Err(error) => {
                self.release(pool);
                self.phase = Phase::Failed(error);
                return Err(error);
            }
        };
        let payload = match (ready.payload, &self.assembly) {
            (Place::Input(range), _) => &input.bytes[range],
            (Place::Message, Some(assembly)) => assembly.message(),
            (Place::Control, Some(assembly)) => assembly.control(),
            // Only empty fragments.
            (_, None) => &[],
        };
        let compressed = ready.compressed;
        Ok(Some(match ready.opcode {
            OpCode::Text => Event::Message { kind: MessageKind::Text, compressed, payload },
            OpCode::Binary => Event::Message { kind: MessageKind::Binary, compressed, payload },
            OpCode::Ping => Event::Ping(payload),
            OpCode::Pong => Event::Pong(payload),
            OpCode::Close => {
                let parsed = close::parse(payload);
                self.phase = parsed.map_or_else(Phase::Failed, |_| Phase::Closed);
                self.message = None;
                let (code, reason) = parsed?;
                Event::Close { code, reason }
            }
            OpCode::Continuation => unreachable!("a message carries the opcode of its first frame"),
        }))
    }

    /// Whether a frame or a fragmented message has begun and is unfinished; a part of a header
    /// counts. Such a connection owes bytes and deserves a deadline.
    pub const fn in_message(&self) -> bool {
        match self.phase {
            Phase::Header { len, .. } => len > 0 || self.message.is_some(),
            Phase::Payload(_) => true,
            Phase::Closed | Phase::Failed(_) => false,
        }
    }

    /// Gives the buffers back. To be called when the connection ends; whatever was unfinished is
    /// lost, and what comes after is ignored.
    pub fn release(&mut self, pool: &mut AssemblyPool) {
        if let Some(assembly) = self.assembly.take() {
            pool.release(assembly);
        }
        self.message = None;
        if !matches!(self.phase, Phase::Failed(_)) {
            self.phase = Phase::Closed;
        }
    }

    /// Frees what the previous event borrowed.
    fn forget_delivered(&mut self, pool: &mut AssemblyPool) {
        match (&self.phase, &mut self.assembly) {
            (Phase::Payload(_), _) => {}
            (_, Some(assembly)) if self.message.is_some() => assembly.clear_control(),
            (_, assembly) => {
                if let Some(assembly) = assembly.take() {
                    pool.release(assembly);
                }
            }
        }
    }

    /// Goes through frames until one completes an event or the input is used up.
    fn advance(
        &mut self,
        input: &mut Input<'_>,
        pool: &mut AssemblyPool,
        limits: &Limits,
    ) -> Result<Option<Ready>, ProtocolError> {
        loop {
            let frame = match self.phase {
                Phase::Header { bytes, len } => {
                    let header = if len == 0 {
                        self.read_header(input, limits)?
                    } else {
                        self.resume_header(bytes, len, input, limits)?
                    };
                    match header {
                        Some(header) => self.begin_frame(&header, limits)?,
                        None => return Ok(None),
                    }
                }
                Phase::Payload(frame) => frame,
                Phase::Closed => {
                    input.take(input.remaining());
                    return Ok(None);
                }
                Phase::Failed(error) => return Err(error),
            };
            let ready = if self.is_whole(&frame, input) {
                self.take_whole(frame, input)?
            } else {
                self.take_part(frame, input, pool, limits)?
            };
            if ready.is_some() || matches!(self.phase, Phase::Payload(_)) {
                return Ok(ready);
            }
        }
    }

    /// Reads a header that begins in this input; keeps the part of one that does not end in it.
    #[inline]
    fn read_header(
        &mut self,
        input: &mut Input<'_>,
        limits: &Limits,
    ) -> Result<Option<Header>, ProtocolError> {
        let rest = input.rest();
        if let Some(header) = Header::parse(self.role, limits.compressed, rest)? {
            input.take(header.size);
            return Ok(Some(header));
        }
        let mut bytes = [0; HEADER_BYTES_MAX - 1];
        let count = rest.len();
        bytes[..count].copy_from_slice(rest);
        input.take(count);
        self.phase = Phase::Header { bytes, len: count as u8 };
        Ok(None)
    }

    /// Completes a header that began in an earlier input.
    #[cold]
    fn resume_header(
        &mut self,
        begun: HeaderPart,
        len: u8,
        input: &mut Input<'_>,
        limits: &Limits,
    ) -> Result<Option<Header>, ProtocolError> {
        let mut len = usize::from(len);
        let mut bytes = [0; HEADER_BYTES_MAX];
        bytes[..len].copy_from_slice(&begun[..len]);
        // Twice at most: the second byte tells how many follow.
        loop {
            let missing = Header::size(&bytes[..len]) - len;
            let count = missing.min(input.remaining());
            bytes[len..len + count].copy_from_slice(&input.rest()[..count]);
            input.take(count);
            len += count;
            let header = Header::parse(self.role, limits.compressed, &bytes[..len])?;
            if header.is_some() {
                return Ok(header);
            }
            if input.is_empty() {
                let mut begun = [0; HEADER_BYTES_MAX - 1];
                begun[..len].copy_from_slice(&bytes[..len]);
                self.phase = Phase::Header { bytes: begun, len: len as u8 };
                return Ok(None);
            }
        }
    }

    /// Checks a header against the open message and the limits (RFC 6455 sections 5.4 and 10.4).
    #[inline]
    fn begin_frame(&mut self, header: &Header, limits: &Limits) -> Result<Frame, ProtocolError> {
        let &Header { opcode, fin, compressed, length, key, .. } = header;
        let mut frame = Frame { remaining: length, key, opcode, fin, compressed };
        if opcode.is_control() {
            return Ok(frame);
        }
        let continues = opcode == OpCode::Continuation;
        frame.compressed |= continues && self.compressed;
        if continues != self.message.is_some() {
            return Err(if continues {
                ProtocolError::ContinuationUnexpected
            } else {
                ProtocolError::ContinuationExpected
            });
        }
        // Compared as declared, before any arithmetic or cast.
        if length > limits.wire_bytes_max(frame.compressed) as u64 {
            return Err(ProtocolError::MessageTooBig);
        }
        if !frame.is_unfragmented() {
            self.begin_fragment(&frame, limits)?;
        }
        Ok(frame)
    }

    /// Counts a fragment: its bytes with those before it, and itself, be it empty.
    fn begin_fragment(&mut self, frame: &Frame, limits: &Limits) -> Result<(), ProtocolError> {
        if self.message.is_none() {
            self.fragments = 0;
        }
        if self.fragments >= limits.fragments_max {
            return Err(ProtocolError::FragmentsTooMany);
        }
        self.fragments += 1;
        let received = self.assembly.as_ref().map_or(0, |assembly| assembly.message().len() as u64);
        match received.checked_add(frame.remaining) {
            Some(total) if total <= limits.wire_bytes_max(frame.compressed) as u64 => {}
            _ => return Err(ProtocolError::MessageTooBig),
        }
        self.compressed = frame.compressed;
        match frame.opcode {
            OpCode::Text => self.message = Some(MessageKind::Text),
            OpCode::Binary => self.message = Some(MessageKind::Binary),
            _ => {}
        }
        Ok(())
    }

    /// Whether the frame is an event by itself, lies whole in the input and nothing of it was kept.
    #[inline]
    fn is_whole(&self, frame: &Frame, input: &Input<'_>) -> bool {
        frame.remaining <= input.remaining() as u64
            && match &self.assembly {
                None => frame.opcode.is_control() || frame.is_unfragmented(),
                Some(assembly) => frame.opcode.is_control() && assembly.control().is_empty(),
            }
    }

    /// Unmasks and checks a frame in place.
    #[inline]
    fn take_whole(
        &mut self,
        frame: Frame,
        input: &mut Input<'_>,
    ) -> Result<Option<Ready>, ProtocolError> {
        let range = input.take(frame.remaining as usize);
        let payload = &mut input.bytes[range.clone()];
        self.unmask(payload, frame.key);
        let Frame { opcode, compressed, .. } = frame;
        if opcode == OpCode::Text && !compressed && basic::from_utf8(payload).is_err() {
            return Err(ProtocolError::TextInvalid);
        }
        self.phase = BETWEEN_FRAMES;
        Ok(Some(Ready { opcode, compressed, payload: Place::Input(range) }))
    }

    /// Keeps what has arrived of a fragment or of a frame that is not complete; `Ready` when that
    /// completes an event.
    fn take_part(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'_>,
        pool: &mut AssemblyPool,
        limits: &Limits,
    ) -> Result<Option<Ready>, ProtocolError> {
        let count = frame.remaining.min(input.remaining() as u64) as usize;
        let range = input.take(count);
        let bytes = &mut input.bytes[range];
        self.unmask(bytes, frame.key);
        frame.key = mask::advance(frame.key, count);
        frame.remaining -= count as u64;
        if frame.opcode.is_control() {
            self.keep_control(bytes, pool)?;
        } else {
            self.keep_data(&frame, bytes, pool, limits)?;
        }
        if frame.remaining > 0 {
            self.phase = Phase::Payload(frame);
            return Ok(None);
        }
        self.phase = BETWEEN_FRAMES;
        let Frame { opcode, compressed, fin, .. } = frame;
        if opcode.is_control() {
            return Ok(Some(Ready { opcode, compressed, payload: Place::Control }));
        }
        if !fin {
            return Ok(None);
        }
        let opcode = self.message.take().map_or(opcode, OpCode::from);
        Ok(Some(Ready { opcode, compressed, payload: Place::Message }))
    }

    #[inline]
    fn unmask(&self, payload: &mut [u8], key: [u8; 4]) {
        if self.role == Role::Server {
            mask::apply(payload, key);
        }
    }

    fn keep_control(&mut self, bytes: &[u8], pool: &mut AssemblyPool) -> Result<(), ProtocolError> {
        if !bytes.is_empty() {
            assembly(&mut self.assembly, pool)?.append_control(bytes);
        }
        Ok(())
    }

    /// Appends to the message and validates text as far as it came.
    fn keep_data(
        &mut self,
        frame: &Frame,
        bytes: &[u8],
        pool: &mut AssemblyPool,
        limits: &Limits,
    ) -> Result<(), ProtocolError> {
        if !bytes.is_empty() {
            let assembly = assembly(&mut self.assembly, pool)?;
            pool.append(assembly, bytes, limits.wire_bytes_max(frame.compressed))?;
        }
        let is_text = frame.opcode == OpCode::Text || self.message == Some(MessageKind::Text);
        match &mut self.assembly {
            Some(assembly) if is_text && !frame.compressed => {
                assembly.validate_text(frame.fin && frame.remaining == 0)
            }
            _ => Ok(()),
        }
    }
}

impl Frame {
    /// A whole message in one frame.
    #[inline]
    fn is_unfragmented(&self) -> bool {
        self.fin && self.opcode != OpCode::Continuation
    }
}

/// The connection's buffer, borrowed from the pool when it has none.
fn assembly<'a>(
    slot: &'a mut Option<Box<Assembly>>,
    pool: &mut AssemblyPool,
) -> Result<&'a mut Assembly, ProtocolError> {
    let assembly = match slot.take() {
        Some(assembly) => assembly,
        None => pool.acquire()?,
    };
    Ok(slot.insert(assembly))
}
