//! The files of `deploy/`, put to use: the real server under each of them.
//!
//! `scripts/test` installs the programs that read them: systemd-analyze, Python packages.

mod common;
#[path = "common/deployed.rs"]
mod deployed;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/program.rs"]
mod program;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/successor.rs"]
mod successor;

use common::Server;
use deployed::{Folder, read, with};
use observed::Metrics;
use program::project_file;
use raw::RawClient;
use ringwire::check::{Host, Level, findings};
use ringwire::config::{Command as Action, Config, parse};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use successor::Successor;

const SERVER: &str = env!("CARGO_BIN_EXE_ringwire");
const LONG: Duration = Duration::from_secs(30);

fn text_of(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

/// Runs a program that scripts/test installs, for at most a minute.
fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args(["--kill-after=5", "60", program])
        .args(arguments)
        .output()
        .expect("timeout(1) of the coreutils is there")
}

/// Runs a program that must have nothing to complain of; returns what it printed.
fn run_well(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} (from scripts/test): {printed}{errors}");
    printed
}

// The unit.

const UNIT: &str = "deploy/systemd/ringwire.service";

/// What the unit says of a setting, in the order of its lines.
fn unit_values(name: &str) -> Vec<String> {
    let unit = read(UNIT);
    let values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

#[test]
fn systemd_finds_no_fault_with_the_unit() {
    let folder = Folder::new();
    let unit =
        with(&read(UNIT), "ExecStart=/usr/local/bin/ringwire", &format!("ExecStart={SERVER}"));
    let unit = folder.write("ringwire.service", &unit);
    let output = run("systemd-analyze", &["verify", "--man=no", text_of(&unit)]);
    let said = String::from_utf8_lossy(&output.stderr);
    let of_ours = said.lines().filter(|line| line.contains("ringwire")).count();
    assert!(output.status.success() && of_ours == 0, "systemd-analyze (from scripts/test): {said}");
}

#[test]
fn the_unit_fits_the_server() {
    let start = unit_values("ExecStart").concat();
    let config = project_file("deploy/systemd/ringwire.toml");
    let start = start.replace("/etc/ringwire/ringwire.toml", text_of(&config));
    let Action::Serve(config) = parse(start.split(' ')).expect("flags of the server") else {
        panic!("{start} does not serve");
    };
    let stop: u64 = unit_values("TimeoutStopSec").concat().parse().expect("seconds");
    assert!(Duration::from_secs(stop) > config.drain + ringwire::limits::STOP_MARGIN);
    assert_eq!(unit_values("RestartPreventExitStatus"), ["2 78"]);
}

/// All system calls that `SystemCallFilter=` lets through, as systemd on this host has it.
fn calls_of_the_unit() -> Vec<String> {
    let listed = run_well("systemd-analyze", &["syscall-filter", "--no-pager"]);
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut group = "";
    for line in listed.lines().map(|line| line.split('#').next().unwrap_or_default()) {
        let member = line.trim();
        if line.starts_with('@') {
            group = member;
        } else if !member.is_empty() {
            groups.entry(group).or_default().push(member);
        }
    }
    let filter = unit_values("SystemCallFilter").join(" ");
    let mut wanted: Vec<&str> = filter.split(' ').collect();
    let mut calls = Vec::new();
    while let Some(name) = wanted.pop() {
        match groups.get(name) {
            Some(members) => wanted.extend(members),
            None => calls.push(name.to_owned()),
        }
    }
    calls
}

#[test]
fn the_server_lives_with_the_calls_of_the_unit() {
    let calls = calls_of_the_unit();
    assert!(calls.len() > 100, "{calls:?}");
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": [],
        "syscalls": [{"names": calls, "action": "SCMP_ACT_ALLOW"}],
    });
    let folder = Folder::new();
    let profile = folder.write("unit.json", &profile.to_string());
    lives_under(&profile);
}

