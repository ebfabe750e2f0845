//! JSON Web Tokens (RFC 7519), verified with keys that are bound to one algorithm each.

use std::fmt;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Deserializer};

use super::identity::{Identity, is_user_name};
use super::key::read_key;
use crate::limits::TOKEN_BYTES_MAX;

/// Verifies tokens. Its `Debug` shows no key.
pub struct TokenVerifier {
    keys: Vec<Key>,
}

struct Key {
    algorithm: Algorithm,
    decoding: DecodingKey,
    validation: Validation,
}

/// Why a token is not accepted. It never holds a part of the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// More than [`TOKEN_BYTES_MAX`].
    TooLong,
    /// Not a JWS in compact form, or with an algorithm (`none`) or a critical extension that is
    /// unknown.
    Malformed,
    /// There is no key for its algorithm.
    Algorithm,
    /// The signature is of none of the keys.
    Signature,
    /// `sub` is not a name of 1 to 50 characters, or `exp` or `nbf` is not a number.
    Claims,
    /// `exp` has passed.
    Expired,
    /// `nbf` lies ahead.
    NotYetValid,
}

impl fmt::Display for TokenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooLong => "the token is too long",
            Self::Malformed => "not a signed token in compact form",
            Self::Algorithm => "no key of this server is for the algorithm of the token",
            Self::Signature => "the signature does not match",
            Self::Claims => "the claims lack a valid sub, or have an invalid exp or nbf",
            Self::Expired => "the token has expired",
            Self::NotYetValid => "the token is not valid yet",
        })
    }
}

impl std::error::Error for TokenError {}

/// The claims that matter here. Which audience or issuer a token is for is not judged: the key
/// says whose tokens count.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(default, deserialize_with = "numeric_date")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "numeric_date")]
    nbf: Option<f64>,
}

/// Seconds of Unix time, with a fraction or without (RFC 7519 section 2). `null` is no date.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

impl TokenVerifier {
    /// Makes a verifier of the contents of key files: PEM public keys (RSA: RS256, P-256: ES256,
    /// Ed25519: EdDSA), anything else an HS256 secret of 32 bytes or more, in which one line ending
    /// at the end does not count.
    ///
    /// # Errors
    /// The index of the first file that is no such key, and words that continue its name and say
    /// what to do. They hold nothing of the file.
    pub fn new<F: AsRef<[u8]>>(files: &[F]) -> Result<Self, (usize, String)> {
        let key = |(index, file): (usize, &F)| {
            let (algorithm, decoding) = read_key(file.as_ref()).map_err(|error| (index, error))?;
            Ok(Key { algorithm, decoding, validation: signature_only(algorithm) })
        };
        let keys = files.iter().enumerate().map(key).collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Whose token this is at `now`, in seconds of Unix time. Keys are tried in turn; `kid` is
    /// ignored.
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            // RFC 7515 section 4.1.11: what is critical must be understood, and nothing is.
            return Err(TokenError::Malformed);
        }
        let mut refusal = TokenError::Algorithm;
        for key in self.keys.iter().filter(|key| key.algorithm == header.alg) {
            match decode::<Claims>(token, &key.decoding, &key.validation) {
                Ok(token) => return judge(token.claims, now),
                Err(error) => refusal = refusal_of(error.kind()),
            }
            if refusal != TokenError::Signature {
                break;
            }
        }
        Err(refusal)
    }
}

/// The signature alone: the crate would look at a clock of its own.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}

fn refusal_of(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidSignature => TokenError::Signature,
        // The header was read before, and claims are read once the signature is good.
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claims,
        _ => TokenError::Malformed,
    }
}

fn judge(claims: Claims, now: u64) -> Result<Identity, TokenError> {
    if !is_user_name(&claims.sub) {
        return Err(TokenError::Claims);
    }
    // A cast from f64 saturates; a fraction of a second is cut off, against the token.
    let expires = claims.exp.map(|seconds| seconds as u64);
    if expires.is_some_and(|expires| expires <= now) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|seconds| seconds.ceil() as u64 > now) {
        return Err(TokenError::NotYetValid);
    }
    Ok(Identity { user: claims.sub.into(), expires })
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms = self.keys.iter().map(|key| key.algorithm);
        formatter.debug_list().entries(algorithms).finish()
    }
}

#[cfg(test)]
mod tests;
