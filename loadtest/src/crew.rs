//! Starts the threads: one thread each, with its part of the scenario.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::args::{
    ChurnArguments, Common, ConnectRate, Leave, LoadArguments, MessageArguments, RequestArguments,
    RestartArguments, RoomArguments, ScenarioArguments, SlowArguments, SlowLoad, StormArguments,
    nodes,
};
use crate::connections::{Setup, SlowReaders};
use crate::control::{Control, News};
use crate::load_thread::{LoadThread, Pace};
use crate::payload::Payloads;
use crate::plan::{Plan, ThreadPlan, among};
use crate::scenario::{
    AtOnce, Barrier, Board, Broadcast, Churn, Coming, Company, Demand, Echo, Habits, Idle, Lobby,
    Pauses, Publication, Rate, Restart, Rooms, Rounds, Scenario, Slow, Speech, Stay, Storm, Talk,
    Weather,
};
use crate::tls;
use crate::upgrade::Wishes;

/// Bytes of a connection that wait for the server to read, at most, unless a client may have more
/// on their way: far more than a server leaves that reads at all.
const UNSENT_BYTES_MAX: usize = 4 << 20;

/// Bytes before the payload of a frame, at most.
const HEADER_BYTES_MAX: usize = 14;

/// Time the server has to answer a close frame.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts all threads of `plan`.
///
/// # Errors
/// When a thread cannot be started, or nobody's certificate can be trusted.
pub(crate) fn start(
    scenario: &ScenarioArguments,
    plan: &Plan,
    control: &Arc<Control>,
    news: &Sender<News>,
    run: u32,
) -> Result<Vec<JoinHandle<()>>, String> {
    let common = scenario.common();
    let setup = Arc::new(Setup {
        targets: common.url.clone(),
        nodes: nodes(&common.url),
        roams: scenario.reconnects(),
        tls: tls::config(common)?,
        resumes: common.tls.tls_resume,
        deflate: common.deflate.clone(),
        wishes: Wishes::of(common),
        sources: plan.sources.clone(),
        connect_timeout: common.connect_timeout.as_nanos() as u64,
        leave_timeout: LEAVE_TIMEOUT.as_nanos() as u64,
        unsent_max: unsent_max(scenario),
        publishers: scenario.publishers(),
        handshakes_only: matches!(scenario, ScenarioArguments::Idle { .. }),
        farewells: matches!(scenario, ScenarioArguments::Restart { .. }) || scenario.reconnects(),
        slow: slow_readers(scenario),
    });
    let pace = pace(common, plan.threads.len());
    let threads = plan.threads.len() as u32;
    let crew = Crew {
        control,
        run,
        threads,
        barrier: Arc::default(),
        board: Arc::default(),
        at_once: AtOnce::default(),
        lobby: Arc::new(Lobby::new(scenario.rooms())),
    };
    let started = plan.threads.iter().map(|&thread_plan| {
        let thread = LoadThread {
            plan: thread_plan,
            setup: setup.clone(),
            control: control.clone(),
            news: news.clone(),
            pace,
        };
        crew.start_thread(scenario, thread)
            .map_err(|error| format!("cannot start thread {}: {error}", thread_plan.index))
    });
    started.collect()
}

/// What the threads of a scenario share.
struct Crew<'a> {
    control: &'a Arc<Control>,
    /// The number of the run.
    run: u32,
    threads: u32,
    barrier: Arc<Barrier>,
    board: Arc<Board>,
    at_once: AtOnce,
    lobby: Arc<Lobby>,
}

