//! Who does how much: a run is divided so that the parts add up to it.

use std::ops::Range;

use crate::args::{Common, ConnectRate, ScenarioArguments};

/// The numbers of the connections that each of so many workers has. A room is all in one.
///
/// # Errors
/// When there is nothing to do for some of them.
pub(super) fn shares(
    scenario: &ScenarioArguments,
    workers: u32,
) -> Result<Vec<Range<u32>>, String> {
    let connections = scenario.common().connections;
    let (units, of_each) = match scenario {
        ScenarioArguments::Rooms { rooms, .. } => rooms.shape(),
        _ => (connections, 1),
    };
    if units < workers {
        let what = if units < connections { "rooms" } else { "connections" };
        return Err(format!("there is nothing to do for some of the --workers: {units} {what}"));
    }
    let first = |worker| part(units, worker, workers) * of_each;
    Ok((0..workers).map(|worker| first(worker)..first(worker + 1)).collect())
}

/// Makes of a whole run the part that has these connections. What is measured against all
/// connections of the run stays whole: rates of messages, who publishes, the numbers of rooms.
pub(super) fn take(scenario: &mut ScenarioArguments, connections: &Range<u32>) {
    let all = scenario.common().connections;
    let of =
        |amount: u32| part(amount, connections.end, all) - part(amount, connections.start, all);
    let count = connections.end - connections.start;
    let share = f64::from(count) / f64::from(all);
    match scenario {
        ScenarioArguments::Echo { requests, .. } | ScenarioArguments::Rate { requests, .. } => {
            requests.waiting = of(requests.waiting);
        }
        ScenarioArguments::Slow { requests, slow, .. } => {
            requests.waiting = of(requests.waiting);
            slow.slow = of(slow.slow);
        }
        ScenarioArguments::Rooms { load, rooms, .. } => {
            load.rate = load.rate.map(|rate| rate * share);
            rooms.rejoin_rate *= share;
        }
        ScenarioArguments::Churn { churn, .. } => {
            churn.churn_rate = churn.churn_rate.map(|rate| rate * share);
        }
        ScenarioArguments::Storm { storm, .. } => {
            storm.reconnecting = storm.reconnecting.map(|all| of(all).max(1));
        }
        ScenarioArguments::Restart { restart, .. } => {
            restart.newcomers = restart.newcomers.map(of);
            restart.churn_rate = restart.churn_rate.map(|rate| rate * share);
        }
        ScenarioArguments::Idle { .. } | ScenarioArguments::Broadcast { .. } => {}
    }
    let common = common_of(scenario);
    common.connections = count;
    // Nobody connects without a place to do it in.
    common.connecting = of(common.connecting).max(1);
    if let ConnectRate::PerSecond(rate) = &mut common.connect_rate {
        *rate *= share;
    }
}

/// The flags that every scenario has, to be changed.
pub(super) const fn common_of(scenario: &mut ScenarioArguments) -> &mut Common {
    match scenario {
        ScenarioArguments::Idle { common }
        | ScenarioArguments::Echo { common, .. }
        | ScenarioArguments::Rate { common, .. }
        | ScenarioArguments::Broadcast { common, .. }
        | ScenarioArguments::Churn { common, .. }
        | ScenarioArguments::Storm { common, .. }
        | ScenarioArguments::Restart { common, .. }
        | ScenarioArguments::Slow { common, .. }
        | ScenarioArguments::Rooms { common, .. } => common,
    }
}

/// `amount × numerator / denominator`, rounded down: neighbours of a division share no remainder.
fn part(amount: u32, numerator: u32, denominator: u32) -> u32 {
    let part = u64::from(amount) * u64::from(numerator) / u64::from(denominator);
    u32::try_from(part).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use clap::Parser;

    use super::*;
    use crate::args::Arguments;
    use crate::rotation::target_of;

    fn parse(flags: &str) -> ScenarioArguments {
        let line = format!("loadtest {flags} --url ws://127.0.0.1:1");
        let mut arguments = Arguments::try_parse_from(line.split_whitespace()).expect(flags);
        arguments.complete().expect(flags);
        arguments.scenario
    }

    #[test]
    fn every_connection_is_in_one_share() {
        for (connections, workers) in [(7, 3), (16_000_000, 1_000), (5, 5), (1, 1)] {
            let scenario = parse(&format!("idle --connections {connections}"));
            let shares = shares(&scenario, workers).unwrap();
            assert_eq!((shares.len() as u32, shares[0].start), (workers, 0));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(shares[shares.len() - 1].end, connections);
            let counts = shares.iter().map(ExactSizeIterator::len);
            let (least, most) = (counts.clone().min().unwrap(), counts.max().unwrap());
            assert!(least >= 1 && most - least <= 1, "{connections} {workers}");
        }
        assert!(shares(&parse("idle --connections 2"), 3).unwrap_err().contains("2 connections"));
    }

    #[test]
    fn a_room_is_all_in_one_share() {
        let scenario = parse("rooms --closed --rooms 5 --members 4");
        assert_eq!(shares(&scenario, 2).unwrap(), [0..8, 8..20]);
        assert!(shares(&scenario, 6).unwrap_err().contains("5 rooms"));
        // Clients keep their numbers, and with them their place in the turns of servers.
        for share in shares(&scenario, 3).unwrap() {
            for room in share.collect::<Vec<_>>().chunks(4) {
                let servers: HashSet<_> = room.iter().map(|&number| target_of(number, 4)).collect();
                assert_eq!(servers.len(), 4, "{room:?}");
            }
        }
    }

    #[test]
    fn what_is_divided_adds_up() {
        let whole = parse(
            "slow --load echo --rate 100 --connections 10 --connect-rate 7 --connecting 8 \
             --waiting 11 --slow 2",
        );
        let (mut connections, mut connecting, mut waiting, mut slow_readers) = (0, 0, 0, 0);
        let mut connect_rate = 0.0;
        for share in shares(&whole, 3).unwrap() {
            let mut part = whole.clone();
            take(&mut part, &share);
            let common = part.common();
            connections += common.connections;
            connecting += common.connecting;
            let ConnectRate::PerSecond(rate) = common.connect_rate else { panic!("a rate") };
            connect_rate += rate;
            assert_eq!(part.schedule(), Some((100.0, false)));
            let ScenarioArguments::Slow { requests, slow, .. } = part else { panic!("slow") };
            waiting += requests.waiting;
            slow_readers += slow.slow;
        }
        assert_eq!((connections, connecting, waiting, slow_readers), (10, 8, 11, 2));
        assert!((connect_rate - 7.0_f64).abs() < 1e-9, "{connect_rate}");
    }

    #[test]
    fn rates_that_are_not_those_of_all_connections_are_divided() {
        for (flags, of) in [
            ("churn --connections 8 --churn-rate 4", "churn"),
            ("restart --connections 4 --churn-rate 4", "restart"),
            ("rooms --rooms 4 --members 2 --rate 4 --rejoin-rate 4", "rooms"),
        ] {
            let mut part = parse(flags);
            take(&mut part, &(2..4));
            let rates = match &part {
                ScenarioArguments::Churn { churn, .. } => vec![churn.churn_rate],
                ScenarioArguments::Restart { restart, .. } => {
                    assert_eq!(restart.newcomers(), 1);
                    vec![restart.churn_rate]
                }
                ScenarioArguments::Rooms { load, rooms, .. } => {
                    vec![load.rate, Some(rooms.rejoin_rate)]
                }
                other => panic!("{other:?}"),
            };
            assert!(rates.iter().all(|&rate| rate == Some(1.0)), "{of}: {rates:?}");
        }
    }
}
