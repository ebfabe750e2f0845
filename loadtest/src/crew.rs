//! Starts the workers: one thread each, with its part of the scenario.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use crate::args::{Common, ConnectRate, MessageArguments, ScenarioArguments};
use crate::connections::Setup;
use crate::control::{Control, News};
use crate::payload::Template;
use crate::plan::{Plan, WorkerPlan};
use crate::scenario::{Barrier, Board, Broadcast, Echo, Idle, Lone, Scenario};
use crate::worker::{Pace, Worker};

/// Time the server has to answer a close frame.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two messages of `broadcast --lone`.
const INTERVAL: Duration = Duration::from_millis(10);

/// Starts all workers of `plan`.
///
/// # Errors
/// When a thread cannot be started.
pub(crate) fn start(
    scenario: &ScenarioArguments,
    plan: &Plan,
    control: &Arc<Control>,
    news: &Sender<News>,
) -> Result<(), String> {
    let common = scenario.common();
    let setup = Arc::new(Setup {
        target: common.url.clone(),
        sources: plan.sources.clone(),
        connect_timeout: common.connect_timeout.as_nanos() as u64,
        leave_timeout: LEAVE_TIMEOUT.as_nanos() as u64,
    });
    let pace = pace(common, plan.workers.len());
    let crew = Crew { control, barrier: Arc::default(), board: Arc::default() };
    plan.workers.iter().try_for_each(|&worker_plan| {
        let worker = Worker {
            plan: worker_plan,
            setup: setup.clone(),
            control: control.clone(),
            news: news.clone(),
            pace,
        };
        crew.start_worker(scenario, worker)
            .map_err(|error| format!("cannot start worker {}: {error}", worker_plan.index))
    })
}

/// What the workers of a scenario share.
struct Crew<'a> {
    control: &'a Arc<Control>,
    barrier: Arc<Barrier>,
    board: Arc<Board>,
}

impl Crew<'_> {
    fn start_worker(&self, scenario: &ScenarioArguments, worker: Worker) -> std::io::Result<()> {
        let WorkerPlan { index, first, count, .. } = worker.plan;
        let template = |message: &MessageArguments| Template::new(message.size, message.text);
        let control = self.control.clone();
        match scenario {
            ScenarioArguments::Idle { .. } => spawn(worker, Idle),
            ScenarioArguments::Echo { message, depth, .. } => {
                spawn(worker, Echo::new(template(message), *depth, first, count))
            }
            ScenarioArguments::Broadcast { message, lone: true, interval, .. } => {
                let interval = interval.unwrap_or(INTERVAL).as_nanos() as u64;
                let board = self.board.clone();
                spawn(worker, Lone::new(template(message), control, board, interval, count))
            }
            ScenarioArguments::Broadcast { message, lone: false, .. } => {
                let barrier = self.barrier.clone();
                spawn(worker, Broadcast::new(template(message), control, barrier, index, count))
            }
        }
    }
}

fn spawn<S: Scenario + Send + 'static>(worker: Worker, scenario: S) -> std::io::Result<()> {
    let name = format!("worker-{}", worker.plan.index);
    let last_word = LastWord(worker.news.clone());
    // Nobody joins: a worker's last word is the news that it has ended.
    let thread = thread::Builder::new().name(name).spawn(move || {
        worker.run(scenario);
        drop(last_word);
    });
    thread.map(drop)
}

/// Tells the main thread of a panic, which would otherwise wait for this worker.
struct LastWord(Sender<News>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(News::Failed("a worker has panicked".to_owned()));
        }
    }
}

/// Each worker's part of what the user allows for all.
fn pace(common: &Common, workers: usize) -> Pace {
    let rate = match common.connect_rate {
        ConnectRate::Max => ConnectRate::Max,
        ConnectRate::PerSecond(rate) => ConnectRate::PerSecond(rate / workers as f64),
    };
    let at_once = (common.connecting as usize / workers).max(1);
    Pace { at_once, rate, leave: common.leave }
}