impl Crew<'_> {
    fn start_thread(
        &self,
        scenario: &ScenarioArguments,
        thread: LoadThread,
    ) -> std::io::Result<JoinHandle<()>> {
        let thread_plan = thread.plan;
        let ThreadPlan { index, first, count, .. } = thread_plan;
        let payloads = |message: &MessageArguments| {
            Payloads::new(&message.size, message.text, self.run, !message.no_verify)
        };
        let control = self.control.clone();
        match (scenario, scenario.schedule()) {
            (ScenarioArguments::Idle { .. }, _) => spawn(thread, Idle),
            (
                ScenarioArguments::Echo { message, requests, .. }
                | ScenarioArguments::Rate { message, requests, .. },
                Some((rate, poisson)),
            ) => {
                let &RequestArguments { depth, waiting } = requests;
                let waiting_max = waiting.div_ceil(self.threads);
                let demand = Demand { rate, poisson, depth, waiting_max };
                spawn(thread, Rate::new(payloads(message), demand, control, first, count))
            }
            (
                ScenarioArguments::Echo { message, requests, .. }
                | ScenarioArguments::Rate { message, requests, .. },
                None,
            ) => spawn(thread, Echo::new(payloads(message), requests.depth, first, count)),
            (
                ScenarioArguments::Broadcast { message, publishers, not_to_sender, .. },
                Some((rate, poisson)),
            ) => {
                let (publishers, to_sender) = (*publishers, !not_to_sender);
                let publication = Publication { rate, poisson, publishers, to_sender };
                let board = self.board.clone();
                let part = (first, count);
                spawn(thread, Broadcast::new(payloads(message), publication, control, board, part))
            }
            (ScenarioArguments::Broadcast { message, .. }, None) => {
                let barrier = self.barrier.clone();
                spawn(thread, Rounds::new(payloads(message), control, barrier, index, count))
            }
            (ScenarioArguments::Churn { common, churn }, _) => {
                let payloads = Payloads::new(&churn.size, churn.text, self.run, true);
                let coming = coming(common, churn, index as u32, self.threads);
                spawn(thread, Churn::new(payloads, coming, first, count))
            }
            (ScenarioArguments::Storm { common, storm }, _) => {
                let weather = weather(common, storm, self.threads);
                spawn(thread, Storm::new(weather, self.at_once.clone(), count))
            }
            (ScenarioArguments::Restart { common, restart }, _) => {
                spawn(thread, self.restart(common, restart, thread_plan))
            }
            (ScenarioArguments::Slow { message, load, requests, slow, .. }, _) => {
                self.start_slow(thread, payloads(message), load, requests, slow)
            }
            (ScenarioArguments::Rooms { message, rooms, .. }, schedule) => {
                let &RoomArguments { rejoin_rate, resume, order, .. } = rooms;
                let (_, members) = rooms.shape();
                let nodes = thread.setup.nodes.iter().max().map_or(1, |last| last + 1);
                let pauses = rooms.reconnect.then(|| Pauses::new(&rooms.backoff));
                let talk = Talk { schedule, members, rejoin_rate, resume, order, nodes, pauses };
                let (speech, lobby) = (Speech::new(self.run), self.lobby.clone());
                let part = (first, count);
                spawn(thread, Rooms::new(payloads(message), speech, talk, lobby, part))
            }
        }
    }

    /// A thread's part of `restart`: its first clients make the new connections.
    fn restart(&self, common: &Common, restart: &RestartArguments, plan: ThreadPlan) -> Restart {
        let ThreadPlan { index, first, count, .. } = plan;
        let newcomers = among((restart.newcomers(), common.connections), first, count);
        let share = f64::from(newcomers) / f64::from(restart.newcomers());
        let rate = restart.churn_rate.filter(|_| newcomers > 0);
        let offset = |rate: f64| 1e9 / rate * index as f64 / f64::from(self.threads);
        let coming = Coming {
            messages: 1,
            lifetime: 0,
            schedule: rate.map(|all| (all * share, offset(all * share) as u64)),
            leave: Leave::Close,
        };
        let payloads = Payloads::new(&restart.size, restart.text, self.run, true);
        let company = Company {
            churn: Churn::new(payloads.clone(), coming, first, newcomers),
            newcomers,
            are_measured: restart.churn_rate.is_some(),
        };
        let habits = Stay {
            send_rate: restart.send_rate,
            pauses: Pauses::new(&restart.backoff),
            linger: restart.linger.as_nanos() as u64,
        };
        let part = (first + newcomers, count - newcomers);
        Restart::new(payloads, habits, company, part)
    }

    /// Starts a thread whose last clients are slow readers.
    fn start_slow(
        &self,
        thread: LoadThread,
        payloads: Payloads,
        load: &LoadArguments,
        &RequestArguments { depth, waiting }: &RequestArguments,
        slow: &SlowArguments,
    ) -> std::io::Result<JoinHandle<()>> {
        let ThreadPlan { index, first, count, .. } = thread.plan;
        let healthy = count - thread.setup.slow.among(first, count);
        let control = self.control.clone();
        let habits = habits(slow, payloads.clone());
        let poisson = load.poisson;
        match (slow.load, load.rate) {
            (SlowLoad::Echo, Some(rate)) => {
                let waiting_max = waiting.div_ceil(self.threads);
                let demand = Demand { rate, poisson, depth, waiting_max };
                let inner = Rate::new(payloads, demand, control, first, healthy);
                spawn(thread, Slow::new(inner, habits, healthy, count))
            }
            (SlowLoad::Echo, None) => {
                let inner = Echo::new(payloads, depth, first, healthy);
                spawn(thread, Slow::new(inner, habits, healthy, count))
            }
            (SlowLoad::Broadcast, Some(rate)) => {
                let publishers = slow.publishers;
                let publication = Publication { rate, poisson, publishers, to_sender: true };
                let (board, part) = (self.board.clone(), (first, healthy));
                let inner = Broadcast::new(payloads, publication, control, board, part);
                spawn(thread, Slow::new(inner, habits, healthy, count))
            }
            (SlowLoad::Broadcast, None) => {
                let inner = Rounds::new(payloads, control, self.barrier.clone(), index, healthy);
                spawn(thread, Slow::new(inner, habits, healthy, count))
            }
        }
    }
}

