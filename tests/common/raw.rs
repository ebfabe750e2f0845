//! A WebSocket client that spells out its bytes, so that it can also say what no library would.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use super::common::tls::{HOUSE, session};
use super::common::{Place, Scheme};
use rustls::{AlertDescription, ClientConnection};
use socket2::{Domain, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long a read or a write may make no progress before the test fails. It bounds a failure and
/// measures nothing.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(20);

/// The masking key of RFC 6455 section 5.7, used for every frame.
pub(crate) const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// First byte of a whole text, binary, close, ping and pong frame.
pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// First byte of the first fragment of a text message, of a middle one, and of the last.
pub(crate) const TEXT_BEGIN: u8 = 0x01;
pub(crate) const CONTINUE: u8 = 0x00;
pub(crate) const CONTINUE_END: u8 = 0x80;

/// A frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, RSV and opcode as they were on the wire.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(first: u8, payload: &[u8]) -> Self {
        Self { first, payload: payload.to_vec() }
    }

    /// The code of a Close frame, `None` when it carries none.
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.first, CLOSE, "not a Close frame: {self:?}");
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// How the server ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a FIN after everything it had to say; over TLS, it said before that this was all.
    Fin,
    /// With a FIN in the middle of a TLS session, as if somebody had cut the stream.
    Cut,
    /// With an alert of TLS.
    Alert(AlertDescription),
    /// With a RST.
    Reset,
}

/// One connection to the server, over TCP or over TLS, with the bytes it has sent and nobody has
/// looked at.
pub(crate) struct RawClient {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    received: Vec<u8>,
    taken: usize,
}

impl RawClient {
    /// Connects; every write leaves at once in a segment of its own.
    pub(crate) fn connect(place: impl Into<Place>) -> Self {
        let place = place.into();
        let stream = TcpStream::connect(place.address).expect("the server accepts a connection");
        Self::over(stream, place)
    }

    /// Connects from `source`, an address of 127.0.0.0/8, to spread many connections over ports.
    pub(crate) fn connect_from(source: [u8; 4], place: impl Into<Place>) -> Self {
        let (socket, place) = (tcp_socket(), place.into());
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("a loopback address binds");
        socket.connect(&place.address.into()).expect("the server accepts a connection");
        Self::over(socket.into(), place)
    }

    /// Connects with the smallest receive buffer the kernel grants, set before the handshake so
    /// that the window is small from the start.
    pub(crate) fn connect_narrow(place: impl Into<Place>) -> Self {
        let (socket, place) = (tcp_socket(), place.into());
        socket.set_recv_buffer_size(2048).expect("SO_RCVBUF can be set");
        socket.connect(&place.address.into()).expect("the server accepts a connection");
        Self::over(socket.into(), place)
    }

    /// Connects and upgrades on `path`.
    pub(crate) fn open(place: impl Into<Place>, path: &str) -> Self {
        let mut client = Self::connect(place);
        client.upgrade(path);
        client
    }

    fn over(stream: TcpStream, place: Place) -> Self {
        let mut client = Self::untold(stream);
        if place.scheme == Scheme::Tls {
            client.secure(session(&HOUSE.client, "localhost")).expect("TLS comes up");
        }
        client
    }

    /// A client without TLS, on a stream that may have been written to.
    pub(crate) fn untold(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY can be set");
        stream.set_read_timeout(Some(PROGRESS_DEADLINE)).expect("a read deadline can be set");
        stream.set_write_timeout(Some(PROGRESS_DEADLINE)).expect("a write deadline can be set");
        Self { stream, tls: None, received: Vec::new(), taken: 0 }
    }

    /// Goes on over TLS, once the handshake is over.
    pub(crate) fn secure(&mut self, mut session: ClientConnection) -> io::Result<()> {
        while session.is_handshaking() {
            session.complete_io(&mut self.stream)?;
        }
        self.tls = Some(Box::new(session));
        Ok(())
    }

