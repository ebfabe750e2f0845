//! Peers that do not take what is sent to them.

use super::*;
use crate::limits::{BACKLOG_BYTES_MAX, BACKLOG_SEGMENT_COST};

#[test]
fn behind_a_backlog_only_the_newest_ping_is_answered() {
    let mut rig = Rig::new();
    rig.room = 1;
    rig.receive(text("stuck"));
    assert!(!rig.connection.wants_bytes());
    // What was read already is worked on all the same.
    rig.receive([masked(OpCode::Ping, b"old"), masked(OpCode::Ping, b"new")].concat());
    rig.drain(usize::MAX);
    assert!(rig.connection.wants_bytes());
    assert_eq!(rig.frames(), [Frame::Data(b"stuck".to_vec()), Frame::Pong(b"new".to_vec())]);
}

#[test]
fn a_pong_that_waits_gives_way_to_a_close() {
    let leave: [fn(&mut Rig); 3] = [
        Rig::close,
        |rig| rig.receive(peer_close(1001, "bye")),
        |rig| {
            while rig.publish(&[0; 60_000]).is_ok() {}
        },
    ];
    for leave in leave {
        let mut rig = Rig::new();
        rig.room = 3;
        rig.receive([text("stuck"), masked(OpCode::Ping, b"?")].concat());
        rig.receive(masked(OpCode::Ping, b"!"));
        leave(&mut rig);
        rig.receive(masked(OpCode::Ping, b"late"));
        rig.drain(usize::MAX);
        let frames = rig.frames();
        assert_eq!(frames[..2], [Frame::Data(b"stuck".to_vec()), Frame::Pong(b"?".to_vec())]);
        assert!(matches!(frames[2..], [Frame::Close(..)]), "{frames:?}");
    }
}

#[test]
fn a_close_waits_for_the_backlog() {
    let mut rig = Rig::new();
    rig.room = 4;
    rig.receive([text("stuck"), peer_close(1000, "")].concat());
    assert_eq!(rig.step(), Step::Wait);
    rig.drain(usize::MAX);
    assert_eq!(rig.step(), Step::Close);
    assert_eq!(rig.frames(), [Frame::Data(b"stuck".to_vec()), close_frame(1000, "")]);

    let mut rig = in_state(State::Failing);
    assert_eq!(rig.step(), Step::Wait);
    rig.drain(usize::MAX);
    assert_eq!(rig.step(), Step::ShutWrite);
    assert_eq!(rig.frames().len(), 1);
}

#[test]
fn a_slow_reader_gets_whole_frames_and_the_reason() {
    for begun in [0, 5] {
        let mut rig = Rig::new();
        rig.room = begun;
        let mut taken = 0;
        while rig.publish(&[taken; 60_000]).is_ok() {
            taken += 1;
            rig.now += 1;
        }
        assert!(usize::from(taken) * 60_000 + 60_000 > BACKLOG_BYTES_MAX - 2 * 64 * 18);
        assert_eq!(rig.connection.reason(), CloseReason::SlowReader);
        assert_eq!(rig.deadline(), rig.now + CLOSE_TICKS_MAX);
        let queued: usize = rig
            .connection
            .backlog()
            .into_iter()
            .flat_map(|backlog| backlog.segments())
            .map(<[u8]>::len)
            .sum();
        assert!(queued <= 60_100, "the rest is dropped");
        rig.drain(usize::MAX);
        assert_eq!(rig.step(), Step::ShutWrite);
        let mut frames = rig.frames();
        assert_eq!(frames.pop(), Some(close_frame(1008, "slow reader")));
        let kept: Vec<Frame> =
            (begun > 0).then(|| Frame::Data(vec![0; 60_000])).into_iter().collect();
        assert!(frames == kept, "{} frames", frames.len());
    }
}

#[test]
fn small_publications_are_bounded_too() {
    let mut rig = Rig::new();
    rig.room = 0;
    let mut kept = 0;
    while rig.publish(b"").is_ok() {
        kept += 1;
    }
    // The one that passes the bound is still taken.
    assert_eq!(kept, BACKLOG_BYTES_MAX / (BACKLOG_SEGMENT_COST + 2) + 1);
}

#[test]
fn a_stalled_peer_is_ended_and_a_slow_one_is_not() {
    let mut rig = Rig::new();
    rig.room = 1;
    rig.receive(text("a text that goes byte by byte"));
    let mut now = 0;
    while rig.connection.backlog().is_some() {
        assert_eq!(rig.deadline(), now + STALL_TICKS_MAX);
        rig.timer_at(now + STALL_TICKS_MAX - 1);
        assert_eq!(rig.step(), Step::Wait);
        now += STALL_TICKS_MAX - 1;
        rig.drain(1);
    }
    assert!(now > 2 * HEARTBEAT);

    let mut rig = Rig::new();
    rig.room = 1;
    rig.receive(text("stuck"));
    rig.timer_at(STALL_TICKS_MAX);
    assert_eq!(rig.step(), Step::Abort);
    assert_eq!(rig.connection.reason(), CloseReason::SlowReader);
}

#[test]
fn who_was_busy_catching_up_is_pinged_before_it_is_gone() {
    let mut rig = Rig::new();
    rig.room = 1;
    rig.receive(text("0123456789"));
    while rig.connection.backlog().is_some() {
        rig.now += STALL_TICKS_MAX - 1;
        rig.drain(1);
    }
    rig.room = usize::MAX;
    let caught_up = rig.now;
    assert!(caught_up > 2 * HEARTBEAT);
    rig.timer_at(caught_up + 1);
    assert_eq!(rig.step(), Step::Wait);
    rig.frames();
    rig.timer_at(caught_up + HEARTBEAT);
    assert_eq!(rig.frames(), [Frame::Ping(Vec::new())]);
}

#[test]
fn what_was_sent_is_delivered_or_dropped() {
    for room in (0..20).chain([60_000, 60_020, 130_000, 240_100]) {
        for ends_slow in [false, true] {
            let mut rig = Rig::new();
            rig.room = room;
            rig.receive([text("one"), masked(OpCode::Ping, b"?"), text("two")].concat());
            let mut sent = 2;
            for _ in 0..4 {
                sent += 1;
                rig.publish(&[7; 60_000]).expect("so much may wait");
            }
            assert_eq!(rig.workshop.backlogs, usize::from(rig.connection.backlog().is_some()));
            rig.drain(60_001);
            if ends_slow {
                rig.room = 0;
                while rig.publish(&[8; 60_000]).is_ok() {
                    sent += 1;
                }
                sent += 1;
                rig.drain(usize::MAX);
            }
            rig.connection.on_broken();
            rig.dropped += rig.connection.release(&mut rig.workshop);
            let Workshop { replies_kept, backlogs, backlog_bytes, .. } = rig.workshop;
            assert_eq!((replies_kept, backlogs, backlog_bytes), (0, 0, 0));
            let whole = rig.whole_messages();
            assert_eq!(sent, whole + rig.dropped, "{room}, {ends_slow}: {whole} arrived");
        }
    }
}
