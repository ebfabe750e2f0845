//! Starts the threads: one thread each, with its part of the scenario.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use crate::args::{Common, ConnectRate, MessageArguments, RequestArguments, ScenarioArguments};
use crate::connections::Setup;
use crate::control::{Control, News};
use crate::load_thread::{LoadThread, Pace};
use crate::payload::Payloads;
use crate::plan::{Plan, ThreadPlan};
use crate::scenario::{
    Barrier, Board, Broadcast, Demand, Echo, Idle, Publication, Rate, Rounds, Scenario,
};
use crate::upgrade::Wishes;

/// Time the server has to answer a close frame.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts all threads of `plan`.
///
/// # Errors
/// When a thread cannot be started.
pub(crate) fn start(
    scenario: &ScenarioArguments,
    plan: &Plan,
    control: &Arc<Control>,
    news: &Sender<News>,
    run: u32,
) -> Result<(), String> {
    let common = scenario.common();
    let setup = Arc::new(Setup {
        targets: common.url.clone(),
        wishes: Wishes::of(common),
        sources: plan.sources.clone(),
        connect_timeout: common.connect_timeout.as_nanos() as u64,
        leave_timeout: LEAVE_TIMEOUT.as_nanos() as u64,
        publishers: scenario.publishers(),
        handshakes_only: scenario.message().is_none(),
    });
    let pace = pace(common, plan.threads.len());
    let threads = plan.threads.len() as u32;
    let crew = Crew { control, run, threads, barrier: Arc::default(), board: Arc::default() };
    plan.threads.iter().try_for_each(|&thread_plan| {
        let thread = LoadThread {
            plan: thread_plan,
            setup: setup.clone(),
            control: control.clone(),
            news: news.clone(),
            pace,
        };
        crew.start_thread(scenario, thread)
            .map_err(|error| format!("cannot start thread {}: {error}", thread_plan.index))
    })
}

/// What the threads of a scenario share.
struct Crew<'a> {
    control: &'a Arc<Control>,
    /// The number of the run.
    run: u32,
    threads: u32,
    barrier: Arc<Barrier>,
    board: Arc<Board>,
}

impl Crew<'_> {
    fn start_thread(
        &self,
        scenario: &ScenarioArguments,
        thread: LoadThread,
    ) -> std::io::Result<()> {
        let ThreadPlan { index, first, count, .. } = thread.plan;
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
        }
    }
}

fn spawn<S: Scenario + Send + 'static>(thread: LoadThread, scenario: S) -> std::io::Result<()> {
    let name = format!("load-{}", thread.plan.index);
    let last_word = LastWord(thread.news.clone());
    // Nobody joins: a thread's last word is the news that it has ended.
    let thread = thread::Builder::new().name(name).spawn(move || {
        thread.run(scenario);
        drop(last_word);
    });
    thread.map(drop)
}

/// Tells the main thread of a panic, which would otherwise wait for this thread.
struct LastWord(Sender<News>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(News::Failed("a thread has panicked".to_owned()));
        }
    }
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
