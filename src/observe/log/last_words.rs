//! The end of a process in which a thread has panicked: one line, and out.

use std::io::{self, Write};
use std::panic::PanicHookInfo;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tracing::Level;

use super::line::Line;
use super::sink::{LineWriter, Stream};
use super::{Core, files};
use crate::limits::LAST_WORDS_TIME;
use crate::ring::own_descriptor_table;

/// The exit code after a panic: an internal error, as in `sysexits.h`.
pub const EXIT_PANIC: u8 = 70;

/// One thread speaks; others that panic meanwhile wait for the end.
static IS_SPEAKING: AtomicBool = AtomicBool::new(false);

/// The way to the thread that writes the last line. It waits for it from the start, with
/// descriptors of its own: a thread that panics may have none left to open a file with, and its
/// host no room for one more thread.
#[derive(Debug)]
pub(super) struct LastWords(SyncSender<(Line, SyncSender<()>)>);

impl LastWords {
    /// # Errors
    /// When there can be no thread, or no descriptor is left.
    pub(super) fn start(core: Arc<Core>) -> io::Result<Self> {
        let (lines, received) = sync_channel::<(Line, SyncSender<()>)>(1);
        let (opened, is_open) = sync_channel(1);
        thread::Builder::new().name("last-words".to_owned()).spawn(move || {
            // Where this is refused, no shard starts.
            let _ = own_descriptor_table();
            let mut stderr = match Stream::of(io::stderr()) {
                Ok(stderr) => stderr,
                Err(error) => return drop(opened.send(Err(error))),
            };
            let _ = opened.send(Ok(()));
            if let Ok((line, done)) = received.recv() {
                write(&core, &mut stderr, &line);
                let _ = done.send(());
            }
        })?;
        is_open.recv().expect("the thread says whether it can write")?;
        Ok(Self(lines))
    }

    /// Writes what happened to the files and to standard error, without the queues, and ends the
    /// process. A sink that blocks is not waited for: half a server is worse than none.
    pub(super) fn speak(&self, panic: &PanicHookInfo<'_>) -> ! {
        if IS_SPEAKING.swap(true, Ordering::Relaxed) {
            loop {
                thread::park();
            }
        }
        let (done, is_done) = sync_channel(1);
        if self.0.try_send((line_of(panic), done)).is_ok() {
            // Out of time or not: it ends now.
            let _ = is_done.recv_timeout(LAST_WORDS_TIME);
        }
        process::exit(EXIT_PANIC.into());
    }
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

fn write(core: &Core, stderr: &mut Stream, line: &Line) {
    if let Some(files) = &core.files {
        for path in [&files.error_path, &files.combined_path] {
            // Standard error has the line, too.
            let _ =
                files::open(path).and_then(|mut file| file.write_all(line.as_json().as_bytes()));
        }
    }
    let _ = stderr.write_line(line.for_people(core.with_colours).as_bytes());
}
