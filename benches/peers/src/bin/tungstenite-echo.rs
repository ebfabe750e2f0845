//! An echo server on `tokio-tungstenite`, after the library's own example.

use futures_util::{StreamExt, TryStreamExt, future};
use tokio::net::TcpStream;

fn main() {
    peers::run(echo);
}

async fn echo(stream: TcpStream) {
    // A connection that breaks off, in the handshake or later, is no news to an echo server.
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (outgoing, incoming) = socket.split();
    // `forward` flushes only when no more input is ready, so pipelined echoes leave together.
    let _ = incoming
        .try_filter(|message| future::ready(message.is_text() || message.is_binary()))
        .forward(outgoing)
        .await;
}
