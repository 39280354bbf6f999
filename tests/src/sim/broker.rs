//! The broker as a simulated process, the network as it wants it, and what must hold of it at every step.

use super::net::{SimListener, SimNet, SimStream};
use super::world::{NodeEnv, World};
use esker_broker::config::{BrokerConfig, parse_set};
use esker_broker::net::env::{Accepted, Listener, Network, Stream};
use esker_broker::partition::Hosted;
use esker_broker::server::{self, Gauges, Outside};
use esker_storage::offset::{HighWatermark, PartitionId, TierEnd};
use esker_storage::partition_log::broken_rule;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

impl Network for SimNet {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let net = self.clone();
        Box::pin(async move { Ok(Box::new(SimNet::listen(&net, address)?) as Box<dyn Listener>) })
    }
}

impl Listener for SimListener {
    fn local_address(&self) -> SocketAddr {
        SimListener::local_address(self)
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let (peer, stream) = SimListener::accept(self).await?;
            Ok(Accepted { peer, attach: Box::new(move || Ok(Box::new(stream) as Box<dyn Stream>)) })
        })
    }
}

impl Stream for SimStream {}

/// Where a simulated broker listens, on its node's address.
pub const PORT: u16 = 9092;

/// What the lives of one broker must have in common. Cheap to clone.
///
/// A partition's offsets keep their rules at any moment; its high watermark and the end of its tier never go back, not
/// even over a crash, for what counted was synced.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    life: Option<(NodeEnv, Weak<Hosted>)>,
    highest: BTreeMap<PartitionId, HighWatermark>,
    tier_ends: BTreeMap<PartitionId, TierEnd>,
    asked: u64,
}

/// One in this many steps is checked.
const EVERY: u64 = 8;

impl Watch {
    /// From now on the run fails when a rule is broken.
    pub fn over(world: &World) -> Watch {
        let watch = Watch::default();
        let of_world = watch.clone();
        world.invariant("offsets", move || of_world.check());
        watch
    }

    /// The broker's disk is lost: what was not tiered is as well, and its offsets are given out again.
    pub fn disk_lost(&self) {
        self.0.lock().highest.clear();
    }

    fn began(&self, node: &NodeEnv, hosted: &Arc<Hosted>) {
        self.0.lock().life = Some((node.clone(), Arc::downgrade(hosted)));
    }

    fn check(&self) -> Result<(), String> {
        let mut guard = self.0.lock();
        let watched = &mut *guard;
        watched.asked += 1;
        let Some((node, hosted)) = watched.life.as_ref().filter(|_| watched.asked.is_multiple_of(EVERY)) else {
            return Ok(());
        };
        let Some(hosted) = hosted.upgrade().filter(|_| node.is_alive()) else { return Ok(()) };
        for partition in hosted.led() {
            let marks = partition.log().marks(partition.high_watermark());
            let broken = |rule: &str| format!("{rule}: {} {} {marks:?}", partition.topic(), partition.id());
            if let Some(rule) = broken_rule(&marks) {
                return Err(broken(rule));
            }
            let highest = watched.highest.entry(partition.id()).or_default();
            let tier_end = watched.tier_ends.entry(partition.id()).or_default();
            if marks.high_watermark < *highest || marks.tier_end < *tier_end {
                return Err(broken(&format!("what was {highest} and {tier_end} went back")));
            }
            (*highest, *tier_end) = (marks.high_watermark, marks.tier_end);
        }
        Ok(())
    }
}

/// The main function of broker `id`: starts it with `settings` (`key=value` each) and stops it when it is asked to end.
///
/// # Errors
/// What kept it from starting.
pub async fn serve(node: NodeEnv, id: u32, settings: &[String], watch: &Watch) -> anyhow::Result<()> {
    let listen = format!("listeners=PLAINTEXT://{}:{PORT}", node.ip);
    let fixed = [listen, "log.dirs=/data".to_owned(), format!("node.id={id}")];
    let values = fixed.iter().chain(settings).map(|setting| parse_set(setting)).collect::<Result<_, _>>()?;
    let config = BrokerConfig::from_values(values, "simulated")?;
    let outside =
        Outside { env: node.env.clone(), network: Arc::new(node.net.clone()), store: Arc::clone(&node.store) };
    let server = server::start(outside, config, Gauges::new()).await?;
    watch.began(&node, server.hosted());
    tokio::select! {
        biased;
        () = node.terminated() => {}
        // As the command line does it.
        reason = server.failed() => tracing::error!(%reason, "stopping"),
    }
    server.stop().await;
    Ok(())
}
