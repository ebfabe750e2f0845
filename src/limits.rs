//! Every bound of the program, each with the reason for its value.

mod cluster;
mod deflate;
mod operation;

use std::time::Duration;

pub use cluster::*;
pub use deflate::*;
pub use operation::*;

/// Bytes of a request head, request line included. A browser with cookies stays under 4 KiB;
/// the common servers stop at 4 to 8 KiB. More is answered with 431.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request. Past it the answer is 431: a head is never cut short in silence.
pub const HEADER_FIELDS_MAX: usize = 64;

/// Bytes of a PROXY header of version 1: what its longest line takes, as its specification has it.
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// Bytes of a PROXY header of version 2. Addresses take 52; balancers add what they know of TLS and
/// of the cloud they are in, and nginx takes no more either.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// Addresses and networks of trusted proxies: more than the large delivery networks have. Each
/// accept compares with all of them, which is still little beside the accept itself.
pub const TRUSTED_PROXIES_MAX: usize = 256;

/// Bytes of a message, all fragments together, unless `--max-message` says otherwise.
pub const MESSAGE_BYTES_DEFAULT: usize = 1024 * 1024;

/// Frames of one fragmented message, empty ones included: bytes alone do not bound the work that a
/// stream of empty fragments causes.
pub const FRAGMENTS_MAX: u16 = 1024;

/// Payload of a control frame (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Milliseconds of a tick, the unit of every deadline of a connection.
pub const TICK_MILLISECONDS: u64 = 100;

/// Ticks of a second.
pub const TICKS_PER_SECOND: u32 = (1000 / TICK_MILLISECONDS) as u32;

/// Ticks until a connection that was asked to go is reset: 5 s, within the 10 s that are promised
/// for the whole way.
pub const CLOSE_TICKS_MAX: u32 = 5 * TICKS_PER_SECOND;

/// Ticks a message may take from its first byte to its last: 30 s.
pub const MESSAGE_TICKS_MAX: u32 = 30 * TICKS_PER_SECOND;

/// Ticks without a byte taken after which a peer that owes reading is dropped: 10 s.
pub const STALL_TICKS_MAX: u32 = 10 * TICKS_PER_SECOND;

/// What may be queued for a peer that does not keep up, beyond the socket's own buffer: at 10 MB/s
/// a tenth of a second of pause. With more than this queued, the next publication ends it.
pub const BACKLOG_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of replies that wait for the peers of a shard to read. Past it who would add to them is
/// aborted: thousands of peers that send and do not read must not use up the memory.
pub const REPLIES_KEPT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a queued segment is charged beyond its bytes, so that many small ones are bounded too.
pub const BACKLOG_SEGMENT_COST: usize = 64;

/// Bytes that one read takes: large messages in few calls, and one buffer that stays in the
/// second-level cache. A connection that fills it goes to the back of the line.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes kept by the reply buffer of a shard between reads; a larger reply gives its memory back.
pub const REPLY_BYTES_KEPT: usize = 256 * 1024;

/// Bytes of all unfinished messages of a shard. Past it the newcomer is refused with 1013.
pub const ASSEMBLY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Reads of one turn, 64 KiB each at most: at 3 µs for a small one, about a millisecond.
pub const READS_PER_TURN: usize = 256;

/// Completions taken in one turn.
pub const COMPLETIONS_PER_TURN: usize = 4096;

/// Envelopes of other threads taken in one turn.
pub const ENVELOPES_PER_TURN: usize = 64;

/// Timers judged in one turn: at 3 µs for a ping, about 3 ms.
pub const TIMERS_PER_TURN: usize = 1024;

/// Slots of the timer wheel: 409 s of ticks; later deadlines are looked at once on the way.
pub const WHEEL_SLOTS: usize = 4096;

/// Sends of a fan-out in one go: at 4 µs each, a quarter of a millisecond until it is seen that
/// others want the turn.
pub const FANOUT_SENDS_PER_PART: usize = 64;

/// Such goes in one turn, as long as nobody else wants it.
pub const FANOUT_PARTS_PER_TURN: usize = 8;

