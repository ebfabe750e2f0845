//! The one request of `ringwire top`: HTTP/1.1 over a socket of the standard library.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::limits::{HEADER_FIELDS_MAX, TOP_ANSWER_BYTES_MAX, TOP_PATIENCE};
use crate::observe::Overview;

/// Where to ask, and the token that the server may want.
#[derive(Clone, Debug)]
pub(super) struct Client {
    admin: SocketAddr,
    token: Option<String>,
}

/// Why there is no overview.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No connection, or one that ended too early.
    Unreachable(io::Error),
    /// The server wants a token, or another.
    Unauthorized,
    /// Something else than the overview: what it was.
    Foreign(String),
}

impl Client {
    pub(super) const fn new(admin: SocketAddr, token: Option<String>) -> Self {
        Self { admin, token }
    }

    /// Asks once, within [`TOP_PATIENCE`].
    pub(super) fn ask(&self) -> Result<Overview, NoAnswer> {
        let answer = self.exchange().map_err(NoAnswer::Unreachable)?;
        read(&answer)
    }

    /// The words for a fault, with what to do.
    pub(super) fn explain(&self, fault: &NoAnswer) -> String {
        let admin = self.admin;
        match fault {
            NoAnswer::Unreachable(error) => format!(
                "no answer from http://{admin}: {error}: is the server running, with this --admin?"
            ),
            NoAnswer::Unauthorized => {
                format!("http://{admin} wants its token: name its file with --admin-token-file")
            }
            NoAnswer::Foreign(what) => {
                format!("http://{admin} {what}: is it the admin listener of a ringwire server?")
            }
        }
    }

    /// The whole answer, head and body: the server closes after it.
    fn exchange(&self) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + TOP_PATIENCE;
        let mut stream = TcpStream::connect_timeout(&self.admin, TOP_PATIENCE)?;
        stream.set_write_timeout(Some(TOP_PATIENCE))?;
        let authorization =
            self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "GET /api/overview HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}\r\n",
            self.admin,
            authorization.unwrap_or_default()
        );
        stream.write_all(request.as_bytes())?;
        let (mut answer, mut chunk) = (Vec::new(), [0; 16 * 1024]);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(answer),
                Ok(count) => answer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What a read with a timeout says.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
            if answer.len() > TOP_ANSWER_BYTES_MAX {
                return Err(io::Error::other("the answer is too long"));
            }
        }
    }
}

/// Takes an answer apart.
fn read(answer: &[u8]) -> Result<Overview, NoAnswer> {
    let foreign = |what: &dyn fmt::Display| NoAnswer::Foreign(what.to_string());
    let mut headers = [httparse::EMPTY_HEADER; HEADER_FIELDS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let size = match head.parse(answer) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => {
            return Err(NoAnswer::Unreachable(io::ErrorKind::UnexpectedEof.into()));
        }
        Err(error) => return Err(foreign(&format_args!("does not speak HTTP ({error})"))),
    };
    match head.code {
        Some(200) => {}
        Some(401 | 403) => return Err(NoAnswer::Unauthorized),
        code => return Err(foreign(&format_args!("answered {}", code.unwrap_or_default()))),
    }
    let body = &answer[size..];
    let length =
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|field| str::from_utf8(field.value).ok()?.parse().ok());
    if length.is_some_and(|length: usize| body.len() < length) {
        return Err(NoAnswer::Unreachable(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(body)
        .map_err(|error| foreign(&format_args!("answered with something else ({error})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(answer: &str) -> String {
        let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 9090)), None);
        client.explain(&read(answer.as_bytes()).expect_err("this is no overview"))
    }

    #[test]
    fn faults_say_what_to_do() {
        for (answer, words) in [
            ("", "is the server running"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "is the server running"),
            ("SSH-2.0-x\r\n", "does not speak HTTP"),
            ("HTTP/1.1 404 Not Found\r\n\r\n", "answered 404"),
            ("HTTP/1.1 401 Unauthorized\r\n\r\n", "--admin-token-file"),
            ("HTTP/1.1 200 OK\r\n\r\n{}", "answered with something else"),
        ] {
            let fault = fault(answer);
            assert!(fault.contains(words), "{fault}");
        }
    }
}
