//! What left on the wire, as a client hears it.

use ringwire::protocol::{AssemblyPool, Decoder, Event, Input, Limits, OpCode, Role, encode_frame};

const REPLY: u8 = b'r';
const PUBLICATION: u8 = b'p';

/// Bytes the peer got, and how many replies were made for it.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) bytes: Vec<u8>,
    replies: u32,
}

/// What they say.
pub(super) struct Heard {
    pub(super) replies: u32,
    pub(super) publications: u32,
    pub(super) closed: bool,
    pub(super) whole: bool,
}

/// The beginning of the publication with this number.
pub(super) fn publication(number: u32) -> Vec<u8> {
    numbered(PUBLICATION, number)
}

fn numbered(kind: u8, number: u32) -> Vec<u8> {
    let mut payload = vec![kind];
    payload.extend_from_slice(&number.to_be_bytes());
    payload
}

impl Wire {
    pub(super) fn append_reply(&mut self, size: usize, reply: &mut Vec<u8>) {
        let mut payload = numbered(REPLY, self.replies);
        payload.resize(payload.len() + size, b'.');
        encode_frame(reply, OpCode::Binary, &payload);
        self.replies += 1;
    }

    /// Decodes everything: replies, publications and pongs each in order, a Close last.
    pub(super) fn hear(&mut self, lawful: bool, pings: u32) -> Heard {
        let mut heard = Heard { replies: 0, publications: 0, closed: false, whole: true };
        let limits = Limits { message_bytes_max: usize::MAX, fragments_max: 1, compressed: false };
        let mut pool = AssemblyPool::new(usize::MAX);
        let mut decoder = Decoder::new(Role::Client);
        let mut input = Input::new(&mut self.bytes);
        let mut pongs = 0;
        while !heard.closed
            && let Some(event) =
                decoder.next(&mut input, &mut pool, &limits).expect("frames of a server")
        {
            match event {
                Event::Message { payload, .. } => {
                    let counter = match payload[0] {
                        REPLY => &mut heard.replies,
                        _ => &mut heard.publications,
                    };
                    assert_eq!(payload[1..5], counter.to_be_bytes(), "in order, once");
                    *counter += 1;
                }
                Event::Pong(payload) if lawful => {
                    let payload = payload.try_into().expect("the payload of a ping");
                    let number = u32::from_be_bytes(payload);
                    assert!((pongs..pings).contains(&number), "to a ping, in order");
                    pongs = number + 1;
                }
                Event::Pong(_) => {}
                Event::Ping(payload) => assert!(payload.is_empty()),
                Event::Close { .. } => heard.closed = true,
            }
        }
        assert!(input.is_empty(), "nothing comes after a Close");
        heard.whole = !decoder.in_message();
        heard
    }
}
