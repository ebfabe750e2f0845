//! The names of connections, as clients and operators know them.

use std::fmt;

use crate::collections::Key;
use crate::hub::span::NodeId;

/// The name of a connection: `{shard}-{index}-{generation}`, unique on this node for as long as it
/// lives. Where there are other nodes clients see `{name}@{node}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionId {
    /// Its shard.
    pub shard: usize,
    /// Its key there.
    pub key: Key,
}

impl ConnectionId {
    /// Reads what [`fmt::Display`] has written, and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut next = || parts.next();
        let shard = next()?.parse().ok()?;
        let index = next()?.parse().ok()?;
        let generation: u32 = next()?.parse().ok()?;
        if generation >> Key::GENERATION_BITS != 0 {
            return None;
        }
        let id = Self { shard, key: Key::from_parts(index, generation) };
        (id.to_string() == text).then_some(id)
    }
}

impl ConnectionId {
    /// As clients see it.
    #[must_use]
    pub fn name(self, node: Option<NodeId>) -> String {
        match node {
            Some(NodeId(node)) => format!("{self}@{:08x}", node >> 32),
            None => self.to_string(),
        }
    }

    /// Reads what [`name`](Self::name) has given on this node, and nothing else.
    #[must_use]
    pub fn parse_name(text: &str, node: Option<NodeId>) -> Option<Self> {
        let id = Self::parse(text.split('@').next()?)?;
        (id.name(node) == text).then_some(id)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.shard, self.key.index(), self.key.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_what_it_has_written_and_nothing_else() {
        let last = (1 << Key::GENERATION_BITS) - 1;
        for (shard, index, generation) in [(0, 0, 0), (7, u32::MAX, last), (1023, 42, 1)] {
            let id = ConnectionId { shard, key: Key::from_parts(index, generation) };
            assert_eq!(ConnectionId::parse(&id.to_string()), Some(id));
            let (here, there) = (Some(NodeId(1 << 40)), Some(NodeId(2 << 40)));
            for node in [None, here] {
                let name = id.name(node);
                assert_eq!(ConnectionId::parse_name(&name, node), Some(id));
                assert_eq!(ConnectionId::parse_name(&name, there), None, "{name}");
            }
        }
        for text in [
            "",
            "-",
            "1",
            "1-2",
            "1-2-",
            "1-2-3-4",
            "01-2-3",
            "+1-2-3",
            "1- 2-3",
            "a-b-c",
            "1-4294967296-3",
            "1-2-268435456",
            "--1-2-3",
        ] {
            assert_eq!(ConnectionId::parse(text), None, "{text}");
        }
    }
}
