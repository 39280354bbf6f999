//! One connection: frames in, answers out, in order.
//!
//! A single task drives both directions. Each turn it takes complete frames from the read buffer and hands them to
//! the [`Service`], which does the ordered part of a request (a produce's append) before it returns, so that one
//! connection's appends happen in arrival order; only the waiting of several requests overlaps. Answers leave in the
//! order of their requests. Then it writes what it can, then reads what there is, and sleeps when neither moves.
//!
//! Bounds: requests in progress, the frame size, the bytes charged to the shared [`ByteBudget`], and idle time. The
//! read buffer grows only as its bytes arrive: a length field alone allocates nothing.

use super::budget::{ByteBudget, Charge};
use super::env::Stream;
use bytes::{Buf, Bytes, BytesMut};
use esker_protocol::segments::Segments;
use esker_storage::env::{Env, Monotonic};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::AsyncWrite;

/// What the service makes of a frame.
pub enum Answer {
    /// The answer's bytes, length prefix included.
    Ready(Segments),
    /// The answer comes when this ends; `None` if there is none after all: close.
    Later(BoxFuture<'static, Option<Segments>>),
    /// There is no answer.
    Silence,
    /// The frame makes no sense: close once the answers before it are sent.
    Close,
}

/// Who sent a frame.
#[derive(Clone, Debug)]
pub struct Client {
    /// The other end.
    pub peer: SocketAddr,
    /// The name of the listener that it came in by.
    pub listener: Arc<str>,
    /// The runtime that the connection lives on.
    pub runtime: usize,
    /// Unique per connection within the process.
    pub connection: u64,
}

/// Answers frames.
pub trait Service: Send + Sync + 'static {
    /// Handles a frame (without its length prefix). What must happen in arrival order happens before this returns.
    fn call(&self, client: &Arc<Client>, frame: Bytes) -> Answer;
}

/// Bounds on one connection; each is a configuration.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`
    pub max_frame_bytes: usize,
    /// `max.in.flight.requests.per.connection`: requests whose answers are not yet written.
    pub max_in_flight: usize,
    /// `connections.max.idle.ms`
    pub max_idle: Duration,
}

/// Read at a time, and the most that a frame's length alone can make us allocate.
const CHUNK: usize = 64 * 1024;
/// A frame's buffer grows by this factor once it is full, so that a client has sent an eighth of what is held for it,
/// unless it has sent as large a frame before.
const GROWTH: usize = 8;
/// How long a connection keeps a buffer beyond [`CHUNK`] without using it.
const LARGE_FOR: Duration = Duration::from_secs(1);
/// Turns before other tasks of the runtime get theirs.
const TURNS: usize = 32;
/// Buffers given to one `writev`; Linux takes 1,024, and as many answers rarely wait.
const MAX_BUFFERS: usize = 128;

type Pending = BoxFuture<'static, Option<Segments>>;

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    service: Arc<dyn Service>,
    client: Arc<Client>,
    limits: Limits,
    budget: ByteBudget,
    buffer: BytesMut,
    /// How large this client's frames are of late: room for the next one is made at once, not by growing and copying.
    usual: usize,
    /// Whether the buffer is larger than [`CHUNK`]: given back when nothing comes for [`LARGE_FOR`].
    large: bool,
    /// The frame at the buffer's start: charged for, or waiting to be.
    charge: Option<Charge>,
    charging: Option<BoxFuture<'static, Option<Charge>>>,
    pending: FuturesOrdered<Pending>,
    output: VecDeque<Segments>,
    /// No more requests are taken; the connection ends when everything is answered.
    closing: bool,
    last_activity: Monotonic,
}

/// How a turn went.
struct Turn {
    moved: bool,
    ended: bool,
}

impl Connection {
    pub(super) fn new(
        stream: Box<dyn Stream>,
        service: Arc<dyn Service>,
        client: Arc<Client>,
        limits: Limits,
        budget: ByteBudget,
        now: Monotonic,
    ) -> Connection {
        Connection {
            stream,
            service,
            client,
            limits,
            budget,
            buffer: BytesMut::new(),
            usual: 0,
            large: false,
            charge: None,
            charging: None,
            pending: FuturesOrdered::new(),
            output: VecDeque::new(),
            closing: false,
            last_activity: now,
        }
    }

