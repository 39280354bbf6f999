//! Reads of a tiered partition, compared with the batches that went up.

use super::super::image::TierImage;
use super::super::key::ObjectKey;
use super::super::persist::write_page;
use super::super::record::TierRecord;
use super::super::testing::{batches_of, epoch, offset, open, partition};
use super::super::unit::Revision;
use super::super::writer::{ObjectWriter, UnitRange};
use super::*;
use crate::env::Timestamp;
use crate::env::store::MemoryStore;
use crate::env::store::testing::{block_on, env};
use std::time::Duration;

struct Tiered {
    env: Env,
    memory: Arc<MemoryStore>,
    image: TierImage,
    batches: Vec<Bytes>,
}

/// Units of a hundred offsets; the first `paged` of them are in a page.
async fn tiered(units: u64, paged: usize, size: usize) -> Tiered {
    let env = env(3);
    let memory = Arc::new(MemoryStore::new(Arc::clone(&env.clock)));
    let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&memory);
    let (mut image, _) = TierImage::default().replay(1, &[open(0, 1)]);
    let mut batches = Vec::new();
    for unit in 0..units {
        let (start, end) = (unit * 100, unit * 100 + 100);
        let key = ObjectKey::Partition { partition: partition(0), base: offset(start), attempt: env.random.uuid() };
        let mut writer = ObjectWriter::new(Arc::clone(&store), key);
        let (start, upto) = (offset(start), offset(end));
        writer
            .begin_unit(UnitRange {
                partition: partition(0),
                start,
                upto,
                leader_epoch: epoch(1),
                revision: None,
                stay: 0,
            })
            .unwrap();
        for batch in batches_of(start.get(), end, 1, size) {
            writer.data(&batch).await.unwrap();
            batches.push(batch);
        }
        let aborted = AbortedTransaction { producer_id: 1, first: start, last: start.plus(9), last_stable: start };
        let state = UnitState { aborted: vec![aborted], epochs: vec![(epoch(1), offset(0))], ..UnitState::default() };
        writer.end_unit(upto, state).await.unwrap();
        let records: Vec<TierRecord> = writer.finish().await.unwrap().into_iter().map(TierRecord::Unit).collect();
        image = image.replay(image.number() + 1, &records).0;
    }
    if paged > 0 {
        let units = image.get(&partition(0)).unwrap().recent()[..paged].to_vec();
        let page = write_page(&*store, &env, Uuid::nil(), Revision::default(), &units).await.unwrap();
        let (folded, verdicts) = image.replay(99, &[TierRecord::Page { partition: partition(0), page }]);
        assert!(verdicts[0].is_applied());
        image = folded;
    }
    Tiered { env, memory, image, batches }
}

impl Tiered {
    fn manifest(&self) -> Arc<Manifest> {
        Arc::clone(self.image.get(&partition(0)).unwrap())
    }

    fn reader(&self, config: ReadConfig) -> Arc<TierReader> {
        TierReader::new(&self.env, Arc::<MemoryStore>::clone(&self.memory), Uuid::nil(), config)
    }

    fn replay_with(&self, record: TierRecord) -> Arc<Manifest> {
        let (image, verdicts) = self.image.replay(100, &[record]);
        assert!(verdicts[0].is_applied());
        Arc::clone(image.get(&partition(0)).unwrap())
    }
}

fn small_chunks() -> ReadConfig {
    ReadConfig { chunk_bytes: 40_000, ..ReadConfig::default() }
}

async fn read_all(reader: &Arc<TierReader>, manifest: &Arc<Manifest>, max_bytes: u64) -> Vec<u8> {
    let (mut at, mut bytes) = (manifest.log_start().offset(), Vec::new());
    while at < manifest.end().offset() {
        let read = reader.read(partition(0), manifest, at, max_bytes, true).await.unwrap();
        assert!(read.next > at && read.base <= at);
        read.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        at = read.next;
    }
    bytes
}

#[test]
fn the_whole_history_is_read_back_byte_for_byte() {
    block_on(async {
        let tiered = tiered(6, 3, 1000).await;
        let manifest = tiered.manifest();
        assert_eq!((manifest.pages().len(), manifest.recent().len()), (1, 3));
        for max_bytes in [1, 15_000, 64_000, 1 << 20] {
            let reader = tiered.reader(small_chunks());
            assert_eq!(read_all(&reader, &manifest, max_bytes).await, tiered.batches.concat(), "{max_bytes}");
        }
    });
}

