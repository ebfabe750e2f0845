//! One TLS session without I/O: records in, plaintext out, and the other way.

use std::fmt;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedConnectionCommon, UnbufferedStatus,
};
use rustls::{
    ClientConfig, CommonState, Error, HandshakeKind, ProtocolVersion, ServerConfig, SideData,
};

use crate::limits::{TLS_RECORD_BYTES, TLS_RECORD_OVERHEAD};

/// A session of a server or a client. While it is idle it holds no buffer: the beginning of a
/// record whose end has not come is kept, and nothing else.
#[derive(Debug)]
pub struct Session {
    side: Side,
    /// The beginning of a record or a handshake message that is not whole. The library remembers
    /// where in it the parts of a message are: it must be there in every call.
    carry: Vec<u8>,
    /// Records that the socket has not taken, and how much of them it has.
    unsent: Vec<u8>,
    taken: usize,
    /// Bytes of plaintext in `unsent`.
    sealed: usize,
    is_closed: bool,
    /// Nothing more is sent.
    is_silent: bool,
    /// What the peer did wrong. The library may still hold on to bytes that are gone: it must not
    /// be called any more.
    failure: Option<Error>,
    /// The owner has yet to hear of it.
    is_untold: bool,
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// Without what is secret.
impl fmt::Debug for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

impl Session {
    /// A session that waits for the hello of a client.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(|server| Self::of(Side::Server(server)))
    }

    /// A session that begins with the hello to the server `name`.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(|client| Self::of(Side::Client(client)))
    }

    const fn of(side: Side) -> Self {
        Self {
            side,
            carry: Vec::new(),
            unsent: Vec::new(),
            taken: 0,
            sealed: 0,
            is_closed: false,
            is_silent: false,
            failure: None,
            is_untold: false,
        }
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(server) => server,
            Side::Client(client) => client,
        }
    }

    /// Whether the handshake goes on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// The version that was agreed on.
    #[must_use]
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.common().protocol_version()
    }

    /// Whether the handshake went on from an earlier session.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What the peer did wrong is told when what came before it was worked on.
    pub(super) const fn tell_later(&mut self) {
        self.is_untold = true;
    }

    /// What the peer did wrong, if that is to be told now.
    pub(super) fn take_untold(&mut self) -> Option<Error> {
        if std::mem::take(&mut self.is_untold) { self.failure.clone() } else { None }
    }

    /// Whether the peer owes the rest of a record or of a handshake message.
    #[must_use]
    pub const fn in_record(&self) -> bool {
        !self.carry.is_empty()
    }

    /// Whether records wait for room in the socket.
    #[must_use]
    pub const fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether the peer has said that it sends no more (RFC 8446 section 6.1). A stream that ends
    /// without that may have been cut by somebody else.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether nothing more can be said: what the peer still says matters to nobody, and the
    /// library would take it for its own fault that it has to refuse it.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.is_silent || self.failure.is_some()
    }

    /// Puts the beginning of a record, which came before, in front of what is to be received now;
    /// says how many bytes these are.
    ///
    /// # Errors
    /// There would be no room behind it: the peer cuts a message into records that are mostly
    /// headers. The session is over.
    pub(super) fn begin_receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let length = self.carry.len();
        if length >= buffer.len() {
            let error = Error::General("a handshake message in too many records".into());
            return Err(self.fail(error));
        }
        buffer[..length].copy_from_slice(&self.carry);
        Ok(length)
    }

    fn fail(&mut self, error: Error) -> Error {
        self.carry = Vec::new();
        self.failure.insert(error).clone()
    }

    /// Works on `wire`: what was kept of what came before, and what came behind it. Plaintext is
    /// appended to `plain`; what has to be answered waits to be sent.
    ///
    /// # Errors
    /// What the peer did wrong; the alert that tells it waits to be sent. The session is over.
    pub fn open(&mut self, wire: &mut [u8], plain: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        let Self { side, unsent, is_closed, .. } = self;
        let mut work = Work { plain, records: unsent, is_closed };
        let outcome = match side {
            Side::Server(server) => work.open(server, wire, process_server),
            Side::Client(client) => work.open(client, wire, process_client),
        };
        let used = outcome.map_err(|error| self.fail(error))?;
        self.carry = wire[used..].to_vec();
        Ok(())
    }

    /// Begins the handshake of a client: its hello waits to be sent.
    ///
    /// # Errors
    /// When there is no random number for it.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.open(&mut [], &mut Vec::new())
    }

    /// Appends the records of `plain` to `records`: none, if the session is over or not yet there.
    pub(super) fn seal(&mut self, plain: &[u8], records: &mut Vec<u8>) {
        self.write(Words::Data(plain), records);
    }

    /// Says that nothing more is sent. The alert waits to be sent.
    pub(super) fn close(&mut self) {
        let mut records = std::mem::take(&mut self.unsent);
        self.write(Words::Close, &mut records);
        self.unsent = records;
        self.carry = Vec::new();
        self.is_silent = true;
    }

    fn write(&mut self, words: Words<'_>, records: &mut Vec<u8>) {
        let Self { side, carry, is_silent: false, failure: None, .. } = self else { return };
        match side {
            Side::Server(server) => write(server, process_server, carry, words, records),
            Side::Client(client) => write(client, process_client, carry, words, records),
        }
    }

    /// Keeps the records, of so many bytes of plaintext, that the socket has not taken.
    pub(super) fn keep(&mut self, records: &[u8], sealed: usize) {
        self.unsent.extend_from_slice(records);
        self.sealed += sealed;
    }

    /// What waits for room in the socket.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.unsent[self.taken..]
    }

    /// Bytes of plaintext that wait in records for room in the socket.
    #[must_use]
    pub const fn sealed(&self) -> usize {
        self.sealed
    }

    /// The socket took so many bytes of [`unsent`](Self::unsent). When these were the last, says
    /// how many bytes of plaintext have gone.
    pub(super) fn advance(&mut self, count: usize) -> usize {
        self.taken += count;
        if self.taken < self.unsent.len() {
            return 0;
        }
        (self.unsent, self.taken) = (Vec::new(), 0);
        std::mem::take(&mut self.sealed)
    }
}

