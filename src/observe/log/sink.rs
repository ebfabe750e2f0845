//! A sink: a bounded queue, and the thread that empties it. Whoever blocks that thread, such as a
//! reader who has stopped, blocks nobody else.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::statistics::{DropReason, LogStatistics, Sink};
use crate::limits::{LOG_QUEUE_LINES_MAX, LOG_SUPPRESSED_REPORT_NANOSECONDS};
use crate::ring::own_descriptor_table;

/// Shortest time between two reports of lines that were dropped.
const REPORT_PAUSE: Duration = Duration::from_nanos(LOG_SUPPRESSED_REPORT_NANOSECONDS);

/// What lines are written to, each with its end.
pub(super) trait LineWriter {
    /// Writes one line, however long that takes.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()>;
}

/// The way to a sink.
#[derive(Debug)]
pub(super) struct Queue {
    sink: Sink,
    lines: SyncSender<String>,
    waiting: Arc<AtomicUsize>,
    statistics: Arc<LogStatistics>,
}

impl Queue {
    /// Starts the thread of a sink, which opens what it writes to.
    ///
    /// # Errors
    /// Those of `open`, or when there can be no thread.
    pub(super) fn start<W: LineWriter>(
        sink: Sink,
        statistics: &Arc<LogStatistics>,
        open: impl FnOnce() -> io::Result<W> + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, received) = sync_channel(LOG_QUEUE_LINES_MAX);
        let (opened, is_open) = sync_channel(1);
        let waiting = Arc::new(AtomicUsize::new(0));
        let scribe = Scribe {
            sink,
            waiting: Arc::clone(&waiting),
            statistics: Arc::clone(statistics),
            is_failing: false,
            told: 0,
            last_told: None,
        };
        thread::Builder::new().name(format!("log-{}", sink.label())).spawn(move || {
            // Shards copy the table of the process: a file that is in it could not be freed before
            // they end, however often it was rotated away. Where threads may have no tables of
            // their own, no shard starts.
            let _ = own_descriptor_table();
            match open() {
                Ok(writer) => {
                    let _ = opened.send(Ok(()));
                    scribe.write_all(&received, writer);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        })?;
        is_open.recv().expect("the thread says whether it can write")?;
        Ok(Self { sink, lines, waiting, statistics: Arc::clone(statistics) })
    }

    /// Hands over a line, or counts it as dropped. Never waits.
    pub(super) fn submit(&self, line: String) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.lines.try_send(line).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.statistics.count_dropped(self.sink, DropReason::Full);
        }
    }

    /// Whether everything was written.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }
}

/// Who writes the lines of one sink.
struct Scribe {
    sink: Sink,
    waiting: Arc<AtomicUsize>,
    statistics: Arc<LogStatistics>,
    is_failing: bool,
    /// Dropped lines that were reported.
    told: u64,
    last_told: Option<Instant>,
}

impl Scribe {
    fn write_all(mut self, lines: &Receiver<String>, mut writer: impl LineWriter) {
        for line in lines {
            match writer.write_line(line.as_bytes()) {
                Ok(()) => {
                    self.is_failing = false;
                    self.tell_dropped();
                }
                Err(error) => {
                    self.statistics.count_dropped(self.sink, DropReason::Error);
                    self.tell_failure(&error);
                }
            }
            self.waiting.fetch_sub(1, Ordering::Release);
        }
    }

    /// Tells the other sinks, once. Who closed our output wants to know nothing more.
    fn tell_failure(&mut self, error: &io::Error) {
        if !self.is_failing && self.sink != Sink::Stdout {
            let sink = self.sink.label();
            tracing::error!(sink, %error, "cannot write the log: lines are dropped until it works");
        }
        self.is_failing = true;
    }

    /// Once there is room again, leaves a mark where lines are missing.
    fn tell_dropped(&mut self) {
        let dropped = self.statistics.dropped_by(self.sink);
        let is_time = || self.last_told.is_none_or(|last| last.elapsed() >= REPORT_PAUSE);
        if dropped > self.told && is_time() {
            let (sink, lines) = (self.sink.label(), dropped - self.told);
            tracing::warn!(sink, lines, "lines of the log were dropped");
            self.told = dropped;
            self.last_told = Some(Instant::now());
        }
    }
}

/// One of the standard streams.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    /// The last line was not written to its end.
    is_cut: bool,
}

impl Stream {
    /// # Errors
    /// When there is no descriptor left.
    pub(super) fn of(stream: impl AsFd) -> io::Result<Self> {
        Ok(Self { file: stream.as_fd().try_clone_to_owned()?.into(), is_cut: false })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    self.is_cut = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process that has the stream made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl LineWriter for Stream {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_cut {
            self.write(b"\n")?;
        }
        self.write(line)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Asks for leave before each line, and fails where that is refused.
    struct Gated {
        leave: Receiver<bool>,
        written: Sender<Vec<u8>>,
    }

    impl LineWriter for Gated {
        fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
            if !self.leave.recv().expect("the test is not over") {
                return Err(ErrorKind::StorageFull.into());
            }
            self.written.send(line.to_owned()).expect("the test is not over");
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_rest_is_written_in_order() {
        let statistics = Arc::new(LogStatistics::default());
        let (give_leave, leave) = std::sync::mpsc::channel();
        let (written, is_written) = std::sync::mpsc::channel();
        let gated = Gated { leave, written };
        let queue = Queue::start(Sink::Combined, &statistics, || Ok(gated)).expect("it starts");
        // One line may be in the hands of the thread.
        let all = LOG_QUEUE_LINES_MAX as u64 + 1 + 10;
        for number in 0..all {
            queue.submit(number.to_string());
        }
        let full = statistics.dropped(Sink::Combined, DropReason::Full);
        assert!((10..=11).contains(&full), "{full} lines were dropped");
        assert!(!queue.is_empty());
        let failed = 3;
        for number in 0..all - full {
            give_leave.send(number >= failed).expect("the thread runs");
        }
        for number in failed..all - full {
            let line = is_written.recv().expect("the thread runs");
            assert_eq!(line, number.to_string().as_bytes());
        }
        while !queue.is_empty() {
            thread::yield_now();
        }
        assert_eq!(statistics.dropped(Sink::Combined, DropReason::Error), failed);
        assert_eq!(statistics.dropped_by(Sink::Combined), full + failed);
        assert_eq!(statistics.dropped_by(Sink::Error), 0);
    }

    #[test]
    fn what_cannot_be_opened_is_an_error_at_once() {
        let statistics = Arc::new(LogStatistics::default());
        let refused = || Err::<Stream, _>(ErrorKind::PermissionDenied.into());
        let error = Queue::start(Sink::Error, &statistics, refused).expect_err("it cannot start");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
}
