//! Batches against the `kafka-protocol` crate, in both directions and through every codec. The codecs are called
//! directly here, so that a mistake in ours cannot hide behind itself.

use super::*;
use crate::record::{Rules, Scratch, check_stored, records, validate};
use bytes::{BufMut, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as theirs;
use proptest::prelude::*;
use std::io::{Read, Write};

#[derive(Clone, Debug)]
struct Input {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn input() -> impl Strategy<Value = Input> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    // Their records cannot have a header twice.
    let headers = proptest::collection::btree_map("[a-z]{1,8}", bytes(), 0..4);
    (-1i64..1 << 40, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| Input {
        timestamp,
        key,
        value,
        headers: headers.into_iter().collect(),
    })
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(Compression::ALL.to_vec())
}

fn their_codec(codec: Compression) -> theirs::Compression {
    match codec {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    }
}

fn their_record(input: &Input, index: usize, producer: Option<Producer>) -> theirs::Record {
    let headers: IndexMap<_, _> = input
        .headers
        .iter()
        .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
        .collect();
    theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: producer.map_or(-1, |p| p.id),
        producer_epoch: producer.map_or(-1, |p| p.epoch),
        timestamp_type: theirs::TimestampType::Creation,
        offset: index as i64,
        sequence: producer.and_then(|p| p.base_sequence).unwrap_or(-1) + index as i32,
        timestamp: input.timestamp,
        key: input.key.clone().map(Bytes::from),
        value: input.value.clone().map(Bytes::from),
        headers,
    }
}

fn read_all(mut from: impl Read) -> Vec<u8> {
    let mut out = Vec::new();
    from.read_to_end(&mut out).unwrap();
    out
}

/// Decompression without our code.
fn inflate(codec: theirs::Compression, input: &[u8]) -> Bytes {
    let mut out = Vec::new();
    match codec {
        theirs::Compression::None => out.extend_from_slice(input),
        theirs::Compression::Gzip => out = read_all(flate2::read::GzDecoder::new(input)),
        theirs::Compression::Snappy => {
            let mut blocks = input.strip_prefix(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01").unwrap();
            while let Some((length, rest)) = blocks.split_first_chunk() {
                let (block, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
                out.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                blocks = rest;
            }
        }
        theirs::Compression::Lz4 => out = read_all(lz4_flex::frame::FrameDecoder::new(input)),
        theirs::Compression::Zstd => out = zstd::decode_all(input).unwrap(),
    }
    out.into()
}

/// Compression without our code; snappy is raw, as librdkafka writes it.
fn deflate(codec: theirs::Compression, input: &[u8]) -> Vec<u8> {
    match codec {
        theirs::Compression::None => input.to_vec(),
        theirs::Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(input).unwrap();
            encoder.finish().unwrap()
        }
        theirs::Compression::Snappy => snap::raw::Encoder::new().compress_vec(input).unwrap(),
        theirs::Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(input).unwrap();
            encoder.finish().unwrap()
        }
        theirs::Compression::Zstd => zstd::encode_all(input, 19).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn they_read_what_we_build(
        inputs in proptest::collection::vec(input(), 1..20),
        codec in codec(),
        sequence in proptest::option::of(0i32..1 << 30),
    ) {
        let producer = sequence.map(|sequence| Producer { id: 77, epoch: 5, base_sequence: Some(sequence) });
        let mut builder = BatchBuilder::new(codec);
        if let Some(producer) = producer {
            builder = builder.producer(producer);
        }
        for input in &inputs {
            let headers: Vec<RecordHeader<'_>> =
                input.headers.iter().map(|(key, value)| (key.as_bytes(), value.as_deref())).collect();
            builder.push(input.timestamp, input.key.as_deref(), input.value.as_deref(), &headers);
        }
        prop_assert_eq!(builder.len(), inputs.len());
        let ours = builder.build().unwrap();
        prop_assert!(check_stored(&ours).is_ok());
        let mut rest = ours.clone();
        let set = theirs::RecordBatchDecoder::decode_with_custom_compression(
            &mut rest,
            Some(|input: &mut Bytes, codec: theirs::Compression| Ok(inflate(codec, input))),
        )
        .unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(set.compression, their_codec(codec));
        let expected: Vec<_> = inputs.iter().enumerate().map(|(n, i)| their_record(i, n, producer)).collect();
        for (found, mut expected) in set.records.into_iter().zip(expected.into_iter()) {
            if producer.is_none() {
                // They count sequences up from -1.
                expected.sequence = found.sequence;
            }
            prop_assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
    }

    #[test]
    fn we_read_what_they_build(inputs in proptest::collection::vec(input(), 1..20), codec in codec()) {
        let producer = Producer { id: 3, epoch: 1, base_sequence: Some(8) };
        let all: Vec<_> = inputs.iter().enumerate().map(|(n, i)| their_record(i, n, Some(producer))).collect();
        let mut bytes = BytesMut::new();
        let options = theirs::RecordEncodeOptions { version: 2, compression: their_codec(codec) };
        let deflater = |input: &mut BytesMut, out: &mut BytesMut, codec: theirs::Compression| {
            out.put_slice(&deflate(codec, input));
            Ok(())
        };
        theirs::RecordBatchEncoder::encode_with_custom_compression(&mut bytes, &all, &options, Some(deflater)).unwrap();

        let mut scratch = Scratch::default();
        let rules = Rules { now_ms: 1 << 40, ..Rules::default() };
        let batch = validate(bytes.freeze(), &rules, &mut scratch).unwrap();
        prop_assert_eq!(batch.header().producer(), Some(producer));
        prop_assert_eq!(batch.header().compression(), codec);
        let stored = batch.stamp(1000, 4, None).to_bytes();
        let mut count = 0;
        for (n, (found, input)) in records(&stored, &mut scratch, 1 << 20).unwrap().zip(&inputs).enumerate() {
            let found = found.unwrap();
            prop_assert_eq!(found.offset, 1000 + n as i64);
            prop_assert_eq!(found.timestamp.unwrap_or(-1), input.timestamp);
            prop_assert_eq!(found.key, input.key.as_deref());
            prop_assert_eq!(found.value, input.value.as_deref());
            let headers: Vec<_> = found.headers.map(|h| (h.key, h.value)).collect();
            let expected: Vec<_> = input.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
            prop_assert_eq!(headers, expected);
            count += 1;
        }
        prop_assert_eq!(count, inputs.len());
    }
}

#[test]
fn an_empty_batch_is_not_built() {
    assert!(matches!(BatchBuilder::default().build(), Err(BuildError::Empty)));
    assert!(BatchBuilder::default().is_empty());
}

#[test]
fn the_size_without_compression_is_exact() {
    let mut builder = BatchBuilder::default();
    builder.push(1, Some(b"key"), Some(&[7; 1000]), &[(b"h", None)]).push(2, None, None, &[]);
    assert_eq!(builder.uncompressed_size(), builder.build().unwrap().len());
    assert!(builder.clone().transactional().log_append_time().build_trusted().unwrap().header().is_transactional());
}
