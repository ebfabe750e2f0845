//! Tests of the settings.

use super::*;
use crate::security::{AdmissionLimits, AuthMode, Origins, Proxies, RateLimit};

fn command(args: &[&str]) -> Result<Command, clap::Error> {
    parse(std::iter::once("ringwire").chain(args.iter().copied()))
}

fn config(args: &[&str]) -> Config {
    match command(args) {
        Ok(Command::Serve(config) | Command::Check(config)) => config,
        Ok(Command::Top(_)) => panic!("{args:?} start no server"),
        Err(error) => panic!("{args:?}: {error}"),
    }
}

fn refusal(args: &[&str]) -> String {
    let error = command(args).expect_err("this command line is wrong");
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

/// A configuration file that lives as long as the value.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("ringwire-config-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("the temporary directory is writable");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path was made from UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // A left-over file harms nobody, and a panic here would hide the test's own.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn no_arguments_serve_with_the_defaults() {
    assert_eq!(command(&[]).unwrap(), Command::Serve(Config::default()));
    assert_eq!(command(&["serve"]).unwrap(), Command::Serve(Config::default()));
    assert_eq!(command(&["check"]).unwrap(), Command::Check(Config::default()));
}

#[test]
fn the_defaults_are_within_their_own_bounds() {
    assert_eq!(Settings::default().into_config(), Ok(Config::default()));
}

#[test]
fn flags_mean_the_same_with_and_without_serve() {
    let flags = ["--listen", "127.0.0.1:1", "--listen", "[::1]:2", "--max-message", "64KiB"];
    let bare = command(&flags).unwrap();
    assert_eq!(bare, command(&[&["serve"], &flags[..]].concat()).unwrap());
    let Command::Serve(config) = bare else { panic!("a bare command line serves") };
    assert_eq!(config.listen, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    assert_eq!(config.max_message, 65_536);
}

#[test]
fn every_flag_reaches_the_configuration() {
    let line = "--shards 3 --app broadcast --admin off --heartbeat 2m --max-message 1048576 \
                --max-connections 7 --max-memory 2GiB --drain 500ms \
                --log-level ringwire=debug,warn --admin-token-file token";
    let expected = Config {
        shards: NonZeroUsize::new(3),
        app: DefaultApp::Broadcast,
        admin: None,
        admin_token_file: Some("token".into()),
        heartbeat: Duration::from_secs(120),
        max_message: 1_048_576,
        max_connections: Some(7),
        max_memory: Some(2 << 30),
        drain: Duration::from_millis(500),
        log_level: "ringwire=debug,warn".to_owned(),
        ..Config::default()
    };
    assert_eq!(config(&line.split_whitespace().collect::<Vec<_>>()), expected);
}

#[test]
fn the_file_knows_every_flag_and_flags_win() {
    let file = File::new(
        "all",
        "listen = ['127.0.0.1:1', '127.0.0.1:2']\nshards = 3\napp = 'broadcast'\n\
         admin = '[::1]:9'\nheartbeat = '1h'\nmax-message = 4096\nmax-connections = 7\n\
         max-memory = '16MiB'\ndrain = '1s'\nlog-level = 'warn'\nadmin-token-file = 'token'\n",
    );
    let expected = Config {
        listen: vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap()],
        shards: NonZeroUsize::new(3),
        app: DefaultApp::Broadcast,
        admin: Some("[::1]:9".parse().unwrap()),
        admin_token_file: Some("token".into()),
        heartbeat: Duration::from_secs(3600),
        max_message: 4096,
        max_connections: Some(7),
        max_memory: Some(limits::MEMORY_MIN),
        drain: Duration::from_secs(1),
        log_level: "warn".to_owned(),
        ..Config::default()
    };
    assert_eq!(config(&["--config", file.path()]), expected);
    let flags = ["check", "--config", file.path(), "--listen", "0.0.0.0:80", "--app", "echo"];
    let won = config(&flags);
    assert_eq!(won.listen, ["0.0.0.0:80".parse().unwrap()]);
    assert_eq!((won.app, won.shards), (DefaultApp::Echo, NonZeroUsize::new(3)));
}

