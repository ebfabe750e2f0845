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
use nodes::{Member, Node, judge, talk_while};
use redis::Redis;
use std::thread;
use std::time::Duration;

const ARGS: [&str; 2] = ["--redis-probe", "200ms"];
const NODES: usize = 3;
const ROOMS: usize = 3;
const ROUNDS: usize = 40;

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

#[test]
fn nothing_is_lost_or_doubled_in_a_storm() {
    let seed = 1;
    let mut random = Random(seed);
    let mut redis = Redis::start_persistent(&[]);
    let proxies: Vec<FaultProxy> = (0..NODES).map(|_| FaultProxy::start(redis.address())).collect();
    let nodes: Vec<Node> = proxies
        .iter()
        .map(|proxy| Node::start(&[&format!("redis://{}", proxy.address())], &ARGS))
        .collect();
    let members: Vec<Member> = (0..NODES * ROOMS * 2)
        .map(|number| {
            let address = nodes[number % NODES].address();
            let room = format!("room {}", number / NODES % ROOMS);
            let join = if number % 4 < 2 { Member::join } else { Member::join_nameless };
            join(address, &format!("m{number}"), &room)
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
    let outcome = judge(members);
    assert_eq!((outcome.gaps, outcome.refused), (0, 0), "{outcome:?}, seed {seed}");
    assert!(outcome.said > 500, "{outcome:?}");
}
