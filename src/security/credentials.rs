//! Where a request carries its token.

use std::fmt;

/// Why the credentials of a request cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialsError {
    /// More than one token, be it twice in the query or in the query and the header (RFC 6750
    /// section 2): two readers could take different ones.
    Several,
    /// Another scheme than `Bearer`, or nothing behind it.
    Scheme,
}

impl fmt::Display for CredentialsError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Several => "the request has more than one token",
            Self::Scheme => "the Authorization header is not of the form Bearer TOKEN",
        })
    }
}

impl std::error::Error for CredentialsError {}

/// The token of a request: `?token=` of its query, or what follows `Bearer`, in any case, in its
/// `Authorization` field (RFC 6750, RFC 9110 section 11.1). The query is not decoded: no character
/// of a token needs to be encoded.
///
/// # Errors
/// The request has several, or credentials of another kind.
pub fn token_of<'a>(
    query: Option<&'a str>,
    authorization: Option<&'a str>,
) -> Result<Option<&'a str>, CredentialsError> {
    let mut found = None;
    let parameters = query.into_iter().flat_map(|query| query.split('&'));
    for token in parameters.filter_map(|parameter| parameter.strip_prefix("token=")) {
        if found.replace(token).is_some() {
            return Err(CredentialsError::Several);
        }
    }
    if let Some(authorization) = authorization {
        let (scheme, token) = authorization.split_once(' ').ok_or(CredentialsError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(CredentialsError::Scheme);
        }
        if found.replace(token.trim_start_matches(' ')).is_some() {
            return Err(CredentialsError::Several);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_token_is_found_wherever_it_is() {
        for (query, authorization, expected) in [
            (None, None, Ok(None)),
            (Some("a=b&tokens=x&xtoken=y"), None, Ok(None)),
            (Some("%74oken=x"), None, Ok(None)),
            (Some("token=x"), None, Ok(Some("x"))),
            (Some("a&token=x=&b=c"), None, Ok(Some("x="))),
            (Some("token="), None, Ok(Some(""))),
            (None, Some("Bearer x"), Ok(Some("x"))),
            (None, Some("bEARER  x"), Ok(Some("x"))),
            (Some("token=x&token=x"), None, Err(CredentialsError::Several)),
            (Some("token=x"), Some("Bearer x"), Err(CredentialsError::Several)),
            (None, Some("Bearer"), Err(CredentialsError::Scheme)),
            (None, Some(""), Err(CredentialsError::Scheme)),
            (None, Some("Basic YTpi"), Err(CredentialsError::Scheme)),
            (None, Some("Bearerx y"), Err(CredentialsError::Scheme)),
        ] {
            assert_eq!(token_of(query, authorization), expected, "{query:?} {authorization:?}");
        }
    }
}
