//! One connection: frames in, answers out, in order.
//!
//! A single task drives both directions. Each turn it takes complete frames from the read buffer and hands them to
//! the [`Service`], which does the ordered part of a request (a produce's append) before it returns, so that one
//! connection's appends happen in arrival order; only the waiting of several requests overlaps. Where the ordered part is
//! too much work for the runtime, it is done elsewhere, and the connection is **held**: it takes no further frame until
//! that is done. Answers leave in the order of their requests. Then it writes what it can, then reads what there is, and
//! sleeps when neither moves.
//!
//! A request whose answer depends on nobody else's requests is handled *in turn*, as in Kafka: when those before it are
//! answered, and before those behind it are looked at. Its answer may be large, so that one of them is in progress.
//!
//! A client that reads history has its connection moved to the threads for that, between two requests, until it has
//! caught up: there it sends in small steps, and those who live in the present come first.
//!
//! Bounds: requests whose answers are not written, bytes of answers that wait for their client, the frame size, the
//! bytes charged to the shared [`ByteBudget`] (see [`super::incoming`]) and [`AnswerBudget`], and idle time. A client that
//! sends and does not read is not read from either.

use super::answers::{AnswerBudget, InTurn, Room};
use super::budget::{ByteBudget, Charge};
use super::env::{Attach, Stream};
use super::incoming::Incoming;
use super::reading::Reading;
use bytes::Bytes;
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
    /// The answer is made by this, once it is its turn and there is room for it; `None` as above.
    InTurn(BoxFuture<'static, Option<Segments>>),
    /// The ordered part of the request is not done yet: what this ends with takes its place, and no other frame is taken
    /// before.
    Held(BoxFuture<'static, Answer>),
    /// There is no answer.
    Silence,
    /// The frame makes no sense: close once the answers before it are sent.
    Close,
}

/// Who sent a frame.
#[derive(Debug)]
pub struct Client {
    /// The other end.
    pub peer: SocketAddr,
    /// The name of the listener that it came in by.
    pub listener: Arc<str>,
    /// The runtime that the connection lives on.
    pub runtime: usize,
    /// Unique per connection within the process.
    pub connection: u64,
    /// What its fetches read.
    pub reading: Reading,
}

/// How a time of serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection is over.
    Over,
    /// It moves to other threads, and is to be served on there.
    Moves,
}

/// Answers frames.
pub trait Service: Send + Sync + 'static {
    /// Handles a frame (without its length prefix). What must happen in arrival order happens before this returns, or
    /// before an [`Answer::Held`] ends.
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
    /// `queued.max.request.stall.ms`: how long an incomplete long frame, or an answer that is not fetched, may hold bytes
    /// of a budget without a MiB of progress while others wait for them.
    pub max_stall: Duration,
}

/// While more bytes than this wait to be written, no request is taken in.
const MAX_UNWRITTEN: usize = 1024 * 1024;
/// What a client must send of a long frame that it began, or fetch of its answers, within `max_stall` while others wait
/// for what that holds.
const PROGRESS: u64 = 1024 * 1024;
/// Bytes of an answer that are sent at a time where history is read: what somebody of the present who shares the
/// core waits for.
const HISTORY_STEP: usize = 128 * 1024;
/// Turns before other tasks of the runtime get theirs.
const TURNS: usize = 32;
/// A connection that worked longer than this in one go, on batches of megabytes or requests of very many elements, makes
/// way for the others of its runtime: it is what they wait at most for each connection that has so much to do.
const LONG_WORK: Duration = Duration::from_millis(2);
/// Buffers given to one `writev`; Linux takes 1,024, and as many answers rarely wait.
const MAX_BUFFERS: usize = 128;

/// An answer that comes later, with what its request is charged until then.
struct Pending {
    answer: BoxFuture<'static, Option<Segments>>,
    _charge: Charge,
}

