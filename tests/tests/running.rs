//! The process itself: configuration, health, metrics, signals, hostile connections.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use real time, files and sockets")]

use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record};
use esker_bench::client::At;
use esker_tests::harness::records::Noise;
use esker_tests::harness::{Broker, Options, esker};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

fn batch(value: &'static str) -> Bytes {
    let record = Record { value: Some(Bytes::from_static(value.as_bytes())), ..Record::default() };
    Builder::new(Codec::None).record(&record).build().unwrap()
}

#[tokio::test]
async fn it_says_how_it_is() {
    let broker = Broker::start(Options::new()).await;
    assert_eq!(broker.admin_get("/livez").unwrap().0, 200);
    assert_eq!(broker.admin_get("/readyz").unwrap().0, 200);
    let (status, metrics) = broker.admin_get("/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(metrics.lines().any(|line| line.starts_with("# TYPE ")), "not Prometheus's text format:\n{metrics}");
    assert_eq!(broker.admin_get("/no-such-page").unwrap().0, 404);
}

#[tokio::test]
async fn sigterm_ends_it_in_order_and_soon() {
    let mut broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    client.produce("t", 0, batch("x")).await.unwrap();
    let started = Instant::now();
    let status = broker.terminate().await;
    assert!(status.success(), "{status}");
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    broker.restart().await;
    let end = client.retry(|| client.offset("t", 0, At::End)).await.unwrap();
    assert_eq!(end.unwrap().0, 1);
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_one() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(esker()).args(["serve", "--set", "num.partition=3"]).current_dir(folder.path()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"num.partition\"") && said.contains("num.partitions"), "{said}");
}

#[tokio::test]
async fn a_configuration_file_has_kafkas_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    std::fs::write(&file, "# Kafka's comment\nbroker.id=7\nnum.partitions = 3\nauto.create.topics.enable=true\n")
        .unwrap();
    let broker = Broker::start(Options::new().config(&file)).await;
    let client = broker.client();
    client.create_topic("t", -1, &[]).await.unwrap();
    let topic = client.topics(Some("t")).await.unwrap().remove(0);
    assert_eq!(topic.partitions.iter().map(|(leader, _)| *leader).collect::<Vec<_>>(), [7, 7, 7]);
}

#[tokio::test]
async fn a_second_broker_on_the_same_directory_is_refused() {
    let broker = Broker::start(Options::new()).await;
    let dirs = format!("log.dirs={}", broker.data().display());
    let store = format!("store=file://{}", broker.store_folder().display());
    let output = Command::new(esker())
        .args(["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "admin.listeners=127.0.0.1:0"])
        .args(["--set", &dirs, "--set", &store])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[tokio::test]
async fn hostile_bytes_close_their_own_connection_only() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    let mut noise = Noise(99);
    let frame = |body: &[u8]| [&(body.len() as i32).to_be_bytes()[..], body].concat();
    let mut attacks: Vec<Vec<u8>> = vec![
        // Lengths: negative, huge, zero; and a frame that never comes.
        (-1_i32).to_be_bytes().to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        frame(&[]),
        [&100_i32.to_be_bytes()[..], b"short"].concat(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        // Metadata v1 with 2^31-1 topics; Produce v9 with as many; an unknown key; a version that is not there.
        frame(&[&[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff][..], &i32::MAX.to_be_bytes()].concat()),
        frame(&[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        frame(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
        frame(&[0, 1, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff]),
    ];
    for key in 0..40_u8 {
        // Every API with noise for a body.
        let body = noise.bytes(200);
        attacks.push(frame(&[&[0, key, 0, noise.below(6) as u8, 0, 0, 0, 1, 0xff, 0xff][..], &body].concat()));
    }
    for attack in attacks {
        let mut stream = TcpStream::connect(broker.bootstrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The broker may close while we write, or answer with an error: both are fine.
        let _ = stream.write_all(&attack);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 1 << 20, "{} bytes in answer to {attack:?}", answer.len());
    }
    client.produce("t", 0, batch("still here")).await.unwrap();
    let resident = resident_mib(broker.pid());
    assert!(resident < 600, "{resident} MiB after frames that announced gigabytes");
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
