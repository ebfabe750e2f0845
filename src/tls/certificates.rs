//! Certificates and keys: read, and found to belong together.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use crate::config::CertificateFiles;

/// What the file with the authorities of clients is called where it is no good.
pub(super) const CLIENT_CA: &str = "client CA file";

/// What a server shows, and the names that it is good for.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    /// In lower case; one that begins with `*.` stands for every name with one more label.
    pub(super) names: Vec<String>,
    /// The chain and its key.
    pub(super) key: Arc<CertifiedKey>,
}

/// The certificate with the chain and the key that these files have.
///
/// # Errors
/// Why one of the files cannot be used.
pub(super) fn parse_certificate(
    files: &CertificateFiles,
    chain: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Certificate, String> {
    let chain_path = files.chain.display();
    let chain = parse_certificates(&files.chain, "certificate file", chain)?;
    let unusable = |error: webpki::Error| {
        format!("the first certificate of the certificate file {chain_path} is no good: {error}")
    };
    let own = EndEntityCert::try_from(&chain[0]).map_err(unusable)?;
    let names = own.valid_dns_names().map(str::to_ascii_lowercase).collect();
    if let Some(fault) = fault_of_date(&own) {
        tracing::warn!(
            "the certificate file {chain_path}: {fault}, and most clients will refuse it. Replace \
             the file and reload (SIGHUP)"
        );
    }
    let key_path = files.key.display();
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        pem::Error::NoItemsFound => format!(
            "the key file {key_path} has no private key: it must be PEM (PKCS#8, PKCS#1 or SEC1) \
             without a passphrase, such as openssl pkey writes"
        ),
        error => format!("the key file {key_path} is no PEM: {error}"),
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| {
        format!(
            "the key file {key_path} cannot be used: {error}. It must have an RSA key of 2048 to \
             8192 bits, one on P-256, P-384 or P-521, or an Ed25519 key"
        )
    })?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| {
        format!(
            "the key file {key_path} is not for the first certificate of the certificate file \
             {chain_path}: name them in pairs, and put the server's own certificate first"
        )
    })?;
    Ok(Certificate { names, key: Arc::new(certified) })
}

/// The authorities in this file.
///
/// # Errors
/// Why it cannot be used.
pub(super) fn parse_authorities(path: &Path, bytes: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (number, certificate) in (1..).zip(parse_certificates(path, CLIENT_CA, bytes)?) {
        roots.add(certificate).map_err(|error| {
            let path = path.display();
            format!("certificate {number} of the {CLIENT_CA} {path} is no good: {error}")
        })?;
    }
    Ok(roots)
}

/// All certificates in a file; at least one.
fn parse_certificates(
    path: &Path,
    what: &str,
    bytes: &[u8],
) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let path = path.display();
    match certificates {
        Ok(none) if none.is_empty() => Err(format!(
            "the {what} {path} has no certificate: it must be PEM, with a line -----BEGIN \
             CERTIFICATE----- before each"
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("the {what} {path} is no PEM: {error}")),
    }
}

/// What clients will not like about its dates today.
fn fault_of_date(certificate: &EndEntityCert<'_>) -> Option<String> {
    // The dates are judged first, and nobody vouches for it here.
    let judged = certificate.verify_for_usage(
        &[],
        &[],
        &[],
        UnixTime::now(),
        KeyUsage::server_auth(),
        None,
        None,
    );
    let hours = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs()) / 3600;
    match judged.err()? {
        webpki::Error::CertExpired { time, not_after } => {
            Some(format!("it expired {} hours ago", hours(not_after, time)))
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            Some(format!("it is not valid for another {} hours", hours(time, not_before)))
        }
        _ => None,
    }
}
