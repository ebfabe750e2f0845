//! `calibrate`: what this generator can do on this host, measured against the cheapest peer.

mod observed;
mod peer;
mod report;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser};
use ringwire::ring::{allowed_cpus, raise_descriptor_limit};

use self::observed::Observed;
use self::peer::{CONNECTIONS_MAX, NullPeer, PAYLOAD_BYTES_MAX, Spent};
use self::report::{Calibration, Limit, RoundTrip, Row, heading};
use crate::args::{Arguments, duration};
use crate::results::Verdict;
use crate::run;

/// Connections of the step that only connects: enough for the growth of resident memory to show.
const IDLE_CONNECTIONS: u32 = 10_000;

/// Descriptors that are not connections, in the table of either thread.
const DESCRIPTOR_RESERVE: u64 = 128;

/// Messages in flight per connection of the pipelined step.
const PIPELINE_DEPTH: u32 = 16;

/// Messages per second of the slowest open loop.
const SLOW_RATE: f64 = 1_000.0;

/// Attempts at a step: other work may have kept a thread from running in all of a short one.
const ATTEMPTS: usize = 5;

/// The part of `--duration` by which load precedes it.
const WARM_UP_PART: u32 = 5;

/// The flags of `calibrate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CalibrateArguments {
    /// Time that each step is measured
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// The generator's CPU and the null echo's; default: the first two with a core of their own
    #[arg(long, value_name = "A,B", value_parser = cpu_pair)]
    cpus: Option<Cpus>,
    /// Bytes of payload of a message
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    #[arg(value_parser = clap::value_parser!(u32).range(..=PAYLOAD_BYTES_MAX as i64))]
    size: u32,
    /// Connections of the ceilings
    #[arg(long, value_name = "N", default_value_t = 500)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    connections: u32,
    /// Writes `calibration.json` to this folder, too
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// The processors of the two threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cpus {
    generator: usize,
    peer: usize,
}

/// Measures, prints the table, and gives back the exit code.
///
/// # Errors
/// What keeps the host from being measured, and what to change.
pub(crate) fn calibrate(
    arguments: &CalibrateArguments,
    interrupted: &AtomicBool,
) -> Result<u8, String> {
    let cpus = Cpus::choose(arguments.cpus)?;
    let room = room(arguments.connections)?;
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder)
            .map_err(|error| format!("--out {}: {error}", folder.display()))?;
    }
    let peer = NullPeer::start(cpus.peer)?;
    let bench = Bench { arguments, interrupted, cpus, peer, room };
    println!("{}", heading(arguments, cpus));
    let mut rows = Vec::new();
    for step in Step::ALL {
        let ceiling = rows.iter().find(|row: &&Row| row.name == Step::Ceiling.name());
        let ceiling = ceiling.map_or(0.0, |row| row.per_second);
        let Some(row) = bench.take(step, ceiling)? else { break };
        println!("{row}");
        rows.push(row);
    }
    let is_whole = rows.len() == Step::ALL.len();
    let calibration = Calibration::new(arguments, cpus, rows);
    print!("{calibration}");
    if let Some(folder) = &arguments.out {
        calibration.write(folder)?;
    }
    let verdict = if is_whole { Verdict::Valid } else { Verdict::Interrupted };
    Ok(verdict.exit_code())
}

/// What is measured, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Opens connections. The first, since memory that a run gave back would hide what it takes.
    Connects,
    /// One connection with one message in flight: the least that a round trip takes.
    Floor,
    /// Many connections with one message in flight each.
    Ceiling,
    /// Many connections with several messages in flight each.
    Pipelined,
    /// A schedule at [`SLOW_RATE`], which is little for either side.
    Slow,
    /// A schedule at a share of the ceiling, in percent.
    Share(u8),
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Connects,
        Self::Floor,
        Self::Ceiling,
        Self::Pipelined,
        Self::Slow,
        Self::Share(10),
        Self::Share(50),
        Self::Share(90),
    ];

    /// In the table and in JSON.
    fn name(self) -> String {
        match self {
            Self::Connects => "connects".to_owned(),
            Self::Floor => "floor".to_owned(),
            Self::Ceiling => "ceiling".to_owned(),
            Self::Pipelined => "pipelined".to_owned(),
            Self::Slow => "slow".to_owned(),
            Self::Share(percent) => format!("{percent}%"),
        }
    }
}

/// The load of one step.
#[derive(Clone, Copy, Debug)]
struct Load {
    connections: u32,
    /// Messages in flight per connection of a closed loop.
    depth: Option<u32>,
    /// Messages per second of an open loop.
    rate: Option<f64>,
}

