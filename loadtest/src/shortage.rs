//! Limits of the kernel that a run would meet: those that end it, and those that spoil it.

use crate::args::Common;
use crate::fault::Fault;
use crate::host::{Host, Limit};
use crate::plan::Needs;
use crate::sources::Sources;

/// What the run cannot work without.
pub(crate) fn errors(needs: &Needs, host: &Host) -> Vec<Fault> {
    files(needs, host).into_iter().chain(threads(needs, host)).collect()
}

/// What may spoil the run.
pub(crate) fn warnings(
    needs: &Needs,
    common: &Common,
    sources: &Sources,
    host: &Host,
) -> Vec<String> {
    let found = [
        memory(needs, host),
        tracked(needs, host),
        buffers(needs, host),
        backlog(needs, common.connecting, host),
        time_wait(needs, common.url.len(), sources, host),
    ];
    found.iter().flatten().map(Fault::in_one_line).collect()
}

fn files(needs: &Needs, host: &Host) -> Option<Fault> {
    let limit = host.files.filter(|limit| limit.free() < needs.files)?;
    let what = format!(
        "{} open files are needed on this host, and {} of {} are free",
        needs.files,
        limit.free(),
        limit.max
    );
    Some(Fault::new(what).mend(format!("sysctl -w fs.file-max={}", generous(limit, needs.files))))
}

fn threads(needs: &Needs, host: &Host) -> Vec<Fault> {
    let needed = u64::from(needs.threads);
    let short = host.threads.iter().filter(|entry| entry.limit.free() < needed);
    short
        .map(|entry| {
            let (free, max) = (entry.limit.free(), entry.limit.max);
            let new = generous(entry.limit, needed);
            let what = format!(
                "{needed} threads are needed, and {} allows {free} more of {max}",
                entry.name
            );
            let is_file = entry.name.starts_with('/');
            Fault::new(what)
                .mend_if(is_file, || format!("echo {new} > {}", entry.name))
                .mend_if(!is_file, || format!("sysctl -w {}={new}", entry.name))
                .mend("fewer --threads and a higher limit of descriptors: ulimit -n")
        })
        .collect()
}

fn memory(needs: &Needs, host: &Host) -> Option<Fault> {
    let free = host.memory.filter(|&free| free < needs.memory)?;
    Some(Fault::new(format!(
        "{} connections take about {} MiB of memory on this host, and {} MiB are free",
        needs.connections,
        needs.memory >> 20,
        free >> 20
    )))
}

/// Not an error: whether rules keep these connections from being tracked cannot be seen here.
fn tracked(needs: &Needs, host: &Host) -> Option<Fault> {
    let needed = needs.connections.into();
    let limit = host.tracked.filter(|limit| limit.free() < needed)?;
    let what = format!(
        "the firewall can track {} more connections of {}; if it tracks those of the run, the \
         packets of the rest are dropped",
        limit.free(),
        limit.max
    );
    let new = generous(limit, needed);
    Some(Fault::new(what).mend(format!("sysctl -w net.netfilter.nf_conntrack_max={new}")))
}

/// Sockets that hold bytes take whole pages, at both ends if both are here.
fn buffers(needs: &Needs, host: &Host) -> Option<Fault> {
    if needs.in_flight == 0 {
        return None;
    }
    let ends = if needs.both_ends { 2 } else { 1 };
    let pages = needs.in_flight.div_ceil(host.page).max(needs.connections.into()) * ends;
    let limit = host.tcp_pages.filter(|limit| limit.free() < pages)?;
    let what = format!(
        "when all connections have a message on its way, TCP buffers take {pages} pages, and the \
         kernel begins to spare {} from now",
        limit.free()
    );
    let (pressure, most) = (generous(limit, pages), 2 * generous(limit, pages));
    let low = pressure / 2;
    let command = format!("sysctl -w net.ipv4.tcp_mem='{low} {pressure} {most}'");
    Some(Fault::new(what).mend(command))
}

fn backlog(needs: &Needs, connecting: u32, host: &Host) -> Option<Fault> {
    let at_once = connecting.min(needs.connections);
    let limit = host.backlog.filter(|&limit| needs.both_ends && limit < at_once.into())?;
    let what = format!(
        "{at_once} connections are opened at once, and a listener of this host queues {limit} at \
         most: a lost SYN waits a second"
    );
    let fault = Fault::new(what).mend(format!("--connecting {limit}"));
    Some(fault.mend(format!("sysctl -w net.core.somaxconn={at_once}, and restart the server")))
}

