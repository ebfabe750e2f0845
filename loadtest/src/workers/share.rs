//! Who does how much: a run is divided so that the parts add up to it.

use std::ops::Range;

use crate::args::{Common, ConnectRate, ScenarioArguments};

/// The numbers of the connections that each of so many workers has.
pub(super) fn shares(connections: u32, workers: u32) -> Vec<Range<u32>> {
    let first = |worker| part(connections, worker, workers);
    (0..workers).map(|worker| first(worker)..first(worker + 1)).collect()
}

/// Makes of a whole run the part that has these connections. What is measured against all
/// connections of the run stays whole: rates of messages, and who publishes.
pub(super) fn take(scenario: &mut ScenarioArguments, connections: &Range<u32>) {
    let all = scenario.common().connections;
    let of =
        |amount: u32| part(amount, connections.end, all) - part(amount, connections.start, all);
    let count = connections.end - connections.start;
    if let ScenarioArguments::Echo { requests, .. } | ScenarioArguments::Rate { requests, .. } =
        scenario
    {
        requests.waiting = of(requests.waiting);
    }
    let common = common_of(scenario);
    common.connections = count;
    // Nobody connects without a place to do it in.
    common.connecting = of(common.connecting).max(1);
    if let ConnectRate::PerSecond(rate) = &mut common.connect_rate {
        *rate *= f64::from(count) / f64::from(all);
    }
}

/// The flags that every scenario has, to be changed.
pub(super) const fn common_of(scenario: &mut ScenarioArguments) -> &mut Common {
    match scenario {
        ScenarioArguments::Idle { common }
        | ScenarioArguments::Echo { common, .. }
        | ScenarioArguments::Rate { common, .. }
        | ScenarioArguments::Broadcast { common, .. } => common,
    }
}

/// `amount × numerator / denominator`, rounded down: neighbours of a division share no remainder.
fn part(amount: u32, numerator: u32, denominator: u32) -> u32 {
    let part = u64::from(amount) * u64::from(numerator) / u64::from(denominator);
    u32::try_from(part).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;

    #[test]
    fn every_connection_is_in_one_share() {
        for (connections, workers) in [(7, 3), (16_000_000, 1_000), (5, 5), (1, 1)] {
            let shares = shares(connections, workers);
            assert_eq!((shares.len() as u32, shares[0].start), (workers, 0));
            assert!(shares.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(shares[shares.len() - 1].end, connections);
            let counts = shares.iter().map(ExactSizeIterator::len);
            let (least, most) = (counts.clone().min().unwrap(), counts.max().unwrap());
            assert!(least >= 1 && most - least <= 1, "{connections} {workers}");
        }
    }

    #[test]
    fn what_is_divided_adds_up() {
        let line = "loadtest rate --url ws://127.0.0.1:1 --rate 100 --connections 10 \
            --connect-rate 7 --connecting 8 --waiting 11";
        let parts = shares(10, 3).into_iter().map(|share| {
            let mut part = Arguments::try_parse_from(line.split_whitespace()).unwrap().scenario;
            take(&mut part, &share);
            part
        });
        let (mut connections, mut connecting, mut waiting, mut rate) = (0, 0, 0, 0.0);
        for part in parts {
            let common = part.common();
            connections += common.connections;
            connecting += common.connecting;
            let ConnectRate::PerSecond(part_rate) = common.connect_rate else { panic!("a rate") };
            rate += part_rate;
            let ScenarioArguments::Rate { requests, .. } = &part else { panic!("the scenario") };
            waiting += requests.waiting;
            assert_eq!(part.schedule(), Some((100.0, false)));
        }
        assert_eq!((connections, connecting, waiting), (10, 8, 11));
        assert!((rate - 7.0_f64).abs() < 1e-9, "{rate}");
    }
}
