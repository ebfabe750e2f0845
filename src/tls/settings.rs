//! The settings of TLS that all shards share, made of the files that a configuration names.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::certificates::{CLIENT_CA, parse_authorities, parse_certificate};
use super::resolver::Resolver;
use crate::config::{ClientAuth, TlsConfig};
use crate::files::read_whole;
use crate::limits::{
    AUTHORITY_FILE_BYTES_MAX, CERTIFICATE_FILE_BYTES_MAX, KEY_FILE_BYTES_MAX, TLS_TICKETS,
};

/// TLS in force, or about to be.
#[derive(Debug)]
pub struct Tls {
    server: Arc<ServerConfig>,
    contents: Contents,
}

/// What tells whether files hold the same as when they were read before, and nothing else of it:
/// hashes with a secret of this process.
#[derive(Debug)]
struct Contents {
    chains: u64,
    keys: u64,
    client_ca: u64,
    /// What is asked of clients, with the authorities that vouch for them.
    clients: u64,
}

impl Tls {
    /// TLS as configured, with the contents of the files that `config` names; `None` where nobody
    /// comes over TLS.
    ///
    /// # Errors
    /// The file that cannot be used, and why; nothing of what it holds.
    pub fn load(config: &TlsConfig, hasher: &RandomState) -> Result<Option<Self>, String> {
        if !config.is_on() {
            return Ok(None);
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (mut chains, mut keys) = (Vec::new(), Vec::new());
        let mut certificates = Vec::new();
        for files in &config.certificates {
            let chain = read_whole(&files.chain, CERTIFICATE_FILE_BYTES_MAX, "certificate file")?;
            let key = read_whole(&files.key, KEY_FILE_BYTES_MAX, "key file")?;
            certificates.push(parse_certificate(files, &chain, &key, &provider)?);
            chains.push(chain);
            keys.push(key);
        }
        let read_ca = |path: &PathBuf| read_whole(path, AUTHORITY_FILE_BYTES_MAX, CLIENT_CA);
        let client_ca = config.client_ca.as_ref().map(read_ca).transpose()?;
        let clients = match (&config.client_ca, &client_ca) {
            (Some(path), Some(bytes)) => {
                let roots = Arc::new(parse_authorities(path, bytes)?);
                client_verifier(config.client_auth, roots, &provider)?
            }
            _ => WebPkiClientVerifier::no_client_auth(),
        };
        let asked = client_ca.as_ref().map(|bytes| (bytes, config.client_auth as u8));
        let contents = Contents {
            chains: hasher.hash_one(&chains),
            keys: hasher.hash_one(&keys),
            client_ca: hasher.hash_one(&client_ca),
            clients: hasher.hash_one(asked),
        };
        let resolver = Arc::new(Resolver::new(certificates));
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unexpected)?
            .with_client_cert_verifier(clients)
            .with_cert_resolver(resolver);
        // A WebSocket begins with HTTP/1.1. Who offers only others is told so by an alert.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Clients keep their sessions, sealed with keys that all shards have: no memory for those
        // who left, and any shard takes anybody back.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = aws_lc_rs::Ticketer::new().map_err(unexpected)?;
        server.send_tls13_tickets = TLS_TICKETS;
        // Early data could be replayed by others, and an upgrade is not free of effects.
        server.max_early_data_size = 0;
        Ok(Some(Self { server: Arc::new(server), contents }))
    }

    /// With the tickets of the settings before, so that clients may come back with theirs. Not
    /// where other clients may come: a session that begins with a ticket is not judged anew, and
    /// who was not asked for a certificate would come back without one.
    #[must_use]
    pub fn after(self, earlier: &Self) -> Self {
        if self.contents.clients != earlier.contents.clients {
            return self;
        }
        let mut server = ServerConfig::clone(&self.server);
        server.ticketer = Arc::clone(&earlier.server.ticketer);
        Self { server: Arc::new(server), ..self }
    }

    /// What connections go by.
    #[must_use]
    pub const fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// The settings whose files hold something else with `new`.
    #[must_use]
    pub const fn differences(&self, new: &Self) -> [(&'static str, bool); 3] {
        let (old, new) = (&self.contents, &new.contents);
        [
            ("tls-cert", old.chains != new.chains),
            ("tls-key", old.keys != new.keys),
            ("tls-client-ca", old.client_ca != new.client_ca),
        ]
    }
}

/// Who judges the certificates of clients.
fn client_verifier(
    auth: ClientAuth,
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let builder = match auth {
        ClientAuth::Required => builder,
        ClientAuth::Optional => builder.allow_unauthenticated(),
    };
    builder.build().map_err(unexpected)
}

/// Of a library that can do what is asked of it, or of a kernel without random numbers.
fn unexpected(error: impl std::fmt::Display) -> String {
    format!("TLS cannot be set up: {error}")
}
