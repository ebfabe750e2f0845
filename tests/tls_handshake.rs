//! The handshake of TLS over real sockets: however TCP cuts it, with peers that break it off, break
//! its rules or fall silent, and what certificates and protocols are agreed on.

mod common;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::tls::{Authority, Files, HOUSE, Identity, clients, clients_of, session};
use common::{Scheme, Server};
use observed::{Baseline, Metrics, wait_for_value, wait_until};
use raw::{End, RawClient};
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, Error};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Bounds a failure; measures nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with one shard, and a client without TLS whose echo proves that the shard has read what
/// others sent before.
fn server_with_probe() -> (Server, RawClient) {
    let server = Server::start_for(Scheme::Tls, &["--shards", "1", "--admin", "127.0.0.1:0"]);
    let plain: Option<SocketAddr> =
        server.wait_for_line(|line| line.split_once(" ws://")?.1.parse().ok());
    let probe = RawClient::open(plain.expect("it listens without TLS"), "/echo");
    (server, probe)
}

/// A client that comes with this version and an earlier session with nobody.
fn anew(version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut config = clients_of(&[version], &HOUSE.ca).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// What a client says next.
fn said(session: &mut ClientConnection) -> Vec<u8> {
    let mut records = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut records).expect("memory takes all");
    }
    records
}

fn connect(address: SocketAddr) -> RawClient {
    RawClient::untold(TcpStream::connect(address).expect("the server accepts a connection"))
}

#[test]
fn a_hello_in_two_parts_is_a_hello() {
    for version in [&TLS13, &TLS12] {
        let (server, mut probe) = server_with_probe();
        let config = anew(version);
        let length = said(&mut session(&config, "localhost")).len();
        let cuts = (1..length.min(280)).chain(length.max(290) - 10..length);
        let mut guests: Vec<_> = cuts
            .map(|cut| {
                let mut session = session(&config, "localhost");
                let hello = said(&mut session);
                (cut, hello, session, connect(server.address()))
            })
            .collect();
        for (cut, hello, _, client) in &mut guests {
            client.send(&hello[..*cut]);
        }
        probe.echo("read");
        for (cut, hello, ..) in &mut guests {
            hello.drain(..*cut);
        }
        let count = guests.len() as u64;
        for (cut, rest, session, mut client) in guests {
            client.send(&rest);
            client.secure(session).unwrap_or_else(|error| panic!("cut after {cut}: {error}"));
            client.upgrade("/echo");
            client.echo("secured");
            client.close();
        }
        let metrics = Metrics::scrape(server.admin_address());
        assert_eq!(metrics.value("tls_handshakes_total"), count);
        assert_eq!(metrics.handshakes("tls_failed"), 0);
    }
}

#[test]
fn a_handshake_byte_by_byte_is_a_handshake() {
    for version in [&TLS13, &TLS12] {
        let (server, mut probe) = server_with_probe();
        let mut session = session(&anew(version), "localhost");
        let mut client = connect(server.address());
        while session.is_handshaking() || session.wants_write() {
            for byte in said(&mut session) {
                client.send(&[byte]);
                probe.echo("read");
            }
            if session.is_handshaking() {
                // The server's records are read byte by byte, too.
                let mut byte = [0];
                let mut stream = client.stream();
                stream.read_exact(&mut byte).expect("the server answers");
                session.read_tls(&mut &byte[..]).expect("memory can be read");
                session.process_new_packets().expect("the server keeps to the rules");
            }
        }
        client.secure(session).expect("it is over");
        client.upgrade("/echo");
        client.echo("secured");
        client.close();
    }
}

/// A plaintext alert record.
fn alert(level: u8, description: AlertDescription) -> Vec<u8> {
    vec![21, 3, 3, 0, 2, level, description.into()]
}

/// The extension with the signatures that a client knows: ECDSA on P-256 with SHA-256.
const SCHEMES: &[u8] = &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3];

