//! Who may come, as one server is configured: credentials, origins, and who speaks for others.

use std::fmt;
use std::sync::Arc;

use super::credentials::{CredentialsError, token_of};
use super::identity::Identity;
use super::origin::Origins;
use super::password::PasswordFile;
use super::proxies::Proxies;
use super::token::{TokenError, TokenVerifier};

/// How a client says who it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum AuthMode {
    /// Not at all.
    #[default]
    None,
    /// With a token in its handshake, on every path.
    Token,
    /// With its first message, where the application knows such a message; elsewhere, and there
    /// too if it wants, with a token in its handshake.
    Message,
}

/// Why a request is not authenticated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unauthenticated {
    /// It has no token and needs one.
    Missing,
    /// Where tokens are, something else is.
    Credentials(CredentialsError),
    /// Its token is not accepted.
    Token(TokenError),
}

impl fmt::Display for Unauthenticated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("the request has no token"),
            Self::Credentials(error) => error.fmt(formatter),
            Self::Token(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Unauthenticated {}

/// Who may come. Shared by all shards, and replaced as a whole when the settings change.
#[derive(Default, Clone, Debug)]
pub struct Access {
    mode: AuthMode,
    tokens: Option<Arc<TokenVerifier>>,
    passwords: Option<Arc<PasswordFile>>,
    origins: Origins,
    proxies: Proxies,
}

impl Access {
    /// Access as configured. Without `tokens` no token is accepted.
    #[must_use]
    pub fn new(
        mode: AuthMode,
        tokens: Option<TokenVerifier>,
        passwords: Option<PasswordFile>,
        origins: Origins,
    ) -> Self {
        let (tokens, passwords) = (tokens.map(Arc::new), passwords.map(Arc::new));
        Self { mode, tokens, passwords, origins, proxies: Proxies::default() }
    }

    /// The same credentials, but other origins.
    #[must_use]
    pub fn with_origins(&self, origins: Origins) -> Self {
        Self { origins, ..self.clone() }
    }

    /// The same, with these proxies in front.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Who speaks for others.
    #[must_use]
    pub const fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// How clients say who they are.
    #[must_use]
    pub const fn mode(&self) -> AuthMode {
        self.mode
    }

    /// The users with a password. To check one takes long.
    #[must_use]
    pub const fn passwords(&self) -> Option<&Arc<PasswordFile>> {
        self.passwords.as_ref()
    }

    /// Whether a request with this `Origin` may connect.
    #[must_use]
    pub fn allows_origin(&self, origin: Option<&str>) -> bool {
        self.origins.allows(origin)
    }

    /// Who sends a request, by its query and its `Authorization` field, at `now` in seconds of Unix
    /// time. `None` where nobody needs to say so, or where a message will: `by_message`.
    ///
    /// # Errors
    /// The request needs a token and has none, or it has one that is not accepted.
    pub fn authenticate(
        &self,
        query: Option<&str>,
        authorization: Option<&str>,
        by_message: bool,
        now: u64,
    ) -> Result<Option<Identity>, Unauthenticated> {
        if self.mode == AuthMode::None {
            return Ok(None);
        }
        match token_of(query, authorization).map_err(Unauthenticated::Credentials)? {
            Some(token) => self.verify(token, now).map(Some).map_err(Unauthenticated::Token),
            None if self.mode == AuthMode::Message && by_message => Ok(None),
            None => Err(Unauthenticated::Missing),
        }
    }

    /// Whose token this is at `now`, in seconds of Unix time.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        self.tokens.as_ref().ok_or(TokenError::Algorithm)?.verify(token, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(mode: AuthMode) -> Access {
        Access { mode, ..Access::default() }
    }

    #[test]
    fn each_mode_asks_for_a_token_where_it_must() {
        const MISSING: Result<Option<Identity>, Unauthenticated> = Err(Unauthenticated::Missing);
        for (mode, by_message, expected) in [
            (AuthMode::None, false, Ok(None)),
            (AuthMode::None, true, Ok(None)),
            (AuthMode::Token, false, MISSING),
            (AuthMode::Token, true, MISSING),
            (AuthMode::Message, false, MISSING),
            (AuthMode::Message, true, Ok(None)),
        ] {
            let access = access(mode);
            assert_eq!(access.authenticate(None, None, by_message, 0), expected, "{mode:?}");
            let bad = access.authenticate(Some("token=x"), None, by_message, 0);
            assert_eq!(bad.is_err(), mode != AuthMode::None, "{mode:?}");
        }
    }
}
