//! What a record's value says of itself, and who keeps the books: [`Payloads`] writes, [`Tracker`] checks.
//!
//! ```text
//! checksum 4 | run 8 | stream 4 | partition 4 | sequence 8 | intended time 8 | padding
//! ```
//!
//! A stream is one connection's records for one partition, numbered from 0; the upper half of its number is the topic's
//! ([`stream`]). The checksum is a CRC-32C over everything behind it and the key, so a record that was damaged, or ended
//! up in another partition or topic, is found whatever the broker says.

use super::workload::Producers;
use crate::batch::Codec;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes before the padding; the least size of a value.
pub(super) const HEADER: usize = 36;

/// The number of a connection's stream in a topic.
pub(crate) fn stream(topic: u32, connection: u32) -> u32 {
    topic << 16 | connection & 0xffff
}

/// The checksum of a value without its first four bytes, and of its key.
fn checksum(rest: &[u8], key: &[u8]) -> u32 {
    if key.is_empty() {
        return crc_fast::crc32_iscsi(rest);
    }
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(rest);
    digest.update(key);
    digest.finalize() as u32
}

/// What a padding is cut from, in bytes, where records must not resemble each other.
const POOL: usize = 256 << 10;

/// Writes the values of one run.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    value: Vec<u8>,
    padding: Padding,
}

/// What is behind a value's header.
#[derive(Clone, Debug)]
enum Padding {
    /// The same in all records.
    Same,
    /// What follows `at` in these bytes, each time elsewhere.
    Cut { from: Vec<u8>, at: usize },
    /// One of those that follow each other in here, by chance.
    Drawn { from: Arc<[u8]>, noise: u64 },
}

impl Payloads {
    /// Values of `size` bytes, padded with bytes that do not compress.
    pub(crate) fn new(run: u64, stream: u32, size: usize) -> Self {
        let mut value = vec![0; size.max(HEADER)];
        fill(&mut value[HEADER..], run, 1.0);
        value[4..12].copy_from_slice(&run.to_be_bytes());
        value[12..16].copy_from_slice(&stream.to_be_bytes());
        Self { value, padding: Padding::Same }
    }

    /// Values as `producers` have them.
    pub(super) fn of(producers: &Producers, run: u64, stream: u32) -> Self {
        let Producers { size, codec, random, padding, pool, .. } = producers;
        match padding {
            Some(pool_of) if *pool > 0 => {
                let noise = run ^ u64::from(stream) << 32;
                let padding = Padding::Drawn { from: Arc::clone(pool_of), noise };
                Self { padding, ..Self::new(run, stream, *size) }
            }
            None if *codec == Codec::None && *random >= 1.0 => Self::new(run, stream, *size),
            given => Self::varied(run, stream, *size, *random, given.as_deref()),
        }
    }

    /// As [`Payloads::new`], for records that are to be compressed: each has another padding, of which the part `random`
    /// does not compress, or which comes from `given`.
    pub(crate) fn varied(run: u64, stream: u32, size: usize, random: f64, given: Option<&[u8]>) -> Self {
        let mut pool = vec![0; POOL + size];
        match given {
            Some(given) if !given.is_empty() => {
                pool.iter_mut().zip(given.iter().cycle()).for_each(|(to, from)| *to = *from);
            }
            _ => fill(&mut pool, run, random),
        }
        Self { padding: Padding::Cut { from: pool, at: 0 }, ..Self::new(run, stream, size) }
    }

    /// The value with this sequence, of a record without a key.
    pub(crate) fn write(&mut self, partition: i32, sequence: u64, intended: u64) -> &[u8] {
        self.write_keyed(&[], partition, sequence, intended)
    }

    /// The value with this sequence, of a record with this key.
    pub(crate) fn write_keyed(&mut self, key: &[u8], partition: i32, sequence: u64, intended: u64) -> &[u8] {
        self.value[16..20].copy_from_slice(&partition.to_be_bytes());
        self.value[20..28].copy_from_slice(&sequence.to_be_bytes());
        self.value[28..36].copy_from_slice(&intended.to_be_bytes());
        let length = self.value.len() - HEADER;
        match &mut self.padding {
            Padding::Same => {}
            Padding::Cut { from, at } => {
                // A step that no cache line divides, so that it takes long until a place comes again.
                *at = (*at + 4_099) % POOL;
                self.value[HEADER..].copy_from_slice(&from[*at..*at + length]);
            }
            Padding::Drawn { from, noise } => {
                *noise = next_noise(*noise);
                let which = (*noise >> 33) as usize % (from.len() / length.max(1)).max(1);
                self.value[HEADER..].copy_from_slice(&from[which * length..(which + 1) * length]);
            }
        }
        let checksum = checksum(&self.value[4..], key);
        self.value[..4].copy_from_slice(&checksum.to_be_bytes());
        &self.value
    }
}

