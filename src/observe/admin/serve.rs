//! The connections of the admin listener: few at a time, and none for long, whatever its peer does.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::limits::{
    ACCEPT_PAUSE_MILLISECONDS, ADMIN_CONNECTION_TIME, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_TIME,
    ADMIN_REQUEST_TIME, HEAD_BYTES_MAX, HEADER_FIELDS_MAX,
};

/// Serves until the listener is handed over; what was upgraded goes on until the process ends.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    handed_over: watch::Receiver<bool>,
) {
    let mut is_over = handed_over.clone();
    tokio::select! {
        () = accept_connections(&listener, router, handed_over) => {}
        () = is_true(&mut is_over) => {}
    }
    drop(listener);
    std::future::pending::<()>().await;
}

async fn accept_connections(
    listener: &TcpListener,
    router: Router,
    handed_over: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    loop {
        // Who finds no place waits in the kernel: each of those before has a bounded time.
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = serve_connection(stream, router.clone(), handed_over.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // No descriptor is left, or the peer has left meanwhile.
            Err(_) => sleep(Duration::from_millis(ACCEPT_PAUSE_MILLISECONDS.0)).await,
        }
    }
}

/// One connection. Its head, each request and its whole life have a deadline; the last covers who
/// does not read the answers.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    mut handed_over: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_TIME)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        // How a connection ended is its peer's affair.
        _ = &mut connection => return,
        () = sleep(ADMIN_CONNECTION_TIME) => {}
        () = is_true(&mut handed_over) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(ADMIN_REQUEST_TIME, connection).await;
}

/// Waits until the listener is handed over, or the process ends.
async fn is_true(handed_over: &mut watch::Receiver<bool>) {
    // A sender that is gone means that the process ends.
    let _ = handed_over.wait_for(|is_over| *is_over).await;
}
