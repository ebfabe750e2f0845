//! The flags of `rooms`: how many, how large, and who comes and goes.

use clap::{Args, ValueEnum};

use super::{BackoffArguments, CONNECTIONS_MAX, Target, nodes};
use crate::payload::{Sizes, stamp_size};
use crate::rotation::target_of;
use crate::scenario::TEXT_CHARACTERS_MAX;

/// How the clients are divided into rooms. Two of rooms, members and connections say the third.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RoomArguments {
    /// Rooms
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rooms: Option<u32>,
    /// Members of each room
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) members: Option<u32>,
    /// Members per second that leave their room and join it again, all rooms together, at random
    /// times; never two of one room at once
    #[arg(long, value_name = "R", default_value_t = 0.0, value_parser = rejoin_rate)]
    #[arg(conflicts_with = "closed")]
    pub(crate) rejoin_rate: f64,
    /// Members that join again ask for what they missed, and must get it
    #[arg(long, requires = "rejoin_rate")]
    pub(crate) resume: bool,
    /// Whose order the members must see
    #[arg(long, value_enum, default_value_t = OrderBy::Room)]
    pub(crate) order: OrderBy,
    /// Members whose connection ends connect to the next URL in turn, join their room again and ask
    /// for what they missed
    #[arg(long)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) backoff: BackoffArguments,
}

/// Whose order members must see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum OrderBy {
    /// That of the room: one epoch and one offset of a message for all members, whatever their URL
    Room,
    /// That of each publisher: epochs and offsets are those of the member's URL
    Publisher,
}

impl OrderBy {
    /// As it is given on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Publisher => "publisher",
        }
    }
}

impl RoomArguments {
    /// Finds what was not given of rooms, members and `connections`, which are 0 then.
    ///
    /// # Errors
    /// Says what to give.
    pub(crate) fn complete(&mut self, connections: &mut u32) -> Result<(), String> {
        let given = (self.rooms, self.members, *connections);
        let (rooms, members) = match given {
            (Some(rooms), Some(members), _) => (rooms, members),
            (Some(rooms), None, 1..) => (rooms, *connections / rooms),
            (None, Some(members), 1..) => (*connections / members, members),
            _ => return Err("give two of --rooms, --members and --connections".to_owned()),
        };
        let product = u64::from(rooms) * u64::from(members);
        if *connections != 0 && product != u64::from(*connections) {
            return Err(format!(
                "--connections {connections} are not rooms × members: all rooms have the same \
                 number of members"
            ));
        }
        if product > CONNECTIONS_MAX.into() {
            return Err(format!("{rooms} × {members} connections are more than {CONNECTIONS_MAX}"));
        }
        if self.rejoin_rate > 0.0 && members < 2 {
            return Err("--rejoin-rate needs --members 2 at least: an empty room is gone, and \
                 its messages with it"
                .to_owned());
        }
        *connections = product as u32;
        (self.rooms, self.members) = (Some(rooms), Some(members));
        Ok(())
    }

    /// Checks that messages are neither too short for their stamps nor too long for the protocol.
    ///
    /// # Errors
    /// Says what to change.
    pub(crate) fn check_sizes(sizes: &Sizes) -> Result<(), String> {
        let (least, most) = sizes.bounds();
        if least < stamp_size(true) || most > TEXT_CHARACTERS_MAX {
            return Err(format!(
                "--size must be {} to {TEXT_CHARACTERS_MAX}: the characters of a message with its \
                 sender, number, run and times",
                stamp_size(true)
            ));
        }
        Ok(())
    }

    /// Servers of `targets`, and those that every room has members on at the beginning.
    pub(crate) fn span(&self, targets: &[Target]) -> (u32, u32) {
        let nodes = nodes(targets);
        let (rooms, members) = self.shape();
        let all = nodes.iter().max().map_or(1, |last| last + 1);
        // Rooms begin at one of so many targets.
        let starts = (0..rooms.min(targets.len() as u32)).map(|room| room * members);
        let of_room = |first: u32| {
            let members = first..first + members.min(targets.len() as u32);
            let mut found: Vec<u32> =
                members.map(|number| nodes[target_of(number, nodes.len())]).collect();
            found.sort_unstable();
            found.dedup();
            found.len() as u32
        };
        (all, starts.map(of_room).min().unwrap_or(1))
    }

