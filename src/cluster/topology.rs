//! Which server has which slots, and the links to them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::{Client, Value, cmd};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Duration, Instant, interval, sleep, timeout};

use super::figures::ClusterFigures;
use super::link::{Input, Link};
use super::post::Post;
use super::replies;
use super::scripts::Speech;
use super::servers::Servers;
use crate::hub::HistoryLimits;
use crate::hub::span::{News, NodeId, Order, SLOTS, Slots};
use crate::limits::{
    CLUSTER_CHECK_PARTS, CLUSTER_CONNECT_TIME, CLUSTER_FAREWELL_TIME, CLUSTER_PATIENCE,
    CLUSTER_RECONNECT_PAUSE, CLUSTER_TOPOLOGY_PERIOD,
};

/// The links, and the slots of each.
pub(super) struct Topology {
    servers: Rc<Servers>,
    node: NodeId,
    history: HistoryLimits,
    post: Post,
    figures: Arc<ClusterFigures>,
    moved: Rc<Notify>,
    /// By address.
    links: HashMap<String, Known>,
    /// Slots that no server has, since when, and whether that was told.
    orphans: Option<(Slots, Instant, bool)>,
}

struct Known {
    slots: Slots,
    inputs: UnboundedSender<Input>,
    task: JoinHandle<()>,
}

/// The servers of a Redis Cluster by address, and the slots of each.
type Found = HashMap<String, (Client, Slots)>;

/// What was found out about the servers.
enum Kind {
    /// Each stands alone.
    Alone,
    /// They are a Redis Cluster: the slots of each address.
    Cluster(Found),
}

impl Topology {
    pub(super) fn new(
        servers: Rc<Servers>,
        node: NodeId,
        history: HistoryLimits,
        post: Post,
        figures: Arc<ClusterFigures>,
    ) -> Self {
        Self {
            servers,
            node,
            history,
            post,
            figures,
            moved: Rc::new(Notify::new()),
            links: HashMap::new(),
            orphans: None,
        }
    }

    /// Hands orders to the links until it is told to end.
    pub(super) async fn run(
        mut self,
        mut orders: UnboundedReceiver<Vec<Order>>,
        mut ended: oneshot::Receiver<()>,
    ) {
        let is_cluster = tokio::select! {
            is_cluster = self.begin() => is_cluster,
            _ = &mut ended => return,
        };
        let mut checks = interval(Duration::from_secs(1));
        let (sender, mut founds) = unbounded_channel();
        if is_cluster {
            spawn_local(look(Rc::clone(&self.servers), Rc::clone(&self.moved), sender));
        }
        loop {
            tokio::select! {
                Some(orders) = orders.recv() => self.hand_out(orders),
                _ = checks.tick() => {
                    self.post.tell_all(|| News::Check(CLUSTER_CHECK_PARTS));
                    self.post.hand_on();
                }
                Some(found) = founds.recv() => {
                    self.reconcile(found);
                    self.tell_orphans();
                }
                _ = &mut ended => break,
            }
        }
        while let Ok(orders) = orders.try_recv() {
            self.hand_out(orders);
        }
        self.end().await;
    }

