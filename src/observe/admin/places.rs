//! Places for the connections of the admin listener. Where all are taken, somebody new gets that of
//! the connection that has kept the server waiting longest.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::limits::{ADMIN_CONNECTIONS_MAX, ADMIN_PLACE_LOOK, ADMIN_PLACE_TIME_MIN};

/// The places that are taken: [`ADMIN_CONNECTIONS_MAX`] at most.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Arc<Place>>);

/// The place of one connection, as long as anybody else than [`Places`] has it.
#[derive(Debug)]
pub(super) struct Place {
    /// Since when the server waits for its peer: for the rest of a request, or to read the answer
    /// and ask again. `None` while it is the server that has to do something.
    waits_since: Mutex<Option<Instant>>,
    is_lost: Notify,
}

impl Places {
    /// A place, once there is one.
    pub(super) async fn take(&mut self) -> Arc<Place> {
        while !self.make_room() {
            sleep(ADMIN_PLACE_LOOK).await;
        }
        let place = Arc::new(Place::default());
        self.0.push(Arc::clone(&place));
        place
    }

    fn make_room(&mut self) -> bool {
        self.0.retain(|place| Arc::strong_count(place) > 1);
        if self.0.len() < ADMIN_CONNECTIONS_MAX {
            return true;
        }
        let waiting = self.0.iter().enumerate();
        let waiting = waiting.filter_map(|(at, place)| Some((place.waits_since()?, at)));
        match waiting.min() {
            Some((since, at)) if since.elapsed() >= ADMIN_PLACE_TIME_MIN => {
                self.0.swap_remove(at).is_lost.notify_one();
                true
            }
            _ => false,
        }
    }
}

impl Place {
    /// Waits until somebody else has the place.
    pub(super) async fn lost(&self) {
        self.is_lost.notified().await;
    }

    /// The answer is made: its peer may read it, and ask again.
    pub(super) fn wait(&self) {
        self.set(Some(Instant::now()));
    }

    fn waits_since(&self) -> Option<Instant> {
        *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.waits_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl Default for Place {
    fn default() -> Self {
        Self { waits_since: Mutex::new(Some(Instant::now())), is_lost: Notify::new() }
    }
}

/// The body of a request. Once it has come whole, the server waits for its peer no more.
#[derive(Debug)]
pub(super) struct Arriving {
    body: Incoming,
    place: Arc<Place>,
}

impl Arriving {
    pub(super) fn new(body: Incoming, place: Arc<Place>) -> Self {
        let arriving = Self { body, place };
        arriving.look();
        arriving
    }

    fn look(&self) {
        if self.body.is_end_stream() {
            self.place.set(None);
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.look();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn who_has_waited_longest_loses_a_place_and_who_is_served_does_not() {
        let mut places = Places::default();
        let mut taken = Vec::new();
        for _ in 0..ADMIN_CONNECTIONS_MAX {
            taken.push(places.take().await);
        }
        taken[0].set(None);
        let next = places.take().await;
        assert!(timeout(ADMIN_PLACE_TIME_MIN, taken[0].lost()).await.is_err());
        taken[1].lost().await;
        assert!(next.waits_since().is_some());
        taken.iter().chain([&next]).for_each(|place| place.set(None));
        assert!(!places.make_room(), "all are served");
        taken.pop();
        assert!(places.make_room(), "one has left");
        taken[2].wait();
        places.take().await;
        assert!(timeout(ADMIN_PLACE_TIME_MIN, taken[2].lost()).await.is_err(), "there was room");
    }
}
