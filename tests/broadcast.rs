//! Every message on /broadcast reaches every connection once and in one order, on every shard, and
//! a reader that cannot keep up is dropped without costing the others anything.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::{Place, Scheme, Server, over_both};
use observed::{Metrics, resident_bytes, wait_for_value, wait_until};
use raw::{BINARY, RawClient, TEXT, frame};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

over_both! {
    a_slow_reader_is_dropped_and_the_others_lose_nothing,
    a_reader_without_progress_is_dropped_after_ten_seconds,
}

/// Bounds a failure; measures nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a connection that is known to be a member: it has seen a message of its own.
fn member(address: Place, name: usize) -> RawClient {
    let mut client = RawClient::open(address, "/broadcast");
    let ready = format!("ready {name}").into_bytes();
    client.send_frame(TEXT, &ready);
    while client.read_frame().expect("a member stays connected").payload != ready {}
    client
}

/// The next broadcast that is not the greeting of another member.
fn next_message(client: &mut RawClient) -> Vec<u8> {
    loop {
        let frame = client.read_frame().expect("a member stays connected");
        if !frame.payload.starts_with(b"ready ") {
            return frame.payload;
        }
    }
}

#[test]
fn everybody_gets_every_message_once_and_in_one_order() {
    const CLIENTS: usize = 40;
    const PUBLISHERS: usize = 5;
    const MESSAGES: usize = 2000;
    let server = Server::start(&["--shards", "4", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());
    let members: Vec<RawClient> = (0..CLIENTS).map(|name| member(address, name)).collect();

    let received: Vec<Vec<Vec<u8>>> = thread::scope(|scope| {
        let handles: Vec<_> = members
            .into_iter()
            .enumerate()
            .map(|(index, client)| {
                let mut writer = client.stream().try_clone().expect("a socket can be shared");
                if index < PUBLISHERS {
                    scope.spawn(move || publish(&mut writer, index, MESSAGES));
                }
                scope.spawn(move || read_messages(client, PUBLISHERS * MESSAGES))
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("a reader gets all")).collect()
    });

    for (index, order) in received.iter().enumerate() {
        assert!(*order == received[0], "member {index} saw another order than member 0");
    }
    // Each publisher's messages, all of them, once, as they were sent.
    for publisher in 0..PUBLISHERS {
        let prefix = format!("{publisher} ").into_bytes();
        let mine = received[0].iter().filter(|message| message.starts_with(&prefix));
        let expected = (0..MESSAGES).map(|number| format!("{publisher} {number}").into_bytes());
        assert!(mine.cloned().eq(expected), "publisher {publisher} is not whole or not in order");
    }

    wait_for_value(admin, "connections", 0);
    let metrics = Metrics::scrape(admin);
    let inbound = (CLIENTS + PUBLISHERS * MESSAGES) as u64;
    assert_eq!(metrics.value("messages_received_total"), inbound);
    assert_eq!(metrics.closed("client_close"), CLIENTS as u64);
}

fn publish(writer: &mut impl std::io::Write, publisher: usize, messages: usize) {
    // A few messages per write, so that the publishers' messages meet.
    for first in (0..messages).step_by(20) {
        let texts = (first..first + 20).map(|number| format!("{publisher} {number}").into_bytes());
        let frames: Vec<u8> = texts.flat_map(|text| frame(TEXT, &text)).collect();
        writer.write_all(&frames).expect("the server takes a message");
    }
}

/// Reads as many messages as were published, makes sure there is none after them, and closes.
fn read_messages(mut client: RawClient, count: usize) -> Vec<Vec<u8>> {
    let messages = (0..count).map(|_| next_message(&mut client)).collect();
    // A message too many would come before the Close frame.
    client.close();
    messages
}

fn a_slow_reader_is_dropped_and_the_others_lose_nothing(scheme: Scheme) {
    const READERS: usize = 20;
    let batches = if scheme == Scheme::Plain { 64 } else { 8 };
    // All that is under way at once stays below the 1 MiB a reader may fall behind: whoever reads
    // at all is not slow.
    const BATCH: u32 = 32;
    const MESSAGE_BYTES: usize = 16 * 1024;
    let server = Server::start_for(scheme, &["--shards", "2", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());

    let readers: Vec<RawClient> = (0..READERS).map(|name| member(address, name)).collect();
    let mut slow = RawClient::connect_narrow(address);
    slow.upgrade("/broadcast");
    let before = resident_bytes(server.pid());
    let mut peak = before;

    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        for mut client in readers {
            let done = done.clone();
            scope.spawn(move || {
                for number in 0..batches * BATCH {
                    let message = next_message(&mut client);
                    assert_eq!(message.len(), MESSAGE_BYTES);
                    assert_eq!(message[..4], number.to_be_bytes(), "lost or out of order");
                    if (number + 1) % BATCH == 0 {
                        done.send(()).expect("the publisher waits");
                    }
                }
                client.close();
            });
        }
        let mut publisher = member(address, READERS);
        for batch in 0..batches {
            for number in batch * BATCH..(batch + 1) * BATCH {
                let mut message = vec![b'.'; MESSAGE_BYTES];
                message[..4].copy_from_slice(&number.to_be_bytes());
                publisher.send_frame(BINARY, &message);
                next_message(&mut publisher);
            }
            for _ in 0..READERS {
                finished.recv_timeout(PATIENCE).expect("every reader gets every message");
            }
            peak = peak.max(resident_bytes(server.pid()));
        }
        publisher.close();
    });

    wait_until(PATIENCE, || {
        let dropped = Metrics::scrape(admin).closed("slow_reader");
        (dropped == 1).then_some(()).ok_or_else(|| format!("{dropped} slow readers were dropped"))
    });
    // It still reads nothing and is let go all the same.
    wait_for_value(admin, "connections", 0);
    slow.read_to_end();
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.closed("slow_reader"), 1);
    assert_eq!(metrics.closed("client_close"), READERS as u64 + 1);
    assert!(peak - before < 32 * 1024 * 1024, "{} bytes for one slow reader", peak - before);
}

