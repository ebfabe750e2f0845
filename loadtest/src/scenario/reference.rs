//! The reference stream: what the furthest client has received of a round, for the others to be
//! compared with.
//!
//! A server sends all clients the same messages in the same order, and so the same bytes. One
//! client's are parsed; where another's are equal they need no second look. Whatever differs is
//! parsed like the first, so that nothing depends on how a server cuts its stream, or on what it
//! puts between two messages.

use ringwire::protocol::{MessageKind, OpCode, encode_frame};

use crate::payload::mix;

/// Bytes of a reference: enough for a round of 100,000 small messages. What comes after them is
/// parsed for every client.
const REFERENCE_BYTES_MAX: usize = 8 << 20;

/// Bytes of a message above which it is cheaper to look at samples of it than to compare it whole.
const MESSAGE_BYTES_MAX: usize = 512;

/// Bytes compared at once: where two streams part, as many may be parsed in vain.
const STEP_BYTES: usize = 256;

/// What one client has received of a round.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Tally {
    /// Messages.
    pub(super) received: u32,
    /// The hash of the senders in their order.
    pub(super) order: u64,
    /// The sum of the hashes of the senders.
    pub(super) roll: u64,
}

impl Tally {
    /// With one more message.
    #[inline]
    pub(super) const fn and(self, sender: u64) -> Self {
        let hash = mix(sender);
        Self {
            received: self.received + 1,
            order: (self.order.rotate_left(5) ^ hash).wrapping_mul(0x9E37_79B9_7F4A_7C15),
            roll: self.roll.wrapping_add(hash),
        }
    }
}

/// Whole messages at the front of a chunk that are those of the reference.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Bytes of their frames.
    pub(crate) bytes: usize,
    /// How many.
    pub(crate) messages: u64,
}

/// The frames of a round, as far as any client has received them.
#[derive(Debug)]
pub(super) struct Reference {
    round: u32,
    /// Each message in one frame: the shortest form, which is what servers send.
    frames: Vec<u8>,
    /// Where each message begins, and at last where the next will.
    marks: Vec<Mark>,
}

/// A place between two messages.
#[derive(Clone, Copy, Default, Debug)]
struct Mark {
    at: usize,
    /// Of the messages before it.
    tally: Tally,
}

impl Reference {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self { round: 0, frames: Vec::new(), marks: vec![Mark::default()] }
    }

    /// How much of `bytes`, which begin between two frames, is the continuation of the messages in
    /// `tally`, and adds it to them. Nothing if those are not the beginning of the reference.
    #[inline]
    pub(super) fn recognise(&self, round: u32, tally: &mut Tally, bytes: &[u8]) -> Known {
        let first = tally.received as usize;
        let here = match self.marks.get(first) {
            Some(mark) if round == self.round && mark.tally == *tally => mark.at,
            _ => return Known::default(),
        };
        let same = here + common_bytes(&self.frames[here..], bytes);
        let messages = self.marks[first + 1..].partition_point(|mark| mark.at <= same);
        let last = self.marks[first + messages];
        *tally = last.tally;
        Known { bytes: last.at - here, messages: messages as u64 }
    }

    /// A client that had the messages in `before` has received another, and `after` counts it too:
    /// the reference goes on if no client was further.
    #[inline]
    pub(super) fn extend(
        &mut self,
        round: u32,
        (before, after): (Tally, Tally),
        kind: MessageKind,
        payload: &[u8],
    ) {
        if round != self.round {
            self.round = round;
            self.frames.clear();
            self.marks.truncate(1);
        }
        let is_furthest = self.marks.last().is_some_and(|mark| mark.tally == before);
        let has_room = self.frames.len() < REFERENCE_BYTES_MAX;
        if is_furthest && has_room && payload.len() <= MESSAGE_BYTES_MAX {
            encode_frame(&mut self.frames, OpCode::from(kind), payload);
            self.marks.push(Mark { at: self.frames.len(), tally: after });
        }
    }
}

