//! Tests of the judgement: a good and a bad value of every fact.

use std::num::NonZeroUsize;

use rustix::io::Errno;

use super::*;
use crate::check::host::Limit;
use crate::ring::probe::Features;

const GIB: u64 = 1 << 30;

/// A host without a flaw for 100,000 connections.
fn good_host() -> Host {
    Host {
        kernel: "6.12.9-amd64".to_owned(),
        io_uring: Ok(Features { kernel: "6.12.9".to_owned(), on: vec!["NODROP", "EXT_ARG"] }),
        cpus_online: Some(4),
        cpus_allowed: 4,
        open_files: Limit { soft: Some(1024), hard: Some(1_048_576) },
        locked_memory: Limit { soft: Some(8 << 20), hard: Some(8 << 20) },
        nr_open: Some(1_048_576),
        file_max: Some(i64::MAX as u64),
        somaxconn: Some(65_535),
        syn_backlog: Some(65_535),
        local_ports: Some(32_768..=60_999),
        reserved_ports: Vec::new(),
        tcp_memory: Some([GIB, 2 * GIB, 3 * GIB]),
        conntrack_max: None,
        memory: Some(16 * GIB),
        cgroup_memory: None,
        overcommit: Some(0),
        page_size: 4096,
    }
}

/// What the check says about `name`, on the good host changed by `change`.
fn about(name: &str, change: impl FnOnce(&mut Host)) -> Finding {
    about_plan(name, &Config::default(), change)
}

fn about_plan(name: &str, config: &Config, change: impl FnOnce(&mut Host)) -> Finding {
    let mut host = good_host();
    change(&mut host);
    let mut found = findings(&host, config);
    found.retain(|finding| finding.name == name);
    assert_eq!(found.len(), 1, "one finding for {name}");
    found.remove(0)
}

#[track_caller]
fn assert_mend(finding: &Finding, level: Level, mend: &str) {
    assert_eq!(finding.level, level, "{finding:?}");
    assert!(finding.mend.as_ref().is_some_and(|text| text.contains(mend)), "{finding:?}");
}

#[test]
fn a_good_host_has_nothing_to_mend() {
    for finding in findings(&good_host(), &Config::default()) {
        assert_eq!((finding.level, &finding.mend), (Level::Ok, &None), "{finding:?}");
    }
}

#[test]
fn every_trouble_has_a_mend() {
    let host = Host {
        kernel: "4.19.0".to_owned(),
        io_uring: Err(ProbeError::Blocked),
        cpus_allowed: 1,
        open_files: Limit { soft: Some(16), hard: Some(16) },
        locked_memory: Limit { soft: Some(0), hard: Some(0) },
        nr_open: Some(16),
        file_max: Some(16),
        somaxconn: Some(16),
        syn_backlog: Some(16),
        local_ports: Some(8080..=9090),
        tcp_memory: Some([1, 2, 3]),
        conntrack_max: Some(16),
        memory: Some(GIB),
        cgroup_memory: Some(1),
        overcommit: Some(2),
        ..good_host()
    };
    let found = findings(&host, &Config::default());
    let (plan, rest) = found.split_first().expect("the plan comes first");
    assert_eq!(plan.level, Level::Ok);
    assert_eq!(rest.len(), 15);
    for finding in rest {
        assert!(finding.level > Level::Ok && finding.mend.is_some(), "{finding:?}");
    }
}

