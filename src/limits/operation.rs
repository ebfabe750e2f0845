//! The bounds of what operators see and steer.

use std::time::Duration;

use super::{CONTROL_BYTES_MAX, SHARDS_MAX, TOKEN_BYTES_MAX};

/// Rooms that an operator is told of at once, the largest first: some 200 KiB of JSON.
pub const ROOMS_LISTED_MAX: usize = 1000;

/// Places for rooms that a home looks at in one turn, to list the largest: under a millisecond with
/// nothing of them in a cache.
pub const ROOMS_LISTED_PER_TURN: usize = 2048;

/// Places for connections that a shard looks at in one turn, to find those of a user: half a
/// millisecond where nothing of them is in a cache.
pub const DISCONNECT_PLACES: usize = 4096;

/// Connections of a user that a shard tells to go in one turn: at 10 µs each, 1 ms.
pub const DISCONNECTED_PER_PART: u64 = 128;

/// Longest time that an operator waits for a shard to answer. One that hangs for so long hangs.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// Time after which shards that answer in parts are asked for no more of them. With the last part
/// it is less than [`ADMIN_REQUEST_TIME`], so that who asked is told how far it went.
pub const ANSWERS_TIME_MAX: Duration = Duration::from_secs(6);

/// How often it is looked whether a shard has begun a turn.
pub const HEALTH_LOOK: Duration = Duration::from_millis(5);

/// Connections of the admin listener at once, 16 KiB and a body each: scrapers, probes, a few
/// people. Who comes later gets the place of one that keeps the server waiting.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// Time that a connection of the admin listener keeps the server waiting before it may lose its
/// place to somebody new: what a request takes to follow its connection, on a busy host too. So 64
/// places pass 1280 strangers a second.
pub const ADMIN_PLACE_TIME_MIN: Duration = Duration::from_millis(50);

/// Connections that wait in the kernel for the admin listener: those of about a second, where all
/// places are taken.
pub const ADMIN_BACKLOG: i32 = 1024;

/// How often it is looked for a place while all are taken.
pub const ADMIN_PLACE_LOOK: Duration = Duration::from_millis(5);

/// Bytes of the body of a request to the admin listener: the largest, a publication, has 13 KiB
/// with every character escaped.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;

/// Longest time from one request to the end of the next one's head.
pub const ADMIN_HEAD_TIME: Duration = Duration::from_secs(5);

/// Longest time for the body of a request and its answer: more than shards are waited for.
pub const ADMIN_REQUEST_TIME: Duration = Duration::from_secs(10);

/// Time after which a connection of the admin listener ends with its next answer, or is cut off
/// [`ADMIN_REQUEST_TIME`] later: who does not read must not keep its place.
pub const ADMIN_CONNECTION_TIME: Duration = Duration::from_secs(60);

/// Bytes of the admin listener's token: 64 random bits in hex.
pub const ADMIN_TOKEN_BYTES_MIN: usize = 16;

/// Bytes of a token file: the token and a line ending.
pub const ADMIN_TOKEN_FILE_BYTES_MAX: u64 = TOKEN_BYTES_MAX as u64 + 2;

/// Bytes of the reason in a Close frame: a control frame's payload without the code.
pub const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// Orders of operators that wait for the control thread: more than a second of clicks.
pub const ORDERS_MAX: usize = 16;

/// Sockets that a server takes over from another: one for each shard and address, and some 60
/// addresses.
pub const HANDOVER_SOCKETS_MAX: usize = 64 * SHARDS_MAX;

/// Time that a successor has from its knock until it accepts connections: a thousand shards start
/// in less than ten seconds.
pub const HANDOVER_TIME: Duration = Duration::from_secs(60);

/// Time that a server has to see that its successor is ready.
pub const RELEASE_TIME: Duration = Duration::from_secs(10);

/// Lines of the log that one place in the program may write in a second, again and again: in an
/// attack some ten places are busy, half a megabyte a second, and the end is the size of the files.
pub const LOG_LINES_PER_SECOND: u64 = 200;

/// Lines that one place may write at once after quiet: a thousand clients that come together are
/// all in the log.
pub const LOG_BURST_MAX: u64 = 1000;

/// Shortest time between two reports of what one place was not allowed to write: 5 s.
pub const LOG_SUPPRESSED_REPORT_NANOSECONDS: u64 = 5_000_000_000;

/// Places in the program and its libraries that are told apart: several times as many as there are.
pub const LOG_PLACES_MAX: usize = 1024;

/// Lines that wait for one sink: a burst of one place, about 300 KiB. Past it they are dropped.
pub const LOG_QUEUE_LINES_MAX: usize = 1024;

/// Characters of one value in a line, whatever the peer sent. A line has 32 values at most, ours
/// about ten.
pub const LOG_VALUE_CHARACTERS_MAX: usize = 512;

