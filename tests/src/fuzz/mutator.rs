//! Changes inputs as a fuzzer does, by a seed and without knowing what they do.

use crate::harness::records::Noise;

/// Numbers at which lengths, counts and offsets go wrong.
const EDGES: [i64; 12] =
    [0, -1, 1, 2, 127, 128, 255, i16::MAX as i64, i32::MAX as i64, i32::MIN as i64, i64::MAX, i64::MIN];

/// Makes new inputs of old ones; the same seed makes the same ones.
#[derive(Debug)]
pub struct Mutator {
    noise: Noise,
}

impl Mutator {
    /// A mutator of this seed, which is not 0.
    pub fn new(seed: u64) -> Self {
        Self { noise: Noise(seed.max(1)) }
    }

    /// `input` with one to four changes, some of them pieces of `other`.
    pub fn change(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.noise.below(4) {
            self.once(&mut bytes, other);
        }
        bytes
    }

    fn once(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        match self.noise.below(9) {
            0 => bytes.truncate(at),
            1 => {
                let end = (at + self.below(9)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let piece = self.piece(other);
                bytes.splice(at..at, piece);
            }
            3 => {
                let piece = self.piece(other);
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            4 => {
                let piece = self.piece(&bytes.clone());
                bytes.splice(at..at, piece);
            }
            5 => {
                let edge = EDGES[self.below(EDGES.len())].to_be_bytes();
                let width = [1, 2, 4, 8][self.below(4)];
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, edge[8 - width..].iter().copied());
            }
            6 => {
                let digits = EDGES[self.below(EDGES.len())].to_string().into_bytes();
                bytes.splice(at..at, digits);
            }
            kind => {
                let number = self.noise.number() as u8;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if kind == 7 { *byte ^ (1 << (number % 8)) } else { number };
                }
            }
        }
    }

    /// Up to 32 bytes from somewhere in `from`.
    fn piece(&mut self, from: &[u8]) -> Vec<u8> {
        let start = self.below(from.len() + 1);
        let end = (start + self.below(33)).min(from.len());
        from[start..end].to_vec()
    }

    fn below(&mut self, bound: usize) -> usize {
        self.noise.below(bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_changes_much() {
        let run = |seed| {
            let mut mutator = Mutator::new(seed);
            (0..500).map(|_| mutator.change(b"some input", b"another")).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let distinct: std::collections::BTreeSet<_> = run(7).into_iter().collect();
        assert!(distinct.len() > 400);
    }
}
