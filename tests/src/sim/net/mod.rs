//! The simulated network: connections as pairs of pipes, with delays, splits, resets and cut links.
//!
//! Bytes arrive in order, each write after a delay of its own, cut into pieces at places that the seed chooses. A
//! process that is killed leaves its connections closed or reset; one whose power is cut may leave them silent, until it is
//! started again and answers with a reset.

mod stream;

pub use stream::SimStream;

use super::chance::{Chance, Rng};
use super::disk::crashed;
use super::executor::Core;
use super::process::{Crash, Exit, Gate, Incarnation, Owner};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use stream::Connection;

/// What goes wrong between processes.
#[derive(Clone, Debug)]
pub struct NetFaults {
    /// One way.
    pub latency: Range<Duration>,
    /// A transfer takes up to a second.
    pub slow: Chance,
    /// A transfer ends its connection.
    pub reset: Chance,
    /// A read or a write moves fewer bytes than it could.
    pub split: Chance,
    /// Bytes that a direction holds before its writer waits.
    pub window: usize,
}

impl NetFaults {
    /// A quiet network.
    pub const fn none() -> NetFaults {
        NetFaults {
            latency: Duration::from_micros(20)..Duration::from_micros(400),
            slow: Chance::NEVER,
            reset: Chance::NEVER,
            split: Chance::percent(10),
            window: 256 << 10,
        }
    }

    /// Resets and delays, some in a thousand transfers.
    pub const fn stormy() -> NetFaults {
        NetFaults {
            slow: Chance::percent(1),
            reset: Chance::one_in(1000),
            split: Chance::percent(30),
            ..NetFaults::none()
        }
    }
}

struct Listening {
    owner: Owner,
    id: u64,
    queue: VecDeque<SimStream>,
    waker: Option<Waker>,
}

struct Wires {
    listeners: BTreeMap<SocketAddr, Listening>,
    connections: Vec<Weak<Mutex<Connection>>>,
    /// Pairs of addresses between which nothing gets through, the smaller one first.
    cut: BTreeSet<(IpAddr, IpAddr)>,
    faults: NetFaults,
    next: u64,
    next_port: u16,
    rng: Rng,
}

/// The network as one process, or the world around them, sees it.
#[derive(Clone)]
pub struct SimNet {
    wires: Arc<Mutex<Wires>>,
    core: Arc<Core>,
    owner: Owner,
    ip: IpAddr,
}

fn link(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    if a < b { (a, b) } else { (b, a) }
}

impl SimNet {
    pub(super) fn new(core: Arc<Core>, ip: IpAddr) -> SimNet {
        let wires = Wires {
            listeners: BTreeMap::new(),
            connections: Vec::new(),
            cut: BTreeSet::new(),
            faults: NetFaults::none(),
            next: 0,
            next_port: 40_000,
            rng: core.draw(Rng::fork),
        };
        SimNet { wires: Arc::new(Mutex::new(wires)), core, owner: None, ip }
    }

    pub(super) fn seen_by(&self, incarnation: &Arc<Incarnation>, ip: IpAddr) -> SimNet {
        SimNet { owner: Some(Arc::clone(incarnation)), ip, ..self.clone() }
    }

    /// Whether the process behind this view of the network lives.
    pub(super) fn is_alive(&self) -> bool {
        self.owner.as_ref().is_none_or(|incarnation| incarnation.is_alive())
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: NetFaults) {
        self.wires.lock().faults = faults;
    }

    /// Nothing gets through between two addresses until [`SimNet::heal`]; what is sent meanwhile arrives then.
    pub fn partition(&self, a: IpAddr, b: IpAddr) {
        self.wires.lock().cut.insert(link(a, b));
    }

    /// Every link works again.
    pub fn heal(&self) {
        self.wires.lock().cut.clear();
        self.wake(|_| true);
    }

    fn each(&self, mut visit: impl FnMut(&mut Connection)) {
        let connections: Vec<_> = {
            let mut wires = self.wires.lock();
            wires.connections.retain(|connection| connection.strong_count() > 0);
            wires.connections.iter().filter_map(Weak::upgrade).collect()
        };
        for connection in connections {
            visit(&mut connection.lock());
        }
    }

