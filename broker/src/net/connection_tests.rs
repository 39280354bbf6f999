//! Connections over in-memory streams.
#![allow(clippy::disallowed_methods, reason = "tests drive real runtimes and clocks")]

use super::*;
use esker_storage::env::{RealClock, RealDisk, RealRandom, RealTasks};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;

struct Pipe(DuplexStream);

impl Stream for Pipe {
    fn detach(self: Box<Self>) -> io::Result<Attach> {
        Ok(Box::new(move || Ok(self)))
    }
}

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

/// Echoes; a frame that starts with `w` is answered once told to, one with `h` holds the connection until then, `t` is
/// answered in turn and with a MiB, `s` is not answered, `n` fails, `c` closes.
#[derive(Default)]
struct Echo {
    calls: Mutex<Vec<Bytes>>,
    gates: Mutex<Vec<oneshot::Receiver<()>>>,
    /// Answers that were made in turn.
    turns: Arc<AtomicUsize>,
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
            Some(b't') => {
                let turns = Arc::clone(&self.turns);
                Answer::InTurn(Box::pin(async move {
                    turns.fetch_add(1, Ordering::Relaxed);
                    Some(Segments::whole(frame.iter().copied().chain(std::iter::repeat_n(b'.', 1 << 20)).collect()))
                }))
            }
            Some(b'h') => {
                let gate = self.gates.lock().remove(0);
                Answer::Held(Box::pin(async move {
                    let _ = gate.await;
                    match frame.get(1) {
                        Some(b's') => Answer::Silence,
                        Some(b'c') => Answer::Close,
                        Some(b'l') => Answer::Later(Box::pin(std::future::ready(Some(Segments::whole(frame))))),
                        _ => Answer::Ready(Segments::whole(frame)),
                    }
                }))
            }
            Some(b's') => Answer::Silence,
            Some(b'n') => Answer::Later(Box::pin(std::future::ready(None))),
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
    start_with(limits, ByteBudget::new(budget))
}

fn start_with(limits: Limits, budget: ByteBudget) -> Bench {
    let (client, server) = tokio::io::duplex(1 << 20);
    start_over(limits, budget, client, server)
}

fn start_over(limits: Limits, budget: ByteBudget, client: DuplexStream, server: DuplexStream) -> Bench {
    start_among(limits, (budget, AnswerBudget::new(16 << 20)), client, server)
}

fn start_among(
    limits: Limits,
    (budget, answers): (ByteBudget, AnswerBudget),
    client: DuplexStream,
    server: DuplexStream,
) -> Bench {
    let service = Arc::new(Echo::default());
    let env = Env {
        clock: Arc::new(RealClock::start()),
        random: Arc::new(RealRandom::seeded().unwrap()),
        tasks: Arc::new(RealTasks::start(1).unwrap()),
        disk: Arc::new(RealDisk),
    };
    let peer = Client {
        peer: "127.0.0.1:1".parse().unwrap(),
        listener: "PLAINTEXT".into(),
        runtime: 0,
        connection: 0,
        reading: Reading::default(),
    };
    let mut connection = Connection::new(
        Box::new(Pipe(server)),
        Arc::clone(&service) as Arc<dyn Service>,
        Arc::new(peer),
        limits,
        (budget.clone(), answers.clone()),
        env.now(),
    );
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.await;
        };
        connection.serve(&env, stop).await.map(|end| assert_eq!(end, End::Over))
    });
    Bench { service, client, budget, stop, served }
}