#[test]
fn a_read_begins_with_the_batch_that_holds_the_offset() {
    block_on(async {
        let tiered = tiered(3, 1, 1000).await;
        let (reader, manifest) = (tiered.reader(small_chunks()), tiered.manifest());
        for at in [0u64, 5, 99, 100, 101, 219, 299] {
            let read = reader.read(partition(0), &manifest, offset(at), 1, true).await.unwrap();
            assert_eq!((read.base.get(), read.next.get()), (at / 10 * 10, at / 10 * 10 + 10));
            assert_eq!(read.pieces, [tiered.batches[at as usize / 10].clone()]);
            assert_eq!(read.aborted.len(), usize::from(at % 100 < 10), "{at}");
            let none = reader.read(partition(0), &manifest, offset(at), 1, false).await.unwrap();
            assert!(none.is_empty() && none.next.get() == at);
        }
        let past = reader.read(partition(0), &manifest, offset(300), 1, true).await;
        assert_eq!(past, Err(TierError::OutOfRange { offset: offset(300) }));
    });
}

#[test]
fn a_sequential_reader_finds_what_it_wants_there_already() {
    block_on(async {
        let tiered = tiered(6, 3, 1000).await;
        let (reader, manifest) = (tiered.reader(small_chunks()), tiered.manifest());
        let mut at = offset(0);
        while at < manifest.end().offset() {
            let read = reader.read(partition(0), &manifest, at, 15_000, true).await.unwrap();
            at = read.next;
            tiered.env.sleep(Duration::from_millis(3)).await;
        }
        let counts = reader.counts();
        assert!(counts.misses <= 8 && counts.hits >= 50, "{counts:?}");
    });
}

#[test]
fn a_reader_that_begins_gets_a_piece_soon_and_then_chunks() {
    block_on(async {
        // Units of 100 kB in batches of 10 kB: pieces of 20 kB in chunks of 60 kB and 40 kB.
        let tiered = tiered(2, 0, 1000).await;
        let config = ReadConfig { chunk_bytes: 50_000, piece_bytes: 15_000, ..ReadConfig::default() };
        let (reader, manifest) = (tiered.reader(config), tiered.manifest());
        let read = async |at: u64| reader.read(partition(0), &manifest, offset(at), 1 << 20, true).await.unwrap();
        let first = read(25).await;
        assert_eq!((first.base.get(), first.next.get()), (20, 40), "two batches, from where the index points");
        assert_eq!(first.pieces.concat(), tiered.batches[2..4].concat());
        assert_eq!(first.aborted.len(), 0);
        // The chunk around it is on its way already: the reader goes on in it without a load of its own.
        let misses = reader.counts().misses;
        tiered.env.sleep(Duration::from_millis(5)).await;
        let second = read(first.next.get()).await;
        assert_eq!((second.base, reader.counts().misses), (first.next, misses));
        assert!(second.next.get() >= 60);
        // Who begins where the chunk is here already needs no piece.
        let again = read(20).await;
        assert!(again.next.get() >= 60 && reader.counts().misses == misses);
    });
}

#[test]
fn a_reader_that_gives_up_too_early_moves_on_nevertheless() {
    block_on(async {
        let tiered = tiered(4, 2, 1000).await;
        let tiny = CacheBytes { cached: 1, reserved: 50_000, prefetched: 50_000 };
        let config = ReadConfig { chunks: tiny, views: tiny, pages: tiny, ..small_chunks() };
        let (reader, manifest) = (tiered.reader(config), tiered.manifest());
        let (mut at, mut bytes) = (offset(0), Vec::new());
        for _ in 0..20_000 {
            let read = reader.read(partition(0), &manifest, at, 1 << 20, true);
            match tiered.env.timeout(Duration::ZERO, read).await {
                Ok(read) => {
                    let read = read.unwrap();
                    read.pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
                    at = read.next;
                    if at == manifest.end().offset() {
                        break;
                    }
                }
                Err(_) => tiered.env.sleep(Duration::from_millis(1)).await,
            }
        }
        assert_eq!(bytes, tiered.batches.concat());
    });
}

