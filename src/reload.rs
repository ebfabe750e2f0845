//! SIGHUP: the configuration and its files, read again, and applied without losing a connection.

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::access_files::{Contents, load_access};
use crate::config::{Changes, Config, Source};
use crate::limits::{RELOAD_PAUSE, RELOAD_TIME_MAX};
use crate::mesh::{Envelope, Mesh};
use crate::observe::LogControl;
use crate::security::{Access, Networks};
use crate::settings::ShardSettings;
use crate::systemd::Notifier;
use crate::tls::Tls;

/// The configuration in force, and how it is replaced.
#[derive(Debug)]
pub struct Reload {
    source: Source,
    config: watch::Sender<Config>,
    access: Arc<Access>,
    contents: Contents,
    tls: Option<Tls>,
    hasher: RandomState,
    networks: Arc<Networks>,
    /// One that was given up; as long as it reads, no other begins.
    reader: Option<JoinHandle<()>>,
}

/// What was read, all of it good.
struct Loaded {
    config: Config,
    access: Access,
    contents: Contents,
    tls: Option<Tls>,
}

impl Reload {
    /// Puts `config` in force, which came from `source`.
    ///
    /// # Errors
    /// A key, password or certificate file cannot be used.
    pub fn new(config: &Config, source: Source) -> Result<Self, String> {
        let hasher = RandomState::new();
        let (access, contents) = load_access(&config.access, &hasher)?;
        let tls = Tls::load(&config.tls, &hasher)?;
        Ok(Self {
            source,
            config: watch::Sender::new(config.clone()),
            access: Arc::new(access),
            contents,
            tls,
            hasher,
            networks: Arc::new(Networks::new(config.access.per_address)),
            reader: None,
        })
    }

    /// What shards are told of the configuration in force.
    #[must_use]
    pub fn settings(&self) -> Arc<ShardSettings> {
        let tls = self.tls.as_ref().map(|tls| Arc::clone(tls.server()));
        Arc::new(ShardSettings::of(&self.config.borrow(), Arc::clone(&self.access), tls))
    }

    /// How much each network has, for as long as the process lives.
    #[must_use]
    pub const fn networks(&self) -> &Arc<Networks> {
        &self.networks
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> watch::Receiver<Config> {
        self.config.subscribe()
    }

    /// Reads the configuration again with each of `hangups`, one after the other: signals that come
    /// meanwhile are one. A configuration that is not good in every part changes nothing.
    pub async fn run(
        mut self,
        mut hangups: Signal,
        mesh: Arc<Mesh>,
        log: LogControl,
        manager: Notifier,
    ) {
        while hangups.recv().await.is_some() {
            manager.reloading();
            match self.read().await {
                Ok(loaded) => self.apply(loaded, &mesh, &log).await,
                Err(error) => tracing::error!("reload: nothing has changed: {error}"),
            }
            manager.ready(&format!("serving on {} shards", mesh.shards()));
        }
    }

    /// Reads on a thread of its own: a file may be large, or on a disk that does not answer.
    async fn read(&mut self) -> Result<Loaded, String> {
        if self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            return Err("the files of the reload before are still being read".to_owned());
        }
        let (source, hasher) = (self.source.clone(), self.hasher.clone());
        let (sender, loaded) = oneshot::channel();
        let reader = thread::Builder::new().name("reload".to_owned()).spawn(move || {
            // Who waited for it may have given up.
            let _ = sender.send(load(&source, &hasher));
        });
        self.reader = Some(reader.map_err(|error| format!("no thread can read it: {error}"))?);
        match timeout(RELOAD_TIME_MAX, loaded).await {
            Ok(loaded) => {
                self.reader = None;
                loaded.expect("the thread sends before it ends")
            }
            Err(_) => Err(format!("its files could not be read within {RELOAD_TIME_MAX:?}")),
        }
    }

