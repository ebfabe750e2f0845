//! The opening handshake, the same for every connection of a run.

use ringwire::limits::HEAD_BYTES_MAX;
use ringwire::protocol::upgrade::{HeadScanner, check_response, write_request};

use crate::args::Target;
use crate::client::Client;
use crate::stats::Failure;

/// `Sec-WebSocket-Key`: one for all, since nothing between this client and the server caches.
const KEY: &str = "cmluZ3dpcmVsb2FkdGVzdA==";

/// The request, and the response that proves that the server read it.
#[derive(Debug)]
pub(crate) struct Upgrade {
    request: Vec<u8>,
    /// The last response that was checked. The key is always the same, so a server that sends the
    /// same head again has given the right answer again.
    checked: Vec<u8>,
}

impl Upgrade {
    /// The handshake with `target`.
    pub(crate) fn new(target: &Target) -> Self {
        let mut request = Vec::new();
        write_request(&mut request, &target.authority, &target.path, KEY, &[], &[]);
        Self { request, checked: Vec::new() }
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
            return Ok(Some(self.checked.len()));
        }
        let head = &mut client.rest.get_or_insert_default().head;
        let before = head.len();
        head.extend_from_slice(&bytes[..bytes.len().min(HEAD_BYTES_MAX - before)]);
        let end = HeadScanner::new().end_of_head(head);
        match end.map_err(|_| Failure::Response("no head of HTTP"))? {
            None => Ok(None),
            Some(end) => {
                check_response(&head[..end], KEY, &[])?;
                self.checked.clear();
                self.checked.extend_from_slice(&head[..end]);
                client.rest = None;
                Ok(Some(end - before))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringwire::protocol::upgrade::{Request, accept, parse_request};

    fn exchange() -> (Upgrade, Vec<u8>) {
        let target = "ws://127.0.0.1:1/echo".parse().expect("a URL");
        let upgrade = Upgrade::new(&target);
        let mut response = Vec::new();
        match parse_request(upgrade.request()) {
            Ok(Request::Upgrade(request)) => accept(&mut response, &request, None),
            other => panic!("{other:?}"),
        }
        (upgrade, response)
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
