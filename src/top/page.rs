//! The page: an overview in so many columns and lines, without I/O.

use super::words::{age, bytes, clock, cut, escaped, padded, rate, short, time, whole};
use crate::observe::{
    CloseOverview, LogLine, Overview, Percentiles, RoomOverview, ServerState, ShardOverview,
};

/// Columns from which rooms and closes stand side by side.
const SIDE_BY_SIDE: usize = 80;

/// Columns of a bar, its brackets included.
const BAR: usize = 10;

/// The page of at most `lines` lines of at most `columns` columns, each with its line feed. It
/// holds no control characters but these, whatever the overview holds. Where lines are few, shards,
/// rooms and errors share what the rest leaves them.
pub(super) fn render(overview: &Overview, columns: usize, lines: usize) -> String {
    let mut page = head(overview);
    page.extend(flows(overview));
    page.push(memory(overview));
    page.push(String::new());
    page.extend(latencies(overview));
    let sections = [shards(overview), rooms_and_closes(overview, columns), errors(overview)];
    for section in fit(sections, lines.saturating_sub(page.len())) {
        page.push(String::new());
        page.extend(section);
    }
    page.truncate(lines);
    page.iter().map(|line| cut(line, columns).trim_end().to_owned() + "\n").collect()
}

fn head(overview: &Overview) -> Vec<String> {
    let state = match overview.state {
        ServerState::Serving => "serving",
        ServerState::Overloaded => "OVERLOADED",
        ServerState::Draining => "DRAINING",
    };
    vec![format!(
        "ringwire {}  {state}  up {}  pid {}  {} UTC",
        escaped(&overview.version),
        age(overview.uptime_seconds),
        overview.pid,
        clock(overview.timestamp)
    )]
}

fn flows(overview: &Overview) -> Vec<String> {
    let Overview { rates, totals, .. } = overview;
    let both = |received: String, sent: String| format!("{received:>10} {sent:>10}");
    let flow = |name: &str, per_second: String, total: String| {
        format!("{name:<12} {per_second}   total {total}")
    };
    vec![
        format!(
            "connections  {} of {}   +{} -{}   {} in handshake",
            whole(overview.connections),
            whole(overview.connections_max),
            rate(rates.opened),
            rate(rates.closed),
            whole(overview.handshakes_in_progress)
        ),
        flow("", both("in".to_owned(), "out".to_owned()), both("in".to_owned(), "out".to_owned())),
        flow(
            "messages",
            both(rate(rates.messages_received), rate(rates.messages_sent)),
            both(short(totals.messages_received as f64), short(totals.messages_sent as f64)),
        ),
        flow(
            "bytes",
            both(bytes(rates.bytes_received) + "/s", bytes(rates.bytes_sent) + "/s"),
            both(bytes(totals.bytes_received as f64), bytes(totals.bytes_sent as f64)),
        ),
        format!(
            "errors {} ({})   dropped {} ({})   rate limited {} ({})",
            rate(rates.errors),
            whole(totals.errors),
            rate(rates.messages_dropped),
            whole(totals.messages_dropped),
            rate(rates.rate_limited),
            whole(totals.rate_limited)
        ),
    ]
}

fn latencies(overview: &Overview) -> Vec<String> {
    let row = |name: &str, cells: [String; 6]| {
        let cells = cells.map(|cell| format!("{cell:>8}"));
        format!("{name:<14} {}", cells.join(" "))
    };
    let times = |name: &str, found: &Percentiles| {
        let cells = [found.p50, found.p90, found.p99, found.p999, found.max];
        let [p50, p90, p99, p999, max] =
            cells.map(|cell| if found.count == 0 { "-".to_owned() } else { time(cell) });
        row(name, [p50, p90, p99, p999, max, short(found.count as f64)])
    };
    let heads = ["p50", "p90", "p99", "p99.9", "max", "count"].map(str::to_owned);
    vec![
        row(&format!("last {:.0} s", overview.latency_seconds), heads),
        times("handshake", &overview.handshake),
        times("turn", &overview.turn),
        times("fan-out", &overview.fan_out),
        times("outbound delay", &overview.outbound_delay),
    ]
}

fn memory(overview: &Overview) -> String {
    let memory = &overview.memory;
    format!(
        "memory       RSS {}, {}/connection; all TCP sockets of the host {}",
        bytes(memory.resident_bytes as f64),
        bytes(memory.resident_bytes_per_connection),
        bytes(memory.kernel_socket_bytes as f64)
    )
}

