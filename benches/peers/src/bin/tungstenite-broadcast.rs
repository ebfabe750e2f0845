//! A broadcast server on `tokio-tungstenite`: every message to every connection, the sender too.
//!
//! One `tokio::sync::broadcast` channel, as in the library's users' chat servers; messages that are
//! queued are gathered in the library's write buffer and flushed once.

use futures_util::{SinkExt, StreamExt, stream::SplitSink, stream::SplitStream};
use tokio::net::TcpStream;
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Messages a connection may fall behind before it is closed.
const QUEUE_MESSAGES: usize = 65_536;

type Socket = WebSocketStream<TcpStream>;

fn main() {
    let everyone = broadcast::Sender::new(QUEUE_MESSAGES);
    peers::run(move |stream| share(stream, everyone.clone()));
}

/// Serves one connection until its close handshake is done, or either direction fails.
async fn share(stream: TcpStream, everyone: broadcast::Sender<Message>) {
    // A connection that breaks off, in the handshake or later, is no news to the others.
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (outgoing, incoming) = socket.split();
    let messages = everyone.subscribe();
    // The reader ends after the close frame was answered, and with it the writer.
    tokio::select! {
        _ = read(incoming, &everyone) => {}
        _ = write(outgoing, messages) => {}
    }
}

async fn read(
    mut incoming: SplitStream<Socket>,
    everyone: &broadcast::Sender<Message>,
) -> Result<(), Error> {
    while let Some(message) = incoming.next().await.transpose()? {
        if message.is_text() || message.is_binary() {
            // Refused only when nobody listens, and then nobody misses it.
            let _ = everyone.send(message);
        }
    }
    Ok(())
}

/// Whatever is queued leaves in one flush.
async fn write(
    mut outgoing: SplitSink<Socket, Message>,
    mut messages: broadcast::Receiver<Message>,
) -> Result<(), Error> {
    while let Ok(message) = messages.recv().await {
        outgoing.feed(message).await?;
        loop {
            match messages.try_recv() {
                Ok(message) => outgoing.feed(message).await?,
                Err(TryRecvError::Empty) => break,
                Err(_) => return Ok(()),
            }
        }
        outgoing.flush().await?;
    }
    Ok(())
}
