//! Reading an answer to its end, unless it comes too slowly.
//!
//! A connection that stands still runs into the client's time-out. One that trickles does not: it gives a byte now and
//! then, and would hold a request, its memory and its reader for ever. So an answer has to make *progress*: in every
//! window of time at least so many bytes have to come, or it is given up as [`Indefinite`](super::StoreError), and asked
//! for again like any other answer that did not come. No total limit would do: what is right for a page of a manifest is
//! too short for a snapshot's shards over a slow link.

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use object_store::{Error, GetResult, GetResultPayload};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of an answer that are received between two calls of `aside`.
const STEP: usize = 128 * 1024;
/// Room that is made for an answer before its bytes come.
const MAX_AHEAD: usize = 4 << 20;

/// The least that an answer must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// In each of these,
    pub(super) window: Duration,
    /// so many bytes.
    pub(super) least: usize,
}

impl Progress {
    /// 13 kB/s. All the ranges that are asked for at a time (24 by default) together need 2.5 Mbit/s then, which is slower
    /// than any link that a tier is worth having over; and a chunk of 1 MiB, which a consumer waits for, is given up
    /// and asked for again within 80 s at the latest.
    pub(super) const LEAST: Progress = Progress { window: Duration::from_secs(20), least: 256 << 10 };
}

/// The bytes of an answer; `aside` is called now and then, to let others go first.
///
/// # Errors
/// What the store says, or that it says too little.
#[allow(clippy::disallowed_methods, reason = "this is the door, on a runtime of its own")]
pub(super) async fn collect(answer: GetResult, progress: Progress, aside: fn()) -> object_store::Result<Bytes> {
    let GetResultPayload::Stream(mut pieces) = answer.payload else { return answer.bytes().await };
    let size = answer.range.end.saturating_sub(answer.range.start);
    let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0).min(MAX_AHEAD));
    let mut next_step = STEP;
    let mut before = 0;
    let window = tokio::time::sleep(progress.window);
    tokio::pin!(window);
    loop {
        tokio::select! {
            biased;
            piece = pieces.try_next() => {
                let Some(piece) = piece? else { return Ok(bytes.freeze()) };
                bytes.extend_from_slice(&piece);
                if bytes.len() >= next_step {
                    next_step = bytes.len() + STEP;
                    aside();
                }
            }
            () = &mut window => {
                let came = bytes.len() - before;
                if came < progress.least {
                    let reason = format!("only {came} bytes came in {:?}: given up", progress.window);
                    return Err(Error::Generic { store: "answer", source: reason.into() });
                }
                before = bytes.len();
                window.as_mut().reset(Instant::now() + progress.window);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::block_on;
    use super::*;
    use futures_util::{StreamExt, stream};
    use object_store::path::Path;
    use object_store::{Attributes, ObjectMeta};

    /// An answer of `size` bytes: `piece` of them every `pause`.
    #[allow(clippy::disallowed_methods, reason = "a slow store's time is real")]
    fn answer(size: usize, piece: usize, pause: Duration) -> GetResult {
        let pieces = stream::iter((0..size).step_by(piece)).then(move |at| async move {
            tokio::time::sleep(pause).await;
            Ok(Bytes::from(vec![7; piece.min(size - at)]))
        });
        let meta = ObjectMeta {
            location: Path::from("k"),
            last_modified: Default::default(),
            size: size as u64,
            e_tag: None,
            version: None,
        };
        let payload = GetResultPayload::Stream(pieces.boxed());
        GetResult {
            payload,
            meta,
            range: 0..size as u64,
            attributes: Attributes::default(),
            extensions: Default::default(),
        }
    }

    const PROGRESS: Progress = Progress { window: Duration::from_millis(300), least: 1_000 };

    #[test]
    fn an_answer_that_trickles_is_given_up() {
        block_on(async {
            // It never stands still, and would take 100 s.
            let trickle = answer(10_000, 1, Duration::from_millis(10));
            let given_up = collect(trickle, PROGRESS, || ()).await.unwrap_err();
            assert!(given_up.to_string().contains("given up"), "{given_up}");
        });
    }

    #[test]
    fn a_slow_answer_may_take_many_windows() {
        block_on(async {
            // More than a window's least with every piece, however late a busy machine's timers are.
            let slow = answer(20_000, 2_000, Duration::from_millis(100));
            assert_eq!(collect(slow, PROGRESS, || ()).await.unwrap().len(), 20_000);
            let at_once = answer(1 << 20, 1 << 16, Duration::ZERO);
            assert_eq!(collect(at_once, PROGRESS, || ()).await.unwrap().len(), 1 << 20);
        });
    }
}