#[test]
fn the_service_manager_hears_of_start_restart_and_end() {
    let folder = Folder::new();
    let path = folder.join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket can be bound");
    manager.set_read_timeout(Some(LONG)).expect("a read deadline can be set");
    let hear = || {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).expect("the server says something");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let socket = format!("NOTIFY_SOCKET={}", path.display());
    let mut server = Server::start_under(&["env", &socket], &["--shards", "2"]);
    assert_eq!(hear(), "READY=1\nSTATUS=serving on 2 shards");
    server.signal(Signal::USR2);
    let successor = Successor::of(&server);
    // Which of the two is heard first does not matter.
    let mut both = [hear(), hear()];
    both.sort_unstable();
    let process = successor.0.as_raw_pid();
    assert_eq!(both, [format!("MAINPID={process}"), "READY=1\nSTATUS=serving on 2 shards".into()]);
    server.wait_for_end(LONG);
    kill_process(successor.0, Signal::TERM).expect("the successor runs");
    // Not the first server, which ended without a word: the service went on.
    assert_eq!(hear(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=draining");
    assert!(server.wait_for_exit(LONG).success());
}

// The example configuration.

/// The file with every setting that it shows in a comment.
fn whole_configuration() -> String {
    let text = read("deploy/systemd/ringwire.toml");
    let setting = |line: &str| {
        let shown = line.strip_prefix('#').filter(|rest| rest.starts_with(char::is_alphabetic));
        format!("{}\n", shown.unwrap_or(line))
    };
    text.lines().map(setting).collect()
}

fn parse_file(text: &str) -> Config {
    let folder = Folder::new();
    let file = folder.write("ringwire.toml", text);
    match parse(["ringwire".as_ref(), "--config".as_ref(), file.as_os_str()]) {
        Ok(Action::Serve(config)) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_configuration_is_the_default_as_it_stands() {
    assert_eq!(parse_file(&read("deploy/systemd/ringwire.toml")), Config::default());
}

#[test]
fn the_example_configuration_shows_every_setting() {
    /// What a file cannot say.
    const FLAGS_ONLY: [&str; 3] = ["config", "take-over", "help"];
    let text = whole_configuration();
    parse_file(&text);
    let mut names: Vec<&str> =
        text.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    names.extend(FLAGS_ONLY);
    let help = run_well(SERVER, &["serve", "--help"]);
    let flags: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("-h, ").strip_prefix("--"))
        .map(|flag| flag.split([' ', '[', '=']).next().unwrap_or(flag))
        .collect();
    assert!(flags.len() > 15, "{help}");
    for flag in flags {
        assert!(names.contains(&flag), "deploy/systemd/ringwire.toml does not show {flag}");
    }
}

// The sysctls.

fn sysctls() -> BTreeMap<String, String> {
    let text = read("deploy/sysctl/90-ringwire.conf");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once(" = ").expect("NAME = VALUE");
        (name.trim_start_matches('-').to_owned(), value.to_owned())
    };
    lines.map(pair).collect()
}

#[test]
fn every_sysctl_is_known_to_this_kernel() {
    // Of Linux 6.6 and later.
    const MAY_BE_ABSENT: [&str; 1] = ["kernel.io_uring_disabled"];
    let sysctls = sysctls();
    assert_eq!(sysctls.len(), 8, "{sysctls:?}");
    for (name, value) in sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let Ok(now) = fs::read_to_string(&path) else {
            assert!(MAY_BE_ABSENT.contains(&name.as_str()), "{name} is not known");
            continue;
        };
        let numbers = |text: &str| text.split_whitespace().map(str::parse::<u64>).collect();
        let (now, new): (Result<Vec<_>, _>, Result<Vec<_>, _>) = (numbers(&now), numbers(&value));
        let (now, new) = (now.expect("numbers"), new.expect("numbers"));
        assert_eq!(now.len(), new.len(), "{name} = {value}");
    }
}

#[test]
fn the_check_is_content_with_the_sysctls_for_a_million_connections() {
    let sysctls = sysctls();
    let number = |name: &str| sysctls[name].parse::<u64>().ok();
    let pages: Vec<u64> =
        sysctls["net.ipv4.tcp_mem"].split(' ').map(|pages| pages.parse().expect("pages")).collect();
    let mut host = Host::gather();
    host.nr_open = number("fs.nr_open");
    host.file_max = number("fs.file-max");
    host.somaxconn = number("net.core.somaxconn");
    host.syn_backlog = number("net.ipv4.tcp_max_syn_backlog");
    host.page_size = 4096;
    host.tcp_memory = Some([pages[0], pages[1], pages[2]].map(|pages| pages * 4096));
    let config = Config { max_connections: Some(1_000_000), ..Config::default() };
    let found = findings(&host, &config);
    let judged: Vec<_> = found.iter().filter(|found| sysctls.contains_key(found.name)).collect();
    assert_eq!(judged.len(), 5, "{judged:?}");
    for finding in judged {
        assert_eq!(finding.level, Level::Ok, "{finding:?}");
    }
}

// The container.

const PROFILE: &str = "deploy/container/seccomp.json";

/// A server that becomes one under a seccomp profile.
fn start_under_profile(profile: &Path, arguments: &[&str]) -> Server {
    let python = project_file(".deps/venv/bin/python");
    program::require(&python);
    let loader = project_file("tests/clients/seccomp_run.py");
    let wrapper = [&python, &loader, profile].map(text_of);
    Server::start_under(&wrapper, arguments)
}

/// Everything a server does in its life: it serves, restarts, drains.
fn lives_under(profile: &Path) {
    let logs = Folder::new();
    let arguments = ["--shards", "2", "--admin", "127.0.0.1:0", "--log-level", "debug"];
    let to_files = ["--log-file-size", "64KiB", "--log-files", "2", "--log-dir", text_of(&logs)];
    let mut server = start_under_profile(profile, &[&arguments[..], &to_files].concat());
    let (address, admin) = (server.address(), server.admin_address());
    let python = project_file(".deps/venv/bin/python");
    assert_eq!(program::run(&python, "python_echo.py", &[&format!("ws://{address}")]), 36);
    let url = format!("ws://{address}/");
    let (printed, _) = program::output(&python, "python_conversation.py", &[&url]);
    assert!(printed.contains("\"ok\": true"), "{printed}");
    assert!(Metrics::scrape(admin).value("messages_received_total") > 0);

    server.signal(Signal::USR2);
    let successor = Successor::of(&server);
    server.wait_for_end(LONG);
    let mut client = RawClient::open(address, "/echo");
    client.echo("over there");
    kill_process(successor.0, Signal::TERM).expect("the successor runs");
    assert_eq!(client.read_close(), Some(1001));
    client.send(&raw::close_frame(1001, ""));
    // The output ends with the last process that writes to it.
    assert!(server.wait_for_exit(LONG).success());
    let files = fs::read_dir(&*logs).expect("a folder of logs").count();
    assert!(files > 2, "no log was replaced by the next: {files} files");
}

#[test]
fn the_server_lives_under_the_seccomp_profile() {
    lives_under(&project_file(PROFILE));
}

#[test]
fn without_its_lines_for_io_uring_the_server_says_what_is_missing() {
    let python = project_file(".deps/venv/bin/python");
    let loader = project_file("tests/clients/seccomp_run.py");
    let profile = project_file(PROFILE);
    let paths = [text_of(&loader), text_of(&profile)];
    let arguments = [&paths[..], &["--without", "io_uring_", SERVER, "--listen", "127.0.0.1:0"]];
    let output = run(text_of(&python), &arguments.concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("seccomp") && said.contains("io_uring_setup"), "{said}");
}

#[test]
fn the_seccomp_profile_is_one_that_runtimes_take() {
    let profile: Value = serde_json::from_str(&read(PROFILE)).expect("JSON");
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().expect("rules");
    let names = |rule: &Value| -> Vec<String> {
        serde_json::from_value(rule["names"].clone()).expect("names")
    };
    let of = |name: &str| -> Vec<&Value> {
        rules.iter().filter(|rule| names(rule).contains(&name.to_owned())).collect()
    };
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert_eq!(of(name).len(), 1, "{name}");
        assert_eq!(of(name)[0]["action"], "SCMP_ACT_ALLOW", "{name}");
    }
    // No namespaces: Docker allows these only to the privileged.
    assert!(of("unshare").iter().chain(&of("clone")).all(|rule| !rule["args"].is_null()));
    for name in ["mount", "ptrace", "bpf", "setns", "keyctl", "kexec_load", "init_module"] {
        assert!(of(name).is_empty(), "{name}");
    }
}

