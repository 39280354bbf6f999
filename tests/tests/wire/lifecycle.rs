//! A broker's life as clients and probes see it: its ports, a store that is away, another broker that takes over.

use crate::ask::{Fetch, NONE, produce, record, topic};
use esker_bench::client::{At, Client};
use esker_tests::harness::{Broker, Fault, Options, S3, esker, wait_for};
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const REQUEST_TIMED_OUT: i16 = 7;
const NOT_CONTROLLER: i16 = 41;

async fn create(client: &Client, name: &str, timeout_ms: i32) -> i16 {
    let wanted =
        CreatableTopic::default().with_name(crate::ask::name(name)).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(timeout_ms);
    let connection = client.any().await.unwrap();
    connection.send_at(&request, 7).await.unwrap().answer().await.unwrap().topics[0].error_code
}

/// Port 0 is one that the machine chooses; clients are told which. The log's reader leaves once it knows: a broker goes
/// on without anybody to tell.
#[tokio::test]
async fn a_port_that_was_chosen_is_advertised() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(esker())
        .args(["serve", "--set", "listeners=PLAINTEXT://127.0.0.1:0", "--set", "admin.listeners="])
        .args(["--set", &format!("log.dirs={}", folder.path().join("data").display())])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines
        .filter(|line| line.contains("listening"))
        .find_map(|line| line.split("127.0.0.1:").nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    let port: u16 = address.expect("it says where it listens");
    let client = Client::new(format!("127.0.0.1:{port}"));
    // The leader is asked at the address that the metadata give.
    let (connection, id) = topic(&client, "t", 1, &[]).await;
    assert_eq!(produce(&connection, 9, ("t", id), 0, record("x")).await.error_code, NONE);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_stops_changes_but_no_records() {
    let s3 = S3::start();
    let mut broker = Broker::prepare(s3.serve(Options::new()));
    broker.announce("");
    s3.set_faults(|_| Some(Fault::Unavailable));
    broker.launch();
    let (status, why) = wait_for("the admin listener", Duration::from_secs(30), || {
        let answer = broker.admin_get("/readyz").filter(|(_, body)| body.contains("store"));
        async move { answer }
    })
    .await;
    assert_eq!(status, 503, "{why}");
    s3.heal();
    wait_for("the store to be back", Duration::from_secs(30), || {
        let ready = broker.admin_get("/readyz").is_some_and(|(status, _)| status == 200);
        async move { ready.then_some(()) }
    })
    .await;
    let client = broker.client();
    let (connection, id) = topic(&client, "t", 1, &[]).await;
    s3.set_faults(|_| Some(Fault::Unavailable));
    assert_eq!(produce(&connection, 9, ("t", id), 0, record("x")).await.error_code, NONE);
    assert_eq!(client.fetch("t", 0, 0, 0).await.unwrap().high_watermark, 1);
    client.init_producer().await.unwrap();
    let started = Instant::now();
    assert_eq!(create(&client, "later", 500).await, REQUEST_TIMED_OUT);
    assert!(started.elapsed() < Duration::from_secs(10));
    s3.heal();
    wait_for("the store to be back", Duration::from_secs(30), || async {
        matches!(create(&client, "soon", 5000).await, 0 | 36).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sigterm_answers_who_waits_and_strays_are_gone_after_the_next_start() {
    let mut broker = Broker::start(Options::new()).await;
    let client = broker.client();
    let (connection, id) = topic(&client, "t", 1, &[]).await;
    assert_eq!(produce(&connection, 9, ("t", id), 0, record("x")).await.error_code, NONE);
    let fetch = Fetch::new(12).of(("t", id), 0, 1).change(|request| request.with_max_wait_ms(25_000));
    let pending = connection.send_at(&fetch.request, 12).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    assert!(broker.terminate().await.success());
    assert!(started.elapsed() < Duration::from_secs(4), "{:?} for a consumer that waits", started.elapsed());
    let answer = crate::ask::partitions(pending.answer().await.unwrap());
    assert_eq!((answer[0].error_code, answer[0].high_watermark), (NONE, 1));

    // As a crash between a topic's deletion and that of its files leaves it.
    let own = format!("{}-0", id.simple());
    let stray = format!("{}-0", uuid::Uuid::from_u128(id.as_u128() ^ 1).simple());
    std::fs::create_dir(broker.data().join(&stray)).unwrap();
    for entry in std::fs::read_dir(broker.data().join(&own)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), broker.data().join(&stray).join(entry.file_name())).unwrap();
    }
    broker.restart().await;
    wait_for("the stray to be gone", Duration::from_secs(20), || {
        let there = broker.data().join(&stray).exists();
        async move { (!there).then_some(()) }
    })
    .await;
    assert!(broker.data().join(&own).exists());
    let offset = client.retry(|| client.offset("t", 0, At::End)).await.unwrap();
    assert_eq!(offset.unwrap().0, 1);
}

#[tokio::test]
async fn a_broker_whose_place_another_took_says_so_and_ends() {
    let mut first = Broker::start(Options::new()).await;
    first.announce("controller");
    let client = first.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    let second = Broker::start(Options::new().store(&format!("file://{}", first.store_folder().display()))).await;
    second.client().topics(None).await.unwrap();
    // It learns of it when it wants to change something.
    assert_eq!(create(&client, "mine", 5000).await, NOT_CONTROLLER);
    let status = first.ended(Duration::from_secs(20)).await;
    assert!(!status.success(), "somebody must look: {status}");
}