/// Bytes at the front that are the same, but for some of the last [`STEP_BYTES`].
#[inline]
fn common_bytes(left: &[u8], right: &[u8]) -> usize {
    let count = left.len().min(right.len());
    let steps = left[..count].chunks(STEP_BYTES).zip(right[..count].chunks(STEP_BYTES));
    let same = steps.take_while(|(left, right)| left == right).count();
    count.min(same * STEP_BYTES)
}

#[cfg(test)]
mod tests {
    use ringwire::protocol::{AssemblyPool, Decoder, Event, Input, Limits, Role, encode_fragment};

    use super::*;

    const ROUND: u32 = 7;
    const SENDERS: std::ops::Range<u64> = 0..200;

    /// A client that counts the messages of a round, and how many it did not have to parse.
    struct Receiver {
        decoder: Decoder,
        pool: AssemblyPool,
        tally: Tally,
        known: u64,
    }

    impl Receiver {
        fn new() -> Self {
            let pool = AssemblyPool::new(1 << 20);
            Self { decoder: Decoder::new(Role::Client), pool, tally: Tally::default(), known: 0 }
        }

        fn receive(&mut self, mut reference: Option<&mut Reference>, bytes: &[u8]) {
            let mut bytes = bytes.to_vec();
            let limits = Limits { message_bytes_max: 1 << 20, fragments_max: 9, compressed: false };
            let mut at = 0;
            loop {
                if let Some(reference) = &mut reference
                    && !self.decoder.in_message()
                {
                    let known = reference.recognise(ROUND, &mut self.tally, &bytes[at..]);
                    self.known += known.messages;
                    at += known.bytes;
                }
                let rest = bytes.len() - at;
                let mut input = Input::new(&mut bytes[at..]);
                match self.decoder.next(&mut input, &mut self.pool, &limits).expect("valid frames")
                {
                    Some(Event::Message { kind, payload, .. }) => {
                        let sender = *payload.first_chunk().expect("a sender");
                        let before = self.tally;
                        self.tally = before.and(u64::from_le_bytes(sender));
                        if let Some(reference) = &mut reference {
                            reference.extend(ROUND, (before, self.tally), kind, payload);
                        }
                    }
                    Some(_) => {}
                    None => return,
                }
                at += rest - input.remaining();
            }
        }
    }

    fn message(sender: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut payload = sender.to_le_bytes().to_vec();
        payload.resize(8 + mix(sender) as usize % 150, 0xA5);
        encode_frame(&mut frame, OpCode::Binary, &payload);
        frame
    }

    fn stream(senders: impl IntoIterator<Item = u64>) -> Vec<u8> {
        senders.into_iter().flat_map(message).collect()
    }

    fn with_pings() -> Vec<u8> {
        let mut bytes = Vec::new();
        for sender in SENDERS {
            if mix(sender).is_multiple_of(16) {
                encode_frame(&mut bytes, OpCode::Ping, b"are you there?");
            }
            bytes.extend(message(sender));
        }
        bytes
    }

    fn with_fragments() -> Vec<u8> {
        let mut bytes = Vec::new();
        for sender in SENDERS {
            let mut payload = sender.to_le_bytes().to_vec();
            payload.resize(20, 1);
            encode_fragment(&mut bytes, false, OpCode::Binary, &payload[..3], None);
            encode_frame(&mut bytes, OpCode::Ping, b"");
            encode_fragment(&mut bytes, true, OpCode::Continuation, &payload[3..], None);
        }
        bytes
    }

    /// Cuts `bytes` anywhere, a piece of 3000 bytes at most.
    fn cut(bytes: &[u8], seed: u64) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let count = 1 + mix(seed ^ rest.len() as u64) as usize % 3000;
            let (piece, after) = rest.split_at(count.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }

