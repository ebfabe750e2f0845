//! Nodes that Redis joins, and members of their rooms that keep all they hear.

// Each test program uses only a part of this module.
#![allow(dead_code)]

use super::chat::{self, ChatClient, Joined, Position};
use super::common::Server;
use super::observed::{Metrics, wait_until};
use super::raw::{CLOSE, Frame, RawClient, TEXT, close_frame};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a cluster may take for what it is known to do; bounds a failure and measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// What is said to who was refused comes again after this pause.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// A server among others.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) admin: SocketAddr,
}

impl Node {
    /// Starts one that shares its rooms over these servers, whether they can be reached or not.
    pub(crate) fn launch(servers: &[&str], args: &[&str]) -> Self {
        let mut words = vec!["--admin", "127.0.0.1:0"];
        servers.iter().for_each(|server| words.extend(["--redis", server]));
        if !args.contains(&"--shards") {
            words.extend(["--shards", "2"]);
        }
        words.extend(args);
        let server = chat::start(&words);
        let admin = server.admin_address();
        Self { server, admin }
    }

    /// The same, and waits until it speaks with all of them.
    pub(crate) fn start(servers: &[&str], args: &[&str]) -> Self {
        let node = Self::launch(servers, args);
        node.wait_until_linked(servers.len() as u64);
        node
    }

    /// Several that share one Redis, once they know each other.
    pub(crate) fn start_many(count: u64, server: &str, args: &[&str]) -> Vec<Self> {
        let nodes: Vec<Self> = (0..count).map(|_| Self::launch(&[server], args)).collect();
        for node in &nodes {
            node.wait_until_linked(1);
            node.wait_for("cluster_nodes", count);
        }
        nodes
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn value(&self, name: &str) -> u64 {
        Metrics::scrape(self.admin).value(name)
    }

    /// Waits until a metric has this value.
    pub(crate) fn wait_for(&self, name: &str, expected: u64) {
        self.wait_within(PATIENCE, name, expected);
    }

    pub(crate) fn wait_within(&self, limit: Duration, name: &str, expected: u64) {
        wait_until(limit, || {
            let value = self.value(name);
            let state = format!("ringwire_{name} is {value}, expected {expected}");
            (value == expected).then_some(()).ok_or(state)
        });
    }

    pub(crate) fn wait_until_linked(&self, links: u64) {
        self.wait_for("cluster_links_up", links);
    }

    /// Waits until all rooms are in step with those of other nodes.
    pub(crate) fn wait_until_in_step(&self, links: u64) {
        self.wait_until_linked(links);
        self.wait_for("cluster_rooms_syncing", 0);
    }

    pub(crate) fn kill(&mut self) {
        self.server.signal(rustix::process::Signal::KILL);
        self.server.wait_for_exit(PATIENCE);
    }
}

/// A message with a name of its own.
pub(crate) fn named(room: &str, text: &str, id: &str) -> Value {
    json!({"type": "chat_message", "roomId": room, "text": text, "id": id})
}

/// A message as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Line {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    pub(crate) id: String,
    pub(crate) payload: Vec<u8>,
    /// How often its hearer was told before that something may be missing.
    pub(crate) gaps: usize,
}

/// What a member has heard since it joined.
#[derive(Clone, Default, Debug)]
pub(crate) struct Log {
    pub(crate) lines: Vec<Line>,
    ids: HashSet<String>,
    /// Answers to be expected to what was said again: to nobody else, and out of the order of the
    /// room.
    again: HashMap<String, usize>,
    /// Where it goes on each time that it was told that something may be missing.
    pub(crate) gaps: Vec<Position>,
    /// What was refused.
    pub(crate) refused: usize,
    pub(crate) users: u64,
    /// How often it was told that the number of members is another.
    pub(crate) changes: usize,
    position: Option<Position>,
    farewell: Option<Frame>,
}

/// A member of one room, with a thread that hears.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) room: String,
    pub(crate) joined: Joined,
    /// Its messages are called something, so that they can be said again.
    has_ids: bool,
    writer: Mutex<TcpStream>,
    ear: Arc<Ear>,
    thread: Option<JoinHandle<()>>,
    /// What its messages were called.
    said: Mutex<Vec<String>>,
}

#[derive(Default)]
struct Ear {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Member {
    /// Comes and joins a room.
    pub(crate) fn join(address: SocketAddr, name: &str, room: &str) -> Self {
        let (client, joined) = ChatClient::open_in(address, room);
        let writer = client.raw.stream().try_clone().expect("there are descriptors");
        let ear = Arc::new(Ear::default());
        let log = Log {
            users: joined.user_count,
            position: Some(joined.position.clone()),
            ..Log::default()
        };
        *ear.lock() = log;
        let thread = thread::spawn({
            let (ear, room) = (Arc::clone(&ear), room.to_owned());
            move || ear.listen(client.raw, &room)
        });
        Self {
            name: name.to_owned(),
            room: room.to_owned(),
            joined,
            has_ids: true,
            writer: Mutex::new(writer),
            ear,
            thread: Some(thread),
            said: Mutex::default(),
        }
    }

