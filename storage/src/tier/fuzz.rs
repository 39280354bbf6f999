//! Fuzz targets of the tier: object footers, sections, keys, pages and shards, and the replay of its log.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::footer::{HEAD_LEN, TRAILER_LEN, decode_footer, decode_trailer, encode_head, encode_tail};
use super::image::{SHARDS, TierImage};
use super::key::ObjectKey;
use super::manifest::{PageRef, units_tile};
use super::persist::{self, Kind, PartitionLine};
use super::record::TierRecord;
use super::sections::{self, UnitIndex, decode_aborted, decode_epochs};
use super::swap::{Change, RunMark, Swap};
use super::unit::{AbortedTransaction, Revision, Section, UnitMeta};
use super::view;
use crate::env::Timestamp;
use crate::numbered_log::fuzz::resealed;
use crate::offset::{LeaderEpoch, Offset, PartitionId};
use bytes::Bytes;
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use esker_protocol::record::BatchBuilder;
use std::sync::Arc;
use uuid::Uuid;

/// The targets of this module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "tier_footer",
        covers: &["storage/src/tier/footer.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: footer,
        seeds: footer_seeds,
    },
    Target {
        name: "tier_sections",
        covers: &["storage/src/tier/sections.rs", "storage/src/tier/object.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: section,
        seeds: section_seeds,
    },
    Target {
        name: "tier_chunk",
        covers: &["storage/src/tier/view.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: chunk,
        seeds: chunk_seeds,
    },
    Target {
        name: "tier_key",
        covers: &["storage/src/tier/key.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: key,
        seeds: key_seeds,
    },
    Target {
        name: "tier_snapshot",
        covers: &["storage/src/tier/persist.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: snapshot,
        seeds: snapshot_seeds,
    },
    Target {
        name: "tier_replay",
        covers: &[
            "storage/src/tier/record.rs",
            "storage/src/tier/image.rs",
            "storage/src/tier/manifest.rs",
            "storage/src/tier/swap.rs",
        ],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: replay,
        seeds: replay_seeds,
    },
];

const KEY: &str = "data/00/shared/00000000000000000000000000000001";

fn partition() -> PartitionId {
    PartitionId { topic: Uuid::from_u128(0xabcd), partition: 7 }
}

/// A unit from `start` to `end` that lies `position` bytes into the object `key`.
fn unit(start: u64, end: u64, position: u64, key: &str) -> UnitMeta {
    let data = 100 + end.saturating_sub(start);
    let at = |rest| Section::new(position + data + rest, 10, 7);
    UnitMeta {
        partition: partition(),
        start: Offset::new(start),
        end: Offset::new(end),
        leader_epoch: LeaderEpoch::new(3),
        last_epoch: LeaderEpoch::new(2),
        revision: None,
        stay: 0,
        max_timestamp: Some(Timestamp::from_millis(end as i64)),
        key: Arc::from(key),
        data: Section::new(position, data, 1),
        index: at(0),
        producers: at(10),
        epochs: at(20),
        aborted: at(30),
    }
}

/// An object's head, footer and trailer; or `position | footer` under the checksum that they should have.
fn footer(data: &[u8]) {
    let head = encode_head(Uuid::from_u128(1));
    if let Some((rest, trailer)) = data.split_last_chunk::<{ TRAILER_LEN as usize }>()
        && let Ok(trailer) = decode_trailer(KEY, data.len() as u64, trailer)
    {
        let footer = usize::try_from(trailer.position).ok().and_then(|start| rest.get(start..)).unwrap_or_default();
        let _ = decode_footer(KEY, trailer, data.get(..HEAD_LEN as usize).unwrap_or_default(), footer);
    }
    let Some((position, footer)) = data.split_first_chunk::<8>() else { return };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head);
    hasher.update(footer);
    let tail =
        [position, &(footer.len() as u32).to_be_bytes()[..], &hasher.finalize().to_be_bytes(), b"eskerend"].concat();
    let size = u64::from_be_bytes(*position).wrapping_add(footer.len() as u64).wrapping_add(TRAILER_LEN);
    let Ok(trailer) = decode_trailer(KEY, size, &tail) else { return };
    let Ok(units) = decode_footer(KEY, trailer, &head, footer) else { return };
    let again = encode_tail(&head, trailer.position, &units);
    assert!(again.is_ok(), "{again:?}");
}

fn footer_seeds() -> Vec<Vec<u8>> {
    let head = encode_head(Uuid::from_u128(1));
    let units = [unit(0, 50, HEAD_LEN, KEY), unit(50, 60, HEAD_LEN + 190, KEY)];
    let position = HEAD_LEN + 190 + 150;
    let tail = encode_tail(&head, position, &units).unwrap_or_default();
    let footer = tail.get(..tail.len().saturating_sub(TRAILER_LEN as usize)).unwrap_or_default();
    let whole = encode_tail(&head, HEAD_LEN, &[]).unwrap_or_default();
    vec![[&position.to_be_bytes()[..], footer].concat(), [&head[..], &whole].concat()]
}

/// `which | section`: what is read is written the same.
fn section(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    match which % 3 {
        0 => {
            let Ok(index) = UnitIndex::decode(bytes) else { return };
            assert_eq!(index.encode(), bytes);
            for entry in index.entries() {
                assert_eq!(index.floor_offset(entry.offset), entry.position);
            }
            let mut index = index;
            index.push(Offset::new(u64::MAX), u64::MAX, Timestamp::from_millis(0));
        }
        1 => {
            let Ok(epochs) = decode_epochs(bytes) else { return };
            assert!(decode_epochs(&sections::encode_epochs(&epochs)).is_ok_and(|again| again == epochs));
        }
        _ => {
            let Ok(aborted) = decode_aborted(bytes) else { return };
            assert!(decode_aborted(&sections::encode_aborted(&aborted)).is_ok_and(|again| again == aborted));
        }
    }
}

fn section_seeds() -> Vec<Vec<u8>> {
    let mut index = UnitIndex::default();
    (0..3).for_each(|n| index.push(Offset::new(n), n << 20, Timestamp::from_millis(n as i64)));
    let epochs = [(LeaderEpoch::new(0), Offset::new(0)), (LeaderEpoch::new(4), Offset::new(40))];
    let aborted =
        AbortedTransaction { producer_id: 7, first: Offset::new(1), last: Offset::new(5), last_stable: Offset::new(1) };
    let with = |which: u8, bytes: Bytes| [&[which][..], &bytes].concat();
    vec![
        with(0, index.encode()),
        with(1, sections::encode_epochs(&epochs)),
        with(2, sections::encode_aborted(&[aborted])),
    ]
}

fn batch(base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.push(1, None, Some(b"one"), &[]).push(2, None, Some(b"two"), &[]);
    let trusted = builder.build_trusted().ok();
    trusted.map(|batch| batch.stamp(base, 1, None).to_bytes().to_vec()).unwrap_or_default()
}

/// A unit's batches as they come from the store: what is accepted can be cut at any offset.
fn chunk(data: &[u8]) {
    let Ok(chunk) = view::TierChunk::check(KEY, Bytes::copy_from_slice(data)) else { return };
    for batch in &chunk.batches {
        for from in [batch.base, Offset::new(batch.next.get() - 1)] {
            let slice = chunk.slice(from, 0, true);
            assert!(slice.is_some_and(|(found, next, bytes)| {
                found == *batch && next == batch.next && bytes.len() == batch.end - batch.start
            }));
        }
    }
}

fn chunk_seeds() -> Vec<Vec<u8>> {
    vec![[batch(10), batch(12), batch(20)].concat(), batch(0)]
}

/// A key has one spelling.
fn key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(key) = text.parse::<ObjectKey>() {
        assert_eq!(key.to_string(), text);
    }
}

fn key_seeds() -> Vec<Vec<u8>> {
    let (base, attempt) = (Offset::new(12), Uuid::from_u128(5));
    let keys = [
        ObjectKey::Partition { partition: partition(), base, attempt },
        ObjectKey::Shared { attempt },
        ObjectKey::Page { partition: partition(), base, revision: Revision::new(2), attempt },
        ObjectKey::Shard { number: 9, attempt },
    ];
    keys.iter().map(|key| key.to_string().into_bytes()).collect()
}

fn header(kind: &str) -> Vec<u8> {
    format!(r#"{{"esker":"{kind}","format":1,"cluster":"{}"}}"#, Uuid::from_u128(7)).into_bytes()
}

/// `which | lines`: pages and shards, as they are and under the checksum that they should have.
fn snapshot(data: &[u8]) {
    let Some((&which, body)) = data.split_first() else { return };
    let kind = if which % 2 == 0 { "tier-page" } else { "tier-shard" };
    for bytes in [body.to_vec(), resealed(&header(kind), body)] {
        let (cluster, key) = (Uuid::from_u128(7), KEY);
        let page = persist::unsealed::<Arc<UnitMeta>>(Kind::Page, cluster, key, &bytes);
        let shard = persist::unsealed::<PartitionLine>(Kind::Shard, cluster, key, &bytes);
        assert!(page.is_err() || shard.is_err(), "a page is a shard as well");
        for line in shard.unwrap_or_default() {
            let (_, manifest) = line.manifest();
            let _ = manifest.locate(manifest.log_start().offset());
            let _ = manifest.locate_timestamp(Timestamp::from_millis(0), Offset::ZERO);
        }
    }
}

fn snapshot_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let units = [unit(0, 50, HEAD_LEN, KEY), unit(50, 60, HEAD_LEN, KEY)];
    let lines: Vec<String> = units.iter().flat_map(serde_json::to_string).collect();
    seeds.push([b"\0", lines.join("\n").as_bytes()].concat());
    let (image, _) = TierImage::default().replay(1, &records(false));
    let shard = image.shards.iter().find(|shard| !shard.is_empty());
    let lines = shard.iter().flat_map(|shard| shard.iter());
    let lines: Vec<_> = lines.map(|(partition, manifest)| PartitionLine::of(*partition, manifest)).collect();
    let lines: Vec<String> = lines.iter().flat_map(serde_json::to_string).collect();
    seeds.push([b"\x01", lines.join("\n").as_bytes()].concat());
    seeds
}

/// What a partition lives through in the tier log.
fn records(with_end: bool) -> Vec<TierRecord> {
    let (partition, epoch) = (partition(), LeaderEpoch::new(3));
    let key =
        ObjectKey::Page { partition, base: Offset::ZERO, revision: Revision::default(), attempt: Uuid::from_u128(5) };
    let key: Arc<str> = key.to_string().into();
    let page = PageRef {
        key,
        start: Offset::ZERO,
        end: Offset::new(60),
        units: 2,
        bytes: 260,
        max_timestamp: Some(Timestamp::from_millis(60)),
        revision: Revision::default(),
    };
    let held = [Arc::new(unit(60, 90, HEAD_LEN, KEY)), Arc::new(unit(90, 95, HEAD_LEN, KEY))];
    let rewrite = UnitMeta { revision: Some(Revision::default()), ..unit(60, 95, HEAD_LEN, KEY) };
    let swap = RunMark::of(&held).map(|old| {
        let change = Change::Units { old, new: vec![rewrite] };
        TierRecord::Swap(Swap { partition, epoch, revision: Revision::default(), change })
    });
    let mut records = vec![
        TierRecord::Open { partition, epoch },
        TierRecord::Unit(unit(0, 50, HEAD_LEN, KEY)),
        TierRecord::Unit(unit(50, 60, HEAD_LEN, KEY)),
        TierRecord::Unit(unit(60, 90, HEAD_LEN, KEY)),
        TierRecord::Page { partition, page },
        TierRecord::Unit(unit(90, 95, HEAD_LEN, KEY)),
        TierRecord::Unit(unit(95, 99, HEAD_LEN, KEY)),
    ];
    records.extend(swap);
    if with_end {
        records.extend([
            TierRecord::Doom { key: Arc::from(KEY), starts: vec![(partition, Offset::new(99))], rewrites: Vec::new() },
            TierRecord::LogStart { partition, epoch, offset: Offset::new(70) },
            TierRecord::Leave { partition, epoch, offset: Offset::new(97) },
            TierRecord::Unit(UnitMeta { stay: 1, ..unit(97, 99, HEAD_LEN, KEY) }),
            TierRecord::Remove { partition },
        ]);
    }
    records
}

/// Records of the tier log, one to a line: whatever they say, the image that they lead to holds together, and a
/// snapshot of it is read as what it was.
fn replay(data: &[u8]) {
    let mut image = TierImage::default();
    for (number, line) in (1..).zip(data.split(|byte| *byte == b'\n')) {
        let Ok(record) = serde_json::from_slice::<TierRecord>(line) else { continue };
        let (next, _) = image.replay(number, &[record]);
        image = next;
        for (_, manifest) in image.partitions() {
            assert!(units_tile(manifest.log_start(), manifest.recent()), "units do not tile: {manifest:?}");
            assert!(manifest.first_start() <= manifest.end().offset());
            for offset in [Offset::ZERO, manifest.log_start().offset(), manifest.end().offset()] {
                let _ = manifest.locate(offset);
            }
            let _ = manifest.locate_timestamp(Timestamp::from_millis(0), Offset::ZERO);
        }
    }
    assert_eq!(image.shards.len(), SHARDS);
}

fn replay_seeds() -> Vec<Vec<u8>> {
    [records(false), records(true)]
        .iter()
        .map(|records| {
            let lines: Vec<String> = records.iter().flat_map(serde_json::to_string).collect();
            lines.join("\n").into_bytes()
        })
        .collect()
}
