//! The opening handshake, the same for every connection of a run.

use std::fmt;
use std::str::FromStr;

use ringwire::limits::HEAD_BYTES_MAX;
use ringwire::protocol::deflate::{Agreement, DeflatePolicy};
use ringwire::protocol::upgrade::{HeadScanner, check_response, write_request};

use crate::args::{Common, Target};
use crate::client::Client;
use crate::press::Compression;
use crate::stats::Failure;

/// `Sec-WebSocket-Key`: one for all, since nothing between this client and the server caches.
const KEY: &str = "cmluZ3dpcmVsb2FkdGVzdA==";

/// Field names that the handshake itself, or a body, would be spoilt by.
const NAMES_TAKEN: [&str; 5] =
    ["host", "upgrade", "connection", "content-length", "transfer-encoding"];

/// A field that the user adds to the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    name: String,
    value: String,
}

impl FromStr for Header {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (name, value) = line.split_once(':').ok_or("the form is `Name: value`")?;
        let lower = name.to_ascii_lowercase();
        if NAMES_TAKEN.contains(&&*lower) || lower.starts_with("sec-websocket-") {
            return Err(format!("{name} is the handshake's own; subprotocols have --protocol"));
        }
        let value = value.trim_matches([' ', '\t']);
        let is_printable = |character: char| character == '\t' || !character.is_control();
        if !is_token(name) || !value.chars().all(is_printable) {
            return Err("the name or the value has a character that no field may have".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// The name of a subprotocol: a token (RFC 6455 section 4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Protocol(String);

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        if is_token(name) {
            Ok(Self(name.to_owned()))
        } else {
            Err("a subprotocol has letters, digits and !#$%&'*+-.^_`|~ only".to_owned())
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A token of HTTP (RFC 9110 section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_allowed)
}

/// What the user asks for in the request, besides the target.
#[derive(Clone, Default, Debug)]
pub(crate) struct Wishes {
    headers: Vec<Header>,
    protocols: Vec<Protocol>,
    deflate: Option<DeflatePolicy>,
}

impl Wishes {
    /// Those of the command line.
    pub(crate) fn of(common: &Common) -> Self {
        Self {
            headers: common.header.clone(),
            protocols: common.protocol.clone(),
            deflate: common.deflate.policy(),
        }
    }

    fn protocols(&self) -> Vec<&str> {
        self.protocols.iter().map(|protocol| protocol.0.as_str()).collect()
    }
}

/// The request, and the response that proves that the server read it.
#[derive(Debug)]
pub(crate) struct Upgrade {
    request: Vec<u8>,
    wishes: Wishes,
    /// The last response that was checked. The key is always the same, so a server that sends the
    /// same head again has given the right answer again.
    checked: Vec<u8>,
    /// What it grants.
    agreement: Option<Agreement>,
}

impl Upgrade {
    /// The handshake with `target`.
    pub(crate) fn new(target: &Target, wishes: &Wishes) -> Self {
        let offer = wishes.deflate.map(Agreement::offer);
        let fields = wishes.headers.iter().map(|field| (&*field.name, &*field.value));
        let offer = offer.iter().map(|offer| ("Sec-WebSocket-Extensions", offer.as_str()));
        let fields: Vec<(&str, &str)> = fields.chain(offer).collect();
        let (host, path, protocols) = (&target.authority, &target.path, wishes.protocols());
        let mut request = Vec::new();
        write_request(&mut request, host, path, KEY, &protocols, &fields);
        Self { request, wishes: wishes.clone(), checked: Vec::new(), agreement: None }
    }

    /// What to send.
    pub(crate) fn request(&self) -> &[u8] {
        &self.request
    }

    /// Takes what was received. `Ok(None)` when the head goes on, else how many of `bytes` are the
    /// rest of the head; frames follow.
    pub(crate) fn response(
        &mut self,
        client: &mut Client,
        bytes: &[u8],
    ) -> Result<Option<usize>, Failure> {
        if client.rest.is_none() && !self.checked.is_empty() && bytes.starts_with(&self.checked) {
            client.compression = self.compression();
            return Ok(Some(self.checked.len()));
        }
        let head = &mut client.rest.get_or_insert_default().head;
        let before = head.len();
        head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX - before)]);
        let end = HeadScanner::new().end_of_head(head);
        match end.map_err(|_| Failure::Response("no head of HTTP"))? {
            None => Ok(None),
            Some(end) => {
                let (protocols, deflate) = (self.wishes.protocols(), self.wishes.deflate);
                self.agreement = check_response(&head[..end], KEY, &protocols, deflate)?.agreement;
                self.checked.clear();
                self.checked.extend_from_slice(&head[..end]);
                client.end_head();
                client.compression = self.compression();
                Ok(Some(end - before))
            }
        }
    }

