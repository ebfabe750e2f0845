//! The chat page of the real server, used by two people in Chromium.

#[path = "common/program.rs"]
mod program;

/// The program starts the server itself, because it also kills it and starts it again.
#[test]
fn two_people_chat_through_a_cut_line_and_a_killed_server() {
    let server = [env!("CARGO_BIN_EXE_ringwire"), "--shards", "2", "--admin", "off"];
    let checks = program::run_in_chromium("chromium_chat.mjs", &server);
    assert_eq!(checks, 15);
}
