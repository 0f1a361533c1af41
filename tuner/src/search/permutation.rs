//! A random order of `0..len` in constant memory.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const ROUNDS: usize = 6;

/// A pseudo-random permutation: a Feistel network over the least power of four that is no smaller than
/// `len`, walked until it falls below `len`. Six keyed rounds leave no pattern that a search could notice.
#[derive(Clone, Debug)]
pub(super) struct Permutation {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(super) fn new(len: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut half_bits = 1;
        while half_bits < 32 && (1u64 << (2 * half_bits)) < len as u64 {
            half_bits += 1;
        }
        Self { len: len as u64, half_bits, keys: std::array::from_fn(|_| rng.next_u64()) }
    }

    /// The element at a position; none from `len` on.
    pub(super) fn at(&self, position: usize) -> Option<usize> {
        let mut element = position as u64;
        if element >= self.len {
            return None;
        }
        // The network permutes its whole domain, so the walk comes back below `len` in the end.
        loop {
            element = self.encrypt(element);
            if element < self.len {
                return Some(element as usize);
            }
        }
    }

    fn encrypt(&self, element: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = (element >> self.half_bits, element & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        (left << self.half_bits) | right
    }
}

/// The finalizer of `SplitMix64`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_comes_once() {
        for len in [0, 1, 2, 3, 4, 5, 17, 256, 1000, 4097] {
            let permutation = Permutation::new(len, 11);
            let mut elements: Vec<usize> = (0..len).map(|i| permutation.at(i).unwrap()).collect();
            elements.sort_unstable();
            assert_eq!(elements, (0..len).collect::<Vec<_>>());
            assert_eq!(permutation.at(len), None);
        }
    }

    #[test]
    fn the_first_elements_are_spread_evenly() {
        let mut tenths = [0; 10];
        for seed in 0..1000 {
            let permutation = Permutation::new(1000, seed);
            for position in 0..10 {
                tenths[permutation.at(position).unwrap() / 100] += 1;
            }
        }
        // 1000 each; the standard deviation is 30.
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}
