//! Chance: the one generator that a run draws from, and the odds that faults are given.
//!
//! Everything that could go either way in a simulated run (which task is polled, whether an answer is lost, which
//! sectors survive a power cut) is drawn from an [`Rng`] that was made from the run's seed, so the seed is the run.

use esker_storage::env::Random;
use parking_lot::Mutex;
use std::ops::Range;
use std::time::Duration;

/// How likely something is, in parts per million: integers, so that no platform rounds differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chance(u32);

impl Chance {
    /// It does not happen.
    pub const NEVER: Chance = Chance(0);
    /// It happens each time.
    pub const ALWAYS: Chance = Chance(1_000_000);

    /// `n` in a million.
    pub const fn per_million(n: u32) -> Chance {
        Chance(n)
    }

    /// Once in `n` times.
    pub const fn one_in(n: u32) -> Chance {
        match 1_000_000u32.checked_div(n) {
            Some(parts) => Chance(parts),
            None => Chance(0),
        }
    }

    /// `n` times in a hundred.
    pub const fn percent(n: u32) -> Chance {
        Chance(n.saturating_mul(10_000))
    }
}

/// xoshiro256**, seeded through SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of `seed`.
    pub fn seeded(seed: u64) -> Rng {
        let mut z = seed;
        let mut word = || {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(z)
        };
        Rng { state: [word(), word(), word(), word()] }
    }

    /// 64 uniformly distributed bits.
    pub fn draw(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c2, d2) = (c ^ a, d ^ b);
        self.state = [a ^ d2, b ^ c2, c2 ^ (b << 17), d2.rotate_left(45)];
        result
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// An index in `0..len`; 0 if `len` is 0.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number in `range`; its start if it is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// A duration in `range`, to the nanosecond.
    pub fn duration(&mut self, range: Range<Duration>) -> Duration {
        Duration::from_nanos(self.within(range.start.as_nanos() as u64..range.end.as_nanos() as u64))
    }

    /// Whether something this likely happens now. Draws even for [`Chance::NEVER`], so that switching one fault off
    /// leaves the rest of the run as similar as it can be.
    pub fn happens(&mut self, chance: Chance) -> bool {
        self.below(1_000_000) < u64::from(chance.0)
    }

    /// A generator that is independent of what this one gives from now on.
    pub fn fork(&mut self) -> Rng {
        Rng::seeded(self.draw())
    }
}

/// The finaliser of SplitMix64.
pub(super) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `Random` that a simulated node sees.
#[derive(Debug)]
pub struct SimRandom(Mutex<Rng>);

impl SimRandom {
    /// Draws from `rng`.
    pub fn new(rng: Rng) -> SimRandom {
        SimRandom(Mutex::new(rng))
    }
}

impl Random for SimRandom {
    fn next(&self) -> u64 {
        self.0.lock().draw()
    }
}
