//! A worker: waits for coordinators, and makes its part of their runs.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::protocol::{Hello, Job, Lines, Order, PATIENCE, PackedInterval, Pen, Report, link};
use super::{secret, share};
use crate::args::Arguments;
use crate::commands::{Command, CommandLine};
use crate::company::{Company, Word};
use crate::control::{Clock, News};
use crate::environment;
use crate::run;

/// How often a worker that waits looks whether it is to end.
const LOOK_AROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A run's clock began when its coordinator met the first worker: longer ago is no clock.
const EPOCH_AGE_MAX: Duration = Duration::from_secs(600);

/// Waits for runs with --workers, and puts its part of the load on their servers.
#[derive(Clone, Debug, Args)]
#[command(after_help = "A worker sends any load to any server that it is told to, and nothing on \
    the way is encrypted: let it listen where only trusted hosts reach it, and give it a --secret. \
    It makes one run at a time; SIGTERM ends it, and the run that it makes.")]
pub(crate) struct WorkerArguments {
    /// Where to wait for coordinators; port 0 takes a free one, which is told on standard output
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
    /// File with a secret that coordinators must know: --secret of the run
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Ends after one run
    #[arg(long)]
    once: bool,
}

/// Serves coordinators, one after the other, until `interrupted`.
///
/// # Errors
/// When nobody can be served at all.
pub(crate) fn serve(arguments: &WorkerArguments, interrupted: &AtomicBool) -> Result<(), String> {
    let secret = secret(arguments.secret.as_deref())?;
    let on_listen = |error: io::Error| format!("--listen {}: {error}", arguments.listen);
    let listener = TcpListener::bind(&arguments.listen).map_err(on_listen)?;
    listener.set_nonblocking(true).map_err(on_listen)?;
    let address = listener.local_addr().map_err(on_listen)?;
    writeln!(io::stdout(), "listening on {address}")
        .map_err(|error| format!("cannot write to standard output: {error}"))?;
    while !interrupted.load(Ordering::Relaxed) {
        let Some((stream, peer)) = accept(&listener).map_err(on_listen)? else { continue };
        match attend(stream, &secret, interrupted) {
            Ok(()) if arguments.once => break,
            Ok(()) => {}
            Err(reason) => eprintln!("loadtest: coordinator {peer}: {reason}"),
        }
    }
    Ok(())
}

/// The next connection, if one comes soon.
fn accept(listener: &TcpListener) -> io::Result<Option<(TcpStream, std::net::SocketAddr)>> {
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&LOOK_AROUND)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
        Ok(_) => {}
        Err(errno) => return Err(errno.into()),
    }
    match listener.accept() {
        Ok(accepted) => Ok(Some(accepted)),
        // Whoever it was may be gone again.
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock
            | io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionAborted => Ok(None),
            _ => Err(error),
        },
    }
}

/// Serves one coordinator to the end of its run.
fn attend(stream: TcpStream, secret: &str, interrupted: &AtomicBool) -> Result<(), String> {
    let accepted = Instant::now();
    let (mut lines, pen) = link(stream, PATIENCE)?;
    if let Err(reason) = lines.next().and_then(|order| admit(&order, secret)) {
        pen.write(&Report::Refused(reason.clone()))?;
        return Err(format!("refused: {reason}"));
    }
    lines.trust();
    pen.write(&Report::Hello(Hello::new("", environment::place())))?;
    loop {
        match lines.next()? {
            Order::Ping(sent) => pen.write(&pong(sent, accepted))?,
            Order::Job(job) => return work(&job, accepted, (lines, &pen), interrupted),
            _ => return Err("it gave orders without a job".to_owned()),
        }
    }
}

fn admit(order: &Order, secret: &str) -> Result<(), String> {
    let Order::Hello(hello) = order else { return Err("it did not say hello".to_owned()) };
    if !is_same(hello.secret.as_bytes(), secret.as_bytes()) {
        return Err("the secret is another: give the same file as --secret to both".to_owned());
    }
    hello.check()
}

/// Takes as long for a secret that is nearly right as for any other.
fn is_same(given: &[u8], own: &[u8]) -> bool {
    let differences = given.iter().zip(own).fold(0, |all, (given, own)| all | (given ^ own));
    given.len() == own.len() && differences == 0
}

fn pong(sent: u64, accepted: Instant) -> Report {
    Report::Pong { sent, at: accepted.elapsed().as_nanos() as u64 }
}