/// Sends of one room before the next has its turn.
pub const FANOUT_QUANTUM: usize = 32;

/// What one send of a fan-out costs, measured on loopback; decides how long messages gather.
pub const FANOUT_SEND_NANOSECONDS: u64 = 2_500;

/// Longest time that messages gather before they are fanned out.
pub const FANOUT_GATHER_NANOSECONDS_MAX: u64 = 1_000_000;

/// The part of that time after which, if nothing more came, there is nothing to wait for.
pub const FANOUT_PATIENCE_SHARE: u64 = 16;

/// Quiet, in costs of a round, after which a message does not wait for others at all: members that
/// answer each other do so within less.
pub const FANOUT_QUIET_ROUNDS: u64 = 10;

/// Fan-outs that cost less than this never wait.
pub const FANOUT_FREE_NANOSECONDS: u64 = 50_000;

/// Bytes of publications that end a round: what a slow member can keep alive beyond its backlog.
pub const ROUND_BYTES_MAX: usize = 256 * 1024;

/// Bytes of publications of a turn that are passed on before its end, so that they come in pieces
/// of about a round.
pub const PUBLICATION_BYTES_MAX: usize = 64 * 1024;

/// Bytes of publications that wait for the members of a shard. Past it the shard reads nothing and
/// takes nothing from its inbox until a round has made room: publishers are slowed down.
pub const GATHERED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rooms that a connection may be in at once. Each is a place in an audience, and a leave to be
/// told when the connection ends.
pub const ROOMS_OF_CONNECTION_MAX: usize = 64;

/// Rooms that have members on a shard. An idle one costs about 500 bytes there and 400 at its home.
pub const ROOMS_OF_SHARD_MAX: usize = 256 * 1024;

/// Bytes that a room remembers, whatever the number of messages: what a member that comes back may
/// have to take in one piece. A backlog takes as much twice.
pub const HISTORY_BYTES_MAX: usize = 512 * 1024;

/// Bytes that all rooms of a home remember together. Past it those with more than their share of it
/// forget.
pub const HISTORIES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Rooms looked at, or messages forgotten, for each message past that: more than a message needs,
/// so that the excess stays small, and few enough not to be felt.
pub const HISTORY_EXCESS_STEPS: usize = 64;

/// What a join that asks for what it missed weighs beside publications, in bytes: 16 of them make a
/// [`PUBLICATION_BYTES_MAX`], and may copy as many histories.
pub const REPLAY_COST: usize = PUBLICATION_BYTES_MAX / 16;

/// Bytes of answers past which a home serves no more requests in a turn: 32 full histories.
pub const ANSWER_BYTES_PER_TURN: usize = 32 * HISTORY_BYTES_MAX;

/// Slots of the wheel of histories: as for connections.
pub const HISTORY_WHEEL_SLOTS: usize = WHEEL_SLOTS;

/// Rooms that forget old messages in one turn: at up to 1,000 messages each, about a millisecond.
pub const HISTORY_EXPIRIES_PER_TURN: usize = 64;

/// Envelopes waiting for one shard.
pub const INBOX_ENVELOPES_MAX: usize = 16 * 1024;

/// Bytes of the envelopes waiting for one shard. A sender that finds it full stops reading from
/// its connections until there is room: publishers are slowed down, nothing is dropped.
pub const INBOX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Finished handshakes that become connections in one turn: at 15 µs each, 4 ms.
pub const ADOPTIONS_PER_TURN: usize = 256;

/// Connections waiting in the kernel to be accepted, per listener: a reconnect storm of one second.
/// The kernel cuts it to `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 65_535;

/// Connections accepted in one go before others get their share of the thread.
pub const ACCEPTS_PER_TURN: usize = 64;

/// Connections accepted in one go by a listener that is about to end: they are told so instead of
/// being reset. At 5 µs each, 80 ms.
pub const LAST_ACCEPTS_MAX: usize = 16 * 1024;

