//! One room at its home.

use bytes::Bytes;

use crate::hub::history::History;
use crate::hub::road::{Notice, RoomName};
use crate::hub::span::{RoomMode, Span};
use crate::hub::{Batch, Epoch, Position};
use crate::protocol::{OpCode, encode_frame};

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: RoomName,
    pub(super) epoch: Epoch,
    /// Members of this node, those whose join is not done yet among them.
    pub(super) members: u64,
    shares: Vec<Share>,
    pub(super) history: History,
    /// What happened and was not passed on: frames, and how many.
    pub(super) unsent: Vec<u8>,
    pub(super) unsent_count: u32,
    /// Of rooms that span nodes.
    pub(super) span: Option<Box<Span>>,
}

/// The members of a room on one shard.
#[derive(Clone, Copy, Debug)]
struct Share {
    shard: u32,
    members: u32,
    /// How much of what was not passed on this shard has been told, or need not hear.
    told: usize,
    told_count: u32,
}

impl Room {
    pub(super) fn new(name: RoomName, epoch: Epoch, span: Option<Box<Span>>) -> Self {
        Self {
            name,
            epoch,
            members: 0,
            shares: Vec::new(),
            history: History::default(),
            unsent: Vec::new(),
            unsent_count: 0,
            span,
        }
    }

    /// Members on all nodes, as of what has been done.
    pub(super) fn users(&self) -> u64 {
        match &self.span {
            None => self.members,
            Some(span) if span.mode == RoomMode::Fast => self.members + span.others(),
            Some(span) => u64::from(span.own.count) + span.others(),
        }
    }

    pub(super) fn is_sequenced(&self) -> bool {
        self.span.as_ref().is_some_and(|span| span.mode == RoomMode::Sequenced)
    }

    pub(super) const fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.history.offset() }
    }

    /// The state that is shared with other nodes.
    pub(super) fn span(&mut self) -> &mut Span {
        self.span.as_deref_mut().expect("the caller knows that the room spans nodes")
    }

    /// Adds one message for all members; says whether it is the first that was not passed on.
    pub(super) fn append(
        &mut self,
        payload: &mut Vec<u8>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        payload.clear();
        write(payload);
        encode_frame(&mut self.unsent, OpCode::Text, payload);
        self.unsent_count += 1;
        self.unsent_count == 1
    }

    /// Hands what has happened to the shards that have members: encoded once for all.
    pub(super) fn pass_on(&mut self, notices: &mut [Vec<Notice>]) {
        let frames = Bytes::from(std::mem::take(&mut self.unsent));
        let whole = Batch::new(frames, std::mem::take(&mut self.unsent_count));
        for share in &mut self.shares {
            let batch = whole.behind(share.told, whole.count - share.told_count);
            (share.told, share.told_count) = (0, 0);
            if batch.count > 0 {
                let room = self.name.clone();
                notices[share.shard as usize].push(Notice::Deliver { room, batch });
            }
        }
    }

    /// Hands one shard what has happened so far: an answer is to come behind it.
    pub(super) fn tell(&mut self, shard: usize, notices: &mut [Vec<Notice>]) {
        let Some(share) = self.shares.iter_mut().find(|share| share.shard == shard as u32) else {
            return;
        };
        let frames = &self.unsent[share.told..];
        if !frames.is_empty() {
            let frames = Bytes::copy_from_slice(frames);
            let batch = Batch::new(frames, self.unsent_count - share.told_count);
            notices[shard].push(Notice::Deliver { room: self.name.clone(), batch });
            (share.told, share.told_count) = (self.unsent.len(), self.unsent_count);
        }
    }

    pub(super) fn count_in(&mut self, shard: usize) {
        let shard = shard as u32;
        match self.shares.iter_mut().find(|share| share.shard == shard) {
            Some(share) => share.members += 1,
            None => self.shares.push(Share {
                shard,
                members: 1,
                told: self.unsent.len(),
                told_count: self.unsent_count,
            }),
        }
    }

    pub(super) fn count_out(&mut self, shard: usize) {
        let place = self.shares.iter().position(|share| share.shard == shard as u32);
        let place = place.expect("only a shard with members says that one has left");
        self.shares[place].members -= 1;
        if self.shares[place].members == 0 {
            self.shares.swap_remove(place);
        }
    }
}
