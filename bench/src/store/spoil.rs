//! Answers that go wrong: what a [`Fault`] does to a request and to its answer, in front of any S3 server.
//!
//! ```text
//! request -> drawn fault -> (refused | closed | hangs) or served -> (lost | late | slow | cut short | changed) -> client
//! ```

use super::faults::{Asked, Fault, Faults};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::{Response, StatusCode};
use std::collections::VecDeque;
use std::error::Error;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How much later than it could be a late answer is.
const LATE: Duration = Duration::from_millis(300);
/// A slow answer's piece, and how long the next one takes: 64 kB/s.
const SLOW_PIECE: usize = 4 << 10;
const SLOW_PAUSE: Duration = Duration::from_millis(64);

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A fault's doing.
    #[error("a fault of the store's")]
    OnPurpose,
    /// What the server itself says.
    #[error(transparent)]
    Server(Box<dyn Error + Send + Sync>),
}

/// Serves one request as its fault has it: `serve` is what a store without faults does.
///
/// # Errors
/// [`Broken`]: the connection is to be closed.
pub async fn answer<B, E>(
    faults: &Faults,
    asked: &Asked,
    serve: impl Future<Output = Result<Response<B>, E>>,
) -> Result<Response<Spoiled<B>>, Broken>
where
    B: Body<Data = Bytes>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let fault = faults.draw(asked);
    match fault {
        Some(Fault::Outage) => return Err(Broken::OnPurpose),
        Some(Fault::Hanging) => {
            faults.changed().await;
            return Err(Broken::OnPurpose);
        }
        Some(Fault::Unavailable) => return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown")),
        Some(Fault::Throttled) => return Ok(refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests")),
        Some(Fault::Conflict) => return Ok(refusal(StatusCode::CONFLICT, "ConditionalRequestConflict")),
        Some(Fault::Missing) => return Ok(refusal(StatusCode::NOT_FOUND, "NoSuchKey")),
        _ => {}
    }
    let response = serve.await.map_err(|error| Broken::Server(error.into()))?;
    let size = response.body().size_hint().exact().unwrap_or(0);
    let way = match fault {
        Some(Fault::Lost) => return Err(Broken::OnPurpose),
        Some(Fault::Failed) => return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        // What has no body to be cut short is lost.
        Some(Fault::Truncated) if size < 2 => return Err(Broken::OnPurpose),
        Some(Fault::Truncated) => Way::Cut { left: size / 2 },
        Some(Fault::Wrong) => Way::Changed { until: size / 2 },
        Some(Fault::Slow) => Way::Slow { pieces: VecDeque::new(), pause: None },
        Some(Fault::Late) => {
            tokio::time::sleep(LATE).await;
            Way::Whole
        }
        _ => Way::Whole,
    };
    Ok(response.map(|body| Spoiled { source: Source::Body(Box::pin(body)), way }))
}

/// All of a request's body, which is read before anything goes wrong with its answer: a refusal in the middle of it would
/// be a connection that broke.
///
/// # Errors
/// [`Broken::Server`] if it ends early, or has more than `most` bytes.
pub async fn collect<B>(body: B, most: usize) -> Result<Bytes, Broken>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let known = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(known.min(most));
    let mut body = pin!(body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Broken::Server(error.into()))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > most {
                return Err(Broken::Server("the request is too large".into()));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// A refusal in S3's words.
fn refusal<B>(status: StatusCode, code: &str) -> Response<Spoiled<B>> {
    let text = format!("<Error><Code>{code}</Code><Message>a fault on purpose</Message></Error>");
    let mut response = Response::new(Spoiled { source: Source::Text(Some(Bytes::from(text))), way: Way::Whole });
    *response.status_mut() = status;
    response
}

/// The body of an answer, as its fault has it.
pub struct Spoiled<B> {
    source: Source<B>,
    way: Way,
}

enum Source<B> {
    Text(Option<Bytes>),
    Body(Pin<Box<B>>),
}

enum Way {
    Whole,
    /// So many bytes come, and then the connection ends.
    Cut {
        left: u64,
    },
    /// The byte after so many others is wrong.
    Changed {
        until: u64,
    },
    /// A piece now and then.
    Slow {
        pieces: VecDeque<Bytes>,
        pause: Option<Pin<Box<Sleep>>>,
    },
}

impl<B: Body<Data = Bytes>> Spoiled<B>
where
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match &mut self.source {
            Source::Text(text) => Poll::Ready(text.take().map(Ok)),
            Source::Body(body) => loop {
                let frame = match ready!(body.as_mut().poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(frame) => frame.map_err(|error| Broken::Server(error.into()))?,
                };
                if let Ok(data) = frame.into_data() {
                    return Poll::Ready(Some(Ok(data)));
                }
            },
        }
    }

    /// The next piece of a slow answer.
    fn poll_slowly(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if let Way::Slow { pieces, pause } = &mut self.way {
                if let Some(waits) = pause {
                    ready!(waits.as_mut().poll(cx));
                    *pause = None;
                }
                if let Some(piece) = pieces.pop_front() {
                    *pause = Some(Box::pin(tokio::time::sleep(SLOW_PAUSE)));
                    return Poll::Ready(Some(Ok(piece)));
                }
            }
            let data = match ready!(self.poll_source(cx)) {
                Some(Ok(data)) => data,
                end => return Poll::Ready(end),
            };
            if let Way::Slow { pieces, .. } = &mut self.way {
                let cut = |at: usize| data.slice(at..data.len().min(at + SLOW_PIECE));
                pieces.extend((0..data.len()).step_by(SLOW_PIECE).map(cut));
            }
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Spoiled<B>
where
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Way::Cut { left: 0 } = this.way {
            return Poll::Ready(Some(Err(Broken::OnPurpose)));
        }
        if let Way::Slow { .. } = this.way {
            return this.poll_slowly(cx).map_ok(Frame::data);
        }
        let data = match ready!(this.poll_source(cx)) {
            Some(Ok(data)) => data,
            end => return Poll::Ready(end.map(|error| error.map(Frame::data))),
        };
        let data = match &mut this.way {
            Way::Cut { left } => {
                let some = data.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= some as u64;
                data.slice(..some)
            }
            Way::Changed { until } if (*until as usize) < data.len() => {
                let mut bytes = data.to_vec();
                if let Some(byte) = bytes.get_mut(*until as usize) {
                    *byte ^= 0x10;
                }
                this.way = Way::Whole;
                Bytes::from(bytes)
            }
            Way::Changed { until } => {
                *until -= data.len() as u64;
                data
            }
            Way::Whole | Way::Slow { .. } => data,
        };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match (&self.source, &self.way) {
            (_, Way::Cut { .. } | Way::Slow { .. }) => false,
            (Source::Text(text), _) => text.is_none(),
            (Source::Body(body), _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            // As the headers have it, however much of it comes.
            Source::Body(body) => body.size_hint(),
        }
    }
}