#[test]
fn tls_and_compression_are_read_from_flags_and_file() {
    let line = "--listen [::1]:1 --tls-listen [::1]:2 --tls-listen [::1]:3 --tls-cert a \
                --tls-key b --tls-cert c --tls-key d --tls-client-ca e --tls-client-auth optional \
                --compression dedicated --compression-level 9 --compression-min 1KiB";
    let files = |chain: &str, key: &str| CertificateFiles { chain: chain.into(), key: key.into() };
    let expected = Config {
        listen: vec!["[::1]:1".parse().unwrap()],
        tls: TlsConfig {
            listen: vec!["[::1]:2".parse().unwrap(), "[::1]:3".parse().unwrap()],
            certificates: vec![files("a", "b"), files("c", "d")],
            client_ca: Some("e".into()),
            client_auth: ClientAuth::Optional,
        },
        compression: CompressionConfig {
            mode: CompressionMode::Dedicated,
            level: 9,
            min_bytes: 1024,
            window_bits: 12,
        },
        ..Config::default()
    };
    assert_eq!(config(&line.split_whitespace().collect::<Vec<_>>()), expected);
    let file = File::new(
        "tls",
        "listen = ['[::1]:1']\ntls-listen = ['[::1]:2', '[::1]:3']\ntls-cert = ['a', 'c']\n\
         tls-key = ['b', 'd']\ntls-client-ca = 'e'\ntls-client-auth = 'optional'\n\
         compression = 'dedicated'\ncompression-level = 9\ncompression-min = '1KiB'\n",
    );
    assert_eq!(config(&["--config", file.path()]), expected);
    let wide = config(&["--config", file.path(), "--compression-window", "15"]);
    assert_eq!(wide.compression.window_bits, 15);
    let off = config(&["--config", file.path(), "--compression", "off"]);
    assert_eq!(off.compression.mode, CompressionMode::Off);
}

#[test]
fn who_asks_for_tls_alone_gets_no_door_without_it() {
    let pair = ["--tls-cert", "a", "--tls-key", "b"];
    let tls = config(&[&["--tls-listen", "[::1]:2"], &pair[..]].concat());
    assert_eq!(tls.listen, []);
    assert_eq!(tls.addresses().collect::<Vec<_>>(), ["[::1]:2".parse().unwrap()]);
    let any = ["--listen", "[::1]:0", "--tls-listen", "[::1]:0"];
    let both = config(&[&any, &pair[..]].concat());
    assert_eq!(both.addresses().count(), 2, "each has a port of its own");
}

#[test]
fn settings_of_tls_must_fit_together() {
    let cert = "--tls-listen [::1]:2 --tls-cert a";
    let pair = format!("{cert} --tls-key b");
    for (line, expected) in [
        ("--tls-listen [::1]:2", "tls-listen needs tls-cert FILE and tls-key FILE"),
        (cert, "there are 1 of tls-cert and 0 of tls-key"),
        ("--tls-key b", "there are 0 of tls-cert and 1 of tls-key"),
        ("--tls-cert a --tls-key b", "tls-cert is of no use without tls-listen"),
        ("--tls-client-ca c", "tls-client-ca is of no use without tls-listen"),
        ("--tls-client-auth required", "tls-client-auth is of no use without tls-listen"),
        (&format!("{pair} --tls-client-auth optional"), "tls-client-auth needs tls-client-ca"),
        (&format!("{pair} --listen [::1]:2"), "[::1]:2 is an address of listen and of tls-listen"),
        (
            &format!("{pair}{}", " --tls-cert a --tls-key b".repeat(limits::CERTIFICATES_MAX)),
            "the number of tls-cert files must be from 0 to 256, not 257",
        ),
    ] {
        let message = refusal(&line.split_whitespace().collect::<Vec<_>>());
        assert!(message.contains(expected), "{line}: {message}");
    }
}

#[test]
fn the_log_is_set_by_flags_and_file_alike() {
    let flags = "--log-dir logs --log-file-size 64KiB --log-files 1 --summary off";
    let text = "log-dir = 'logs'\nlog-file-size = '64KiB'\nlog-files = 1\nsummary = 'off'\n";
    let file = File::new("log", text);
    let directory = Some("logs".into());
    let expected = LogConfig { directory, file_bytes: 65_536, files: 1, summary: None };
    assert_eq!(config(&flags.split_whitespace().collect::<Vec<_>>()).log, expected);
    assert_eq!(config(&["--config", file.path()]).log, expected);
    assert_eq!(config(&["--summary", "1s"]).log.summary, Some(Duration::from_secs(1)));
}

#[test]
fn an_unknown_key_is_refused_with_its_name_and_the_file() {
    for key in ["heart-beat", "max_message", "config"] {
        let file = File::new(key, &format!("shards = 1\n{key} = '30s'\n"));
        let message = refusal(&["--config", file.path()]);
        assert!(message.contains(&format!("unknown field `{key}`")), "{message}");
        assert!(message.contains(file.path()) && message.contains("line 2"), "{message}");
    }
}

