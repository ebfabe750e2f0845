//! News on their way to the homes.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::sleep;

use crate::hub::RoomName;
use crate::hub::span::News;
use crate::limits::CLUSTER_POST_PAUSE;
use crate::mesh::{Envelope, Mesh};

/// What is to be told to each home, in order for each.
#[derive(Clone)]
pub(super) struct Post {
    mesh: Arc<Mesh>,
    waiting: Rc<RefCell<Vec<Vec<News>>>>,
}

impl Post {
    pub(super) fn new(mesh: Arc<Mesh>) -> Self {
        let waiting = (0..mesh.shards()).map(|_| Vec::new()).collect();
        Self { mesh, waiting: Rc::new(RefCell::new(waiting)) }
    }

    /// To the home of a room.
    pub(super) fn tell(&self, room: &RoomName, news: News) {
        let home = self.mesh.home_of(room);
        self.waiting.borrow_mut()[home].push(news);
    }

    /// To all homes.
    pub(super) fn tell_all(&self, mut news: impl FnMut() -> News) {
        for waiting in self.waiting.borrow_mut().iter_mut() {
            waiting.push(news());
        }
    }

    /// Hands on what finds room; says whether that is all.
    pub(super) fn hand_on(&self) -> bool {
        let mut is_all = true;
        for (home, waiting) in self.waiting.borrow_mut().iter_mut().enumerate() {
            if waiting.is_empty() {
                continue;
            }
            let news = Envelope::News(std::mem::take(waiting));
            if let Err(Envelope::News(news)) = self.mesh.send(home, news) {
                *waiting = news;
                is_all = false;
            }
        }
        is_all
    }

    /// Hands on everything, however long it takes: whoever waits for this reads no more from its
    /// server.
    pub(super) async fn hand_on_all(&self) {
        while !self.hand_on() {
            sleep(CLUSTER_POST_PAUSE).await;
        }
    }
}
