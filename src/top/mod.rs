//! `ringwire top`: the overview of a running server in a terminal, as its dashboard has it.

mod client;
mod page;
mod screen;
mod words;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::TopConfig;
use crate::limits::{ADMIN_TOKEN_FILE_BYTES_MAX, TOP_PIPE_COLUMNS};
use crate::observe::Overview;
use client::{Client, NoAnswer};
use page::render;
use screen::{Screen, quit_keys};
use words::{escaped, wrapped};

/// Shows the server until it is told to end; where there is no terminal, once.
#[must_use]
pub fn run(config: &TopConfig) -> ExitCode {
    let shown = client(config).and_then(|client| {
        if config.once || !io::stdout().is_terminal() {
            print(&client)
        } else {
            watch(client, config).map_err(|error| format!("the terminal: {error}"))
        }
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ringwire: {}", escaped(&message));
            ExitCode::FAILURE
        }
    }
}

fn client(config: &TopConfig) -> Result<Client, String> {
    let token = match &config.token_file {
        Some(path) => {
            let cannot = |error| format!("cannot read the token file {}: {error}", path.display());
            let mut text = String::new();
            let file = File::open(path).map_err(cannot)?;
            file.take(ADMIN_TOKEN_FILE_BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
            let token = text.trim_end();
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("the token file {} holds no token", path.display()));
            }
            Some(token.to_owned())
        }
        None => None,
    };
    Ok(Client::new(config.admin, token))
}

/// Prints the whole page once.
fn print(client: &Client) -> Result<(), String> {
    let overview = client.ask().map_err(|fault| client.explain(&fault))?;
    let columns = screen::size().map_or(TOP_PIPE_COLUMNS, |(columns, _)| columns);
    let page = render(&overview, columns, usize::MAX);
    match io::stdout().write_all(page.as_bytes()) {
        // Who reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("cannot print: {error}")),
    }
}

fn watch(client: Client, config: &TopConfig) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watched = runtime.block_on(async {
        let mut looks = interval(config.interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ends = Ends::new()?;
        let screen = Screen::enter()?;
        let client = Arc::new(client);
        Top { looks, client, quit: quit_keys(), asked: None, view: View::Waiting, screen }
            .until(ends)
            .await
    });
    // A question without an answer yet is no reason to wait.
    runtime.shutdown_background();
    watched
}

/// The signals that end it, and the one that tells of a new size.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    resize: Signal,
}

impl Ends {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            resize: signal(SignalKind::window_change())?,
        })
    }
}

type Answer = Result<Overview, NoAnswer>;

struct Top {
    looks: Interval,
    client: Arc<Client>,
    quit: mpsc::Receiver<()>,
    /// A question on its way: one at a time.
    asked: Option<JoinHandle<Answer>>,
    view: View,
    screen: Screen,
}

/// What is to be seen.
enum View {
    /// No answer yet.
    Waiting,
    Page(Box<Overview>),
    /// The server is away, and why.
    Away(String),
}

impl Top {
    async fn until(mut self, mut ends: Ends) -> io::Result<()> {
        loop {
            self.draw()?;
            tokio::select! {
                _ = ends.interrupt.recv() => return Ok(()),
                _ = ends.terminate.recv() => return Ok(()),
                _ = ends.hang_up.recv() => return Ok(()),
                Some(()) = self.quit.recv() => return Ok(()),
                _ = ends.resize.recv() => {}
                answer = answer(&mut self.asked) => {
                    self.asked = None;
                    self.view = match answer {
                        Ok(overview) => View::Page(Box::new(overview)),
                        Err(fault) => View::Away(self.client.explain(&fault)),
                    };
                }
                _ = self.looks.tick(), if self.asked.is_none() => {
                    let client = Arc::clone(&self.client);
                    self.asked = Some(spawn_blocking(move || client.ask()));
                }
            }
        }
    }

    fn draw(&self) -> io::Result<()> {
        let (columns, lines) = self.screen.size();
        let page = match &self.view {
            View::Page(overview) => render(overview, columns, lines),
            View::Waiting => wrapped("waiting for the server …", columns),
            View::Away(why) => wrapped(&escaped(why), columns),
        };
        self.screen.show(&page)
    }
}

/// The answer to the question on its way; without one, never.
async fn answer(asked: &mut Option<JoinHandle<Answer>>) -> Answer {
    match asked {
        Some(asked) => asked.await.expect("a question does not panic"),
        None => std::future::pending().await,
    }
}
