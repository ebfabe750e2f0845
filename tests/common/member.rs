//! A client of the chat that speaks its JSON, and the credentials it can show.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use super::raw::{self, End, PING, PONG, RawClient, TEXT, close_frame, frame};
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm as Variant, Argon2, Params, PasswordHasher, Version};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

const SECRET: &[u8] = include_bytes!("../keys/hs256.secret");

/// What the server says next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Message(Value),
    /// A Close frame.
    Close(u16, String),
    /// The end of the stream.
    End(End),
}

/// A connection to the chat.
pub(crate) struct Member {
    client: RawClient,
    pub(crate) id: String,
}

impl Member {
    /// Comes on `/chat` and is welcomed.
    pub(crate) fn come(address: SocketAddr) -> Self {
        Self::come_to(address, "/chat")
    }

    /// Comes with a token in the query.
    pub(crate) fn come_with(address: SocketAddr, token: &str) -> Self {
        Self::come_to(address, &format!("/chat?token={token}"))
    }

    fn come_to(address: SocketAddr, path: &str) -> Self {
        let mut member = Self { client: RawClient::open(address, path), id: String::new() };
        let welcome = member.hear();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        member.id = welcome["connectionId"].as_str().expect("it is a string").to_owned();
        member
    }

    /// Comes and says who it is; the server must accept it.
    pub(crate) fn come_as(address: SocketAddr, auth: &Value) -> Self {
        let mut member = Self::come(address);
        assert_eq!(member.ask(auth)["type"], "auth_success", "{auth}");
        member
    }

    pub(crate) fn say(&mut self, command: &Value) {
        self.client.send(&said(command));
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.client.send(bytes);
    }

    /// Says something to a server that may have hung up.
    pub(crate) fn try_say(&mut self, command: &Value) -> bool {
        self.client.try_send(&said(command)).is_ok()
    }

    pub(crate) fn next(&mut self) -> Heard {
        loop {
            match self.client.read_frame() {
                Err(end) => return Heard::End(end),
                Ok(frame) if frame.first == PING => {}
                Ok(frame) if frame.first == TEXT => {
                    let text = String::from_utf8(frame.payload).expect("text is UTF-8");
                    return Heard::Message(serde_json::from_str(&text).expect("it is JSON"));
                }
                Ok(frame) => {
                    let code = frame.close_code().expect("the server gives a code");
                    let reason = String::from_utf8(frame.payload[2..].to_vec());
                    return Heard::Close(code, reason.expect("a reason is UTF-8"));
                }
            }
        }
    }

    /// Takes the answer to a ping of the WebSocket protocol.
    pub(crate) fn skip_pong(&mut self) {
        assert_eq!(self.client.read_frame().map(|frame| frame.first), Ok(PONG));
    }

    /// The next message; the server must not close.
    pub(crate) fn hear(&mut self) -> Value {
        match self.next() {
            Heard::Message(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// Says `command` and hears the next message.
    pub(crate) fn ask(&mut self, command: &Value) -> Value {
        self.say(command);
        self.hear()
    }

    /// Enters a room and returns what the server says of it.
    pub(crate) fn join(&mut self, room: &str) -> Value {
        let joined = self.ask(&json!({ "type": "join_room", "roomId": room }));
        assert_eq!(joined["type"], "room_joined", "{joined}");
        joined
    }

    /// Expects the answer to a ping, with nothing before it.
    pub(crate) fn expect_pong(&mut self) {
        assert_eq!(self.ask(&ping()), json!({ "type": "pong" }));
    }

    pub(crate) fn expect_error(&mut self, message: &str) {
        assert_eq!(self.hear(), error(message));
    }

    /// Expects a Close frame next, answers it, and expects the end.
    pub(crate) fn expect_close(mut self, code: u16, reason: &str) {
        assert_eq!(self.next(), Heard::Close(code, reason.to_owned()));
        // After a violation the server has ended the stream already.
        let _ = self.client.try_send(&close_frame(code, ""));
        assert_eq!(self.next(), Heard::End(End::Fin), "after Close {code} {reason}");
    }

    /// Expects to be turned away for its credentials.
    pub(crate) fn expect_refusal(self, reason: &str) {
        self.expect_close(4001, reason);
    }

    /// Leaves in order, without listening any more.
    pub(crate) fn leave(mut self) {
        self.client.send(&close_frame(1000, ""));
        loop {
            match self.next() {
                Heard::Message(_) => {}
                other => break assert_eq!(other, Heard::Close(1000, String::new())),
            }
        }
        assert_eq!(self.next(), Heard::End(End::Fin));
    }
}

/// The frame of a command.
pub(crate) fn said(command: &Value) -> Vec<u8> {
    frame(TEXT, command.to_string().as_bytes())
}

pub(crate) fn ping() -> Value {
    json!({ "type": "ping" })
}

pub(crate) fn error(message: &str) -> Value {
    json!({ "type": "error", "message": message })
}

pub(crate) fn chat(text: &str) -> Value {
    json!({ "type": "chat_message", "text": text })
}

pub(crate) fn auth_token(token: &str) -> Value {
    json!({ "type": "auth", "token": token })
}

pub(crate) fn auth_password(username: &str, password: &str) -> Value {
    json!({ "type": "auth", "username": username, "password": password })
}

/// The status of the answer to an upgrade.
pub(crate) fn upgrade_status(address: SocketAddr, path: &str) -> u16 {
    let mut client = RawClient::connect(address);
    client.send(&raw::upgrade_request(path));
    let head = client.read_head();
    head.get(9..12).and_then(|status| status.parse().ok()).expect("a response has a status")
}

/// Seconds of Unix time.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs()
}

/// A token of the key in `tests/keys/hs256.secret`.
pub(crate) fn token(user: &str, expires: u64) -> String {
    token_signed(user, expires, SECRET)
}

/// A token that expires in an hour.
pub(crate) fn lasting_token(user: &str) -> String {
    token(user, now() + 3600)
}

/// A token of a key that no server here knows.
pub(crate) fn foreign_token(user: &str) -> String {
    token_signed(user, now() + 3600, b"another secret of the tests, also known")
}

fn token_signed(user: &str, expires: u64, secret: &[u8]) -> String {
    let claims = json!({ "sub": user, "exp": expires });
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).expect("HS256 signs")
}

/// The file with the key of [`token`].
pub(crate) const KEY_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/hs256.secret");

/// A password file that lives as long as the value.
pub(crate) struct UserFile(PathBuf);

impl UserFile {
    /// Each user with a password, to check which takes so many KiB of memory.
    pub(crate) fn new(name: &str, users: &[(&str, &str, u32)]) -> Self {
        let name = format!("ringwire-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::File::create(&path).expect("the temporary directory is writable");
        for (user, password, memory) in users {
            writeln!(file, "{user}:{}", hash(password, *memory)).expect("the disk has room");
        }
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the path was made from UTF-8")
    }
}

impl Drop for UserFile {
    fn drop(&mut self) {
        // A left-over file harms nobody, and a panic here would hide the test's own.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn hash(password: &str, memory: u32) -> String {
    let parameters = Params::new(memory, 1, 1, None).expect("the parameters are valid");
    let argon = Argon2::new(Variant::Argon2id, Version::V0x13, parameters);
    let hash: PasswordHash = argon
        .hash_password_with_salt(password.as_bytes(), b"salt of 16 bytes")
        .expect("a password can be hashed");
    hash.to_string()
}