fn spawn<S: Scenario + Send + 'static>(
    thread: LoadThread,
    scenario: S,
) -> std::io::Result<JoinHandle<()>> {
    let name = format!("load-{}", thread.plan.index);
    thread::Builder::new().name(name).spawn(move || thread.run(scenario))
}

/// Each thread's part of what the user allows for all.
fn pace(common: &Common, threads: usize) -> Pace {
    let rate = match common.connect_rate {
        ConnectRate::Max => ConnectRate::Max,
        ConnectRate::PerSecond(rate) => ConnectRate::PerSecond(rate / threads as f64),
    };
    let at_once = (common.connecting as usize / threads).max(1);
    Pace { at_once, rate, leave: common.leave }
}

/// What a client sends of its own accord always has room.
fn unsent_max(scenario: &ScenarioArguments) -> usize {
    let frame = scenario.message().map_or(0, |message| message.size.bounds().1 + HEADER_BYTES_MAX);
    let depth = scenario.depth().unwrap_or(1) as usize;
    UNSENT_BYTES_MAX.max(depth.saturating_mul(frame))
}

fn slow_readers(scenario: &ScenarioArguments) -> SlowReaders {
    match scenario {
        ScenarioArguments::Slow { common, slow, .. } => SlowReaders {
            count: slow.slow,
            connections: common.connections,
            receive_buffer: slow.receive_buffer,
        },
        _ => SlowReaders::default(),
    }
}

fn habits(slow: &SlowArguments, payloads: Payloads) -> Habits {
    let sends = slow.load == SlowLoad::Echo && slow.slow_send_rate > 0.0;
    let interval = (1e9 / slow.slow_send_rate) as u64;
    Habits {
        read_rate: slow.read_rate,
        receive_buffer: slow.receive_buffer,
        sends: sends.then_some((payloads, interval.max(1))),
    }
}

/// A thread's part of the schedule: every `threads`-th start is its own.
fn coming(common: &Common, churn: &ChurnArguments, thread: u32, threads: u32) -> Coming {
    Coming {
        messages: churn.messages,
        lifetime: churn.lifetime.as_nanos() as u64,
        schedule: churn
            .churn_rate
            .map(|rate| (rate / f64::from(threads), (1e9 / rate * f64::from(thread)) as u64)),
        leave: common.leave,
    }
}

fn weather(common: &Common, storm: &StormArguments, threads: u32) -> Weather {
    Weather {
        by: storm.by,
        share: storm.drop,
        pauses: Pauses::new(&storm.backoff),
        storms: storm.storms,
        spacing: common.duration.as_nanos() as u64 / u64::from(storm.storms),
        at_once: storm.reconnecting.map_or(usize::MAX, |all| (all / threads).max(1) as usize),
    }
}