#[test]
fn a_bad_file_is_refused_with_the_place() {
    for (name, text) in [
        ("syntax", "shards = "),
        ("type", "listen = 8080"),
        ("zero", "shards = 0"),
        ("value", "heartbeat = '30 seconds'"),
        ("app", "app = 'telnet'"),
        ("sign", "max-message = -1"),
    ] {
        let file = File::new(name, text);
        let message = refusal(&["--config", file.path()]);
        assert!(message.contains(file.path()) && message.contains("line 1"), "{message}");
    }
    let message = refusal(&["--config", "/nonexistent/ringwire.toml"]);
    assert!(message.contains("cannot read") && message.contains("/nonexistent"), "{message}");
}

#[test]
fn values_out_of_bounds_are_refused_by_name() {
    for (flag, bad) in [
        ("--heartbeat", "999ms"),
        ("--heartbeat", "61m"),
        ("--compression", "on"),
        ("--compression-level", "0"),
        ("--compression-level", "10"),
        ("--compression-min", "65MiB"),
        ("--compression-window", "8"),
        ("--compression-window", "16"),
        ("--heartbeat", "off"),
        ("--heartbeat", "30"),
        ("--drain", "2h"),
        ("--drain", "18446744073709551615h"),
        ("--max-message", "0"),
        ("--max-message", "65MiB"),
        ("--max-message", "1MB"),
        ("--max-message", "99999999999999999999"),
        ("--max-connections", "0"),
        ("--max-memory", "0"),
        ("--max-memory", "15MiB"),
        ("--max-memory", "99999999999GiB"),
        ("--shards", "0"),
        ("--shards", "1025"),
        ("--admin", "on"),
        ("--listen", "localhost"),
        ("--log-level", "ringwire=loud"),
        ("--log-level", ""),
        ("--log-level", " ,"),
        ("--log-file-size", "63KiB"),
        ("--log-file-size", "1025MiB"),
        ("--log-files", "0"),
        ("--log-files", "101"),
        ("--summary", "999ms"),
        ("--summary", "61m"),
        ("--auth", "basic"),
        ("--max-connections-per-address", "0"),
        ("--handshake-rate", "20"),
        ("--handshake-rate", "0/10s"),
        ("--rate-limit", "100/999ms"),
        ("--rate-limit", "100/61m"),
        ("--rate-limit", "1KiB/60s"),
        ("--rate-limit", "1000001/60s"),
        ("--rate-limit", "100/60s/1"),
        ("--rate-bytes", "1MB/60s"),
        ("--rate-bytes", "2049MiB/60s"),
        ("--history-messages", "100001"),
        ("--history-age", "25h"),
    ] {
        let message = refusal(&[flag, bad]);
        let name = flag.trim_start_matches('-');
        assert!(message.contains(name), "{flag} {bad}: {message}");
    }
    assert_eq!(config(&["--heartbeat", "1s"]).heartbeat, limits::HEARTBEAT_MIN);
    assert_eq!(config(&["--max-message", "64MiB"]).max_message, limits::MESSAGE_BYTES_MAX);
}

/// Every setting of access and of the chat, as flags and as a file.
const ACCESS_FLAGS: &str = "--auth message --auth-key a.pem --auth-key b.pem --auth-users users \
    --allow-origin https://a.example --allow-origin http://b:81 --require-origin \
    --trusted-proxy 10.0.0.0/24 --trusted-proxy ::1 --proxy-protocol \
    --max-connections-per-address 5 --handshake-rate 20/10s --rate-limit 7/1s \
    --rate-bytes 64KiB/2m --history-messages 0 --history-age 1h";
const ACCESS_FILE: &str = "auth = 'message'\nauth-key = ['a.pem', 'b.pem']\nauth-users = 'users'\n\
    allow-origin = ['https://a.example', 'http://b:81']\nrequire-origin = true\n\
    trusted-proxy = ['10.0.0.0/24', '::1']\nproxy-protocol = true\n\
    max-connections-per-address = 5\nhandshake-rate = '20/10s'\nrate-limit = '7/1s'\n\
    rate-bytes = '64KiB/2m'\nhistory-messages = 0\nhistory-age = '1h'\n";

