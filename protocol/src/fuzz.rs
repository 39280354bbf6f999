//! Fuzz targets: what must hold of every decoder of the wire, for any bytes.
//!
//! A [`Target`] is a plain function over bytes that fails by panicking, with the files whose decoders it reaches and
//! *seeds*, valid encodings to begin from. The crates above add their own. Two programs run them: the fuzzer (cargo-fuzz,
//! in `tests/fuzz`) and the ordinary tests (`tests/tests/fuzz.rs`), which replay the corpora, change the seeds, and watch
//! what is allocated.
//!
//! A checksum stops a fuzzer at the door. So a target that has one takes the bytes as they are, and once more with the
//! checksum that they should have.

use crate::api::{APIS, Api};
use crate::error_code::ErrorCode;
use crate::frame::{self, LENGTH_SIZE, Prologue};
use crate::guard::{Limits, fill};
use crate::record::{
    BatchBuilder, BatchHeader, Compression, ControlKind, Producer, Rules, Scratch, TimestampType, Walk, batches,
    check_stored, end_transaction_marker, first_at_or_after, max_timestamp_record, records, stream, validate,
};
use crate::samples::{self, sealed};
use crate::{request, response};
use bytes::{Bytes, BytesMut};

/// Something that takes any bytes and must neither panic nor allocate much.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its fuzzer's binary and of its corpus.
    pub name: &'static str,
    /// The files, from the workspace's root, whose decoders it reaches.
    pub covers: &'static [&'static str],
    /// How many bytes it may have allocated at a time, however few it was given, ...
    pub memory: usize,
    /// ... and how many for each that it was given.
    pub per_byte: usize,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
    /// Valid encodings.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// What most targets may allocate at a time beyond what their input makes up for.
pub const MEMORY: usize = 256 << 10;
/// What most targets may allocate for each byte of their input: what JSON or an array of structs is decoded to.
pub const PER_BYTE: usize = 200;
/// What the decoders of all codecs may hold: zstd's window is the greatest part.
const CODEC_MEMORY: usize = 24 << 20;
/// What a fuzzed batch may decompress to: enough for every codec's blocks, and little enough to be quick.
const DECOMPRESSED: u64 = 4 << 20;

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frame",
        covers: &["protocol/src/frame.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: frames,
        seeds: frame_seeds,
    },
    Target {
        name: "request",
        covers: &[
            "protocol/src/request/mod.rs",
            "protocol/src/body/mod.rs",
            "protocol/src/body/offsets_by_id.rs",
            "protocol/src/body/reader.rs",
            "protocol/src/guard/walk.rs",
            "protocol/src/response/refusal.rs",
        ],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: any_request,
        seeds: request_seeds,
    },
    Target {
        name: "response",
        covers: &[
            "protocol/src/response/mod.rs",
            "protocol/src/body/mod.rs",
            "protocol/src/body/log_dirs.rs",
            "protocol/src/guard/walk.rs",
        ],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: any_response,
        seeds: response_seeds,
    },
    Target {
        name: "record_batch",
        covers: &[
            "protocol/src/record/header.rs",
            "protocol/src/record/validate.rs",
            "protocol/src/record/records.rs",
            "protocol/src/record/varint.rs",
            "protocol/src/record/window.rs",
            "protocol/src/record/codec.rs",
        ],
        memory: CODEC_MEMORY,
        per_byte: PER_BYTE,
        run: produced_batch,
        seeds: batch_seeds,
    },
    Target {
        name: "stored_batches",
        covers: &["protocol/src/record/header.rs", "protocol/src/record/records.rs", "protocol/src/record/control.rs"],
        memory: CODEC_MEMORY,
        per_byte: PER_BYTE,
        run: stored_batches,
        seeds: stored_seeds,
    },
    Target {
        name: "codec",
        covers: &["protocol/src/record/codec.rs"],
        memory: CODEC_MEMORY,
        per_byte: PER_BYTE,
        run: compressed,
        seeds: codec_seeds,
    },
];

