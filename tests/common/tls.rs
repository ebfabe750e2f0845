//! Certificates for tests, made by `scripts/dev-cert`, and clients that trust them.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use rustls::client::{ClientConfig, ClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ConfigBuilder, RootCertStore, SupportedProtocolVersion, WantsVerifier};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

/// The authority of this test program, and what its servers show unless a test says otherwise.
pub(crate) static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let Authority { ca, first, .. } = Authority::new();
    let client = Arc::new(clients(&ca).with_no_client_auth());
    House { ca, server: first, client }
});

/// What all servers and clients of a test program have.
pub(crate) struct House {
    /// The certificate of the authority.
    pub(crate) ca: Vec<u8>,
    /// For `localhost` and 127.0.0.1.
    pub(crate) server: Identity,
    /// How clients come.
    pub(crate) client: Arc<ClientConfig>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Identity {
    /// The certificate as it is on the wire.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(&self.chain).expect("the chain is PEM")
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(&self.key).expect("the key is PEM")
    }
}

/// Who vouches for certificates.
pub(crate) struct Authority {
    folder: Files,
    /// Its own certificate, in PEM.
    pub(crate) ca: Vec<u8>,
    /// The first certificate that it has vouched for.
    pub(crate) first: Identity,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = Files::new();
        let first = issue_in(&folder, &[]);
        Self { ca: folder.read("ca.pem"), folder, first }
    }

    /// A new certificate for localhost and `names`.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        // What is there already would be kept.
        fs::remove_file(self.folder.path("server.pem")).expect("there was one before");
        issue_in(&self.folder, names)
    }
}

fn issue_in(folder: &Files, names: &[&str]) -> Identity {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/dev-cert");
    let output = Command::new(script).arg("--out").arg(&folder.0).args(names).output();
    let output = output.expect("python3 is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "no certificate for {names:?}: {said}");
    Identity { chain: folder.read("server.pem"), key: folder.read("server.key") }
}

/// A folder for files; gone when dropped.
#[derive(Debug)]
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tls-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("the file is there")
    }

    /// Writes a file, or replaces it in one step, and says where it is.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let (path, new) = (self.path(name), self.path("new"));
        fs::write(&new, bytes).expect("the disk has room");
        fs::rename(&new, &path).expect("the file can be replaced");
        path.to_str().expect("the path was made from UTF-8").to_owned()
    }

    /// The flags for a server that shows this certificate; its files are called `name`.
    pub(crate) fn show(&self, name: &str, identity: &Identity) -> [String; 4] {
        let chain = self.write(&format!("{name}.pem"), &identity.chain);
        let key = self.write(&format!("{name}.key"), &identity.key);
        ["--tls-cert".to_owned(), chain, "--tls-key".to_owned(), key]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // What is left over harms nobody, and a panic here would hide the test's own.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Clients that trust an authority.
pub(crate) fn clients(ca: &[u8]) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    clients_of(rustls::ALL_VERSIONS, ca)
}

/// The same, with these versions of TLS only.
pub(crate) fn clients_of(
    versions: &[&'static SupportedProtocolVersion],
    ca: &[u8],
) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca).expect("PEM")).expect("an authority");
    let builder: ConfigBuilder<ClientConfig, WantsVerifier> =
        ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_protocol_versions(versions)
            .expect("the provider knows these versions");
    builder.with_root_certificates(roots)
}

/// One end of TLS that has said nothing yet, to a server that is asked for by this name.
pub(crate) fn session(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut session = ClientConnection::new(Arc::clone(config), name).expect("a configuration");
    session.set_buffer_limit(None);
    session
}