/// Handshakes in progress on a shard. A silent one costs about 1 KiB. When a newcomer finds it
/// full, the oldest is ended, however long it has been here: at 1,600 a second that stay silent all
/// have their 10 s. Where one address may send so many, only `--handshake-rate` keeps it from this.
pub const HANDSHAKES_MAX: usize = 16 * 1024;

/// Seconds from accept to the end of the handshake, whatever the peer sends meanwhile.
pub const HANDSHAKE_SECONDS: u64 = 10;

/// The same for connections past `--handshake-rate`, which have places of their own: none of them
/// takes one of others. A 429 takes a round trip.
pub const REFUSED_HANDSHAKES_MAX: usize = 1024;

/// Seconds that those have.
pub const REFUSED_HANDSHAKE_SECONDS: u64 = 1;

/// Bytes that `--max-message` may ask for. A message is assembled whole in memory, so one peer may
/// hold this much; larger transfers belong in several messages.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Shards of a process. Every pair of shards has a queue, so their number grows with the square.
pub const SHARDS_MAX: usize = 1024;

/// Shortest `--heartbeat`: below it the pings themselves are the load.
pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// Longest `--heartbeat`: past it middleboxes have long forgotten the connection.
pub const HEARTBEAT_MAX: Duration = Duration::from_secs(3600);

/// Longest `--drain`: supervisors kill a process that takes longer to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// What the service manager allows a process beyond its drain, before it is killed: a process that
/// is swapped out or short of CPU ends late.
pub const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Descriptors of a shard that are not connections: reserve, listeners, rings, and those of
/// handshakes that are being refused.
pub const DESCRIPTOR_RESERVE: u64 = 16;

/// Milliseconds between two attempts to accept while descriptors are used up, first and last of a
/// doubling series. Service resumes within the last after some come free.
pub const ACCEPT_PAUSE_MILLISECONDS: (u64, u64) = (10, 500);

/// Submissions gathered by a shard's ring, and completions that wait for it.
pub const RING_ENTRIES: (u32, u32) = (1024, 16 * 1024);

/// The same for the runtime that hosts the shard: its operations are those of handshakes.
pub const HOST_RING_ENTRIES: (u32, u32) = (512, 4096);

/// First size of the buffer of an unfinished message, so that small fragments do not each grow it.
pub const ASSEMBLY_BYTES_MIN: usize = 512;

/// Largest buffer a shard keeps after its message is done: larger ones go back to the allocator.
pub const ASSEMBLY_RETAINED_BYTES_MAX: usize = 64 * 1024;

/// Buffers a shard keeps for the next unfinished messages: 4 MiB at most, and in practice the few
/// that one turn needs.
pub const ASSEMBLIES_RETAINED_MAX: usize = 64;

/// Characters of a room's name, as the chat's protocol has it. All characters here are Unicode
/// scalar values.
pub const ROOM_NAME_CHARACTERS_MAX: usize = 50;

/// Characters of a chat message, as the chat's protocol has it.
pub const CHAT_TEXT_CHARACTERS_MAX: usize = 1000;

/// Characters of the id that a sender gives to its message: 128 random bits in hex are half of it.
pub const MESSAGE_ID_CHARACTERS_MAX: usize = 64;

/// Characters of a password: longer than any passphrase, short enough to be hashed at once.
pub const PASSWORD_CHARACTERS_MAX: usize = 128;

/// Characters of the epoch that a client comes back with. Ours have 16; one of another server is
/// unknown, but no fault.
pub const EPOCH_CHARACTERS_MAX: usize = 64;

/// Largest offset a client can come back with: 2^53 − 1, the largest integer that JavaScript holds.
pub const OFFSET_MAX: u64 = (1 << 53) - 1;

/// Levels of objects and arrays in a command. It has two; what others add may be deeper, but every
/// level takes stack.
pub const JSON_LEVELS_MAX: usize = 16;

/// Characters of a user id: as many as of a room name, so that both fit a line.
pub const USER_CHARACTERS_MAX: usize = 50;

/// Bytes of a token: half of what a request head may have. With many claims and a long signature,
/// JWTs stay under 2 KiB. With its wrapping it fits [`STRANGER_MESSAGE_BYTES_MAX`].
pub const TOKEN_BYTES_MAX: usize = 4000;