    #[test]
    fn wherever_streams_are_cut_they_count_as_if_they_were_parsed() {
        let reordered = SENDERS.map(|sender| match sender {
            100 => 101,
            101 => 100,
            sender => sender,
        });
        let streams = [
            stream(SENDERS),
            with_pings(),
            stream(SENDERS),
            stream(reordered),
            stream(SENDERS.filter(|&sender| sender != 60)),
            stream(SENDERS.flat_map(|sender| vec![sender; 1 + usize::from(sender == 150)])),
            with_fragments(),
            stream(SENDERS),
        ];
        let mut known = 0;
        for seed in 0..50 {
            let mut reference = Reference::new();
            let mut fast: Vec<Receiver> = streams.iter().map(|_| Receiver::new()).collect();
            let mut slow: Vec<Receiver> = streams.iter().map(|_| Receiver::new()).collect();
            let mut pieces: Vec<_> = (seed..)
                .zip(&streams)
                .map(|(client, bytes)| cut(bytes, mix(seed) ^ client).into_iter())
                .collect();
            // In turns, so that the lead goes from one to the other.
            let mut is_more = true;
            while is_more {
                is_more = false;
                for (client, pieces) in pieces.iter_mut().enumerate() {
                    let Some(piece) = pieces.next() else { continue };
                    fast[client].receive(Some(&mut reference), piece);
                    slow[client].receive(None, piece);
                    assert_eq!(fast[client].tally, slow[client].tally, "{seed}: client {client}");
                    is_more = true;
                }
            }
            known += fast.iter().map(|receiver| receiver.known).sum::<u64>();
        }
        // A stream that departs while it leads leaves the others nothing to follow.
        assert!(known > 10_000, "{known} were not parsed");
    }

    #[test]
    fn an_equal_stream_is_not_parsed() {
        let mut reference = Reference::new();
        Receiver::new().receive(Some(&mut reference), &stream(SENDERS));
        let mut follower = Receiver::new();
        follower.receive(Some(&mut reference), &stream(SENDERS));
        assert_eq!(follower.known, 200);
        let mut pinged = Receiver::new();
        pinged.receive(Some(&mut reference), &with_pings());
        assert!((100..200).contains(&pinged.known), "{}", pinged.known);
    }

    #[test]
    fn every_bit_is_compared() {
        let bytes = stream(0..20);
        let mut reference = Reference::new();
        Receiver::new().receive(Some(&mut reference), &bytes);
        for (at, bit) in (0..bytes.len()).map(|at| (at, at % 8)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let known = reference.recognise(ROUND, &mut Tally::default(), &damaged);
            assert!(known.bytes <= at, "{known:?} of a stream damaged at {at}");
        }
    }

    #[test]
    fn what_comes_after_the_reference_is_not_recognised() {
        let mut reference = Reference::new();
        Receiver::new().receive(Some(&mut reference), &stream(0..3));
        let mut tally = Tally::default();
        let known = reference.recognise(ROUND, &mut tally, &stream([0, 1, 2, 2]));
        assert_eq!(known, Known { bytes: stream(0..3).len(), messages: 3 });
        assert_eq!(reference.recognise(ROUND, &mut tally, &message(2)), Known::default());
        let mut next = Tally::default();
        assert_eq!(reference.recognise(ROUND + 1, &mut next, &message(0)), Known::default());
        reference.extend(ROUND + 1, (next, next.and(5)), MessageKind::Binary, &[5; 8]);
        assert_eq!(reference.recognise(ROUND, &mut next, &message(0)), Known::default());
    }

    #[test]
    fn large_messages_are_left_to_their_samples() {
        let mut reference = Reference::new();
        let tallies = (Tally::default(), Tally::default().and(1));
        let payload = [0; MESSAGE_BYTES_MAX + 1];
        reference.extend(ROUND, tallies, MessageKind::Binary, &payload);
        let mut frame = Vec::new();
        encode_frame(&mut frame, OpCode::Binary, &payload);
        let known = reference.recognise(ROUND, &mut Tally::default(), &frame);
        assert_eq!(known, Known::default());
    }
}