fn shards(overview: &Overview) -> Vec<String> {
    let cell = |text: &str, part: f64| format!("{text:>9} {}", bar(part));
    let shards = &overview.shards;
    let most_of = |value: fn(&ShardOverview) -> f64| shards.iter().map(value).fold(0.0, f64::max);
    let most_connections = most_of(|shard| shard.connections as f64);
    let most_messages = most_of(|shard| shard.messages_received + shard.messages_sent);
    let heads = ["connections", "messages", "processor"];
    let mut section =
        vec![format!("shard  {}", heads.map(|head| format!("{head:<20}")).join("  "))];
    section.extend(shards.iter().map(|shard| {
        let messages = shard.messages_received + shard.messages_sent;
        format!(
            "{:>5}  {}  {}  {}",
            shard.number,
            cell(&whole(shard.connections), shard.connections as f64 / most_connections),
            cell(&rate(messages), messages / most_messages),
            cell(&format!("{:.0} %", shard.cpu * 100.0), shard.cpu)
        )
    }));
    section
}

/// The filled part of a bar; what is no number fills nothing.
fn bar(part: f64) -> String {
    let inner = BAR - 2;
    let filled = (part.clamp(0.0, 1.0) * inner as f64).round() as usize;
    format!("[{:<inner$}]", "|".repeat(filled))
}

fn rooms_and_closes(overview: &Overview, columns: usize) -> Vec<String> {
    let (rooms, closes) = (rooms(overview), closes(overview));
    if columns < SIDE_BY_SIDE {
        return if closes.len() > 1 {
            [rooms, vec![String::new()], closes].concat()
        } else {
            rooms
        };
    }
    let left = columns / 2;
    let line = |at: usize| {
        let of = |section: &[String]| section.get(at).cloned().unwrap_or_default();
        padded(&of(&rooms), left - 2) + "  " + &of(&closes)
    };
    (0..rooms.len().max(closes.len())).map(line).collect()
}

fn rooms(overview: &Overview) -> Vec<String> {
    let title =
        format!("rooms  {}, members {}", whole(overview.rooms), whole(overview.room_members));
    let row =
        |room: &RoomOverview| format!("{:>9}  {}", whole(room.members), escaped(&room.room_id));
    std::iter::once(title).chain(overview.top_rooms.iter().map(row)).collect()
}

fn closes(overview: &Overview) -> Vec<String> {
    let title = format!("closes  {}", whole(overview.totals.closed));
    let row =
        |close: &CloseOverview| format!("{:>9}  {}", whole(close.count), escaped(&close.reason));
    std::iter::once(title).chain(overview.closes.iter().map(row)).collect()
}

fn errors(overview: &Overview) -> Vec<String> {
    if overview.recent_errors.is_empty() && overview.log_lines_dropped == 0 {
        return Vec::new();
    }
    let title = format!("recent errors, log lines lost: {}", whole(overview.log_lines_dropped));
    let row = |line: &LogLine| {
        format!(
            "{} {:<5} {} {}",
            clock(line.timestamp),
            escaped(&line.level),
            escaped(&line.target),
            escaped(&line.message)
        )
    };
    std::iter::once(title).chain(overview.recent_errors.iter().map(row)).collect()
}

/// Shares `lines` among the sections, each with an empty line in front: one by one to those that
/// want more. The title of what is cut says how much is missing.
fn fit<const N: usize>(sections: [Vec<String>; N], lines: usize) -> Vec<Vec<String>> {
    let mut shares = [0; N];
    let mut left = lines;
    loop {
        let before = left;
        for (share, section) in shares.iter_mut().zip(&sections) {
            // The first line of a section costs the empty one, too.
            let cost = if *share == 0 { 2 } else { 1 };
            if *share < section.len() && cost <= left {
                *share += 1;
                left -= cost;
            }
        }
        if left == before {
            break;
        }
    }
    let cut_down = |(mut section, share): (Vec<String>, usize)| {
        let missing = section.len() - share;
        section.truncate(share);
        if let (Some(title), 1..) = (section.first_mut(), missing) {
            *title = format!("{}  +{missing} more", title.trim_end());
        }
        section
    };
    sections.into_iter().zip(shares).filter(|(_, share)| *share > 0).map(cut_down).collect()
}

#[cfg(test)]
mod tests;
