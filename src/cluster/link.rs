//! The link to one server: connected again and again, and probed while it is.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesOrdered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, PushInfo, PushKind, RedisResult, Value, cmd};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Duration, Instant, MissedTickBehavior, interval, sleep, timeout};

use super::figures::ClusterFigures;
use super::post::Post;
use super::replies;
use super::scripts::{Script, Speech};
use crate::hub::RoomName;
use crate::hub::span::{Act, News, NodeId, Order, Reply, Slots, key_name, slot_of};
use crate::limits::{
    CLUSTER_COMMANDS_MAX, CLUSTER_CONNECT_TIME, CLUSTER_FAREWELL_TIME, CLUSTER_LEASE_PROBES,
    CLUSTER_PATIENCE, CLUSTER_PROBE_DELAYS_MAX, CLUSTER_PUSHES_MAX, CLUSTER_READINGS_MIN,
    CLUSTER_RECONNECT_PAUSE,
};

/// What a link is told.
#[derive(Debug)]
pub(super) enum Input {
    /// What homes want of rooms in its slots.
    Orders(Vec<Order>),
    /// It has these slots from now on.
    Slots(Slots),
    /// It is not wanted any more.
    End,
}

/// A link, and what it needs.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) slots: Arc<Slots>,
    pub(super) speech: Speech,
    pub(super) probe: Duration,
    pub(super) post: Post,
    pub(super) figures: Arc<ClusterFigures>,
    /// Told when the slots of servers may have changed.
    pub(super) moved: Rc<tokio::sync::Notify>,
    pub(super) inputs: UnboundedReceiver<Input>,
}

/// Why a session has ended.
enum Ended {
    /// As it was told.
    Told,
    /// The connection is of no use any more.
    Broken(String),
}

/// What a command was for.
enum Asked {
    Nothing,
    Sync(RoomName, u64),
    Apply(RoomName, u64),
    Lease(u64, Instant),
}

impl Link {
    /// Connects and serves until it is told to end. Its rooms are down before the first time and
    /// between two.
    pub(super) async fn run(mut self) {
        let mut down_since = Instant::now();
        let (mut is_given_up, mut pause) = (false, CLUSTER_RECONNECT_PAUSE.0);
        loop {
            match timeout(CLUSTER_CONNECT_TIME, self.connect()).await {
                Ok(Ok(session)) => {
                    if self.is_told_to_end() {
                        return;
                    }
                    tracing::info!(server = %self.address, "Redis answers");
                    let since = Instant::now();
                    let (ended, was_up) = self.serve(session).await;
                    if since.elapsed() > CLUSTER_RECONNECT_PAUSE.1 {
                        pause = CLUSTER_RECONNECT_PAUSE.0;
                    }
                    // A server that connects and refuses is away all the same.
                    if was_up {
                        self.figures.count_down();
                        let slots = Arc::clone(&self.slots);
                        self.post.tell_all(|| News::Down(Arc::clone(&slots)));
                        self.post.hand_on_all().await;
                        (is_given_up, down_since) = (false, Instant::now());
                    }
                    match ended {
                        Ended::Told => return,
                        Ended::Broken(cause) => {
                            tracing::error!(server = %self.address, "lost Redis: {cause}");
                        }
                    }
                }
                Ok(Err(cause)) => {
                    tracing::warn!(server = %self.address, "no connection to Redis: {cause}");
                }
                Err(_) => {
                    tracing::warn!(server = %self.address, "no connection to Redis: no answer");
                }
            }
            self.moved.notify_one();
            if !is_given_up && down_since.elapsed() >= CLUSTER_PATIENCE {
                is_given_up = true;
                tracing::error!(
                    server = %self.address,
                    "Redis is away: joins and messages of sequenced rooms are refused"
                );
                let slots = Arc::clone(&self.slots);
                self.post.tell_all(|| News::GivenUp(Arc::clone(&slots)));
                self.post.hand_on_all().await;
            }
            sleep(shortened(pause)).await;
            pause = (pause * 2).min(CLUSTER_RECONNECT_PAUSE.1);
            if self.is_told_to_end() {
                return;
            }
        }
    }