impl Load {
    /// Of `step`; the `ceiling` is known when a share of it is asked for.
    fn of(step: Step, arguments: &CalibrateArguments, room: u32, ceiling: f64) -> Self {
        let connections = arguments.connections;
        let closed = |connections, depth| Self { connections, depth: Some(depth), rate: None };
        let open = |rate| Self { connections, depth: None, rate: Some(rate) };
        match step {
            Step::Connects => {
                Self { connections: IDLE_CONNECTIONS.min(room), depth: None, rate: None }
            }
            Step::Floor => closed(1, 1),
            Step::Ceiling => closed(connections, 1),
            Step::Pipelined => closed(connections, PIPELINE_DEPTH),
            Step::Slow => open(SLOW_RATE),
            Step::Share(percent) => open(ceiling * f64::from(percent) / 100.0),
        }
    }

    /// As the generator's own command line.
    fn words(self, arguments: &CalibrateArguments) -> String {
        let Self { connections, depth, rate } = self;
        let model = match (depth, rate) {
            (Some(depth), _) => format!("--closed --depth {depth}"),
            (None, Some(rate)) => format!("--rate {rate}"),
            // Held for no longer than it takes to look at them. The null echo is in this process,
            // whose processor time belongs to the result.
            (None, None) => {
                let process = std::process::id();
                return format!(
                    "idle --connections {connections} --duration 1ms --server-pid {process}"
                );
            }
        };
        format!(
            "echo {model} --connections {connections} --size {} --duration {}us --warmup {}us",
            arguments.size,
            arguments.duration.as_micros(),
            (arguments.duration / WARM_UP_PART).as_micros()
        )
    }
}

/// One generator thread and one null echo.
struct Bench<'a> {
    arguments: &'a CalibrateArguments,
    interrupted: &'a AtomicBool,
    cpus: Cpus,
    peer: NullPeer,
    /// Connections that the descriptor limit has room for.
    room: u32,
}

impl Bench<'_> {
    /// One row; `None` when the user ended it. The `ceiling` is in messages per second, as soon as
    /// it is known.
    fn take(&self, step: Step, ceiling: f64) -> Result<Option<Row>, String> {
        let load = Load::of(step, self.arguments, self.room, ceiling);
        let words = load.words(self.arguments);
        for _ in 0..ATTEMPTS {
            let before = self.peer.spent();
            let Some(observed) = self.run(&words)? else { return Ok(None) };
            let spent = self.peer.spent().since(before);
            let work = match step {
                Step::Connects => Work::connects(&observed, spent),
                _ => Work::echoes(&observed, spent),
            };
            if work.is_some() {
                return Ok(Some(self.row(step, load, &observed, work)));
            }
        }
        let Cpus { generator, peer } = self.cpus;
        Err(format!(
            "{} measured nothing in {ATTEMPTS} attempts: other work keeps CPU {generator} or \
             {peer} busy; choose others with --cpus, or give a longer --duration",
            step.name()
        ))
    }

    /// Runs the generator as its own command line would; `None` when the user ended it.
    fn run(&self, words: &str) -> Result<Option<Observed>, String> {
        // Resets leave no TIME-WAIT, which would cost the next step its ports.
        let line = format!(
            "loadtest {words} --url ws://{}/ --threads 1 --cpus {} --leave abort",
            self.peer.address(),
            self.cpus.generator
        );
        let arguments = Arguments::try_parse_from(line.split_ascii_whitespace())
            .map_err(|error| error.to_string())?;
        arguments.check()?;
        let results = run::run(&arguments, self.interrupted)?;
        // What was on its way when the user ended the run is missing, and nobody's fault.
        if self.interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        Observed::of(&results).map(Some)
    }

    fn row(&self, step: Step, load: Load, observed: &Observed, work: Work) -> Row {
        let Work { count, seconds, generator_seconds, peer_seconds } = work;
        let Observed { p50_us, p99_us, schedule_lag_us, .. } = *observed;
        let (generator_busy, peer_busy) = (generator_seconds / seconds, peer_seconds / seconds);
        // At a ceiling a latency is no more than connections / rate.
        let has_latency = step == Step::Floor || load.rate.is_some();
        Row {
            name: step.name(),
            connections: load.connections,
            depth: load.depth,
            target_per_second: load.rate,
            per_second: count / seconds,
            resident_bytes_per_connection: (step == Step::Connects)
                .then_some(observed.resident_bytes_per_connection),
            round_trip: has_latency.then_some(RoundTrip { p50_us, p99_us }),
            schedule_lag_p99_us: load.rate.map(|_| schedule_lag_us),
            generator_cpu_ns: generator_seconds * 1e9 / count,
            peer_cpu_ns: peer_seconds * 1e9 / count,
            generator_busy,
            peer_busy,
            limit: Limit::of(generator_busy, peer_busy, self.cpus.are_one()),
        }
    }
}

/// What both sides did in the time that counts.
#[derive(Clone, Copy, Debug)]
struct Work {
    /// Connections opened, or messages echoed.
    count: f64,
    seconds: f64,
    generator_seconds: f64,
    peer_seconds: f64,
}

