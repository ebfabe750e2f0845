//! What there is to tell of the servers that nodes share.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::hub::span::NodeId;

/// Figures of all links, written by the cluster's thread.
#[derive(Debug)]
pub struct ClusterFigures {
    node: NodeId,
    links: AtomicU64,
    links_up: AtomicU64,
    connects: AtomicU64,
    breaks: AtomicU64,
    commands: AtomicU64,
    envelopes: AtomicU64,
    nodes: AtomicU64,
    probe_microseconds: AtomicU64,
}

/// `name: kind, parts of a unit, "metric", "help";`
macro_rules! figures {
    ($($field:ident: $kind:literal, $unit:literal, $name:literal, $help:literal;)*) => {
        impl ClusterFigures {
            /// Nothing has happened yet on this node.
            #[must_use]
            pub fn new(node: NodeId) -> Self {
                Self { node, $($field: AtomicU64::default(),)* }
            }

            /// Each figure: name, kind, help and value.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, &'static str, &'static str, f64)> {
                vec![$(($name, $kind, $help, self.$field.load(Ordering::Relaxed) as f64 / $unit),)*]
            }
        }
    };
}

figures! {
    links: "gauge", 1.0, "ringwire_cluster_links",
        "Redis servers that this node speaks with.";
    links_up: "gauge", 1.0, "ringwire_cluster_links_up",
        "Redis servers that answer.";
    nodes: "gauge", 1.0, "ringwire_cluster_nodes",
        "Nodes that are alive, this one included, as the Redis server with the most knows.";
    probe_microseconds: "gauge", 1e6, "ringwire_cluster_probe_time_seconds",
        "Time of the last probe, there and back.";
    connects: "counter", 1.0, "ringwire_cluster_connects_total",
        "Connections made to Redis servers.";
    breaks: "counter", 1.0, "ringwire_cluster_breaks_total",
        "Connections to Redis servers that have ended, or that were given up.";
    commands: "counter", 1.0, "ringwire_cluster_commands_total",
        "Scripts that were asked for.";
    envelopes: "counter", 1.0, "ringwire_cluster_envelopes_total",
        "Envelopes heard: batches of events of a room.";
}

impl ClusterFigures {
    /// This node.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    pub(super) fn set_links(&self, links: usize) {
        self.links.store(links as u64, Ordering::Relaxed);
    }

    pub(super) fn count_up(&self) {
        self.links_up.fetch_add(1, Ordering::Relaxed);
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_down(&self) {
        self.links_up.fetch_sub(1, Ordering::Relaxed);
        self.breaks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_envelope(&self) {
        self.envelopes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_probe(&self, microseconds: u64, nodes: usize) {
        self.probe_microseconds.store(microseconds, Ordering::Relaxed);
        self.nodes.store(nodes as u64, Ordering::Relaxed);
    }
}
