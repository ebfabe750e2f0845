//! Tests of TLS as configured: against a client in memory, with files on the disk.

#[path = "../../tests/common/certificates.rs"]
mod certificates;

use std::collections::hash_map::RandomState;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ServerConnection;
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::Tls;
use crate::config::{CertificateFiles, ClientAuth, TlsConfig};
use certificates::Certificates;

/// Of tests/keys/: an ECDSA certificate for chat.example.org and example.org, an RSA certificate
/// for chat.example.org and *.example.org, and one for localhost that has expired.
const ECDSA: &str = "p256.certificate.pem";
const RSA: &str = "rsa.certificate.pem";
const EXPIRED: &str = "p256.expired.certificate.pem";

fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys").join(name)
}

/// A kept certificate and its key.
fn pair(name: &str) -> CertificateFiles {
    let (kind, _) = name.split_once('.').expect("the name begins with the kind of key");
    CertificateFiles { chain: kept(name), key: kept(&format!("{kind}.private.pem")) }
}

fn config(certificates: Vec<CertificateFiles>) -> TlsConfig {
    let listen = vec!["[::1]:0".parse().unwrap()];
    TlsConfig { listen, certificates, ..TlsConfig::default() }
}

fn load(config: &TlsConfig) -> Result<Tls, String> {
    // One for all, as in a process.
    static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let tls = Tls::load(config, &HASHER);
    tls.map(|tls| tls.expect("there is a listener"))
}

fn loaded(certificates: Vec<CertificateFiles>) -> Tls {
    load(&config(certificates)).unwrap()
}

/// A folder that lives as long as the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("ringwire-tls-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A left-over folder harms nobody, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes every certificate whose key can sign with one of these schemes.
#[derive(Debug)]
struct Trusting(Vec<SignatureScheme>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

const BOTH: [SignatureScheme; 2] =
    [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that trusts everybody.
fn client(
    schemes: &[SignatureScheme],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes.to_vec())))
        .with_no_client_auth()
}

/// A client that trusts the authority, and shows the certificate if it is told to.
fn client_of(files: &Certificates, shows: bool) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.ca).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    if !shows {
        return builder.with_no_client_auth();
    }
    let chain = CertificateDer::pem_file_iter(&files.chain).unwrap().collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    builder.with_client_auth_cert(chain.unwrap(), key).unwrap()
}