/// A stream of frames: what is split off is what its lengths say, wherever the stream is cut.
fn frames(data: &[u8]) {
    let limit = 1 << 16;
    let mut whole = BytesMut::from(data);
    let mut cut = BytesMut::new();
    let mut left = data.chunks(7);
    loop {
        let length = frame::length(&whole, limit);
        let first = frame::split(&mut whole, limit);
        let second = loop {
            match frame::split(&mut cut, limit) {
                Ok(None) => match left.next() {
                    Some(chunk) => cut.extend_from_slice(chunk),
                    None => break Ok(None),
                },
                other => break other,
            }
        };
        assert_eq!(first, second, "a frame depends on how its bytes arrive");
        match first {
            Ok(Some(frame)) => {
                assert_eq!(length, Ok(Some(frame.len())));
                assert_eq!(Prologue::peek(&frame).is_some(), frame.len() >= Prologue::SIZE);
            }
            Ok(None) | Err(_) => return,
        }
    }
}

fn frame_seeds() -> Vec<Vec<u8>> {
    let frames = APIS.iter().map(|api| samples::frame(api, api.newest, 7, &samples::body(api, api.newest, 1)));
    vec![frames.take(6).collect::<Vec<_>>().concat(), vec![0, 0, 0, 4, 1, 2, 3, 4]]
}

/// `api | version | rest`: the bytes that choose an API and one of its versions, so that all are reached.
fn choose(data: &[u8]) -> Option<(&'static Api, i16, &[u8])> {
    let (&[api, version], rest) = data.split_first_chunk()?;
    let api = APIS.get(usize::from(api) % APIS.len())?;
    let versions = api.newest - api.accepted_from + 1;
    Some((api, api.accepted_from + i16::from(version) % versions, rest))
}

/// The two bytes that choose `version` of the API with this place in the table.
fn chosen(place: usize, api: &Api, version: i16) -> [u8; 2] {
    [place as u8, (version - api.accepted_from) as u8]
}

/// Every API in every version, with a body.
fn each_version(body: impl Fn(&Api, i16) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (place, api) in APIS.iter().enumerate() {
        for version in api.accepted_from..=api.newest {
            let bodies = body(api, version).into_iter();
            seeds.extend(bodies.map(|body| [&chosen(place, api, version)[..], &body].concat()));
        }
    }
    seeds
}

/// A request's header and body after `api | version`: decoded, it can be said again, and can be refused.
fn any_request(data: &[u8]) {
    let _ = request::decode(Bytes::copy_from_slice(data), &Limits::default());
    let Some((api, version, rest)) = choose(data) else { return };
    let prologue = [(api.key as i16).to_be_bytes(), version.to_be_bytes(), [0, 0], [0, 7]].concat();
    let frame = Bytes::from([&prologue, rest].concat());
    let Ok(decoded) = request::decode(frame, &Limits::default()) else { return };
    assert_eq!((decoded.api.key, decoded.version, decoded.correlation_id), (api.key, version, 7));
    let client_id = decoded.client_id.as_ref().map(|id| id.as_str());
    let said = |body| request::encode(7, client_id, version, body).map(|frame| frame.to_bytes());
    let first = said(&decoded.body);
    assert!(first.is_ok(), "decoded and cannot be encoded: {first:?} {:?}", decoded.body);
    let first = first.unwrap_or_default();
    // Not the very bytes: tagged fields that nobody knows may be left out, and defaults be left unsaid.
    let again = request::decode(first.slice(LENGTH_SIZE..), &Limits::default());
    let second = again.as_ref().map(|again| said(&again.body));
    let same = matches!(&second, Ok(Ok(second)) if *second == first);
    assert!(same, "{:?} becomes {:?}", decoded.body, again.map(|again| again.body));
    if let Some(refused) = response::error_response(&decoded.body, version, ErrorCode::UNKNOWN_SERVER_ERROR) {
        let sealed = response::encode(api, version, 7, refused).map(|segments| segments.len());
        assert!(sealed.is_ok(), "cannot be refused: {sealed:?} {:?}", decoded.body);
    }
}