    /// The same, with messages that are called nothing: only its text says which one it is. It must
    /// not be refused.
    pub(crate) fn join_nameless(address: SocketAddr, name: &str, room: &str) -> Self {
        Self { has_ids: false, ..Self::join(address, name, room) }
    }

    pub(crate) fn say(&self, text: &str, id: &str) {
        let words = if self.has_ids {
            named(&self.room, text, id)
        } else {
            chat::message(&self.room, text)
        };
        self.send(&chat::frames(&[words]));
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(bytes).expect("the server takes what is sent");
    }

    /// Says the next of its messages, again where it was refused or may be lost, and returns when
    /// it has come back.
    pub(crate) fn say_next(&self) {
        let id = self.next_id();
        self.say_until_heard(&id, &id);
    }

    /// Says so many messages at once, and waits for nothing.
    pub(crate) fn say_many(&self, count: usize) {
        let ids = std::iter::repeat_with(|| self.next_id()).take(count);
        let words: Vec<Value> = ids.map(|id| named(&self.room, &id, &id)).collect();
        self.send(&chat::frames(&words));
    }

    fn next_id(&self) -> String {
        let mut said = self.said();
        let id = format!("{}-{}", self.name, said.len() + 1);
        said.push(id.clone());
        id
    }

    /// What its messages were called.
    pub(crate) fn names_said(&self) -> Vec<String> {
        self.said().clone()
    }

    fn said(&self) -> MutexGuard<'_, Vec<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say_until_heard(&self, text: &str, id: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.log();
            let (refused, gaps) = (before.refused, before.gaps.len());
            drop(before);
            self.say(text, id);
            let log = self.wait(deadline, |log| {
                log.ids.contains(id) || log.refused > refused || log.gaps.len() > gaps
            });
            if log.ids.contains(id) {
                return;
            }
            drop(log);
            thread::sleep(REFUSED_PAUSE);
            *self.log().again.entry(id.to_owned()).or_default() += 1;
        }
    }

    /// What was heard until now.
    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.ear.lock()
    }

    pub(crate) fn wait_until_heard(&self, id: &str) {
        drop(self.wait(Instant::now() + PATIENCE, |log| log.ids.contains(id)));
    }

    pub(crate) fn wait_for_users(&self, users: u64) {
        drop(self.wait(Instant::now() + PATIENCE, |log| log.users == users));
    }

    pub(crate) fn wait_for_lines(&self, count: usize) {
        drop(self.wait(Instant::now() + PATIENCE, |log| log.lines.len() >= count));
    }

    #[track_caller]
    pub(crate) fn wait(
        &self,
        deadline: Instant,
        is_done: impl Fn(&Log) -> bool,
    ) -> MutexGuard<'_, Log> {
        let mut log = self.log();
        loop {
            if is_done(&log) {
                return log;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let about = format!("{} in {}", self.name, self.room);
            assert!(log.farewell.is_none(), "{about} was closed: {:?}", log.farewell);
            assert!(
                !left.is_zero(),
                "{about} waits in vain: {} messages, the last {:?}, {} gaps, {} refusals, {} users",
                log.lines.len(),
                log.lines.last().map(|line| (&line.epoch, line.offset, &line.id)),
                log.gaps.len(),
                log.refused,
                log.users,
            );
            let woken = self.ear.changed.wait_timeout(log, left);
            log = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Closes and gives all that was heard until the server did the same.
    pub(crate) fn close(mut self) -> Log {
        self.send(&close_frame(1000, ""));
        let thread = self.thread.take().expect("it closes once");
        thread.join().expect("the server said nothing strange");
        std::mem::take(&mut self.ear.lock())
    }
}

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listen(&self, mut raw: RawClient, room: &str) {
        // An outage is long, and nothing is said meanwhile.
        raw.stream().set_read_timeout(Some(2 * PATIENCE)).expect("a read deadline can be set");
        while let Ok(frame) = raw.read_frame() {
            let mut log = self.lock();
            match frame.first {
                TEXT => log.hear(frame.payload, room),
                CLOSE => log.farewell = Some(frame),
                _ => {}
            }
            drop(log);
            self.changed.notify_all();
        }
    }
}

