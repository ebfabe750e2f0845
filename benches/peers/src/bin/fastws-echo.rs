//! An echo server on `fastwebsockets`, after the library's own example.

use fastwebsockets::upgrade::UpgradeFut;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};

fn main() {
    peers::run(|stream| {
        peers::upgrade_with(stream, async |socket| {
            // A connection that breaks off is no news to an echo server. `unconstrained` is how
            // the library measures itself: a connection is not interrupted while it has input.
            let _ = tokio::task::unconstrained(echo(socket)).await;
        })
    });
}

async fn echo(socket: UpgradeFut) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(socket.await?);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