    async fn apply(&mut self, loaded: Loaded, mesh: &Mesh, log: &LogControl) {
        let running = self.config.borrow().clone();
        let mut changes = running.changes(&loaded.config);
        warn_of(&changes.kept);
        let config = loaded.config.kept_from(&running);
        if changes.kept.contains(&"auth") {
            let access = self.access.with_origins(config.access.origins.clone());
            self.access = Arc::new(access.behind(config.access.proxies.clone()));
        } else {
            let (old, new) = (&self.contents, &loaded.contents);
            let files =
                [("auth-key", old.keys != new.keys), ("auth-users", old.users != new.users)];
            note(&mut changes, &files);
            self.access = Arc::new(loaded.access);
            self.contents = loaded.contents;
        }
        self.tls = match (self.tls.take(), loaded.tls) {
            (Some(old), Some(new)) => {
                note(&mut changes, &old.differences(&new));
                Some(new.after(&old))
            }
            // There are listeners for it, or there are none, until a restart.
            (old, _) => old,
        };
        if changes.applied.is_empty() {
            tracing::info!("reload: nothing has changed");
            return;
        }
        self.networks.set_limits(config.access.per_address);
        self.config.send_replace(config);
        tell_shards(mesh, self.settings()).await;
        let (names, filter) = (changes.applied.join(", "), self.config.borrow().log_level.clone());
        let say = || tracing::info!("reload: changed {names}");
        if filter == running.log_level {
            return say();
        }
        // Whichever of the two filters lets it pass.
        let was_said = tracing::enabled!(tracing::Level::INFO);
        if was_said {
            say();
        }
        if let Err(error) = log.set_filter(&filter) {
            tracing::error!("reload: the log stays as it is: {error}");
        } else if !was_said {
            say();
        }
    }
}

fn load(source: &Source, hasher: &RandomState) -> Result<Loaded, String> {
    let config = source.load()?;
    let (access, contents) = load_access(&config.access, hasher)?;
    let tls = Tls::load(&config.tls, hasher)?;
    Ok(Loaded { config, access, contents, tls })
}

fn warn_of(kept: &[&str]) {
    match kept {
        [] => {}
        [name] => tracing::warn!("reload: {name} needs a restart and stays as it is"),
        names => {
            tracing::warn!("reload: {} need a restart and stay as they are", names.join(", "));
        }
    }
}

/// Files may have changed under the same name.
fn note(changes: &mut Changes, files: &[(&'static str, bool)]) {
    for &(name, differs) in files {
        if differs && !changes.applied.contains(&name) {
            changes.applied.push(name);
        }
    }
}

/// Tells every shard, and returns when all go by `settings`. A shard whose inbox is full is told
/// when it has room.
async fn tell_shards(mesh: &Mesh, settings: Arc<ShardSettings>) {
    let mut left: Vec<usize> = (0..mesh.shards()).collect();
    loop {
        left.retain(|&shard| mesh.send(shard, Envelope::Settings(Arc::clone(&settings))).is_err());
        // A shard lets go of them when it has taken them over.
        if left.is_empty() && Arc::strong_count(&settings) == 1 {
            return;
        }
        sleep(RELOAD_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Batch;
    use crate::mesh::Lane;

    /// Takes everything out of an inbox and says how often it held settings.
    fn taken(mesh: &Mesh, shard: usize) -> usize {
        let mut envelopes = Vec::new();
        while mesh.take(shard, Lane::Members, 1000, &mut envelopes) {}
        let is_settings = |envelope: &&Envelope| matches!(envelope, Envelope::Settings(_));
        envelopes.iter().filter(is_settings).count()
    }

    #[test]
    fn a_shard_without_room_is_told_later_and_each_once() -> std::io::Result<()> {
        let mesh = Mesh::new(3)?;
        let batch = || Batch::new(bytes::Bytes::new(), 1);
        while mesh.send(1, Envelope::Deliver(batch())).is_ok() {}
        let settings = Arc::new(ShardSettings::of(&Config::default(), Arc::default(), None));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let mut told = std::pin::pin!(tell_shards(&mesh, settings));
            assert!(timeout(RELOAD_PAUSE, &mut told).await.is_err(), "nobody goes by them yet");
            assert_eq!([taken(&mesh, 0), taken(&mesh, 1)], [1, 0]);
            assert!(timeout(4 * RELOAD_PAUSE, &mut told).await.is_err(), "two have yet to");
            assert_eq!([0, 1, 2].map(|shard| taken(&mesh, shard)), [0, 1, 1]);
            told.await;
        });
        Ok(())
    }
}
