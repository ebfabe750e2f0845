//! SIGHUP brings new certificates: to those who come, while those who are here notice nothing.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/reloading.rs"]
mod reloading;

use common::tls::{Authority, Files, Identity, clients, session};
use observed::{Metrics, wait_for_value};
use raw::RawClient;
use reloading::Reloading;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A server with certificates of an authority of its own.
struct Site {
    authority: Authority,
    files: Files,
    reloading: Reloading,
    client: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Site {
    fn start(name: &str) -> Self {
        let (authority, files) = (Authority::new(), Files::new());
        let [_, chain, _, key] = files.show("server", &authority.first);
        let toml =
            format!("tls-listen = ['127.0.0.1:0']\ntls-cert = ['{chain}']\ntls-key = ['{key}']\n");
        let reloading = Reloading::start(name, &toml, &["--shards", "2"]);
        let mut client = clients(&authority.ca).with_no_client_auth();
        client.resumption = Resumption::disabled();
        let address = reloading.server.tls_address();
        Self { authority, files, reloading, client: Arc::new(client), address }
    }

    fn come(&self) -> RawClient {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        let mut client = RawClient::untold(stream);
        client.secure(session(&self.client, "localhost")).expect("TLS comes up");
        client.upgrade("/echo");
        client
    }

    /// The certificate that somebody gets who comes now.
    fn shown(&self) -> CertificateDer<'static> {
        let mut client = self.come();
        let chain = client.tls().peer_certificates().expect("a server shows some");
        let shown = chain[0].clone().into_owned();
        client.close();
        shown
    }

    /// Replaces the files.
    fn replace(&self, identity: &Identity) {
        self.files.show("server", identity);
    }
}

#[test]
fn certificates_follow_and_nobody_is_lost() {
    const CLIENTS: usize = 8;
    let site = Site::start("certificates");
    let is_over = AtomicBool::new(false);
    assert_eq!(site.shown(), site.authority.first.certificate());
    let crowd: Vec<RawClient> = (0..CLIENTS).map(|_| site.come()).collect();
    thread::scope(|scope| {
        let talkers: Vec<_> = crowd
            .into_iter()
            .map(|mut client| {
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        client.echo("all the time");
                    }
                    client
                })
            })
            .collect();
        let visitor = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut client = site.come();
                client.echo("a short visit");
                client.close();
            }
        });
        let mut current = site.authority.first.clone();
        for _ in 0..4 {
            let next = site.authority.issue(&[]);
            assert_ne!(next.certificate(), current.certificate());
            site.replace(&next);
            let said = site.reloading.reload_again();
            assert!(said.ends_with("reload: changed tls-cert, tls-key"), "{said}");
            assert_eq!(site.shown(), next.certificate());
            current = next;
        }
        // What is no good changes nothing.
        let other = site.authority.issue(&[]);
        let broken = [
            Identity { chain: b"no certificate".to_vec(), ..current.clone() },
            Identity { key: b"no key".to_vec(), ..current.clone() },
            Identity { chain: other.chain, ..current.clone() },
        ];
        for identity in &broken {
            site.replace(identity);
            let said = site.reloading.reload_again();
            assert!(said.contains("reload: nothing has changed: "), "{said}");
            assert_eq!(site.shown(), current.certificate());
        }
        is_over.store(true, Ordering::Relaxed);
        visitor.join().expect("everybody who comes is served");
        for talker in talkers {
            talker.join().expect("everybody who is here stays").close();
        }
    });
    let admin = site.reloading.admin();
    wait_for_value(admin, "connections", 0);
    let metrics = Metrics::scrape(admin);
    assert_eq!(metrics.closed("client_close"), metrics.value("connections_opened_total"));
    assert_eq!(metrics.handshakes("tls_failed"), 0);
}

#[test]
fn a_session_survives_another_certificate() {
    let site = Site::start("sessions");
    let client = Arc::new(clients(&site.authority.ca).with_no_client_auth());
    let kind = || {
        let stream = TcpStream::connect(site.address).expect("the server accepts");
        let mut guest = RawClient::untold(stream);
        guest.secure(session(&client, "localhost")).expect("TLS comes up");
        let kind = guest.tls().handshake_kind();
        guest.upgrade("/echo");
        guest.close();
        kind
    };
    assert_eq!(kind(), Some(rustls::HandshakeKind::Full));
    site.replace(&site.authority.issue(&[]));
    let said = site.reloading.reload_again();
    assert!(said.ends_with("reload: changed tls-cert, tls-key"), "{said}");
    assert_eq!(kind(), Some(rustls::HandshakeKind::Resumed));
}
