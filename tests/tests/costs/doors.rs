//! The doors of a real broker, with a meter beside each: the real threads and disk, a network in memory that hands over
//! whole frames, so that a count depends neither on the machine nor on its load, and a store in memory.

use super::meter::{Meter, Switch};
use bytes::Bytes;
use esker_broker::net::env::{Accepted, Attach, Listener, Network, Stream};
use esker_storage::env::store::{ObjectEntry, Store, StoreError, Upload};
use esker_storage::env::{DirEntry, Disk, File, Lock, Mapping, Open, Pool, Space, TaskHandle, Tasks};
use futures_util::future::BoxFuture;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// Threads whose work counts.
pub(crate) struct CountedTasks<T> {
    pub(crate) inner: T,
    pub(crate) meter: Meter,
}

struct Counted {
    task: BoxFuture<'static, ()>,
    meter: Meter,
}

impl Future for Counted {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.meter.add(|costs| &mut costs.polls);
        let _on = Switch::on();
        self.task.as_mut().poll(cx)
    }
}

impl<T> CountedTasks<T> {
    fn counted(&self, task: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let _off = Switch::off();
        Box::pin(Counted { task, meter: self.meter.clone() })
    }
}

impl<T: Tasks> Tasks for CountedTasks<T> {
    fn spawn(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.inner.spawn(name, self.counted(task))
    }

    fn spawn_background(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.inner.spawn_background(name, self.counted(task))
    }

    fn runtimes(&self) -> usize {
        self.inner.runtimes()
    }

    fn spawn_on(&self, runtime: usize, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.inner.spawn_on(runtime, name, self.counted(task))
    }

    fn spawn_history(&self, name: &'static str, task: BoxFuture<'static, ()>) -> TaskHandle {
        self.inner.spawn_history(name, self.counted(task))
    }

    fn step_aside(&self) {
        self.inner.step_aside();
    }

    fn make_way(&self, cx: &mut Context<'_>) {
        self.inner.make_way(cx);
    }

    fn blocking(&self, pool: Pool, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let meter = self.meter.clone();
        let off = Switch::off();
        let work = Box::new(move || {
            meter.add(|costs| &mut costs.polls);
            let _on = Switch::on();
            work();
        });
        drop(off);
        self.inner.blocking(pool, work)
    }

    fn spawn_thread(&self, name: &'static str, work: BoxFuture<'static, ()>) -> TaskHandle {
        self.inner.spawn_thread(name, self.counted(work))
    }
}

/// A disk whose calls count.
pub(crate) struct CountedDisk<D> {
    pub(crate) inner: D,
    pub(crate) meter: Meter,
}

impl<D> CountedDisk<D> {
    fn call(&self) -> (&D, Switch) {
        self.meter.add(|costs| &mut costs.disk_calls);
        (&self.inner, Switch::off())
    }

    fn sync(&self) -> (&D, Switch) {
        self.meter.add(|costs| &mut costs.syncs);
        (&self.inner, Switch::off())
    }
}

impl<D: Disk> Disk for CountedDisk<D> {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call().0.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.call().0.list(path)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let (disk, _off) = self.call();
        Ok(Arc::new(CountedFile { inner: disk.open(path, how)?, meter: self.meter.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call().0.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call().0.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call().0.remove_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync().0.sync_dir(path)
    }

    fn sync_file_system(&self, path: &Path) -> io::Result<()> {
        self.sync().0.sync_file_system(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.call().0.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.call().0.space(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call().0.exists(path)
    }
}

struct CountedFile {
    inner: Arc<dyn File>,
    meter: Meter,
}

impl CountedFile {
    fn call(&self) -> (&Arc<dyn File>, Switch) {
        self.meter.add(|costs| &mut costs.disk_calls);
        (&self.inner, Switch::off())
    }
}

impl File for CountedFile {
    fn len(&self) -> io::Result<u64> {
        self.call().0.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.call().0.read_exact_at(buffer, position)
    }

    fn write_all_at(&self, buffers: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let _off = Switch::off();
        self.meter.add(|costs| &mut costs.file_writes);
        buffers.iter().for_each(|buffer| self.meter.written(buffer));
        self.inner.write_all_at(buffers, position)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.call().0.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call().0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let _off = Switch::off();
        self.meter.add(|costs| &mut costs.syncs);
        self.inner.sync_data()
    }

    fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        self.call().0.start_writeback(range)
    }

    fn drop_cache(&self, range: Range<u64>) -> io::Result<()> {
        self.call().0.drop_cache(range)
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        let (file, _off) = self.call();
        Ok(Arc::new(CountedMapping { inner: file.map(len)?, meter: self.meter.clone() }))
    }
}

struct CountedMapping {
    inner: Arc<dyn Mapping>,
    meter: Meter,
}

impl Mapping for CountedMapping {
    fn slice(self: Arc<Self>, range: Range<u64>) -> Bytes {
        let bytes = Arc::clone(&self.inner).slice(range);
        let _off = Switch::off();
        self.meter.mapped(&bytes);
        bytes
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        self.meter.add(|costs| &mut costs.disk_calls);
        let _off = Switch::off();
        self.inner.is_resident(range)
    }

    fn make_resident(&self, range: Range<u64>) -> io::Result<()> {
        self.meter.add(|costs| &mut costs.disk_calls);
        let _off = Switch::off();
        self.inner.make_resident(range)
    }
}

/// Who wants to connect: the broker's end of each connection.
pub(crate) type Connecting = mpsc::UnboundedReceiver<DuplexStream>;

/// A network of one listener.
pub(crate) struct CountedNetwork {
    pub(crate) connecting: parking_lot::Mutex<Option<Connecting>>,
    pub(crate) meter: Meter,
}

impl Network for CountedNetwork {
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (connecting, meter) = (self.connecting.lock().take(), self.meter.clone());
        Box::pin(async move {
            let connecting = connecting.ok_or(io::ErrorKind::AddrInUse)?;
            Ok(Box::new(CountedListener { address, connecting, meter }) as Box<dyn Listener>)
        })
    }
}

struct CountedListener {
    address: SocketAddr,
    connecting: Connecting,
    meter: Meter,
}

impl Listener for CountedListener {
    fn local_address(&self) -> SocketAddr {
        self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let Some(pipe) = self.connecting.recv().await else { return std::future::pending().await };
            let stream = Box::new(CountedStream { pipe, meter: self.meter.clone(), filled: false });
            Ok(Accepted { peer: self.address, attach: stream.detach()? })
        })
    }
}

