//! `compression.type`: batches are stored with the topic's codec, in the order they came, and say the same as before.

use crate::ask::{NONE, answered, produce, produce_request, topic};
use crate::settings::set;
use bytes::Bytes;
use esker_bench::batch::{Builder, Codec, Record, read_all};
use esker_bench::client::{Client, Connection};
use esker_tests::harness::records::FIRST_TIMESTAMP;
use esker_tests::harness::{Broker, Options};
use uuid::Uuid;

const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_RECORD: i16 = 87;
const TYPES: [(&str, u8); 5] = [("uncompressed", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];

/// Ten records with everything that a record can have, some of them twice.
fn made(salt: usize) -> Vec<Record> {
    let text = |what: &str, n: usize| Some(Bytes::from(format!("{what} {salt} {n} ").repeat(20)));
    let record = |n: usize| Record {
        offset: 0,
        timestamp: FIRST_TIMESTAMP + (n * 7 % 5) as i64,
        key: (!n.is_multiple_of(3)).then(|| text("key", n).unwrap()),
        value: (!n.is_multiple_of(4)).then(|| text("value", n).unwrap()),
        headers: vec![("same".to_owned(), text("header", n)), ("same".to_owned(), None)],
    };
    (0..10).map(record).collect()
}

fn batch(codec: Codec, records: &[Record]) -> Bytes {
    records.iter().fold(Builder::new(codec), Builder::record).build().unwrap()
}

/// The batches of a topic's only partition as they are stored.
async fn stored(client: &Client, topic: &str, from: i64) -> Bytes {
    client.fetch(topic, 0, from, 0).await.unwrap().batches
}

#[tokio::test]
async fn batches_are_stored_as_their_topic_says() {
    let broker = Broker::start(Options::new()).await;
    let client = broker.client();
    every_codec_becomes_every_other(&client).await;
    it_can_be_changed_at_any_time(&client).await;
    sizes_are_checked_before_and_after(&client).await;
    order_holds_over_what_takes_long(&client).await;
    levels_have_an_effect(&client).await;
    what_is_wrong_is_refused_as_ever(&client).await;
}

async fn every_codec_becomes_every_other(client: &Client) {
    for (name, code) in TYPES {
        let here = format!("stored-{name}");
        let (connection, id) = topic(client, &here, 1, &[("compression.type", name)]).await;
        for (salt, codec) in Codec::ALL.into_iter().enumerate() {
            let sent = made(salt);
            let base = salt as i64 * 10;
            let request = batch(codec, &sent);
            let answer = produce(&connection, 9, (&here, id), 0, request.clone()).await;
            assert_eq!((answer.error_code, answer.base_offset), (NONE, base), "{} to {name}", codec.name());
            let bytes = stored(client, &here, base).await;
            assert_eq!(bytes[22] & 7, code, "{} to {name}", codec.name());
            let found = read_all(&bytes).unwrap();
            for (n, (found, mut sent)) in found.iter().zip(sent).enumerate() {
                sent.offset = base + n as i64;
                assert_eq!(*found, sent, "{} to {name}", codec.name());
            }
            assert_eq!(found.len(), 10);
            if codec.name() == name || code == 0 && codec.name() == "none" {
                assert_eq!(bytes[61..], request[61..], "what has the codec already is not touched");
            }
        }
    }
}

async fn it_can_be_changed_at_any_time(client: &Client) {
    let (connection, id) = topic(client, "changing", 1, &[]).await;
    let sent = made(1);
    let mut base = 0;
    for (name, code) in [("producer", 3), ("zstd", 4), ("uncompressed", 0), ("producer", 3), ("gzip", 1)] {
        set(&connection, "changing", &[("compression.type", name)]).await;
        let answer = produce(&connection, 9, ("changing", id), 0, batch(Codec::Lz4, &sent)).await;
        assert_eq!((answer.error_code, answer.base_offset), (NONE, base));
        assert_eq!(stored(client, "changing", base).await[22] & 7, code, "{name}");
        base += 10;
    }
}

async fn sizes_are_checked_before_and_after(client: &Client) {
    let configs = [("compression.type", "uncompressed"), ("max.message.bytes", "3000")];
    let (connection, id) = topic(client, "grown", 1, &configs).await;
    let sent = made(1);
    let small = batch(Codec::Zstd, &sent);
    assert!(small.len() < 3000 && batch(Codec::None, &sent).len() > 3000);
    let answer = produce(&connection, 9, ("grown", id), 0, small.clone()).await;
    assert_eq!((answer.error_code, answer.base_offset), (MESSAGE_TOO_LARGE, -1), "as it would be stored");
    set(&connection, "grown", &[("compression.type", "zstd")]).await;
    let answer = produce(&connection, 9, ("grown", id), 0, batch(Codec::None, &sent)).await;
    assert_eq!(answer.error_code, MESSAGE_TOO_LARGE, "as it came");
    assert_eq!(produce(&connection, 9, ("grown", id), 0, small).await.error_code, NONE);
}

/// One connection, requests that must be compressed anew and requests that need not be, without waiting for answers.
async fn order_holds_over_what_takes_long(client: &Client) {
    let (connection, id) = topic(client, "ordered", 1, &[("compression.type", "gzip")]).await;
    let here = ("ordered", id);
    let producer = client.init_producer().await.unwrap();
    let noise = "a somewhat longer text of which there is a lot ".repeat(3000);
    let mut pending = Vec::new();
    for n in 0..30 {
        let codec = if n % 3 == 0 { Codec::None } else { Codec::Gzip };
        let mut builder = Builder::new(codec).producer(producer.id, producer.epoch, n);
        let value = format!("{n} {}", if n % 6 == 0 { noise.as_str() } else { "" });
        builder.push(FIRST_TIMESTAMP, None, Some(value.as_bytes()), &[]);
        let request = produce_request(9, here, 0, Some(builder.build().unwrap()), -1);
        pending.push(connection.send_at(&request, 9).await.unwrap());
    }
    for (n, pending) in pending.into_iter().enumerate() {
        let answer = pending.answer().await.unwrap();
        let answer = &answer.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (NONE, n as i64), "a sequence that came late is refused");
    }
    silence_is_in_order_too(&connection, id, client).await;
}

