//! One connection, TCP or TLS over it, that carries requests in order, several at a time.
//!
//! A [`Connection`] writes a frame and returns a [`Pending`] answer; a task reads answers and hands each to the oldest
//! pending one, after checking its correlation id, since Kafka answers in request order. At opening it asks for the
//! broker's versions, and each request goes at the newest one that both sides speak (see [`newest`]).

use super::sasl::{Exchange, Sasl};
use super::{ClientError, Security, tls};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The largest answer that is accepted.
const MAX_FRAME: usize = 256 << 20;

/// A connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    client_id: StrBytes,
    versions: BTreeMap<i16, (i16, i16)>,
    writer: tokio::sync::Mutex<Writer>,
    waiting: Arc<Waiting>,
}

struct Writer {
    half: Box<dyn AsyncWrite + Send + Unpin>,
    next: i32,
    frame: BytesMut,
}

/// The requests that wait for their answers, oldest first.
#[derive(Default)]
struct Waiting {
    queue: Mutex<VecDeque<(i32, oneshot::Sender<Bytes>)>>,
    closed: AtomicBool,
    /// Why TLS ended the connection, if it did.
    refusal: OnceLock<String>,
}

/// An answer that is on its way.
#[derive(Debug)]
pub struct Pending<R> {
    receiver: oneshot::Receiver<Bytes>,
    version: i16,
    answer: PhantomData<fn() -> R>,
}

/// The newest version of a request that we use; further down it is what the broker and the codec have.
///
/// Fetch 13 and Produce 13 name topics by id, which a caller with names does not have.
fn newest(key: i16) -> i16 {
    match key {
        0 | 1 => 12,
        3 => 12,
        18 => 3,
        _ => i16::MAX,
    }
}

impl Connection {
    /// Connects to `address` (`host:port`) and asks for the broker's versions.
    ///
    /// # Errors
    /// [`ClientError::Io`], or what the broker answers.
    pub async fn open(address: &str, client_id: &str) -> Result<Self, ClientError> {
        Self::secured(address, client_id, &Security::default()).await
    }

    /// As [`Connection::open`], through TLS and SASL where `security` asks for them.
    ///
    /// # Errors
    /// As [`Connection::open`]; [`ClientError::Refused`] where the two sides do not trust each other.
    pub async fn secured(address: &str, client_id: &str, security: &Security) -> Result<Self, ClientError> {
        tokio::time::timeout(LIMIT, Self::establish(address, client_id, security))
            .await
            .map_err(|_| ClientError::TimedOut("connect"))?
    }