    /// Finds out what the servers are, however long it takes, and makes the first links; says
    /// whether they are a Redis Cluster.
    async fn begin(&mut self) -> bool {
        let since = Instant::now();
        let mut is_told = false;
        self.figures.set_links(self.servers.count());
        loop {
            for index in 0..self.servers.count() {
                match self.ask_kind(index).await {
                    Ok(Kind::Alone) => {
                        self.link_alone();
                        return false;
                    }
                    Ok(Kind::Cluster(found)) => {
                        self.reconcile(found);
                        return true;
                    }
                    Err(cause) => {
                        let server = self.servers.address(index);
                        tracing::warn!(%server, "no connection to Redis: {cause}");
                    }
                }
            }
            if !is_told && since.elapsed() >= CLUSTER_PATIENCE {
                is_told = true;
                tracing::error!("Redis is away: joins and messages of sequenced rooms are refused");
                let all = Arc::new(Slots::range(0, SLOTS - 1));
                self.post.tell_all(|| News::GivenUp(Arc::clone(&all)));
                self.post.hand_on_all().await;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn ask_kind(&self, index: usize) -> Result<Kind, String> {
        let client = self.servers.named_client(index)?;
        let info = ask(&client, cmd("INFO").arg("cluster")).await?;
        let info = replies::text(info).unwrap_or_default();
        if !String::from_utf8_lossy(&info).contains("cluster_enabled:1") {
            return Ok(Kind::Alone);
        }
        ask_slots(&self.servers, &client).await.map(Kind::Cluster)
    }

    /// Each of the named servers has an equal share of the slots.
    fn link_alone(&mut self) {
        let count = self.servers.count() as u32;
        let border = |index: u32| u32::from(SLOTS) * index / count;
        for index in 0..count {
            let last = border(index + 1) - 1;
            let slots = Slots::range(border(index) as u16, last as u16);
            match self.servers.named_client(index as usize) {
                Ok(client) => {
                    let name = format!("{} ({index})", self.servers.address(index as usize));
                    self.link(name, client, slots, false);
                }
                Err(cause) => unreachable!("it was made once before: {cause}"),
            }
        }
    }

    fn link(&mut self, address: String, client: Client, slots: Slots, is_sharded: bool) {
        let (sender, inputs) = unbounded_channel();
        let speech = Speech {
            keys: self.servers.keys.clone(),
            node: self.node,
            history: self.history,
            is_sharded,
            hashes: Default::default(),
        };
        let link = Link {
            client,
            address: address.clone(),
            slots: Arc::new(slots.clone()),
            speech,
            probe: self.servers.probe,
            post: self.post.clone(),
            figures: Arc::clone(&self.figures),
            moved: Rc::clone(&self.moved),
            inputs,
        };
        let task = spawn_local(link.run());
        self.links.insert(address, Known { slots, inputs: sender, task });
        self.figures.set_links(self.links.len());
    }

    /// Makes links to servers that are new, and tells the others what they have now.
    fn reconcile(&mut self, found: Found) {
        let gone: Vec<String> =
            self.links.keys().filter(|address| !found.contains_key(*address)).cloned().collect();
        for address in gone {
            if let Some(link) = self.links.remove(&address) {
                tracing::info!(server = %address, "Redis has no slots there any more");
                let _ = link.inputs.send(Input::End);
            }
        }
        let mut orphans = Slots::range(0, SLOTS - 1);
        for (address, (client, slots)) in found {
            orphans.remove(&slots);
            match self.links.get_mut(&address) {
                Some(link) if link.slots == slots => {}
                Some(link) => {
                    link.slots = slots.clone();
                    // A link ends only when it is told to.
                    let _ = link.inputs.send(Input::Slots(slots));
                }
                None => self.link(address, client, slots, true),
            }
        }
        self.orphans = match self.orphans.take() {
            _ if orphans.is_empty() => None,
            Some((known, since, told)) if known == orphans => Some((known, since, told)),
            _ => Some((orphans, Instant::now(), false)),
        };
        self.figures.set_links(self.links.len());
    }

    /// Nobody waits for ever for slots that no server has.
    fn tell_orphans(&mut self) {
        if let Some((slots, since, is_told @ false)) = &mut self.orphans
            && since.elapsed() >= CLUSTER_PATIENCE
        {
            *is_told = true;
            let slots = Arc::new(slots.clone());
            self.post.tell_all(|| News::GivenUp(Arc::clone(&slots)));
            self.post.hand_on();
        }
    }

    fn hand_out(&self, orders: Vec<Order>) {
        let mut links = self.links.values();
        if let (Some(only), None) = (links.next(), links.next()) {
            let _ = only.inputs.send(Input::Orders(orders));
            return;
        }
        let mut parts: HashMap<&str, Vec<Order>> = HashMap::new();
        for order in orders {
            let mut links = self.links.iter();
            // Where no server has the slot its rooms are down, and ask again.
            if let Some((address, _)) = links.find(|(_, link)| link.slots.contains(order.slot)) {
                parts.entry(address).or_default().push(order);
            }
        }
        for (address, orders) in parts {
            let _ = self.links[address].inputs.send(Input::Orders(orders));
        }
    }

    /// Lets every link take its leave.
    async fn end(&mut self) {
        for link in self.links.values() {
            let _ = link.inputs.send(Input::End);
        }
        let all = async {
            for (_, link) in self.links.drain() {
                let _ = link.task.await;
            }
        };
        let _ = timeout(CLUSTER_FAREWELL_TIME, all).await;
    }
}

/// Asks again and again which server of a Redis Cluster has which slots, all that are known at
/// once: one that hangs keeps nobody waiting. Ends when nobody listens.
async fn look(servers: Rc<Servers>, moved: Rc<Notify>, founds: UnboundedSender<Found>) {
    let mut known: Vec<Client> = Vec::new();
    loop {
        tokio::select! {
            () = sleep(CLUSTER_TOPOLOGY_PERIOD) => {}
            () = moved.notified() => sleep(CLUSTER_RECONNECT_PAUSE.1).await,
        }
        let named = (0..servers.count()).filter_map(|index| servers.named_client(index).ok());
        let clients: Vec<Client> = named.chain(known.iter().cloned()).collect();
        let mut answers: FuturesUnordered<_> =
            clients.iter().map(|client| ask_slots(&servers, client)).collect();
        while let Some(answer) = answers.next().await {
            let Ok(found) = answer else { continue };
            known = found.values().map(|(client, _)| client.clone()).collect();
            if founds.send(found).is_err() {
                return;
            }
            break;
        }
    }
}

/// Asks a server of a Redis Cluster who has which slots.
async fn ask_slots(servers: &Servers, client: &Client) -> Result<Found, String> {
    let strange = || "CLUSTER SLOTS is not as it should be".to_owned();
    let Value::Array(ranges) = ask(client, cmd("CLUSTER").arg("SLOTS")).await? else {
        return Err(strange());
    };
    let mut found = Found::new();
    for range in ranges {
        let Value::Array(parts) = range else { return Err(strange()) };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
            return Err(strange());
        };
        let [host, Value::Int(port), ..] = &master[..] else { return Err(strange()) };
        let host = replies::text(host.clone()).ok_or_else(strange)?;
        let host = std::str::from_utf8(&host).map_err(|_| strange())?;
        let number = |number: i64| u16::try_from(number).map_err(|_| strange());
        let (first, last, port) = (number(*first)?, number(*last)?, number(*port)?);
        // A server that does not know its own name is the one that was asked.
        let own = client.get_connection_info().addr().to_string();
        let host = match (host, own.rsplit_once(':')) {
            ("", Some((own, _))) => own,
            (host, _) => host,
        };
        let address = format!("{host}:{port}");
        let slots = Slots::range(first, last);
        match found.get_mut(&address) {
            Some((_, known)) => known.add(&slots),
            None => {
                found.insert(address, (servers.client_at(host, port)?, slots));
            }
        }
    }
    Ok(found)
}

/// Asks one question over a connection of its own.
async fn ask(client: &Client, command: &redis::Cmd) -> Result<Value, String> {
    let asked = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        command.query_async::<Value>(&mut connection).await
    };
    match timeout(CLUSTER_CONNECT_TIME, asked).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
