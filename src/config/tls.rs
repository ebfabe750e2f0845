//! The settings of TLS: which belong together, and their bounds.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::Deserialize;

use super::{Settings, within};
use crate::limits;

/// Where clients come over TLS, and with what. The files it names are not read yet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where to accept connections over TLS; without any there is no TLS.
    pub listen: Vec<SocketAddr>,
    /// What the server shows; at least one where it listens.
    pub certificates: Vec<CertificateFiles>,
    /// The file with the authorities of clients; `None`: no client is asked for a certificate.
    pub client_ca: Option<PathBuf>,
    /// Whether clients that are asked for a certificate must have one.
    pub client_auth: ClientAuth,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The file with the chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The file with the key of that one.
    pub key: PathBuf,
}

/// The values of `--tls-client-auth`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Who shows none is refused
    #[default]
    Required,
    /// Who shows none may come, too
    Optional,
}

impl TlsConfig {
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        let chains = settings.tls_cert.as_deref().unwrap_or_default();
        let keys = settings.tls_key.as_deref().unwrap_or_default();
        if chains.len() != keys.len() {
            return Err(format!(
                "each tls-cert needs its tls-key, in the same order: there are {} of tls-cert and \
                 {} of tls-key",
                chains.len(),
                keys.len()
            ));
        }
        within("the number of tls-cert files", chains.len(), 0, limits::CERTIFICATES_MAX)?;
        let pairs = chains.iter().cloned().zip(keys.iter().cloned());
        let tls = Self {
            listen: settings.tls_listen.clone().unwrap_or_default(),
            certificates: pairs.map(|(chain, key)| CertificateFiles { chain, key }).collect(),
            client_ca: settings.tls_client_ca.clone(),
            client_auth: settings.tls_client_auth.unwrap_or_default(),
        };
        tls.fits_together(settings)?;
        Ok(tls)
    }

    /// Whether anybody comes over TLS.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        !self.listen.is_empty()
    }

    /// What is asked for must be possible, and what is given must have a use: a certificate that no
    /// listener shows would be taken for protection.
    fn fits_together(&self, settings: &Settings) -> Result<(), String> {
        let has_certificates = !self.certificates.is_empty();
        let given = [
            ("tls-cert", has_certificates),
            ("tls-client-ca", self.client_ca.is_some()),
            ("tls-client-auth", settings.tls_client_auth.is_some()),
        ];
        if !self.is_on() {
            let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given) else {
                return Ok(());
            };
            return Err(format!(
                "{name} is of no use without tls-listen ADDR:PORT: nobody comes over TLS then"
            ));
        }
        if !has_certificates {
            return Err(
                "tls-listen needs tls-cert FILE and tls-key FILE: a certificate chain and \
                        its key, both PEM; scripts/dev-cert makes some to try it"
                    .to_owned(),
            );
        }
        if settings.tls_client_auth.is_some() && self.client_ca.is_none() {
            return Err("tls-client-auth needs tls-client-ca FILE: the authorities (PEM) that \
                        vouch for clients"
                .to_owned());
        }
        let plain = settings.listen.as_deref().unwrap_or_default();
        // Each port 0 is another port.
        let is_plain = |address: &&SocketAddr| address.port() != 0 && plain.contains(address);
        match self.listen.iter().find(is_plain) {
            Some(address) => Err(format!(
                "{address} is an address of listen and of tls-listen: clients come there with TLS \
                 or without it, so choose another port for one of the two"
            )),
            None => Ok(()),
        }
    }
}
