//! Chance: unpredictable numbers for identities, keys and jitter. Nothing secret is made from it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where randomness comes from.
pub trait Random: Send + Sync {
    /// 64 uniformly distributed bits.
    fn next(&self) -> u64;

    /// A version 4 UUID.
    fn uuid(&self) -> uuid::Uuid {
        let (high, low) = (self.next(), self.next());
        uuid::Builder::from_random_bytes(((u128::from(high) << 64) | u128::from(low)).to_be_bytes()).into_uuid()
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    fn below(&self, bound: u64) -> u64 {
        // The bias of a 64-bit remainder is far below anything that jitter could notice.
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

/// SplitMix64 over two words from the operating system: fast, and never the same twice.
#[derive(Debug)]
pub struct RealRandom {
    state: AtomicU64,
    key: u64,
}

impl RealRandom {
    /// A generator seeded by the operating system.
    ///
    /// # Errors
    /// What `getrandom(2)` answers.
    pub fn seeded() -> io::Result<RealRandom> {
        let mut seed = [0u8; 16];
        let mut filled = 0;
        while filled < seed.len() {
            let rest = seed.get_mut(filled..).unwrap_or_default();
            filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
        }
        let words = u128::from_le_bytes(seed);
        Ok(RealRandom { state: AtomicU64::new(words as u64), key: (words >> 64) as u64 })
    }
}

impl Random for RealRandom {
    fn next(&self) -> u64 {
        let mut z = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) ^ self.key;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