#[test]
fn the_image_is_built_from_all_that_cargo_needs() {
    let file = read("deploy/container/Containerfile");
    let folder = Folder::new();
    let copied = file.lines().filter_map(|line| line.strip_prefix("COPY ")).flat_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        words[..words.len() - 1].to_vec()
    });
    for name in copied.filter(|name| !name.starts_with('-') && !name.starts_with('/')) {
        let from = project_file(name);
        run_well("cp", &["-r", text_of(&from), text_of(&folder)]);
        let ignore = read("deploy/container/Containerfile.dockerignore");
        assert!(ignore.lines().any(|line| line.strip_prefix('!') == Some(name)), "{name}");
    }
    let manifest = folder.join("Cargo.toml");
    let arguments = ["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"];
    let more = ["--manifest-path", text_of(&manifest)];
    let described = run_well(env!("CARGO"), &[&arguments[..], &more].concat());
    assert!(described.contains("\"name\":\"ringwire\""), "{described}");
    for line in ["USER 65532:65532", "STOPSIGNAL SIGTERM", "EXPOSE 8080"] {
        assert!(file.lines().any(|found| found == line), "{line}");
    }
}

// The monitoring.

#[test]
fn alerts_and_dashboard_ask_for_what_the_server_tells() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--shards", "2"]);
    let python = project_file(".deps/venv/bin/python");
    let [rules, board] = ["deploy/prometheus/prometheus.yml", "deploy/grafana/ringwire.json"]
        .map(project_file)
        .map(|path| text_of(&path).to_owned());
    let url = format!("http://{}/metrics", server.admin_address());
    let checks = program::run(&python, "monitoring.py", &[&rules, &board, &url]);
    assert_eq!(checks, 104);
}
