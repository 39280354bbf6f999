//! The HTTP side: requests of S3's path style, and answers at a given speed.

use super::faults::{Asked, Faults};
use super::objects::{Found, Objects, Refused};
use super::pace::Pace;
use super::spoil::{self, Broken, Spoiled};
use super::text;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_NONE_MATCH, LAST_MODIFIED, RANGE};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::time::Sleep;

/// The most that one piece of an answer has, so that rates hold within an answer.
const PIECE: usize = 64 << 10;
/// What timers cannot tell apart.
const TICK: Duration = Duration::from_millis(1);
/// Keys of a page of a listing.
const PAGE: usize = 1_000;
/// The largest request body.
const MAX_BODY: usize = 1 << 30;

/// How fast a store is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Speed {
    /// From a request to its answer's first byte.
    pub delay: Duration,
    /// Bytes a second of answers on one connection.
    pub per_connection: Option<f64>,
    /// Bytes a second of all answers.
    pub in_all: Option<f64>,
}

/// A store that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    objects: Objects,
    faults: Arc<Faults>,
    speed: Speed,
    in_all: Option<Arc<Pace>>,
}

impl Server {
    /// Listens at `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// If it cannot be listened at.
    pub async fn bind(address: SocketAddr, speed: Speed) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let in_all = speed.in_all.map(|rate| Arc::new(Pace::new(rate, true, Instant::now())));
        let shared = Shared { objects: Objects::default(), faults: Arc::default(), speed, in_all };
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.shared.faults
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// If no more connections can be accepted.
    pub async fn serve(self) -> std::io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            let shared = Arc::clone(&self.shared);
            let own = shared.speed.per_connection.map(|rate| Arc::new(Pace::new(rate, false, Instant::now())));
            let paces: Paces = own.into_iter().chain(shared.in_all.clone()).collect();
            tokio::spawn(async move {
                let handle = service_fn(move |request| answer(Arc::clone(&shared), paces.clone(), request));
                // A client that goes away is no error of ours.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), handle).await;
            });
        }
    }
}

type Paces = Vec<Arc<Pace>>;

async fn answer(
    shared: Arc<Shared>,
    paces: Paces,
    request: Request<Incoming>,
) -> Result<Response<Spoiled<Paced>>, Broken> {
    let asked = Asked::of(&request);
    let (head, body) = request.into_parts();
    let body = spoil::collect(body, MAX_BODY).await?;
    if !shared.speed.delay.is_zero() {
        tokio::time::sleep(shared.speed.delay).await;
    }
    let serve = async { Ok::<_, Infallible>(serve(&shared, paces, &head, body)) };
    spoil::answer(&shared.faults, &asked, serve).await
}

fn serve(shared: &Shared, paces: Paces, head: &Parts, body: Bytes) -> Response<Paced> {
    let path = text::decode_url(head.uri.path());
    // The bucket comes first; there is one, whatever its name.
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
    let query = head.uri.query().unwrap_or_default();
    match route(&shared.objects, &head.method, key, query, &head.headers, body) {
        Ok(Answer::Text(text)) => Response::new(Paced::new(vec![Bytes::from(text)], Vec::new())),
        Ok(Answer::Written(tag)) => with_tag(Response::new(Paced::new(Vec::new(), Vec::new())), tag),
        Ok(Answer::Object(found)) if head.method == Method::HEAD => describe(found, Vec::new(), true),
        Ok(Answer::Object(found)) => describe(found, paces, false),
        Err(refused) => refuse(refused),
    }
}

enum Answer {
    Text(String),
    Written(u64),
    Object(Found),
}

