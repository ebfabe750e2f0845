//! Where the settings come from, so that they can be read again while the server runs.

use std::ffi::OsString;

use super::{Command, Config, parse};

/// The command line of a process, and with it the configuration file.
#[derive(Debug, Clone)]
pub struct Source {
    args: Vec<OsString>,
}

impl Source {
    /// The command line of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(std::env::args_os())
    }

    /// A command line, program name first.
    pub fn of<I, T>(args: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString>,
    {
        Self { args: args.into_iter().map(Into::into).collect() }
    }

    /// The settings as they are now: flags win over the file.
    ///
    /// # Errors
    /// What a start would say and end with.
    pub fn load(&self) -> Result<Config, String> {
        match parse(&self.args) {
            Ok(Command::Serve(config) | Command::Check(config)) => Ok(config),
            Ok(Command::Top(_)) => unreachable!("only a server reads its settings again"),
            Err(error) => {
                let text = error.to_string();
                Err(text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned())
            }
        }
    }
}