/// Bytes of an HS256 secret: as many as its hash has (RFC 7518 section 3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Bits of an RSA key, least (RFC 7518 section 3.3) and most: what the verifier takes.
pub const RSA_BITS: (usize, usize) = (2048, 8192);

/// Keys of tokens: all of an algorithm are tried, at up to 0.1 ms each.
pub const KEYS_MAX: usize = 16;

/// Bytes of a key file: an RSA key of 8192 bits takes 1.4 KiB.
pub const KEY_FILE_BYTES_MAX: u64 = 16 * 1024;

/// Bytes of a password file: some 100,000 users, each 0.5 KiB in memory.
pub const PASSWORD_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// KiB of memory that one check of a password may take: the second choice of RFC 9106.
pub const PASSWORD_MEMORY_KIB_MAX: u32 = 64 * 1024;

/// KiB that one check may fill, all passes together: 0.17 s on the machine of the benchmarks, so
/// that one guess does not hold up all others.
pub const PASSWORD_WORK_KIB_MAX: u64 = 256 * 1024;

/// Lanes of a password hash; they are worked on one after the other.
pub const PASSWORD_LANES_MAX: u32 = 16;

/// Passwords that wait to be checked: where each takes 0.3 s, who waits longest waits 9.6 s, within
/// the 10 s that a client has to authenticate.
pub const PASSWORD_CHECKS_MAX: usize = 32;

/// Attempts to bring a shard the answer to a password, and the pause between two: 10 s in all,
/// which is as long as its connection waits.
pub const PASSWORD_ANSWER_ATTEMPTS: u32 = 1000;

/// See [`PASSWORD_ANSWER_ATTEMPTS`].
pub const PASSWORD_ANSWER_PAUSE: Duration = Duration::from_millis(10);

/// Parts of a rate window: how late a place comes back, and the memory that one takes.
pub const RATE_PARTS: u32 = 64;

/// Shortest window of a rate, below which ticks are too coarse, and longest.
pub const RATE_WINDOW: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// Handshakes or messages per window: past it a rate is no limit.
pub const RATE_COUNT_MAX: u32 = 1_000_000;

/// Bytes per window that a rate may allow: what its counter holds.
pub const RATE_BYTES_MAX: u32 = 1 << 31;

/// Networks of clients that admission keeps count of, 100 bytes each: as many as a host holds
/// connections, so that none is refused for want of a place in the table.
pub const ADMISSION_NETWORKS_MAX: usize = 1 << 20;

/// Networks looked at when the table is full, to find some that can be forgotten: 20 µs.
pub const ADMISSION_SWEEP_FULL: usize = 1024;

/// Messages a room may keep: within [`HISTORY_BYTES_MAX`] there are no more of any use.
pub const HISTORY_MESSAGES_MAX: usize = 10_000;

/// Shortest and longest time a room may keep a message.
pub const HISTORY_AGE: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// Messages that a client has to say who it is, where it must: one, and some too early.
pub const AUTH_MESSAGES_MAX: u8 = 8;

/// Ticks that a client has to say who it is: 10 s, as long as for a handshake.
pub const AUTH_TICKS_MAX: u32 = 10 * TICKS_PER_SECOND;

/// Bytes of a message of somebody who has yet to say who it is: a long token and its wrapping.
pub const STRANGER_MESSAGE_BYTES_MAX: usize = 4096;

/// Messages of one connection and window that are answered with `Rate limit exceeded`. With one
/// more it is closed.
pub const RATE_REFUSALS_MAX: u32 = 100;

/// Bytes of plaintext in a TLS record at most (RFC 8446 section 5.1).
pub const TLS_RECORD_BYTES: usize = 1 << 14;

/// Bytes that sealing adds to a record at most: header, nonce, type and tag of either version.
pub const TLS_RECORD_OVERHEAD: usize = 64;

/// Bytes that are sealed for one send. A slow reader's session keeps that much, beside the same
/// bytes in its backlog.
pub const TLS_SEAL_BYTES: usize = 4 * TLS_RECORD_BYTES;
