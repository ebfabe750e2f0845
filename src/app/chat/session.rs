//! What the chat remembers of a connection: who it is, for how long, and how much it has said.

use crate::collections::Tick;
use crate::hub::Now;
use crate::limits::{
    AUTH_MESSAGES_MAX, AUTH_TICKS_MAX, RATE_REFUSALS_MAX, TICK_MILLISECONDS, TICKS_PER_SECOND,
};
use crate::security::{Identity, RateLimit, RateWindow};

/// Longest time between two looks at an expiry, in ticks: a day. It is far within the horizon of a
/// tick's comparison, and bounds what a step of the host's clock can do.
const EXPIRY_LOOK: Tick = 24 * 3600 * TICKS_PER_SECOND;

/// Who a connection is.
#[derive(Debug, Default)]
pub struct Session {
    user: Option<Box<str>>,
    /// In seconds of Unix time.
    expires: Option<u64>,
    stranger: Option<Stranger>,
    /// A password of it is being checked.
    is_awaiting_check: bool,
    messages: RateWindow,
    bytes: RateWindow,
    /// Messages that were refused for their rate.
    refusals: RateWindow,
}

/// Somebody who has not said yet who it is, and must.
#[derive(Clone, Copy, Debug)]
struct Stranger {
    until: Tick,
    messages_left: u8,
}

/// What a message may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rates {
    /// Messages of one connection.
    pub messages: Option<RateLimit>,
    /// Their bytes.
    pub bytes: Option<RateLimit>,
}

/// How a message stands to the rates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RateVerdict {
    /// Within them.
    Fine,
    /// Over one of them.
    TooFast,
    /// And so often that there is no point in answering.
    Abuse,
}

impl Session {
    /// Of a user who is known already.
    #[must_use]
    pub fn of(identity: Identity) -> Self {
        let Identity { user, expires } = identity;
        Self { user: Some(user), expires, ..Self::default() }
    }

    /// Of somebody who has to say who it is.
    pub(super) fn of_stranger(now: Tick) -> Self {
        let until = now.wrapping_add(AUTH_TICKS_MAX);
        let stranger = Some(Stranger { until, messages_left: AUTH_MESSAGES_MAX });
        Self { stranger, ..Self::default() }
    }

    /// The name of the user; without one it has the name of its connection.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether it has yet to say who it is.
    #[must_use]
    pub const fn is_stranger(&self) -> bool {
        self.stranger.is_some()
    }

    /// The connection goes by this name from now on.
    pub(super) fn rename(&mut self, user: &str) {
        self.user = Some(user.into());
    }

    /// The connection is this user from now on, or for longer. Not if it was another.
    pub(super) fn identify(&mut self, identity: Identity) -> bool {
        if self.user.as_ref().is_some_and(|user| *user != identity.user) {
            return false;
        }
        self.user = Some(identity.user);
        self.expires = identity.expires;
        self.stranger = None;
        true
    }

    /// Counts a message of somebody who has to say who it is; says how many more it may have.
    pub(super) fn count_stranger_message(&mut self) -> u8 {
        let Some(stranger) = &mut self.stranger else { return u8::MAX };
        stranger.messages_left = stranger.messages_left.saturating_sub(1);
        stranger.messages_left
    }

    /// A password is being checked from now on.
    pub(super) const fn await_check(&mut self) {
        self.is_awaiting_check = true;
    }

    /// The password was checked.
    pub(super) const fn end_check(&mut self) {
        self.is_awaiting_check = false;
    }

    /// Whether a password is being checked.
    pub(super) const fn is_awaiting_check(&self) -> bool {
        self.is_awaiting_check
    }