struct CountedStream {
    pipe: DuplexStream,
    meter: Meter,
    /// The last read had room for no more: only another call can tell that nothing is left. After any other read a
    /// runtime knows by itself, and calls no more until it is told.
    filled: bool,
}

impl Stream for CountedStream {
    fn detach(self: Box<Self>) -> io::Result<Attach> {
        Ok(Box::new(move || Ok(self)))
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let _off = Switch::off();
        let (before, room) = (buffer.filled().len(), buffer.remaining());
        let read = Pin::new(&mut self.pipe).poll_read(cx, buffer);
        let bytes = &buffer.filled()[before..];
        if read.is_ready() || self.filled {
            self.meter.add(|costs| &mut costs.socket_reads);
        }
        self.meter.received(bytes);
        self.filled = read.is_ready() && bytes.len() == room;
        read
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let _off = Switch::off();
        self.meter.add(|costs| &mut costs.socket_writes);
        let written = Pin::new(&mut self.pipe).poll_write_vectored(cx, buffers);
        if let Poll::Ready(Ok(count)) = &written {
            self.meter.sent(buffers.iter().map(|buffer| &**buffer), *count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// A store whose requests count.
pub(crate) struct CountedStore<S> {
    pub(crate) inner: S,
    pub(crate) meter: Meter,
}

/// What the store does while it is asked: none of it is the broker's work.
struct Aside<'a, T>(BoxFuture<'a, T>);

impl<T> Future for Aside<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let _off = Switch::off();
        self.0.as_mut().poll(cx)
    }
}

fn ask<'a, T: 'a>(meter: &Meter, ask: impl FnOnce() -> BoxFuture<'a, T>) -> BoxFuture<'a, T> {
    meter.add(|costs| &mut costs.store_requests);
    let _off = Switch::off();
    Box::pin(Aside(ask()))
}

/// An upload whose parts count, and its end.
struct CountedUpload {
    inner: Box<dyn Upload>,
    meter: Meter,
}

impl Upload for CountedUpload {
    fn part(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        ask(&self.meter, || self.inner.part(bytes))
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        ask(&self.meter, || self.inner.complete())
    }

    fn abort(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        ask(&self.meter, || self.inner.abort())
    }
}

impl<S: Store> Store for CountedStore<S> {
    fn put_if_absent(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        ask(&self.meter, || self.inner.put_if_absent(key, bytes))
    }

    fn put(&self, key: &str, bytes: Bytes) -> BoxFuture<'static, Result<(), StoreError>> {
        ask(&self.meter, || self.inner.put(key, bytes))
    }

    fn upload(&self, key: &str) -> BoxFuture<'static, Result<Box<dyn Upload>, StoreError>> {
        let meter = self.meter.clone();
        ask(&self.meter, || {
            let begins = self.inner.upload(key);
            Box::pin(async move { Ok(Box::new(CountedUpload { inner: begins.await?, meter }) as Box<dyn Upload>) })
        })
    }

    fn get(&self, key: &str) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        ask(&self.meter, || self.inner.get(key))
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, StoreError>> {
        ask(&self.meter, || self.inner.get_range(key, range))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ObjectEntry>, StoreError>> {
        ask(&self.meter, || self.inner.list(prefix, after, limit))
    }

    fn delete(&self, key: &str) -> BoxFuture<'static, Result<(), StoreError>> {
        ask(&self.meter, || self.inner.delete(key))
    }
}
