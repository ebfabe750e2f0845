//! A small HTTP client for the admin listener: one request for each connection.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where to ask, and with which token.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Lines of the head, as they came.
    head: String,
    pub(crate) body: String,
}

impl Api {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    pub(crate) fn with_token(address: SocketAddr, token: &str) -> Self {
        Self { address, token: Some(token.to_owned()) }
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        self.request("GET", target, "", "")
    }

    pub(crate) fn post(&self, target: &str, body: &Value) -> Answer {
        self.send("POST", target, body)
    }

    pub(crate) fn put(&self, target: &str, body: &Value) -> Answer {
        self.send("PUT", target, body)
    }

    /// Sends JSON.
    pub(crate) fn send(&self, method: &str, target: &str, body: &Value) -> Answer {
        self.request(method, target, "Content-Type: application/json\r\n", &body.to_string())
    }

    /// Sends a request with more header lines, each ending in CRLF.
    pub(crate) fn request(&self, method: &str, target: &str, more: &str, body: &str) -> Answer {
        let host = if more.contains("Host: ") { "" } else { "Host: localhost\r\n" };
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {}\r\n\
             {}{more}\r\n",
            body.len(),
            token.unwrap_or_default(),
        );
        exchange(self.address, &[head.as_bytes(), body.as_bytes()].concat())
    }
}

/// Sends `request` as it is and reads the answer to its end.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the admin listener accepts");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a deadline can be set");
    stream.write_all(request).expect("the admin listener takes a request");
    read_answer(&mut stream)
}

/// Reads an answer until the server closes.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        // A body that was too long was not read to its end.
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("no answer: {error}"),
        _ => {}
    }
    let text = String::from_utf8(bytes).expect("an answer is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head:?}"));
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

impl Answer {
    /// The body of an answer that must be a success.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Expects a refusal in the one form that they have; gives its message.
    #[track_caller]
    pub(crate) fn refusal(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{} {}", self.head, self.body);
        assert_eq!(self.header("content-type").as_deref(), Some("application/json"));
        let body: Value = serde_json::from_str(&self.body).expect("a refusal is JSON");
        assert_eq!(body["error"]["code"], code, "{body}");
        let message = body["error"]["message"].as_str().expect("a refusal has a message");
        assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        message.to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers(name).into_iter().next()
    }

    /// All values of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned()).collect()
    }
}
