//! Command lines that are understood, and those that are not.

use super::*;

fn parse(line: &str) -> Result<Arguments, String> {
    let words = std::iter::once("loadtest").chain(line.split(' '));
    Arguments::try_parse_from(words).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_those_of_the_help() {
    let arguments = parse("idle --url ws://127.0.0.1:8080/chat?x=1 --connections 7").unwrap();
    let common = arguments.scenario.common();
    let url = &common.url[0];
    assert_eq!(url.address, "127.0.0.1:8080".parse().unwrap());
    assert_eq!((url.authority.as_str(), &*url.path), ("127.0.0.1:8080", "/chat?x=1"));
    assert_eq!((common.duration, common.warmup), (Duration::from_secs(30), Duration::from_secs(1)));
    assert_eq!((common.connect_rate, common.leave), (ConnectRate::Max, Leave::Close));
    assert_eq!(common.threads, None);
}

#[test]
fn flags_without_effect_are_refused() {
    let server = "--url ws://127.0.0.1:1 --connections 1";
    for flags in ["echo --closed --depth 4", "echo --rate 5 --poisson", "rate --rate 0.5"] {
        assert!(parse(&format!("{flags} {server}")).is_ok(), "{flags}");
    }
    for flags in [
        "echo",
        "echo --rate 5 --closed",
        "echo --closed --poisson",
        "rate",
        "rate --rate 0",
        "idle --size 5",
        "idle --rate 5",
        "broadcast",
        "broadcast --closed --publishers 3",
    ] {
        assert!(parse(&format!("{flags} {server}")).is_err(), "{flags}");
    }
}

#[test]
fn bad_values_are_refused() {
    for flags in ["--connections 0", "--connect-rate 0", "--duration 5parsecs", "--threads 0"] {
        let defaults = if flags.starts_with("--connections") { "" } else { " --connections 1" };
        assert!(parse(&format!("idle --url ws://[::1]:1{defaults} {flags}")).is_err(), "{flags}");
    }
}

#[test]
fn broadcast_messages_have_room_for_their_stamp() {
    let line = "broadcast --url ws://127.0.0.1:1 --connections 1 --size";
    for (flags, fits) in [
        ("7 --closed", false),
        ("8 --closed", true),
        ("15 --text --closed", false),
        ("27 --rate 1", false),
        ("28 --rate 1", true),
        ("55..90 --text --rate 1", false),
        ("56 --text --rate 1", true),
    ] {
        let checked = parse(&format!("{line} {flags}")).expect(flags).check();
        assert_eq!(checked.is_ok(), fits, "{flags}");
    }
}

#[test]
fn publishers_are_clients() {
    let line = "broadcast --url ws://127.0.0.1:1 --rate 1 --size 64 --connections";
    assert!(parse(&format!("{line} 3 --publishers 3")).unwrap().check().is_ok());
    assert!(parse(&format!("{line} 3 --publishers 4")).unwrap().check().is_err());
    assert!(parse(&format!("{line} 1000000 --publishers 1000")).unwrap().check().is_err());
}

#[test]
fn runs_that_would_measure_nobody_are_refused() {
    let check = |flags: &str| {
        let line = format!("{flags} --url ws://127.0.0.1:1 --warmup 1s --duration 9s");
        parse(&line).expect(flags).check()
    };
    assert!(check("storm --connections 10 --drop 0.05").unwrap_err().contains("above 0.1"));
    assert_eq!(check("storm --connections 10 --drop 0.1"), Ok(()));
    assert_eq!(check("storm --connections 3 --drop 0.3333333333333333"), Ok(()));
    assert!(check("churn --connections 2 --lifetime 20s").unwrap_err().contains("--lifetime"));
    assert_eq!(check("churn --connections 3 --lifetime 20s"), Ok(()));
}

#[test]
fn newcomers_come_beside_those_that_stay() {
    let complete = |flags: &str| {
        let line = format!("restart --url ws://127.0.0.1:1 --connections {flags}");
        let mut arguments = parse(&line)?;
        arguments.complete()?;
        let ScenarioArguments::Restart { common, restart } = arguments.scenario else {
            panic!("restart")
        };
        Ok::<_, String>((common.connections, restart.newcomers()))
    };
    assert_eq!(complete("10"), Ok((10, 0)));
    assert_eq!(complete("10 --churn-rate 4.5"), Ok((15, 5)));
    assert_eq!(complete("10 --churn-rate 5000 --newcomers 7"), Ok((17, 7)));
    assert!(complete("16000000 --churn-rate 1").unwrap_err().contains("--newcomers"));
    assert!(complete("10 --newcomers 7").is_err() && complete("10 --send-rate -1").is_err());
}

#[test]
fn urls_and_subprotocols_are_lists() {
    let line = "idle --connections 1 --url ws://127.0.0.1:1,ws://127.0.0.1:2 --protocol a";
    let check = |flags: &str| parse(&format!("{line} {flags}")).unwrap().check();
    assert_eq!(check("--url ws://127.0.0.1:3 --protocol b"), Ok(()));
    assert!(check("--protocol a").unwrap_err().contains("twice"));
    assert!(check("--url ws://[::1]:3").unwrap_err().contains("IP version"));
    assert!(parse("idle --connections 1").is_err());
}

#[test]
fn durations_have_units() {
    assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
    assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
    assert!(duration("-1s").is_err() && duration("s").is_err() && duration("inf").is_err());
}

#[test]
fn tls_is_for_servers_that_speak_it() {
    let line = "idle --connections 1 --url";
    let check = |flags: &str| parse(&format!("{line} {flags}")).unwrap().check();
    assert_eq!(check("wss://127.0.0.1 --insecure --tls-version 1.2 --tls-resume"), Ok(()));
    // One of several is enough.
    assert_eq!(check("ws://127.0.0.1:1,wss://127.0.0.1:2 --tls-ca /nowhere"), Ok(()));
    for flag in ["--insecure", "--tls-ca /nowhere", "--tls-version 1.3", "--tls-resume"] {
        assert!(check(&format!("ws://127.0.0.1 {flag}")).unwrap_err().contains("wss://"), "{flag}");
    }
    assert!(parse(&format!("{line} wss://127.0.0.1 --insecure --tls-ca /nowhere")).is_err());
}

#[test]
fn compression_has_the_defaults_of_the_server() {
    let parse = |flags: &str| parse(&format!("idle --connections 1 --url ws://127.0.0.1{flags}"));
    let of = |flags: &str| parse(flags).unwrap().scenario.common().deflate.clone();
    assert_eq!((of("").policy(), of("").level(), of("").least()), (None, 1, 256));
    let dedicated = of(" --compression dedicated --compression-level 6 --compression-min 0");
    assert!(dedicated.policy().is_some_and(|policy| policy.takeover));
    assert_eq!((dedicated.level(), dedicated.least()), (6, 0));
    assert!(of(" --compression shared").policy().is_some_and(|policy| !policy.takeover));
    assert!(parse(" --compression-level 2").unwrap().check().is_err());
}