impl Work {
    /// Whether both sides did anything.
    fn is_some(&self) -> bool {
        let Self { count, seconds, generator_seconds, peer_seconds } = *self;
        [count, seconds, generator_seconds, peer_seconds].iter().all(|&part| part > 0.0)
    }

    /// While connections were opened. The generator is all of this process but the peer.
    const fn connects(observed: &Observed, spent: Spent) -> Self {
        let peer_seconds = spent.opening as f64 * 1e-9;
        Self {
            count: observed.opened,
            seconds: observed.connect_seconds,
            generator_seconds: (observed.connect_cpu_seconds - peer_seconds).max(0.0),
            peer_seconds,
        }
    }

    /// While the run was measured. The peer's time is its mean for all messages, the warm-up's too.
    fn echoes(observed: &Observed, spent: Spent) -> Self {
        let peer_seconds_each = spent.echoing as f64 * 1e-9 / spent.echoed.max(1) as f64;
        Self {
            count: observed.messages,
            seconds: observed.measured_seconds,
            generator_seconds: observed.busy * observed.measured_seconds,
            peer_seconds: peer_seconds_each * observed.messages,
        }
    }
}

impl Cpus {
    fn choose(wanted: Option<Self>) -> Result<Self, String> {
        let allowed = allowed_cpus().map_err(|error| format!("sched_getaffinity: {error}"))?;
        if let Some(cpus) = wanted {
            return match [cpus.generator, cpus.peer].iter().find(|cpu| !allowed.contains(cpu)) {
                Some(cpu) => {
                    Err(format!("--cpus: {cpu} is not one of the allowed CPUs {allowed:?}"))
                }
                None => Ok(cpus),
            };
        }
        let [generator, ref others @ ..] = allowed[..] else {
            return Err("no CPU is allowed to this process".to_owned());
        };
        let apart = others.iter().find(|&&cpu| !Self { generator, peer: cpu }.share_a_core());
        let peer = apart.or_else(|| others.first()).copied().unwrap_or(generator);
        Ok(Self { generator, peer })
    }

    const fn are_one(self) -> bool {
        self.generator == self.peer
    }

    /// Two hardware threads of one core slow each other down. Unknown counts as no.
    fn share_a_core(self) -> bool {
        let siblings = |cpu| {
            let file = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            fs::read_to_string(file).ok()
        };
        siblings(self.generator).is_some_and(|of_it| siblings(self.peer) == Some(of_it))
    }
}

fn cpu_pair(text: &str) -> Result<Cpus, String> {
    let number = |word: &str| word.trim().parse().ok();
    text.split_once(',')
        .and_then(|(one, two)| Some(Cpus { generator: number(one)?, peer: number(two)? }))
        .ok_or_else(|| "give two CPUs as 0,1: the generator's and the null echo's".to_owned())
}

/// Connections that the table of each thread has room for; all of `connections` must fit.
fn room(connections: u32) -> Result<u32, String> {
    let limit = raise_descriptor_limit();
    let room = limit.saturating_sub(DESCRIPTOR_RESERVE).min(CONNECTIONS_MAX as u64) as u32;
    if connections > room || room == 0 {
        return Err(format!(
            "a limit of {limit} descriptors is too low for --connections {connections}; raise it: \
             ulimit -n {}",
            u64::from(connections) + DESCRIPTOR_RESERVE
        ));
    }
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CalibrateArguments,
    }

    fn parse(line: &str) -> Option<CalibrateArguments> {
        let words = std::iter::once("calibrate").chain(line.split_ascii_whitespace());
        Line::try_parse_from(words).ok().map(|line| line.arguments)
    }

    #[test]
    fn flags_have_their_bounds() {
        let defaults = parse("").expect("no flag is needed");
        assert_eq!((defaults.size, defaults.connections, defaults.cpus), (512, 500, None));
        assert_eq!(defaults.duration, Duration::from_secs(5));
        let cpus = parse("--cpus 3,1").expect("two CPUs").cpus;
        assert_eq!(cpus, Some(Cpus { generator: 3, peer: 1 }));
        assert!(parse("--size 65536 --connections 18000").is_some());
        for line in ["--cpus 1", "--cpus a,b", "--size 65537", "--connections 0"] {
            assert!(parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn processors_are_those_that_are_allowed() {
        let allowed = allowed_cpus().expect("an affinity");
        let cpus = Cpus::choose(None).expect("a processor");
        assert!(allowed.contains(&cpus.generator) && allowed.contains(&cpus.peer));
        assert_eq!(cpus.are_one(), allowed.len() == 1);
        let one = Cpus { generator: allowed[0], peer: allowed[0] };
        assert_eq!(Cpus::choose(Some(one)), Ok(one));
        assert!(Cpus::choose(Some(Cpus { peer: usize::MAX, ..one })).is_err());
    }
}
