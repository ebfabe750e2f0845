//! What servers answer, as homes understand it.

use std::collections::BTreeMap;

use bytes::Bytes;
use redis::Value;

use crate::hub::Epoch;
use crate::hub::span::{NodeId, NodeState, Reply, State};

/// Reads the answer to a sync.
pub(super) fn synced(value: Value) -> Option<Reply> {
    let [meta, members, log] = <[Value; 3]>::try_from(list(value)?).ok()?;
    let mut state =
        State { epoch: Epoch(0), seq: 0, offset: 0, nodes: Vec::new(), log: Vec::new() };
    let mut nodes: BTreeMap<NodeId, NodeState> = BTreeMap::new();
    let mut node_of = |name: &[u8], change: &dyn Fn(&mut NodeState)| {
        let node = node_id(name)?;
        let fresh = NodeState { node, count: 0, messages: 0, op: 0 };
        change(nodes.entry(node).or_insert(fresh));
        Some(())
    };
    for (field, value) in pairs(meta)? {
        match field.split_first()? {
            (b'e', []) => state.epoch = Epoch(u64::from_be_bytes(value[..].try_into().ok()?)),
            (b's', []) => state.seq = number(&value)?,
            (b'o', []) => state.offset = number(&value)?,
            (b'a', node) => {
                let op = number(&value)?;
                node_of(node, &|state| state.op = op)?;
            }
            (b'm', node) => {
                let messages = number(&value)?;
                node_of(node, &|state| state.messages = messages)?;
            }
            (b'd', _) => {}
            _ => return None,
        }
    }
    for (node, count) in pairs(members)? {
        let count = u32::try_from(number(&count)?).ok()?;
        node_of(&node, &|state| state.count = count)?;
    }
    state.nodes = nodes.into_values().collect();
    for entry in list(log)? {
        state.log.push(envelope_of(entry)?);
    }
    Some(Reply::Synced(state))
}

/// Reads the answer to events.
pub(super) fn applied(value: Value) -> Option<Reply> {
    match value {
        Value::Nil | Value::Boolean(false) => Some(Reply::Lost),
        Value::Int(_) => Some(Reply::Applied),
        repeated => {
            let mut entries = Vec::new();
            for one in list(repeated)? {
                let [place, envelope] = <[Value; 2]>::try_from(list(one)?).ok()?;
                let Value::Int(place) = place else { return None };
                entries.push((usize::try_from(place).ok()?, text(envelope)?));
            }
            Some(Reply::Repeated(entries))
        }
    }
}

/// Reads the nodes that have a lease.
pub(super) fn living(value: Value) -> Option<Vec<NodeId>> {
    list(value)?.into_iter().map(|node| node_id(&text(node)?)).collect()
}

/// The envelope of a stream's entry: its id, and one field.
fn envelope_of(entry: Value) -> Option<Bytes> {
    let [_, fields] = <[Value; 2]>::try_from(list(entry)?).ok()?;
    let [_, envelope] = <[Value; 2]>::try_from(list(fields)?).ok()?;
    text(envelope)
}

fn node_id(name: &[u8]) -> Option<NodeId> {
    let name = std::str::from_utf8(name).ok().filter(|name| name.len() == 16)?;
    u64::from_str_radix(name, 16).ok().map(NodeId)
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(list) | Value::Set(list) => Some(list),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// Field and value, in turn or as a map.
fn pairs(value: Value) -> Option<Vec<(Bytes, Bytes)>> {
    match value {
        Value::Map(pairs) => {
            pairs.into_iter().map(|(field, value)| Some((text(field)?, text(value)?))).collect()
        }
        other => {
            let mut all = list(other)?.into_iter();
            let mut pairs = Vec::new();
            while let Some(field) = all.next() {
                pairs.push((text(field)?, text(all.next()?)?));
            }
            Some(pairs)
        }
    }
}

/// The bytes of a string.
pub(super) fn text(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into_bytes().into()),
        Value::VerbatimString { text, .. } => Some(text.into_bytes().into()),
        Value::Int(number) => Some(number.to_string().into_bytes().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    #[test]
    fn a_room_is_read_with_all_its_nodes() {
        let (one, two) = ("00000000000000ab", "00000000000000cd");
        let meta = vec![
            string(b"e"),
            string(&7u64.to_be_bytes()),
            string(b"s"),
            string(b"12"),
            string(b"o"),
            string(b"9"),
            string(format!("a{one}").as_bytes()),
            string(b"40"),
            string(format!("m{one}").as_bytes()),
            string(b"5"),
            string(format!("d{two}").as_bytes()),
            string(b"1700000000000"),
        ];
        let members = Value::Map(vec![(string(two.as_bytes()), string(b"3"))]);
        let entry =
            Value::Array(vec![string(b"9-0"), Value::Array(vec![string(b"e"), string(b"bytes")])]);
        let value = Value::Array(vec![Value::Array(meta), members, Value::Array(vec![entry])]);
        let Some(Reply::Synced(state)) = synced(value) else { panic!("it is whole") };
        assert_eq!((state.epoch, state.seq, state.offset), (Epoch(7), 12, 9));
        assert_eq!(
            state.nodes,
            [
                NodeState { node: NodeId(0xAB), count: 0, messages: 5, op: 40 },
                NodeState { node: NodeId(0xCD), count: 3, messages: 0, op: 0 },
            ]
        );
        assert_eq!(state.log, [Bytes::from_static(b"bytes")]);
    }

    #[test]
    fn what_nobody_says_is_refused() {
        for value in [Value::Okay, Value::Array(vec![]), Value::Int(1), Value::Nil] {
            assert!(synced(value).is_none());
        }
        assert!(applied(Value::Okay).is_none());
        assert!(matches!(applied(Value::Nil), Some(Reply::Lost)));
        assert!(living(Value::Array(vec![string(b"xy")])).is_none());
        assert_eq!(living(Value::Nil), Some(vec![]));
    }
}