type Process<Data> = for<'c, 'i> fn(
    &'c mut UnbufferedConnectionCommon<Data>,
    &'i mut [u8],
) -> UnbufferedStatus<'c, 'i, Data>;

fn process_server<'c, 'i>(
    server: &'c mut UnbufferedConnectionCommon<ServerConnectionData>,
    wire: &'i mut [u8],
) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
    server.process_tls_records(wire)
}

fn process_client<'c, 'i>(
    client: &'c mut UnbufferedConnectionCommon<ClientConnectionData>,
    wire: &'i mut [u8],
) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
    client.process_tls_records(wire)
}

/// What comes of the records of one read.
struct Work<'a> {
    plain: &'a mut Vec<u8>,
    records: &'a mut Vec<u8>,
    is_closed: &'a mut bool,
}

impl Work<'_> {
    /// Goes through whole records; says how many bytes they are.
    fn open<Data: SideData>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<Data>,
        wire: &mut [u8],
        process: Process<Data>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } = process(connection, &mut wire[used..]);
            let goes_on = match state {
                Ok(state) => self.heed(state)?,
                Err(error) => {
                    self.tell_alert(connection, process);
                    return Err(error);
                }
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// Does what a state asks for; says whether another follows without more bytes.
    fn heed<Data>(&mut self, state: ConnectionState<'_, '_, Data>) -> Result<bool, Error> {
        match state {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    self.plain.extend_from_slice(record?.payload);
                }
            }
            ConnectionState::EncodeTlsData(data) => encode(data, self.records),
            // Records go out in the order in which they are appended.
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => *self.is_closed = true,
            ConnectionState::ReadEarlyData(_) => {
                return Err(Error::General("early data is not taken".into()));
            }
            // Waiting for bytes, ready for words, or closed.
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The alert that goes with an error. What was received is not looked at again: the library
    /// would stumble over the same fault, or over what came behind it.
    fn tell_alert<Data: SideData>(
        &mut self,
        connection: &mut UnbufferedConnectionCommon<Data>,
        process: Process<Data>,
    ) {
        while connection.wants_write() {
            let UnbufferedStatus { state, .. } = process(connection, &mut []);
            if state.and_then(|state| self.heed(state)).is_err() {
                return;
            }
        }
    }
}

/// What one end has to say.
#[derive(Clone, Copy)]
enum Words<'a> {
    Data(&'a [u8]),
    Close,
}

/// Appends the records of what one end has to say. `carry` is all that the other end has said and
/// that is not whole.
fn write<Data: SideData>(
    connection: &mut UnbufferedConnectionCommon<Data>,
    process: Process<Data>,
    carry: &mut [u8],
    words: Words<'_>,
    records: &mut Vec<u8>,
) {
    loop {
        match process(connection, carry).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let length = if let Words::Data(plain) = words { plain.len() } else { 0 };
                let room = length + (length / TLS_RECORD_BYTES + 2) * TLS_RECORD_OVERHEAD;
                append(records, room, |room| {
                    let written = match words {
                        Words::Data(plain) => traffic.encrypt(plain, room),
                        Words::Close => traffic.queue_close_notify(room),
                    };
                    written.or_else(|error| match error {
                        EncryptError::InsufficientSize(size) => Err(size),
                        // So many records that no key may be used for more: nothing is sent, and
                        // the peer sees the end of the stream.
                        EncryptError::EncryptExhausted => Ok(0),
                    })
                });
                return;
            }
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, records),
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => {}
            // The session has failed, is closed, or not yet there: nobody would understand it.
            Ok(_) | Err(_) => return,
        }
    }
}

/// Appends a record of the library's own.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, records: &mut Vec<u8>) {
    append(records, TLS_RECORD_BYTES, |room| {
        data.encode(room).map_err(|error| match error {
            EncodeError::InsufficientSize(size) => size,
            EncodeError::AlreadyEncoded => unreachable!("it is encoded once"),
        })
    });
}

/// Appends what `encode` puts into the room that it has: as much as it needs, if `room` is too
/// little.
fn append(
    records: &mut Vec<u8>,
    mut room: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, InsufficientSizeError>,
) {
    let start = records.len();
    loop {
        records.resize(start + room, 0);
        match encode(&mut records[start..]) {
            Ok(count) => return records.truncate(start + count),
            Err(InsufficientSizeError { required_size, .. }) => {
                assert!(required_size > room, "what has room can be encoded");
                room = required_size;
            }
        }
    }
}
