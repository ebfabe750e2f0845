//! Heartbeats and the time a message may take.

use super::*;

#[test]
fn silence_is_pinged_and_then_the_end() {
    let mut rig = Rig::new();
    assert_eq!(rig.deadline(), HEARTBEAT);
    rig.timer_at(HEARTBEAT - 1);
    assert_eq!(rig.frames(), []);
    rig.timer_at(HEARTBEAT);
    assert_eq!(rig.frames(), [Frame::Ping(Vec::new())]);
    assert_eq!(rig.deadline(), 2 * HEARTBEAT);
    rig.timer_at(2 * HEARTBEAT - 1);
    assert_eq!((rig.step(), rig.frames()), (Step::Wait, vec![]));
    rig.timer_at(2 * HEARTBEAT);
    assert_eq!(rig.step(), Step::Abort);
    assert_eq!(rig.connection.reason(), CloseReason::Heartbeat);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut rig = Rig::new();
    rig.timer_at(HEARTBEAT);
    rig.now = HEARTBEAT + 5;
    rig.receive(masked(OpCode::Pong, b""));
    assert_eq!(rig.frames(), [Frame::Ping(Vec::new())]);
    assert_eq!(rig.deadline(), 2 * HEARTBEAT + 5);
    // The timer armed before the pong finds nothing to do.
    rig.timer_at(2 * HEARTBEAT);
    assert_eq!((rig.step(), rig.frames()), (Step::Wait, vec![]));
    rig.timer_at(2 * HEARTBEAT + 5);
    assert_eq!(rig.frames(), [Frame::Ping(Vec::new())]);
}

#[test]
fn pings_are_spread_over_an_eighth_of_the_heartbeat() {
    let workshop = Rig::new().workshop;
    let deadlines: Vec<Tick> =
        (0..1000).map(|seed| Connection::new(0, seed, None).deadline(&workshop)).collect();
    let earliest = HEARTBEAT - HEARTBEAT / 8;
    assert!(deadlines.iter().all(|deadline| (earliest..=HEARTBEAT).contains(deadline)));
    for tick in earliest + 1..=HEARTBEAT {
        let share = deadlines.iter().filter(|deadline| **deadline == tick).count();
        assert!(share <= 60, "{share} of 1000 in one of 37 ticks");
    }
}

#[test]
fn activity_never_needs_a_timer() {
    let mut rig = Rig::new();
    let mut armed = rig.deadline();
    for now in (0..10 * HEARTBEAT).step_by(97) {
        rig.now = now;
        rig.receive(text("busy"));
        assert!(rig.deadline() >= armed, "only later");
        if now >= armed {
            rig.timer_at(now);
            armed = rig.deadline();
        }
        assert_eq!(rig.frames(), [Frame::Data(b"busy".to_vec())]);
        assert_eq!(rig.step(), Step::Wait);
    }
}

#[test]
fn a_message_has_its_time_however_busy_it_is() {
    let mut rig = Rig::new();
    rig.receive(fragment(false, OpCode::Text, b"a"));
    for now in (50..MESSAGE_TICKS_MAX).step_by(50) {
        rig.now = now;
        // Control frames between the fragments do not give it more.
        rig.receive([masked(OpCode::Ping, b""), vec![0x00]].concat());
        rig.receive(fragment(false, OpCode::Continuation, b"")[1..].to_vec());
        assert_eq!(rig.deadline(), MESSAGE_TICKS_MAX);
        rig.timer_at(now);
        assert_eq!(rig.step(), Step::Wait);
    }
    rig.frames();
    rig.timer_at(MESSAGE_TICKS_MAX);
    assert_eq!(rig.frames(), [close_frame(1008, "message not finished in time")]);
    assert_eq!(rig.connection.reason(), CloseReason::MessageDeadline);
    assert_eq!(rig.step(), Step::ShutWrite);
    assert_eq!(rig.deadline(), MESSAGE_TICKS_MAX + CLOSE_TICKS_MAX);
}

#[test]
fn messages_that_follow_each_other_have_their_own_time() {
    for frame in [text("streamed"), masked(OpCode::Ping, b"streamed")] {
        let mut rig = Rig::new();
        let (head, tail) = frame.split_at(5);
        rig.receive(head.to_vec());
        for now in (100..=10 * MESSAGE_TICKS_MAX).step_by(100) {
            rig.timer_at(now);
            rig.receive([tail, head].concat());
            assert_eq!(rig.deadline(), now + MESSAGE_TICKS_MAX);
            assert_eq!(rig.step(), Step::Wait, "at {now}");
        }
        rig.timer_at(11 * MESSAGE_TICKS_MAX);
        assert_eq!(rig.connection.reason(), CloseReason::MessageDeadline);
    }
}