fn request_seeds() -> Vec<Vec<u8>> {
    each_version(|api, version| {
        let header: &[u8] = if api.request_header_version(version) >= 2 { b"\0\x02me\0" } else { b"\0\x02me" };
        [1, 2].iter().map(|seed| [header, &samples::body(api, version, *seed)].concat()).collect()
    })
}

/// A response's body after `api | version`, as our client decodes it.
fn any_response(data: &[u8]) {
    let Some((api, version, rest)) = choose(data) else { return };
    let tags: &[u8] = if api.response_header_version(version) >= 1 { &[0] } else { &[] };
    let frame = Bytes::from([&[0, 0, 0, 7], tags, rest].concat());
    let Ok((id, decoded)) = response::decode(api, version, frame, &Limits::default()) else { return };
    assert_eq!(id, 7);
    // What a broker said can be said again, unless in another version than it was asked in.
    let said = |body| response::encode(api, version, 7, body).map(|frame| frame.to_bytes());
    let Ok(first) = said(decoded.clone()) else { return };
    let again = response::decode(api, version, first.slice(LENGTH_SIZE..), &Limits::default());
    let second = again.as_ref().map(|(_, again)| said(again.clone()));
    let same = matches!(&second, Ok(Ok(second)) if *second == first);
    assert!(same, "{decoded:?} becomes {again:?}");
}

fn response_seeds() -> Vec<Vec<u8>> {
    each_version(|api, version| {
        let flexible = api.is_flexible(version);
        vec![fill::full(api.response, version, flexible, 1), fill::some(api.response, version, flexible, 2)]
    })
}

