//! Who makes the overview: once a second while somebody asks or watches, and never otherwise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::admin::{Operator, rooms};
use super::sample::Sample;
use crate::limits::{
    OVERVIEW_IDLE_SAMPLES_MAX, OVERVIEW_PERIOD, OVERVIEW_ROOMS_MAX, OVERVIEW_SAMPLES,
    OVERVIEW_WAITS_MAX,
};

/// The newest overview as JSON, while there is one.
pub(super) type Latest = watch::Receiver<Option<Bytes>>;

/// Where overviews come from. All clones share one task.
#[derive(Clone, Debug)]
pub(super) struct Overviews {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` while nobody wants it: an old one would pass for the present.
    latest: watch::Sender<Option<Bytes>>,
    /// Somebody wants overviews and finds none.
    wanted: Notify,
    /// Somebody asked since the last one was made.
    asked: AtomicBool,
}

impl Overviews {
    /// Starts the task that makes them. To be called inside the runtime.
    pub(super) fn start(operator: Operator) -> Self {
        let shared = Arc::new(Shared {
            latest: watch::Sender::new(None),
            wanted: Notify::new(),
            asked: AtomicBool::new(false),
        });
        tokio::spawn(sample(Arc::clone(&shared), operator, Instant::now()));
        Self { shared }
    }

    /// The overview of at most a second ago. It takes a second when nobody wanted one lately: rates
    /// need two looks at the counters.
    pub(super) async fn latest(&self) -> Bytes {
        self.shared.asked.store(true, Ordering::Relaxed);
        let mut overviews = self.watch();
        let overview = overviews.wait_for(Option::is_some).await;
        let overview = overview.expect("this is a sender, too");
        overview.clone().expect("that was waited for")
    }

    /// Every overview from now on, and the newest at once if there is one.
    pub(super) fn watch(&self) -> Latest {
        let mut overviews = self.shared.latest.subscribe();
        overviews.mark_changed();
        self.shared.wanted.notify_one();
        overviews
    }
}

impl Shared {
    fn is_watched(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed) || self.latest.receiver_count() > 0
    }
}

async fn sample(shared: Arc<Shared>, operator: Operator, started: Instant) {
    loop {
        while !shared.is_watched() {
            shared.wanted.notified().await;
        }
        sample_while_wanted(&shared, &operator, started).await;
        shared.latest.send_replace(None);
    }
}

async fn sample_while_wanted(shared: &Shared, operator: &Operator, started: Instant) {
    let mut ticks = interval(OVERVIEW_PERIOD);
    // Two samples too close to each other would make rates of chance.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut samples = VecDeque::with_capacity(OVERVIEW_SAMPLES);
    let mut top_rooms = Vec::new();
    let mut unwanted = 0;
    while unwanted <= OVERVIEW_IDLE_SAMPLES_MAX {
        ticks.tick().await;
        // Shards that are too busy to answer keep what they told last.
        let told = timeout(OVERVIEW_WAITS_MAX, rooms(operator, OVERVIEW_ROOMS_MAX)).await;
        if let Ok(Ok(told)) = told {
            top_rooms = told;
        }
        let sample = Sample::take(&operator.counters);
        if !samples.is_empty() {
            let overview = sample.overview(&samples, operator, &top_rooms, started);
            let json = serde_json::to_vec(&overview).expect("its keys are strings");
            shared.latest.send_replace(Some(json.into()));
        }
        if samples.len() == OVERVIEW_SAMPLES {
            samples.pop_front();
        }
        samples.push_back(sample);
        unwanted = if shared.is_watched() { 0 } else { unwanted + 1 };
    }
}
