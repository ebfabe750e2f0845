//! Who comes back: members whose connection was lost, and those that the server had no room for.

use std::sync::atomic::Ordering;

use super::member::Place;
use super::{ACTS_PER_TURN, Rooms};
use crate::connections::{Cause, Connections};
use crate::names;
use crate::payload::mix;
use crate::scenario::alarms::Alarms;
use crate::scenario::pauses::Pauses;
use crate::stats::Failure;

/// Nanoseconds after which a room that is not available is asked for again.
const POSTPONED_NANOSECONDS: u64 = 200_000_000;

/// The clients of a thread that are to be looked at again.
#[derive(Debug)]
pub(super) struct Returns {
    pauses: Option<Pauses>,
    alarms: Alarms,
    /// Of each client, if they come back at all.
    trips: Box<[Trip]>,
    /// Members that have no connection.
    pub(super) away: u32,
}

/// The way back of a member whose connection was lost.
#[derive(Clone, Copy, Default, Debug)]
struct Trip {
    /// When its connection ended, if it is not back in its room.
    lost_at: Option<u64>,
    /// Attempts that have failed since.
    failures: u32,
}

impl Returns {
    /// Of so many clients, who come back after these pauses, if they do.
    pub(super) fn new(pauses: Option<Pauses>, count: u32) -> Self {
        let trips = if pauses.is_some() { count as usize } else { 0 };
        let trips = vec![Trip::default(); trips].into_boxed_slice();
        Self { pauses, alarms: Alarms::new(count), trips, away: 0 }
    }

    /// A connection is gone, or could not be made, and its member will be back.
    pub(super) fn gone(
        &mut self,
        connections: &mut Connections,
        (first, index): (u32, u32),
        now: u64,
        cause: Cause,
    ) {
        let (Some(pauses), Some(trip)) = (self.pauses, self.trips.get_mut(index as usize)) else {
            return;
        };
        if matches!(cause, Cause::Failed(_, Failure::FAREWELL)) {
            connections.stats.count_at(names::FAREWELLS, now);
        }
        let lost_at = *trip.lost_at.get_or_insert(now);
        let number = u64::from(first + index);
        let random = mix(mix(number << 32 | u64::from(trip.failures)).wrapping_add(mix(lost_at)));
        let pause = pauses.pause(trip.failures, random);
        trip.failures = trip.failures.saturating_add(1);
        self.alarms.set(index, now + pause);
    }

    /// Whether a member lost its connection and is not back in its room.
    pub(super) fn is_returning(&self, index: u32) -> bool {
        self.trips.get(index as usize).is_some_and(|trip| trip.lost_at.is_some())
    }

    /// A member is in its room again. Gives back when it lost its connection, if it had.
    pub(super) fn is_back(&mut self, index: u32) -> Option<u64> {
        let trip = self.trips.get_mut(index as usize)?;
        std::mem::take(trip).lost_at
    }

    /// The server has refused what a member asked, for now.
    pub(super) fn postpone(&mut self, index: u32, now: u64) {
        self.alarms.set(index, now + POSTPONED_NANOSECONDS);
    }
}

impl Rooms {
    /// A member has lost its connection, and will be back.
    pub(super) fn go_away(&mut self, index: u32) {
        self.interrupt(index, Place::Away);
        let member = &mut self.members[index as usize];
        member.left_at = member.reached().wrapping_sub(1);
        self.returns.alarms.clear(index);
        self.returns.away += 1;
        self.counts(index).lost.fetch_add(1, Ordering::AcqRel);
    }

    /// A member has a connection again.
    pub(super) fn come_back(&mut self, connections: &mut Connections, index: u32) {
        self.returns.away -= 1;
        self.ask(connections, index, true);
    }

    /// Lets those act again whose time has come. Gives back when the next is to.
    pub(super) fn try_again(&mut self, connections: &mut Connections, now: u64) -> Option<u64> {
        for _ in 0..ACTS_PER_TURN {
            let Some((index, _)) = self.returns.alarms.next(now) else { break };
            match self.members[index as usize].place {
                Place::Away => connections.start(index, now),
                Place::Joining => {
                    let member = &self.members[index as usize];
                    let (asked_at, asked_since) = (member.asked_at, member.asked_since);
                    self.joining -= 1;
                    self.ask(connections, index, asked_since);
                    self.members[index as usize].asked_at = asked_at;
                }
                Place::Inside => self.make_due(index),
                Place::Outside | Place::Left | Place::Lost => {}
            }
        }
        self.returns.alarms.next_at()
    }
}
