//! What becomes of the log when the disk is full, and of the server.

mod common;
#[path = "common/folder.rs"]
mod folder;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;

use common::Server;
use folder::Folder;
use observed::{Metrics, wait_until, wait_until_still};
use raw::{RawClient, is_served};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// How long something may take that takes a second at most.
const SOON: Duration = Duration::from_secs(30);

/// Starts the server with all its log in `folder`.
fn start(folder: &Folder, wrapper: &[&str]) -> Server {
    let log = ["--log-level", "debug", "--log-dir", folder.path()];
    let args = [&["--shards", "1", "--admin", "127.0.0.1:0"], &log[..]].concat();
    Server::start_under(wrapper, &args)
}

/// Lines that a sink did not get.
fn dropped(admin: SocketAddr, sink: &str) -> u64 {
    let label = format!("sink=\"{sink}\"");
    Metrics::scrape(admin).labelled("log_lines_dropped_total", &label)
}

/// Sends that many messages to `/echo` and takes them back.
fn flood(address: SocketAddr, messages: usize) {
    let mut client = RawClient::open(address, "/echo");
    for _ in 0..messages {
        client.echo("what goes around comes around, and is worth a line of the log each time");
    }
    client.close();
}

/// Lets no file of the server grow beyond `bytes`: to it the disk is full then.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let pid = Pid::from_raw(server.pid().cast_signed()).expect("the server has a process id");
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Some(pid), Resource::Fsize, limit).expect("the limit of a child can be set");
}

/// Has a server lose lines on the disk that it finds full, or that `fill` makes so, and go on once
/// `relieve` has made room. `folder` is that of its log.
fn outlive_full_disk(
    mut server: Server,
    folder: &Folder,
    fill: impl FnOnce(&Server),
    relieve: impl FnOnce(&Server),
) {
    let (address, admin) = (server.address(), server.admin_address());
    flood(address, 10);
    let lost = || {
        let label = "sink=\"combined\",reason=\"error\"";
        Metrics::scrape(admin).labelled("log_lines_dropped_total", label)
    };
    assert_eq!(lost(), 0);
    fill(&server);
    wait_until(SOON, || {
        flood(address, 50);
        (lost() > 50).then_some(()).ok_or_else(|| "no line was lost".to_owned())
    });
    assert!(is_served(address));
    wait_until(SOON, || {
        let said = server.output().contains("cannot write the log");
        said.then_some(()).ok_or_else(|| "nobody was told".to_owned())
    });

    relieve(&server);
    // Lines that were lost are told again after some seconds only.
    wait_until(SOON, || {
        flood(address, 1);
        let text = folder.text("combined.log");
        let is_told = |line: &str| line.contains("\"sink\":\"combined\",\"lines\":");
        text.lines().any(is_told).then_some(()).ok_or_else(|| "nobody was told".to_owned())
    });
    wait_until_still(admin, "log_lines_total");
    wait_until(SOON, || {
        let of_file =
            folder.text("combined.log").lines().count() as u64 + dropped(admin, "combined");
        let output = server.output();
        let stderr = output.lines().filter(|line| line.contains(" ringwire::")).count() as u64;
        let of_stderr = stderr + dropped(admin, "stderr");
        let message = || format!("{of_file} lines for the file, {of_stderr} for standard error");
        (of_file == of_stderr).then_some(()).ok_or_else(message)
    });
    // Every line is whole.
    folder.lines("combined.log");
    server.terminate();
    assert!(server.wait_for_exit(SOON).success(), "it ends well");
}

#[test]
fn a_limit_of_files_costs_lines_that_are_counted_and_nothing_else() {
    let folder = Folder::new("limited");
    let wrapper = ["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];
    let server = start(&folder, &wrapper);
    let fill = |server: &Server| {
        // In the middle of a line, sooner or later.
        let bytes = fs::metadata(folder.file("combined.log")).expect("the file is there").len();
        limit_files(server, Some(bytes + 1000));
    };
    outlive_full_disk(server, &folder, fill, |server| limit_files(server, None));
}

/// Makes a small file system of its own for the folder, takes up most of it, and becomes the
/// program: `SCRIPT FOLDER PROGRAM…`.
const ON_SMALL_DISK: &str = "mount -t tmpfs -o size=1m none \"$0\" &&
    head -c 960K /dev/zero > \"$0/ballast\" && exec \"$@\"";

/// The options that let unshare(1) give a process file systems of its own.
///
/// # Panics
/// When that is permitted neither to this user nor to a user of a namespace.
fn option_of_unshare(folder: &Folder) -> &'static str {
    let try_option = |option: &&str| {
        let mount = [option, "mount", "-t", "tmpfs", "none", folder.path()];
        let output = Command::new("unshare").args(mount).output();
        output.expect("unshare(1) of util-linux is there").status.success()
    };
    ["-m", "-rm"].into_iter().find(try_option).expect(
        "this test mounts a small tmpfs: run it as root with CAP_SYS_ADMIN (in a container: \
         --cap-add SYS_ADMIN --security-opt apparmor=unconfined), or allow user namespaces \
         (sysctl kernel.unprivileged_userns_clone=1)",
    )
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_nothing_else() {
    let folder = Folder::new("full-disk");
    let option = option_of_unshare(&folder);
    let server = start(&folder, &["unshare", option, "sh", "-c", ON_SMALL_DISK, folder.path()]);
    let seen = folder.seen_by(server.pid());
    let relieve = |_: &Server| {
        fs::remove_file(seen.file("ballast")).expect("the ballast is there");
    };
    outlive_full_disk(server, &seen, |_| {}, relieve);
}
