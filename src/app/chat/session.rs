//! What the chat remembers of a connection.

/// Who a connection is.
#[derive(Debug, Default)]
pub struct Session {
    user: Option<Box<str>>,
}

impl Session {
    /// The name of the user; without one it is a guest.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The connection is this user from now on.
    pub fn set_user(&mut self, user: &str) {
        self.user = Some(user.into());
    }
}
