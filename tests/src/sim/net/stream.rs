//! One connection: two pipes, one for each direction, and its two ends.

use super::{SimNet, link};
use crate::sim::chance::Chance;
use crate::sim::disk::crashed;
use crate::sim::process::{Gate, Owner};
use crate::sim::timer::Sleep;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
pub(super) struct Connection {
    id: u64,
    pipes: [Pipe; 2],
    pub(super) addresses: [SocketAddr; 2],
    pub(super) owners: [Owner; 2],
    pub(super) reset: bool,
    /// The other machine lost its power: nothing arrives, nobody answers.
    pub(super) silent: bool,
}

impl Connection {
    /// Everybody who waits for this connection, to be woken once it is unlocked.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        self.pipes.iter_mut().flat_map(|pipe| [pipe.reader.take(), pipe.writer.take()]).flatten().collect()
    }
}

/// A new connection: its ends, each with the network of its process, and a view of it for the network.
pub(super) fn pair(
    id: u64,
    addresses: [SocketAddr; 2],
    nets: [SimNet; 2],
) -> ([SimStream; 2], Weak<Mutex<Connection>>) {
    let owners = [nets[0].owner.clone(), nets[1].owner.clone()];
    let pipes = [Pipe::default(), Pipe::default()];
    let connection = Connection { id, pipes, addresses, owners, reset: false, silent: false };
    let connection = Arc::new(Mutex::new(connection));
    let watched = Arc::downgrade(&connection);
    let [near, far] = nets;
    let end = |side, net| SimStream { net, connection: Arc::clone(&connection), side, timer: None };
    ([end(0, near), end(1, far)], watched)
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
