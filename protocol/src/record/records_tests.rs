//! Records that are built come back, through every codec and both ways of reading.

use super::*;
use crate::record::{BatchBuilder, RecordHeader, Rules, validate};
use proptest::prelude::*;

type Bytes = Option<Vec<u8>>;

#[derive(Clone, Debug, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Bytes,
    value: Bytes,
    headers: Vec<(Vec<u8>, Bytes)>,
}

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), 0..longest).prop_map(|(byte, length)| vec![byte; length])
}

fn owned() -> impl Strategy<Value = Owned> {
    let headers = proptest::collection::vec((bytes(20), proptest::option::of(bytes(200))), 0..4);
    (-1i64..5000, proptest::option::of(bytes(100)), proptest::option::of(bytes(100_000)), headers)
        .prop_map(|(timestamp, key, value, headers)| Owned { timestamp, key, value, headers })
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(Compression::ALL.to_vec())
}

fn build(codec: Compression, records: &[Owned]) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(codec);
    for record in records {
        let headers: Vec<RecordHeader<'_>> =
            record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    }
    builder.build().unwrap()
}

fn own(record: &Record<'_>) -> Owned {
    Owned {
        timestamp: record.timestamp.unwrap_or(-1),
        key: record.key.map(Into::into),
        value: record.value.map(Into::into),
        headers: record.headers.map(|h| (h.key.into(), h.value.map(Into::into))).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn records_come_back(codec in codec(), input in proptest::collection::vec(owned(), 1..20), base in 0i64..1 << 40) {
        let sent = build(codec, &input);
        let mut scratch = Scratch::default();
        let batch = validate(sent.clone(), &Rules { now_ms: 5000, max_message_bytes: 1 << 30, ..Rules::default() }, &mut scratch).unwrap();
        let max = input.iter().map(|r| r.timestamp).max().unwrap();
        prop_assert_eq!(batch.max_timestamp().unwrap_or(-1), max);
        let first = input.iter().position(|r| r.timestamp == max).unwrap() as u32;
        if max >= 0 {
            prop_assert_eq!(batch.max_timestamp_delta(), Some(first));
        }
        let stored = batch.stamp(base, 3, None).to_bytes();
        prop_assert_eq!(&stored[16..], &sent[16..]);

        let read: Vec<Owned> = records(&stored, &mut scratch, 1 << 30).unwrap().map(|r| own(&r.unwrap())).collect();
        prop_assert_eq!(&read, &input);
        let offsets: Vec<i64> = records(&stored, &mut scratch, 1 << 30).unwrap().map(|r| r.unwrap().offset).collect();
        prop_assert_eq!(offsets, (base..base + input.len() as i64).collect::<Vec<_>>());

        let mut streamed = Vec::new();
        let mut stream = stream(&stored, &mut scratch, 1 << 30).unwrap();
        while let Some(record) = stream.next_record().unwrap() {
            streamed.push(own(&record));
        }
        prop_assert_eq!(&streamed, &input);
    }
}
