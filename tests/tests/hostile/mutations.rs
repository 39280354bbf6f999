//! Requests with bytes changed at random: every one is answered, or its connection closed, within two seconds.
//!
//! `ESKER_HOSTILE_SEED` repeats a run; without it the seed is fixed, so that CI tests the same every time.

use super::raw::{Neighbour, answered, ask_versions, batch, exchange};
use esker_bench::client::{fetch_request, produce_request};
use esker_protocol::api::{APIS, Api, ApiKey};
use esker_protocol::{request, samples};
use esker_tests::fuzz::Mutator;
use esker_tests::harness::records::Noise;
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    FindCoordinatorRequest, JoinGroupRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest, RequestKind,
};
use kafka_protocol::protocol::StrBytes;
use std::time::{Duration, Instant};

/// Mutations of each request; with every version of every API that makes some 30,000.
const EACH: usize = 200;
/// After so long the rest is left out, so that a slow machine is not held up.
const TIME: Duration = Duration::from_secs(20);
/// What memory all of them may cost, in MiB.
const BOUND: u64 = 128;

fn seed() -> u64 {
    std::env::var("ESKER_HOSTILE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x00e5_ce5e_ed00)
}

/// Changes 1 to 4 bytes of `frame` from `from` on: to anything, to the ends of numbers, or by one.
fn mutate(noise: &mut Noise, frame: &mut [u8], from: usize) {
    for _ in 0..=noise.below(4) {
        let span = (frame.len() - from) as u64;
        let Some(byte) = frame.get_mut(from + noise.below(span.max(1)) as usize) else { return };
        *byte = match noise.below(6) {
            0 => 0xff,
            1 => 0x7f,
            2 => 0x80,
            3 => 0,
            4 => byte.wrapping_add(1),
            _ => noise.number() as u8,
        };
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_requests_of_every_version_are_answered_or_closed() {
    let broker = Broker::start(Options::new().set("auto.create.topics.enable", false)).await;
    let neighbour = Neighbour::of(&broker).await;
    let seed = seed();
    let (mut noise, started, mut sent, mut answered) = (Noise(seed), Instant::now(), 0, 0);
    // Round by round, so that what time leaves out is the last rounds and not the last APIs.
    'rounds: for round in 0..EACH {
        for api in APIS {
            for version in api.accepted_from..=api.newest {
                if started.elapsed() > TIME {
                    println!("left out what followed round {round}");
                    break 'rounds;
                }
                let body = samples::body(api, version, noise.number());
                let frame = samples::frame(api, version, 7, &body);
                // The prologue and the client id stay, so that the body is reached; and what could make a fetch or a
                // creation wait for days.
                let from = frame.len() - body.len() + waits(api);
                let mut frame = frame;
                if from < frame.len() {
                    mutate(&mut noise, &mut frame, from);
                }
                let what = format!("{} v{version}, seed {seed}, request {sent}", api.name);
                answered += usize::from(check(&broker, &frame, &what).await);
                sent += 1;
            }
        }
    }
    println!("{sent} changed requests in {:?}, {answered} answered", started.elapsed());
    // Changes that no decoder lets through would test nothing behind it.
    assert!(answered > sent / 5 && answered < sent);
    neighbour.was_well(&broker, BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valid_requests_of_every_version_are_answered() {
    let broker = Broker::start(Options::new().set("auto.create.topics.enable", false)).await;
    let neighbour = Neighbour::of(&broker).await;
    let (mut noise, started, mut sent) = (Noise(seed()), Instant::now(), 0);
    'rounds: for round in 0..20 {
        for api in APIS {
            for version in api.accepted_from..=api.newest {
                if started.elapsed() > TIME {
                    println!("left out what followed round {round}");
                    break 'rounds;
                }
                // Whatever its numbers and names mean, it is a request; 7 is no acks, so that Produce is answered too.
                let body = samples::body(api, version, noise.number());
                let frame = samples::frame(api, version, 7, &body);
                let answer = exchange(&broker, &[&frame[..], &ask_versions(8)].concat()).await;
                let what = format!("{} v{version}, seed {}, request {sent}: {frame:02x?}", api.name, seed());
                assert_eq!(answered(&answer.unwrap_or_else(|error| panic!("{what}: {error}"))), [7, 8], "{what}");
                sent += 1;
            }
        }
    }
    println!("{sent} valid requests in {:?}", started.elapsed());
    neighbour.was_well(&broker, BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_pieces_added_and_left_out_are_answered_or_closed() {
    let broker = Broker::start(Options::new().set("auto.create.topics.enable", false)).await;
    let neighbour = Neighbour::of(&broker).await;
    let (mut noise, mut mutator) = (Noise(seed()), Mutator::new(seed()));
    let (started, mut sent, mut answered) = (Instant::now(), 0, 0);
    'rounds: for round in 0..EACH {
        // A fetch whose bytes have moved may say that it waits for days.
        for api in APIS.iter().filter(|api| api.key != ApiKey::Fetch) {
            for version in api.accepted_from..=api.newest {
                if started.elapsed() > TIME {
                    println!("left out what followed round {round}");
                    break 'rounds;
                }
                let body = samples::body(api, version, noise.number());
                let other = samples::body(api, version, noise.number());
                let frame = samples::frame(api, version, 7, &mutator.change(&body, &other));
                let what = format!("{} v{version}, seed {}, request {sent}", api.name, seed());
                answered += usize::from(check(&broker, &frame, &what).await);
                sent += 1;
            }
        }
    }
    println!("{sent} changed requests in {:?}, {answered} answered", started.elapsed());
    assert!(answered > sent / 50 && answered < sent);
    neighbour.was_well(&broker, BOUND).await;
}

/// How many bytes at the start of a body say how long an answer may be waited for.
fn waits(api: &Api) -> usize {
    if api.key == ApiKey::Fetch { 12 } else { 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_requests_that_would_do_something_are_answered_or_closed() {
    let broker = Broker::start(Options::new().set("auto.create.topics.enable", false)).await;
    let neighbour = Neighbour::of(&broker).await;
    let client = broker.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    client.retry(|| client.produce("t", 0, batch(&[7; 3000]))).await.unwrap();
    let seed = seed();
    let (mut noise, started, mut sent, mut answered) = (Noise(seed), Instant::now(), 0, 0);
    while sent < 10_000 && started.elapsed() < TIME {
        for (body, newest) in meaningful(sent) {
            let api = request::key_of(&body).and_then(Api::of).unwrap();
            let version = api.accepted_from + noise.below((newest - api.accepted_from) as u64 + 1) as i16;
            let Ok(frame) = request::encode(7, Some("sample"), version, &body) else { continue };
            let mut frame = frame.to_bytes().to_vec();
            mutate(&mut noise, &mut frame, 4 + 8 + 8 + 1 + waits(api));
            let what = format!("{} v{version}, seed {seed}, request {sent}", api.name);
            answered += usize::from(check(&broker, &frame, &what).await);
            sent += 1;
        }
    }
    println!("{sent} changed requests in {:?}, {answered} answered", started.elapsed());
    // Changes that no decoder lets through would test nothing behind it.
    assert!(answered > sent / 5 && answered < sent);
    neighbour.was_well(&broker, BOUND).await;
}

/// Sends it with another request behind, and expects the broker to close after its answers, if any.
/// Returns whether the request itself was answered.
async fn check(broker: &Broker, frame: &[u8], what: &str) -> bool {
    let answer = exchange(broker, &[frame, &ask_versions(8)].concat()).await;
    let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}: {frame:02x?}"));
    let ids = answered(&answer);
    let fine = matches!(ids[..], [] | [7, 8] | [8]) || ids[..] == [7];
    assert!(fine, "{what}: answers {ids:?} to {frame:02x?}");
    ids.contains(&7)
}

/// Requests that do something, each with the newest version that can say it.
fn meaningful(number: usize) -> Vec<(RequestKind, i16)> {
    let text = StrBytes::from_static_str;
    // A group of its own: a second member would wait for the first.
    let group = StrBytes::from_string(format!("group-{number}"));
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(vec![0; 20].into());
    let commit = OffsetCommitRequestPartition::default().with_committed_offset(1);
    vec![
        (produce_request("t", 0, batch(&[9; 200]), [-1, 0, 1][number % 3]).into(), 12),
        (fetch_request("t", 0, 0, 1 << 20, 10).into(), 12),
        (
            ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_topics(vec![
                    ListOffsetsTopic::default()
                        .with_name(text("t").into())
                        .with_partitions(vec![ListOffsetsPartition::default().with_timestamp(-1)]),
                ])
                .into(),
            9,
        ),
        (MetadataRequest::default().with_topics(None).into(), 12),
        (FindCoordinatorRequest::default().with_key(group.clone()).into(), 3),
        (
            JoinGroupRequest::default()
                .with_group_id(group.clone().into())
                .with_session_timeout_ms(6000)
                .with_rebalance_timeout_ms(300)
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol])
                .into(),
            9,
        ),
        (
            OffsetCommitRequest::default()
                .with_group_id(group.into())
                .with_generation_id_or_member_epoch(-1)
                .with_topics(vec![
                    OffsetCommitRequestTopic::default().with_name(text("t").into()).with_partitions(vec![commit]),
                ])
                .into(),
            9,
        ),
    ]
}
