//! What the log says of connections. Nothing here costs more than a look at a flag unless a line is
//! written.

use std::fmt::{self, Write};

use tracing::Level;

use super::slot::Slot;
use crate::app::chat::{Command, parse};
use crate::app::{Endpoint, Verdict};
use crate::collections::{Key, Tick};
use crate::connection::{CloseReason, Message};
use crate::handshake::PeerOf;
use crate::limits::{LOG_PREVIEW_CHARACTERS_MAX, TICK_MILLISECONDS};
use crate::protocol::MessageKind;
use crate::security::TokenError;

/// The name of a connection, as its client was told it.
#[derive(Clone, Copy)]
pub(super) struct ConnectionId {
    pub(super) shard: usize,
    pub(super) key: Key,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.shard, self.key.index(), self.key.generation())
    }
}

pub(super) fn tell_connected(connection: ConnectionId, slot: &Slot, peer: PeerOf<'_>) {
    let endpoint = slot.endpoint.name();
    let user = user_of(slot);
    tracing::info!(%connection, %peer, endpoint, user, "connected");
}

/// A connection has ended: a warning where an operator may want to do something about it.
pub(super) fn tell_disconnected(connection: ConnectionId, slot: &Slot, now: Tick) {
    let reason = slot.connection.reason();
    macro_rules! tell {
        ($level:expr) => {
            tracing::event!(
                $level,
                %connection,
                user = user_of(slot),
                reason = reason.label(),
                code = slot.connection.code().label(),
                duration_ms = u64::from(now.wrapping_sub(slot.opened)) * TICK_MILLISECONDS,
                messages_received = slot.messages_received,
                messages_sent = slot.messages_sent,
                "disconnected"
            )
        };
    }
    match reason {
        CloseReason::SlowReader | CloseReason::RateLimited | CloseReason::Overloaded => {
            tell!(Level::WARN);
        }
        _ => tell!(Level::INFO),
    }
}

/// An application ends a connection.
pub(super) fn tell_verdict(
    connection: ConnectionId,
    peer: PeerOf<'_>,
    verdict: &Verdict,
    error: Option<TokenError>,
) {
    if verdict.reason == CloseReason::Authentication {
        tracing::warn!(
            %connection,
            %peer,
            reason = verdict.text,
            error = error.map(tracing::field::display),
            "authentication failed"
        );
    }
}

/// A peer broke the rules of TLS.
pub(super) fn tell_tls_error(connection: ConnectionId, error: &rustls::Error) {
    tracing::info!(%connection, %error, "TLS failed");
}

pub(super) fn tell_message(connection: ConnectionId, endpoint: Endpoint, message: Message<'_>) {
    tracing::debug!(
        %connection,
        bytes = message.payload.len(),
        preview = %Preview { endpoint, message },
        "message"
    );
}

fn user_of(slot: &Slot) -> Option<&str> {
    slot.session.as_ref().and_then(|session| session.user())
}

/// The beginning of a message, unless it may hold credentials.
struct Preview<'a> {
    endpoint: Endpoint,
    message: Message<'a>,
}

impl Preview<'_> {
    /// A client of the chat may have mistyped its authentication, so only what is surely something
    /// else is shown. Elsewhere nobody should authenticate by message, but may try.
    fn is_shown(&self) -> bool {
        match self.endpoint {
            Endpoint::Chat => {
                let command = parse(self.message.payload);
                command.is_ok_and(|command| !matches!(command, Command::Auth(_)))
            }
            // The name of a credential stands in front of it.
            Endpoint::Echo | Endpoint::Broadcast => {
                let start = self.start().to_lowercase();
                !["token", "password", "auth"].iter().any(|word| start.contains(word))
            }
        }
    }

    fn start(&self) -> String {
        // A character has four bytes at most.
        let payload = self.message.payload;
        let bytes = &payload[..payload.len().min(4 * LOG_PREVIEW_CHARACTERS_MAX)];
        let text = String::from_utf8_lossy(bytes);
        text.chars().take(LOG_PREVIEW_CHARACTERS_MAX).collect()
    }
}

impl fmt::Display for Preview<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.kind == MessageKind::Binary {
            return formatter.write_str("(binary)");
        }
        if !self.is_shown() {
            return formatter.write_str("(withheld)");
        }
        // What control characters it has are escaped with the line.
        let start = self.start();
        formatter.write_str(&start)?;
        if start.len() < self.message.payload.len() {
            formatter.write_char('…')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview(endpoint: Endpoint, text: &str) -> String {
        let message = Message { kind: MessageKind::Text, payload: text.as_bytes() };
        Preview { endpoint, message }.to_string()
    }

    #[test]
    fn previews_are_short_and_show_no_credentials() {
        assert_eq!(preview(Endpoint::Echo, "hello"), "hello");
        assert_eq!(preview(Endpoint::Echo, &"é".repeat(64)), "é".repeat(64));
        assert_eq!(preview(Endpoint::Echo, &"é".repeat(65)), format!("{}…", "é".repeat(64)));
        let said = r#"{"type":"chat_message","text":"hello"}"#;
        assert_eq!(preview(Endpoint::Chat, said), said);
        for secret in [
            r#"{"type":"auth","token":"s3cret"}"#,
            r#"{"type":"\u0061uth","\u0074oken":"s3cret"}"#,
            r#"{"type":"auth","username":"ada","password":"s3cret"}"#,
            r#"{"type":"auth","username":7,"password":"s3cret"}"#,
            r#"{"password":"s3cret""#,
        ] {
            assert_eq!(preview(Endpoint::Chat, secret), "(withheld)");
        }
        assert_eq!(preview(Endpoint::Echo, r#"{"Token":"s3cret"}"#), "(withheld)");
    }
}