impl Log {
    fn hear(&mut self, payload: Vec<u8>, room: &str) {
        let said: Value = serde_json::from_slice(&payload).expect("it is JSON");
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| said[name].as_u64().expect("it is a number");
        assert_eq!(said["roomId"], room, "{said}");
        match said["type"].as_str() {
            Some("chat_message") => {
                let position = self.position.as_mut().expect("it has joined");
                let id = if said["id"].is_null() { text("text") } else { text("id") };
                let offset = number("offset");
                let again = self.again.get_mut(&id).filter(|again| **again > 0);
                if let Some(again) = again.filter(|_| offset <= position.offset) {
                    *again -= 1;
                    self.ids.insert(id);
                    return;
                }
                position.offset = offset;
                let (epoch, gaps) = (position.epoch.clone(), self.gaps.len());
                let line = Line { epoch, offset, id, payload, gaps };
                self.ids.insert(line.id.clone());
                self.lines.push(line);
            }
            Some("room_joined") => {
                assert_eq!(said["recovered"], false, "{said}");
                let position = Position { epoch: text("epoch"), offset: number("offset") };
                self.position = Some(position.clone());
                self.gaps.push(position);
                self.users = number("userCount");
            }
            Some("user_joined" | "user_left") => {
                self.users = number("userCount");
                self.changes += 1;
            }
            Some("error") => {
                assert_eq!(said["message"], "Room unavailable", "{said}");
                self.refused += 1;
            }
            _ => panic!("{said} is not to be heard"),
        }
    }
}

/// Has each of the members say one message after the other, while `work` goes on.
pub(crate) fn talk_while<T>(members: &[Member], pause: Duration, work: impl FnOnce() -> T) -> T {
    struct StopOnDrop<'a>(&'a AtomicBool);
    impl Drop for StopOnDrop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = StopOnDrop(&is_over);
        for member in members {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    member.say_next();
                    thread::sleep(pause);
                }
            });
        }
        let done = work();
        drop(over);
        done
    })
}

/// What came of a conversation.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) said: usize,
    pub(crate) gaps: usize,
    pub(crate) refused: usize,
}

/// Ends a conversation in sequenced rooms, of members that were there from its beginning, and holds
/// it against the promise: one order for all of a room, each message once, and nothing is missing
/// unless its hearer was told so.
pub(crate) fn judge(members: Vec<Member>) -> Outcome {
    let mut said: HashMap<String, Vec<String>> = HashMap::new();
    for member in &members {
        said.entry(member.room.clone()).or_default().extend(member.names_said());
    }
    let until = Instant::now() + PATIENCE;
    for member in &members {
        let all = said[&member.room].len();
        drop(member.wait(until, |log| log.lines.len() >= all || !log.gaps.is_empty()));
    }
    // Behind the last message of a room nothing more comes.
    for (room, ids) in &mut said {
        let last = members.iter().rfind(|member| member.room == *room).expect("it has members");
        let id = format!("{room}-1");
        last.say_until_heard(&id, &id);
        ids.push(id.clone());
        members.iter().filter(|member| member.room == *room).for_each(|member| {
            member.wait_until_heard(&id);
        });
    }
    let mut outcome = Outcome { said: 0, gaps: 0, refused: 0 };
    outcome.said = said.values().map(|ids| ids.len()).sum();
    let mut places: HashMap<(String, String, u64), Line> = HashMap::new();
    for member in members {
        let (name, room, joined) =
            (member.name.clone(), member.room.clone(), member.joined.position.clone());
        let log = member.close();
        outcome.gaps += log.gaps.len();
        outcome.refused += log.refused;
        let mut position = joined;
        let (mut heard, mut numbers) = (HashSet::new(), HashMap::new());
        for (at, line) in log.lines.iter().enumerate() {
            if at.checked_sub(1).map_or(0, |before| log.lines[before].gaps) < line.gaps {
                position = log.gaps[line.gaps - 1].clone();
            }
            let next = Position { offset: position.offset + 1, ..position };
            let place = Position { epoch: line.epoch.clone(), offset: line.offset };
            assert_eq!(place, next, "{name} in {room}: its {at}. message, {}", line.id);
            position = place;
            assert!(heard.insert((line.gaps, &line.id)), "{name} heard {} twice", line.id);
            let (speaker, number) = line.id.rsplit_once('-').expect("a name and a number");
            let number: usize = number.parse().expect("it is a number");
            let before = numbers.insert((line.gaps, speaker), number);
            assert!(before < Some(number), "{name} heard {} after {before:?}", line.id);
            let key = (room.clone(), line.epoch.clone(), line.offset);
            let other = places.entry(key).or_insert_with(|| line.clone());
            assert_eq!(other.payload, line.payload, "{name} heard something else");
        }
        if log.gaps.is_empty() {
            let missing: Vec<&String> =
                said[&room].iter().filter(|id| !log.ids.contains(*id)).collect();
            assert!(missing.is_empty(), "{name} in {room} did not hear {missing:?}");
            assert_eq!(log.lines.len(), said[&room].len(), "{name} in {room}");
        }
    }
    outcome
}