    /// Takes what was told meanwhile. Orders of before are void: homes ask again.
    fn is_told_to_end(&mut self) -> bool {
        loop {
            match self.inputs.try_recv() {
                Ok(Input::Orders(_)) => {}
                Ok(Input::Slots(slots)) => self.slots = Arc::new(slots),
                Ok(Input::End) | Err(mpsc::error::TryRecvError::Disconnected) => return true,
                Err(mpsc::error::TryRecvError::Empty) => return false,
            }
        }
    }

    /// Connects, loads the scripts and listens to the node's own channel.
    async fn connect(&mut self) -> Result<Session, String> {
        let (sender, pushes) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let is_broken = Arc::new(AtomicBool::new(false));
        let (counted, broken) = (Arc::clone(&waiting), Arc::clone(&is_broken));
        let push = move |push: PushInfo| {
            if counted.fetch_add(1, Ordering::Relaxed) > CLUSTER_PUSHES_MAX {
                broken.store(true, Ordering::Relaxed);
                return Ok(());
            }
            sender.send(push)
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CLUSTER_CONNECT_TIME))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(CLUSTER_COMMANDS_MAX)
            .set_push_sender(push);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| error.to_string())?;
        for script in Script::ALL {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script.text());
            self.speech.hashes[script as usize] =
                load.query_async(&mut connection).await.map_err(|error| error.to_string())?;
        }
        let tag = tag_of(&self.slots, self.speech.is_sharded).ok_or("it has no slots")?;
        let probe_channel = self.speech.keys.probe(&tag, self.speech.node);
        let subscribed =
            connection.send_packed_command(&self.speech.subscribe(&probe_channel)).await;
        checked(subscribed)?;
        Ok(Session {
            connection,
            pushes,
            waiting,
            is_broken,
            asked: FuturesOrdered::new(),
            rooms: HashMap::new(),
            leaving: HashMap::new(),
            tag,
            probe_channel,
            probe: Probe::default(),
            readings: [Vec::new(), Vec::new()],
            readings_count: 0,
        })
    }

    /// Serves a connection until it breaks; says whether its rooms were up.
    async fn serve(&mut self, mut session: Session) -> (Ended, bool) {
        let lease = self.probe * CLUSTER_LEASE_PROBES;
        let lease = lease.as_millis() as u64 + self.probe.as_millis() as u64;
        let mut ticks = interval(self.probe);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_up = false;
        loop {
            let has_room = session.asked.len() < CLUSTER_COMMANDS_MAX;
            let done = tokio::select! {
                Some(push) = session.pushes.recv() => self.on_push(&mut session, push),
                Some((asked, reply)) = session.asked.next() => {
                    self.drain_pushes(&mut session)
                        .and_then(|()| self.on_reply(&mut session, asked, reply))
                }
                input = self.inputs.recv(), if has_room => match input {
                    Some(Input::Orders(orders)) => {
                        orders.iter().for_each(|order| self.ask(&mut session, order));
                        Ok(())
                    }
                    Some(Input::Slots(slots)) => self.on_slots(&session, slots),
                    Some(Input::End) | None => {
                        self.take_leave(session).await;
                        return (Ended::Told, is_up);
                    }
                },
                _ = ticks.tick() => self.probe(&mut session, lease),
            };
            let done = done.and_then(|()| self.drain_pushes(&mut session));
            if let Err(cause) = done {
                return (Ended::Broken(cause), is_up);
            }
            if !is_up && session.readings_count > 0 {
                // The lease stands: nobody takes this node for one that has ended.
                is_up = true;
                self.figures.count_up();
                let slots = Arc::clone(&self.slots);
                self.post.tell_all(|| News::Up(Arc::clone(&slots)));
            }
            if !self.post.hand_on() {
                self.post.hand_on_all().await;
            }
        }
    }

    /// What was pushed stands before what is answered.
    fn drain_pushes(&self, session: &mut Session) -> Result<(), String> {
        while let Ok(push) = session.pushes.try_recv() {
            self.on_push(session, push)?;
        }
        if session.is_broken.load(Ordering::Relaxed) {
            return Err("messages come faster than they can be passed on".to_owned());
        }
        Ok(())
    }

    fn on_push(&self, session: &mut Session, push: PushInfo) -> Result<(), String> {
        session.waiting.fetch_sub(1, Ordering::Relaxed);
        let PushInfo { kind, data } = push;
        let mut data = data.into_iter().filter_map(replies::text);
        match kind {
            PushKind::Message | PushKind::SMessage => {
                let (Some(channel), Some(payload)) = (data.next(), data.next()) else {
                    return Err("it says something that is no message".to_owned());
                };
                let channel = std::str::from_utf8(&channel).unwrap_or_default();
                if let Some(room) = session.rooms.get(channel) {
                    self.figures.count_envelope();
                    self.post.tell(room, News::Heard(room.clone(), payload));
                } else if channel == session.probe_channel {
                    let number =
                        std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok());
                    session.probe.heard = number.unwrap_or(session.probe.heard);
                }
                Ok(())
            }
            PushKind::SUnsubscribe | PushKind::Unsubscribe => {
                let channel = data.next().unwrap_or_default();
                let channel = std::str::from_utf8(&channel).unwrap_or_default();
                match session.leaving.get_mut(channel) {
                    Some(1) => session.leaving.remove(channel).map_or(Ok(()), |_| Ok(())),
                    Some(count) => {
                        *count -= 1;
                        Ok(())
                    }
                    None => Err("a subscription was ended by the server".to_owned()),
                }
            }
            PushKind::Disconnection => Err("the connection has ended".to_owned()),
            _ => Ok(()),
        }
    }

    fn on_reply(
        &self,
        session: &mut Session,
        asked: Asked,
        reply: RedisResult<Value>,
    ) -> Result<(), String> {
        let value = checked(reply)?;
        session.probe.others_answered = true;
        let strange = || "it answers something that was not asked".to_owned();
        match asked {
            Asked::Nothing => {}
            Asked::Sync(room, serial) => {
                let reply = replies::synced(value).ok_or_else(strange)?;
                self.replied(room, serial, reply);
            }
            Asked::Apply(room, serial) => {
                let reply = replies::applied(value).ok_or_else(strange)?;
                self.replied(room, serial, reply);
            }
            Asked::Lease(number, since) => {
                let living = replies::living(value).ok_or_else(strange)?;
                session.probe.answered = number;
                let microseconds = since.elapsed().as_micros() as u64;
                self.figures.set_probe(microseconds, living.len());
                self.on_living(session, living);
            }
        }
        Ok(())
    }

    fn replied(&self, room: RoomName, serial: u64, reply: Reply) {
        self.post.tell(&room.clone(), News::Replied(room, serial, reply));
    }

    /// A node counts as alive when it was in one of two readings.
    fn on_living(&self, session: &mut Session, living: Vec<NodeId>) {
        session.readings.swap(0, 1);
        session.readings[1] = living;
        session.readings_count = session.readings_count.saturating_add(1);
        if session.readings_count >= CLUSTER_READINGS_MIN {
            let mut all: Vec<NodeId> = session.readings.concat();
            all.sort_unstable();
            all.dedup();
            let (slots, all): (_, Arc<[NodeId]>) = (Arc::clone(&self.slots), all.into());
            self.post.tell_all(|| News::Living(Arc::clone(&slots), Arc::clone(&all)));
        }
    }

    /// Asks itself something through the server, unless it still waits for the last answer.
    fn probe(&self, session: &mut Session, lease: u64) -> Result<(), String> {
        let probe = &mut session.probe;
        let has_answered = std::mem::take(&mut probe.others_answered);
        if probe.answered < probe.asked {
            // Answers come in order: a server that gives others has much to do, as after an outage.
            probe.delays += 1;
            if has_answered && probe.delays < CLUSTER_PROBE_DELAYS_MAX {
                return Ok(());
            }
            return Err(format!("a probe had no answer within {:?}", self.probe));
        }
        probe.delays = 0;
        let Probe { asked, heard, .. } = *probe;
        if heard < asked {
            return Err(format!("a probe was not heard within {:?}", self.probe));
        }
        session.probe.asked += 1;
        let number = session.probe.asked;
        let command = self.speech.lease(&session.tag, lease, number);
        session.send(command, Asked::Lease(number, Instant::now()));
        Ok(())
    }

    fn ask(&self, session: &mut Session, order: &Order) {
        let channel = self.speech.keys.room(&key_name(&order.room)).channel;
        let asked = match order.act {
            Act::Sync(_) => {
                session.rooms.insert(channel, order.room.clone());
                Asked::Sync(order.room.clone(), order.serial)
            }
            Act::Apply(_) => Asked::Apply(order.room.clone(), order.serial),
            Act::Close => {
                session.rooms.remove(&channel);
                *session.leaving.entry(channel).or_default() += 1;
                Asked::Nothing
            }
            Act::Drop { .. } => Asked::Nothing,
        };
        let mut commands = self.speech.commands(order);
        let last = commands.pop().expect("every order has a command");
        for command in commands {
            session.send(command, Asked::Nothing);
        }
        self.figures.count_command();
        session.send(last, asked);
    }

    /// Other slots: those that went are down, those that came are up.
    fn on_slots(&mut self, session: &Session, slots: Slots) -> Result<(), String> {
        if !slots.contains(slot_of(&session.tag)) {
            return Err("its slots have moved to other servers".to_owned());
        }
        let (mut went, mut came) = ((*self.slots).clone(), slots.clone());
        went.remove(&slots);
        came.remove(&self.slots);
        self.slots = Arc::new(slots);
        let (went, came) = (Arc::new(went), Arc::new(came));
        self.post.tell_all(|| News::Down(Arc::clone(&went)));
        self.post.tell_all(|| News::Up(Arc::clone(&came)));
        Ok(())
    }

    /// The other nodes need not wait for the end of the lease. What was asked before is done first.
    async fn take_leave(&self, mut session: Session) {
        session.send(self.speech.end_lease(&session.tag), Asked::Nothing);
        let all = async { while session.asked.next().await.is_some() {} };
        let _ = timeout(CLUSTER_FAREWELL_TIME, all).await;
    }
}