async fn silence_is_in_order_too(connection: &Connection, id: Uuid, client: &Client) {
    let here = ("ordered", id);
    for n in 0..10 {
        let codec = if n % 2 == 0 { Codec::None } else { Codec::Gzip };
        let mut builder = Builder::new(codec);
        builder.push(FIRST_TIMESTAMP, None, Some(format!("silent {n}").as_bytes()), &[]);
        let request = produce_request(9, here, 0, Some(builder.build().unwrap()), 0);
        connection.send_unanswered(&request).await.unwrap();
    }
    let last = batch(Codec::None, &made(0));
    let answer = answered(connection, 9, &produce_request(9, here, 0, Some(last), 1)).await;
    assert_eq!((answer.error_code, answer.base_offset), (NONE, 40));
    let found = client.read("ordered", 0, 30, 40).await.unwrap();
    let values: Vec<_> = found.iter().map(|record| record.value.clone().unwrap()).collect();
    assert_eq!(values, (0..10).map(|n| Bytes::from(format!("silent {n}"))).collect::<Vec<_>>());
}

async fn levels_have_an_effect(client: &Client) {
    for (name, low, high) in [("gzip", "1", "9"), ("lz4", "1", "12"), ("zstd", "-50", "19")] {
        let here = format!("level-{name}");
        let level = format!("compression.{name}.level");
        let (connection, id) = topic(client, &here, 1, &[("compression.type", name), (&level, low)]).await;
        let mut builder = Builder::new(Codec::None);
        for n in 0..2000u32 {
            let value = format!("{{\"id\":{n},\"user\":\"u{}\",\"sum\":{}}}", n % 311, n.wrapping_mul(7919) % 9973);
            builder.push(FIRST_TIMESTAMP, None, Some(value.as_bytes()), &[]);
        }
        let batch = builder.build().unwrap();
        let mut sizes = Vec::new();
        for (base, level_now) in [(0, low), (2000, high)] {
            set(&connection, &here, &[(&level, level_now)]).await;
            assert_eq!(produce(&connection, 9, (&here, id), 0, batch.clone()).await.base_offset, base);
            let bytes = stored(client, &here, base).await;
            sizes.push(i32::from_be_bytes(bytes[8..12].try_into().unwrap()));
        }
        assert!(sizes[0] > sizes[1], "{name}: {sizes:?}");
    }
}

async fn what_is_wrong_is_refused_as_ever(client: &Client) {
    let configs = [("compression.type", "lz4"), ("cleanup.policy", "compact")];
    let (connection, id) = topic(client, "strict", 1, &configs).await;
    let answer = produce(&connection, 9, ("strict", id), 0, batch(Codec::Zstd, &made(0))).await;
    assert_eq!(answer.error_code, INVALID_RECORD);
    let without_key: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(without_key, [0, 3, 6, 9]);
    // A bomb: 60 MB in a few KB.
    let mut builder = Builder::new(Codec::Zstd);
    builder.push(FIRST_TIMESTAMP, Some(b"k"), Some(&vec![0; 60 << 20]), &[]);
    let bomb = builder.build().unwrap();
    assert!(bomb.len() < 100_000);
    assert_eq!(produce(&connection, 9, ("strict", id), 0, bomb).await.error_code, MESSAGE_TOO_LARGE);
}
