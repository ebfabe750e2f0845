//! SIGHUP and the files of access: keys and passwords that are replaced while their users are here,
//! files that are no good, and a storm of signals under load.

mod common;
#[path = "common/member.rs"]
mod member;
#[path = "common/observed.rs"]
mod observed;
#[path = "common/raw.rs"]
mod raw;
#[path = "common/reloading.rs"]
mod reloading;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use member::{
    Heard, KEY_FILE, Member, UserFile, auth_password, auth_token, foreign_token, lasting_token,
    upgrade_status,
};
use observed::{Metrics, wait_for_value, wait_until};
use raw::RawClient;
use reloading::{Folder, Reloading, text};

/// How long a test may wait for what is known to come; a failure, never a delay.
const PATIENCE: Duration = Duration::from_secs(25);

/// Of [`foreign_token`].
const FOREIGN_SECRET: &str = "another secret of the tests, also known";

#[test]
fn a_key_is_replaced_and_who_is_here_stays() {
    let folder = Folder::new("keys");
    let key = folder.path("key");
    fs::copy(KEY_FILE, &key).expect("the key of the tests can be copied");
    let toml = format!("auth = 'token'\nauth-key = ['{}']\n", text(&key));
    let site = Reloading::start_in(folder, &toml, &["--shards", "2"]);
    let address = site.address();
    let status = |token: &str| upgrade_status(address, &format!("/chat?token={token}"));
    let (old, new) = (lasting_token("ada"), foreign_token("ada"));
    let mut members: Vec<Member> = (0..3).map(|_| Member::come_with(address, &old)).collect();
    assert_eq!([status(&old), status(&new)], [101, 401]);

    site.folder.write("key", FOREIGN_SECRET);
    assert!(site.reload_again().ends_with("reload: changed auth-key"));
    assert_eq!([status(&old), status(&new)], [401, 101]);
    for member in &mut members {
        member.expect_pong();
    }
    let mut renewed = members.pop().expect("there are three");
    assert_eq!(renewed.ask(&auth_token(&new))["type"], "auth_success");
    renewed.expect_pong();
    let mut late = members.pop().expect("there are two more");
    late.say(&auth_token(&old));
    late.expect_refusal("Authentication failed");

    let both = format!(
        "auth = 'token'\nauth-key = ['{}', '{KEY_FILE}']\n",
        text(&site.folder.path("key"))
    );
    site.reload_changes(&both, "auth-key");
    assert_eq!([status(&old), status(&new)], [101, 101]);
    assert!(site.reload_again().ends_with("reload: nothing has changed"));
    for member in members {
        member.leave();
    }
    let said = site.server.output();
    assert!(!said.contains(FOREIGN_SECRET) && !said.contains(&new), "{said}");
}

#[test]
fn users_are_replaced_and_can_come_late() {
    let toml = |users: &str| format!("auth = 'message'\nauth-key = ['{KEY_FILE}']\n{users}");
    let site = Reloading::start("users", &toml(""), &["--shards", "2"]);
    let address = site.address();
    let refused = |name: &str, password: &str| {
        let mut member = Member::come(address);
        member.say(&auth_password(name, password));
        member.expect_refusal("Authentication failed");
    };
    refused("ada", "right");
    let first = UserFile::new("first", &[("ada", "right", 8)]);
    let with_first = toml(&format!("auth-users = '{}'\n", first.path()));
    site.reload_changes(&with_first, "auth-users");
    let mut ada = Member::come_as(address, &auth_password("ada", "right"));
    refused("bob", "other");

    let second = UserFile::new("second", &[("bob", "other", 8)]);
    fs::copy(second.path(), first.path()).expect("the file can be replaced");
    assert!(site.reload_again().ends_with("reload: changed auth-users"));
    refused("ada", "right");
    Member::come_as(address, &auth_password("bob", "other")).leave();
    ada.expect_pong();

    site.reload_changes(&toml(""), "auth-users");
    refused("bob", "other");
    Member::come_as(address, &auth_token(&lasting_token("eve"))).leave();
    ada.leave();
}

/// What a start says and what a reload says must be the same, and nothing may have changed.
#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let folder = Folder::new("bad");
    let key = folder.path("key");
    fs::copy(KEY_FILE, &key).expect("the key of the tests can be copied");
    let users = folder.path("users");
    let valid = UserFile::new("valid", &[("ada", "right", 8)]);
    fs::copy(valid.path(), &users).expect("the file can be copied");
    let good = format!(
        "auth = 'message'\nauth-key = ['{}']\nauth-users = '{}'\nmax-message = 100\n",
        text(&key),
        text(&users),
    );
    let site = Reloading::start_in(folder, &good, &["--shards", "1"]);
    let token = lasting_token("ada");
    let path = format!("/echo?token={token}");
    let mut client = RawClient::open(site.address(), &path);
    let changed = good.replace("100", "50");
    let with = |more: &str| format!("{changed}{more}\n");
    for (toml, reason) in [
        (with("heartbeat = "), "TOML parse error"),
        (with("hearbeat = '5s'"), "unknown field `hearbeat`"),
        (with("heartbeat = '999ms'"), "heartbeat must be from 1s to 3600s, not 999ms"),
        (with("max-memory = '1MiB'"), "max-memory must be at least 16MiB"),
        (with("rate-limit = '0/1s'"), "the amount of rate-limit must be from 1"),
        (with("log-level = 'ringwire=loud'"), "is no filter"),
        (with("allow-origin = ['a.example']"), "it needs a scheme"),
        (with("require-origin = true"), "require-origin needs allow-origin"),
        (changed.replace("/key'", "/none'"), "cannot read the key file"),
        (changed.replace("/users'", "/none'"), "cannot read the password file"),
        (changed.replace("/users'", "'"), "cannot read the password file"),
        (changed.replace("/users'", "/key'"), "in the password file"),
        (
            changed.replace(text(&key), &KEY_FILE.replace("hs256.secret", "rsa.private.pem")),
            "is a private key",
        ),
        (changed.replace("'message'", "'token'"), "auth-users needs auth message"),
    ] {
        site.refuses(|| site.write(&toml), reason);
        client.echo(&"x".repeat(100));
    }
    site.write(&changed);
    let spoil_key = || drop(site.folder.write("key", "too short"));
    let said = site.refuses(spoil_key, "9 bytes");
    assert!(!said.contains("too short"), "{said}");
    fs::copy(KEY_FILE, site.folder.path("key")).expect("the key is back");
    let remove = || fs::remove_file(site.config_path()).expect("it was there");
    site.refuses(remove, "cannot read the configuration file");
    RawClient::open(site.address(), &path).echo(&"x".repeat(100));
    site.reload_changes(&changed, "max-message");
    client.send_frame(raw::TEXT, "x".repeat(100).as_bytes());
    client.expect_failure(1009, "the limit is lower now");
}

