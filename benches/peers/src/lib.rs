//! What the Rust peers share: the port argument, the runtime, and the accept loop.

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use fastwebsockets::upgrade::{UpgradeFut, upgrade};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections the kernel completes ahead of `accept`: the default `somaxconn`.
const BACKLOG: u32 = 4096;

/// The wait after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Runs `serve` for every accepted connection, all on the calling thread, until the process is
/// ended. The port is the program's only argument.
///
/// # Panics
///
/// When the argument is no port, or the port cannot be listened on.
pub fn run<F, C>(serve: F)
where
    F: Fn(TcpStream) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok());
    let port = port.expect("usage: PROGRAM PORT");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs epoll and an eventfd").block_on(async {
        let listener = listen(port);
        println!("listening on ws://127.0.0.1:{port}");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(serve(stream));
                }
                // Out of descriptors, most likely: let some connections end first.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    });
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket needs a free descriptor");
    socket.set_reuseaddr(true).expect("SO_REUSEADDR is always allowed");
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).expect("the port must be free");
    socket.listen(BACKLOG).expect("a bound socket can listen")
}

/// Answers the upgrade of one connection with hyper, as the `fastwebsockets` manual shows, and
/// spawns `talk` on the WebSocket that follows.
pub async fn upgrade_with<F, C>(stream: TcpStream, talk: F)
where
    F: Fn(UpgradeFut) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let service = service_fn(|mut request| {
        let upgraded = upgrade(&mut request);
        let response = upgraded.map(|(response, socket)| {
            tokio::spawn(talk(socket));
            response
        });
        std::future::ready(response)
    });
    // A client that breaks off the handshake concerns nobody else.
    let _ =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}
