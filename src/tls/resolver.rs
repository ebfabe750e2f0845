//! Which certificate a client gets.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificates::Certificate;

/// All certificates, by the names they are good for.
#[derive(Debug)]
pub(super) struct Resolver {
    /// In the order of the configuration.
    all: Vec<Arc<CertifiedKey>>,
    /// Places in it, in the same order.
    named: HashMap<String, Vec<usize>>,
}

impl Resolver {
    pub(super) fn new(certificates: Vec<Certificate>) -> Self {
        let mut resolver = Self { all: Vec::new(), named: HashMap::new() };
        for Certificate { names, key } in certificates {
            for name in names {
                resolver.named.entry(name).or_default().push(resolver.all.len());
            }
            resolver.all.push(key);
        }
        resolver
    }

    /// The first certificate whose key can sign as the client asks for: of those with this very
    /// name, else of those with a wildcard that covers it, else of all. Who asks for a name that no
    /// certificate has can still tell so by the one it gets, better than by an alert.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let can_sign = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let chosen = match name.and_then(|name| self.named(name)) {
            Some(places) => places.iter().map(|&place| &self.all[place]).find(can_sign),
            None => self.all.iter().find(can_sign),
        };
        chosen.cloned()
    }

    fn named(&self, name: &str) -> Option<&Vec<usize>> {
        let wildcard = || {
            let (_, rest) = name.split_once('.')?;
            self.named.get(&format!("*.{rest}"))
        };
        self.named.get(name).or_else(wildcard)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.choose(name.as_deref(), hello.signature_schemes())
    }
}
