//! Commands that are read, and payloads that are refused.

use super::*;

#[test]
fn reads_every_command() {
    for (payload, command) in [
        (r#"{"type":"ping"}"#, Command::Ping),
        (r#"{"type":"leave_room"}"#, Command::LeaveRoom { room: None }),
    ] {
        assert_eq!(parse(payload.as_bytes()), Ok(command));
    }
}
