//! The codec: checking a batch, stamping it, decoding a Produce request, encoding a Fetch answer.
#![allow(missing_docs, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark")]

mod support;

use bytes::{Buf, Bytes};
use criterion::{Criterion, criterion_group, criterion_main};
use esker_protocol::api::{Api, ApiKey};
use esker_protocol::guard::Limits;
use esker_protocol::record::{Compression, Rules, Scratch, validate};
use esker_protocol::{request, response};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchResponse, ResponseKind};
use std::hint::black_box;
use support::{SHAPES, batch, bench};

#[global_allocator]
static COUNTING: support::counting::Counting = support::counting::Counting;

fn rules() -> Rules {
    Rules { max_message_bytes: 8 << 20, now_ms: 1_700_000_000_000, ..Rules::default() }
}

fn batches(criterion: &mut Criterion) {
    let codecs = [("none", Compression::None), ("lz4", Compression::Lz4), ("zstd", Compression::Zstd)];
    for (codec, compression) in codecs {
        for (shape, records, size) in SHAPES {
            let batch = batch(records, size, compression);
            let mut scratch = Scratch::default();
            bench(criterion, "validate", &format!("{codec}, {shape}"), records * size, || {
                validate(batch.clone(), &rules(), &mut scratch).expect("a good batch")
            });
        }
    }
    for (shape, records, size) in SHAPES {
        let checked = validate(batch(records, size, Compression::None), &rules(), &mut Scratch::default());
        let checked = checked.expect("a good batch");
        bench(criterion, "stamp", shape, records * size, || black_box(checked.clone()).stamp(1 << 40, 7, None));
        bench(criterion, "stamp with LogAppendTime", shape, records * size, || {
            black_box(checked.clone()).stamp(1 << 40, 7, Some(1_700_000_000_001))
        });
    }
}

fn frames(criterion: &mut Criterion) {
    for (shape, records, size) in SHAPES {
        let body = esker_bench::client::produce_request("topic", 0, batch(records, size, Compression::None), -1);
        let mut frame = request::encode(1, Some("client"), 12, &body.into()).expect("a request").to_bytes();
        frame.advance(4);
        bench(criterion, "decode Produce", shape, records * size, || {
            request::decode(frame.clone(), &Limits::default()).expect("a good frame")
        });
    }
    let api = Api::of(ApiKey::Fetch).expect("there is Fetch");
    let records = Bytes::from(vec![1; 1 << 20]);
    for partitions in [1, 50] {
        let partition = PartitionData::default().with_aborted_transactions(None).with_records(Some(records.clone()));
        let topic = FetchableTopicResponse::default().with_partitions(vec![partition; partitions]);
        let body: ResponseKind = FetchResponse::default().with_responses(vec![topic]).into();
        bench(criterion, "encode Fetch", &format!("{partitions} x 1 MiB"), partitions << 20, || {
            response::encode(api, 13, 1, body.clone()).expect("an answer")
        });
    }
}

criterion_group!(benches, batches, frames);
criterion_main!(benches);
