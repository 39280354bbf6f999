//! Frames that are wrong: each gets the right error, or the connection is closed without an answer.

use super::raw::{Neighbour, answered, ask_versions, batch, connect, exchange, framed};
use esker_bench::client::produce_request;
use esker_protocol::api::{APIS, Api, ApiKey};
use esker_protocol::{request, samples};
use esker_tests::harness::records::Noise;
use esker_tests::harness::{Broker, Options};
use tokio::io::AsyncWriteExt;

/// What memory malformed frames may cost, in MiB.
const BOUND: u64 = 64;

async fn closes(broker: &Broker, bytes: &[u8], what: &str) {
    // A good request before shows that what was right is answered, one after it that nothing is read any more.
    let stream = [&ask_versions(1)[..], bytes, &ask_versions(2)].concat();
    let answer = exchange(broker, &stream).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answered(&answer), [1], "{what}");
}

fn prologue(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes(), &(-1_i16).to_be_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_frames_close_their_connection() {
    let broker = Broker::start(Options::new()).await;
    let neighbour = Neighbour::of(&broker).await;
    for length in [-1, i32::MIN, i32::MAX, 104_857_601] {
        closes(&broker, &length.to_be_bytes(), &format!("length {length}")).await;
    }
    for length in 0..8 {
        closes(&broker, &framed(&vec![0; length]), &format!("{length} bytes")).await;
    }
    for text in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}", "SSH-2.0-OpenSSH_9.6\r\n"] {
        closes(&broker, text.as_bytes(), text).await;
    }
    for key in [-1, 4, 5, 6, 7, 17, 24, 26, 27, 28, 36, 65, 80, 999, i16::MIN, i16::MAX] {
        assert!(Api::with_code(key).is_none());
        closes(&broker, &framed(&prologue(key, 0)), &format!("API {key}")).await;
    }
    neighbour.was_well(&broker, BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_do_not_exist_close_but_for_api_versions() {
    let broker = Broker::start(Options::new()).await;
    let neighbour = Neighbour::of(&broker).await;
    for api in APIS.iter().filter(|api| api.key != ApiKey::ApiVersions) {
        for version in [i16::MIN, -1, api.accepted_from - 1, api.newest + 1, i16::MAX] {
            let frame = framed(&[prologue(api.key as i16, version), vec![0; 40]].concat());
            closes(&broker, &frame, &format!("{} v{version}", api.name)).await;
        }
    }
    for version in 0..3 {
        closes(&broker, &framed(&[prologue(0, version), vec![0; 40]].concat()), "Produce before 3").await;
    }
    for version in [-1, 5, 99, i16::MAX] {
        let stream = [framed(&[prologue(18, version), vec![0xff; 30]].concat()), ask_versions(8)].concat();
        let answer = exchange(&broker, &stream).await.unwrap();
        assert_eq!(answered(&answer), [7, 8], "v{version}");
        // In version 0: UNSUPPORTED_VERSION, and the one range that helps.
        assert_eq!(answer[..20], [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4], "v{version}");
    }
    neighbour.was_well(&broker, BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_break_off_or_lie_close_for_every_api() {
    let broker = Broker::start(Options::new()).await;
    let neighbour = Neighbour::of(&broker).await;
    let mut noise = Noise(7);
    for api in APIS {
        for version in [api.accepted_from, api.newest] {
            let body = samples::body(api, version, 1);
            let what = |fault: &str| format!("{} v{version}, {fault}", api.name);
            for _ in 0..8.min(body.len()) {
                let end = noise.below(body.len() as u64) as usize;
                let cut = samples::frame(api, version, 7, &body[..end]);
                closes(&broker, &cut, &what(&format!("cut at {end}"))).await;
            }
            let longer = [&body[..], &[0]].concat();
            closes(&broker, &samples::frame(api, version, 7, &longer), &what("a byte too many")).await;
            // Wherever a count or a length stands, all of these are too much for what follows.
            for lie in [[0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0xff, 0xff, 0xff, 0xff]] {
                let frame = samples::frame(api, version, 7, &lie.repeat(3));
                let answer =
                    exchange(&broker, &frame).await.unwrap_or_else(|error| panic!("{}: {error}", what("lies")));
                // Some messages are made of numbers alone.
                assert!(answered(&answer).iter().all(|id| *id == 7));
            }
        }
    }
    // Metadata of 2^31 - 1 topics, before and after the compact form.
    let metadata = Api::of(ApiKey::Metadata).unwrap();
    closes(&broker, &samples::frame(metadata, 1, 7, &i32::MAX.to_be_bytes()), "topics").await;
    closes(&broker, &samples::frame(metadata, 12, 7, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]), "topics").await;
    // More elements than max.request.array.elements, all of them there.
    let groups = Api::of(ApiKey::DescribeGroups).unwrap();
    let many = [&300_000_i32.to_be_bytes()[..], &vec![0; 600_000]].concat();
    closes(&broker, &samples::frame(groups, 0, 7, &many), "300,000 groups").await;
    neighbour.was_well(&broker, BOUND).await;
}

#[tokio::test]
async fn unacknowledged_requests_close_only_when_they_fail() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    client.create_topic("t", 1, &[]).await.unwrap();
    client.retry(|| client.produce("t", 0, batch(b"first"))).await.unwrap();
    let send = |topic: &str| {
        let body = produce_request(topic, 0, batch(b"unheard"), 0).into();
        request::encode(7, None, 7, &body).unwrap().to_bytes()
    };
    let stream = [&ask_versions(1)[..], &send("t"), &send("t"), &ask_versions(2)].concat();
    assert_eq!(answered(&exchange(&broker, &stream).await.unwrap()), [1, 2]);
    closes(&broker, &send("no-such-topic"), "acks=0 for a topic that is not there").await;
    let mut stream = connect(&broker).await;
    stream.write_all(&send("no-such-topic")).await.unwrap();
    let mut end = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut end);
    tokio::time::timeout(std::time::Duration::from_secs(2), closed).await.expect("not closed").unwrap();
}
