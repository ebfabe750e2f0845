//! Raw frames in, owned events out: what the tests of the decoder share.

use ringwire::protocol::{
    AssemblyPool, Decoder, Event, Input, Limits, MessageKind, OpCode, ProtocolError, Role,
    encode_fragment,
};

pub(crate) const LIMITS: Limits =
    Limits { message_bytes_max: 70_000, fragments_max: 8, compressed: false };

/// The key of RFC 6455 section 5.7.
pub(crate) const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// An event that outlives its chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Failed(ProtocolError),
}

impl From<Event<'_>> for Heard {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message { kind: MessageKind::Text, payload, .. } => {
                Self::Text(str::from_utf8(payload).expect("text is UTF-8").to_owned())
            }
            Event::Message { kind: MessageKind::Binary, payload, .. } => {
                Self::Binary(payload.to_vec())
            }
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close { code, reason } => Self::Close(code, reason.to_owned()),
        }
    }
}

/// One receiving end, and everything it heard.
pub(crate) struct Receiver {
    pub(crate) decoder: Decoder,
    pub(crate) pool: AssemblyPool,
    limits: Limits,
    heard: Vec<Heard>,
}

impl Receiver {
    pub(crate) fn new(role: Role, limits: Limits) -> Self {
        let pool = AssemblyPool::new(1 << 20);
        Self { decoder: Decoder::new(role), pool, limits, heard: Vec::new() }
    }

    /// Receives one chunk; the error if there was one.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Result<(), ProtocolError> {
        let mut chunk = chunk.to_vec();
        let mut input = Input::new(&mut chunk);
        loop {
            match self.decoder.next(&mut input, &mut self.pool, &self.limits) {
                Ok(Some(event)) => self.heard.push(event.into()),
                Ok(None) => {
                    assert!(input.is_empty(), "{} bytes left", input.remaining());
                    return Ok(());
                }
                Err(error) => {
                    if self.heard.last() != Some(&Heard::Failed(error)) {
                        self.heard.push(Heard::Failed(error));
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Everything heard; checks that all memory went back.
    pub(crate) fn finish(mut self) -> Vec<Heard> {
        self.decoder.release(&mut self.pool);
        assert_eq!(self.pool.bytes_in_use(), 0, "memory of a finished connection");
        self.heard
    }
}

/// What an end with this role hears when the whole stream arrives at once.
pub(crate) fn hear(role: Role, stream: &[u8]) -> Vec<Heard> {
    let mut receiver = Receiver::new(role, LIMITS);
    let _ = receiver.feed(stream);
    receiver.finish()
}

/// A frame as the peer of `role` must send it.
pub(crate) fn frame_to(role: Role, fin: bool, opcode: OpCode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    encode_fragment(&mut out, fin, opcode, payload, (role == Role::Server).then_some(KEY));
    out
}