/// A hint only: which address the sockets belong to is not counted.
fn time_wait(needs: &Needs, targets: usize, sources: &Sources, host: &Host) -> Option<Fault> {
    let tuples = sources.count().max(1) as u64 * u64::from(sources.ports) * targets as u64;
    let free = tuples.saturating_sub(needs.connections.into());
    if host.time_wait <= free {
        return None;
    }
    let what = format!(
        "{} sockets of this host are in TIME-WAIT; if they are of these addresses and targets, \
         {free} of them leave enough ports",
        host.time_wait
    );
    Some(Fault::new(what).mend("wait 60 s").mend("more addresses with --source"))
}

/// A new limit with some room for others.
const fn generous(limit: Limit, needed: u64) -> u64 {
    let sum = limit.used + needed;
    sum + sum / 10
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ThreadLimit;
    use crate::plan::Plan;
    use crate::plan::synthetic::{common, host};

    const LINE: &str = "--url ws://127.0.0.1:1 --connections 1000";

    fn warnings_of(flags: &str, in_flight: u64, host: &Host) -> Vec<String> {
        Plan::make(&common(flags), in_flight, host).expect(flags).warnings
    }

    /// `short` is the only warning, and ends in `mend`; `plenty` is none.
    fn warns(short: &Host, plenty: &Host, mend: &str) {
        let found = warnings_of(LINE, 64, short);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(mend), "{found:?}");
        assert_eq!(warnings_of(LINE, 64, plenty), [""; 0]);
    }

    fn fails(short: &Host, plenty: &Host, mend: &str) {
        let error = Plan::make(&common(LINE), 64, short).expect_err("a shortage").to_string();
        assert!(error.contains(mend), "{error}");
        assert_eq!(warnings_of(LINE, 64, plenty), [""; 0]);
    }

    #[test]
    fn files_of_both_ends_must_be_free() {
        let with = |max| Host { files: Some(Limit { used: 100, max }), ..host() };
        fails(&with(2_103), &with(2_104), "mend: sysctl -w fs.file-max=2314");
    }

    #[test]
    fn threads_must_be_allowed() {
        let with = |name: &str, max| Host {
            threads: vec![ThreadLimit { name: name.to_owned(), limit: Limit { used: 90, max } }],
            ..host()
        };
        let name = "kernel.threads-max";
        fails(&with(name, 91), &with(name, 92), "mend: sysctl -w kernel.threads-max=101");
        let name = "/sys/fs/cgroup/a/pids.max";
        fails(&with(name, 91), &with(name, 92), "echo 101 > /sys/fs/cgroup/a/pids.max");
    }

    #[test]
    fn memory_should_be_free() {
        let with = |mib: u64| Host { memory: Some(mib << 20), ..host() };
        warns(&with(10), &with(12), "take about 10 MiB");
    }

    #[test]
    fn the_firewall_should_have_room() {
        let with = |max| Host { tracked: Some(Limit { used: 10, max }), ..host() };
        warns(&with(1_009), &with(1_010), "sysctl -w net.netfilter.nf_conntrack_max=1111");
    }

    #[test]
    fn buffers_should_have_room() {
        let with = |max| Host { tcp_pages: Some(Limit { used: 0, max }), ..host() };
        warns(&with(1_999), &with(2_000), "sysctl -w net.ipv4.tcp_mem='1100 2200 4400'");
        assert_eq!(warnings_of(LINE, 0, &with(0)), [""; 0]);
        assert_eq!(warnings_of(LINE, 8_192, &with(3_999)).len(), 1);
    }

    #[test]
    fn the_backlog_should_hold_what_is_opened_at_once() {
        let with = |backlog| Host { backlog: Some(backlog), ..host() };
        warns(&with(128), &with(512), "mend: --connecting 128");
        let elsewhere = Host { route: Ok([10, 0, 0, 5].into()), ..with(128) };
        let flags = "--url ws://10.1.2.3:1 --connections 1000";
        assert_eq!(warnings_of(flags, 0, &elsewhere), [""; 0]);
    }

    #[test]
    fn sockets_in_time_wait_should_leave_enough_ports() {
        let with = |time_wait| Host { time_wait, ..host() };
        warns(&with(27_233), &with(27_232), "wait 60 s");
    }
}
