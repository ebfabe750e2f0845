//! The overview for those who ask once, and for those who watch: a WebSocket of our own that tells
//! it every second.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::extract::Request;
use axum::http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, interval_at, timeout};

use super::Operator;
use super::error::ApiError;
use super::serve::is_true;
use crate::limits::{FRAGMENTS_MAX, WATCHER_MESSAGE_BYTES_MAX, WATCHER_PATIENCE, WATCHERS_MAX};
use crate::observe::sampler::{Latest, Overviews};
use crate::protocol::upgrade::{
    Refusal, Request as Head, UpgradeRequest, accept_key, parse_request,
};
use crate::protocol::{
    AssemblyPool, CloseCode, Decoder, Event, Input, Limits, OpCode, Role, encode_close,
    encode_frame,
};

/// What the feed speaks. The second subprotocol that may come with it, the token, is for the guard
/// alone.
const SUBPROTOCOL: &str = "ringwire.overview.v1";

const LIMITS: Limits = Limits {
    message_bytes_max: WATCHER_MESSAGE_BYTES_MAX,
    fragments_max: FRAGMENTS_MAX,
    compressed: false,
};

/// Where overviews come from, and the places of those who watch.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    overviews: Overviews,
    places: Arc<Semaphore>,
    is_over: watch::Receiver<bool>,
}

impl Feed {
    /// To be called inside the runtime. Who watches is sent away when `is_over` becomes true.
    pub(super) fn start(operator: &Operator, is_over: watch::Receiver<bool>) -> Self {
        let overviews = Overviews::start(operator.clone());
        Self { overviews, places: Arc::new(Semaphore::new(WATCHERS_MAX)), is_over }
    }
}

/// `GET /api/overview`
pub(super) async fn overview(Extension(feed): Extension<Feed>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], feed.overviews.latest().await)
}

/// The WebSocket at `/api/feed`
pub(super) async fn watch(
    Extension(feed): Extension<Feed>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let head = head(&request);
    let response = match parse_request(&head) {
        Ok(Head::Upgrade(upgrade)) => switch(&upgrade),
        Ok(Head::Plain { .. }) => return Err(ApiError::no_upgrade(&Refusal::UpgradeHeader)),
        Err(refusal) => return Err(ApiError::no_upgrade(&refusal)),
    };
    let place = Arc::clone(&feed.places).try_acquire_owned().map_err(|_| {
        let message = format!("{WATCHERS_MAX} watch already: close a dashboard and try again");
        ApiError::unavailable("too_many_watchers", message)
    })?;
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        // Who leaves before or after is no fault of this server.
        if let Ok(stream) = upgrade.await {
            let _ = Watcher::new(stream).run(feed.overviews.watch(), feed.is_over).await;
        }
        drop(place);
    });
    Ok(response)
}

/// The head as it came, for the one parser of upgrades that this project has.
fn head(request: &Request) -> Vec<u8> {
    let mut head =
        format!("{} {} {:?}\r\n", request.method(), request.uri(), request.version()).into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn switch(request: &UpgradeRequest<'_>) -> Response {
    let key = request.header("sec-websocket-key").expect("the parser found it");
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept = HeaderValue::from_bytes(&accept_key(key.as_bytes()));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.expect("base64 may stand in a header"));
    if request.protocols().any(|offered| offered == SUBPROTOCOL) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    response
}

/// One who watches.
struct Watcher {
    stream: TokioIo<Upgraded>,
    decoder: Decoder,
    pool: AssemblyPool,
    out: Vec<u8>,
    /// Something came since the last ping. It is what tells a reader from one who only lets the
    /// buffers of the kernel fill.
    is_awake: bool,
    /// The last frame is written.
    is_closed: bool,
}

impl Watcher {
    fn new(stream: Upgraded) -> Self {
        Self {
            stream: TokioIo::new(stream),
            decoder: Decoder::new(Role::Server),
            pool: AssemblyPool::new(4 * WATCHER_MESSAGE_BYTES_MAX),
            out: Vec::new(),
            is_awake: true,
            is_closed: false,
        }
    }

    /// Tells every overview until one side closes, or the watcher has read nothing for too long.
    async fn run(
        mut self,
        mut overviews: Latest,
        mut is_over: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut heartbeat = interval_at(Instant::now() + WATCHER_PATIENCE, WATCHER_PATIENCE);
        let mut chunk = [0; 4096];
        while !self.is_closed {
            tokio::select! {
                () = is_true(&mut is_over) => {
                    self.close(CloseCode::GOING_AWAY, "the server is going away");
                }
                Ok(()) = overviews.changed() => self.tell(&mut overviews),
                count = self.stream.read(&mut chunk) => match count? {
                    0 => return Ok(()),
                    count => self.hear(&mut chunk[..count]),
                },
                _ = heartbeat.tick() => {
                    if !self.is_awake {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    self.is_awake = false;
                    encode_frame(&mut self.out, OpCode::Ping, b"");
                }
            }
            timeout(WATCHER_PATIENCE, self.stream.write_all(&self.out)).await??;
            self.out.clear();
        }
        timeout(WATCHER_PATIENCE, self.stream.shutdown()).await?
    }

    fn tell(&mut self, overviews: &mut Latest) {
        if let Some(overview) = &*overviews.borrow_and_update() {
            encode_frame(&mut self.out, OpCode::Text, overview);
        }
    }

    /// Answers what the protocol wants answered; a watcher has nothing else to say.
    fn hear(&mut self, bytes: &mut [u8]) {
        self.is_awake = true;
        let mut input = Input::new(bytes);
        loop {
            match self.decoder.next(&mut input, &mut self.pool, &LIMITS) {
                Ok(None) => return,
                Ok(Some(Event::Ping(payload))) => {
                    encode_frame(&mut self.out, OpCode::Pong, payload);
                }
                Ok(Some(Event::Close { code, .. })) => {
                    return self.close(code.map_or(CloseCode::NORMAL, CloseCode), "");
                }
                Ok(Some(Event::Message { .. } | Event::Pong(_))) => {}
                Err(error) => return self.close(error.close_code(), error.reason()),
            }
        }
    }

    fn close(&mut self, code: CloseCode, reason: &str) {
        encode_close(&mut self.out, code.0, reason);
        self.is_closed = true;
    }
}
