//! The newest offset of each key of a part of a log: what a pass compares records against.
//!
//! Kafka keeps a 128-bit hash of each key, and loses a record where two keys collide. Here the keys themselves are kept, so
//! no two can be taken for one: that costs their length in memory, and nothing else. The memory is bounded by a budget
//! (`log.cleaner.dedupe.buffer.size`, shared by the threads); a [`KeyMap`] that is full takes no further key, and the pass
//! covers just the records until then. One key always fits, so a pass always gets on.
//!
//! ```text
//!  slots:  [tag, block, at] ...          open addressing, linear; a tag is 32 bits of the key's hash
//!  blocks: offset 8 | length 4 | key     entries, back to back
//! ```

use crate::offset::Offset;
use std::hash::{DefaultHasher, Hasher};

/// Bytes of an entry beside its key.
const ENTRY: usize = 12;
/// Slots of a new map.
const FIRST_SLOTS: usize = 16;
const MAX_BLOCK: usize = 1 << 20;
const MIN_BLOCK: usize = 1 << 10;

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    /// The entry's block, plus one: 0 is free.
    block: u32,
    at: u32,
}

const FREE: Slot = Slot { tag: 0, block: 0, at: 0 };

/// The newest offset of each key.
pub struct KeyMap {
    seed: u64,
    budget: usize,
    block_len: usize,
    slots: Vec<Slot>,
    len: usize,
    blocks: Vec<Vec<u8>>,
    block_bytes: usize,
}

impl KeyMap {
    /// A map that takes about `budget` bytes of memory at most. `seed` is a random number: it keeps keys that a client chose
    /// from meeting in one place.
    pub fn new(budget: usize, seed: u64) -> KeyMap {
        let block_len = (budget / 32).clamp(MIN_BLOCK, MAX_BLOCK);
        KeyMap { seed, budget, block_len, slots: Vec::new(), len: 0, blocks: Vec::new(), block_bytes: 0 }
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.block_bytes + self.slots.len() * size_of::<Slot>()
    }

    /// Notes that `key` has a record at `offset`, which is above all that were noted before. `false` if the key is new and
    /// there is no room: the map is full then.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        match self.find(key, hash) {
            Some(Slot { block, at, .. }) => {
                let entry = self.blocks.get_mut((block - 1) as usize).and_then(|block| block.get_mut(at as usize..));
                if let Some(newest) = entry.and_then(|entry| entry.first_chunk_mut()) {
                    *newest = offset.get().to_be_bytes();
                }
                true
            }
            None => self.insert(key, hash, offset),
        }
    }

    /// The newest offset of `key`; `None` if it has none here.
    pub fn newest(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.find(key, self.hash(key))?;
        let entry = self.entry(slot)?;
        entry.first_chunk().map(|offset| Offset::new(u64::from_be_bytes(*offset)))
    }

    fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write(key);
        hasher.finish()
    }

    fn entry(&self, slot: Slot) -> Option<&[u8]> {
        self.blocks.get(slot.block.checked_sub(1)? as usize)?.get(slot.at as usize..)
    }

    fn key(&self, slot: Slot) -> Option<&[u8]> {
        let entry = self.entry(slot)?;
        let len = u32::from_be_bytes(*entry.get(8..)?.first_chunk()?);
        entry.get(ENTRY..)?.get(..len as usize)
    }

    fn find(&self, key: &[u8], hash: u64) -> Option<Slot> {
        let mut index = first_slot(hash, self.slots.len())?;
        loop {
            let slot = *self.slots.get(index)?;
            if slot.block == 0 {
                return None;
            }
            if slot.tag == tag(hash) && self.key(slot) == Some(key) {
                return Some(slot);
            }
            index = (index + 1) & (self.slots.len() - 1);
        }
    }

    fn insert(&mut self, key: &[u8], hash: u64, offset: Offset) -> bool {
        let first = self.is_empty();
        let (Some(len), Ok(key_len)) = (key.len().checked_add(ENTRY), u32::try_from(key.len())) else { return false };
        if self.len * 4 >= self.slots.len() * 3 {
            let wanted = (self.slots.len() * 2).max(FIRST_SLOTS);
            if first || self.bytes() + wanted * size_of::<Slot>() <= self.budget {
                self.grow(wanted);
            } else if self.len * 16 >= self.slots.len() * 15 {
                return false;
            }
        }
        let has_room = self.blocks.last().is_some_and(|block| block.capacity() - block.len() >= len);
        if !has_room {
            let capacity = len.max(self.block_len);
            if !first && self.bytes() + capacity > self.budget {
                return false;
            }
            self.blocks.push(Vec::with_capacity(capacity));
            self.block_bytes += capacity;
        }
        let (Ok(block_number), Some(block)) = (u32::try_from(self.blocks.len()), self.blocks.last_mut()) else {
            return false;
        };
        let Ok(at) = u32::try_from(block.len()) else { return false };
        block.extend_from_slice(&offset.get().to_be_bytes());
        block.extend_from_slice(&key_len.to_be_bytes());
        block.extend_from_slice(key);
        place(&mut self.slots, hash, Slot { tag: tag(hash), block: block_number, at });
        self.len += 1;
        true
    }

    fn grow(&mut self, wanted: usize) {
        let mut slots = vec![FREE; wanted];
        for slot in &self.slots {
            if let Some(key) = self.key(*slot) {
                place(&mut slots, self.hash(key), *slot);
            }
        }
        self.slots = slots;
    }
}

