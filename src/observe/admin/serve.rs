//! The connections of the admin listener: few at a time, and none for long, whatever its peer does.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::places::{Arriving, Place, Places};
use crate::limits::{
    ACCEPT_PAUSE_MILLISECONDS, ADMIN_CONNECTION_TIME, ADMIN_HEAD_TIME, ADMIN_REQUEST_TIME,
    HEAD_BYTES_MAX, HEADER_FIELDS_MAX,
};

/// Serves until `is_over`; its thread goes on until the process ends.
pub(super) async fn serve(listener: TcpListener, router: Router, is_over: watch::Receiver<bool>) {
    accept_connections(&listener, router, is_over).await;
    drop(listener);
    std::future::pending::<()>().await;
}

async fn accept_connections(
    listener: &TcpListener,
    router: Router,
    mut is_over: watch::Receiver<bool>,
) {
    let mut places = Places::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = is_true(&mut is_over) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let place = places.take().await;
                tokio::spawn(serve_connection(stream, router.clone(), place, is_over.clone()));
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
    place: Arc<Place>,
    mut is_over: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(ADMIN_HEAD_TIME)
        .max_headers(HEADER_FIELDS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        let place = Arc::clone(&place);
        let answer = router.call(request.map(|body| Arriving::new(body, Arc::clone(&place))));
        async move {
            let answer = answer.await;
            place.wait();
            answer
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        // How a connection ended is its peer's affair.
        _ = &mut connection => return,
        () = place.lost() => return,
        () = sleep(ADMIN_CONNECTION_TIME) => {}
        () = is_true(&mut is_over) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(ADMIN_REQUEST_TIME, connection).await;
}

/// Waits until it is true, or nobody can say so any more.
pub(super) async fn is_true(is_over: &mut watch::Receiver<bool>) {
    let _ = is_over.wait_for(|is_over| *is_over).await;
}
