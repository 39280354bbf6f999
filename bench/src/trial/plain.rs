//! Plain ranged GETs of a store's objects: what a broker's cold reads are compared with.

use bytes::{BufMut, BytesMut};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The largest head of an answer.
const MAX_HEAD: usize = 16 << 10;

/// An object of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) size: u64,
}

/// One connection to a store.
pub(super) struct Plain {
    stream: TcpStream,
    host: String,
    buffer: BytesMut,
}

impl Plain {
    /// Connects to `host:port`.
    pub(super) async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: address.to_owned(), buffer: BytesMut::new() })
    }

    /// Every object.
    pub(super) async fn list(&mut self) -> anyhow::Result<Vec<Object>> {
        let mut objects: Vec<Object> = Vec::new();
        loop {
            let after = objects.last().map(|last| format!("&start-after={}", last.key)).unwrap_or_default();
            let length = self.request(&format!("/bucket?list-type=2{after}"), None).await?;
            let page = String::from_utf8(self.buffer.split_to(length).to_vec())?;
            let found = parse_page(&page);
            let more = page.contains("<IsTruncated>true<") && !found.is_empty();
            objects.extend(found);
            if !more {
                return Ok(objects);
            }
        }
    }

    /// Reads a range; the bytes are dropped.
    pub(super) async fn get(&mut self, key: &str, range: Range<u64>) -> anyhow::Result<()> {
        let wanted = range.end - range.start;
        let length = self.request(&format!("/bucket/{key}"), Some(range)).await?;
        anyhow::ensure!(length as u64 == wanted, "{length} bytes of {wanted}");
        self.buffer.clear();
        Ok(())
    }

    /// Sends a request; the length of its answer's body, which is then in the buffer.
    async fn request(&mut self, path: &str, range: Option<Range<u64>>) -> anyhow::Result<usize> {
        let range =
            range.map(|range| format!("Range: bytes={}-{}\r\n", range.start, range.end - 1)).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{range}\r\n", self.host);
        self.stream.write_all(request.as_bytes()).await?;
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break self.buffer.split_to(at + 4);
            }
            anyhow::ensure!(self.buffer.len() < MAX_HEAD, "an answer without an end of its head");
            anyhow::ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the store hung up");
        };
        let head = std::str::from_utf8(&head)?.to_ascii_lowercase();
        anyhow::ensure!(head.starts_with("http/1.1 20"), "the store said {}", head.lines().next().unwrap_or_default());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let length = length.ok_or_else(|| anyhow::anyhow!("an answer of unknown length"))?;
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            let room = length - self.buffer.len();
            let read = self.stream.read_buf(&mut (&mut self.buffer).limit(room)).await?;
            anyhow::ensure!(read > 0, "the store hung up");
        }
        Ok(length)
    }
}

fn parse_page(page: &str) -> Vec<Object> {
    let between = |text: &str, tag: &str| {
        let rest = text.split_once(&format!("<{tag}>"))?.1;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    let entry = |text: &str| Some(Object { key: between(text, "Key")?, size: between(text, "Size")?.parse().ok()? });
    page.split("<Contents>").skip(1).filter_map(entry).collect()
}

/// Bytes a second of GETs of `range` bytes each, `concurrency` of them at a time, for about `limit`.
pub(super) async fn throughput(
    address: &str,
    objects: &[Object],
    range: u64,
    concurrency: usize,
    limit: Duration,
) -> anyhow::Result<f64> {
    let ranges = objects
        .iter()
        .flat_map(|object| (0..object.size / range).map(|at| (object.key.clone(), at * range..(at + 1) * range)));
    let ranges: Arc<Vec<_>> = Arc::new(ranges.collect());
    anyhow::ensure!(!ranges.is_empty(), "no object has {range} bytes");
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let getters: Vec<_> = (0..concurrency)
        .map(|_| {
            let (ranges, next, address) = (Arc::clone(&ranges), Arc::clone(&next), address.to_owned());
            tokio::spawn(async move {
                let mut plain = Plain::connect(&address).await?;
                let mut bytes = 0;
                while started.elapsed() < limit {
                    let (key, range) = &ranges[next.fetch_add(1, Ordering::Relaxed) % ranges.len()];
                    plain.get(key, range.clone()).await?;
                    bytes += range.end - range.start;
                }
                anyhow::Ok(bytes)
            })
        })
        .collect();
    let mut bytes = 0;
    for getter in getters {
        bytes += getter.await??;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Server, Speed};

    #[test]
    fn a_page_is_read() {
        let page = "<ListBucketResult><Contents><Key>a/b</Key><Size>7</Size></Contents>\
                    <Contents><Size>8</Size><Key>c</Key></Contents></ListBucketResult>";
        let object = |key: &str, size| Object { key: key.to_owned(), size };
        assert_eq!(parse_page(page), [object("a/b", 7), object("c", 8)]);
    }

    /// The store's two speeds and its delay are what is asked for: everything else is measured by them.
    #[tokio::test]
    async fn the_store_is_as_slow_as_it_is_told_to_be() {
        let delay = Duration::from_millis(20);
        let speed = Speed { delay, per_connection: Some(10e6), in_all: Some(25e6) };
        let server = Server::bind(([127, 0, 0, 1], 0).into(), speed).await.unwrap();
        let address = server.address().to_string();
        let serving = tokio::spawn(server.serve());
        let mut writer = TcpStream::connect(&address).await.unwrap();
        let body = vec![7; 400_000];
        let head = format!("PUT /bucket/a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
        let _ = writer.read_u8().await.unwrap();
        let mut plain = Plain::connect(&address).await.unwrap();
        let objects = plain.list().await.unwrap();
        assert_eq!(objects, [Object { key: "a".to_owned(), size: 400_000 }]);
        let started = Instant::now();
        plain.get("a", 5..9).await.unwrap();
        assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
        assert!(plain.get("b", 0..1).await.is_err());
        // 100 kB: 10 ms at the connection's rate and 20 ms of delay, so at most 3.4 MB/s; all of them 25 MB/s.
        for (concurrency, most) in [(1, 3.6e6), (16, 27e6)] {
            let rate = throughput(&address, &objects, 100_000, concurrency, Duration::from_millis(400)).await.unwrap();
            assert!(rate < most && rate > most / 6.0, "{concurrency}: {rate}");
        }
        serving.abort();
    }
}
