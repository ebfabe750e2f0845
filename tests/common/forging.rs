//! Clients that send TLS records of any kind, well sealed: what no library would.

use super::common::tls::HOUSE;
use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundOpaqueMessage,
    OutboundPlainMessage, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::TLS13;
use rustls::{
    ConnectionTrafficSecrets, ContentType, Error, RootCertStore, SupportedCipherSuite,
    Tls13CipherSuite,
};
use std::sync::{Arc, LazyLock};

/// What is sent begins with this and the kind of the record, if it is no data.
const MARK: &[u8] = b"\0not what it seems\0";

/// What a client of [`CLIENT`] has to send, so that a record of this kind leaves.
pub(crate) fn record(kind: ContentType, payload: &[u8]) -> Vec<u8> {
    [MARK, &[kind.into()], payload].concat()
}

/// How clients come that forge: with TLS 1.3.
pub(crate) static CLIENT: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let SupportedCipherSuite::Tls13(honest) = TLS13_AES_128_GCM_SHA256 else {
        unreachable!("it is a suite of TLS 1.3")
    };
    let forger: &'static Forger = Box::leak(Box::new(Forger(honest.aead_alg)));
    let suite = Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon { ..honest.common },
        hkdf_provider: honest.hkdf_provider,
        aead_alg: forger,
        quic: None,
    };
    let suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)));
    let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&HOUSE.ca).expect("PEM")).expect("an authority");
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .expect("the suite is one of TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
});

struct Forger(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Forger {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(ForgingEncrypter(self.0.encrypter(key, iv)))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }
}

struct ForgingEncrypter(Box<dyn MessageEncrypter>);

impl MessageEncrypter for ForgingEncrypter {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        number: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let payload = message.payload.to_vec();
        let forged = payload.strip_prefix(MARK).and_then(<[u8]>::split_first);
        let Some((&kind, payload)) = forged else { return self.0.encrypt(message, number) };
        let payload = OutboundChunks::Single(payload);
        self.0.encrypt(OutboundPlainMessage { typ: kind.into(), payload, ..message }, number)
    }

    fn encrypted_payload_len(&self, length: usize) -> usize {
        self.0.encrypted_payload_len(length)
    }
}
