//! Keys, and where they lead: the partition that Kafka's clients choose for a key.

use super::workload::Keys;

/// The keys of one connection, one record after the other.
#[derive(Clone, Debug)]
pub(super) struct KeyRing {
    keys: Keys,
    stream: u32,
    next: u64,
}

impl KeyRing {
    /// The keys of `stream`, from the first on.
    pub(super) fn new(keys: Keys, stream: u32) -> Self {
        Self { keys, stream, next: u64::from(stream) }
    }

    /// The key of the next record. Each stream has keys of its own, so that their order is its order.
    pub(super) fn take(&mut self) -> [u8; 8] {
        let count = u64::from(self.keys.count());
        let number = match self.keys {
            Keys::RoundRobin(_) => {
                self.next = self.next.wrapping_add(1);
                self.next % count
            }
            Keys::Random(_) => {
                // The multiplier and increment of Knuth's MMIX.
                self.next = self.next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.next >> 33) % count
            }
        };
        (u64::from(self.stream) << 32 | number).to_be_bytes()
    }
}

/// The partition of a key among `partitions`.
pub(super) fn partition(key: &[u8], partitions: i32) -> i32 {
    ((murmur2(key) & 0x7fff_ffff) as i32) % partitions.max(1)
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte)).wrapping_mul(M);
        k = (k ^ k >> 24).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash = (hash ^ rest.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte))).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 13).wrapping_mul(M);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// From Kafka's `UtilsTest.testMurmur2`.
    #[test]
    fn the_hash_is_kafkas() {
        for (data, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(data.as_bytes()) as i32, hash, "{data}");
        }
    }

    #[test]
    fn a_ring_has_as_many_keys_as_asked_for_and_shares_none() {
        let take = |keys, stream| {
            let mut ring = KeyRing::new(keys, stream);
            (0..100).map(|_| ring.take()).collect::<BTreeSet<_>>()
        };
        assert_eq!(take(Keys::RoundRobin(7), 1).len(), 7);
        assert_eq!(take(Keys::Random(7), 1).len(), 7);
        assert!(take(Keys::Random(7), 1).is_disjoint(&take(Keys::Random(7), 2)));
    }
}
