//! Connections over in-memory streams.
#![allow(clippy::disallowed_methods, reason = "tests drive real runtimes and clocks")]

use super::*;
use esker_storage::env::{RealClock, RealDisk, RealRandom, RealTasks};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

struct Pipe(DuplexStream);

impl Stream for Pipe {}

impl tokio::io::AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Echoes; a frame that starts with `w` is answered once told to, `s` is not answered, `c` closes.
#[derive(Default)]
struct Echo {
    calls: Mutex<Vec<Bytes>>,
    gates: Mutex<Vec<oneshot::Receiver<()>>>,
}

impl Service for Echo {
    fn call(&self, _: &Arc<Client>, frame: Bytes) -> Answer {
        self.calls.lock().push(frame.clone());
        match frame.first() {
            Some(b'w') => {
                let gate = self.gates.lock().remove(0);
                Answer::Later(Box::pin(async move {
                    let _ = gate.await;
                    Some(Segments::whole(frame))
                }))
            }
            Some(b's') => Answer::Silence,
            Some(b'c') => Answer::Close,
            _ => Answer::Ready(Segments::whole(frame)),
        }
    }
}

struct Bench {
    service: Arc<Echo>,
    client: DuplexStream,
    budget: ByteBudget,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<io::Result<()>>,
}

fn start(limits: Limits, budget: u64) -> Bench {
    let (client, server) = tokio::io::duplex(1 << 20);
    let service = Arc::new(Echo::default());
    let budget = ByteBudget::new(budget);
    let env = Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().unwrap()),
        tasks: Arc::new(RealTasks::start(1).unwrap()),
        disk: Arc::new(RealDisk),
    };
    let peer = Client { peer: "127.0.0.1:1".parse().unwrap(), listener: "PLAINTEXT".into(), runtime: 0, connection: 0 };
    let connection = Connection::new(
        Box::new(Pipe(server)),
        Arc::clone(&service) as Arc<dyn Service>,
        Arc::new(peer),
        limits,
        budget.clone(),
        env.now(),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(connection.serve(env, async move {
        let _ = stopped.await;
    }));
    Bench { service, client, budget, stop, served }
}

fn limits() -> Limits {
    Limits { max_frame_bytes: 1 << 20, max_in_flight: 5, max_idle: Duration::from_secs(60) }
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

async fn expect(client: &mut DuplexStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(bytes));
}

#[tokio::test]
async fn answers_leave_in_request_order_while_later_requests_are_taken() {
    let mut bench = start(limits(), 1 << 20);
    let (open_first, first) = oneshot::channel();
    let (open_second, second) = oneshot::channel();
    *bench.service.gates.lock() = vec![first, second];
    bench.client.write_all(&[frame(b"w1"), frame(b"s"), frame(b"w2"), frame(b"r3")].concat()).await.unwrap();
    while bench.service.calls.lock().len() < 4 {
        tokio::task::yield_now().await;
    }
    open_second.send(()).unwrap();
    open_first.send(()).unwrap();
    expect(&mut bench.client, b"w1w2r3").await;
    drop(bench.client);
    bench.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_in_progress_are_bounded() {
    let mut bench = start(Limits { max_in_flight: 2, ..limits() }, 1 << 20);
    let (opens, gates): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    *bench.service.gates.lock() = gates;
    bench.client.write_all(&[frame(b"w1"), frame(b"w2"), frame(b"w3")].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.service.calls.lock().len(), 2);
    for open in opens {
        let _ = open.send(());
    }
    expect(&mut bench.client, b"w1w2w3").await;
}

#[tokio::test]
async fn a_frame_is_charged_until_its_answer_is_ready() {
    let mut bench = start(limits(), 8 << 10);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    let body = [b"w".as_slice(), &[b'x'; 8 << 10]].concat();
    bench.client.write_all(&[frame(&body), frame(b"r")].concat()).await.unwrap();
    while bench.service.calls.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((bench.service.calls.lock().len(), bench.budget.available()), (1, 0));
    open.send(()).unwrap();
    expect(&mut bench.client, &[body, b"r".to_vec()].concat()).await;
    assert_eq!(bench.budget.available(), 8 << 10);
}

#[tokio::test]
async fn large_frames_arrive_whole() {
    let bench = start(limits(), 4 << 20);
    let body: Vec<u8> =
        (0..1_000_000u32).map(|n| b'd' + (n % 20) as u8 % 14).map(|b| if b == b's' { b'r' } else { b }).collect();
    let sent = frame(&body);
    let (mut read, mut write) = tokio::io::split(bench.client);
    let writer = tokio::spawn(async move {
        for chunk in sent.chunks(70_001) {
            write.write_all(chunk).await.unwrap();
        }
        write
    });
    let mut got = vec![0; body.len()];
    read.read_exact(&mut got).await.unwrap();
    assert!(got == body);
    drop((read, writer.await.unwrap()));
    bench.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn impossible_lengths_close_the_connection() {
    for prefix in [(-1i32).to_be_bytes(), (1i32 << 21).to_be_bytes(), i32::MIN.to_be_bytes()] {
        let mut bench = start(limits(), 1 << 20);
        bench.client.write_all(&prefix).await.unwrap();
        assert_eq!(bench.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn a_close_comes_after_the_answers_before_it() {
    let mut bench = start(limits(), 1 << 20);
    bench.client.write_all(&[frame(b"r1"), frame(b"c"), frame(b"r2")].concat()).await.unwrap();
    let mut got = Vec::new();
    bench.client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"r1");
    bench.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let bench = start(Limits { max_idle: Duration::from_millis(30), ..limits() }, 1 << 20);
    assert_eq!(bench.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(bench.stop);
}

#[tokio::test]
async fn a_stop_answers_what_was_taken_in() {
    let mut bench = start(limits(), 1 << 20);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    bench.client.write_all(&frame(b"w1")).await.unwrap();
    while bench.service.calls.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    open.send(()).unwrap();
    expect(&mut bench.client, b"w1").await;
    bench.served.await.unwrap().unwrap();
}
