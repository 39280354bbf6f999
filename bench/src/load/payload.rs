//! What a record's value says of itself, and who keeps the books: [`Payloads`] writes, [`Tracker`] checks.
//!
//! ```text
//! checksum 4 | run 8 | stream 4 | partition 4 | sequence 8 | intended time 8 | padding
//! ```
//!
//! A stream is one connection's records for one partition, numbered from 0. The checksum is a CRC-32C over everything
//! behind it, so a record that was damaged, or ended up in another partition, is found whatever the broker says.

use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes before the padding; the least size of a value.
pub(super) const HEADER: usize = 36;

/// Writes the values of one run.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    value: Vec<u8>,
}

impl Payloads {
    /// Values of `size` bytes, padded with bytes that do not compress.
    pub(crate) fn new(run: u64, stream: u32, size: usize) -> Self {
        let mut value = vec![0; size.max(HEADER)];
        let mut noise = run | 1;
        for byte in &mut value[HEADER..] {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (noise >> 56) as u8;
        }
        value[4..12].copy_from_slice(&run.to_be_bytes());
        value[12..16].copy_from_slice(&stream.to_be_bytes());
        Self { value }
    }

    /// The value with this sequence.
    pub(crate) fn write(&mut self, partition: i32, sequence: u64, intended: u64) -> &[u8] {
        self.value[16..20].copy_from_slice(&partition.to_be_bytes());
        self.value[20..28].copy_from_slice(&sequence.to_be_bytes());
        self.value[28..36].copy_from_slice(&intended.to_be_bytes());
        let checksum = crc_fast::crc32_iscsi(&self.value[4..]);
        self.value[..4].copy_from_slice(&checksum.to_be_bytes());
        &self.value
    }
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
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let (checksum, rest) = value.split_first_chunk::<4>()?;
        if rest.len() < HEADER - 4 || u32::from_be_bytes(*checksum) != crc_fast::crc32_iscsi(rest) {
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

/// Follows every stream of what is read.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    streams: BTreeMap<(u64, u32, i32), Stream>,
    seen: u64,
    duplicated: u64,
    reordered: u64,
    corrupt: u64,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    next: u64,
    missing: Vec<Range<u64>>,
}

impl Tracker {
    /// Takes the value of a record of `partition` into account; returns its intended time if it is sound.
    pub fn take(&mut self, partition: i32, value: Option<&[u8]>) -> Option<u64> {
        self.seen += 1;
        match value.and_then(Payload::read).filter(|payload| payload.partition == partition) {
            Some(payload) => {
                self.sequence((payload.run, payload.stream, partition), payload.sequence);
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
        let inside: u64 = self.streams.values().flat_map(|s| &s.missing).map(|m| m.end - m.start).sum();
        let behind: u64 = acknowledged
            .iter()
            .map(|(key, count)| count.saturating_sub(self.streams.get(key).map_or(0, |s| s.next)))
            .sum();
        Faults { lost: inside + behind, duplicated: self.duplicated, reordered: self.reordered, corrupt: self.corrupt }
    }

    /// Takes in what another tracker saw of other partitions.
    pub fn merge(&mut self, other: Self) {
        self.streams.extend(other.streams);
        self.seen += other.seen;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
    }

    fn sequence(&mut self, key: (u64, u32, i32), sequence: u64) {
        let stream = self.streams.entry(key).or_default();
        if sequence >= stream.next {
            if sequence > stream.next {
                stream.missing.push(stream.next..sequence);
            }
            stream.next = sequence + 1;
            return;
        }
        let Some(at) = stream.missing.iter().position(|m| m.contains(&sequence)) else {
            self.duplicated += 1;
            return;
        };
        self.reordered += 1;
        let gap = stream.missing.swap_remove(at);
        stream.missing.extend([gap.start..sequence, sequence + 1..gap.end].into_iter().filter(|m| !m.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(sequences: &[u64], acknowledged: u64) -> Faults {
        let mut payloads = Payloads::new(7, 1, 100);
        let mut tracker = Tracker::default();
        for sequence in sequences {
            assert_eq!(tracker.take(0, Some(payloads.write(0, *sequence, 5))), Some(5));
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
    fn damage_and_the_wrong_partition_are_corruption() {
        let mut value = Payloads::new(7, 1, 100).write(3, 0, 0).to_vec();
        let mut tracker = Tracker::default();
        assert_eq!(tracker.take(4, Some(&value)), None);
        value[50] ^= 1;
        assert_eq!(tracker.take(3, Some(&value)), None);
        assert_eq!(tracker.take(3, None), None);
        assert_eq!(tracker.faults(&BTreeMap::new()).corrupt, 3);
    }
}
