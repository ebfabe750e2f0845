//! Reads the files of access: keys, passwords, and the token of operators.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use crate::config::AccessConfig;
use crate::files::read_whole;
use crate::limits::{ADMIN_TOKEN_FILE_BYTES_MAX, KEY_FILE_BYTES_MAX, PASSWORD_FILE_BYTES_MAX};
use crate::observe::AdminToken;
use crate::security::{Access, PasswordFile, TokenVerifier};

/// What tells whether files hold the same as when they were read before, and nothing else of it:
/// hashes with a secret of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Of the key files.
    pub keys: u64,
    /// Of the password file.
    pub users: u64,
}

/// Access as configured, with the contents of the files that `config` names.
///
/// # Errors
/// The file that cannot be used, and why; nothing of what it holds.
pub fn load_access(
    config: &AccessConfig,
    hasher: &RandomState,
) -> Result<(Access, Contents), String> {
    let mut keys = Vec::with_capacity(config.keys.len());
    for path in &config.keys {
        keys.push(read_whole(path, KEY_FILE_BYTES_MAX, "key file")?);
    }
    let tokens = TokenVerifier::new(&keys).map_err(|(index, error)| {
        format!("the key file {} {error}", config.keys[index].display())
    })?;
    let read_users = |path: &PathBuf| read_whole(path, PASSWORD_FILE_BYTES_MAX, "password file");
    let users = config.users.as_ref().map(read_users).transpose()?;
    let passwords = match (&config.users, &users) {
        (Some(path), Some(bytes)) => Some(parse_passwords(path, bytes)?),
        _ => None,
    };
    let contents = Contents { keys: hasher.hash_one(&keys), users: hasher.hash_one(&users) };
    let tokens = (!keys.is_empty()).then_some(tokens);
    let access = Access::new(config.auth, tokens, passwords, config.origins.clone());
    Ok((access.behind(config.proxies.clone()), contents))
}

/// The token that operators show.
///
/// # Errors
/// As [`load_access`].
pub fn load_admin_token(path: &Path) -> Result<AdminToken, String> {
    let what = "admin token file";
    let bytes = read_whole(path, ADMIN_TOKEN_FILE_BYTES_MAX, what)?;
    AdminToken::parse(&bytes).map_err(|error| format!("the {what} {} {error}", path.display()))
}

fn parse_passwords(path: &Path, bytes: &[u8]) -> Result<PasswordFile, String> {
    let at = |error: &str| format!("in the password file {}: {error}", path.display());
    let text = str::from_utf8(bytes).map_err(|_| at("it is not UTF-8"))?;
    PasswordFile::parse(text).map_err(|error| at(&error))
}