#[test]
fn time_may_wrap_and_lag() {
    let mut rig = Rig::new();
    let start = Tick::MAX - 5;
    rig.connection = Connection::new(start, 0, None);
    rig.timer_at(start.wrapping_sub(1));
    assert_eq!((rig.step(), rig.frames()), (Step::Wait, vec![]));
    assert_eq!(rig.deadline(), start.wrapping_add(HEARTBEAT));
    rig.timer_at(rig.deadline());
    assert_eq!(rig.frames(), [Frame::Ping(Vec::new())]);
    rig.receive(fragment(false, OpCode::Text, b"a"));
    assert_eq!(rig.deadline(), rig.now + MESSAGE_TICKS_MAX.min(HEARTBEAT));
}

#[test]
fn a_shorter_heartbeat_leaves_everybody_time_to_answer() {
    let mut rig = Rig::new();
    let shorter = HEARTBEAT / 10;
    rig.timer_at(HEARTBEAT);
    assert_eq!(rig.frames(), [Frame::Ping(Vec::new())]);
    rig.workshop.heartbeat = shorter;
    rig.timer_at(HEARTBEAT + 1);
    assert_eq!((rig.step(), rig.deadline()), (Step::Wait, HEARTBEAT + shorter));

    let mut silent = Rig::new();
    silent.workshop.heartbeat = shorter;
    silent.timer_at(HEARTBEAT - 1);
    assert_eq!(silent.frames(), [Frame::Ping(Vec::new())], "it was never asked before");
    assert_eq!((silent.step(), silent.deadline()), (Step::Wait, HEARTBEAT - 1 + shorter));
    silent.receive(masked(OpCode::Pong, b""));
    assert_eq!(silent.deadline(), HEARTBEAT - 1 + shorter);
    assert_eq!((silent.step(), silent.frames()), (Step::Wait, vec![]));

    rig.timer_at(HEARTBEAT + shorter);
    assert_eq!(rig.step(), Step::Abort);
    assert_eq!(rig.connection.reason(), CloseReason::Heartbeat);
}

#[test]
fn a_record_has_the_time_of_a_message() {
    let mut rig = Rig::new();
    rig.workshop.heartbeat = 10 * MESSAGE_TICKS_MAX;
    rig.now = 20;
    rig.connection.on_record(rig.now, true, false);
    for now in (70..MESSAGE_TICKS_MAX + 20).step_by(50) {
        rig.timer_at(now);
        // A byte more, and still not whole.
        rig.connection.on_record(now, true, false);
        assert_eq!((rig.step(), rig.deadline()), (Step::Wait, MESSAGE_TICKS_MAX + 20));
    }
    rig.frames();
    rig.timer_at(MESSAGE_TICKS_MAX + 20);
    assert_eq!(rig.frames(), [close_frame(1008, "message not finished in time")]);
    assert_eq!(rig.connection.reason(), CloseReason::MessageDeadline);
    assert_eq!(rig.step(), Step::ShutWrite);
}

#[test]
fn records_that_follow_each_other_have_their_own_time() {
    let mut rig = Rig::new();
    rig.workshop.heartbeat = 10 * MESSAGE_TICKS_MAX;
    for now in (100..=10 * MESSAGE_TICKS_MAX).step_by(100) {
        rig.timer_at(now);
        rig.receive(text("whole"));
        rig.connection.on_record(now, true, true);
        assert_eq!((rig.step(), rig.deadline()), (Step::Wait, now + MESSAGE_TICKS_MAX));
    }
    rig.connection.on_record(rig.now + 1, false, true);
    assert_eq!(rig.deadline(), rig.now + rig.workshop.heartbeat);
}

#[test]
fn records_that_are_whole_give_a_message_no_more_time() {
    let mut rig = Rig::new();
    rig.receive(fragment(false, OpCode::Text, b"a"));
    for now in (50..MESSAGE_TICKS_MAX).step_by(50) {
        rig.now = now;
        // One byte of the rest of the message, and the beginning of the next record.
        rig.receive(vec![]);
        rig.connection.on_record(now, now % 100 == 0, true);
        assert_eq!(rig.deadline(), MESSAGE_TICKS_MAX);
    }
    rig.timer_at(MESSAGE_TICKS_MAX);
    assert_eq!(rig.connection.reason(), CloseReason::MessageDeadline);
}

#[test]
fn a_stream_without_an_end_is_cut_and_a_fault_is_told_of() {
    let mut rig = Rig::new();
    rig.connection.on_cut();
    assert_eq!((rig.step(), rig.connection.reason()), (Step::Close, CloseReason::Truncated));

    // Behind the closing handshake nothing is missing.
    let mut rig = Rig::new();
    rig.receive(masked(OpCode::Close, &1000_u16.to_be_bytes()));
    rig.connection.on_cut();
    assert_eq!((rig.step(), rig.connection.reason()), (Step::Close, CloseReason::ClientClose));

    let mut rig = Rig::new();
    rig.connection.on_tls_error(5);
    assert_eq!(rig.connection.reason(), CloseReason::TlsError);
    assert_eq!((rig.step(), rig.deadline()), (Step::ShutWrite, 5 + CLOSE_TICKS_MAX));
    assert_eq!(rig.frames(), []);
}
