//! The terminal: its other screen, its size, its keys, and all of it as it was at the end.

use std::io::{self, IsTerminal, Stdin, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::io::unix::AsyncFd;

/// Columns and lines where the terminal does not tell.
const USUAL: (usize, usize) = (80, 24);

/// Other screen, no cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";

/// The cursor again, and the screen of before.
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// Columns and lines of the terminal of standard output, if it is one.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0)
        .then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// The other screen of the terminal, until it is dropped.
pub(super) struct Screen {
    /// How keys were read before.
    before: Option<Termios>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            // Keys one by one, unseen, and without waiting for any; Ctrl-C is still a signal.
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            modes.special_codes[SpecialCodeIndex::VMIN] = 0;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        }
        let screen = Self { before };
        write(ENTER)?;
        Ok(screen)
    }

    pub(super) fn size(&self) -> (usize, usize) {
        size().unwrap_or(USUAL)
    }

    /// Replaces what is seen, in one write so that it does not flicker. The last line feed would
    /// scroll a full screen.
    pub(super) fn show(&mut self, page: &str) -> io::Result<()> {
        let mut bytes = b"\x1b[H".to_vec();
        bytes.extend(page.trim_end_matches('\n').replace('\n', "\x1b[K\r\n").bytes());
        bytes.extend(b"\x1b[K\x1b[J");
        write(&bytes)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// The keys of the terminal, if standard input is one.
pub(super) struct Keys {
    stdin: Option<AsyncFd<Stdin>>,
}

impl Keys {
    /// To be called inside the runtime.
    pub(super) fn of_terminal() -> Self {
        let stdin = io::stdin();
        let stdin = if stdin.is_terminal() { AsyncFd::register(stdin).ok() } else { None };
        Self { stdin }
    }

    /// Waits for `q`.
    pub(super) async fn quit(&mut self) {
        while let Some(stdin) = &self.stdin {
            let Ok(mut ready) = stdin.readable().await else { break };
            let mut keys = [0; 64];
            match rustix::io::read(stdin.get_ref(), &mut keys) {
                Err(_) => break,
                Ok(count) if keys[..count].contains(&b'q') => return,
                Ok(_) => ready.clear_ready(),
            }
        }
        self.stdin = None;
        std::future::pending().await
    }
}