impl Future for Pending {
    type Output = Option<Segments>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Segments>> {
        self.answer.as_mut().poll(cx)
    }
}

pub(super) struct Connection {
    /// `None` while it moves.
    stream: Option<Box<dyn Stream>>,
    service: Arc<dyn Service>,
    client: Arc<Client>,
    limits: Limits,
    /// Whether it lives where history is read.
    in_history: bool,
    incoming: Incoming,
    patience: Option<Patience>,
    pending: FuturesOrdered<Pending>,
    /// The request whose ordered part is done elsewhere.
    held: Option<(BoxFuture<'static, Answer>, Charge)>,
    /// The request behind those that are pending, which waits for its turn.
    in_turn: Option<InTurn>,
    answers: AnswerBudget,
    /// Answers, those that were made in turn with their room.
    output: VecDeque<(Segments, Option<Room>)>,
    /// Bytes in `output`.
    unwritten: usize,
    /// Bytes written since the connection began.
    written: u64,
    /// No more requests are taken; the connection ends when everything is answered.
    closing: bool,
    /// Why, if the client is at fault.
    fault: Option<io::Error>,
    last_activity: Monotonic,
}

/// Looks after a while whether a client went on.
struct Patience {
    end: BoxFuture<'static, ()>,
    /// Bytes that it had sent and fetched at the start.
    total: u64,
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
        (budget, answers): (ByteBudget, AnswerBudget),
        now: Monotonic,
    ) -> Connection {
        Connection {
            stream: Some(stream),
            service,
            client,
            in_history: false,
            incoming: Incoming::new(limits.max_frame_bytes, budget),
            limits,
            patience: None,
            pending: FuturesOrdered::new(),
            in_turn: None,
            answers,
            held: None,
            output: VecDeque::new(),
            unwritten: 0,
            written: 0,
            closing: false,
            fault: None,
            last_activity: now,
        }
    }

    /// Lets go of the runtime that it lives on, to live where it belongs now; how it gets there, and where that is.
    pub(super) fn move_on(mut self) -> io::Result<(impl FnOnce() -> io::Result<Connection> + Send, bool)> {
        let attach: Attach = self.stream.take().ok_or(io::ErrorKind::NotConnected)?.detach()?;
        self.in_history = self.client.reading.is_history();
        // What is waited for in vain belongs to the runtime as well.
        self.patience = None;
        let to_history = self.in_history;
        let arrive = move || {
            self.stream = Some(attach()?);
            Ok(self)
        };
        Ok((arrive, to_history))
    }