/// One connection.
struct Session {
    connection: MultiplexedConnection,
    pushes: UnboundedReceiver<PushInfo>,
    waiting: Arc<AtomicUsize>,
    is_broken: Arc<AtomicBool>,
    asked: FuturesOrdered<LocalBoxFuture<'static, (Asked, RedisResult<Value>)>>,
    /// The rooms that are heard, by channel.
    rooms: HashMap<String, RoomName>,
    /// Channels whose end was asked for, and how often.
    leaving: HashMap<String, u32>,
    tag: String,
    probe_channel: String,
    probe: Probe,
    /// The last two readings of the living nodes.
    readings: [Vec<NodeId>; 2],
    readings_count: u32,
}

/// The last probe that was asked, and that came back both ways.
#[derive(Clone, Copy, Default)]
struct Probe {
    asked: u64,
    answered: u64,
    heard: u64,
    /// Other questions had their answers since the last tick, and for how many ticks the probe has
    /// waited behind them.
    others_answered: bool,
    delays: u32,
}

impl Session {
    fn send(&mut self, command: Cmd, asked: Asked) {
        let mut connection = self.connection.clone();
        self.asked.push_back(Box::pin(async move {
            (asked, connection.send_packed_command(&command).await)
        }));
    }
}

/// The answer, unless it is an error: whatever the server refuses, nothing can be done with it.
fn checked(reply: RedisResult<Value>) -> Result<Value, String> {
    match reply {
        Ok(Value::ServerError(error)) => {
            Err(format!("{} {}", error.code(), error.details().unwrap_or_default()))
        }
        Ok(value) => Ok(value),
        Err(error) => Err(error.to_string()),
    }
}

/// A hash tag whose keys are on a server with these slots.
fn tag_of(slots: &Slots, is_sharded: bool) -> Option<String> {
    if slots.is_empty() {
        return None;
    }
    let mut tags = (0..u32::MAX).map(|number| number.to_string());
    if is_sharded { tags.find(|tag| slots.contains(slot_of(tag))) } else { tags.next() }
}

/// A pause of a length at random, from half of `most` on.
fn shortened(most: Duration) -> Duration {
    let random = RandomState::new().hash_one(0) % 1024;
    most / 2 + most / 2 * random as u32 / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_on_its_server() {
        let slots = Slots::range(100, 120);
        let tag = tag_of(&slots, true).expect("there is one");
        assert!(slots.contains(slot_of(&tag)));
        assert_eq!(tag_of(&slots, false).as_deref(), Some("0"));
        assert_eq!(tag_of(&Slots::none(), true), None);
    }

    #[test]
    fn pauses_differ_within_their_bounds() {
        let most = Duration::from_millis(100);
        let pauses: Vec<Duration> = (0..50).map(|_| shortened(most)).collect();
        assert!(pauses.iter().all(|pause| (most / 2..=most).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
