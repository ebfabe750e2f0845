//! The end of a process in which a thread has panicked: one line, and out.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use tracing::Level;

use super::line::Line;
use super::sink::{LineWriter, Stream};
use super::{Core, files};
use crate::limits::LAST_WORDS_TIME;

/// The exit code after a panic: an internal error, as in `sysexits.h`.
pub const EXIT_PANIC: u8 = 70;

/// One thread speaks; others that panic meanwhile wait for the end.
static IS_SPEAKING: AtomicBool = AtomicBool::new(false);

/// Writes what happened to the files and to standard error, without the queues, and ends the
/// process. A sink that blocks is not waited for: half a server is worse than none.
pub(super) fn speak(core: &Arc<Core>, panic: &PanicHookInfo<'_>) -> ! {
    if IS_SPEAKING.swap(true, Ordering::Relaxed) {
        loop {
            thread::park();
        }
    }
    let line = line_of(panic);
    let (done, is_done) = sync_channel(1);
    let words = Arc::clone(core);
    let spoken = thread::Builder::new().name("last-words".to_owned()).spawn(move || {
        write(&words, &line);
        let _ = done.send(());
    });
    if spoken.is_ok() {
        // Out of time or not: it ends now.
        let _ = is_done.recv_timeout(LAST_WORDS_TIME);
    }
    process::exit(EXIT_PANIC.into());
}

fn line_of(panic: &PanicHookInfo<'_>) -> Line {
    let mut line = Line::new(Level::ERROR, "ringwire");
    line.add("message", "a thread panicked; ringwire ends: half a server is worse than none");
    line.add("thread", thread::current().name().unwrap_or("without a name"));
    if let Some(place) = panic.location() {
        line.add("place", place);
    }
    line.add("panic", panic.payload_as_str().unwrap_or("no text"));
    line
}

fn write(core: &Core, line: &Line) {
    if let Some(files) = &core.files {
        for path in [&files.error_path, &files.combined_path] {
            // Standard error has the line, too.
            let _ =
                files::open(path).and_then(|mut file| file.write_all(line.as_json().as_bytes()));
        }
    }
    let line = line.for_people(core.with_colours);
    let _ = Stream::of(io::stderr()).and_then(|mut stream| stream.write_line(line.as_bytes()));
}