/// Puts a slot where a look for its hash finds it. There is a free one: the load is below one.
fn place(slots: &mut [Slot], hash: u64, slot: Slot) {
    let Some(mut index) = first_slot(hash, slots.len()) else { return };
    while let Some(there) = slots.get_mut(index) {
        if there.block == 0 {
            *there = slot;
            return;
        }
        index = (index + 1) & (slots.len() - 1);
    }
}

/// The number of slots is a power of two.
fn first_slot(hash: u64, slots: usize) -> Option<usize> {
    Some(hash as usize & slots.checked_sub(1)?)
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..5), 1..300), seed: u64) {
            let mut map = KeyMap::new(1 << 20, seed);
            let mut known = BTreeMap::new();
            for (offset, key) in (0u64..).zip(&keys) {
                prop_assert!(map.put(key, Offset::new(offset)));
                known.insert(key.clone(), Offset::new(offset));
            }
            prop_assert_eq!(map.len(), known.len());
            for (key, offset) in &known {
                prop_assert_eq!(map.newest(key), Some(*offset));
            }
            prop_assert_eq!(map.newest(b"\x09"), None);
        }

        #[test]
        fn it_stays_within_its_budget_and_forgets_nothing(budget in 2048usize..20_000, lens in prop::collection::vec(0usize..300, 1..200)) {
            let mut map = KeyMap::new(budget, 7);
            let mut taken = Vec::new();
            for (n, len) in lens.into_iter().enumerate() {
                let key = [&n.to_be_bytes()[..], &vec![0; len]].concat();
                if map.put(&key, Offset::new(n as u64)) {
                    taken.push((key, n as u64));
                }
                prop_assert!(map.bytes() <= budget.max(map.block_len + FIRST_SLOTS * size_of::<Slot>()));
            }
            for (key, n) in &taken {
                prop_assert_eq!(map.newest(key), Some(Offset::new(*n)));
                // A known key is noted even in a full map.
                prop_assert!(map.put(key, Offset::new(1000 + n)));
                prop_assert_eq!(map.newest(key), Some(Offset::new(1000 + n)));
            }
        }
    }

    #[test]
    fn keys_of_one_hash_stay_apart() {
        // All in one chain: what a collision of the whole hash would be.
        let mut map = KeyMap::new(1 << 16, 0);
        for n in 0..10u8 {
            assert!(map.insert(&[n], 5, Offset::new(u64::from(n))));
        }
        for n in 0..10u8 {
            let slot = map.find(&[n], 5).unwrap();
            assert_eq!(map.entry(slot).unwrap()[..8], u64::from(n).to_be_bytes());
        }
    }

    #[test]
    fn one_key_always_fits() {
        let mut map = KeyMap::new(100, 1);
        assert!(map.put(&[7; 5000], Offset::new(3)));
        assert!(!map.put(b"another", Offset::new(4)));
        assert_eq!(map.newest(&[7; 5000]), Some(Offset::new(3)));
    }
}