#[test]
fn what_a_host_does_not_tell_is_not_judged() {
    let host = Host {
        cpus_online: None,
        nr_open: None,
        file_max: None,
        somaxconn: None,
        syn_backlog: None,
        local_ports: None,
        tcp_memory: None,
        memory: None,
        overcommit: None,
        ..good_host()
    };
    let names: Vec<_> =
        findings(&host, &Config::default()).iter().map(|finding| finding.name).collect();
    assert_eq!(names, ["plan", "kernel", "io_uring", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK"]);
}

#[test]
fn the_kernel_is_judged_by_release_and_by_what_it_can_do() {
    for (release, usable, level) in [
        ("6.6.5", true, Level::Ok),
        ("6.18.44-cloud", true, Level::Ok),
        ("7.0-rc1", true, Level::Ok),
        ("6.6.4", true, Level::Warn),
        ("6.1.0-13-amd64", true, Level::Warn),
        ("5.14.0-427.el9", true, Level::Warn),
        ("unknown", true, Level::Warn),
        ("5.15.0-91-generic", false, Level::Fail),
    ] {
        let finding = about("kernel", |host| {
            host.kernel = release.to_owned();
            if !usable {
                host.io_uring = Err(ProbeError::Blocked);
            }
        });
        assert_eq!(finding.level, level, "{release}");
    }
}

#[test]
fn each_refusal_of_io_uring_fails_with_its_own_mend() {
    let kernel = || "6.1.0".to_owned();
    let refusals = [
        (ProbeError::SwitchedOff { level: 2 }, "kernel.io_uring_disabled=0"),
        (ProbeError::Blocked, "seccomp"),
        (ProbeError::Absent { kernel: kernel() }, "install Linux"),
        (ProbeError::Memory { limit: Some(0) }, "ulimit -l"),
        (ProbeError::Files { limit: Some(3) }, "ulimit -n"),
        (ProbeError::Files { limit: None }, "fs.file-max"),
        (ProbeError::Lacking { kernel: kernel(), what: vec!["NODROP"] }, "install Linux"),
        (ProbeError::Misbehaves { kernel: kernel(), seen: String::new() }, "install Linux"),
        (ProbeError::Other { kernel: kernel(), call: "x", errno: Errno::IO }, "install Linux"),
    ];
    for (refusal, mend) in refusals {
        let message = refusal.to_string();
        let finding = about("io_uring", |host| host.io_uring = Err(refusal));
        assert_mend(&finding, Level::Fail, mend);
        assert_eq!(finding.why, message);
    }
}

#[test]
fn unused_cpus_are_told() {
    let finding = about("CPUs", |host| host.cpus_allowed = 2);
    assert_mend(&finding, Level::Warn, "taskset -c 0-3");
    assert_eq!(finding.value, "2 of 4");
}

#[test]
fn open_files_are_judged_for_each_shard() {
    let config = |shards| Config {
        shards: NonZeroUsize::new(shards),
        max_connections: Some(100_000),
        ..Config::default()
    };
    let limited =
        |host: &mut Host| host.open_files = Limit { soft: Some(20_000), hard: Some(20_000) };
    let two = about_plan("RLIMIT_NOFILE", &config(2), limited);
    assert_mend(&two, Level::Warn, "ulimit -n 50016");
    assert_mend(&two, Level::Warn, "--shards 6");
    assert_eq!(about_plan("RLIMIT_NOFILE", &config(5), limited).level, Level::Warn);
    assert_eq!(about_plan("RLIMIT_NOFILE", &config(6), limited).level, Level::Ok);
    let unlimited = |host: &mut Host| host.open_files = Limit { soft: None, hard: None };
    assert_eq!(about_plan("RLIMIT_NOFILE", &config(1), unlimited).level, Level::Ok);
}

#[test]
fn the_files_of_kernel_and_host_are_judged_by_the_plan() {
    let config = Config { max_connections: Some(400_000), ..Config::default() };
    let per_shard = about_plan("fs.nr_open", &config, |host| host.nr_open = Some(100_015));
    assert_mend(&per_shard, Level::Warn, "fs.nr_open=100016");
    let enough = about_plan("fs.nr_open", &config, |host| host.nr_open = Some(100_016));
    assert_eq!(enough.level, Level::Ok);
    let host_wide = about_plan("fs.file-max", &config, |host| host.file_max = Some(400_063));
    assert_mend(&host_wide, Level::Warn, "fs.file-max=800128");
    let enough = about_plan("fs.file-max", &config, |host| host.file_max = Some(400_064));
    assert_eq!(enough.level, Level::Ok);
}

#[test]
fn short_queues_are_told() {
    let accept = about("net.core.somaxconn", |host| host.somaxconn = Some(4096));
    assert_mend(&accept, Level::Warn, "sysctl -w net.core.somaxconn=65535");
    let syn = about("net.ipv4.tcp_max_syn_backlog", |host| host.syn_backlog = Some(512));
    assert_mend(&syn, Level::Warn, "sysctl -w net.ipv4.tcp_max_syn_backlog=65535");
}

#[test]
fn a_listening_port_that_a_client_could_take_is_told() {
    let wide = |host: &mut Host| host.local_ports = Some(1024..=65_535);
    let finding = about("listening ports", wide);
    assert_mend(&finding, Level::Warn, "ip_local_reserved_ports=8080,9090");
    let partly = about("listening ports", |host| {
        wide(host);
        host.reserved_ports = vec![8000..=8100, 53..=53];
    });
    assert_mend(&partly, Level::Warn, "ip_local_reserved_ports=8000-8100,53,9090");
    let reserved = about("listening ports", |host| {
        wide(host);
        host.reserved_ports = vec![8080..=9090];
    });
    assert_eq!(reserved.level, Level::Ok);
}

#[test]
fn a_narrow_port_range_is_told() {
    let finding = about("net.ipv4.ip_local_port_range", |host| {
        host.local_ports = Some(50_000..=60_000);
    });
    assert_mend(&finding, Level::Warn, "ip_local_port_range=\"32768 60999\"");
}

#[test]
fn kernel_memory_of_the_plan_is_told_in_pages() {
    // 100,000 connections at one page of 4 KiB each.
    let finding = about("net.ipv4.tcp_mem", |host| {
        host.tcp_memory = Some([0, 99_999 * 4096, GIB]);
    });
    assert_mend(&finding, Level::Warn, "net.ipv4.tcp_mem=\"75000 100000 200000\"");
    let enough = about("net.ipv4.tcp_mem", |host| {
        host.tcp_memory = Some([0, 100_000 * 4096, GIB]);
    });
    assert_eq!(enough.level, Level::Ok);
}

#[test]
fn a_short_connection_tracking_table_is_told() {
    const NAME: &str = "net.netfilter.nf_conntrack_max";
    let finding = about(NAME, |host| host.conntrack_max = Some(65_536));
    assert_mend(&finding, Level::Warn, "nf_conntrack_max=200000");
    assert_eq!(about(NAME, |host| host.conntrack_max = Some(262_144)).level, Level::Ok);
}

#[test]
fn locked_memory_is_judged() {
    let limit = |bytes| move |host: &mut Host| host.locked_memory.soft = bytes;
    assert_mend(&about("RLIMIT_MEMLOCK", limit(Some(65_536))), Level::Warn, "ulimit -l unlimited");
    assert_eq!(about("RLIMIT_MEMLOCK", limit(None)).level, Level::Ok);
}

#[test]
fn the_tighter_of_host_and_cgroup_memory_is_judged() {
    let group = about("cgroup memory", |host| host.cgroup_memory = Some(GIB / 4));
    assert_mend(&group, Level::Warn, "MemoryMax=879M");
    assert_mend(&group, Level::Warn, "--max-connections 58254");
    let roomy = about("cgroup memory", |host| host.cgroup_memory = Some(GIB));
    assert_eq!(roomy.level, Level::Ok);
    let host = about("memory", |host| {
        host.memory = Some(GIB / 4);
        host.cgroup_memory = Some(GIB);
    });
    assert_mend(&host, Level::Warn, "ringwire --max-connections 58254");
}

#[test]
fn strict_overcommit_is_told() {
    let mode = |mode| move |host: &mut Host| host.overcommit = Some(mode);
    assert_mend(&about("vm.overcommit_memory", mode(2)), Level::Warn, "vm.overcommit_memory=0");
    assert_eq!(about("vm.overcommit_memory", mode(1)).level, Level::Ok);
}

#[test]
fn sizes_read_in_two_digits_or_more() {
    assert_eq!(size(8 << 20), "8192 KiB");
    assert_eq!(size(9 * GIB), "9216 MiB");
    assert_eq!(size(16 * GIB), "16 GiB");
    assert_eq!(size(u64::MAX), "17179869183 GiB");
}
