//! The password file: users and their Argon2id hashes (RFC 9106).

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;

use argon2::password_hash::phc::PasswordHash;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordVerifier, Version};

use super::identity::is_user_name;
use crate::limits::{PASSWORD_LANES_MAX, PASSWORD_MEMORY_KIB_MAX, PASSWORD_WORK_KIB_MAX};

/// Users and the hashes of their passwords. Its `Debug` shows neither.
pub struct PasswordFile {
    /// Where in `hashes` the hash of a user is.
    users: HashMap<Box<str>, usize>,
    hashes: Vec<PasswordHash>,
}

impl PasswordFile {
    /// Parses lines of `username:$argon2id$…` (PHC string format). Empty lines and those that begin
    /// with `#` are ignored.
    ///
    /// # Errors
    /// The number of the first bad line and what is wrong with it, without anything of the hash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut users, mut hashes) = (HashMap::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let at = |error: &str| format!("line {}: {error}", number + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line.split_once(':').ok_or_else(|| {
                at("expected USERNAME:HASH, with a hash that begins with $argon2id$")
            })?;
            if !is_user_name(name) {
                return Err(at("a username has 1 to 50 characters and no control character"));
            }
            hashes.push(read_hash(hash).map_err(|error| at(&error))?);
            if users.insert(name.into(), hashes.len() - 1).is_some() {
                return Err(at("this username stands in an earlier line, too"));
            }
        }
        if hashes.is_empty() {
            return Err("no line names a user".to_owned());
        }
        Ok(Self { users, hashes })
    }

    /// Whether this is the user's password. Takes a tenth of a second and as much memory as the
    /// hash says, also for a user that does not exist: not for the thread of a shard.
    #[must_use]
    pub fn check(&self, username: &str, password: &str) -> bool {
        let known = self.users.get(username).copied();
        let hash = &self.hashes[known.unwrap_or_else(|| self.decoy(username))];
        let matches = Argon2::default().verify_password(password.as_bytes(), hash).is_ok();
        matches && known.is_some()
    }

    /// The hash that an unknown user is checked against: always the same one, and for each name
    /// that of some user, by the secret key of the map. So it takes as long as one of them, and the
    /// time tells nothing, even where hashes differ in cost.
    fn decoy(&self, username: &str) -> usize {
        let random = self.users.hasher().hash_one(username);
        usize::try_from(random % self.hashes.len() as u64).expect("it is below a usize")
    }
}

