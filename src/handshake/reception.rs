//! One handshake: read the request, decide, answer.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use super::clock::unix_time;
use super::desk::{Adoption, Desk};
use super::guest::Guest;
use super::secure::{NotSecured, secure};
use super::stream::{answer, await_end, pause_starved, send_records};
use crate::app::Endpoint;
use crate::observe::{HandshakeResult, RefusedStatus, SocketCall};
use crate::protocol::deflate::Agreement;
use crate::protocol::parse_proxy_header;
use crate::protocol::upgrade::{
    HeadScanner, Refusal, Request, UpgradeRequest, accept, parse_request, refuse,
};
use crate::ring::{Interest, poll_once};
use crate::security::{AuthMode, Identity, Ticket};
use crate::tls::Heard;
use crate::web;

/// What a request gets.
enum Verdict {
    Upgrade(Grant),
    Page {
        head: Vec<u8>,
        body: &'static str,
    },
    Refuse {
        head: Vec<u8>,
        status: u16,
    },
    /// Nothing: a proxy does not speak as was agreed.
    HangUp,
    /// An alert: it broke the rules of TLS.
    Alert,
}

/// What an upgrade gets. Its ticket must not be lost.
struct Grant {
    endpoint: Endpoint,
    agreement: Option<Agreement>,
    response: Vec<u8>,
    identity: Option<Identity>,
    ticket: Option<Ticket>,
}

/// The whole handshake of one connection.
pub(super) async fn receive_guest(
    socket: OwnedFd,
    is_tls: bool,
    accepted: Instant,
    desk: Rc<Desk>,
) {
    let mut guest = Guest::receive(socket, is_tls, accepted, Rc::clone(&desk));
    let request = match if is_tls { secure(&mut guest).await } else { Ok(Vec::new()) } {
        Ok(earlier) => read_request(&mut guest, earlier).await,
        Err(NotSecured::Left) => None,
        Err(NotSecured::BadProxyHeader) => Some((Verdict::HangUp, Vec::new())),
        Err(NotSecured::Failed) => return desk.leave(guest.place, HandshakeResult::TlsFailed),
    };
    let result = match request {
        Some((Verdict::Upgrade(grant), leftover)) if !desk.is_late(guest.place) => {
            return hand_over(guest, grant, leftover);
        }
        Some((Verdict::Upgrade(grant), _)) => {
            desk.release(grant.ticket);
            HandshakeResult::Timeout
        }
        Some((Verdict::Page { head, body }, _)) => {
            answer(&mut guest, head, body).await;
            HandshakeResult::Static
        }
        Some((Verdict::Refuse { head, status }, _)) => {
            desk.counters().count_refused(RefusedStatus::from(status));
            answer(&mut guest, head, "").await;
            HandshakeResult::Refused
        }
        Some((Verdict::HangUp, _)) => HandshakeResult::BadProxyHeader,
        Some((Verdict::Alert, _)) => {
            if send_records(&mut guest).await {
                await_end(&mut guest).await;
            }
            HandshakeResult::TlsFailed
        }
        _ if desk.is_late(guest.place) => {
            tracing::debug!(peer = %guest.peer(), "handshake not finished in time");
            HandshakeResult::Timeout
        }
        _ => HandshakeResult::Failed,
    };
    desk.leave(guest.place, result);
}

/// Gives the socket to the shard. The desk lets go of it first, so that nobody else shuts it down.
fn hand_over(guest: Guest, grant: Grant, leftover: Vec<u8>) {
    let client = guest.client();
    let Guest { socket, tls, desk, place, .. } = guest;
    desk.measure(place);
    desk.leave(place, HandshakeResult::Accepted);
    let socket = Rc::into_inner(socket).expect("the desk held the only other reference");
    let Grant { endpoint, agreement, response, identity, ticket } = grant;
    desk.adopt(Adoption {
        socket,
        tls,
        endpoint,
        agreement,
        response,
        leftover,
        identity,
        ticket,
        client,
    });
}

/// Reads until the request is whole, of which a part may have come `earlier`. `None`: the peer
/// left, or its time is up.
async fn read_request(guest: &mut Guest, mut earlier: Vec<u8>) -> Option<(Verdict, Vec<u8>)> {
    let mut progress = Progress { scanner: HeadScanner::new(), before: 0 };
    let mut part =
        if earlier.is_empty() { Part::More } else { listen(guest, &mut progress, &earlier) };
    loop {
        match part {
            Part::Whole(verdict, leftover) => return Some((verdict, leftover)),
            Part::Left => return None,
            Part::More => {
                // TLS itself may have to answer, and the rest of the request may be far.
                if !send_records(guest).await {
                    return None;
                }
                poll_once(&guest.socket, Interest::Read).await.ok()?;
            }
            Part::Again => {}
            Part::Starved => pause_starved(&guest.desk, SocketCall::Receive).await,
        }
        part = read_part(guest, &mut progress, &mut earlier);
    }
}

/// How far a request was read.
struct Progress {
    scanner: HeadScanner,
    /// Bytes of the PROXY header in front of it.
    before: usize,
}

enum Part {
    Whole(Verdict, Vec<u8>),
    More,
    /// More may be there already.
    Again,
    Starved,
    Left,
}