    /// Serves until the client leaves, misbehaves or idles, or `stop` ends; then answers what was taken in.
    pub(super) async fn serve(mut self, env: Env, stop: impl Future<Output = ()> + Send) -> io::Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut stopped = false;
        let mut idle = env.sleep(self.limits.max_idle);
        // Whether `idle` ends early, to give back a large buffer.
        let mut early = false;
        poll_fn(|cx| {
            if !stopped && stop.as_mut().poll(cx).is_ready() {
                stopped = true;
                self.closing = true;
            }
            for _ in 0..TURNS {
                let turn = self.turn(cx)?;
                if turn.ended {
                    return Poll::Ready(Ok(()));
                }
                if !turn.moved {
                    if self.large && !early {
                        early = true;
                        idle = env.sleep(self.limits.max_idle.min(LARGE_FOR));
                    }
                    while idle.as_mut().poll(cx).is_ready() {
                        let quiet = env.now().since(self.last_activity);
                        if quiet >= self.limits.max_idle {
                            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                        }
                        if quiet >= LARGE_FOR && self.buffer.is_empty() {
                            self.buffer = BytesMut::new();
                            self.large = false;
                        }
                        early = self.large;
                        let until = if early {
                            self.limits.max_idle.min(LARGE_FOR.max(quiet * 2))
                        } else {
                            self.limits.max_idle
                        };
                        idle = env.sleep(until.saturating_sub(quiet));
                    }
                    return Poll::Pending;
                }
                self.last_activity = env.now();
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> io::Result<Turn> {
        let mut moved = self.take_frames(cx)?;
        while let Poll::Ready(Some(answer)) = self.pending.poll_next_unpin(cx) {
            self.closing |= answer.is_none();
            self.output.extend(answer);
            moved = true;
        }
        moved |= self.write(cx)?;
        if self.closing {
            let ended = self.pending.is_empty() && self.output.is_empty();
            return Ok(Turn { moved, ended });
        }
        match self.read(cx)? {
            Poll::Ready(0) => {
                // The client is gone, or wants no more than the answers to what it sent.
                self.closing = true;
                moved = true;
            }
            Poll::Ready(_) => moved = true,
            Poll::Pending => {}
        }
        Ok(Turn { moved, ended: false })
    }

    fn in_flight(&self) -> usize {
        self.pending.len() + usize::from(!self.output.is_empty())
    }

    /// The length of the frame at the buffer's start, if it is there.
    fn frame_len(&self) -> io::Result<Option<usize>> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        match usize::try_from(i32::from_be_bytes(*prefix)) {
            Ok(len) if len <= self.limits.max_frame_bytes => Ok(Some(len)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "frame length out of bounds")),
        }
    }

    fn take_frames(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.closing && self.in_flight() < self.limits.max_in_flight {
            let Some(len) = self.frame_len()? else { break };
            if !self.charged(len, cx) || self.buffer.len() < 4 + len {
                break;
            }
            self.buffer.advance(4);
            let frame = self.buffer.split_to(len).freeze();
            self.usual = len.max(self.usual / 2);
            let charge = self.charge.take();
            self.accept(frame, charge);
            moved = true;
        }
        Ok(moved)
    }

    /// Whether the frame at the buffer's start is charged to the budget.
    fn charged(&mut self, len: usize, cx: &mut Context<'_>) -> bool {
        if self.charge.is_some() {
            return true;
        }
        if self.charging.is_none() {
            self.charge = self.budget.try_charge(len as u64);
            if self.charge.is_some() {
                return true;
            }
            self.charging = Some(Box::pin(self.budget.clone().charge(len as u64)));
        }
        if let Some(charging) = &mut self.charging
            && let Poll::Ready(charge) = charging.as_mut().poll(cx)
        {
            self.charging = None;
            self.charge = charge;
        }
        self.charge.is_some()
    }

    fn accept(&mut self, frame: Bytes, charge: Option<Charge>) {
        match self.service.call(&self.client, frame) {
            Answer::Ready(bytes) if self.pending.is_empty() => self.output.push_back(bytes),
            Answer::Ready(bytes) => self.pending.push_back(Box::pin(std::future::ready(Some(bytes)))),
            Answer::Later(answer) => self.pending.push_back(match charge {
                Some(charge) => Box::pin(async move {
                    let answer = answer.await;
                    drop(charge);
                    answer
                }),
                None => answer,
            }),
            Answer::Silence => {}
            Answer::Close => self.closing = true,
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut moved = false;
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_BUFFERS];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(self.output.iter().flat_map(Segments::io_slices)) {
                *slice = bytes;
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let written = match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => result?,
            };
            moved = true;
            self.consume(written);
        }
        Ok(moved)
    }

    fn consume(&mut self, mut written: usize) {
        while let Some(front) = self.output.front_mut() {
            let whole = front.len();
            if whole > written {
                front.advance(written);
                return;
            }
            written -= whole;
            self.output.pop_front();
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        let wanted = match self.frame_len()? {
            // A whole frame waits for its turn: the client must wait too.
            Some(len) if self.buffer.len() >= 4 + len => return Ok(Poll::Pending),
            // Its bytes are not charged yet.
            Some(_) if self.charge.is_none() => return Ok(Poll::Pending),
            Some(len) => {
                let missing = 4 + len - self.buffer.len();
                missing.min((self.buffer.len() * (GROWTH - 1)).max(self.usual).max(CHUNK))
            }
            None => CHUNK,
        };
        // Where the frames before it are done with, this reuses their memory, which is still in the CPU's cache.
        if self.buffer.capacity() - self.buffer.len() < wanted.min(CHUNK / 4) {
            self.buffer.reserve(wanted);
            self.large |= wanted > CHUNK;
        }
        poll_read_buffer(Pin::new(&mut self.stream), cx, &mut self.buffer)
    }
}

/// Reads into the spare capacity of `buffer`.
fn poll_read_buffer(
    stream: Pin<&mut Box<dyn Stream>>,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> io::Result<Poll<usize>> {
    let stream = stream.get_mut();
    let future = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(stream, buffer));
    match future.poll(cx) {
        Poll::Ready(result) => Ok(Poll::Ready(result?)),
        Poll::Pending => Ok(Poll::Pending),
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