/// Characters of a message of a client that are shown at debug level.
pub const LOG_PREVIEW_CHARACTERS_MAX: usize = 64;

/// Warnings kept in memory for operators, and as many errors: as much as one reads at a glance, and
/// more.
pub const LOG_RECENT_LINES_MAX: usize = 100;

/// Characters of each of them.
pub const LOG_RECENT_CHARACTERS_MAX: usize = 300;

/// How long a line waits for its file while another process writes to it or rotates it, which takes
/// microseconds. Past it the line is dropped: that process has stopped.
pub const LOG_LOCK_TIME: Duration = Duration::from_secs(1);

/// How long the end of the process waits for sinks to take what waits for them.
pub const LOG_FINISH_TIME: Duration = Duration::from_secs(1);

/// How long the last words of a process that panics may take: it must end within a second.
pub const LAST_WORDS_TIME: Duration = Duration::from_millis(500);

/// Bytes of a log file, least: far more than the longest line. And most: 1 GiB.
pub const LOG_FILE_BYTES: (usize, usize) = (64 * 1024, 1024 * 1024 * 1024);

/// Files of a log, with the one that is written.
pub const LOG_FILES_MAX: usize = 100;

/// Shortest and longest time between two summaries.
pub const SUMMARY_PERIOD: (Duration, Duration) =
    (Duration::from_secs(1), Duration::from_secs(3600));

/// Time between two overviews: what people can follow.
pub const OVERVIEW_PERIOD: Duration = Duration::from_secs(1);

/// Looks at the counters that are kept: latencies are those of ten seconds.
pub const OVERVIEW_SAMPLES: usize = 10;

/// Overviews that are made after the last was asked for, so that who comes back within 10 s finds
/// one and waits for none.
pub const OVERVIEW_IDLE_SAMPLES_MAX: usize = 10;

/// Rooms in an overview: as many as fit a page.
pub const OVERVIEW_ROOMS_MAX: usize = 10;

/// How long an overview waits for the shards to name their rooms: it must come every second.
pub const OVERVIEW_WAITS_MAX: Duration = Duration::from_millis(300);

/// Log lines in an overview: as many as fit a page.
pub const OVERVIEW_ERRORS_MAX: usize = 20;

/// Dashboards that watch at once: a team and its screens, at some 4 KB a second each.
pub const WATCHERS_MAX: usize = 64;

/// What a watcher may take to read and to answer a ping. Twice this after its last word it is
/// dropped: TCP has then repeated itself several times.
pub const WATCHER_PATIENCE: Duration = Duration::from_secs(5);

/// What the end of the process waits for the admin listener to take leave of its peers: one round
/// of writes, and no time for who does not read.
pub const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// Bytes of a message of a watcher. None is expected, and none is listened to.
pub const WATCHER_MESSAGE_BYTES_MAX: usize = 4096;

/// Shortest and longest `--interval` of `ringwire top`: the server counts anew once a second.
pub const TOP_INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// What the server may take to answer `ringwire top`: a second for its first look at the counters,
/// and time to spare on a loaded host.
pub const TOP_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer to `ringwire top`: 1024 shards take 200 KB.
pub const TOP_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Columns of a page of `ringwire top` that goes to no terminal: what fits most windows.
pub const TOP_PIPE_COLUMNS: usize = 100;

/// Connections of a shard: its slots are reserved as address space at once, which is then half a
/// GiB, so that `--max-connections` can be raised later. Their sockets take 16 GiB of the kernel.
pub const CONNECTIONS_OF_SHARD_MAX: usize = 1 << 22;

/// Connections of a shard that get their new deadline in one turn when the heartbeat has become
/// shorter: at 0.1 µs each, a tenth of a millisecond.
pub const REARMS_PER_TURN: u32 = 1024;

/// How long the files of the settings may take to be read again: they are a few MiB at most.
pub const RELOAD_TIME_MAX: Duration = Duration::from_secs(30);

/// Pause between two looks whether all shards go by new settings.
pub const RELOAD_PAUSE: Duration = Duration::from_millis(5);

/// Smallest `--max-memory`: the server itself takes that much.
pub const MEMORY_MIN: usize = 16 * 1024 * 1024;

/// How often memory and connections are held against their marks.
pub const OVERLOAD_LOOK: Duration = Duration::from_secs(1);

/// The part of a mark by which one must be below it again: 5 %, so that it does not flicker.
pub const OVERLOAD_SLACK_SHARE: u64 = 20;

/// Seconds after which who was refused may come again, least and most. Spread, so that not all
/// come back at once; few, since room may be there soon.
pub const RETRY_AFTER_SECONDS: (u16, u16) = (2, 10);

/// Bytes of a block that is large to the allocator: it has a page of its own.
pub const PURGING_BLOCK_BYTES: usize = 1024 * 1024;