/// Reads what is there. The usual request comes in one piece and is never copied.
fn read_part(guest: &mut Guest, progress: &mut Progress, earlier: &mut Vec<u8>) -> Part {
    let desk = Rc::clone(&guest.desk);
    let mut inlet = desk.inlet().borrow_mut();
    let (received, has_more) = match inlet.receive(&guest.socket, guest.tls.as_deref_mut()) {
        Heard::Bytes { bytes, has_more } => (bytes, has_more),
        Heard::Nothing => return Part::More,
        Heard::Starved => return Part::Starved,
        Heard::End | Heard::Cut | Heard::Broken => return Part::Left,
        Heard::Failed(error) => {
            tracing::info!(peer = %guest.peer(), %error, "TLS failed in front of the request");
            return Part::Whole(Verdict::Alert, Vec::new());
        }
    };
    let in_parts = !earlier.is_empty();
    if in_parts {
        earlier.extend_from_slice(received);
    }
    let bytes = if in_parts { earlier.as_slice() } else { &*received };
    let part = listen(guest, progress, bytes);
    if matches!(part, Part::More) && !in_parts {
        earlier.extend_from_slice(received);
    }
    if matches!(part, Part::More) && has_more { Part::Again } else { part }
}

/// What everything that a guest has said comes to.
fn listen(guest: &mut Guest, progress: &mut Progress, bytes: &[u8]) -> Part {
    if guest.announces() {
        match parse_proxy_header(bytes) {
            Ok(Some(header)) => {
                progress.before = header.length;
                guest.introduce(header.source);
            }
            Ok(None) => return Part::More,
            Err(error) => {
                tracing::warn!(proxy = %guest.peer(), %error, "no PROXY header");
                return Part::Whole(Verdict::HangUp, Vec::new());
            }
        }
    }
    let bytes = &bytes[progress.before..];
    match progress.scanner.end_of_head(bytes) {
        Ok(Some(end)) => {
            let (head, leftover) = bytes.split_at(end);
            match judge(head, guest) {
                verdict @ Verdict::Upgrade(_) => Part::Whole(verdict, leftover.to_vec()),
                // Who gets an answer may take its time, but nothing of ours with it.
                verdict => Part::Whole(verdict, Vec::new()),
            }
        }
        Ok(None) => Part::More,
        Err(refusal) => Part::Whole(refused(&refusal, guest), Vec::new()),
    }
}

fn judge(head: &[u8], guest: &mut Guest) -> Verdict {
    if let Err(refusal) = guest.identify(head) {
        return refused(&refusal, guest);
    }
    match parse_request(head) {
        Ok(Request::Upgrade(request)) => match judge_upgrade(&request, guest) {
            Ok(grant) => Verdict::Upgrade(grant),
            Err(refusal) => refused(&refusal, guest),
        },
        Ok(Request::Plain { method, path, .. }) => {
            guest.standing.forgive(guest.desk.networks());
            static_page(method, path, guest)
        }
        Err(refusal) => refused(&refusal, guest),
    }
}

/// Path, origin, rate, credentials, the share of the client, room: in this order, so that what a
/// client did wrong comes before what only time can mend.
fn judge_upgrade(request: &UpgradeRequest<'_>, guest: &Guest) -> Result<Grant, Refusal> {
    let desk = &guest.desk;
    let endpoint = Endpoint::of_path(request.path, desk.root()).ok_or(Refusal::NotFound)?;
    if !desk.access().allows_origin(request.origin) {
        return Err(Refusal::Origin);
    }
    if guest.standing.is_refused() {
        // Before a signature is verified: that is what costs.
        return Err(Refusal::TooMany);
    }
    let by_message = endpoint.authenticates_by_message();
    let identity = desk
        .access()
        .authenticate(request.query, request.authorization, by_message, unix_time())
        .map_err(|error| {
            tracing::warn!(peer = %guest.peer(), %error, "authentication failed");
            Refusal::Unauthorized
        })?;
    let ticket = guest.standing.admit(desk.networks()).map_err(|_| Refusal::TooMany)?;
    if !desk.takes_connections() {
        desk.release(ticket);
        return Err(desk.put_off());
    }
    // Who has yet to say who it is gets nothing inflated, and so sends nothing compressed.
    let is_stranger = by_message && desk.access().mode() == AuthMode::Message && identity.is_none();
    let policy = desk.deflate().filter(|_| !is_stranger);
    let agreed = policy.and_then(|policy| Agreement::negotiate(request.extensions(), policy));
    let (agreement, extension) = agreed.unzip();
    let mut response = Vec::with_capacity(256);
    accept(&mut response, request, None, extension.as_deref());
    Ok(Grant { endpoint, agreement, response, identity, ticket })
}

fn static_page(method: &str, path: &str, guest: &Guest) -> Verdict {
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return refused(&Refusal::Method, guest),
    };
    let Some(asset) = web::asset(path) else {
        let mut verdict = refused(&Refusal::NotFound, guest);
        if let Verdict::Refuse { head, .. } = &mut verdict
            && !with_body
            && let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            head.truncate(end + 4);
        }
        return verdict;
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\n\
         Connection: close\r\n\
         Content-Type: {}\r\n\
         Content-Length: {}\r\n\
         {}\r\n",
        asset.content_type,
        asset.body.len(),
        web::HEADER_LINES,
    );
    let body = if with_body { asset.body } else { "" };
    Verdict::Page { head: head.into_bytes(), body }
}

fn refused(refusal: &Refusal, guest: &Guest) -> Verdict {
    let (status, _) = refusal.status();
    let peer = guest.peer();
    tracing::info!(%peer, status, reason = refusal.detail(), "handshake refused");
    let mut head = Vec::new();
    refuse(&mut head, refusal);
    Verdict::Refuse { head, status }
}
