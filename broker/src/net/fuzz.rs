//! Fuzz target of what a connection reads: the same frames come out however the bytes arrive.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::budget::ByteBudget;
use super::incoming::Incoming;
use bytes::BytesMut;
use esker_protocol::frame;
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use futures_util::task::noop_waker_ref;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// The targets of this module.
pub const TARGETS: &[Target] = &[Target {
    name: "incoming",
    covers: &["broker/src/net/incoming.rs"],
    // A read's room, and what a budget keeps for itself.
    memory: MEMORY + (256 << 10),
    per_byte: PER_BYTE,
    run: incoming,
    seeds: incoming_seeds,
}];

/// The largest frame that is read.
const MAX_FRAME: usize = 100_000;

/// Bytes that arrive a few at a time, and then nothing.
struct Drip<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl AsyncRead for Drip<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.step.min(self.bytes.len()).min(into.remaining());
        let (now, later) = self.bytes.split_at(count);
        into.put_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(()))
    }
}

/// `step | stream`: frames as [`frame::split`] finds them in the whole stream.
fn incoming(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let mut drip = Drip { bytes: stream, step: 1 + usize::from(step) * 40 };
    let mut incoming = Incoming::new(MAX_FRAME, ByteBudget::new(64 << 20));
    let mut whole = BytesMut::from(stream);
    let mut cx = Context::from_waker(noop_waker_ref());
    loop {
        let expected = frame::split(&mut whole, MAX_FRAME);
        let found = loop {
            match incoming.next(&mut cx) {
                Ok(None) => {}
                other => break other.map_err(|error| error.kind()),
            }
            match incoming.read(&mut drip, &mut cx) {
                Ok(Poll::Ready(0)) => break Ok(None),
                Ok(Poll::Ready(_)) => {}
                Ok(Poll::Pending) => unreachable!("nothing is read although nothing is held"),
                Err(error) => break Err(error.kind()),
            }
        };
        match (found, expected) {
            (Ok(Some((frame, _))), Ok(Some(expected))) => assert_eq!(frame, expected),
            (Ok(None), Ok(None)) => return,
            (Err(io::ErrorKind::InvalidData), Err(_)) => return,
            (found, expected) => unreachable!("{found:?} instead of {expected:?}"),
        }
    }
}

fn incoming_seeds() -> Vec<Vec<u8>> {
    let framed = |body: &[u8]| [&(body.len() as u32).to_be_bytes()[..], body].concat();
    let long = [&[0, 0, 0, 9, 0, 0, 0, 1][..], &vec![7; 70_000]].concat();
    vec![
        [&[0][..], &framed(&[0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]), &framed(&[1; 30])].concat(),
        [&[255][..], &framed(&[0, 3, 0, 1, 0, 0, 0, 1]), &framed(&long), &framed(&[1; 30])].concat(),
        [&[3][..], &100_001_u32.to_be_bytes()].concat(),
    ]
}
