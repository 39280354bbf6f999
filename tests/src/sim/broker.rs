//! The broker as a simulated process, and the network as it wants it.

use super::net::{SimListener, SimNet, SimStream};
use super::watch::Watch;
use super::world::NodeEnv;
use esker_broker::config::{BrokerConfig, parse_set};
use esker_broker::net::env::{Accepted, Attach, Listener, Network, Stream};
use esker_broker::server::{self, Gauges, Outside};
use futures_util::future::BoxFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

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

impl Stream for SimStream {
    fn detach(self: Box<Self>) -> io::Result<Attach> {
        Ok(Box::new(move || Ok(self)))
    }
}

/// Where a simulated broker listens, on its node's address.
pub const PORT: u16 = 9092;

/// The main function of broker `id`: starts it with `settings` (`key=value` each), and stops it when it is asked to end
/// or cannot go on, as the `esker` process does. Unless they say otherwise its log directory is `/data`.
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
        _ = server.failed() => {}
    }
    server.stop().await;
    Ok(())
}
