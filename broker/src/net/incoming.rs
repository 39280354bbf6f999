//! What came in and is not handled yet: the read buffer of one connection, and what its first frame is charged.
//!
//! ```text
//!  buffer:  | frame | frame | part of a frame |            at most SMALL bytes, the connection's own
//!  long:    | part of a long frame ....  | room |          room grows 8-fold, each step charged before it is made
//! ```
//!
//! A length field alone makes no room and costs the [`ByteBudget`] nothing: a client has always sent an eighth of what
//! is held for it beyond the first [`SMALL`] bytes. The room of long frames is used again, see
//! [`spares`](super::spares).

use super::budget::{ByteBudget, Charge, SMALL, weight};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use esker_protocol::api::ApiKey;
use esker_protocol::frame::{self, LENGTH_SIZE, Prologue};
use futures_util::future::BoxFuture;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The room for a long frame grows by this factor once it is full.
const GROWTH: usize = 8;
/// Requests whose answers may wait for other requests. They are charged their bytes and no more: were those that wait
/// to hold what those that are waited for need, neither would end.
const WAITING: [i16; 4] =
    [ApiKey::Produce as i16, ApiKey::Fetch as i16, ApiKey::JoinGroup as i16, ApiKey::SyncGroup as i16];

pub(super) struct Incoming {
    max_frame: usize,
    budget: ByteBudget,
    buffer: BytesMut,
    /// The first frame once it is known to be a long one: all that came in.
    long: Option<Vec<u8>>,
    /// How far the first frame may be read.
    allowed: usize,
    /// What of `allowed` the first frame is charged, and the charge.
    charged: usize,
    charge: Charge,
    waiting: Option<BoxFuture<'static, Option<Charge>>>,
    /// Bytes read since the connection began.
    total: u64,
}

impl Incoming {
    pub(super) fn new(max_frame: usize, budget: ByteBudget) -> Incoming {
        Incoming {
            max_frame,
            budget,
            buffer: BytesMut::new(),
            long: None,
            allowed: SMALL,
            charged: 0,
            charge: Charge::default(),
            waiting: None,
            total: 0,
        }
    }

    /// Bytes read since the connection began.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Gives back what is not handled: nothing more will be.
    pub(super) fn clear(&mut self) {
        *self = Incoming { total: self.total, ..Incoming::new(self.max_frame, self.budget.clone()) };
    }

    /// Whether bytes of the budget are held for a frame that its client is yet to complete.
    pub(super) fn holds_part(&self) -> bool {
        !self.charge.is_empty() && self.waiting.is_none() && !self.is_complete()
    }

    /// Whether bytes of the budget are wanted by others.
    pub(super) fn is_contended(&self) -> bool {
        self.budget.is_wanted()
    }

    /// Leaves the queue for the budget with a frame that could not be handled anyway: what it is given there would be
    /// out of use.
    pub(super) fn step_back(&mut self) {
        if self.is_complete() {
            self.waiting = None;
        }
    }

    fn is_complete(&self) -> bool {
        self.first_size().is_ok_and(|size| size.is_some_and(|size| self.held().len() >= size))
    }

    fn held(&self) -> &[u8] {
        self.long.as_deref().unwrap_or(&self.buffer)
    }