    /// Whether the identity has ended.
    pub(super) fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires <= now.unix_milliseconds / 1000)
    }

    /// Whether the time to say who it is has passed.
    pub(super) fn is_late(&self, now: Tick) -> bool {
        self.stranger.is_some_and(|stranger| stranger.until.wrapping_sub(now).cast_signed() <= 0)
    }

    /// When its time may be over: a connection whose timer fires then is asked.
    #[must_use]
    pub fn deadline(&self, now: Now) -> Option<Tick> {
        if let Some(stranger) = self.stranger {
            return Some(stranger.until);
        }
        let expires = self.expires?.saturating_mul(1000);
        let left = expires.saturating_sub(now.unix_milliseconds).div_ceil(TICK_MILLISECONDS);
        let left = left.min(u64::from(EXPIRY_LOOK)) as Tick;
        Some(now.tick.wrapping_add(left))
    }

    /// Counts a message against the rates. What exceeds one of them does not count for the other.
    pub(super) fn judge_rate(&mut self, rates: &Rates, now: Tick, bytes: usize) -> RateVerdict {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let has_room = rates.bytes.is_none_or(|limit| self.bytes.has_room(&limit, now, bytes));
        let exceeded = if has_room {
            rates.messages.filter(|limit| !self.messages.admit(limit, now, 1))
        } else {
            rates.bytes
        };
        if let Some(RateLimit { window, .. }) = exceeded {
            let limit = RateLimit { count: RATE_REFUSALS_MAX, window };
            return if self.refusals.admit(&limit, now, 1) {
                RateVerdict::TooFast
            } else {
                RateVerdict::Abuse
            };
        }
        if let Some(limit) = &rates.bytes {
            self.bytes.admit(limit, now, bytes);
        }
        RateVerdict::Fine
    }

    /// Gives back the memory of what no longer counts against the rates. To be called now and then:
    /// nothing else does while the connection is silent.
    pub fn forget_old(&mut self, rates: &Rates, now: Tick) {
        let windows = [(rates.bytes, &mut self.bytes), (rates.messages, &mut self.messages)];
        for (limit, window) in windows {
            match limit {
                Some(limit) => window.forget(&limit, now),
                None => *window = RateWindow::new(),
            }
        }
        let limits = [rates.bytes, rates.messages].into_iter().flatten();
        match limits.max_by_key(|limit| limit.window) {
            Some(longest) => self.refusals.forget(&longest, now),
            None => self.refusals = RateWindow::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(tick: Tick, unix_milliseconds: u64) -> Now {
        Now { tick, unix_milliseconds }
    }

    fn identity(user: &str, expires: Option<u64>) -> Identity {
        Identity { user: user.into(), expires }
    }

    #[test]
    fn an_identity_ends_with_its_second_and_can_be_renewed_by_the_same_user() {
        let mut session = Session::of(identity("ada", Some(100)));
        assert!(!session.is_expired(at(0, 99_999)) && session.is_expired(at(0, 100_000)));
        assert_eq!(session.deadline(at(7, 99_950)), Some(8));
        assert_eq!(session.deadline(at(7, 200_000)), Some(7));
        assert!(!session.identify(identity("eve", Some(500))));
        assert!(session.identify(identity("ada", Some(200))));
        assert!(!session.is_expired(at(0, 100_000)) && session.is_expired(at(0, 200_000)));
        let session = Session::of(identity("ada", Some(u64::MAX)));
        assert_eq!(session.deadline(at(7, 0)), Some(7 + EXPIRY_LOOK));
        assert_eq!(Session::of(identity("ada", None)).deadline(at(7, 0)), None);
    }

    #[test]
    fn a_stranger_has_so_many_messages_and_so_much_time() {
        let mut session = Session::of_stranger(u32::MAX - 5);
        let until = AUTH_TICKS_MAX - 6;
        assert_eq!(session.deadline(at(0, 0)), Some(until));
        assert!(!session.is_late(until - 1) && session.is_late(until));
        for left in (0..AUTH_MESSAGES_MAX).rev() {
            assert_eq!(session.count_stranger_message(), left);
        }
        assert_eq!(session.count_stranger_message(), 0);
        assert!(session.identify(identity("ada", None)) && !session.is_stranger());
        assert!(session.count_stranger_message() > 0 && !session.is_late(until));
    }

    #[test]
    fn refusals_are_answered_until_they_are_abuse() {
        let limit = Some(RateLimit { count: 100, window: 600 });
        let rates = Rates { messages: limit, bytes: None };
        let mut session = Session::default();
        let paces: Vec<RateVerdict> = (0..201).map(|_| session.judge_rate(&rates, 5, 10)).collect();
        assert!(paces[..100].iter().all(|pace| *pace == RateVerdict::Fine));
        assert!(paces[100..200].iter().all(|pace| *pace == RateVerdict::TooFast));
        assert_eq!(paces[200], RateVerdict::Abuse);
        let rates = Rates { messages: None, bytes: limit };
        assert_eq!(session.judge_rate(&rates, 5, 100), RateVerdict::Fine);
        assert_eq!(session.judge_rate(&rates, 5, usize::MAX), RateVerdict::Abuse);
    }

    #[test]
    fn what_exceeds_one_rate_does_not_count_for_the_other() {
        let limit = |count| Some(RateLimit { count, window: 600 });
        let rates = Rates { messages: limit(3), bytes: limit(10) };
        let mut session = Session::default();
        for (bytes, pace) in [
            (8, RateVerdict::Fine),
            (3, RateVerdict::TooFast),
            (1, RateVerdict::Fine),
            (2, RateVerdict::TooFast),
            (0, RateVerdict::Fine),
            (1, RateVerdict::TooFast),
        ] {
            assert_eq!(session.judge_rate(&rates, 5, bytes), pace);
        }
        let more = Rates { messages: limit(4), ..rates };
        assert_eq!(session.judge_rate(&more, 5, 1), RateVerdict::Fine);
    }

    #[test]
    fn silence_gives_the_memory_back() {
        let limit = |count, window| Some(RateLimit { count, window });
        let rates = Rates { messages: limit(1, 100), bytes: limit(100, 1000) };
        let mut session = Session::default();
        assert_eq!(session.judge_rate(&rates, 0, 10), RateVerdict::Fine);
        assert_eq!(session.judge_rate(&rates, 0, 10), RateVerdict::TooFast);
        session.forget_old(&rates, 101);
        assert!(session.messages.is_empty() && !session.bytes.is_empty());
        assert!(!session.refusals.is_empty(), "they are kept as long as the longer window");
        session.forget_old(&rates, 1001);
        assert!(session.bytes.is_empty() && session.refusals.is_empty());
        assert_eq!(session.judge_rate(&rates, 2000, 10), RateVerdict::Fine);
        assert_eq!(session.judge_rate(&rates, 2000, 10), RateVerdict::TooFast);
        session.forget_old(&Rates { messages: None, bytes: None }, 2000);
        let windows = [&session.messages, &session.bytes, &session.refusals];
        assert!(windows.iter().all(|window| window.is_empty()), "nothing is limited any more");
    }
}
