//! Who somebody is.

use crate::limits::USER_CHARACTERS_MAX;

/// A user whose credentials were good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The user id: the `sub` of a token, or the name in the password file.
    pub user: Box<str>,
    /// When it ends, in seconds of Unix time; from this second on it counts no more.
    pub expires: Option<u64>,
}

/// Whether this can be a user id: 1 to 50 characters (Unicode scalar values), no control character.
#[must_use]
pub fn is_user_name(text: &str) -> bool {
    (1..=USER_CHARACTERS_MAX).contains(&text.chars().take(USER_CHARACTERS_MAX + 1).count())
        && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_in_characters() {
        for good in ["a", "Ada Lovelace", &"é".repeat(50), "😀"] {
            assert!(is_user_name(good), "{good:?}");
        }
        for bad in ["", &"a".repeat(51), &"é".repeat(51), "a\nb", "\0", "\u{85}", "\u{7f}"] {
            assert!(!is_user_name(bad), "{bad:?}");
        }
    }
}
