//! How the servers' certificates are judged, and what is said of handshakes that fail.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion, version,
};

use crate::args::{Common, TlsArguments, TlsVersion};

/// The protocol that is spoken inside (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// Servers whose sessions a thread keeps, to go on from them.
const SESSIONS_KEPT: usize = 1024;

/// Different errors whose words are kept.
const WORDS_MAX: usize = 64;

/// What every error beyond [`WORDS_MAX`] is called.
const OTHER: &str = "another error of TLS";

/// What all TLS connections of a run have in common; nothing when no server speaks it.
///
/// # Errors
/// When there is nobody to trust; says what to change.
pub(crate) fn config(common: &Common) -> Result<Option<Arc<ClientConfig>>, String> {
    if common.url.iter().all(|target| target.tls.is_none()) {
        return Ok(None);
    }
    let TlsArguments { insecure, tls_version, .. } = &common.tls;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions(*tls_version))
        .map_err(|error| format!("--tls-version: {error}"))?;
    let mut config = if *insecure {
        let anyone = Arc::new(Anyone { provider });
        builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots(&common.tls)?).with_no_client_auth()
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Some(Arc::new(config)))
}

/// The same for one thread, which keeps sessions of its own if any are to be kept: threads have no
/// lock in common.
pub(crate) fn of_thread(config: &Arc<ClientConfig>, resumes: bool) -> Arc<ClientConfig> {
    if !resumes {
        return config.clone();
    }
    let mut own = ClientConfig::clone(config);
    own.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
    Arc::new(own)
}

fn versions(only: Option<TlsVersion>) -> &'static [&'static SupportedProtocolVersion] {
    static V1_2: [&SupportedProtocolVersion; 1] = [&version::TLS12];
    static V1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match only {
        None => rustls::ALL_VERSIONS,
        Some(TlsVersion::V1_2) => &V1_2,
        Some(TlsVersion::V1_3) => &V1_3,
    }
}

/// Who may have issued a server's certificate.
fn roots(arguments: &TlsArguments) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(text) = arguments.read_issuers()? else {
        // What cannot be read of them is missing in the end: it is an unknown issuer then.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err("this system has no certificates of issuers to trust: install \
                        ca-certificates, name the server's issuer with --tls-ca FILE, or accept \
                        any certificate with --insecure"
                .to_owned());
        }
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("--tls-ca: {error}"))?;
        roots.add(certificate).map_err(|error| format!("--tls-ca: {error}"))?;
    }
    if roots.is_empty() {
        return Err("--tls-ca: there is no certificate in PEM in the file".to_owned());
    }
    Ok(roots)
}

/// Trusts every certificate. The server must have its key all the same: the handshake costs what it
/// always does.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// An error in words, which are kept: failures are counted by them. A server that thinks of ever
/// new errors is given [`OTHER`] in the end.
pub(crate) fn words(error: Error) -> &'static str {
    static KEPT: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let text = describe(error);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = kept.get(&*text) {
        return known;
    }
    if kept.len() == WORDS_MAX {
        return OTHER;
    }
    let words: &'static str = Box::leak(text.into_boxed_str());
    kept.insert(words);
    words
}

/// What went wrong and, where the user can do something about it, what.
fn describe(error: Error) -> String {
    let Error::InvalidCertificate(found) = error else { return error.to_string() };
    // With the time of each handshake in it, every failure would be another.
    let found = match found {
        CertificateError::ExpiredContext { .. } => CertificateError::Expired,
        CertificateError::NotValidYetContext { .. } => CertificateError::NotValidYet,
        other => other,
    };
    let advice = match found {
        CertificateError::UnknownIssuer => {
            " (name its issuer with --tls-ca FILE, or accept any certificate with --insecure)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            " (connect to a name of the certificate, or accept any with --insecure)"
        }
        CertificateError::Expired | CertificateError::NotValidYet => {
            " (look at the clocks of both hosts, or accept any certificate with --insecure)"
        }
        _ => "",
    };
    format!("{}{advice}", Error::InvalidCertificate(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::AlertDescription;

    #[test]
    fn errors_of_certificates_say_what_to_do() {
        let invalid = |error| words(Error::InvalidCertificate(error));
        let issuer = invalid(CertificateError::UnknownIssuer);
        assert!(issuer.contains("UnknownIssuer") && issuer.contains("--tls-ca"), "{issuer}");
        assert!(issuer.contains("--insecure"), "{issuer}");
        let expired = |now: u64| {
            let (time, not_after) = [now, 5]
                .map(|seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
                .into();
            invalid(CertificateError::ExpiredContext { time, not_after })
        };
        assert!(std::ptr::eq(expired(6), expired(7)), "the same words are kept once");
        let alert = words(Error::AlertReceived(AlertDescription::ProtocolVersion));
        assert!(alert.contains("ProtocolVersion"), "{alert}");
    }

    #[test]
    fn words_are_not_kept_without_end() {
        let said: BTreeSet<_> =
            (0..1000).map(|number| words(Error::General(number.to_string()))).collect();
        assert!(said.len() <= WORDS_MAX + 1 && said.contains(OTHER), "{}", said.len());
    }
}
