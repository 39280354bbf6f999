//! A file's bytes, in pages that its live and its durable image share.
//!
//! Every file has two images: the live one, which the process and the page cache see, and the durable one, which a power
//! cut leaves. A sync makes them equal. In between a page is dirty, and what a power cut makes of it is drawn sector
//! by sector.
//!
//! ```text
//!  write -> live pages --sync, or write-back by chance--> durable pages
//!                \                                          /
//!                 +---- power cut: one or the other, per 512 B ----> both
//! ```

use crate::sim::chance::{Chance, Rng};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// The unit that is written back.
pub(crate) const PAGE: u64 = 4096;
/// The unit that a device writes or does not.
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE as usize]>;

/// A length and pages; what is missing reads as zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pub(super) len: u64,
    pages: BTreeMap<u64, Page>,
}

impl Image {
    fn page(&self, index: u64) -> Option<&Page> {
        self.pages.get(&index)
    }

    /// Fills `buffer` from `position`; what lies past the end is zero.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) {
        for (index, inside, outside) in pieces(position, buffer.len()) {
            match self.page(index) {
                Some(page) => buffer[outside].copy_from_slice(&page[inside]),
                None => buffer[outside].fill(0),
            }
        }
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        for (index, inside, outside) in pieces(position, bytes.len()) {
            let page = self.pages.entry(index).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[inside].copy_from_slice(&bytes[outside]);
        }
        self.len = self.len.max(position + bytes.len() as u64);
    }

    fn resize(&mut self, len: u64) {
        if len < self.len {
            self.pages.retain(|index, _| index * PAGE < len);
            if !len.is_multiple_of(PAGE)
                && let Some(page) = self.pages.get_mut(&(len / PAGE))
            {
                Arc::make_mut(page)[(len % PAGE) as usize..].fill(0);
            }
        }
        self.len = len;
    }
}

/// (page, range in the page, range in the buffer) of each page that `len` bytes at `position` touch.
fn pieces(position: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let end = position + len as u64;
    (position / PAGE..end.div_ceil(PAGE)).filter_map(move |index| {
        let from = position.max(index * PAGE);
        let to = end.min((index + 1) * PAGE);
        (from < to).then(|| {
            let inside = (from - index * PAGE) as usize..(to - index * PAGE) as usize;
            (index, inside, (from - position) as usize..(to - position) as usize)
        })
    })
}

/// A file's two images, and which pages may differ between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) live: Image,
    pub(super) durable: Image,
    /// Pages that write-back has still to write. A page that differs but is not here was dropped by a failed sync.
    dirty: BTreeSet<u64>,
}

impl Content {
    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) {
        self.live.write(position, bytes);
        self.dirty.extend(pieces(position, bytes.len()).map(|(index, ..)| index));
    }

    pub(super) fn resize(&mut self, len: u64) {
        let shorter = len.min(self.live.len);
        if len < self.live.len {
            self.dirty.extend(self.live.pages.range(shorter / PAGE..).map(|(index, _)| *index));
        }
        self.live.resize(len);
    }

    /// Bytes that are not yet written back.
    pub(super) fn dirty_bytes(&self) -> u64 {
        self.dirty.len() as u64 * PAGE
    }

    /// `fdatasync`.
    pub(super) fn sync(&mut self) {
        for index in std::mem::take(&mut self.dirty) {
            self.write_back(index);
        }
        self.durable.resize(self.live.len);
    }

    /// `fdatasync` that fails: pages are written or not, and Linux counts them as clean afterwards either way.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        for index in std::mem::take(&mut self.dirty) {
            if rng.happens(Chance::percent(30)) {
                self.write_back(index);
            }
        }
    }

    /// Writes some dirty pages of a range back, as the kernel does in its own time.
    pub(super) fn write_back_some(&mut self, range: Range<u64>, odds: Chance, rng: &mut Rng) {
        let pages: Vec<u64> = self.dirty.range(range.start / PAGE..range.end.div_ceil(PAGE)).copied().collect();
        for index in pages {
            if rng.happens(odds) {
                self.dirty.remove(&index);
                self.write_back(index);
            }
        }
    }

    /// Clean pages of a range leave memory: what a failed sync dropped reads as the device has it from now on.
    pub(super) fn evict(&mut self, range: Range<u64>) {
        for index in range.start.div_ceil(PAGE)..range.end / PAGE {
            if !self.dirty.contains(&index) {
                match self.durable.page(index).cloned() {
                    Some(page) => self.live.pages.insert(index, page),
                    None => self.live.pages.remove(&index),
                };
            }
        }
    }

    fn write_back(&mut self, index: u64) {
        match self.live.page(index).cloned() {
            Some(page) => self.durable.pages.insert(index, page),
            None => self.durable.pages.remove(&index),
        };
        // The size follows the pages that are written; what lies between them and is not written yet reads as zeros.
        self.durable.len = self.durable.len.max(self.live.len.min((index + 1) * PAGE));
    }

    /// What a power cut leaves.
    pub(super) fn cut_power(&mut self, rng: &mut Rng) {
        let (mut image, live) = (self.durable.clone(), &self.live);
        // Whole files survive or are lost about as often as they are torn.
        let odds = match rng.below(4) {
            0 => Chance::NEVER,
            1 => Chance::ALWAYS,
            _ => Chance::percent(50),
        };
        let (low, high) = (image.len.min(live.len), image.len.max(live.len));
        let len = match rng.below(4) {
            0 => self.durable.len,
            1 | 2 => live.len,
            _ => (rng.within(low..high + 1) / PAGE * PAGE).max(low),
        };
        image.resize(len);
        let by_sector = rng.happens(Chance::percent(50));
        for index in &self.dirty {
            if index * PAGE >= len {
                continue;
            }
            let new = live.page(*index).cloned().unwrap_or_else(|| Arc::new([0; PAGE as usize]));
            let page = image.pages.entry(*index).or_insert_with(|| Arc::new([0; PAGE as usize]));
            let whole = rng.happens(odds);
            for sector in 0..PAGE as usize / SECTOR {
                if if by_sector { rng.happens(odds) } else { whole } {
                    let range = sector * SECTOR..(sector + 1) * SECTOR;
                    Arc::make_mut(page)[range.clone()].copy_from_slice(&new[range]);
                }
            }
        }
        // No byte past the end of the file, whatever its last page held.
        image.len = u64::MAX;
        image.resize(len);
        self.live = image.clone();
        self.durable = image;
        self.dirty.clear();
    }

    /// Rot: changes a bit on the device and in memory, with nobody being told.
    pub(super) fn flip_bit(&mut self, position: u64, bit: u32) -> bool {
        if position >= self.live.len {
            return false;
        }
        for image in [&mut self.live, &mut self.durable] {
            if position < image.len {
                let mut byte = [0];
                image.read(position, &mut byte);
                image.write(position, &[byte[0] ^ (1 << (bit % 8))]);
            }
        }
        true
    }
}
