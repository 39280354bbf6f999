//! The door to the network: listening sockets and byte streams, real or simulated.

use futures_util::future::BoxFuture;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Makes a byte stream one of the runtime that calls this.
pub type Attach = Box<dyn FnOnce() -> io::Result<Box<dyn Stream>> + Send>;

/// A connected byte stream. It belongs to the runtime that attached it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Leaves its runtime for another one.
    ///
    /// # Errors
    /// If the runtime does not let go of it; the connection is lost then.
    fn detach(self: Box<Self>) -> io::Result<Attach>;
}

/// Where connections come from.
pub trait Network: Send + Sync {
    /// Listens at an address; port 0 takes a free one.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;

    /// The address of a host name or of an address in text; of every interface if that is empty or `*`.
    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<SocketAddr>> {
        let address = literal(host).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput));
        Box::pin(async move { Ok(SocketAddr::new(address?, port)) })
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    match host {
        "" | "*" => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        host => host.parse().ok(),
    }
}

/// A listening socket.
pub trait Listener: Send {
    /// Where it listens.
    fn local_address(&self) -> SocketAddr;
    /// The next connection.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>>;
}

/// A connection that no runtime owns yet.
pub struct Accepted {
    /// The other end.
    pub peer: SocketAddr,
    /// Makes it the stream of the runtime that calls this.
    pub attach: Attach,
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// The machine's TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealNetwork;

#[allow(clippy::disallowed_types, reason = "this is the door")]
impl Network for RealNetwork {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Box::new(RealListener { listener, address }) as Box<dyn Listener>)
        })
    }

    fn resolve(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<SocketAddr>> {
        let known = literal(host).map(|address| SocketAddr::new(address, port));
        let host = host.to_owned();
        Box::pin(async move {
            match known {
                Some(address) => Ok(address),
                None => {
                    let mut addresses = tokio::net::lookup_host((host.as_str(), port)).await?;
                    addresses.next().ok_or_else(|| io::ErrorKind::NotFound.into())
                }
            }
        })
    }
}

#[allow(clippy::disallowed_types, reason = "this is the door")]
struct RealListener {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

#[allow(clippy::disallowed_types, reason = "this is the door")]
impl Listener for RealListener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            // A stream belongs to the reactor that registered it; this one moves to its connection's runtime.
            Ok(Accepted { peer, attach: Box::new(RealStream(stream)).detach()? })
        })
    }
}

#[allow(clippy::disallowed_types, reason = "this is the door")]
struct RealStream(tokio::net::TcpStream);

#[allow(clippy::disallowed_types, reason = "this is the door")]
impl Stream for RealStream {
    fn detach(self: Box<Self>) -> io::Result<Attach> {
        let stream = self.0.into_std()?;
        Ok(Box::new(move || {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            stream.set_nodelay(true)?;
            Ok(Box::new(RealStream(stream)))
        }))
    }
}

impl AsyncRead for RealStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for RealStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}