fn read_hash(text: &str) -> Result<PasswordHash, String> {
    const FORM: &str = "the hash is not of the form $argon2id$v=19$m=…,t=…,p=…$SALT$HASH";
    let hash = PasswordHash::new(text).map_err(|_| FORM)?;
    if hash.algorithm != ARGON2ID_IDENT {
        return Err("the hash must begin with $argon2id$".to_owned());
    }
    if hash.version != Some(Version::V0x13.into()) || hash.salt.is_none() || hash.hash.is_none() {
        return Err(FORM.to_owned());
    }
    let parameters = Params::try_from(&hash).map_err(|_| FORM)?;
    let within = |name: &str, value: u64, most: u64| {
        let error = || format!("{name} of the hash must be at most {most}, not {value}");
        (value <= most).then_some(()).ok_or_else(error)
    };
    let (memory, passes) = (u64::from(parameters.m_cost()), u64::from(parameters.t_cost()));
    within("m (KiB of memory)", memory, PASSWORD_MEMORY_KIB_MAX.into())?;
    within("m × t (KiB of memory × passes)", memory * passes, PASSWORD_WORK_KIB_MAX)?;
    within("p (lanes)", parameters.p_cost().into(), PASSWORD_LANES_MAX.into())?;
    Ok(hash)
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = self.users.len();
        formatter.debug_struct("PasswordFile").field("users", &users).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher;

    use super::*;

    fn hash(password: &str, memory: u32, passes: u32, lanes: u32) -> String {
        let parameters = Params::new(memory, passes, lanes, None).unwrap();
        let argon = Argon2::new(argon2::Algorithm::Argon2id, Version::V0x13, parameters);
        let hash: PasswordHash =
            argon.hash_password_with_salt(password.as_bytes(), b"salt of 16 bytes").unwrap();
        hash.to_string()
    }

    #[test]
    fn passwords_are_told_apart() {
        let text = format!(
            "# users\n\nada:{}\r\n  Größe 1:{}\n",
            hash("correct horse", 64, 1, 1),
            hash("", 32, 2, 2)
        );
        let file = PasswordFile::parse(&text).unwrap();
        assert!(file.check("ada", "correct horse"));
        assert!(file.check("Größe 1", ""));
        for (name, password) in [
            ("ada", "correct horsf"),
            ("ada", ""),
            ("Ada", "correct horse"),
            ("", "correct horse"),
            // The decoy is the hash of a user, whose password opens no other account.
            ("nobody", "correct horse"),
            ("nobody", ""),
            ("# users", ""),
        ] {
            assert!(!file.check(name, password), "{name} {password}");
        }
        assert_eq!(format!("{file:?}"), "PasswordFile { users: 2, .. }");
    }

    #[test]
    fn an_unknown_name_costs_what_some_user_costs() {
        let users: Vec<String> = (0..8_u32)
            .map(|number| format!("user{number}:{}\n", hash("x", 16 << (number % 2), 1, 1)))
            .collect();
        let file = PasswordFile::parse(&users.concat()).unwrap();
        let decoys: Vec<usize> = (0..200).map(|n| file.decoy(&format!("name {n}"))).collect();
        let again: Vec<usize> = (0..200).map(|n| file.decoy(&format!("name {n}"))).collect();
        assert_eq!(decoys, again, "a second guess takes as long as the first");
        for user in 0..8 {
            assert!(decoys.contains(&user), "200 of 8 leave one out once in 10^10 times");
        }
    }

    #[test]
    fn the_dearest_hashes_that_are_recommended_are_taken() {
        let with = |costs: &str| hash("x", 64, 1, 1).replace("m=64,t=1,p=1", costs);
        // RFC 9106 section 4, and the range of common advice.
        for costs in ["m=65536,t=3,p=4", "m=65536,t=4,p=1", "m=47104,t=1,p=1", "m=7168,t=5,p=1"] {
            assert!(PasswordFile::parse(&format!("ada:{}", with(costs))).is_ok(), "{costs}");
        }
    }

    #[test]
    fn hashes_of_the_reference_program_are_understood() {
        let hash = "$argon2id$v=19$m=256,t=2,p=1$YzczY2MzZDBmNGFlMjBjOWE3ZWM1ZjNkM2I4YTNmNTE$\
                    8DJTk+3PWuDQKNYuShsNXticcDban67M7SGWNqd7hoc";
        let file = PasswordFile::parse(&format!("ada:{hash}")).unwrap();
        assert!(file.check("ada", "correct horse") && !file.check("ada", "correct house"));
    }

    #[test]
    fn bad_lines_are_named_and_their_hashes_are_not() {
        let good = hash("x", 64, 1, 1);
        let body = good.rsplit('$').next().unwrap();
        let cases = [
            (format!("ada:{good}\nno colon {body}"), "line 2: expected"),
            (format!(":{good}"), "line 1: a username"),
            (format!("{}:{good}", "a".repeat(51)), "line 1: a username"),
            (format!("ada:{good}\n\nada:{good}"), "line 3: this username"),
            (format!("ada:{}", good.replace("argon2id", "argon2i")), "line 1: the hash must begin"),
            (format!("ada:{}", good.replace("v=19$", "")), "line 1: the hash is not"),
            (format!("ada:{}", good.replace("v=19", "v=16")), "line 1: the hash is not"),
            (format!("ada:{}", good.replace(body, "")), "line 1: the hash is not"),
            (format!("ada:{}", good.replace(&format!("${body}"), "")), "line 1: the hash is not"),
            (format!("ada:{good}${body}"), "line 1: the hash is not"),
            (format!("ada:{}", good.replace("m=64", "m=65537")), "m (KiB of memory)"),
            (format!("ada:{}", good.replace("m=64", "m=1")), "line 1: the hash is not"),
            (
                format!("ada:{}", good.replace("m=64,t=1", "m=65536,t=5")),
                "at most 262144, not 327680",
            ),
            (format!("ada:{}", good.replace("m=64,t=1,p=1", "m=999,t=1,p=17")), "p (lanes)"),
            (format!("ada:{body}"), "line 1: the hash is not"),
            ("# nobody\n\n".to_owned(), "no line names a user"),
        ];
        for (text, expected) in cases {
            let error = PasswordFile::parse(&text).expect_err(expected);
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(!error.contains(body), "{error}");
        }
    }
}