#[test]
fn access_and_chat_are_read_from_flags_and_file() {
    let access = AccessConfig {
        auth: AuthMode::Message,
        keys: vec!["a.pem".into(), "b.pem".into()],
        users: Some("users".into()),
        origins: Origins::new(&["https://a.example", "http://b:81"], true).unwrap(),
        proxies: Proxies::new(&["10.0.0.0/24", "::1"], true).unwrap(),
        per_address: AdmissionLimits {
            connections: std::num::NonZeroU32::new(5),
            handshakes: Some(RateLimit { count: 20, window: 100 }),
        },
    };
    let chat = ChatConfig {
        rate_limit: Some(RateLimit { count: 7, window: 10 }),
        rate_bytes: Some(RateLimit { count: 65_536, window: 1200 }),
        history_messages: 0,
        history_age: Duration::from_secs(3600),
    };
    let expected = Config { access, chat, ..Config::default() };
    assert_eq!(config(&ACCESS_FLAGS.split_whitespace().collect::<Vec<_>>()), expected);
    let file = File::new("access", ACCESS_FILE);
    assert_eq!(config(&["--config", file.path()]), expected);
    let off = "--rate-limit off --rate-bytes off --max-connections-per-address off \
               --handshake-rate off";
    let off: Vec<&str> = off.split_whitespace().collect();
    let won = config(&[&["--config", file.path()], &off[..]].concat());
    assert_eq!((won.chat.rate_limit, won.chat.rate_bytes), (None, None));
    assert!(won.access.per_address.is_off());
}

#[test]
fn settings_of_access_must_fit_together() {
    for (line, expected) in [
        ("--auth-key k", "need auth token or auth message"),
        ("--auth none --auth-users u", "need auth token or auth message"),
        ("--auth token", "auth token needs auth-key"),
        ("--auth token --auth-users u", "auth token needs auth-key"),
        ("--auth token --auth-key k --auth-users u", "auth-users needs auth message"),
        ("--auth message", "auth message needs auth-users"),
        ("--require-origin", "require-origin needs allow-origin"),
        ("--allow-origin https://a --allow-origin b", "allow-origin \"b\": it needs a scheme"),
        ("--allow-origin * --allow-origin https://a", "must stand alone"),
        ("--proxy-protocol", "proxy-protocol needs trusted-proxy"),
        ("--trusted-proxy ::1 --trusted-proxy a", "trusted-proxy \"a\": expected an address"),
        ("--trusted-proxy 10.0.0.1/24", "the network of this address is 10.0.0.0/24"),
    ] {
        let message = refusal(&line.split_whitespace().collect::<Vec<_>>());
        assert!(message.contains(expected), "{line}: {message}");
    }
    for line in [
        "--auth none",
        "--auth token --auth-key k",
        "--auth message --auth-key k",
        "--auth message --auth-users u",
        "--allow-origin * --require-origin",
    ] {
        config(&line.split_whitespace().collect::<Vec<_>>());
    }
    let many = [&["--auth", "token"][..], &["--auth-key", "k"].repeat(17)].concat();
    assert!(refusal(&many).contains("auth-key"));
    let many = ["--trusted-proxy", "::1"].repeat(limits::TRUSTED_PROXIES_MAX + 1);
    assert!(refusal(&many).contains("trusted-proxy"));
}

#[test]
fn an_empty_list_of_origins_is_not_taken_for_all_of_them() {
    for (name, require) in [("none", ""), ("none-required", "\nrequire-origin = true")] {
        let file = File::new(name, &format!("allow-origin = []{require}"));
        let message = refusal(&["--config", file.path()]);
        assert!(message.contains("allow-origin is an empty list"), "{message}");
    }
}

#[test]
fn an_empty_list_of_listeners_is_refused() {
    let file = File::new("silent", "listen = []");
    assert!(refusal(&["--config", file.path()]).contains("listen needs"));
}

#[test]
fn help_is_no_error_to_the_shell() {
    for line in [&["--help"][..], &["check", "--help"], &["--version"]] {
        assert_eq!(command(line).unwrap_err().exit_code(), 0);
    }
}

#[test]
fn top_has_flags_of_its_own() {
    assert_eq!(command(&["top"]).unwrap(), Command::Top(TopConfig::default()));
    let flags = ["top", "--admin", "[::1]:7", "--admin-token-file", "t", "--interval", "2s"];
    let config = TopConfig {
        admin: SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 7)),
        token_file: Some("t".into()),
        interval: Duration::from_secs(2),
        once: false,
    };
    assert_eq!(command(&flags).unwrap(), Command::Top(config));
    assert!(refusal(&["top", "--interval", "999ms"]).contains("interval must be from 1s to"));
    assert!(refusal(&["top", "--shards", "2"]).contains("--shards"));
}