fn limits() -> Limits {
    Limits {
        max_frame_bytes: 1 << 20,
        max_in_flight: 5,
        max_idle: Duration::from_secs(60),
        max_stall: Duration::from_secs(5),
    }
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
    bench.client.write_all(&[frame(b"w..1"), frame(b"s..."), frame(b"w..2"), frame(b"r..3")].concat()).await.unwrap();
    while bench.service.calls.lock().len() < 4 {
        tokio::task::yield_now().await;
    }
    open_second.send(()).unwrap();
    open_first.send(()).unwrap();
    expect(&mut bench.client, b"w..1w..2r..3").await;
    drop(bench.client);
    bench.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn requests_in_progress_are_bounded() {
    let mut bench = start(Limits { max_in_flight: 2, ..limits() }, 1 << 20);
    let (opens, gates): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
    *bench.service.gates.lock() = gates;
    bench.client.write_all(&[frame(b"w..1"), frame(b"w..2"), frame(b"w..3")].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.service.calls.lock().len(), 2);
    for open in opens {
        let _ = open.send(());
    }
    expect(&mut bench.client, b"w..1w..2w..3").await;
}

#[tokio::test]
async fn a_frame_is_charged_until_its_answer_is_ready() {
    // A quarter is for small frames; this one is charged for what it is decoded to, which is more than that.
    let mut bench = start(limits(), 32 << 10);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    let body = [b"w".as_slice(), &[b'x'; 8 << 10]].concat();
    bench.client.write_all(&[frame(&body), frame(b"r...")].concat()).await.unwrap();
    while bench.service.calls.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((bench.service.calls.lock().len(), bench.budget.available()), (1, 24 << 10));
    open.send(()).unwrap();
    expect(&mut bench.client, &[body, b"r...".to_vec()].concat()).await;
    assert_eq!(bench.budget.available(), 32 << 10);
}

#[tokio::test]
async fn what_is_only_announced_is_not_charged() {
    let mut bench = start(Limits { max_frame_bytes: 90 << 20, ..limits() }, 256 << 20);
    bench.client.write_all(&(90u32 << 20).to_be_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(bench.budget.available(), 256 << 20);
    bench.client.write_all(&[0; 100 << 10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let held = (256 << 20) - bench.budget.available();
    assert!((100 << 10..=800 << 10).contains(&held), "{held}");
    drop(bench.client);
    bench.served.await.unwrap().unwrap();
    assert_eq!(bench.budget.available(), 256 << 20);
}

#[tokio::test]
async fn long_frames_that_share_too_small_a_budget_all_get_through() {
    // Each needs most of the budget, and all hold some of it when it runs out.
    let budget = ByteBudget::new(1 << 20);
    let body = vec![b'r'; 900 << 10];
    let mut clients = Vec::new();
    for _ in 0..8 {
        let bench = start_with(limits(), budget.clone());
        let sent = frame(&body);
        clients.push(tokio::spawn(async move {
            let mut bench = bench;
            for part in sent.chunks(70_000) {
                bench.client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut got = vec![0; sent.len() - 4];
            bench.client.read_exact(&mut got).await.unwrap();
        }));
    }
    for client in clients {
        tokio::time::timeout(Duration::from_secs(20), client).await.expect("stuck").unwrap();
    }
    while budget.available() < 1 << 20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_stops_within_a_long_frame_gives_way_to_others() {
    let budget = ByteBudget::new(1 << 20);
    let limits = || Limits { max_stall: Duration::from_millis(50), ..limits() };
    let mut stopped = start_with(limits(), budget.clone());
    stopped.client.write_all(&frame(&vec![b'r'; 900 << 10])[..700 << 10]).await.unwrap();
    let mut other = start_with(limits(), budget.clone());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!stopped.served.is_finished(), "nobody waits");
    // The small do not need what the long one holds.
    other.client.write_all(&frame(b"r..1")).await.unwrap();
    expect(&mut other.client, b"r..1").await;
    let body = vec![b'r'; 800 << 10];
    other.client.write_all(&frame(&body)).await.unwrap();
    expect(&mut other.client, &body).await;
    assert_eq!(stopped.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_not_read_from() {
    let mut bench = start(limits(), 16 << 20);
    let (mut sent, one) = (0usize, frame(&[b'r'; 50 << 10]));
    // The pipe holds one MiB in each direction.
    while let Ok(written) =
        tokio::time::timeout(Duration::from_millis(200), bench.client.write(&one[sent % one.len()..])).await
    {
        sent += written.unwrap();
        assert!(sent < 8 << 20, "everything is taken in");
    }
    let calls = bench.service.calls.lock().len();
    assert!(calls <= (2 << 20) / (50 << 10) + 5, "{calls} requests handled for one that does not read");
}

#[tokio::test]
async fn a_flood_of_short_requests_is_bounded_by_what_is_unanswered() {
    let (client, server) = tokio::io::duplex(1 << 10);
    let mut bench = start_over(limits(), ByteBudget::new(16 << 20), client, server);
    let (mut read, mut write) = tokio::io::split(bench.client);
    let body = [b'r'; 300];
    let flood = tokio::spawn(async move {
        for _ in 0..2000 {
            write.write_all(&frame(&body)).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let calls = bench.service.calls.lock().len();
    assert!(calls <= 5 + 4, "{calls} handled while none was read");
    let mut got = vec![0; 2000 * body.len()];
    read.read_exact(&mut got).await.unwrap();
    flood.await.unwrap();
    bench.stop.send(()).unwrap();
    (&mut bench.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn after_an_answer_that_failed_nothing_is_sent() {
    let mut bench = start(limits(), 1 << 20);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    bench.client.write_all(&[frame(b"r..1"), frame(b"n..2"), frame(b"w..3")].concat()).await.unwrap();
    let _ = open.send(());
    let mut got = Vec::new();
    bench.client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"r..1");
}

#[tokio::test]
async fn what_came_before_an_impossible_length_is_answered() {
    let mut bench = start(limits(), 1 << 20);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    bench.client.write_all(&[frame(b"w..1"), frame(b"r..2"), (-1i32).to_be_bytes().to_vec()].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    open.send(()).unwrap();
    expect(&mut bench.client, b"w..1r..2").await;
    assert_eq!(bench.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
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
    // The last one has no room for what every message begins with.
    for prefix in [(-1i32).to_be_bytes(), (1i32 << 21).to_be_bytes(), i32::MIN.to_be_bytes(), 3i32.to_be_bytes()] {
        let mut bench = start(limits(), 1 << 20);
        bench.client.write_all(&prefix).await.unwrap();
        assert_eq!(bench.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn a_close_comes_after_the_answers_before_it() {
    let mut bench = start(limits(), 1 << 20);
    bench.client.write_all(&[frame(b"r..1"), frame(b"c..."), frame(b"r..2")].concat()).await.unwrap();
    let mut got = Vec::new();
    bench.client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"r..1");
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
    bench.client.write_all(&frame(b"w..1")).await.unwrap();
    while bench.service.calls.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    open.send(()).unwrap();
    expect(&mut bench.client, b"w..1").await;
    bench.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn long_requests_that_wait_do_not_keep_each_other_out() {
    // JoinGroup: as many members as there are rights to be wide, and the one that they wait for.
    let budget = ByteBudget::new(4 << 20);
    let body = [&[0, 11, 0, 0, 0, 0, 0, 0][..], &[b'x'; 100 << 10]].concat();
    let mut members = Vec::new();
    for _ in 0..5 {
        let mut bench = start_with(limits(), budget.clone());
        bench.client.write_all(&frame(&body)).await.unwrap();
        members.push(bench);
    }
    for bench in &mut members {
        expect(&mut bench.client, &body).await;
    }
    assert!(budget.try_wide().is_some());
    let held: Vec<_> = std::iter::from_fn(|| budget.try_wide()).collect();
    // DescribeGroups waits for nobody, and is decoded: it takes its turn.
    let mut bench = start_with(limits(), budget.clone());
    let body = [&[0, 15, 0, 0, 0, 0, 0, 0][..], &[b'x'; 100 << 10]].concat();
    bench.client.write_all(&frame(&body)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(bench.service.calls.lock().is_empty());
    drop(held);
    expect(&mut bench.client, &body).await;
}

#[tokio::test]
async fn what_is_answered_in_turn_waits_for_those_before_it_and_holds_back_those_behind() {
    let mut bench = start(limits(), 1 << 20);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    bench.client.write_all(&[frame(b"w..1"), frame(b"t..2"), frame(b"r..3")].concat()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!((bench.service.calls.lock().len(), bench.service.turns.load(Ordering::Relaxed)), (2, 0));
    open.send(()).unwrap();
    expect(&mut bench.client, &[b"w..1t..2".to_vec(), vec![b'.'; 1 << 20], b"r..3".to_vec()].concat()).await;
}

#[tokio::test]
async fn one_large_answer_is_made_for_a_client_that_reads_none() {
    let (client, server) = tokio::io::duplex(1 << 10);
    let mut bench = start_over(limits(), ByteBudget::new(16 << 20), client, server);
    for _ in 0..5 {
        bench.client.write_all(&frame(b"t...")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The second one when so much of the first is gone that less than a MiB is left of it.
    assert!(bench.service.turns.load(Ordering::Relaxed) <= 2);
    let mut got = vec![0; 5 * ((1 << 20) + 4)];
    bench.client.read_exact(&mut got).await.unwrap();
}

#[tokio::test]
async fn who_does_not_fetch_its_answers_gives_way_to_others() {
    let answers = AnswerBudget::new(1 << 20);
    let start = || {
        let (client, server) = tokio::io::duplex(1 << 10);
        let limits = Limits { max_stall: Duration::from_millis(50), ..limits() };
        start_among(limits, (ByteBudget::new(16 << 20), answers.clone()), client, server)
    };
    let mut silent = start();
    silent.client.write_all(&frame(b"t..1")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!silent.served.is_finished() && answers.held() > 1 << 20, "nobody waits");
    let mut other = start();
    other.client.write_all(&frame(b"t..2")).await.unwrap();
    expect(&mut other.client, &[b"t..2".to_vec(), vec![b'.'; 1 << 20]].concat()).await;
    assert_eq!(silent.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    drop(other.client);
    other.served.await.unwrap().unwrap();
    assert_eq!(answers.held(), 0);
}

#[tokio::test]
async fn a_request_whose_ordered_part_takes_long_holds_those_behind_it() {
    let mut bench = start(limits(), 1 << 20);
    let (opens, gates): (Vec<_>, Vec<_>) = (0..4).map(|_| oneshot::channel()).unzip();
    *bench.service.gates.lock() = gates;
    let mut opens = opens.into_iter();
    let frames =
        [frame(b"w..0"), frame(b"h..1"), frame(b"r..2"), frame(b"hs.3"), frame(b"hl.4"), frame(b"r..5")].concat();
    bench.client.write_all(&frames).await.unwrap();
    let calls = |bench: &Bench| bench.service.calls.lock().len();
    let settle = async || {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    assert_eq!(calls(&bench), 2, "nothing is taken behind the one that holds");
    let first = opens.next().unwrap();
    opens.next().unwrap().send(()).unwrap();
    settle().await;
    assert_eq!(calls(&bench), 4, "up to the next that holds");
    // What is held keeps its place: the answer before it is not there yet.
    first.send(()).unwrap();
    expect(&mut bench.client, b"w..0h..1r..2").await;
    opens.next().unwrap().send(()).unwrap();
    settle().await;
    assert_eq!(calls(&bench), 5);
    assert!(bench.budget.available() < 1 << 20, "it is charged as long as it holds");
    opens.next().unwrap().send(()).unwrap();
    expect(&mut bench.client, b"hl.4r..5").await;
}

#[tokio::test]
async fn a_held_request_is_finished_although_its_client_has_gone() {
    let mut bench = start(limits(), 1 << 20);
    let (open, gate) = oneshot::channel();
    *bench.service.gates.lock() = vec![gate];
    bench.client.write_all(&[frame(b"h..1"), frame(b"r..2")].concat()).await.unwrap();
    bench.client.shutdown().await.unwrap();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    assert!(!bench.served.is_finished());
    open.send(()).unwrap();
    expect(&mut bench.client, b"h..1").await;
    bench.served.await.unwrap().unwrap();
}
