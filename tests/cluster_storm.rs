//! Faults of all kinds, one upon the other, while members talk: nothing is lost or doubled.

#[path = "common/chat.rs"]
mod chat;
mod common;
#[path = "common/fault_proxy.rs"]
mod fault_proxy;
#[path = "common/nodes.rs"]
mod nodes;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/redis.rs"]
mod redis;

use fault_proxy::FaultProxy;
use nodes::{Log, Member, Node, judge, talk_while};
use redis::Redis;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

const ARGS: [&str; 4] = ["--redis-probe", "200ms", "--fast-rooms", "fast"];
const NODES: usize = 3;
const ROOMS: usize = 3;
const ROUNDS: usize = 30;

/// The xorshift64* generator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize % bound
    }
}

/// Has members talk through a storm, and calls `finish` when all is well again.
fn brave<T>(
    mut redis: Redis,
    room: &str,
    join: impl Fn(usize) -> fn(SocketAddr, &str, &str) -> Member,
    seed: u64,
    finish: impl FnOnce(Vec<Member>) -> T,
) -> T {
    let mut random = Random(seed);
    let proxies: Vec<FaultProxy> = (0..NODES).map(|_| FaultProxy::start(redis.address())).collect();
    let nodes: Vec<Node> = proxies
        .iter()
        .map(|proxy| Node::start(&[&format!("redis://{}", proxy.address())], &ARGS))
        .collect();
    let members: Vec<Member> = (0..NODES * ROOMS * 2)
        .map(|number| {
            let address = nodes[number % NODES].address();
            let room = format!("{room} {}", number / NODES % ROOMS);
            join(number)(address, &format!("m{number}"), &room)
        })
        .collect();
    members.iter().for_each(|member| member.wait_for_users(NODES as u64 * 2));
    talk_while(&members, Duration::from_millis(5), || {
        for _ in 0..ROUNDS {
            let proxy = &proxies[random.below(NODES)];
            match random.below(9) {
                0 => redis.restart(),
                1 => {
                    redis.stop();
                    thread::sleep(Duration::from_millis(random.below(1_000) as u64));
                    redis.cont();
                }
                2 => drop(redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"])),
                3 | 4 => proxy.black_hole(),
                5 => proxy.stall(),
                6 => proxy.delay(Duration::from_millis(random.below(150) as u64)),
                _ => proxy.cut(),
            }
            thread::sleep(Duration::from_millis(random.below(400) as u64));
            if random.below(3) == 0 {
                proxies.iter().for_each(FaultProxy::heal);
            }
        }
        proxies.iter().for_each(FaultProxy::heal);
        nodes.iter().for_each(|node| node.wait_until_in_step(1));
        members.iter().for_each(|member| member.wait_for_users(NODES as u64 * 2));
    });
    finish(members)
}

#[test]
fn nothing_is_lost_or_doubled_in_a_storm() {
    let seed = 1;
    // What is called nothing cannot be known again by its name.
    let join = |number| if number % 4 < 2 { Member::join } else { Member::join_nameless };
    let outcome = brave(Redis::start_persistent(&[]), "room", join, seed, judge);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}, seed {seed}");
    assert!(outcome.said > 500, "{outcome:?}");
}

/// What was before is lost each time that Redis comes back, and members are told.
#[test]
fn all_is_well_after_a_storm_with_an_empty_redis() {
    let outcome = brave(Redis::start(&[]), "room", |_| Member::join, 2, judge);
    assert_eq!(outcome.refused, 0, "{outcome:?}");
    assert!(outcome.gaps > 0 && outcome.said > 500, "{outcome:?}");
}

/// Whatever is lost, nothing is doubled and nothing is out of its publisher's order, as long as
/// Redis has its data. One that comes back empty does not know what was done: it may be said again.
#[test]
fn fast_rooms_go_on_in_a_storm() {
    for (redis, seed, has_data) in
        [(Redis::start_persistent(&[]), 3, true), (Redis::start(&[]), 4, false)]
    {
        let logs = brave(
            redis,
            "fast",
            |_| Member::join_nameless,
            seed,
            |members| {
                members.iter().for_each(Member::say_next);
                for member in &members {
                    let others = members.iter().filter(|other| other.room == member.room);
                    for last in others.filter_map(|other| other.names_said().pop()) {
                        member.wait_until_heard(&last);
                    }
                }
                members.into_iter().map(Member::close).collect::<Vec<Log>>()
            },
        );
        for log in logs {
            let mut numbers = HashMap::new();
            for line in &log.lines {
                let (speaker, number) = line.id.rsplit_once('-').expect("a name and a number");
                let number: usize = number.parse().expect("a number");
                let before = numbers.insert(speaker, number);
                let is_next = before < Some(number);
                assert!(is_next || !has_data, "{} after {before:?}, seed {seed}", line.id);
            }
        }
    }
}
