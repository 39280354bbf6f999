//! Clients that are not wrong in what they send, but in how: half a frame, a byte at a time, too much, never reading.

use super::raw::{Neighbour, answered, ask_versions, batch, connect};
use esker_bench::client::fetch_request;
use esker_protocol::api::{Api, ApiKey};
use esker_protocol::{request, samples};
use esker_tests::harness::{Broker, Options, esker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Writes until nothing is taken for half a second, at most `limit` bytes; returns how much was.
async fn write_until_stuck(stream: &mut TcpStream, bytes: &[u8], limit: usize) -> usize {
    let mut sent = 0;
    while sent < limit {
        let write = stream.write(&bytes[sent % bytes.len()..]);
        match tokio::time::timeout(Duration::from_millis(500), write).await {
            Ok(Ok(written)) => sent += written,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

async fn is_closed(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut rest = Vec::new();
    tokio::time::timeout(limit, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_half_open_connections_cost_little() {
    let broker = Broker::start(Options::new()).await;
    let neighbour = Neighbour::of(&broker).await;
    let whole = ask_versions(1);
    let mut open = Vec::new();
    for number in 0..400 {
        let mut stream = connect(&broker).await;
        // Nothing, part of a length, a length alone, part of a header, a frame and a half.
        let bytes = [&whole[..], &whole[..]].concat();
        stream.write_all(&bytes[..[0, 2, 4, 9, whole.len() + 6][number % 5]]).await.unwrap();
        open.push(stream);
    }
    // Then some drip.
    for byte in &whole[9..] {
        for stream in open.iter_mut().skip(3).step_by(5) {
            stream.write_all(&[*byte]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for stream in open.iter_mut().skip(3).step_by(5) {
        let mut answer = [0; 8];
        tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer[4..], [0, 0, 0, 1]);
    }
    neighbour.was_well(&broker, 64).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_announced_and_not_sent_hold_nobody_up() {
    let options = Options::new().set("queued.max.request.bytes", 32 << 20).set("queued.max.request.stall.ms", 500);
    let broker = Broker::start(options).await;
    let neighbour = Neighbour::of(&broker).await;
    let produce = |size: u32| [&size.to_be_bytes()[..], &[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]].concat();
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&broker).await;
        stream.write_all(&produce(90 << 20)).await.unwrap();
        open.push(stream);
    }
    let client = broker.client();
    client.create_topic("large", 1, &[("max.message.bytes", "4000000")]).await.unwrap();
    let large = batch(&vec![7; 2 << 20]);
    let started = Instant::now();
    client.retry(|| client.produce("large", 0, large.clone())).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    // More than the budget, of which nothing is ever complete.
    for stream in &mut open[..10] {
        write_until_stuck(stream, &[0; 65536], 6 << 20).await;
    }
    let started = Instant::now();
    client.retry(|| client.produce("large", 0, large.clone())).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // The budget, a frame beyond it, and as much again for copies while a buffer grows.
    neighbour.was_well(&broker, 32 + 90 + 122).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_are_not_read_from() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    for _ in 0..8 {
        client.retry(|| client.produce("t", 0, batch(&vec![7; 900_000]))).await.unwrap();
    }
    let neighbour = Neighbour::of(&broker).await;
    let fetch = request::encode(1, None, 12, &fetch_request("t", 0, 0, 10 << 20, 0).into()).unwrap().to_bytes();
    let metadata = samples::frame(Api::of(ApiKey::Metadata).unwrap(), 0, 1, &[0; 4]);
    let mut open = Vec::new();
    for one in [&fetch[..], &metadata, &ask_versions(1)] {
        for _ in 0..4 {
            let mut stream = connect(&broker).await;
            let sent = write_until_stuck(&mut stream, &one.repeat(200), 64 << 20).await;
            assert!(sent < 64 << 20, "{sent} bytes of requests were taken from a client that reads no answer");
            open.push(stream);
        }
    }
    neighbour.was_well(&broker, 200).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_pipelined_requests_are_answered_in_order() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    client.retry(|| client.produce("t", 0, batch(b"one"))).await.unwrap();
    let neighbour = Neighbour::of(&broker).await;
    const COUNT: i32 = 6000;
    let stream = connect(&broker).await;
    let (mut read, mut write) = stream.into_split();
    let writer = tokio::spawn(async move {
        for id in 0..COUNT {
            // Fetches that wait, fetches that do not, and answers that are ready at once.
            let frame = match id % 500 {
                0 => request::encode(id, None, 12, &fetch_request("t", 0, 1, 1 << 20, 50).into()).unwrap().to_bytes(),
                n if n % 3 == 0 => {
                    request::encode(id, None, 12, &fetch_request("t", 0, 0, 1 << 20, 50).into()).unwrap().to_bytes()
                }
                _ => ask_versions(id).into(),
            };
            write.write_all(&frame).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut answers = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), read.read_to_end(&mut answers)).await.unwrap().unwrap();
    writer.await.unwrap();
    assert_eq!(answered(&answers), (0..COUNT).collect::<Vec<_>>());
    neighbour.was_well(&broker, 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_many_elements_hold_bounded_memory() {
    let broker = Broker::start(Options::new()).await;
    let neighbour = Neighbour::of(&broker).await;
    // Each element takes far more room and time than its bytes: groups in two bytes each.
    let api = Api::of(ApiKey::DescribeGroups).unwrap();
    let body = [&40_000_i32.to_be_bytes()[..], &vec![0; 80_000]].concat();
    let frame = samples::frame(api, 0, 1, &body);
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&broker).await;
        write_until_stuck(&mut stream, &frame, 100 << 20).await;
        open.push(stream);
    }
    // They go on for as long as they are connected.
    tokio::time::sleep(Duration::from_secs(3)).await;
    neighbour.was_well(&broker, 400).await;
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_idle_time_and_frames_have_configured_limits() {
    let options = Options::new()
        .set("max.connections", 20)
        .set("connections.max.idle.ms", 1000)
        .set("socket.request.max.bytes", 2000)
        .set("max.request.array.elements", 10);
    let broker = Broker::start(options).await;
    let frame = |size: usize| [&(size as u32).to_be_bytes()[..], &vec![0; size]].concat();
    let mut stream = connect(&broker).await;
    stream.write_all(&frame(2001)).await.unwrap();
    assert!(is_closed(&mut stream, Duration::from_millis(500)).await, "a frame beyond socket.request.max.bytes");
    let groups = Api::of(ApiKey::DescribeGroups).unwrap();
    let mut stream = connect(&broker).await;
    let body = [&11_i32.to_be_bytes()[..], &[0; 22]].concat();
    stream.write_all(&samples::frame(groups, 0, 1, &body)).await.unwrap();
    assert!(is_closed(&mut stream, Duration::from_millis(500)).await, "more than max.request.array.elements");

    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(connect(&broker).await);
    }
    let mut one_more = connect(&broker).await;
    assert!(is_closed(&mut one_more, Duration::from_millis(500)).await, "a connection beyond max.connections");
    for stream in &mut open {
        assert!(is_closed(stream, Duration::from_secs(3)).await, "idle beyond connections.max.idle.ms");
    }
    let mut stream = connect(&broker).await;
    stream.write_all(&ask_versions(1)).await.unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.unwrap();
}

#[tokio::test]
async fn connections_leave_descriptors_to_the_logs() {
    let folder = tempfile::tempdir().unwrap();
    let mut broker = std::process::Command::new("sh")
        .args(["-c", "ulimit -S -n 256 && ulimit -H -n 1000 && exec \"$0\" serve \"$@\""])
        .arg(esker())
        .args(["--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "admin.listeners=127.0.0.1:0"])
        .current_dir(folder.path())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(broker.stderr.take().unwrap()));
    let said: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.contains(" ready ")).collect();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", broker.id())).unwrap();
    broker.kill().unwrap();
    broker.wait().unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_ascii_whitespace().nth(3), Some("1000"), "the soft limit stays low: {line}");
    assert!(said.iter().any(|line| line.contains("fewer connections than configured")), "{said:#?}");
}