/// `rules | records` of a produce request: what is accepted can be stored, read to its end, and searched.
fn produced_batch(data: &[u8]) {
    let Some((&choice, records)) = data.split_first() else { return };
    let rules = Rules {
        compacted: choice & 1 != 0,
        walk: if choice & 2 != 0 { Walk::HeaderOnly } else { Walk::Strict },
        timestamp_type: if choice & 4 != 0 { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
        before_max_ms: if choice & 8 != 0 { 1000 } else { i64::MAX },
        zstd_allowed: choice & 16 == 0,
        now_ms: 1_000_000,
        max_decompressed: DECOMPRESSED as usize,
        ..Rules::default()
    };
    let mut scratch = Scratch::default();
    for records in [records.to_vec(), sealed(records)] {
        let Ok(batch) = validate(Bytes::from(records), &rules, &mut scratch) else { continue };
        let (count, walked) = (batch.offsets(), rules.walk == Walk::Strict || rules.compacted);
        let stored = batch.stamp(1000, 3, (choice & 4 != 0).then_some(77)).to_bytes();
        let header = check_stored(&stored);
        assert!(header.as_ref().is_ok_and(|header| header.base_offset == 1000), "{header:?}");
        if walked {
            assert_eq!(read_through(&stored, &mut scratch), Some(count));
        }
    }
}

/// How many records a batch has, read in both ways, which must agree; `None` if it cannot be read to its end.
fn read_through(batch: &[u8], scratch: &mut Scratch) -> Option<u32> {
    let mut whole = Scratch::default();
    let all: Option<Vec<_>> = match records(batch, &mut whole, DECOMPRESSED) {
        Ok(all) => all.map(|record| record.ok().map(|record| (record.offset, record.timestamp))).collect(),
        Err(_) => None,
    };
    let mut one_by_one = Some(Vec::new());
    match stream(batch, scratch, DECOMPRESSED) {
        Ok(mut stream) => loop {
            match stream.next_record() {
                Ok(Some(record)) => {
                    let headers = record.headers;
                    assert_eq!(headers.count(), headers.len(), "headers that were counted are there");
                    if let Some(read) = &mut one_by_one {
                        read.push((record.offset, record.timestamp));
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    one_by_one = None;
                    break;
                }
            }
        },
        Err(_) => one_by_one = None,
    }
    // Reading them all at once also looks for bytes after the last one.
    assert!(all.is_none() || all == one_by_one, "records read at once and one by one differ: {all:?} {one_by_one:?}");
    u32::try_from(all?.len()).ok()
}

fn small_batch(codec: Compression) -> BatchBuilder {
    let text = b"a value that is long enough to be worth compressing, compressing, compressing".repeat(3);
    let mut builder = BatchBuilder::new(codec);
    builder
        .push(1000, Some(b"key"), Some(&text), &[(b"name", Some(b"value")), (b"null", None)])
        .push(1001, None, Some(b""), &[])
        .push(-1, Some(b""), None, &[]);
    builder
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        let producer = Producer { id: 7, epoch: 1, base_sequence: Some(3) };
        for batch in [small_batch(codec), small_batch(codec).producer(producer)] {
            for choice in [0, 2, 4] {
                seeds.push([&[choice][..], &batch.build().unwrap_or_default()].concat());
            }
        }
    }
    seeds
}

/// Bytes from a disk, the tier or another broker: whatever they became, reading them ends.
fn stored_batches(data: &[u8]) {
    let mut scratch = Scratch::default();
    let mut split = batches(data);
    for batch in split.by_ref() {
        let _ = check_stored(batch.bytes);
        read_stored(batch.bytes, &mut scratch);
    }
    assert!(split.position() <= data.len());
    read_stored(&sealed(data), &mut scratch);
    let _ = ControlKind::from_key(data);
}

fn read_stored(batch: &[u8], scratch: &mut Scratch) {
    let count = read_through(batch, scratch);
    let first = first_at_or_after(batch, 1001, 0, scratch, DECOMPRESSED);
    let greatest = max_timestamp_record(batch, scratch, DECOMPRESSED);
    if let (Some(_), Ok(Some(first)), Ok(Some(greatest))) = (count, first, greatest) {
        assert!(first.timestamp <= greatest.timestamp, "{first:?} is later than the latest, {greatest:?}");
    }
}

fn stored_seeds() -> Vec<Vec<u8>> {
    let stamped = |builder: &BatchBuilder, base| {
        let trusted = builder.build_trusted().ok();
        trusted.map(|batch| batch.stamp(base, 2, None).to_bytes().to_vec()).unwrap_or_default()
    };
    let all: Vec<_> = Compression::ALL.iter().map(|codec| stamped(&small_batch(*codec), 100)).collect();
    let marker = end_transaction_marker(ControlKind::Commit, 7, 1, 3, 1000);
    let marker = marker.map(|batch| batch.stamp(9, 2, None).to_bytes().to_vec()).unwrap_or_default();
    let appended = stamped(&small_batch(Compression::Zstd).log_append_time(), 5);
    let mut seeds = vec![all.concat(), marker, appended, ControlKind::Abort.key().to_vec()];
    seeds.extend(all);
    seeds
}

/// `codec | compressed records`: a decoder gives what fits and refuses the rest, and never holds more than its share.
fn compressed(data: &[u8]) {
    let Some((&codec, input)) = data.split_first() else { return };
    let Some(codec) = Compression::from_code(codec % 5) else { return };
    let mut header = BatchHeader {
        base_offset: 0,
        batch_length: 0,
        partition_leader_epoch: 0,
        crc: 0,
        attributes: i16::from(codec.code()),
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 1,
    };
    let mut scratch = Scratch::default();
    for count in [1, 3, i32::MAX] {
        header.record_count = count;
        header.last_offset_delta = count - 1;
        let batch = sealed(&[&header.encode()[..], input].concat());
        let rules = Rules { max_decompressed: DECOMPRESSED as usize, ..Rules::default() };
        let _ = validate(Bytes::from(batch.clone()), &rules, &mut scratch);
        read_through(&batch, &mut scratch);
    }
}

fn codec_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for codec in Compression::ALL {
        let batch = small_batch(codec).build().unwrap_or_default();
        let zeros = BatchBuilder::new(codec).push(1, None, Some(&vec![0; 100_000]), &[]).build().unwrap_or_default();
        for batch in [batch, zeros].iter().filter(|batch| batch.len() < 10_000) {
            let records = batch.get(BatchHeader::SIZE..).unwrap_or_default();
            seeds.push([&[codec.code()][..], records].concat());
        }
    }
    seeds
}
