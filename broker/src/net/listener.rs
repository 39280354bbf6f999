//! Accepts connections and spreads them over the connection runtimes. Each stays where it was put, except while it reads
//! history: see [`super::connection`].

use super::answers::AnswerBudget;
use super::budget::ByteBudget;
use super::connection::{Client, Connection, End, Limits, Service};
use super::env::{Accepted, Listener, Network};
use super::per_ip::{PerIp, PerIpLimits};
use super::rarely::Rarely;
use super::reading::Reading;
use esker_storage::env::{Env, TaskHandle};
use futures_util::future::BoxFuture;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How long to wait after a failed accept (no descriptors left, say) before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how to listen.
pub struct Bind {
    /// The listener's name.
    pub name: Arc<str>,
    /// The host name or address; empty for every interface.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Bounds on each connection.
    pub limits: Limits,
    /// `max.connections`, over all listeners of an [`Acceptor`].
    pub max_connections: usize,
}

/// A listener that is bound and serves nobody yet: who connects waits.
pub struct Bound {
    bind: Bind,
    listener: Box<dyn Listener>,
}

impl Bound {
    /// Takes `bind`'s address.
    ///
    /// # Errors
    /// If it cannot be listened at.
    pub async fn new(network: &dyn Network, bind: Bind) -> io::Result<Bound> {
        let listener = network.listen(network.resolve(&bind.host, bind.port).await?).await?;
        Ok(Bound { bind, listener })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_address()
    }
}

/// What listeners share: the service, the budget, and how many connections there are.
pub struct Acceptor {
    env: Env,
    service: Arc<dyn Service>,
    budget: ByteBudget,
    answers: AnswerBudget,
    connections: AtomicUsize,
    per_ip: PerIp,
    refusals: Rarely,
    next: AtomicU64,
    stop: watch::Sender<bool>,
}

impl Acceptor {
    /// An acceptor without listeners.
    pub fn new(
        env: Env,
        service: Arc<dyn Service>,
        (budget, answers): (ByteBudget, AnswerBudget),
        per_ip: PerIpLimits,
    ) -> Arc<Acceptor> {
        let (stop, _) = watch::channel(false);
        Arc::new(Acceptor {
            env,
            service,
            budget,
            answers,
            connections: AtomicUsize::new(0),
            per_ip: PerIp::new(per_ip),
            refusals: Rarely::default(),
            next: AtomicU64::new(0),
            stop,
        })
    }

    /// Serves whoever connects to `bound`.
    pub fn serve(self: &Arc<Self>, bound: Bound) -> TaskHandle {
        let Bound { bind, mut listener } = bound;
        let address = listener.local_address();
        let acceptor = Arc::clone(self);
        let mut stop = self.stop.subscribe();
        self.env.spawn_background("accept", async move {
            loop {
                tokio::select! {
                    biased;
                    () = stopped(&mut stop) => return,
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => acceptor.admit(accepted, &bind),
                        Err(error) if is_of_one_connection(&error) => {
                            tracing::debug!(%address, %error, "connection lost before it was accepted");
                        }
                        Err(error) => {
                            tracing::warn!(%address, %error, "could not accept a connection");
                            acceptor.env.sleep(ACCEPT_PAUSE).await;
                        }
                    },
                }
            }
        })
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Accepts no more, lets the connections answer what they have taken in, and waits for them at most `limit`.
    pub async fn stop(&self, limit: Duration) {
        // Not `send`, which forgets the value while nobody subscribes.
        self.stop.send_replace(true);
        let deadline = self.env.now().plus(limit);
        while self.connections() > 0 && self.env.now() < deadline {
            self.env.sleep(Duration::from_millis(5)).await;
        }
    }

    fn admit(self: &Arc<Self>, accepted: Accepted, bind: &Bind) {
        let address = accepted.peer.ip();
        let refused = if self.connections.load(Ordering::Relaxed) >= bind.max_connections {
            Some(("max.connections", bind.max_connections))
        } else {
            self.per_ip.enter(address).err().map(|limit| ("max.connections.per.ip", limit))
        };
        if let Some((key, limit)) = refused {
            if let Some(others) = self.refusals.now(self.env.now()) {
                tracing::info!(peer = %accepted.peer, key, limit, others, "refused a connection");
            }
            return;
        }
        self.connections.fetch_add(1, Ordering::Relaxed);
        let open = OpenConnection { acceptor: Arc::clone(self), address };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let runtimes = self.env.tasks.runtimes().max(1);
        let runtime = usize::try_from(number % runtimes as u64).unwrap_or(0);
        let listener = Arc::clone(&bind.name);
        let client = Arc::new(Client {
            peer: accepted.peer,
            listener,
            runtime,
            connection: number,
            reading: Reading::default(),
        });
        let limits = bind.limits.clone();
        let (env, service) = (self.env.clone(), Arc::clone(&self.service));
        let budgets = (self.budget.clone(), self.answers.clone());
        let arrive = move || Ok(Connection::new((accepted.attach)()?, service, client, limits, budgets, env.now()));
        let visit = Visit { peer: accepted.peer, runtime, open, stop: self.stop.subscribe() };
        self.env.tasks.spawn_on(runtime, "connection", visit.begin(arrive));
    }
}

/// A connection's time on one runtime.
struct Visit {
    peer: SocketAddr,
    /// The connection runtime that it belongs to.
    runtime: usize,
    open: OpenConnection,
    stop: watch::Receiver<bool>,
}

impl Visit {
    /// Serves the connection that arrives, and sends it on where it moves to.
    fn begin(mut self, arrive: impl FnOnce() -> io::Result<Connection> + Send + 'static) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let env = self.open.acceptor.env.clone();
            let mut connection = match arrive() {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "connection lost before it began");
                    return;
                }
            };
            let moving = match connection.serve(&env, stopped(&mut self.stop)).await {
                Ok(End::Over) => return,
                Ok(End::Moves) => connection.move_on(),
                Err(error) => Err(error),
            };
            let (arrive, to_history) = match moving {
                Ok(moving) => moving,
                Err(error) => {
                    tracing::debug!(peer = %self.peer, %error, "connection closed");
                    return;
                }
            };
            let runtime = self.runtime;
            let next = self.begin(arrive);
            if to_history {
                env.tasks.spawn_history("connection", next);
            } else {
                env.tasks.spawn_on(runtime, "connection", next);
            }
        })
    }
}

/// Whether an accept failed for a client that left at once, rather than for want of something that may come back.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Ends when the acceptor stops, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Counts a connection for as long as it is open, however it ends.
struct OpenConnection {
    acceptor: Arc<Acceptor>,
    address: IpAddr,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.acceptor.per_ip.leave(self.address);
        self.acceptor.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
