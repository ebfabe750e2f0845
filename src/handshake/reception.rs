//! One handshake: read the request, decide, answer.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::desk::{Adoption, Desk};
use crate::app::Endpoint;
use crate::collections::Key;
use crate::observe::HandshakeResult;
use crate::protocol::upgrade::{
    HeadScanner, Refusal, Request, UpgradeRequest, accept, parse_request, refuse,
};
use crate::ring::socket::{self, Received, Sent};
use crate::ring::{Interest, poll_once};
use crate::web;

/// What a request gets.
enum Verdict {
    Upgrade { endpoint: Endpoint, response: Vec<u8> },
    Answer { bytes: Vec<u8>, result: HandshakeResult },
}

/// The whole handshake of one connection.
pub(super) async fn receive_guest(socket: OwnedFd, desk: Rc<Desk>) {
    let (key, socket) = desk.arrive(socket);
    let result = match read_request(&socket, &desk).await {
        Some((Verdict::Upgrade { endpoint, response }, leftover)) if !desk.is_late(key) => {
            return hand_over(socket, key, &desk, endpoint, response, leftover);
        }
        Some((Verdict::Answer { bytes, result }, _)) => {
            answer(&socket, &bytes).await;
            result
        }
        _ if desk.is_late(key) => HandshakeResult::Timeout,
        _ => HandshakeResult::Failed,
    };
    desk.leave(key, result);
}

/// Gives the socket to the shard. The desk lets go of it first, so that nobody else shuts it down.
fn hand_over(
    socket: Rc<OwnedFd>,
    key: Key,
    desk: &Desk,
    endpoint: Endpoint,
    response: Vec<u8>,
    leftover: Vec<u8>,
) {
    desk.leave(key, HandshakeResult::Accepted);
    let socket = Rc::into_inner(socket).expect("the desk held the only other reference");
    desk.adopt(Adoption { socket, endpoint, response, leftover });
}

/// Reads until the request is whole. `None`: the peer left, or its time is up.
async fn read_request(socket: &OwnedFd, desk: &Desk) -> Option<(Verdict, Vec<u8>)> {
    let mut scanner = HeadScanner::new();
    let mut earlier = Vec::new();
    loop {
        match read_part(socket, desk, &mut scanner, &mut earlier) {
            Part::Whole(verdict, leftover) => return Some((verdict, leftover)),
            Part::Left => return None,
            Part::More => poll_once(socket, Interest::Read).await.ok()?,
        }
    }
}

enum Part {
    Whole(Verdict, Vec<u8>),
    More,
    Left,
}

/// Reads what is there. The usual request comes in one piece and is never copied.
fn read_part(
    socket: &OwnedFd,
    desk: &Desk,
    scanner: &mut HeadScanner,
    earlier: &mut Vec<u8>,
) -> Part {
    let mut received = desk.received().borrow_mut();
    let count = match socket::receive(socket, &mut received) {
        Received::Bytes(count) => count,
        Received::Nothing => return Part::More,
        Received::End | Received::Broken => return Part::Left,
    };
    let in_parts = !earlier.is_empty();
    if in_parts {
        earlier.extend_from_slice(&received[..count]);
    }
    let bytes = if in_parts { earlier.as_slice() } else { &received[..count] };
    match scanner.end_of_head(bytes) {
        Ok(Some(end)) => {
            let (head, leftover) = bytes.split_at(end);
            Part::Whole(judge(head, desk), leftover.to_vec())
        }
        Ok(None) => {
            if !in_parts {
                earlier.extend_from_slice(&received[..count]);
            }
            Part::More
        }
        Err(refusal) => Part::Whole(refused(&refusal), Vec::new()),
    }
}

fn judge(head: &[u8], desk: &Desk) -> Verdict {
    match parse_request(head) {
        Ok(Request::Upgrade(request)) => judge_upgrade(&request, desk),
        Ok(Request::Plain { method, path, .. }) => static_page(method, path),
        Err(refusal) => refused(&refusal),
    }
}

fn judge_upgrade(request: &UpgradeRequest<'_>, desk: &Desk) -> Verdict {
    let Some(endpoint) = Endpoint::of_path(request.path, desk.root()) else {
        return refused(&Refusal::NotFound);
    };
    if desk.is_full() || desk.is_closed() {
        return refused(&Refusal::Unavailable);
    }
    let mut response = Vec::with_capacity(160);
    accept(&mut response, request, None);
    Verdict::Upgrade { endpoint, response }
}

fn static_page(method: &str, path: &str) -> Verdict {
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return refused(&Refusal::Method),
    };
    let Some(asset) = web::asset(path) else {
        return refused(&Refusal::NotFound);
    };
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n\
         Connection: close\r\n\
         Content-Type: {}\r\n\
         Content-Length: {}\r\n\
         {}\r\n",
        asset.content_type,
        asset.body.len(),
        web::HEADER_LINES,
    );
    if with_body {
        answer.push_str(asset.body);
    }
    Verdict::Answer { bytes: answer.into_bytes(), result: HandshakeResult::Static }
}

fn refused(refusal: &Refusal) -> Verdict {
    let mut bytes = Vec::new();
    refuse(&mut bytes, refusal);
    Verdict::Answer { bytes, result: HandshakeResult::Refused }
}

/// Sends the answer and waits for the peer to close, so that unread bytes of its request do not
/// reset the connection under the answer. The desk's deadline bounds it all.
async fn answer(socket: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match socket::send(socket, bytes) {
            Sent::Bytes(0) => {
                if poll_once(socket, Interest::Write).await.is_err() {
                    return;
                }
            }
            Sent::Bytes(count) => bytes = &bytes[count..],
            Sent::Broken => return,
        }
    }
    socket::shut_down(socket, Shutdown::Write);
    let mut ignored = [0; 1024];
    loop {
        match socket::receive(socket, &mut ignored) {
            Received::Bytes(_) => tokio::task::yield_now().await,
            Received::Nothing => {
                if poll_once(socket, Interest::Read).await.is_err() {
                    return;
                }
            }
            Received::End | Received::Broken => return,
        }
    }
}