fn route(
    objects: &Objects,
    method: &Method,
    key: &str,
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Answer, Refused> {
    let named = |name: &str| text::query(query, name);
    let upload = named("uploadId").map(|id| id.parse::<u64>().map_err(|_| Refused::NoSuchUpload)).transpose()?;
    let answer = match (method, upload) {
        (&Method::PUT, Some(id)) => {
            let number = named("partNumber").and_then(|n| n.parse().ok()).ok_or(Refused::NotImplemented)?;
            objects.part(id, number, body)?;
            Answer::Written(u64::from(number))
        }
        (&Method::PUT, None) => Answer::Written(objects.put(key, body, headers.contains_key(IF_NONE_MATCH))?),
        (&Method::POST, Some(id)) => {
            let tag = objects.complete(key, id)?;
            let element = "CompleteMultipartUploadResult";
            Answer::Text(format!("<{element}><ETag>\"{tag:x}\"</ETag></{element}>"))
        }
        (&Method::POST, None) if named("uploads").is_some() => {
            let element = "InitiateMultipartUploadResult";
            Answer::Text(format!("<{element}><UploadId>{}</UploadId></{element}>", objects.begin()))
        }
        (&Method::POST, None) if named("delete").is_some() => {
            let keys = text::keys_to_delete(&String::from_utf8_lossy(&body));
            keys.iter().for_each(|key| objects.delete(key));
            Answer::Text(text::deleted(&keys))
        }
        (&Method::DELETE, upload) => {
            match upload {
                Some(id) => objects.abort(id),
                None => objects.delete(key),
            }
            Answer::Text(String::new())
        }
        (&Method::GET, None) if key.is_empty() => {
            let after = named("continuation-token").or_else(|| named("start-after")).unwrap_or_default();
            let limit = named("max-keys").and_then(|n| n.parse().ok()).unwrap_or(PAGE).min(PAGE);
            let (found, more) = objects.list(&named("prefix").unwrap_or_default(), &after, limit);
            Answer::Text(text::listing(&found, more))
        }
        (&Method::GET | &Method::HEAD, None) => Answer::Object(objects.get(key, range(headers)?)?),
        _ => return Err(Refused::NotImplemented),
    };
    Ok(answer)
}

/// The range that is asked for, of the one form that our clients use.
fn range(headers: &HeaderMap) -> Result<Option<Range<u64>>, Refused> {
    let Some(range) = headers.get(RANGE) else { return Ok(None) };
    let bounds = range.to_str().ok().and_then(|text| text.strip_prefix("bytes=")?.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()?)));
    bounds.map(|(first, last)| Some(first..last.saturating_add(1))).ok_or(Refused::InvalidRange)
}

fn describe(found: Found, paces: Paces, head: bool) -> Response<Paced> {
    let Found { pieces, range, size, tag, modified } = found;
    let length = range.end - range.start;
    let part = length < size;
    let mut response = Response::new(Paced::new(if head { Vec::new() } else { pieces }, paces));
    if part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let text = [
        (CONTENT_LENGTH, length.to_string()),
        (LAST_MODIFIED, text::http_date(modified)),
        (CONTENT_RANGE, format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))),
    ];
    for (name, value) in text.into_iter().take(if part { 3 } else { 2 }) {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    with_tag(response, tag)
}

fn with_tag(mut response: Response<Paced>, tag: u64) -> Response<Paced> {
    if let Ok(value) = format!("\"{tag:x}\"").parse() {
        response.headers_mut().insert(ETAG, value);
    }
    response
}

fn refuse(refused: Refused) -> Response<Paced> {
    let text = format!("<Error><Code>{refused}</Code><Message>{refused}</Message></Error>");
    let mut response = Response::new(Paced::new(vec![Bytes::from(text)], Vec::new()));
    *response.status_mut() = match refused {
        Refused::NoSuchKey | Refused::NoSuchUpload => StatusCode::NOT_FOUND,
        Refused::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        Refused::InvalidRange => StatusCode::RANGE_NOT_SATISFIABLE,
        Refused::NotImplemented => StatusCode::NOT_IMPLEMENTED,
    };
    response
}

/// Bytes that are sent at the rate of every pace they are subject to.
struct Paced {
    pieces: VecDeque<Bytes>,
    /// Bytes that were announced and not sent.
    left: u64,
    paces: Paces,
    /// Until when the first piece waits, once its bytes are taken from the rates.
    waits: Option<Pin<Box<Sleep>>>,
    taken: bool,
}

impl Paced {
    fn new(whole: Vec<Bytes>, paces: Paces) -> Self {
        let left = whole.iter().map(|piece| piece.len() as u64).sum();
        let mut paced = Self { pieces: whole.into(), left, paces: Vec::new(), waits: None, taken: false };
        if !paces.is_empty() {
            paced.keep_to(paces, PIECE);
        }
        paced
    }

    fn keep_to(&mut self, paces: Paces, piece: usize) {
        let cut =
            |whole: Bytes| (0..whole.len()).step_by(piece).map(move |at| whole.slice(at..whole.len().min(at + piece)));
        self.pieces = std::mem::take(&mut self.pieces).into_iter().flat_map(cut).collect();
        paces.iter().for_each(|pace| pace.begin(Instant::now()));
        self.paces = paces;
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(length) = self.pieces.front().map(Bytes::len) else { return Poll::Ready(None) };
        if !self.taken {
            self.taken = true;
            let now = Instant::now();
            let due = self.paces.iter().map(|pace| pace.take(length, now)).max();
            // Timers count milliseconds: a shorter wait is made up for by the next one.
            self.waits = due.filter(|due| *due > now + TICK).map(|due| Box::pin(tokio::time::sleep_until(due.into())));
        }
        if let Some(waits) = &mut self.waits {
            ready!(waits.as_mut().poll(cx));
        }
        self.taken = false;
        self.waits = None;
        let piece = self.pieces.pop_front().unwrap_or_default();
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
