//! Batches that are small and decompress to much, or claim to hold more than they do, in every codec.

use super::raw::{Neighbour, ask_versions, connect};
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, HEADER, Record};
use esker_bench::client::produce_request;
use esker_protocol::api::{Api, ApiKey};
use esker_protocol::guard::Limits;
use esker_protocol::{request, response, samples};
use esker_tests::harness::{Broker, Options};
use kafka_protocol::messages::ResponseKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_RECORD: i16 = 87;

/// A batch of one record with so many zeros.
fn zeros(codec: Codec, size: usize) -> Vec<u8> {
    let record = Record { value: Some(Bytes::from(vec![0; size])), ..Record::default() };
    Builder::new(codec).record(&record).build().unwrap().to_vec()
}

/// `batch` that claims to have `count` records.
fn claiming(mut batch: Vec<u8>, count: i32) -> Vec<u8> {
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    samples::sealed(&batch)
}

/// `batch` whose records, compressed by its codec or not, are replaced by `records`.
fn holding(batch: &[u8], records: &[u8]) -> Vec<u8> {
    samples::sealed(&[&batch[..HEADER], records].concat())
}

/// The code that producing `batch` is answered with.
async fn produced(stream: &mut TcpStream, batch: Vec<u8>) -> i16 {
    const VERSION: i16 = 9;
    let body = produce_request("t", 0, batch.into(), 1).into();
    let frame = request::encode(1, None, VERSION, &body).unwrap().to_bytes();
    stream.write_all(&frame).await.unwrap();
    let answer = async {
        let mut frame = vec![0; stream.read_u32().await.unwrap() as usize];
        stream.read_exact(&mut frame).await.unwrap();
        frame
    };
    let frame = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("not answered");
    let api = Api::of(ApiKey::Produce).unwrap();
    match response::decode(api, VERSION, frame.into(), &Limits::default()).unwrap().1 {
        ResponseKind::Produce(answer) => answer.responses[0].partition_responses[0].error_code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_are_not_what_they_say_get_the_right_error() {
    let broker = Broker::start(Options::new()).await;
    broker.client().create_topic("t", 1, &[]).await.unwrap();
    let neighbour = Neighbour::of(&broker).await;
    let mut stream = connect(&broker).await;
    for codec in Codec::ALL {
        let name = codec.name();
        let good = zeros(codec, 1000);
        assert_eq!(produced(&mut stream, good.clone()).await, 0, "{name}");
        // Counts that nothing stands behind.
        for count in [2, 1000, i32::MAX] {
            let code = produced(&mut stream, claiming(good.clone(), count)).await;
            assert_eq!(code, INVALID_RECORD, "{name}, {count} records");
        }
        for count in [0, -1, i32::MIN + 1] {
            let code = produced(&mut stream, claiming(good.clone(), count)).await;
            assert_eq!(code, INVALID_RECORD, "{name}, {count} records");
        }
        // Records that are no such stream, and a stream that breaks off.
        for records in [&[][..], &[0xff; 40], &good[HEADER..good.len() - 3]] {
            let code = produced(&mut stream, holding(&good, records)).await;
            assert_eq!(code, INVALID_RECORD, "{name}, {records:02x?}");
        }
        let mut rotten = good.clone();
        *rotten.last_mut().unwrap() ^= 1;
        assert_eq!(produced(&mut stream, rotten).await, CORRUPT_MESSAGE, "{name}");
    }
    // A record, a key, a value, a header count and a header of lengths that are not there.
    let plain = zeros(Codec::None, 10);
    for lie in [
        &[0xfe, 0xff, 0xff, 0xff, 0x0f][..],
        &[0x0c, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        &[0x0e, 0, 0, 0, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        &[0x14, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
        &[0x16, 0, 0, 0, 1, 1, 2, 0xfe, 0xff, 0xff, 0xff, 0x0f],
    ] {
        assert_eq!(produced(&mut stream, holding(&plain, lie)).await, INVALID_RECORD, "{lie:02x?}");
    }
    neighbour.was_well(&broker, 64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decompression_bombs_are_refused_and_take_no_memory() {
    let broker = Broker::start(Options::new()).await;
    broker.client().create_topic("t", 1, &[]).await.unwrap();
    // What each codec makes the most of within a megabyte: 1000-fold, 21-fold, 250-fold, more than 10,000-fold.
    let bombs: Vec<(Codec, Vec<u8>, i16)> = vec![
        (Codec::Gzip, zeros(Codec::Gzip, 80 << 20), MESSAGE_TOO_LARGE),
        (Codec::Snappy, zeros(Codec::Snappy, 20 << 20), 0),
        (Codec::Lz4, zeros(Codec::Lz4, 100 << 20), MESSAGE_TOO_LARGE),
        (Codec::Zstd, zeros(Codec::Zstd, 200 << 20), MESSAGE_TOO_LARGE),
    ];
    let neighbour = Neighbour::of(&broker).await;
    let mut stream = connect(&broker).await;
    for (codec, bomb, expected) in &bombs {
        let (size, name) = (bomb.len(), codec.name());
        assert!(size <= 1_048_588, "{name}: {size}");
        assert_eq!(produced(&mut stream, bomb.clone()).await, *expected, "{name} of {size} bytes");
    }
    // From several clients at once.
    let clients = bombs.iter().cycle().take(4).map(|(_, bomb, expected)| {
        let (bomb, expected, address) = (bomb.clone(), *expected, broker.bootstrap());
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            for _ in 0..2 {
                assert_eq!(produced(&mut stream, bomb.clone()).await, expected);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    stream.write_all(&ask_versions(1)).await.unwrap();
    // Windows of zstd, and blocks, one for each connection runtime.
    neighbour.was_well(&broker, 96).await;
}