/// The hello of a client that knows no later version than 3.`minor`.
fn old_hello(minor: u8, extensions: &[u8]) -> Vec<u8> {
    let random = [7; 32];
    let session_suites_compression = [0, 0, 4, 0xc0, 0x2b, 0x00, 0x2f, 1, 0];
    let body = [&[3, minor][..], &random, &session_suites_compression, extensions].concat();
    let length = u8::try_from(body.len()).expect("it is short");
    [&[22, 3, minor, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

/// A record with another message in it, which is whole.
fn with_another(mut record: Vec<u8>) -> Vec<u8> {
    record[4] += 4;
    [&record[..], &[20, 0, 0, 0]].concat()
}

/// More records of a hello than anybody keeps; most of them is headers.
fn endless_hello() -> Vec<u8> {
    let beginning = [22, 3, 1, 0, 4, 1, 0, 0xff, 0xff];
    [&beginning[..], &[22, 3, 1, 0, 1, 3].repeat(64 * 1024 / 6 + 1)].concat()
}

/// Says `bytes`, and returns the fatal alert that they are answered with before the end.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> Option<AlertDescription> {
    let mut client = connect(address);
    client.send(bytes);
    let mut answer = Vec::new();
    client.stream().read_to_end(&mut answer).expect("the server hangs up");
    match answer[..] {
        [21, 3, _, 0, 2, 2, description] => Some(description.into()),
        [] => None,
        _ => panic!("neither an alert nor silence: {answer:x?}"),
    }
}

#[test]
fn who_does_not_speak_tls_is_told_so() {
    let (server, mut probe) = server_with_probe();
    let (address, admin) = (server.address(), server.admin_address());
    let baseline = Baseline::of_all_but(1, server.pid(), admin);
    let ssl2 = [&[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10][..], &[7; 37]].concat();
    let version = AlertDescription::ProtocolVersion;
    let decode = AlertDescription::DecodeError;
    let unexpected = AlertDescription::UnexpectedMessage;
    let failure = AlertDescription::HandshakeFailure;
    let cases: Vec<(&str, Vec<u8>, Option<AlertDescription>)> = vec![
        ("TLS 1.1", old_hello(2, SCHEMES), Some(version)),
        ("TLS 1.0", old_hello(1, SCHEMES), Some(version)),
        ("SSL 3", old_hello(0, SCHEMES), Some(version)),
        ("TLS 1.0, and none of our signatures", old_hello(1, &[]), Some(failure)),
        ("SSL 2", ssl2, Some(decode)),
        ("plain HTTP", raw::upgrade_request("/echo"), Some(decode)),
        ("garbage", (0..=255).rev().collect(), Some(decode)),
        ("a record that is too long", vec![22, 3, 1, 0xff, 0xff, 1], Some(decode)),
        ("words before the hello", vec![23, 3, 3, 0, 1, 0], Some(unexpected)),
        ("more behind a bad hello", with_another(old_hello(1, SCHEMES)), Some(unexpected)),
        ("a hello in records of a byte", endless_hello(), None),
        ("a fatal alert", alert(2, AlertDescription::HandshakeFailure), None),
    ];
    let count = cases.len() as u64;
    for (name, bytes, expected) in cases {
        assert_eq!(answer_to(address, &bytes), expected, "{name}");
    }
    wait_until(PATIENCE, || {
        let failed = Metrics::scrape(admin).handshakes("tls_failed");
        (failed == count).then_some(()).ok_or_else(|| format!("{failed} failed, not {count}"))
    });
    probe.echo("unharmed");
    baseline.wait(server.pid(), admin, PATIENCE);
}

#[test]
fn who_breaks_off_leaves_nothing() {
    let (server, mut probe) = server_with_probe();
    let (address, admin) = (server.address(), server.admin_address());
    RawClient::open(server.place(), "/echo").close();
    let baseline = Baseline::of_all_but(1, server.pid(), admin);
    let goodbye = alert(1, AlertDescription::CloseNotify);
    let fatal = alert(2, AlertDescription::BadCertificate);
    for (end, has_failed) in [(&goodbye, false), (&fatal, true), (&Vec::new(), false)] {
        let before = Metrics::scrape(admin);
        // Once before a word of the server, and once behind its hello.
        for part in [40, usize::MAX] {
            let hello = said(&mut session(&anew(&TLS12), "localhost"));
            let mut client = connect(address);
            client.send(&hello[..part.min(hello.len())]);
            if part > hello.len() {
                let mut header = [0; 5];
                client.stream().read_exact(&mut header).expect("the server answers");
                assert_eq!(header[..3], [22, 3, 3]);
                client.send(end);
            }
            client.cut();
            client.read_to_end();
        }
        let (failed, left) = if has_failed { (1, 1) } else { (0, 2) };
        wait_until(PATIENCE, || {
            let now = Metrics::scrape(admin);
            let of = |result| now.handshakes(result) - before.handshakes(result);
            let found = (of("tls_failed"), of("failed"));
            (found == (failed, left)).then_some(()).ok_or_else(|| format!("{found:?}"))
        });
    }
    probe.echo("unharmed");
    baseline.wait(server.pid(), admin, PATIENCE);
}

/// Takes the ten seconds that a handshake has, once for all of its stages.
#[test]
fn who_falls_silent_is_hung_up_on_in_time() {
    let (server, mut probe) = server_with_probe();
    let (address, admin) = (server.address(), server.admin_address());
    let mut silent = Vec::new();
    let mut first = session(&anew(&TLS13), "localhost");
    let hello = said(&mut first);
    for part in [0, 3, hello.len() / 2, hello.len()] {
        let mut client = connect(address);
        client.send(&hello[..part]);
        silent.push(client);
    }
    // TLS is up, and the request is not whole.
    let mut half = RawClient::connect(server.place());
    half.send(b"GET /echo HTTP/1.1\r\n");
    probe.echo("read");
    wait_for_value(admin, "handshakes_in_progress", 5);
    for client in &mut silent {
        client.read_to_end();
    }
    half.read_to_end();
    wait_for_value(admin, "handshakes_in_progress", 0);
    assert_eq!(Metrics::scrape(admin).handshakes("timeout"), 5);
    probe.echo("unharmed");
}

#[test]
fn many_handshakes_at_once_all_succeed() {
    const GUESTS: usize = 200;
    let (server, mut probe) = server_with_probe();
    let config = anew(&TLS13);
    let is_over = AtomicBool::new(false);
    let echoes = thread::scope(|scope| {
        let talker = scope.spawn(|| {
            let mut echoes = 0;
            while !is_over.load(Ordering::Relaxed) {
                probe.echo("established");
                echoes += 1;
            }
            echoes
        });
        let mut guests: Vec<_> = (0..GUESTS)
            .map(|_| (connect(server.address()), session(&config, "localhost")))
            .collect();
        // All have begun before one is over.
        for (client, session) in &mut guests {
            client.send(&said(session));
        }
        for (mut client, session) in guests {
            client.secure(session).expect("TLS comes up");
            client.upgrade("/echo");
            client.echo("secured");
            client.close();
        }
        is_over.store(true, Ordering::Relaxed);
        talker.join().expect("its connection goes on")
    });
    assert!(echoes > 0);
    let handshakes = Metrics::scrape(server.admin_address());
    assert_eq!(handshakes.labelled("tls_handshakes_total", "version=\"1.3\""), GUESTS as u64);
}

/// What `openssl s_client` says of a connection on which it asks for a page.
fn openssl(server: &Server, more: &[&str]) -> String {
    let files = Files::new();
    let authority = files.write("ca.pem", &HOUSE.ca);
    let address = server.address().to_string();
    let mut command = Command::new("openssl");
    command
        .args(["s_client", "-connect", &address, "-CAfile", &authority, "-ign_eof"])
        .args(["-verify_return_error", "-servername", "localhost"])
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl is there: scripts/test installs it");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends with the connection");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn openssl_comes_with_both_versions_and_comes_back() {
    let args = ["--shards", "2", "--admin", "127.0.0.1:0"];
    let server = Server::start_for(Scheme::Tls, &args);
    for (flag, version) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let files = Files::new();
        let kept = files.write("session", b"");
        let first = openssl(&server, &[flag, "-alpn", "h2,http/1.1", "-sess_out", &kept]);
        let again = openssl(&server, &[flag, "-sess_in", &kept]);
        for (said, kind) in [(&first, "New"), (&again, "Reused")] {
            assert!(said.contains(&format!("{kind}, {version}, Cipher is ")), "{said}");
            assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        }
        assert!(first.contains("Verify return code: 0 (ok)"), "{first}");
        assert!(first.contains("ALPN protocol: http/1.1"), "{first}");
        assert!(again.contains("No ALPN negotiated"), "{again}");
    }
    wait_for_value(server.admin_address(), "handshakes_in_progress", 0);
    let metrics = Metrics::scrape(server.admin_address());
    for version in ["1.2", "1.2_resumed", "1.3", "1.3_resumed"] {
        let label = format!("version=\"{version}\"");
        assert_eq!(metrics.labelled("tls_handshakes_total", &label), 1, "{version}");
    }
    assert_eq!(metrics.handshakes("static"), 4);
}

#[test]
fn a_session_is_not_negotiated_anew() {
    let server = Server::start_for(Scheme::Tls, &["--shards", "1", "--admin", "127.0.0.1:0"]);
    let files = Files::new();
    let authority = files.write("ca.pem", &HOUSE.ca);
    for upgrades in [false, true] {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-tls1_2", "-connect", &server.address().to_string()])
            .args(["-CAfile", &authority, "-servername", "localhost"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is there: scripts/test installs it");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        if upgrades {
            stdin.write_all(&raw::upgrade_request("/echo")).expect("it reads");
            while !line.starts_with("HTTP/1.1 101 ") {
                line.clear();
                assert!(stdout.read_line(&mut line).expect("it prints text") > 0, "no answer");
            }
        }
        stdin.write_all(b"R\n").expect("it reads");
        // It takes the refusal for an end, though its own input goes on.
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
        drop(stdin);
    }
    wait_for_value(server.admin_address(), "connections", 0);
    wait_for_value(server.admin_address(), "handshakes_in_progress", 0);
    RawClient::open(server.place(), "/echo").close();
}

#[test]
fn who_speaks_no_http_1_is_told_so() {
    let (server, _probe) = server_with_probe();
    for version in [&TLS12, &TLS13] {
        let mut config = ClientConfig::clone(&anew(version));
        config.alpn_protocols = vec![b"h2".to_vec()];
        let error = connect(server.address()).secure(session(&Arc::new(config), "localhost"));
        assert_eq!(alert_of(error), AlertDescription::NoApplicationProtocol);
    }
    wait_until(PATIENCE, || {
        let failed = Metrics::scrape(server.admin_address()).handshakes("tls_failed");
        (failed == 2).then_some(()).ok_or_else(|| format!("{failed} failed"))
    });
}

/// What rustls has against a connection.
fn error_of(result: io::Result<()>) -> Error {
    let error = result.expect_err("the handshake fails");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
    inner.unwrap_or_else(|| panic!("not an error of TLS: {error}"))
}

fn alert_of(result: io::Result<()>) -> AlertDescription {
    match error_of(result) {
        Error::AlertReceived(alert) => alert,
        error => panic!("not an alert: {error}"),
    }
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let (authority, files) = (Authority::new(), Files::new());
    let first = authority.issue(&["first.example"]);
    let second = authority.issue(&["second.example", "*.second.example"]);
    let flags = [files.show("first", &first), files.show("second", &second)].concat();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let tls = ["--shards", "1", "--tls-listen", "127.0.0.1:0"];
    let server = Server::start(&[&tls[..], &flags].concat());
    let address = server.tls_address();
    let config = Arc::new(clients(&authority.ca).with_no_client_auth());
    for (name, identity) in [
        ("first.example", &first),
        ("FIRST.example", &first),
        ("second.example", &second),
        ("other.second.example", &second),
        // No name at all: an address is none.
        ("127.0.0.1", &first),
    ] {
        let mut client = connect(address);
        client.secure(session(&config, name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let shown = client.tls().peer_certificates().and_then(|chain| chain.first());
        assert_eq!(shown, Some(&identity.certificate()), "{name}");
    }
    match error_of(connect(address).secure(session(&config, "third.example"))) {
        Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented, ..
        }) => assert!(presented.join(" ").contains("first.example"), "{presented:?}"),
        error => panic!("it should see a certificate for somebody else: {error}"),
    }
}

#[test]
fn clients_show_certificates_where_they_are_asked() {
    let (trusted, files) = (Authority::new(), Files::new());
    let (member, stranger) = (trusted.issue(&["member"]), HOUSE.server.clone());
    let authorities = files.write("clients.pem", &trusted.ca);
    for (auth, may_have_none) in [("required", false), ("optional", true)] {
        let args = ["--shards", "1", "--admin", "127.0.0.1:0", "--tls-client-ca", &authorities];
        let args = [&args[..], &["--tls-client-auth", auth]].concat();
        let server = Server::start_for(Scheme::Tls, &args);
        let mut failures = 0;
        for version in [&TLS12, &TLS13] {
            let come = |identity: Option<&Identity>| come_with(&server, version, identity);
            assert_eq!(come(Some(&member)), None, "{auth}, {version:?}");
            // Its authority has the same name, but not the same key.
            assert_eq!(come(Some(&stranger)), Some(AlertDescription::DecryptError), "{auth}");
            let refused = (!may_have_none).then_some(AlertDescription::CertificateRequired);
            assert_eq!(come(None), refused, "{auth}, {version:?}");
            failures += 1 + u64::from(!may_have_none);
        }
        // Their end is seen before it is counted.
        wait_until(PATIENCE, || {
            let failed = Metrics::scrape(server.admin_address()).handshakes("tls_failed");
            (failed == failures).then_some(()).ok_or_else(|| format!("{auth}: {failed} failed"))
        });
    }
}

/// Comes with a certificate or without; returns the alert that it is sent away with, if it is.
fn come_with(
    server: &Server,
    version: &'static rustls::SupportedProtocolVersion,
    identity: Option<&Identity>,
) -> Option<AlertDescription> {
    let config = clients_of(&[version], &HOUSE.ca);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => config
            .with_client_auth_cert(vec![identity.certificate()], identity.private_key())
            .expect("the key is for the certificate"),
    };
    let mut client = connect(server.address());
    if let Err(error) = client.secure(session(&Arc::new(config), "localhost")) {
        return Some(alert_of(Err(error)));
    }
    // A client of TLS 1.3 is done before the server has looked at its certificate.
    drop(client.try_send(&raw::upgrade_request("/echo")));
    match client.try_read_head() {
        Ok(head) => {
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            client.echo("welcome");
            client.close();
            None
        }
        Err(End::Alert(alert)) => Some(alert),
        Err(end) => panic!("it should be told why, instead of {end:?}"),
    }
}