fn a_reader_without_progress_is_dropped_after_ten_seconds(scheme: Scheme) {
    const MESSAGE_BYTES: usize = 64 * 1024;
    let server = Server::start_for(scheme, &["--shards", "1", "--admin", "127.0.0.1:0"]);
    let (address, admin) = (server.place(), server.admin_address());
    let mut stalled = RawClient::open(address, "/broadcast");
    let mut publisher = member(address, 0);
    // Once a message is sent to its publisher only, the kernel takes no more for the stalled one.
    // What then waits for it is far less than the 1 MiB that would drop it at once.
    let mut sent = observed::wait_until_still(admin, "bytes_sent_total");
    let mut unsent = 0;
    for _ in 0..10_000 {
        publisher.send_frame(BINARY, &[b'.'; MESSAGE_BYTES]);
        next_message(&mut publisher);
        let now = Metrics::scrape(admin).value("bytes_sent_total");
        unsent = if now - sent < 2 * MESSAGE_BYTES as u64 { unsent + 1 } else { 0 };
        sent = now;
        if unsent == 4 {
            break;
        }
    }
    assert_eq!(unsent, 4, "the kernel takes whatever is sent to a peer that does not read");
    assert_eq!(Metrics::scrape(admin).closed("slow_reader"), 0, "dropped before its time");

    wait_until(PATIENCE, || {
        publisher.echo("the others go on");
        let dropped = Metrics::scrape(admin).closed("slow_reader");
        (dropped == 1).then_some(()).ok_or_else(|| format!("{dropped} slow readers were dropped"))
    });
    publisher.close();
    wait_for_value(admin, "connections", 0);
    stalled.read_to_end();
}
