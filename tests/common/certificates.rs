//! Certificates for the tests: those of scripts/dev-cert, and an authority that vouches for them.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate, its key, and the authority that vouches for it, in a folder of the test.
pub(crate) struct Certificates {
    /// The chain, for `--tls-cert`.
    pub(crate) chain: PathBuf,
    /// Its key, for `--tls-key`.
    pub(crate) key: PathBuf,
    /// The authority, for clients, and for `--tls-client-ca`: the certificate is good for clients,
    /// too.
    pub(crate) ca: PathBuf,
}

impl Certificates {
    /// Makes them in `folder` for localhost, 127.0.0.1, ::1 and these names. In the same folder the
    /// authority stays the same.
    ///
    /// # Panics
    /// When openssl is missing.
    pub(crate) fn make(folder: &Path, names: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/dev-cert");
        let output = Command::new("timeout")
            .args(["--kill-after=5", "60"])
            .arg(script)
            .arg("--out")
            .arg(folder)
            .args(names)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("timeout(1) of the coreutils is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/dev-cert: {said}");
        let file = |name: &str| folder.join(name);
        Self { chain: file("server.pem"), key: file("server.key"), ca: file("ca.pem") }
    }

    /// The lines of a configuration file that have the server show this certificate.
    pub(crate) fn toml(&self) -> String {
        let (chain, key) = (self.chain.display(), self.key.display());
        format!("tls-cert = ['{chain}']\ntls-key = ['{key}']\n")
    }
}