/// Bytes by chance; of each 64, the part `random` is, and the rest is zero.
fn fill(bytes: &mut [u8], seed: u64, random: f64) {
    let mut noise = seed | 1;
    let some = (random.clamp(0.0, 1.0) * 64.0).round() as usize;
    for (at, byte) in bytes.iter_mut().enumerate() {
        noise = next_noise(noise);
        *byte = if at % 64 < some { (noise >> 56) as u8 } else { 0 };
    }
}

/// The multiplier and increment of Knuth's MMIX.
fn next_noise(noise: u64) -> u64 {
    noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// So many paddings of values of `size` bytes, one behind the other. Of each value the part `random` does not compress,
/// and then there are zeros.
pub(super) fn pool(size: usize, random: f64, count: u32) -> Arc<[u8]> {
    let length = size.saturating_sub(HEADER);
    let some = ((size as f64 * random.clamp(0.0, 1.0)) as usize).saturating_sub(HEADER);
    let mut all = vec![0; length * count as usize];
    for (number, padding) in all.chunks_exact_mut(length.max(1)).enumerate() {
        fill(&mut padding[..some], number as u64 * 2, 1.0);
    }
    all.into()
}

/// A value that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload {
    pub(super) run: u64,
    pub(super) stream: u32,
    pub(super) partition: i32,
    pub(super) sequence: u64,
    pub(super) intended: u64,
}

impl Payload {
    /// `None` if the bytes are not what was written.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (checksum, rest) = value.split_first_chunk::<4>()?;
        if rest.len() < HEADER - 4 || u32::from_be_bytes(*checksum) != self::checksum(rest, key) {
            return None;
        }
        let number = |at: usize| rest.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_be_bytes);
        let short = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        Some(Self {
            run: number(0)?,
            stream: short(8)?,
            partition: short(12)? as i32,
            sequence: number(16)?,
            intended: number(24)?,
        })
    }
}

/// What was found wrong with what was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Records that must be there and are not.
    pub lost: u64,
    /// Records that came again.
    pub duplicated: u64,
    /// Records that came after a later one.
    pub reordered: u64,
    /// Values, or batches, whose bytes are not what was written.
    pub corrupt: u64,
}

impl Faults {
    /// Whether nothing is wrong.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lost, duplicated, reordered, corrupt } = self;
        write!(f, "{lost} lost, {duplicated} duplicated, {reordered} reordered, {corrupt} corrupt")
    }
}

/// What must be there of what was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Everything.
    #[default]
    All,
    /// Everything from some record of each stream on: retention took the rest.
    Newest,
    /// The newest record of each key: compaction took others.
    NewestOfKeys,
}

/// Follows every stream of what is read.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    expect: Expect,
    streams: BTreeMap<(u64, u32, i32), Stream>,
    keys: BTreeMap<Box<[u8]>, u64>,
    seen: u64,
    corrupt: u64,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    next: u64,
    missing: Vec<Range<u64>>,
    duplicated: u64,
    reordered: u64,
}

impl Tracker {
    /// Follows what is read of topics of which not everything needs to be there.
    pub fn expecting(expect: Expect) -> Self {
        Self { expect, ..Self::default() }
    }

    /// Takes a record of a topic's partition into account; returns its intended time if it is sound.
    pub fn take(&mut self, topic: u32, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) -> Option<u64> {
        self.seen += 1;
        let key = key.unwrap_or_default();
        let read = value.and_then(|value| Payload::read(key, value));
        match read.filter(|payload| payload.partition == partition && payload.stream >> 16 == topic) {
            Some(payload) => {
                self.sequence((payload.run, payload.stream, partition), payload.sequence);
                if self.expect == Expect::NewestOfKeys {
                    match self.keys.get_mut(key) {
                        Some(newest) => *newest = payload.sequence,
                        None => drop(self.keys.insert(key.into(), payload.sequence)),
                    }
                }
                Some(payload.intended)
            }
            None => {
                self.corrupt += 1;
                None
            }
        }
    }

    /// Counts a batch that cannot be read.
    pub fn corrupt_batch(&mut self) {
        self.corrupt += 1;
    }