/// Two ends that have shaken hands, or what went wrong.
fn meet(
    tls: &Tls,
    client: &Arc<ClientConfig>,
    name: &'static str,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(tls.server()))?;
    let mut wire = Vec::new();
    // Once more than it takes: tickets come last.
    for _ in 0..4 {
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        wire.clear();
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

/// The certificate that a client gets who asks for `name`.
fn shown(tls: &Tls, name: &'static str, schemes: &[SignatureScheme]) -> CertificateDer<'static> {
    let mut by_version = [&rustls::version::TLS12, &rustls::version::TLS13].map(|version| {
        let client = Arc::new(client(schemes, &[version]));
        let (client, _) = meet(tls, &client, name).unwrap();
        client.peer_certificates().unwrap()[0].clone().into_owned()
    });
    assert_eq!(by_version[0], by_version[1]);
    std::mem::replace(&mut by_version[0], CertificateDer::from(Vec::new()))
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(kept(name)).unwrap()
}

#[test]
fn without_a_listener_nothing_is_read() {
    let files = CertificateFiles { chain: "none".into(), key: "none".into() };
    let config = TlsConfig { certificates: vec![files], ..TlsConfig::default() };
    assert!(Tls::load(&config, &RandomState::new()).unwrap().is_none());
}

#[test]
fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let tls = loaded(vec![pair(EXPIRED), pair(ECDSA), pair(RSA)]);
    for (name, expected) in [
        ("localhost", EXPIRED),
        ("example.org", ECDSA),
        ("EXAMPLE.org", ECDSA),
        ("chat.example.org", ECDSA),
        ("other.example.org", RSA),
        // A wildcard is for one label.
        ("a.other.example.org", EXPIRED),
        ("example.com", EXPIRED),
        // Who asks for an address asks for no name.
        ("127.0.0.1", EXPIRED),
    ] {
        assert_eq!(shown(&tls, name, &BOTH), certificate(expected), "{name}");
    }
}

#[test]
fn a_client_gets_one_whose_key_it_can_verify() {
    let tls = loaded(vec![pair(ECDSA), pair(RSA)]);
    let rsa = [SignatureScheme::RSA_PSS_SHA256];
    for name in ["chat.example.org", "example.com", "127.0.0.1"] {
        assert_eq!(shown(&tls, name, &rsa), certificate(RSA), "{name}");
    }
    let client = Arc::new(client(&rsa, &[&rustls::version::TLS13]));
    let none = meet(&tls, &client, "example.org");
    assert!(none.is_err(), "the other certificate is not for this name");
}

#[test]
fn only_http_1_is_spoken() {
    let tls = loaded(vec![pair(ECDSA)]);
    let with = |protocols: &[&str]| {
        let mut client = client(&BOTH, rustls::DEFAULT_VERSIONS);
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        meet(&tls, &Arc::new(client), "example.org").map(|(_, server)| {
            server.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
        })
    };
    assert_eq!(with(&[]).unwrap(), None);
    assert_eq!(with(&["h2", "http/1.1"]).unwrap().as_deref(), Some("http/1.1"));
    assert!(matches!(with(&["h2"]), Err(rustls::Error::NoApplicationProtocol)));
}

#[test]
fn sessions_are_resumed_also_after_a_reload() {
    let before = loaded(vec![pair(ECDSA)]);
    let after = loaded(vec![pair(RSA), pair(ECDSA)]).after(&before);
    let restarted = loaded(vec![pair(ECDSA)]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = client(&BOTH, &[version]);
        client.resumption = Resumption::in_memory_sessions(8);
        let client = Arc::new(client);
        let kind = |tls: &Tls| {
            let (client, server) = meet(tls, &client, "example.org").unwrap();
            assert_eq!(client.handshake_kind(), server.handshake_kind());
            server.handshake_kind()
        };
        assert_eq!(kind(&before), Some(HandshakeKind::Full));
        assert_eq!(kind(&before), Some(HandshakeKind::Resumed));
        assert_eq!(kind(&after), Some(HandshakeKind::Resumed));
        assert_eq!(kind(&restarted), Some(HandshakeKind::Full));
    }
}

#[test]
fn clients_show_a_certificate_where_they_must() {
    let folder = Folder::new("clients");
    let files = Certificates::make(&folder.0.join("own"), &[]);
    let foreign = Certificates::make(&folder.0.join("foreign"), &[]);
    let own = || CertificateFiles { chain: files.chain.clone(), key: files.key.clone() };
    let open = loaded(vec![own()]);
    let asking = |client_auth| {
        let client_ca = Some(files.ca.clone());
        load(&TlsConfig { client_ca, client_auth, ..config(vec![own()]) }).unwrap()
    };
    let (required, optional) = (asking(ClientAuth::Required), asking(ClientAuth::Optional));
    let with = Arc::new(client_of(&files, true));
    let without = Arc::new(client_of(&files, false));
    let mut other = client_of(&files, false);
    other.client_auth_cert_resolver = client_of(&foreign, true).client_auth_cert_resolver.clone();
    let other = Arc::new(other);
    let comes = |tls: &Tls, client| meet(tls, client, "localhost").is_ok();
    assert_eq!(
        [&with, &without, &other].map(|client| comes(&required, client)),
        [true, false, false]
    );
    assert_eq!([&with, &without].map(|client| comes(&optional, client)), [true, true]);
    assert!(comes(&open, &other), "nobody asks");

    // Who was not asked must not come back with a ticket where clients are asked now.
    let fresh = Arc::new(client_of(&files, false));
    let kind = |tls: &Tls| meet(tls, &fresh, "localhost").map(|(_, end)| end.handshake_kind());
    assert_eq!(kind(&open), Ok(Some(HandshakeKind::Full)));
    assert_eq!(kind(&open), Ok(Some(HandshakeKind::Resumed)));
    let optional = optional.after(&open);
    assert_eq!(kind(&optional), Ok(Some(HandshakeKind::Full)));
    let same = asking(ClientAuth::Optional).after(&optional);
    assert_eq!(kind(&same), Ok(Some(HandshakeKind::Resumed)));
    assert!(kind(&required.after(&optional)).is_err());
}

#[test]
fn what_has_changed_is_known_by_the_content_of_files() {
    let folder = Folder::new("contents");
    let copy = |from: &str, to: &str| folder.write(to, &fs::read(kept(from)).unwrap());
    let files =
        CertificateFiles { chain: copy(ECDSA, "chain"), key: copy("p256.private.pem", "key") };
    let config = TlsConfig { client_ca: Some(copy(RSA, "ca")), ..config(vec![files]) };
    let load = || load(&config).unwrap();
    let changed = |old: &Tls, new: &Tls| {
        let all = old.differences(new);
        all.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect::<Vec<_>>()
    };
    let first = load();
    assert_eq!(changed(&first, &load()), [""; 0]);
    copy(EXPIRED, "chain");
    assert_eq!(changed(&first, &load()), ["tls-cert"]);
    copy(RSA, "chain");
    copy("rsa.private.pem", "key");
    assert_eq!(changed(&first, &load()), ["tls-cert", "tls-key"]);
    copy(ECDSA, "ca");
    assert_eq!(changed(&first, &load()), ["tls-cert", "tls-key", "tls-client-ca"]);
}

#[test]
fn files_that_are_no_good_are_named_with_what_to_do() {
    let folder = Folder::new("bad");
    let good = pair(ECDSA);
    let with_chain = |text: &[u8]| {
        let chain = folder.write("chain", text);
        load(&config(vec![CertificateFiles { chain, ..good.clone() }])).map(drop)
    };
    let with_key = |text: &[u8]| {
        let key = folder.write("key", text);
        load(&config(vec![CertificateFiles { key, ..good.clone() }])).map(drop)
    };
    let with_ca = |text: &[u8]| {
        let client_ca = Some(folder.write("ca", text));
        load(&TlsConfig { client_ca, ..config(vec![good.clone()]) }).map(drop)
    };
    let garbage = b"-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
    let no_der = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let half = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
    let secret = b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n\
                      -----END ENCRYPTED PRIVATE KEY-----\n";
    let foreign = fs::read(kept("rsa.private.pem")).unwrap();
    let large = vec![b'\n'; 2 << 20];
    for (result, file, expected) in [
        (with_chain(b""), "chain", "has no certificate: it must be PEM"),
        (with_chain(secret), "chain", "has no certificate: it must be PEM"),
        (with_chain(garbage), "chain", "is no PEM"),
        (with_chain(half), "chain", "is no PEM"),
        (with_chain(no_der), "chain", "the first certificate of the certificate file"),
        (with_chain(&large), "chain", "has more than 65536 bytes"),
        (with_key(b""), "key", "has no private key: it must be PEM (PKCS#8, PKCS#1 or SEC1)"),
        (with_key(encrypted), "key", "without a passphrase"),
        (with_key(secret), "key", "cannot be used"),
        (with_key(&foreign), "key", "is not for the first certificate"),
        (with_key(&large), "key", "has more than 16384 bytes"),
        (with_ca(b""), "ca", "has no certificate"),
        (with_ca(no_der), "ca", "certificate 1 of the client CA file"),
        (with_ca(&large), "ca", "has more than 1048576 bytes"),
    ] {
        let message = result.expect_err(expected);
        let path = folder.0.join(file);
        assert!(message.contains(path.to_str().unwrap()), "{message}");
        assert!(message.contains(expected), "{expected}: {message}");
        assert!(!message.contains("c2VjcmV0"), "{message}");
    }
    let chain = folder.0.join("absent");
    let absent = load(&config(vec![CertificateFiles { chain, ..good }])).map(drop);
    assert!(absent.expect_err("nothing is there").contains("cannot read the certificate file"));
}

#[test]
fn keys_may_have_any_form_that_openssl_writes() {
    let folder = Folder::new("forms");
    for (certificate, form) in [(ECDSA, "SEC1"), (RSA, "PKCS#1")] {
        let files = pair(certificate);
        let key = folder.0.join("key");
        let output = std::process::Command::new("openssl")
            .args(["pkey", "-traditional", "-in"])
            .arg(&files.key)
            .arg("-out")
            .arg(&key)
            .output()
            .expect("openssl is there (scripts/test)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!fs::read_to_string(&key).unwrap().contains("BEGIN PRIVATE KEY"), "{form}");
        assert!(load(&config(vec![CertificateFiles { key, ..files }])).is_ok(), "{form}");
    }
}