/// Makes a part of a run, and tells what came of it.
fn work(
    job: &Job,
    accepted: Instant,
    (mut lines, pen): (Lines, &Pen),
    interrupted: &AtomicBool,
) -> Result<(), String> {
    let (to_lead, news) = channel();
    let (others, words) = channel();
    let prepared = prepare(job, accepted, (to_lead.clone(), news), others);
    thread::scope(|scope| {
        scope.spawn(|| listen(&mut lines, pen, &to_lead, accepted));
        let telling = scope.spawn(move || tell(&words, pen));
        let results = prepared
            .and_then(|(arguments, company)| run::run_part(&arguments, company, interrupted));
        // The intervals come before the end.
        let told = telling.join().unwrap_or_else(|_| Err("a thread has panicked".to_owned()));
        let last = match results {
            Ok(results) => Report::Ended(Box::new(results.summary)),
            Err(reason) => Report::Failed(reason),
        };
        // Listening ends when the coordinator has heard the end, or is gone.
        told.and_then(|()| pen.write(&last)).inspect_err(|_| pen.hang_up())
    })
}

/// What is to be done, and with whom.
fn prepare(
    job: &Job,
    accepted: Instant,
    news: (Sender<News>, Receiver<News>),
    others: Sender<Word>,
) -> Result<(Arguments, Company), String> {
    let mut arguments = parse(job)?;
    arguments.complete()?;
    arguments.check()?;
    let connections = &job.connections;
    if connections.is_empty() || connections.end > arguments.scenario.common().connections {
        return Err(format!("there are no connections {connections:?} in this run"));
    }
    share::take(&mut arguments.scenario, connections);
    let common = share::common_of(&mut arguments.scenario);
    common.tls.issuers = job.issuers.as_deref().map(Into::into);
    if !job.watch_server {
        common.server_pid = None;
    }
    let clock = clock(job.epoch, accepted).ok_or("the clock of the run is not of this time")?;
    let (first, run) = (connections.start, job.run);
    Ok((arguments, Company { first, run, clock, news, others: Some(others) }))
}

/// The run that the words of the command line ask for.
fn parse(job: &Job) -> Result<Arguments, String> {
    let words = std::iter::once("loadtest").chain(job.words.iter().map(String::as_str));
    let line = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
    match (line.command, job.step) {
        (Command::Scenario(scenario), None) => Ok(Arguments { scenario, step: None }),
        (Command::Search(search), Some(value)) => Ok(search.arguments().step(value)),
        _ => Err("the command line is not that of a run".to_owned()),
    }
}

/// The clock of a run that began so many nanoseconds after `accepted`, or before.
fn clock(epoch: i64, accepted: Instant) -> Option<Clock> {
    let distance = Duration::from_nanos(epoch.unsigned_abs());
    let began =
        if epoch < 0 { accepted.checked_sub(distance)? } else { accepted.checked_add(distance)? };
    let age = Instant::now().checked_duration_since(began)?;
    (age < EPOCH_AGE_MAX).then(|| Clock::since(began))
}

/// Hears the coordinator until it hangs up, and tells the run's main thread.
fn listen(lines: &mut Lines, pen: &Pen, lead: &Sender<News>, accepted: Instant) {
    loop {
        let news = match lines.next() {
            Ok(Order::Ping(sent)) => match pen.write(&pong(sent, accepted)) {
                Ok(()) => continue,
                Err(_) => break,
            },
            Ok(Order::Begin(all, times)) if times.are_in_order() => News::Begin(all, times),
            Ok(Order::PublishedElsewhere(messages)) => News::PublishedElsewhere(messages),
            Ok(Order::Stop) => News::Halt,
            Ok(Order::Hello(_) | Order::Job(_) | Order::Begin(..)) | Err(_) => break,
        };
        // The run may be over, while the coordinator still compares clocks.
        let _ = lead.send(news);
    }
    // Without a coordinator there is no run.
    let _ = lead.send(News::Halt);
}

/// Tells the coordinator what the run tells it, until the run is over.
fn tell(words: &Receiver<Word>, pen: &Pen) -> Result<(), String> {
    words.iter().try_for_each(|word| {
        pen.write(&match word {
            Word::Population(here) => Report::Population(here),
            Word::Interval(interval) => Report::Interval(Box::new(PackedInterval::of(&interval))),
            Word::Published(messages) => Report::Published(messages),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_is_the_same() {
        assert!(is_same(b"", b"") && is_same(b"key", b"key"));
        for (given, own) in [("", "key"), ("ke", "key"), ("keys", "key"), ("kez", "key")] {
            assert!(!is_same(given.as_bytes(), own.as_bytes()), "{given}");
        }
    }

    #[test]
    fn clocks_of_another_time_are_refused() {
        let accepted = Instant::now();
        for epoch in [i64::MIN, i64::MAX, 1 << 60, -(1 << 60)] {
            assert!(clock(epoch, accepted).is_none(), "{epoch}");
        }
        let began = clock(-5_000_000, accepted).expect("a clock");
        assert!(began.now() >= 5_000_000);
    }
}
