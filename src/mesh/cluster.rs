//! The way from homes to the servers that nodes share.

use tokio::sync::mpsc::UnboundedSender;

use crate::hub::SpanPlan;
use crate::hub::span::Order;

/// The way there. What may be under way on it is bounded by the rooms: each has one order at most,
/// and a batch is bounded.
#[derive(Clone, Debug)]
pub struct ClusterRoad {
    plan: SpanPlan,
    orders: UnboundedSender<Vec<Order>>,
}

impl ClusterRoad {
    /// A way that ends in `orders`.
    #[must_use]
    pub const fn new(plan: SpanPlan, orders: UnboundedSender<Vec<Order>>) -> Self {
        Self { plan, orders }
    }

    /// What homes have to know.
    #[must_use]
    pub const fn plan(&self) -> &SpanPlan {
        &self.plan
    }

    /// Brings orders there. When the process is ending, nobody is.
    pub fn send(&self, orders: Vec<Order>) {
        if !orders.is_empty() {
            let _ = self.orders.send(orders);
        }
    }
}
