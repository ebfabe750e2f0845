//! The terminal: its other screen, its size, its keys, and all of it as it was at the end.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, thread};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

/// Columns and lines where the terminal does not tell.
const USUAL: (usize, usize) = (80, 24);

/// Other screen, no cursor.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";

/// The cursor again, and the screen of before.
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// `_POSIX_VDISABLE`: no key has this function.
const DISABLED: u8 = 0;

/// Columns and lines of the terminal of standard output, if it is one.
pub(super) fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0)
        .then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// The other screen of the terminal, until it is dropped or the program panics.
pub(super) struct Screen(Arc<Terminal>);

struct Terminal {
    /// How keys were read before.
    before: Option<Termios>,
    is_left: AtomicBool,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            // Keys one by one and unseen. Ctrl-C is still a signal; those that would leave this
            // screen behind are not.
            modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
            modes.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            modes.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(io::stdin(), OptionalActions::Flush, &modes)?;
        }
        let terminal = Arc::new(Terminal { before, is_left: AtomicBool::new(false) });
        let screen = Self(Arc::clone(&terminal));
        // A panic may end the process without dropping anything, and its message is for the screen
        // of before.
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            terminal.leave();
            usual(panic);
        }));
        write(ENTER)?;
        Ok(screen)
    }

    pub(super) fn size(&self) -> (usize, usize) {
        size().unwrap_or(USUAL)
    }

    /// Replaces what is seen, in one write so that it does not flicker. The last line feed would
    /// scroll a full screen.
    pub(super) fn show(&self, page: &str) -> io::Result<()> {
        let mut bytes = b"\x1b[H".to_vec();
        bytes.extend(page.trim_end_matches('\n').replace('\n', "\x1b[K\r\n").bytes());
        bytes.extend(b"\x1b[K\x1b[J");
        write(&bytes)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Terminal {
    /// Makes the terminal as it was, once.
    fn leave(&self) {
        if self.is_left.swap(true, Ordering::Relaxed) {
            return;
        }
        // A terminal that is gone needs nothing back. Not through the buffer of standard output:
        // who panics may have it.
        let _ = rustix::io::write(io::stdout(), LEAVE);
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

/// Tells of every `q` that is pressed, if standard input is a terminal. Its thread waits for keys
/// until the process ends.
pub(super) fn quit_keys() -> mpsc::Receiver<()> {
    let (pressed, quit) = mpsc::channel(1);
    if io::stdin().is_terminal() {
        thread::spawn(move || {
            let mut keys = [0; 64];
            while let Ok(count @ 1..) = io::stdin().read(&mut keys) {
                if keys[..count].contains(&b'q') && pressed.blocking_send(()).is_err() {
                    return;
                }
            }
        });
    }
    quit
}