    fn wake(&self, which: impl Fn(&Connection) -> bool) {
        let mut wakers = Vec::new();
        self.each(|connection| {
            if which(connection) {
                wakers.extend(connection.wakers());
            }
        });
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ends every connection, as a network that hiccups does.
    pub fn reset_all(&self) {
        self.each(|connection| connection.reset = true);
        self.wake(|_| true);
    }

    /// A process is gone, and its tasks are about to be dropped.
    pub(super) fn process_ended(&self, incarnation: &Arc<Incarnation>, exit: Exit) {
        let own = |owner: &Owner| owner.as_ref().is_some_and(|owner| Arc::ptr_eq(owner, incarnation));
        let gone: Vec<Listening> = {
            let mut wires = self.wires.lock();
            let addresses: Vec<_> = wires.listeners.iter().filter(|(_, l)| own(&l.owner)).map(|(a, _)| *a).collect();
            addresses.iter().filter_map(|address| wires.listeners.remove(address)).collect()
        };
        drop(gone);
        let power_cut = exit == Exit::Crashed(Crash::PowerCut);
        self.each(|connection| {
            if connection.owners.iter().any(own) {
                match self.wires.lock().rng.below(2) {
                    0 => connection.reset = true,
                    _ if power_cut => connection.silent = true,
                    // Dropping the stream closes it.
                    _ => {}
                }
            }
        });
        self.wake(|connection| connection.reset);
    }

    /// The node at `ip` has started: it knows nothing of older connections.
    pub(super) fn process_started(&self, ip: IpAddr) {
        self.each(|connection| {
            if connection.silent && connection.addresses.iter().any(|address| address.ip() == ip) {
                connection.reset = true;
            }
        });
        self.wake(|connection| connection.reset);
    }

    /// Listens. The unspecified address becomes the node's own, port 0 a free one.
    ///
    /// # Errors
    /// `AddrInUse` if somebody does so already.
    pub fn listen(&self, address: SocketAddr) -> io::Result<SimListener> {
        if self.core.enter(&self.owner, format_args!("listen {address}")) != Gate::Pass {
            return Err(crashed());
        }
        let mut wires = self.wires.lock();
        let ip = if address.ip().is_unspecified() { self.ip } else { address.ip() };
        let port = if address.port() == 0 { wires.port() } else { address.port() };
        let address = SocketAddr::new(ip, port);
        if wires.listeners.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        wires.next += 1;
        let id = wires.next;
        let listening = Listening { owner: self.owner.clone(), id, queue: VecDeque::new(), waker: None };
        wires.listeners.insert(address, listening);
        drop(wires);
        Ok(SimListener { net: self.clone(), address, id })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// `ConnectionRefused` if nobody listens, `TimedOut` after 10 s if the link is cut.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<SimStream> {
        if self.core.enter(&self.owner, format_args!("connect {address}")) != Gate::Pass {
            return Err(crashed());
        }
        let (delay, cut, port) = {
            let mut wires = self.wires.lock();
            let delay = wires.delay() + wires.delay();
            (delay, wires.cut.contains(&link(self.ip, address.ip())), wires.port())
        };
        if cut {
            self.core.sleep(Duration::from_secs(10)).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.core.sleep(delay).await;
        let mut wires = self.wires.lock();
        let id = wires.next + 1;
        let Some(listening) = wires.listeners.get_mut(&address) else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let addresses = [SocketAddr::new(self.ip, port), address];
        let nets = [self.clone(), SimNet { owner: listening.owner.clone(), ..self.clone() }];
        let ([opened, accepted], connection) = stream::pair(id, addresses, nets);
        listening.queue.push_back(accepted);
        let waker = listening.waker.take();
        wires.next = id;
        wires.connections.push(connection);
        drop(wires);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(opened)
    }
}

impl Wires {
    fn port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX { 40_000 } else { self.next_port + 1 };
        self.next_port
    }

    fn delay(&mut self) -> Duration {
        let usual = self.rng.duration(self.faults.latency.clone());
        let slow = self.rng.duration(Duration::from_millis(10)..Duration::from_secs(1));
        if self.rng.happens(self.faults.slow) { slow } else { usual }
    }

    /// How many of `most` bytes move at once: at least one.
    fn share(&mut self, most: usize) -> usize {
        if most > 1 && self.rng.happens(self.faults.split) { 1 + self.rng.index(most - 1) } else { most }
    }
}

/// Accepts connections; dropping it refuses them.
pub struct SimListener {
    net: SimNet,
    address: SocketAddr,
    id: u64,
}

impl SimListener {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection and its peer's address.
    ///
    /// # Errors
    /// If the process is gone.
    pub async fn accept(&mut self) -> io::Result<(SocketAddr, SimStream)> {
        let stream = std::future::poll_fn(|context| self.poll_accept(context)).await?;
        if self.net.core.enter(&self.net.owner, format_args!("accept on {}", self.address)) != Gate::Pass {
            return Err(crashed());
        }
        let peer = stream.peer();
        Ok((peer, stream))
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<SimStream>> {
        let mut wires = self.net.wires.lock();
        match wires.listeners.get_mut(&self.address) {
            Some(listening) if listening.id == self.id => match listening.queue.pop_front() {
                Some(stream) => Poll::Ready(Ok(stream)),
                None => {
                    listening.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            },
            _ => Poll::Ready(Err(crashed())),
        }
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut wires = self.net.wires.lock();
        let gone = match wires.listeners.get(&self.address) {
            Some(listening) if listening.id == self.id => wires.listeners.remove(&self.address),
            _ => None,
        };
        drop(wires);
        drop(gone);
    }
}