    /// The size of the first frame with its length, if that is there.
    fn first_size(&self) -> io::Result<Option<usize>> {
        match frame::length(self.held(), self.max_frame) {
            Ok(length) => Ok(length.map(|length| LENGTH_SIZE + length)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// Takes the first frame, without its length, once it is complete and charged.
    ///
    /// # Errors
    /// A length that no frame may have.
    pub(super) fn next(&mut self, cx: &mut Context<'_>) -> io::Result<Option<(Bytes, Charge)>> {
        let Some(size) = self.first_size()?.filter(|size| self.held().len() >= *size) else { return Ok(None) };
        let prologue = self.held().get(LENGTH_SIZE..).and_then(Prologue::peek);
        let is_decoded = prologue.is_some_and(|prologue| !WAITING.contains(&prologue.api_key));
        let budget = &self.budget;
        if size <= SMALL {
            let bytes = weight(size, is_decoded);
            let wait = || -> BoxFuture<'static, Option<Charge>> { Box::pin(budget.clone().small(bytes)) };
            let Some(charge) = charge(&mut self.waiting, cx, || budget.try_small(bytes), wait) else { return Ok(None) };
            self.charge.add(charge);
        } else if is_decoded && !self.charge.is_wide() {
            let wait = || -> BoxFuture<'static, Option<Charge>> { Box::pin(budget.clone().wide()) };
            let Some(wide) = charge(&mut self.waiting, cx, || budget.try_wide(), wait) else { return Ok(None) };
            self.charge.add(wide);
        }
        let mut frame = match self.long.take() {
            // Nothing of the next frame was read.
            Some(long) => self.budget.spares().lend(long),
            None => self.buffer.split_to(size).freeze(),
        };
        frame.advance(LENGTH_SIZE);
        (self.allowed, self.charged) = (SMALL, 0);
        Ok(Some((frame, std::mem::take(&mut self.charge))))
    }

    /// How many bytes may be read now; none while a complete frame waits to be handled, or for the budget.
    fn room(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        let held = self.held().len();
        let size = match self.first_size()? {
            Some(size) if held >= size => return Ok(0),
            Some(size) if size > SMALL => size,
            _ => return Ok(SMALL.saturating_sub(held)),
        };
        if held >= self.allowed && !self.grow(size, cx) {
            return Ok(0);
        }
        Ok(self.allowed.min(size).saturating_sub(held))
    }

    /// Makes room for the next step of a long frame, if that can be charged.
    fn grow(&mut self, size: usize, cx: &mut Context<'_>) -> bool {
        let next = self.allowed.saturating_mul(GROWTH).min(size);
        if !self.charge.is_overdraft() {
            let (budget, step) = (&self.budget, next - self.charged);
            let first = self.charge.is_empty();
            let wait = || -> BoxFuture<'static, Option<Charge>> {
                if first { Box::pin(budget.clone().first_of_large(step)) } else { Box::pin(budget.clone().overdraw()) }
            };
            let Some(more) = charge(&mut self.waiting, cx, || budget.try_large(step), wait) else { return false };
            self.charge.add(more);
            self.charged = next;
        }
        self.allowed = next;
        if self.long.is_none() {
            let mut long = self.budget.spares().take();
            long.extend_from_slice(&self.buffer);
            self.buffer.clear();
            self.long = Some(long);
        }
        true
    }

    /// Reads what there is, as far as there may be more; 0 at the end of the stream.
    ///
    /// # Errors
    /// The stream's, or a length that no frame may have.
    pub(super) fn read(&mut self, mut stream: impl AsyncRead + Unpin, cx: &mut Context<'_>) -> io::Result<Poll<usize>> {
        let room = self.room(cx)?;
        if room == 0 {
            return Ok(Poll::Pending);
        }
        let read = match &mut self.long {
            Some(long) => {
                if long.capacity() == long.len() {
                    long.reserve_exact(room);
                }
                pin!(stream.read_buf(&mut long.limit(room))).poll(cx)
            }
            None => {
                // The last frame is done with, as a rule: its bytes are the warmest, and a connection that takes in small
                // frames only never touches more than the first page of its buffer.
                let reclaimed = self.buffer.is_empty() && self.buffer.try_reclaim(SMALL);
                // A few bytes of room are not worth a read.
                if !reclaimed && self.buffer.capacity() - self.buffer.len() < room.min(SMALL / 8) {
                    self.buffer.reserve(room);
                }
                pin!(stream.read_buf(&mut (&mut self.buffer).limit(room))).poll(cx)
            }
        };
        let Poll::Ready(count) = read else { return Ok(Poll::Pending) };
        let count = count?;
        self.total += count as u64;
        Ok(Poll::Ready(count))
    }
}

/// Goes on waiting, or tries and begins to wait.
fn charge(
    waiting: &mut Option<BoxFuture<'static, Option<Charge>>>,
    cx: &mut Context<'_>,
    attempt: impl FnOnce() -> Option<Charge>,
    wait: impl FnOnce() -> BoxFuture<'static, Option<Charge>>,
) -> Option<Charge> {
    let begun = match waiting {
        Some(begun) => begun,
        None => match attempt() {
            Some(charge) => return Some(charge),
            None => waiting.insert(wait()),
        },
    };
    let Poll::Ready(charge) = begun.as_mut().poll(cx) else { return None };
    *waiting = None;
    charge
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn take(incoming: &mut Incoming, sent: &[u8]) -> Bytes {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(incoming.read(sent, &mut cx), Ok(Poll::Ready(count)) if count > 0));
        let (frame, _) = incoming.next(&mut cx).unwrap().expect("a whole frame");
        frame
    }

    #[test]
    fn frames_that_are_done_with_make_room_for_the_next_where_they_were() {
        let mut incoming = Incoming::new(1 << 20, ByteBudget::new(1 << 20));
        let frame = [&100_u32.to_be_bytes()[..], &[7; 100]].concat();
        let places: Vec<*const u8> = (0..2000).map(|_| take(&mut incoming, &frame).as_ptr()).collect();
        assert!(places.iter().all(|place| *place == places[0]));
        // One that is not done with stays as it is.
        let kept = take(&mut incoming, &frame);
        let next = take(&mut incoming, &[&100_u32.to_be_bytes()[..], &[8; 100]].concat());
        assert!(kept.iter().all(|byte| *byte == 7) && next.iter().all(|byte| *byte == 8));
    }
}