    /// The session of a client that came over TLS.
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        self.tls.as_mut().expect("this client came over TLS")
    }

    /// Asks for the upgrade and expects 101.
    pub(crate) fn upgrade(&mut self, path: &str) {
        self.send(&upgrade_request(path));
        self.expect_switch();
    }

    /// Reads the answer to an upgrade that was asked for and expects 101.
    pub(crate) fn expect_switch(&mut self) {
        let head = self.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "the upgrade is refused: {head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the accept key is wrong: {head}");
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes what is sent");
    }

    /// Sends bytes to a server that may have hung up.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.tls else { return self.stream.write_all(bytes) };
        session.writer().write_all(bytes)?;
        self.flush()
    }

    /// Sends what the session has to say, if there is one.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.tls else { return Ok(()) };
        while session.wants_write() {
            session.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Sends one masked frame.
    pub(crate) fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send(&frame(first, payload));
    }

    /// Sends a text and expects it back.
    pub(crate) fn echo(&mut self, text: &str) {
        self.send_frame(TEXT, text.as_bytes());
        assert_eq!(self.read_frame(), Ok(Frame::new(TEXT, text.as_bytes())), "the echo of {text}");
    }

    /// The next frame, or how the connection ended instead.
    ///
    /// # Panics
    /// When nothing arrives for the progress deadline, or a frame is masked or cut short.
    pub(crate) fn read_frame(&mut self) -> Result<Frame, End> {
        loop {
            if let Some((frame, size)) = parse_frame(&self.received[self.taken..]) {
                self.taken += size;
                return Ok(frame);
            }
            if let Err(end) = self.fill() {
                let cut = end == End::Fin && self.taken < self.received.len();
                assert!(!cut, "the server's last frame is cut short");
                return Err(end);
            }
        }
    }

    /// Expects a Close frame next and returns its code.
    pub(crate) fn read_close(&mut self) -> Option<u16> {
        match self.read_frame() {
            Ok(frame) => frame.close_code(),
            Err(end) => panic!("the connection ended with {end:?} instead of a Close frame"),
        }
    }

    /// Expects the server to fail the connection: a Close frame with `code`, then FIN.
    pub(crate) fn expect_failure(&mut self, code: u16, case: &str) {
        assert_eq!(self.read_frame().map(|frame| frame.close_code()), Ok(Some(code)), "{case}");
        assert_eq!(self.read_frame(), Err(End::Fin), "{case}: after the Close frame");
    }

    /// Closes as the RFC wants it and expects the server to do the same.
    pub(crate) fn close(mut self) {
        self.send(&close_frame(1000, ""));
        self.expect_failure(1000, "a normal close");
    }

    /// Reads and forgets everything until the connection ends.
    pub(crate) fn read_to_end(&mut self) -> End {
        loop {
            self.taken = self.received.len();
            if let Err(end) = self.fill() {
                return end;
            }
        }
    }

    /// The head of an HTTP response, up to its blank line; what follows it stays unread.
    pub(crate) fn read_head(&mut self) -> String {
        self.try_read_head().unwrap_or_else(|end| panic!("{end:?} instead of a response"))
    }

    /// The head of an HTTP response, or how the connection ended instead.
    pub(crate) fn try_read_head(&mut self) -> Result<String, End> {
        loop {
            let unread = &self.received[self.taken..];
            if let Some(at) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&unread[..at + 4]).into_owned();
                self.taken += at + 4;
                return Ok(head);
            }
            self.fill()?;
        }
    }

    /// Everything until the connection ends, as text, and how it ended.
    pub(crate) fn read_rest(&mut self) -> (String, End) {
        let end = loop {
            if let Err(end) = self.fill() {
                break end;
            }
        };
        (String::from_utf8_lossy(&self.received[self.taken..]).into_owned(), end)
    }

    /// Ends the sending direction without a Close frame.
    pub(crate) fn half_close(&mut self) {
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
            self.flush().expect("the server takes what is sent");
        }
        self.cut();
    }

    /// Ends the sending direction without a word, not even of TLS.
    pub(crate) fn cut(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the socket is connected");
    }

    /// Hangs up with a RST.
    pub(crate) fn reset(self) {
        let socket = SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER can be set");
    }

    /// The socket itself, for what this client does not do.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.read_exact(bytes),
            Some(session) => {
                rustls::Stream::new(&mut **session, &mut self.stream).read_exact(bytes)
            }
        }
    }

    /// Reads once, after forgetting what was taken.
    fn fill(&mut self) -> Result<(), End> {
        if self.taken == self.received.len() {
            self.received.clear();
            self.taken = 0;
        } else if self.taken > 64 * 1024 {
            self.received.drain(..self.taken);
            self.taken = 0;
        }
        let mut chunk = [0; 32 * 1024];
        let read = match &mut self.tls {
            None => self.stream.read(&mut chunk),
            Some(session) => read_through(&mut self.stream, session, &mut chunk),
        };
        match read {
            Ok(0) => Err(End::Fin),
            Ok(size) => {
                self.received.extend_from_slice(&chunk[..size]);
                Ok(())
            }
            Err(error) => Err(end_of(&error)),
        }
    }
}