    /// How many records were taken.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// What is wrong so far; `acknowledged` says how many records each stream (run, stream, partition) must have.
    pub fn faults(&self, acknowledged: &BTreeMap<(u64, u32, i32), u64>) -> Faults {
        let fine = |missing: &&Range<u64>| self.expect != Expect::Newest || missing.start > 0;
        let inside: u64 = self.streams.values().flat_map(|s| &s.missing).filter(fine).map(|m| m.end - m.start).sum();
        let behind: u64 = acknowledged
            .iter()
            .map(|(key, count)| count.saturating_sub(self.streams.get(key).map_or(0, |s| s.next)))
            .sum();
        let sum = |of: fn(&Stream) -> u64| self.streams.values().map(of).sum();
        Faults {
            lost: inside + behind,
            duplicated: sum(|stream| stream.duplicated),
            reordered: sum(|stream| stream.reordered),
            corrupt: self.corrupt,
        }
    }

    /// What of that came again or out of order, by stream; those in which nothing did are left out.
    pub(super) fn disorder(&self) -> BTreeMap<(u64, u32, i32), Faults> {
        let faults = |stream: &Stream| {
            let Stream { duplicated, reordered, .. } = *stream;
            Faults { duplicated, reordered, ..Faults::default() }
        };
        let found = self.streams.iter().map(|(key, stream)| (*key, faults(stream)));
        found.filter(|(_, faults)| !faults.none()).collect()
    }

    /// How many of these keys' newest records (key, sequence) were not seen, or are not the newest that were seen.
    pub fn stale_keys(&self, newest: &BTreeMap<Box<[u8]>, u64>) -> u64 {
        newest.iter().filter(|(key, sequence)| self.keys.get(*key) != Some(sequence)).count() as u64
    }

    /// Takes in what another tracker saw of other partitions.
    pub fn merge(&mut self, other: Self) {
        self.streams.extend(other.streams);
        self.keys.extend(other.keys);
        self.seen += other.seen;
        self.corrupt += other.corrupt;
    }

