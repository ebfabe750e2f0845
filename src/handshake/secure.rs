//! The TLS handshake of a guest.

use std::rc::Rc;
use std::time::Instant;

use rustls::Error;

use super::guest::Guest;
use super::stream::{await_end, pause_starved, send_records};
use crate::observe::SocketCall;
use crate::protocol::parse_proxy_header;
use crate::ring::{Interest, poll_once};
use crate::tls::{Heard, Session};

/// Why a guest has no TLS.
pub(super) enum NotSecured {
    /// It left, or its time is up.
    Left,
    /// A proxy does not speak as was agreed.
    BadProxyHeader,
    /// It broke the rules, and was told so, or there is nothing that both speak.
    Failed,
}

/// What reading has led to.
enum Step {
    /// There may be more.
    More,
    /// Nothing more is there yet.
    Later,
    /// The kernel has no memory for it.
    Starved,
    Left,
    Failed(Error),
}

/// Brings TLS up for a guest. Gives the plaintext that came with the end of the handshake.
pub(super) async fn secure(guest: &mut Guest) -> Result<Vec<u8>, NotSecured> {
    let desk = Rc::clone(&guest.desk);
    let mut wire = if guest.announces() { read_proxy_header(guest).await? } else { Vec::new() };
    if wire.is_empty() {
        // Who says nothing costs no session.
        poll_once(&guest.socket, Interest::Read).await.map_err(|_| NotSecured::Left)?;
    }
    let began = Instant::now();
    let config = desk.tls().expect("there is no listener for TLS without certificates");
    let session = Session::server(config).map_err(|error| fail(guest, &error))?;
    guest.tls = Some(Box::new(session));
    let mut plain = Vec::new();
    let mut step = Step::More;
    if !wire.is_empty() {
        let session = guest.session();
        let opened = desk.cipher().take(|| session.open(&mut wire, &mut plain)).await;
        step = opened.map_or_else(Step::Failed, |()| Step::More);
    }
    drop(wire);
    loop {
        let is_there = send_records(guest).await;
        match step {
            Step::Failed(error) => {
                await_end(guest).await;
                return Err(fail(guest, &error));
            }
            _ if !is_there => return Err(NotSecured::Left),
            Step::Left => return Err(NotSecured::Left),
            _ if !guest.session().is_handshaking() => break,
            Step::More => {}
            Step::Later => {
                poll_once(&guest.socket, Interest::Read).await.map_err(|_| NotSecured::Left)?;
            }
            Step::Starved => pause_starved(&desk, SocketCall::Receive).await,
        }
        step = desk.cipher().take(|| receive(guest, &mut plain)).await;
    }
    let session = guest.session();
    desk.counters().count_tls(session.version(), session.is_resumed(), began.elapsed());
    Ok(plain)
}

/// Receives a part of the handshake, and what may follow it.
fn receive(guest: &mut Guest, plain: &mut Vec<u8>) -> Step {
    let Guest { socket, tls, desk, .. } = guest;
    match desk.inlet().borrow_mut().receive(socket, tls.as_deref_mut()) {
        Heard::Bytes { bytes, has_more } => {
            plain.extend_from_slice(bytes);
            if has_more { Step::More } else { Step::Later }
        }
        Heard::Nothing => Step::Later,
        Heard::Starved => Step::Starved,
        Heard::End | Heard::Cut | Heard::Broken => Step::Left,
        Heard::Failed(error) => Step::Failed(error),
    }
}

fn fail(guest: &Guest, error: &Error) -> NotSecured {
    tracing::info!(peer = %guest.peer(), %error, "TLS handshake failed");
    NotSecured::Failed
}

/// Reads what a proxy says in front of the hello; gives what came behind it.
async fn read_proxy_header(guest: &mut Guest) -> Result<Vec<u8>, NotSecured> {
    let mut earlier = Vec::new();
    loop {
        let step = match guest.desk.inlet().borrow_mut().receive(&guest.socket, None) {
            Heard::Bytes { bytes, .. } => {
                earlier.extend_from_slice(bytes);
                Step::More
            }
            Heard::Nothing => Step::Later,
            Heard::Starved => Step::Starved,
            _ => Step::Left,
        };
        match step {
            Step::Later => {
                poll_once(&guest.socket, Interest::Read).await.map_err(|_| NotSecured::Left)?;
            }
            Step::Starved => pause_starved(&guest.desk, SocketCall::Receive).await,
            Step::Left | Step::Failed(_) => return Err(NotSecured::Left),
            Step::More => match parse_proxy_header(&earlier) {
                Ok(Some(header)) => {
                    guest.introduce(header.source);
                    return Ok(earlier.split_off(header.length));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(proxy = %guest.peer(), %error, "no PROXY header");
                    return Err(NotSecured::BadProxyHeader);
                }
            },
        }
    }
}