#[test]
fn offsets_are_found_by_time_across_units_and_pages() {
    block_on(async {
        let tiered = tiered(4, 2, 300).await;
        let (reader, manifest) = (tiered.reader(small_chunks()), tiered.manifest());
        let find = async |manifest: &Manifest, millis: i64| {
            let found = reader.offset_for_timestamp(manifest, Timestamp::from_millis(millis)).await.unwrap();
            found.map(|found| (found.offset, found.timestamp))
        };
        for (millis, expected) in [(-5, 0), (0, 0), (1, 1), (995, 100), (1990, 199), (2001, 201), (3990, 399)] {
            assert_eq!(find(&manifest, millis).await, Some((expected, expected * 10)), "{millis}");
        }
        assert_eq!(find(&manifest, 3991).await, None);
        let cut = |to: u64| {
            tiered.replay_with(TierRecord::LogStart { partition: partition(0), epoch: epoch(1), offset: offset(to) })
        };
        assert_eq!(find(&cut(155), 0).await, Some((155, 1550)));
        let latest = reader.max_timestamp_offset(&manifest).await.unwrap().unwrap();
        assert_eq!((latest.offset, latest.timestamp), (399, 3990));
        let latest = reader.max_timestamp_offset(&cut(395)).await.unwrap().unwrap();
        assert_eq!(latest.offset, 399);
    });
}

#[test]
fn rot_is_never_served() {
    block_on(async {
        let tiered = tiered(1, 0, 1000).await;
        let (manifest, unit) = (tiered.manifest(), tiered.manifest().recent()[0].clone());
        let object = tiered.memory.get(&unit.key).await.unwrap();
        for at in [unit.data.position() + 200, unit.index.position() + 3, unit.epochs.position()] {
            let mut rotten = object.to_vec();
            rotten[at as usize] ^= 4;
            tiered.memory.put(&unit.key, Bytes::from(rotten)).await.unwrap();
            let read = tiered.reader(small_chunks()).read(partition(0), &manifest, offset(0), 99, true).await;
            assert!(matches!(read, Err(TierError::Corrupt { .. })), "{at}: {read:?}");
        }
        tiered.memory.delete(&unit.key).await.unwrap();
        let read = tiered.reader(small_chunks()).read(partition(0), &manifest, offset(0), 99, true).await;
        assert_eq!(read, Err(TierError::Gone { key: unit.key.to_string() }));
    });
}

#[test]
fn the_last_unit_tells_what_a_new_replica_starts_from() {
    block_on(async {
        let tiered = tiered(2, 0, 100).await;
        let reader = tiered.reader(ReadConfig::default());
        let state = reader.last_state(&tiered.manifest()).await.unwrap().unwrap();
        assert_eq!(state.epochs, [(epoch(1), offset(0))]);
        assert_eq!(reader.last_state(&Manifest::default()).await.unwrap(), None);
    });
}

#[test]
fn a_unit_may_end_after_its_last_batch() {
    block_on(async {
        let mut tiered = tiered(1, 0, 100).await;
        let store: Arc<dyn Store> = Arc::<MemoryStore>::clone(&tiered.memory);
        let key = ObjectKey::Partition { partition: partition(0), base: offset(100), attempt: Uuid::nil() };
        let mut writer = ObjectWriter::new(store, key);
        let (start, upto) = (offset(100), offset(150));
        writer
            .begin_unit(UnitRange {
                partition: partition(0),
                start,
                upto,
                leader_epoch: epoch(1),
                revision: None,
                stay: 0,
            })
            .unwrap();
        writer.data(&batches_of(100, 110, 1, 10)[0]).await.unwrap();
        writer.end_unit(upto, UnitState::default()).await.unwrap();
        let records: Vec<TierRecord> = writer.finish().await.unwrap().into_iter().map(TierRecord::Unit).collect();
        tiered.image = tiered.image.replay(50, &records).0;
        let (reader, manifest) = (tiered.reader(small_chunks()), tiered.manifest());
        let read = reader.read(partition(0), &manifest, offset(100), 1, true).await.unwrap();
        assert_eq!(read.next, offset(110));
        let rest = reader.read(partition(0), &manifest, read.next, 1, true).await.unwrap();
        assert!(rest.is_empty() && rest.next == offset(150));
    });
}