/// Reads what comes next over TLS; 0 where both TLS and TCP have ended.
fn read_through(
    stream: &mut TcpStream,
    session: &mut ClientConnection,
    chunk: &mut [u8],
) -> io::Result<usize> {
    loop {
        match session.reader().read(chunk) {
            // It has said that this was all: now it has to hang up, too.
            Ok(0) => return stream.read(&mut chunk[..1]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => return other,
        }
        session.read_tls(stream)?;
        session.process_new_packets().map_err(io::Error::other)?;
        // The new keys of one end are answered by those of the other.
        while session.wants_write() {
            session.write_tls(stream)?;
        }
    }
}

/// How a connection has ended that cannot be read any more.
fn end_of(error: &io::Error) -> End {
    let alert = error.get_ref().and_then(|inner| inner.downcast_ref());
    match (error.kind(), alert) {
        (ErrorKind::ConnectionReset, _) => End::Reset,
        (ErrorKind::UnexpectedEof, _) => End::Cut,
        (_, Some(&rustls::Error::AlertReceived(alert))) => End::Alert(alert),
        _ => panic!("nothing came from the server: {error}"),
    }
}

fn tcp_socket() -> Socket {
    Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made")
}

/// Whether the server upgrades a client that comes now, and that has a second of patience.
pub(crate) fn is_served(place: impl Into<Place>) -> bool {
    let place = place.into();
    let Ok(stream) = TcpStream::connect(place.address) else { return false };
    let mut client = RawClient::untold(stream);
    let patience = Some(Duration::from_secs(1));
    client.stream.set_read_timeout(patience).expect("a read deadline can be set");
    if place.scheme == Scheme::Tls && client.secure(session(&HOUSE.client, "localhost")).is_err() {
        return false;
    }
    let mut status = [0; 12];
    client.try_send(&upgrade_request("/echo")).is_ok()
        && client.read_exact(&mut status).is_ok()
        && &status == b"HTTP/1.1 101"
}

/// The upgrade request of RFC 6455 section 1.2 for `path`.
pub(crate) fn upgrade_request(path: &str) -> Vec<u8> {
    request(path, "")
}

/// The upgrade request with more header lines, each ending in CRLF.
pub(crate) fn request(path: &str, more: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    )
    .into_bytes()
}

/// A masked frame with the shortest length field.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match payload.len() {
        length @ 0..=125 => header(first, &[0x80 | length as u8]),
        length @ 126..=0xffff => header_16(first, length as u16),
        length => header_64(first, length as u64),
    };
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The header of a masked frame that declares its length in 16 bits, short or not.
pub(crate) fn header_16(first: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    header(first, &[0x80 | 126, high, low])
}

/// The header of a masked frame that declares its length in 64 bits, short or not.
pub(crate) fn header_64(first: u8, length: u64) -> Vec<u8> {
    let mut field = vec![0x80 | 127];
    field.extend(length.to_be_bytes());
    header(first, &field)
}

fn header(first: u8, length_field: &[u8]) -> Vec<u8> {
    [&[first], length_field, &MASK].concat()
}

/// A masked Close frame.
pub(crate) fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    frame(CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat())
}

/// The frame at the front of `bytes` and its size on the wire, once all of it is there.
fn parse_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    assert_eq!(length & 0x80, 0, "a server must not mask (RFC 6455 section 5.1)");
    let (length, rest) = match length {
        126 => {
            let (field, rest) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*field)), rest)
        }
        127 => {
            let (field, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*field), rest)
        }
        short => (u64::from(short), rest),
    };
    let payload = rest.get(..length as usize)?;
    let size = bytes.len() - rest.len() + payload.len();
    Some((Frame::new(first, payload), size))
}
