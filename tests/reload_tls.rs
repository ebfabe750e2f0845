//! Listeners for TLS and the files that they go by: at a start, over a reload, and handed to the
//! next server.

#[path = "common/certificates.rs"]
mod certificates;
mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/reloading.rs"]
mod reloading;
#[path = "common/successor.rs"]
mod successor;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use certificates::Certificates;
use common::Server;
use reloading::{Folder, Reloading, text};
use rustix::process::Signal;
use successor::Successor;

/// How long a test may wait for what is known to come; a failure, never a delay.
const PATIENCE: Duration = Duration::from_secs(25);

const LISTEN: &str = "tls-listen = ['127.0.0.1:0']\n";

/// Where the server says that it listens for TLS.
fn tls_address(server: &Server) -> SocketAddr {
    let address = server.wait_for_line(|line| line.split_once("wss://")?.1.trim().parse().ok());
    address.expect("a line with the address")
}

/// A certificate or key of the repository.
fn kept(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name);
    text(&path).to_owned()
}

#[test]
fn certificates_follow_and_bad_ones_change_nothing() {
    let folder = Folder::new("tls");
    let files = Certificates::make(&folder.path("files"), &[]);
    let good = format!("{LISTEN}{}", files.toml());
    let site = Reloading::start_in(folder, &good, &["--shards", "2"]);
    let address = tls_address(&site.server);
    assert_ne!(address, site.address());
    assert!(TcpStream::connect(address).is_ok());
    assert!(site.reload_again().ends_with("reload: nothing has changed"));

    Certificates::make(&site.folder.path("files"), &["a.example.org"]);
    assert!(site.reload_again().ends_with("reload: changed tls-cert, tls-key"));
    let ca = format!("tls-client-ca = '{}'\n", files.ca.display());
    let asking = format!("{good}{ca}");
    site.reload_changes(&asking, "tls-client-ca");
    let optional = format!("{asking}tls-client-auth = 'optional'\n");
    site.reload_changes(&optional, "tls-client-auth");

    let key = files.key.display().to_string();
    let chain = files.chain.display().to_string();
    for (toml, reason) in [
        (optional.replace(&key, &kept("rsa.private.pem")), "is not for the first certificate"),
        (optional.replace(&key, "none"), "cannot read the key file"),
        (optional.replace(&chain, &kept("hs256.secret")), "has no certificate"),
        (optional.replace(&chain, "none"), "cannot read the certificate file"),
        (optional.replace(&ca, "tls-client-ca = 'none'\n"), "cannot read the client CA file"),
        (optional.replace(&ca, ""), "tls-client-auth needs tls-client-ca"),
        (good.replace(LISTEN, ""), "tls-cert is of no use without tls-listen"),
    ] {
        site.refuses(|| site.write(&toml), reason);
    }
    site.write(&optional);
    let spoil = || fs::write(&files.chain, "-----BEGIN CERTIFICATE-----\n?").expect("a file");
    site.refuses(spoil, "is no PEM");
    // All or nothing: what is good beside it does not follow either.
    let beside = || site.write(&format!("{optional}max-message = 10\n"));
    site.refuses(beside, "is no PEM");
    assert!(TcpStream::connect(address).is_ok());
}

#[test]
fn an_expired_certificate_is_shown_with_a_warning() {
    let (chain, key) = (kept("p256.expired.certificate.pem"), kept("p256.private.pem"));
    let toml = format!("{LISTEN}tls-cert = ['{chain}']\ntls-key = ['{key}']\n");
    let site = Reloading::start("expired", &toml, &["--shards", "1"]);
    let warnings = || {
        let said = site.server.output();
        let lines = said.lines().filter(|line| line.contains("it expired "));
        assert!(lines.clone().all(|line| line.contains("WARN") && line.contains(&chain)));
        lines.count()
    };
    assert_eq!(warnings(), 1);
    assert!(TcpStream::connect(tls_address(&site.server)).is_ok());
    assert!(site.reload_again().ends_with("reload: nothing has changed"));
    assert_eq!(warnings(), 2);
}

#[test]
fn listeners_need_a_restart_and_certificates_with_them() {
    let folder = Folder::new("later");
    let files = Certificates::make(&folder.path("files"), &[]);
    let site = Reloading::start_in(folder, "", &["--shards", "1"]);
    let said = site.reload(&format!("{LISTEN}{}drain = '5s'\n", files.toml()));
    let expected = "reload: tls-listen, tls-cert, tls-key need a restart and stay as they are";
    assert!(said.contains(expected), "{said}");
    assert!(said.ends_with("reload: changed drain"), "{said}");

    let folder = Folder::new("other");
    let files = Certificates::make(&folder.path("files"), &[]);
    let toml = format!("{LISTEN}{}", files.toml());
    let site = Reloading::start_in(folder, &toml, &["--shards", "1"]);
    let said = site.reload(&toml.replace("127.0.0.1", "127.0.0.2"));
    assert!(said.contains("reload: tls-listen needs a restart and stays as it is"), "{said}");
}

#[test]
fn compression_follows() {
    let site = Reloading::start("compression", "", &["--shards", "1"]);
    site.reload_changes("compression = 'off'\n", "compression");
    let all = "compression = 'dedicated'\ncompression-level = 6\ncompression-min = 1024\n\
               compression-window = 15\n";
    let names = "compression, compression-level, compression-min, compression-window";
    site.reload_changes(all, names);
}

#[test]
fn the_next_server_has_the_same_listener() {
    let folder = Folder::new("handover");
    let files = Certificates::make(&folder.path("files"), &[]);
    let toml = format!("{LISTEN}{}drain = '1s'\n", files.toml());
    let site = Reloading::start_in(folder, &toml, &["--shards", "2"]);
    let address = tls_address(&site.server);
    site.server.signal(Signal::USR2);
    let successor = Successor::of(&site.server);
    site.server.wait_for_end(PATIENCE);
    // The old server and the new one have printed it.
    let said = site.server.output();
    let line = format!("listening on wss://{address}");
    assert_eq!(said.lines().filter(|said| said.ends_with(&line)).count(), 2, "{said}");
    assert!(TcpStream::connect(address).is_ok());
    drop(successor);
}

#[test]
fn who_asks_for_tls_alone_is_served_there_alone() {
    let folder = Folder::new("alone");
    let files = Certificates::make(&folder.path("files"), &[]);
    let path = folder.write("ringwire.toml", &format!("{LISTEN}{}listen = []\n", files.toml()));
    let output = std::process::Command::new("timeout")
        .args(["--signal=TERM", "3", env!("CARGO_BIN_EXE_ringwire"), "--shards", "1"])
        .args(["--admin", "off", "--config", text(&path)])
        .output()
        .expect("timeout(1) of the coreutils is there");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("listening on wss://127.0.0.1:"), "{said}");
    assert!(!said.contains(" ws://"), "{said}");
}
