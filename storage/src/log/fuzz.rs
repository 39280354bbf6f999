//! Fuzz targets of a log's own files: checkpoint, producers, the record of what was synced, identity.
//!
//! See `esker_protocol::fuzz` for what a target is.

use super::checkpoint::{Checkpoint, RecoveryPoint};
use super::epochs::{EpochStart, LeaderEpochs};
use super::producers::{Claim, Producers};
use super::scrub_record::{self, ScrubProgress, ScrubRecord};
use super::{DamagedRange, identity, producers_codec, synced_record};
use crate::env::Timestamp;
use crate::offset::{FilePosition, LeaderEpoch, LocalStart, LogEnd, LogStart, Offset, PartitionId};
use crate::segment::{AbortedTransaction, BatchMark, Boundary, SegmentName, SparseIndex};
use esker_protocol::fuzz::{MEMORY, PER_BYTE, Target};
use esker_protocol::record::{BatchBuilder, BatchHeader, Producer};
use uuid::Uuid;

/// The targets of this module.
pub const TARGETS: &[Target] = &[
    Target {
        name: "checkpoint",
        covers: &["storage/src/log/checkpoint.rs", "storage/src/log/epochs.rs", "storage/src/log/producers_codec.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: checkpoint,
        seeds: checkpoint_seeds,
    },
    Target {
        name: "producers",
        covers: &["storage/src/log/producers_codec.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: producers,
        seeds: producer_seeds,
    },
    Target {
        name: "synced_record",
        covers: &["storage/src/log/synced_record.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: synced,
        seeds: synced_seeds,
    },
    Target {
        name: "scrubbed",
        covers: &["storage/src/log/scrub_record.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: scrubbed,
        seeds: scrubbed_seeds,
    },
    Target {
        name: "identity",
        covers: &["storage/src/log/identity.rs"],
        memory: MEMORY,
        per_byte: PER_BYTE,
        run: identity,
        seeds: identity_seeds,
    },
];

/// `bytes` in which the last four are the CRC-32 of those before.
fn resealed(bytes: &[u8]) -> Vec<u8> {
    let body = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    [body, &crc32fast::hash(body).to_be_bytes()].concat()
}

/// A checkpoint, as it is, with a checksum that matches, and with the producers' too.
fn checkpoint(data: &[u8]) {
    let mut inner = resealed(data);
    // The producers are a file of their own within: the last of it.
    if let Some(at) = inner.windows(8).position(|window| window == b"eskerpid") {
        let producers = resealed(inner.get(at..inner.len() - 4).unwrap_or_default());
        inner.truncate(at);
        inner = [inner, producers, vec![0; 4]].concat();
    }
    for bytes in [data, &resealed(data), &resealed(&inner)] {
        let Ok(checkpoint) = Checkpoint::decode(bytes) else { continue };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()).as_ref(), Ok(&checkpoint));
        // A log goes on from it.
        let Checkpoint { mut epochs, mut index, .. } = checkpoint;
        for epoch in [LeaderEpoch::new(0), LeaderEpoch::new(7)] {
            let _ = epochs.end_of(epoch, LogEnd::at(Offset::new(100)));
        }
        epochs.begin(LeaderEpoch::new(9), Offset::new(1000));
        epochs.truncate_end(Offset::new(50));
        epochs.truncate_start(Offset::new(10));
        let at = index.entries().last().map_or(FilePosition::new(64), |last| last.position);
        index.push(&mark(at));
    }
}

fn mark(position: FilePosition) -> BatchMark {
    BatchMark {
        position,
        len: 5000,
        base: Offset::new(100),
        next: Offset::new(101),
        max_timestamp: Timestamp::from_millis(7),
        epoch: LeaderEpoch::new(2),
    }
}

fn some_producers() -> Producers {
    let mut producers = Producers::default();
    for (id, sequence, base) in [(7, 0, 100), (7, 2, 102), (9, i32::MAX, 110)] {
        let producer = Producer { id, epoch: 3, base_sequence: Some(sequence) };
        let mut builder = BatchBuilder::default().producer(producer);
        builder.push(1, None, Some(b"one"), &[]).push(2, None, Some(b"two"), &[]);
        let stamped = builder.build_trusted().ok().map(|batch| batch.stamp(base, 1, None).to_bytes());
        if let Some(Ok(header)) = stamped.as_deref().map(BatchHeader::parse) {
            producers.record(&header, Timestamp::from_millis(1_764_000_000_000));
        }
    }
    producers
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let start = |epoch, start| EpochStart { epoch: LeaderEpoch::new(epoch), start: Offset::new(start) };
    let mut index = SparseIndex::default();
    index.push(&mark(FilePosition::new(64)));
    index.push(&mark(FilePosition::new(8000)));
    let whole = Checkpoint {
        log_start: LogStart::at(Offset::new(10)),
        local_start: LocalStart::at(Offset::new(20)),
        point: RecoveryPoint {
            serial: 2,
            at: Boundary { offset: Offset::new(112), position: FilePosition::new(9000) },
        },
        epochs: LeaderEpochs::from_entries(vec![start(0, 0), start(4, 40)]).unwrap_or_default(),
        index: SparseIndex::default(),
        aborted: Vec::new(),
        producers: Producers::default(),
    };
    let aborted = AbortedTransaction {
        producer_id: 7,
        first: Offset::new(100),
        last: Offset::new(105),
        last_stable: Offset::new(100),
    };
    let full = Checkpoint { index, aborted: vec![aborted], producers: some_producers(), ..whole.clone() };
    vec![whole.encode(), full.encode()]
}

/// A snapshot of producers, as it is and with a checksum that matches: what is read can be asked and written again.
fn producers(data: &[u8]) {
    for bytes in [data, &resealed(data)] {
        let Ok(mut producers) = producers_codec::decode(bytes) else { continue };
        let again = producers_codec::decode(&producers_codec::encode(&producers));
        assert_eq!(again.as_ref(), Ok(&producers));
        let ids: Vec<i64> = producers.iter().map(|(id, _)| id).collect();
        for producer_id in ids {
            for sequence in [0, 1, i32::MAX] {
                let claim = Claim { producer_id, epoch: 3, first_sequence: sequence, last_sequence: sequence };
                let _ = producers.check(&claim);
            }
        }
        let _ = producers.first_open_transaction();
        producers.expire(Timestamp::from_millis(i64::MAX), 1);
    }
}

fn producer_seeds() -> Vec<Vec<u8>> {
    vec![producers_codec::encode(&Producers::default()), producers_codec::encode(&some_producers())]
}

/// A slot of the record of what was synced, as it is and with a checksum that matches.
fn synced(data: &[u8]) {
    for bytes in [data, &resealed(data)] {
        for slot in bytes.chunks_exact(synced_record::SLOT).chain([bytes]) {
            if let Some((id, mark)) = synced_record::decode(slot) {
                assert_eq!(synced_record::decode(&synced_record::encode(id, mark)), Some((id, mark)));
            }
        }
    }
}

fn synced_seeds() -> Vec<Vec<u8>> {
    let id = PartitionId { topic: Uuid::from_u128(7), partition: 1 };
    let mark = synced_record::SyncedMark { serial: 2, position: FilePosition::new(4096), offset: Offset::new(77) };
    let slot = synced_record::encode(id, mark).to_vec();
    vec![slot.clone(), [slot.clone(), vec![0; synced_record::SLOT], slot].concat()]
}

/// What scrubs came to, as it is and with a checksum that matches.
fn scrubbed(data: &[u8]) {
    for bytes in [data, &resealed(data)] {
        if let Ok(record) = scrub_record::decode(bytes) {
            let again = scrub_record::decode(&scrub_record::encode(&record));
            assert!(again.is_ok_and(|again| again == record));
        }
    }
}

fn scrubbed_seeds() -> Vec<Vec<u8>> {
    let at = Boundary { offset: Offset::new(7), position: FilePosition::new(4096) };
    let segment = SegmentName { base: Offset::ZERO, serial: 3, generation: 1 };
    let range = DamagedRange { segment, from: at, to: Offset::new(9), passed_over: false };
    let under_way = Some((Timestamp::from_millis(70), Offset::new(7)));
    let progress = ScrubProgress { whole: Some(Timestamp::from_millis(50)), under_way };
    let record = ScrubRecord { progress, damage: vec![range, DamagedRange { passed_over: true, ..range }] };
    vec![scrub_record::encode(&record), scrub_record::encode(&ScrubRecord::default())]
}

/// A directory's identity: what is understood is written as it was read.
fn identity(data: &[u8]) {
    if let Ok(found) = identity::decode(data) {
        let again = identity::encode(&found).map(|bytes| identity::decode(&bytes));
        assert!(matches!(&again, Ok(Ok(again)) if *again == found), "{again:?} instead of {found:?}");
    }
}

fn identity_seeds() -> Vec<Vec<u8>> {
    let id = |n| Uuid::from_u128(n);
    let identity = identity::Identity { cluster: id(1), broker: 2, directory: id(3) };
    identity::encode(&identity).ok().into_iter().collect()
}