    fn sequence(&mut self, key: (u64, u32, i32), sequence: u64) {
        let stream = self.streams.entry(key).or_default();
        if sequence >= stream.next {
            // Of what compaction leaves, gaps say nothing.
            if sequence > stream.next && self.expect != Expect::NewestOfKeys {
                stream.missing.push(stream.next..sequence);
            }
            stream.next = sequence + 1;
            return;
        }
        let Some(at) = stream.missing.iter().position(|m| m.contains(&sequence)) else {
            stream.duplicated += 1;
            return;
        };
        stream.reordered += 1;
        let gap = stream.missing.swap_remove(at);
        stream.missing.extend([gap.start..sequence, sequence + 1..gap.end].into_iter().filter(|m| !m.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn track(sequences: &[u64], acknowledged: u64) -> Faults {
        let mut payloads = Payloads::new(7, 1, 100);
        let mut tracker = Tracker::default();
        for sequence in sequences {
            assert_eq!(tracker.take(0, 0, None, Some(payloads.write(0, *sequence, 5))), Some(5));
        }
        tracker.faults(&BTreeMap::from([((7, 1, 0), acknowledged)]))
    }

    #[test]
    fn every_fault_is_counted_and_nothing_else() {
        assert!(track(&[0, 1, 2, 3], 4).none());
        assert_eq!(track(&[0, 1, 3], 4), Faults { lost: 1, ..Faults::default() });
        assert_eq!(track(&[0, 1], 4), Faults { lost: 2, ..Faults::default() });
        assert_eq!(track(&[0, 1, 1, 2, 3], 4), Faults { duplicated: 1, ..Faults::default() });
        assert_eq!(track(&[0, 2, 1, 3], 4), Faults { reordered: 1, ..Faults::default() });
        assert_eq!(track(&[4, 2, 2], 5), Faults { lost: 3, duplicated: 1, reordered: 1, corrupt: 0 });
    }

    #[test]
    fn damage_and_the_wrong_place_are_corruption() {
        let mut value = Payloads::new(7, stream(2, 1), 100).write_keyed(b"key", 3, 0, 0).to_vec();
        let mut tracker = Tracker::default();
        assert_eq!(tracker.take(2, 3, Some(b"key"), Some(&value)), Some(0));
        // Another partition, another topic, another key, none.
        assert_eq!(tracker.take(2, 4, Some(b"key"), Some(&value)), None);
        assert_eq!(tracker.take(1, 3, Some(b"key"), Some(&value)), None);
        assert_eq!(tracker.take(2, 3, Some(b"kex"), Some(&value)), None);
        assert_eq!(tracker.take(2, 3, None, Some(&value)), None);
        value[50] ^= 1;
        assert_eq!(tracker.take(2, 3, Some(b"key"), Some(&value)), None);
        assert_eq!(tracker.take(2, 3, Some(b"key"), None), None);
        assert_eq!(tracker.faults(&BTreeMap::new()), Faults { corrupt: 6, ..Faults::default() });
    }

    #[test]
    fn records_compress_as_far_as_is_asked_for() {
        let packed = |mut payloads: Payloads| {
            let values: Vec<u8> = (0..64).flat_map(|at| payloads.write(0, at, at).to_vec()).collect();
            zstd::encode_all(&values[..], 1).unwrap().len() as f64 / values.len() as f64
        };
        let (none, half) = (packed(Payloads::varied(7, 1, 1_024, 1.0, None)), Payloads::varied(7, 1, 1_024, 0.5, None));
        let half = packed(half);
        assert!(none > 0.95 && (0.4..0.65).contains(&half), "{none} {half}");
        assert!(packed(Payloads::varied(7, 1, 1_024, 1.0, Some(b"abc"))) < 0.1);
    }

    #[test]
    fn paddings_are_drawn_from_a_pool_of_so_many() {
        let producers =
            Producers { size: 1_024, pool: 10, padding: Some(pool(1_024, 0.25, 10)), ..Producers::default() };
        let mut payloads = Payloads::of(&producers, 7, 1);
        let paddings: BTreeSet<Vec<u8>> = (0..500).map(|at| payloads.write(0, at, at)[HEADER..].to_vec()).collect();
        assert_eq!(paddings.len(), 10);
        for padding in &paddings {
            // A quarter of the value does not compress, its header included.
            let (noise, zeros) = padding.split_at(256 - HEADER);
            assert!(zeros.iter().all(|byte| *byte == 0) && zstd::encode_all(noise, 1).unwrap().len() > 200);
        }
        // Another sender draws in another order, and the least value has no padding.
        let draws = |stream| {
            let mut payloads = Payloads::of(&producers, 7, stream);
            (0..20).map(|at| payloads.write(0, at, at)[HEADER..].to_vec()).collect::<Vec<_>>()
        };
        assert_ne!(draws(1), draws(2));
        let least = Producers { size: HEADER, pool: 3, padding: Some(pool(HEADER, 1.0, 3)), ..Producers::default() };
        assert_eq!(Payloads::of(&least, 7, 1).write(0, 0, 0).len(), HEADER);
    }

    #[test]
    fn what_retention_took_is_not_lost_and_what_is_behind_it_is() {
        let read = |sequences: &[u64]| {
            let mut payloads = Payloads::new(7, 1, 100);
            let mut tracker = Tracker::expecting(Expect::Newest);
            for sequence in sequences {
                tracker.take(0, 0, None, Some(payloads.write(0, *sequence, 5)));
            }
            tracker.faults(&BTreeMap::from([((7, 1, 0), 10)])).lost
        };
        assert_eq!((read(&[7, 8, 9]), read(&[6, 8, 9]), read(&[7, 8])), (0, 1, 1));
    }

    #[test]
    fn compaction_may_take_all_but_the_newest_of_a_key() {
        let read = |records: &[(&[u8], u64)]| {
            let mut payloads = Payloads::new(7, 1, 100);
            let mut tracker = Tracker::expecting(Expect::NewestOfKeys);
            for (key, sequence) in records {
                tracker.take(0, 0, Some(key), Some(payloads.write_keyed(key, 0, *sequence, 5)));
            }
            let newest = BTreeMap::from([(Box::from(&b"a"[..]), 8), (Box::from(&b"b"[..]), 9)]);
            (tracker.stale_keys(&newest), tracker.faults(&BTreeMap::from([((7, 1, 0), 10)])))
        };
        assert_eq!(read(&[(b"a", 3), (b"a", 8), (b"b", 9)]), (0, Faults::default()));
        assert_eq!(read(&[(b"a", 3), (b"b", 9)]).0, 1);
        // The end of a stream is its newest record, of whichever key.
        assert_eq!(read(&[(b"a", 8), (b"b", 7)]), (1, Faults { lost: 1, reordered: 0, duplicated: 1, corrupt: 0 }));
    }
}