    async fn establish(address: &str, client_id: &str, security: &Security) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, half): (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>) =
            match &security.tls {
                None => {
                    let (reader, writer) = stream.into_split();
                    (Box::new(reader), Box::new(writer))
                }
                Some(tls) => {
                    let (reader, writer) = tokio::io::split(tls.wrap(address, stream).await?);
                    (Box::new(reader), Box::new(writer))
                }
            };
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(read_answers(reader, Arc::clone(&waiting)));
        let first = Self {
            inner: Arc::new(Inner {
                client_id: StrBytes::from_string(client_id.to_owned()),
                versions: BTreeMap::from([(18, (0, 3))]),
                writer: tokio::sync::Mutex::new(Writer { half, next: 0, frame: BytesMut::new() }),
                waiting,
            }),
        };
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("esker-bench"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer: ApiVersionsResponse = first.call(&request).await.map_err(|error| first.explained(error))?;
        ClientError::check(answer.error_code, "ApiVersions")?;
        let versions = answer.api_keys.iter().map(|a| (a.api_key, (a.min_version, a.max_version))).collect();
        let inner = Arc::into_inner(first.inner).ok_or(ClientError::Closed)?;
        let connection = Self { inner: Arc::new(Inner { versions, ..inner }) };
        if let Some(sasl) = &security.sasl {
            connection.authenticate(sasl).await?;
        }
        Ok(connection)
    }

    /// A server may say only after the handshake that it does not trust us.
    fn explained(&self, error: ClientError) -> ClientError {
        match self.inner.waiting.refusal.get() {
            Some(refusal) => ClientError::Refused(format!("TLS: {refusal}")),
            None => error,
        }
    }

    /// Tells the broker who we are: the first thing after the versions.
    async fn authenticate(&self, sasl: &Sasl) -> Result<(), ClientError> {
        let name = sasl.mechanism.name();
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(name));
        let answer = self.call(&request).await?;
        if answer.error_code != 0 {
            let offered: Vec<&str> = answer.mechanisms.iter().map(StrBytes::as_str).collect();
            return Err(ClientError::Refused(format!("{name} is not offered, only {}", offered.join(", "))));
        }
        let refused = |why: &'static str| ClientError::Refused(format!("{name}: {why}"));
        let mut exchange = sasl.begin().map_err(refused)?;
        while let Exchange::Say(message, next) = exchange {
            let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(message));
            let answer = self.call(&request).await?;
            if answer.error_code != 0 {
                let why = answer.error_message.as_ref().map_or("without a reason", StrBytes::as_str);
                return Err(ClientError::Refused(format!("authentication failed: {why}")));
            }
            exchange = next.hear(&answer.auth_bytes).map_err(refused)?;
        }
        Ok(())
    }

    /// Whether the broker, or an error, has ended it.
    pub fn is_closed(&self) -> bool {
        self.inner.waiting.closed.load(Ordering::Acquire)
    }

    /// The versions that the broker advertises: API key to (oldest, newest).
    pub fn versions(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.inner.versions
    }

    /// The version at which requests of this kind go.
    ///
    /// # Errors
    /// [`ClientError::Unsupported`] if there is none in common.
    pub fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let (min, max) = self.inner.versions.get(&R::KEY).copied().ok_or(ClientError::Unsupported(R::KEY))?;
        let version = max.min(R::VERSIONS.max).min(newest(R::KEY));
        if version < min.max(R::VERSIONS.min) { Err(ClientError::Unsupported(R::KEY)) } else { Ok(version) }
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// [`ClientError`], but for error codes inside the answer: those are the caller's to look at.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, ClientError> {
        self.send(request).await?.answer().await
    }

    /// Sends a request whose answer is awaited later, so that several can be under way.
    ///
    /// # Errors
    /// [`ClientError`] if it cannot be sent.
    pub async fn send<R: Request>(&self, request: &R) -> Result<Pending<R::Response>, ClientError> {
        let version = self.version::<R>()?;
        self.send_at(request, version).await
    }

    /// As [`Connection::send`], at a version of the caller's choice.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send_at<R: Request>(&self, request: &R, version: i16) -> Result<Pending<R::Response>, ClientError> {
        let (sender, receiver) = oneshot::channel();
        self.write(request, version, Some(sender)).await?;
        Ok(Pending { receiver, version, answer: PhantomData })
    }

    /// Sends a request that the broker does not answer: Produce with acks=0.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send_unanswered<R: Request>(&self, request: &R) -> Result<(), ClientError> {
        let version = self.version::<R>()?;
        self.write(request, version, None).await
    }

    async fn write<R: Request>(
        &self,
        request: &R,
        version: i16,
        sender: Option<oneshot::Sender<Bytes>>,
    ) -> Result<(), ClientError> {
        let mut writer = self.inner.writer.lock().await;
        let writer = &mut *writer;
        let correlation = writer.next;
        writer.next = writer.next.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation)
            .with_client_id(Some(self.inner.client_id.clone()));
        let frame = &mut writer.frame;
        frame.clear();
        frame.put_i32(0);
        header.encode(frame, R::header_version(version)).map_err(malformed)?;
        request.encode(frame, version).map_err(malformed)?;
        let length = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        if let Some(sender) = sender {
            let mut queue = lock(&self.inner.waiting.queue);
            // Looked at under the lock that the reader takes when it ends: nobody waits for an answer that cannot come.
            if self.is_closed() {
                return Err(ClientError::Closed);
            }
            queue.push_back((correlation, sender));
        }
        writer.half.write_all(frame).await?;
        // TLS may keep the end of a record back.
        writer.half.flush().await?;
        Ok(())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection(closed: {})", self.is_closed())
    }
}

impl<R: Decodable + HeaderVersion> Pending<R> {
    /// The answer.
    ///
    /// # Errors
    /// [`ClientError`]; error codes inside the answer are the caller's to look at.
    pub async fn answer(self) -> Result<R, ClientError> {
        let mut frame = tokio::time::timeout(LIMIT, self.receiver)
            .await
            .map_err(|_| ClientError::TimedOut("a request"))?
            .map_err(|_| ClientError::Closed)?;
        ResponseHeader::decode(&mut frame, R::header_version(self.version)).map_err(malformed)?;
        let answer = R::decode(&mut frame, self.version).map_err(malformed)?;
        if frame.is_empty() { Ok(answer) } else { Err(ClientError::Malformed(format!("{} bytes left", frame.len()))) }
    }
}

fn malformed(error: impl std::fmt::Display) -> ClientError {
    ClientError::Malformed(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Hands answers to those who wait, until the connection ends; then nobody waits any more.
async fn read_answers(mut reader: Box<dyn AsyncRead + Send + Unpin>, waiting: Arc<Waiting>) {
    loop {
        let frame = match read_frame(&mut reader).await {
            Ok(frame) => frame,
            Err(error) => {
                if let Some(refusal) = tls::refusal(&error) {
                    waiting.refusal.get_or_init(|| refusal);
                }
                break;
            }
        };
        let next = lock(&waiting.queue).pop_front();
        match next {
            // A dropped receiver is a caller that gave up.
            Some((correlation, sender)) if (&frame[..]).get_i32() == correlation => drop(sender.send(frame)),
            _ => break,
        }
    }
    let mut queue = lock(&waiting.queue);
    waiting.closed.store(true, Ordering::Release);
    queue.clear();
}

async fn read_frame(reader: &mut (dyn AsyncRead + Send + Unpin)) -> std::io::Result<Bytes> {
    let length = reader.read_i32().await?;
    let length = usize::try_from(length).ok().filter(|l| (4..=MAX_FRAME).contains(l));
    let length = length.ok_or_else(|| std::io::Error::other("frame length out of bounds"))?;
    let mut frame = BytesMut::with_capacity(length.min(8 << 20));
    while frame.len() < length {
        let left = length - frame.len();
        let mut limited = (&mut frame).limit(left);
        if reader.read_buf(&mut limited).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}