    /// Serves until the client leaves, misbehaves or idles, or `stop` ends; then answers what was taken in. Or until the
    /// connection should live elsewhere and nothing is in progress.
    pub(super) async fn serve(&mut self, env: &Env, stop: impl Future<Output = ()> + Send) -> io::Result<End> {
        let mut stop = std::pin::pin!(stop);
        let mut stopped = false;
        let mut idle = env.sleep(self.limits.max_idle);
        poll_fn(|cx| {
            let until = env.now().plus(LONG_WORK);
            let is_long = || env.now() > until;
            if !stopped && stop.as_mut().poll(cx).is_ready() {
                stopped = true;
                self.close(None);
            }
            for _ in 0..TURNS {
                let turn = self.turn(cx, &is_long)?;
                if turn.ended {
                    return Poll::Ready(self.fault.take().map_or(Ok(End::Over), Err));
                }
                if self.is_to_move() && self.is_unoccupied() {
                    return Poll::Ready(Ok(End::Moves));
                }
                if !turn.moved {
                    while idle.as_mut().poll(cx).is_ready() {
                        let quiet = env.now().since(self.last_activity);
                        if quiet >= self.limits.max_idle {
                            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                        }
                        idle = env.sleep(self.limits.max_idle.saturating_sub(quiet));
                    }
                    if self.is_in_the_way(cx, env) {
                        let error = "others waited for the bytes that an incomplete frame or an unread answer held";
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, error)));
                    }
                    if is_long() {
                        // What we wait for may be at its next bit already, and others have waited for it.
                        break;
                    }
                    return Poll::Pending;
                }
                self.last_activity = env.now();
                if self.in_history {
                    env.tasks.step_aside();
                    break;
                }
                if is_long() {
                    break;
                }
            }
            env.tasks.make_way(cx);
            Poll::Pending
        })
        .await
    }

    fn turn(&mut self, cx: &mut Context<'_>, is_long: &impl Fn() -> bool) -> io::Result<Turn> {
        let mut moved = self.let_go(cx);
        moved |= self.take_frames(cx, is_long);
        // The first answer is looked for in every turn, so that there is somebody to wake us.
        while let Poll::Ready(Some(answer)) = self.pending.poll_next_unpin(cx) {
            self.answered(answer, None);
            moved = true;
            if is_long() {
                break;
            }
        }
        moved |= self.take_turn(cx);
        moved |= self.write(cx)?;
        if self.closing {
            return Ok(Turn { moved, ended: self.is_unoccupied() });
        }
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        match self.incoming.read(stream, cx) {
            // The client is gone, or wants no more than the answers to what it sent.
            Ok(Poll::Ready(0)) => self.close(None),
            Ok(Poll::Ready(_)) => {}
            Ok(Poll::Pending) => return Ok(Turn { moved, ended: false }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => self.close(Some(error)),
            Err(error) => return Err(error),
        }
        Ok(Turn { moved: true, ended: false })
    }

    /// Goes on with the request whose turn it is.
    fn take_turn(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.pending.is_empty() || self.unwritten >= MAX_UNWRITTEN {
            return false;
        }
        let Some(turn) = &mut self.in_turn else { return false };
        let Poll::Ready((answer, room)) = turn.poll(cx) else { return false };
        self.in_turn = None;
        self.answered(answer, room);
        true
    }

    fn answered(&mut self, answer: Option<Segments>, room: Option<Room>) {
        match answer {
            Some(answer) => self.put(answer, room),
            None => {
                // A later answer would be taken for this one.
                self.pending = FuturesOrdered::new();
                self.in_turn = None;
                self.close(None);
            }
        }
    }

    /// Takes no more requests: what is in progress is answered, what was not taken in is let go.
    fn close(&mut self, fault: Option<io::Error>) {
        self.closing = true;
        self.fault = self.fault.take().or(fault);
        self.incoming.clear();
    }

    /// Whether it belongs on other threads. It takes no more requests then until it is there.
    fn is_to_move(&self) -> bool {
        !self.closing && self.client.reading.is_history() != self.in_history
    }

    /// Whether no request is in progress and no answer waits.
    fn is_unoccupied(&self) -> bool {
        self.held.is_none() && self.pending.is_empty() && self.in_turn.is_none() && self.output.is_empty()
    }

    /// Whether another request may be taken in.
    fn has_room(&self) -> bool {
        let unanswered = self.pending.len() + self.output.len();
        let is_free = !self.closing && self.held.is_none() && self.in_turn.is_none() && !self.is_to_move();
        is_free && unanswered < self.limits.max_in_flight && self.unwritten < MAX_UNWRITTEN
    }

    fn take_frames(&mut self, cx: &mut Context<'_>, is_long: &impl Fn() -> bool) -> bool {
        let mut moved = false;
        while self.has_room() && !(moved && is_long()) {
            match self.incoming.next(cx) {
                Ok(None) => break,
                Ok(Some((frame, charge))) => self.accept(frame, charge),
                Err(error) => self.close(Some(error)),
            }
            moved = true;
        }
        if !self.has_room() {
            self.incoming.step_back();
        }
        moved
    }

    /// Whether the client holds bytes that others wait for, and for too long did not send what it announced, or fetch
    /// what it asked for.
    fn is_in_the_way(&mut self, cx: &mut Context<'_>, env: &Env) -> bool {
        loop {
            let (holds_part, holds_answer) = (self.incoming.holds_part(), self.holds_answer());
            if !holds_part && !holds_answer {
                break;
            }
            let total = self.incoming.total() + self.written;
            let patience =
                self.patience.get_or_insert_with(|| Patience { end: env.sleep(self.limits.max_stall), total });
            if patience.end.as_mut().poll(cx).is_pending() {
                return false;
            }
            let wanted = (holds_part && self.incoming.is_contended()) || (holds_answer && self.answers.is_wanted());
            if wanted && total - patience.total < PROGRESS {
                return true;
            }
            self.patience = None;
        }
        self.patience = None;
        false
    }

    /// Whether an answer that was made in turn waits for its client.
    fn holds_answer(&self) -> bool {
        self.output.iter().any(|(_, room)| room.is_some())
    }

    fn put(&mut self, answer: Segments, mut room: Option<Room>) {
        if let Some(room) = &mut room {
            room.settle(answer.len());
        }
        self.unwritten += answer.len();
        self.output.push_back((answer, room));
    }

    fn accept(&mut self, frame: Bytes, charge: Charge) {
        let answer = self.service.call(&self.client, frame);
        self.settle(answer, charge);
    }

    /// Looks whether the request that holds the connection is done with what others must wait for. It is waited for
    /// also when the connection closes: its records count as received.
    fn let_go(&mut self, cx: &mut Context<'_>) -> bool {
        let Some((work, _)) = &mut self.held else { return false };
        let Poll::Ready(answer) = work.as_mut().poll(cx) else { return false };
        if let Some((_, charge)) = self.held.take() {
            self.settle(answer, charge);
        }
        true
    }

    fn settle(&mut self, answer: Answer, charge: Charge) {
        match answer {
            Answer::Ready(bytes) if self.pending.is_empty() => self.put(bytes, None),
            Answer::Ready(bytes) => {
                let answer = Box::pin(std::future::ready(Some(bytes)));
                self.pending.push_back(Pending { answer, _charge: Charge::default() });
            }
            Answer::Later(answer) => self.pending.push_back(Pending { answer, _charge: charge }),
            Answer::Held(work) => self.held = Some((work, charge)),
            Answer::InTurn(answer) => {
                self.in_turn = Some(InTurn::new(answer, charge, &self.answers));
            }
            Answer::Silence => {}
            Answer::Close => self.close(None),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else { return Err(io::ErrorKind::NotConnected.into()) };
        let mut moved = false;
        while !self.output.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_BUFFERS];
            let (mut count, mut bytes) = (0, 0);
            for (slice, next) in slices.iter_mut().zip(self.output.iter().flat_map(|(answer, _)| answer.io_slices())) {
                if self.in_history && count > 0 && bytes + next.len() > HISTORY_STEP {
                    break;
                }
                bytes += next.len();
                *slice = next;
                count += 1;
            }
            let slices = slices.get(..count).unwrap_or_default();
            let written = match slices {
                [one] if self.in_history => {
                    let step = one.get(..HISTORY_STEP).unwrap_or(one);
                    Pin::new(&mut *stream).poll_write(cx, step)
                }
                _ => Pin::new(&mut *stream).poll_write_vectored(cx, slices),
            };
            let written = match written {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(result) => result?,
            };
            moved = true;
            self.written += written as u64;
            consume(&mut self.output, &mut self.unwritten, written);
            if self.in_history {
                break;
            }
        }
        Ok(moved)
    }
}

/// Drops what is written from the front of `output`.
fn consume(output: &mut VecDeque<(Segments, Option<Room>)>, unwritten: &mut usize, mut written: usize) {
    *unwritten = unwritten.saturating_sub(written);
    while let Some((front, _)) = output.front_mut() {
        let whole = front.len();
        if whole > written {
            front.advance(written);
            return;
        }
        written -= whole;
        output.pop_front();
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