    /// Rooms and members of each, when they are complete.
    pub(crate) fn shape(&self) -> (u32, u32) {
        (self.rooms.unwrap_or(1), self.members.unwrap_or(1))
    }
}

/// Members per second.
fn rejoin_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate == 0.0 || (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("give a number of members per second, from 0.001 to 1e6".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, ScenarioArguments};

    fn arguments(flags: &str) -> RoomArguments {
        let line = format!("loadtest rooms --closed --rooms 1 --url ws://127.0.0.1:1 {flags}");
        let parsed = Arguments::try_parse_from(line.split_ascii_whitespace());
        match parsed.expect(flags).scenario {
            ScenarioArguments::Rooms { rooms, .. } => rooms,
            other => panic!("{other:?}"),
        }
    }

    fn complete(
        rooms: Option<u32>,
        members: Option<u32>,
        mut connections: u32,
        rejoin_rate: f64,
    ) -> Result<(u32, u32, u32), String> {
        let mut arguments = RoomArguments { rooms, members, rejoin_rate, ..arguments("") };
        arguments.complete(&mut connections)?;
        let (rooms, members) = arguments.shape();
        Ok((rooms, members, connections))
    }

    #[test]
    fn two_numbers_say_the_third() {
        assert_eq!(complete(Some(3), Some(4), 0, 0.0), Ok((3, 4, 12)));
        assert_eq!(complete(Some(3), None, 12, 0.0), Ok((3, 4, 12)));
        assert_eq!(complete(None, Some(4), 12, 1.0), Ok((3, 4, 12)));
        assert_eq!(complete(Some(3), Some(4), 12, 0.0), Ok((3, 4, 12)));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for (rooms, members, connections) in [
            (None, None, 12),
            (Some(3), None, 0),
            (None, Some(3), 0),
            (Some(3), None, 13),
            (Some(3), None, 2),
            (Some(3), Some(4), 13),
            (Some(u32::MAX), Some(u32::MAX), 0),
        ] {
            assert!(complete(rooms, members, connections, 0.0).is_err(), "{connections}");
        }
        assert!(complete(Some(5), Some(1), 0, 1.0).unwrap_err().contains("--members 2"));
    }

    #[test]
    fn members_of_a_room_are_spread_over_all_servers() {
        let span = |members: u32, ports: &[u16]| {
            let url = |port: &u16| format!("ws://127.0.0.1:{port}").parse().expect("a URL");
            let targets: Vec<Target> = ports.iter().map(url).collect();
            let rooms = RoomArguments { rooms: Some(7), members: Some(members), ..arguments("") };
            rooms.span(&targets)
        };
        for members in 1..=12 {
            for servers in 1..=6 {
                let ports: Vec<u16> = (1..=servers).collect();
                let (all, of_room) = span(members, &ports);
                assert_eq!((all, of_room), (u32::from(servers), members.min(servers.into())));
            }
        }
        // One server with two URLs has two of three members, or both of two.
        assert_eq!((span(3, &[1, 1, 2]), span(2, &[1, 1, 2])), ((2, 2), (2, 1)));
    }

    #[test]
    fn a_back_off_is_for_those_who_come_back() {
        assert!(arguments("--reconnect --backoff jitter --backoff-base 5ms").reconnect);
        let line = "loadtest rooms --closed --rooms 1 --url ws://127.0.0.1:1 --backoff jitter";
        assert!(Arguments::try_parse_from(line.split_ascii_whitespace()).is_err());
    }

    #[test]
    fn texts_have_room_for_their_stamp() {
        let check = |sizes: &str| RoomArguments::check_sizes(&sizes.parse().expect("sizes"));
        assert!(check("56").is_ok() && check("64:9,1000:1").is_ok());
        assert!(check("55").is_err() && check("56..1001").is_err());
    }
}