    /// Of a connection that the last response opened.
    fn compression(&self) -> Option<Box<Compression>> {
        self.agreement.map(|agreement| Box::new(Compression::new(agreement)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwire::protocol::upgrade::{Request, accept, parse_request};

    fn exchange() -> (Upgrade, Vec<u8>) {
        exchange_with(&Wishes::default(), None)
    }

    /// The response chooses a subprotocol.
    fn exchange_with(wishes: &Wishes, protocol: Option<&str>) -> (Upgrade, Vec<u8>) {
        let target = "ws://127.0.0.1:1/echo".parse().expect("a URL");
        let upgrade = Upgrade::new(&target, wishes);
        let mut response = Vec::new();
        match parse_request(upgrade.request()) {
            Ok(Request::Upgrade(request)) => accept(&mut response, &request, protocol, None),
            other => panic!("{other:?}"),
        }
        (upgrade, response)
    }

    #[test]
    fn fields_and_subprotocols_are_asked_for() {
        let wishes = Wishes {
            headers: vec!["Origin:http://a b".parse().expect("a field")],
            protocols: vec!["chat.v2".parse().expect("a name"), "chat".parse().expect("a name")],
            deflate: None,
        };
        let (mut upgrade, response) = exchange_with(&wishes, Some("chat"));
        let request = String::from_utf8_lossy(upgrade.request()).into_owned();
        assert!(request.contains("\r\nOrigin: http://a b\r\n"), "{request}");
        assert!(request.contains("\r\nSec-WebSocket-Protocol: chat.v2, chat\r\n"), "{request}");
        let size = response.len();
        assert_eq!(upgrade.response(&mut Client::new(), &response), Ok(Some(size)));
        let other = String::from_utf8_lossy(&response).replace("chat", "chit").into_bytes();
        assert!(upgrade.response(&mut Client::new(), &other).is_err());
    }

    #[test]
    fn compression_is_what_the_server_grants() {
        let policy = DeflatePolicy { takeover: false, window_bits: 15 };
        let wishes = Wishes { deflate: Some(policy), ..Wishes::default() };
        let (mut upgrade, response) = exchange_with(&wishes, None);
        let mut client = Client::new();
        assert_eq!(upgrade.response(&mut client, &response), Ok(Some(response.len())));
        assert!(client.compression.is_none(), "the server declined");
        let (_, answer) = Agreement::negotiate([&*Agreement::offer(policy)].into_iter(), policy)
            .expect("what was offered");
        let mut granted = response;
        granted.truncate(granted.len() - 2);
        granted.extend_from_slice(format!("Sec-WebSocket-Extensions: {answer}\r\n\r\n").as_bytes());
        // Once looked at, and once known.
        for _ in 0..2 {
            let mut client = Client::new();
            assert_eq!(upgrade.response(&mut client, &granted), Ok(Some(granted.len())));
            assert!(client.compression.is_some());
        }
        let (mut upgrade, _) = exchange();
        assert!(upgrade.response(&mut Client::new(), &granted).is_err(), "nobody offered it");
    }

    #[test]
    fn fields_that_would_spoil_the_request_are_refused() {
        for bad in [
            "no colon",
            ": empty",
            "Na me: a",
            "Name : a",
            "Name: a\r\nOther: b",
            "Name: a\nb",
            "Name: \0",
            "Host: a",
            "UPGRADE: a",
            "Connection: close",
            "Sec-WebSocket-Key: a",
            "sec-websocket-protocol: a",
            "Content-Length: 5",
        ] {
            assert!(bad.parse::<Header>().is_err(), "{bad:?}");
        }
        for bad in ["", "a b", "a,b", "a\r\n", "ä"] {
            assert!(bad.parse::<Protocol>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn responses_are_accepted_whole_in_pieces_and_again() {
        let (mut upgrade, mut response) = exchange();
        let size = response.len();
        response.extend_from_slice(b"\x82\x00");
        let mut client = Client::new();
        for cut in 0..size {
            let (one, two) = response.split_at(cut);
            assert_eq!(upgrade.response(&mut client, one), Ok(None));
            assert_eq!(upgrade.response(&mut client, two), Ok(Some(size - cut)));
            assert!(client.rest.is_none(), "nothing is kept");
        }
        assert_eq!(upgrade.response(&mut client, &response), Ok(Some(size)));
    }

    #[test]
    fn wrong_answers_are_refused() {
        let (mut upgrade, response) = exchange();
        let mut wrong = response.clone();
        let accept = response.windows(8).position(|window| window == b"-Accept:").expect("a field");
        wrong[accept + 9] ^= 1;
        let refused = upgrade.response(&mut Client::new(), &wrong);
        assert_eq!(refused, Err(Failure::Response("wrong Sec-WebSocket-Accept")));
        let refused = upgrade.response(&mut Client::new(), b"HTTP/1.1 503 Busy\r\n\r\n");
        assert_eq!(refused, Err(Failure::Status(503)));
        let endless = [b'a'; HEAD_BYTES_MAX];
        assert!(upgrade.response(&mut Client::new(), &endless).is_err());
    }
}