#[test]
fn a_file_that_does_not_answer_holds_nothing_up() {
    let mut site = Reloading::start("stuck", "", &["--shards", "1", "--drain", "1s"]);
    let pipe = site.folder.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo(1) is in the coreutils");
    assert!(made.success());
    site.write(&format!("auth = 'token'\nauth-key = ['{}']\n", text(&pipe)));
    site.hang_up();
    let tasks = format!("/proc/{}/task", site.server.pid());
    wait_until(PATIENCE, || {
        let threads = fs::read_dir(&tasks).expect("the server runs").filter_map(Result::ok);
        let mut names = threads.filter_map(|task| fs::read(task.path().join("comm")).ok());
        let is_reading = names.any(|name| name == b"reload\n");
        is_reading.then_some(()).ok_or_else(|| "nobody reads the pipe".to_owned())
    });
    let mut client = RawClient::open(site.address(), "/echo");
    client.echo("served");
    client.close();
    site.server.terminate();
    assert!(site.server.wait_for_exit(PATIENCE).success());
}

#[test]
fn a_storm_of_signals_loses_nothing() {
    const SIGNALS: usize = 100;
    const MEMBERS: usize = 8;
    let toml = |number: usize| {
        let heartbeat = 20 + number % 7;
        let most = 1000 + number;
        format!(
            "rate-limit = 'off'\nrate-bytes = 'off'\nheartbeat = '{heartbeat}s'\n\
             max-connections = {most}\nmax-connections-per-address = {most}\n\
             max-message = {most}\nhistory-messages = {number}\n"
        )
    };
    let site = Reloading::start("storm", &toml(0), &["--shards", "3"]);
    let address = site.address();
    let ended = AtomicBool::new(false);
    let mut members: Vec<Member> = (0..MEMBERS).map(|_| Member::come(address)).collect();
    for member in &mut members {
        member.join("room");
    }
    thread::scope(|scope| {
        let ended = &ended;
        let ending = Ending(ended);
        for member in members {
            scope.spawn(move || talk(member, ended));
        }
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let mut client = RawClient::open(address, "/echo");
                client.echo("in the storm");
                client.close();
            }
        });
        for number in 1..=SIGNALS {
            // As an editor that takes care does, so that no half of a file is read.
            let new = site.folder.write("new.toml", &toml(number));
            fs::rename(new, site.config_path()).expect("within one folder");
            site.hang_up();
            // The storm is spread over the load: each signal waits for messages to pass.
            let said = || Metrics::scrape(site.admin()).value("messages_received_total");
            let before = said();
            wait_until(PATIENCE, || {
                let passed = said() - before;
                (passed >= 5).then_some(()).ok_or_else(|| format!("{passed} messages passed"))
            });
        }
        wait_for_value(site.admin(), "connections_max", (1000 + SIGNALS) as u64);
        drop(ending);
    });
    wait_for_value(site.admin(), "connections", 0);
    let said = site.server.output();
    assert!(!said.contains("ERROR") && !said.contains("WARN"), "{said}");
    let metrics = Metrics::scrape(site.admin());
    assert_eq!(metrics.closed("client_close"), metrics.value("connections_opened_total"));
}

/// Ends the load, also when the test has failed.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Says numbers into the room until the end; hears those of all in their order.
fn talk(mut member: Member, ended: &AtomicBool) {
    let (mut offset, mut mine) = (None, 0_u64);
    let own = format!("guest-{}", member.id);
    while !ended.load(Ordering::Relaxed) {
        let text = mine.to_string();
        member.say(&member::chat(&text));
        let mut is_back = false;
        while !is_back {
            let message = match member.next() {
                Heard::Message(message) => message,
                other => panic!("{other:?} in the storm"),
            };
            if message["type"] != "chat_message" {
                assert!(
                    ["user_joined", "user_left"].iter().any(|kind| message["type"] == *kind),
                    "{message}"
                );
                continue;
            }
            let number = message["offset"].as_u64().expect("a message has an offset");
            assert!(offset.is_none_or(|last| number == last + 1), "{number} after {offset:?}");
            offset = Some(number);
            is_back = message["username"] == own.as_str();
            assert!(!is_back || message["text"] == text.as_str(), "{message}");
        }
        mine += 1;
    }
    member.leave();
}
