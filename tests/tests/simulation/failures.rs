//! A log directory that fails while the broker runs: those who wait are told at once, the others go on.

use esker_broker::config::{BrokerConfig, parse_set};
use esker_broker::server::{self, Gauges, Outside};
use esker_storage::env::Disk;
use esker_tests::sim::client::{CallError, SimClient, values_batch};
use esker_tests::sim::{Config, DiskCall, DiskFault, DiskPlan, Exit, NodeEnv, NodeId, World, broker, run};
use kafka_protocol::messages::{MetadataRequest, ResponseKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const TOPIC: &str = "events";
const KAFKA_STORAGE_ERROR: CallError = CallError::Kafka(56);

/// Serves until it is asked to end, or cannot go on: as the `esker` process does.
async fn serve(node: NodeEnv, dirs: &str, more: &[&str]) {
    let settings = [
        format!("listeners=PLAINTEXT://{}:{}", node.ip, broker::PORT),
        format!("log.dirs={dirs}"),
        format!("node.id={}", node.number()),
    ];
    let settings = settings.iter().map(String::as_str).chain(more.iter().copied());
    let values = settings.map(parse_set).collect::<Result<_, _>>().unwrap();
    let config = BrokerConfig::from_values(values, "simulated").unwrap();
    let outside =
        Outside { env: node.env.clone(), network: Arc::new(node.net.clone()), store: Arc::clone(&node.store) };
    let server = server::start(outside, config, Gauges::new()).await.unwrap();
    tokio::select! {
        biased;
        () = node.terminated() => {}
        _ = server.failed() => {}
    }
    server.stop().await;
}

fn start(world: &World, dirs: &'static str) -> (NodeId, SocketAddr) {
    start_with(world, dirs, &[])
}

/// A broker with these log directories and settings, started.
pub(crate) fn start_with(world: &World, dirs: &'static str, settings: &'static [&'static str]) -> (NodeId, SocketAddr) {
    let node = world.add_node("broker", move |node| Box::pin(serve(node, dirs, settings)));
    world.disk(node).create_dir_all("/data".as_ref()).unwrap();
    world.disk(node).sync_dir("/".as_ref()).unwrap();
    world.start(node);
    (node, SocketAddr::new(world.ip(node), broker::PORT))
}

pub(crate) fn client(world: &World, address: SocketAddr) -> SimClient {
    SimClient::new(world.net().clone(), world.env().clone(), address)
}

pub(crate) async fn create(world: &World, address: SocketAddr, partitions: i32) {
    let mut client = client(world, address);
    while client.create_topic(TOPIC, partitions, &[]).await.is_err() {
        world.sleep(Duration::from_millis(100)).await;
    }
}

fn fail_next_sync(world: &World, node: NodeId, path: &str) {
    let fault = DiskFault::Io;
    world.disk(node).plan(DiskPlan { call: DiskCall::Sync, path: path.to_owned(), after: 0, fault });
}

/// What a broker says of a directory that failed.
const FENCED: [&str; 2] = ["the log directory is fenced", "could not close a log directory"];

#[test]
fn one_of_two_directories_fails_and_the_other_goes_on() {
    let finished = run(Config::seeded(1), |world: World| async move {
        world.announce(&FENCED);
        let (node, address) = start(&world, "/data/a,/data/b");
        create(&world, address, 2).await;
        // Each directory has one of the two.
        fail_next_sync(&world, node, "/data/a/");
        let started = world.now();
        let mut lost = None;
        for partition in 0..2 {
            match client(&world, address).produce(TOPIC, partition, values_batch(&[1], 0, None)).await {
                Ok(offset) => assert_eq!(offset, Some(0)),
                Err(KAFKA_STORAGE_ERROR) => lost = Some(partition),
                Err(error) => panic!("{error:?}"),
            }
        }
        let lost = lost.expect("one of them is in the directory that failed");
        let mut client = client(&world, address);
        assert!(world.now() - started < Duration::from_secs(5), "nobody waits for what cannot come");
        for _ in 0..2 {
            let batch = values_batch(&[2], 0, None);
            assert_eq!(client.produce(TOPIC, lost, batch.clone()).await, Err(KAFKA_STORAGE_ERROR));
            assert!(matches!(client.fetch(TOPIC, lost, 0, 10_000).await, Err(KAFKA_STORAGE_ERROR)));
            assert_eq!(client.list_offset(TOPIC, lost, -1).await, Err(KAFKA_STORAGE_ERROR));
            assert!(client.produce(TOPIC, 1 - lost, batch).await.is_ok());
            world.sleep(Duration::from_secs(3)).await;
        }
        let request = MetadataRequest::default().with_topics(None);
        let Ok(ResponseKind::Metadata(answer)) = client.call(9, &request.into()).await else { panic!() };
        for partition in &answer.topics[0].partitions {
            let failed = partition.partition_index == lost;
            assert_eq!(partition.error_code, if failed { 5 } else { 0 }, "LEADER_NOT_AVAILABLE");
            assert_eq!(partition.leader_id.0 == -1, failed);
            assert_eq!(partition.offline_replicas.len(), usize::from(failed));
        }
        world.terminate(node);
        assert_eq!(world.ended(node).await, Some(Exit::Returned));
    });
    if let Err(failure) = finished {
        panic!("{failure}");
    }
}

#[test]
fn without_any_directory_the_broker_ends() {
    let finished = run(Config::seeded(2), |world: World| async move {
        world.announce(&FENCED);
        let (node, address) = start(&world, "/data/a");
        create(&world, address, 2).await;
        let mut waiting = client(&world, address);
        let poll = Arc::new(parking_lot::Mutex::new(None));
        let polled = world.spawn("poll", {
            let (poll, world) = (Arc::clone(&poll), world.clone());
            async move {
                let answer = waiting.fetch(TOPIC, 0, 0, 30_000).await;
                *poll.lock() = Some((answer.err(), world.now()));
            }
        });
        world.sleep(Duration::from_millis(100)).await;
        fail_next_sync(&world, node, "/data/a/");
        let started = world.now();
        let answer = client(&world, address).produce(TOPIC, 0, values_batch(&[1], 0, None)).await;
        assert_eq!(answer, Err(KAFKA_STORAGE_ERROR));
        polled.ended().await;
        let (answer, at) = poll.lock().take().unwrap();
        assert_eq!(answer, Some(KAFKA_STORAGE_ERROR), "a long poll is told as well");
        assert!(at - started < Duration::from_secs(5));
        assert_eq!(world.ended(node).await, Some(Exit::Returned), "by itself");
    });
    if let Err(failure) = finished {
        panic!("{failure}");
    }
}
