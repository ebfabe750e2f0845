//! The secret that operators show.

use std::fmt;
use std::hint::black_box;

use crate::limits::{ADMIN_TOKEN_BYTES_MIN, TOKEN_BYTES_MAX};

/// What `Authorization: Bearer` must carry.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken(Box<[u8]>);

impl AdminToken {
    /// Reads the contents of a token file: one token, and a line ending that does not count.
    ///
    /// # Errors
    /// Why it holds none; nothing of what it holds.
    pub fn parse(file: &[u8]) -> Result<Self, String> {
        let token = file.strip_suffix(b"\n").unwrap_or(file);
        let token = token.strip_suffix(b"\r").unwrap_or(token);
        if !(ADMIN_TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return Err(format!(
                "must hold one token of {ADMIN_TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} bytes, such \
                 as `openssl rand -hex 32` prints"
            ));
        }
        if !token.iter().all(u8::is_ascii_graphic) {
            return Err("must hold one token, of printable ASCII characters without blanks".into());
        }
        Ok(Self(token.into()))
    }

    /// Whether this is the token. Takes equally long wherever the two differ.
    #[must_use]
    pub fn is(&self, given: &[u8]) -> bool {
        let differences =
            self.0.iter().zip(given).fold(0, |sum, (own, given)| black_box(sum | (own ^ given)));
        given.len() == self.0.len() && differences == 0
    }
}

impl fmt::Debug for AdminToken {
    /// Without the token, which must not come into a log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AdminToken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_token() {
        let token = AdminToken::parse(b"0123456789abcdef\r\n").expect("it has 16 bytes");
        assert!(token.is(b"0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeF"] {
            assert!(!token.is(other.as_bytes()), "{other}");
        }
        assert!(!format!("{token:?}").contains("0123"));
        for bad in ["", "\n", "0123456789abcde\n", "0123456789 abcdef", "0123456789abcdef\n\n"] {
            assert!(AdminToken::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(AdminToken::parse(&[b'a'; TOKEN_BYTES_MAX + 1]).is_err());
        assert!(AdminToken::parse("é23456789abcdef01".as_bytes()).is_err());
    }
}
