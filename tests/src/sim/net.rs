//! The simulated network: connections as pairs of pipes, with delays, splits, resets and cut links.
//!
//! Bytes arrive in order, each write after a delay of its own, cut into pieces at places that the seed chooses. A
//! process that is killed leaves its connections closed or reset; one whose power is cut may leave them silent, until it is
//! started again and answers with a reset.

use super::chance::{Chance, Rng};
use super::disk::crashed;
use super::executor::{Core, Crash, Exit, Gate, Incarnation, Owner, Sleep};
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
    pub fn none() -> NetFaults {
        NetFaults {
            latency: Duration::from_micros(20)..Duration::from_micros(400),
            slow: Chance::NEVER,
            reset: Chance::NEVER,
            split: Chance::percent(10),
            window: 256 << 10,
        }
    }

    /// Resets and delays, some in a thousand transfers.
    pub fn stormy() -> NetFaults {
        NetFaults {
            slow: Chance::percent(1),
            reset: Chance::one_in(1000),
            split: Chance::percent(30),
            ..NetFaults::none()
        }
    }
}

#[derive(Default)]
struct Pipe {
    segments: VecDeque<(Duration, Bytes)>,
    buffered: usize,
    newest: Duration,
    /// The writer has ended its side.
    finished: bool,
    /// The reader is gone.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A connection; side 0 opened it, side 1 accepted it. `pipes[side]` is what that side writes.
struct Connection {
    id: u64,
    pipes: [Pipe; 2],
    addresses: [SocketAddr; 2],
    owners: [Owner; 2],
    reset: bool,
    /// The other machine lost its power: nothing arrives, nobody answers.
    silent: bool,
}

impl Connection {
    /// Everybody who waits for this connection, to be woken once it is unlocked.
    fn wakers(&mut self) -> Vec<Waker> {
        self.pipes.iter_mut().flat_map(|pipe| [pipe.reader.take(), pipe.writer.take()]).flatten().collect()
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
        let connection = Arc::new(Mutex::new(Connection {
            id,
            pipes: [Pipe::default(), Pipe::default()],
            addresses: [SocketAddr::new(self.ip, port), address],
            owners: [self.owner.clone(), listening.owner.clone()],
            reset: false,
            silent: false,
        }));
        let side = |side, owner: &Owner| SimStream {
            net: SimNet { owner: owner.clone(), ..self.clone() },
            connection: Arc::clone(&connection),
            side,
            timer: None,
        };
        listening.queue.push_back(side(1, &listening.owner));
        let waker = listening.waker.take();
        wires.next = id;
        wires.connections.push(Arc::downgrade(&connection));
        drop(wires);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(side(0, &self.owner))
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

/// One end of a connection.
pub struct SimStream {
    net: SimNet,
    connection: Arc<Mutex<Connection>>,
    side: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl SimStream {
    /// The address of the other end.
    pub fn peer(&self) -> SocketAddr {
        self.connection.lock().addresses[1 - self.side]
    }

    /// A transfer is about to happen: it may be the one in which the process crashes, or the connection.
    fn transfer(&self, what: &str, bytes: usize) -> io::Result<()> {
        let id = self.connection.lock().id;
        if self.net.core.enter(&self.net.owner, format_args!("{what} {bytes} B on connection {id}")) != Gate::Pass {
            return Err(crashed());
        }
        let wakers = {
            let mut wires = self.net.wires.lock();
            let odds = wires.faults.reset;
            if !wires.rng.happens(odds) {
                return Ok(());
            }
            drop(wires);
            let mut connection = self.connection.lock();
            connection.reset = true;
            connection.wakers()
        };
        self.net.core.trace(&self.net.owner, format_args!("connection {id} is reset"));
        wakers.into_iter().for_each(Waker::wake);
        Err(io::ErrorKind::ConnectionReset.into())
    }

    fn is_cut(&self, addresses: [SocketAddr; 2]) -> bool {
        self.net.wires.lock().cut.contains(&link(addresses[0].ip(), addresses[1].ip()))
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let now = self.net.core.now();
            let arrives = {
                let mut guard = self.connection.lock();
                let connection = &mut *guard;
                if connection.reset {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let held = connection.silent || self.is_cut(connection.addresses);
                let pipe = &mut connection.pipes[1 - self.side];
                pipe.reader = Some(context.waker().clone());
                if held {
                    return Poll::Pending;
                }
                match pipe.segments.front() {
                    Some((at, _)) if *at <= now => None,
                    Some((at, _)) => Some(*at),
                    None if pipe.finished && pipe.newest <= now => return Poll::Ready(Ok(())),
                    None if pipe.finished => Some(pipe.newest),
                    None => return Poll::Pending,
                }
            };
            if let Some(at) = arrives {
                let mut timer = Box::pin(self.net.core.sleep(at.saturating_sub(now)));
                let polled = timer.as_mut().poll(context);
                self.timer = Some(timer);
                ready!(polled);
                continue;
            }
            let len = {
                let connection = self.connection.lock();
                let first = connection.pipes[1 - self.side].segments.front().map_or(0, |(_, bytes)| bytes.len());
                self.net.wires.lock().share(first.min(buffer.remaining()))
            };
            self.transfer("read", len)?;
            let waker = {
                let mut connection = self.connection.lock();
                let pipe = &mut connection.pipes[1 - self.side];
                if let Some((_, bytes)) = pipe.segments.front_mut() {
                    buffer.put_slice(&bytes[..len]);
                    bytes.advance(len);
                    if bytes.is_empty() {
                        pipe.segments.pop_front();
                    }
                }
                pipe.buffered -= len;
                pipe.writer.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        let len = {
            let mut guard = self.connection.lock();
            let connection = &mut *guard;
            if connection.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let pipe = &mut connection.pipes[self.side];
            if pipe.abandoned || pipe.finished {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let mut wires = self.net.wires.lock();
            let room = wires.faults.window.saturating_sub(pipe.buffered);
            if room == 0 {
                pipe.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            wires.share(total.min(room))
        };
        self.transfer("write", len)?;
        let mut taken = Vec::with_capacity(len);
        for buffer in buffers {
            let rest = len - taken.len();
            taken.extend_from_slice(&buffer[..rest.min(buffer.len())]);
        }
        let arrives = self.net.core.now() + self.net.wires.lock().delay();
        let waker = {
            let mut connection = self.connection.lock();
            let pipe = &mut connection.pipes[self.side];
            pipe.newest = pipe.newest.max(arrives);
            pipe.buffered += len;
            let at = pipe.newest;
            pipe.segments.push_back((at, taken.into()));
            pipe.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = {
            let mut connection = self.connection.lock();
            let pipe = &mut connection.pipes[self.side];
            pipe.finished = true;
            pipe.reader.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        let wakers = {
            let mut connection = self.connection.lock();
            if connection.silent {
                return;
            }
            let unread = connection.pipes[1 - self.side].buffered > 0;
            // Closing with bytes unread resets, and may take what is on its way to the peer with it.
            if unread && self.net.wires.lock().rng.happens(Chance::percent(50)) {
                connection.reset = true;
            }
            connection.pipes[self.side].finished = true;
            connection.pipes[1 - self.side].abandoned = true;
            connection.wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
