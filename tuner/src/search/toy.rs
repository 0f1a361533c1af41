//! Synthetic landscapes with a known optimum.

use super::{Observation, Points};
use crate::kernel::Value;

/// A grid with holes, and a time for every valid point and target: a valley whose parameters interact,
/// ripples on its slopes, and some points that fail.
#[derive(Clone)]
pub(super) struct Grid {
    sizes: Vec<u16>,
    valid: Vec<Vec<u16>>,
    /// The valley's floor, one per target.
    centres: Vec<Vec<f64>>,
    fails: fn(&[u16]) -> bool,
}

impl Grid {
    pub(super) fn one_target() -> Self {
        Self { centres: vec![vec![3.0, 1.0, 5.0, 2.0, 0.0]], ..Self::of(&[6, 5, 7, 6, 3]) }
    }

    pub(super) fn two_targets() -> Self {
        let centres = vec![vec![3.0, 1.0, 5.0, 2.0, 0.0], vec![1.0, 3.0, 2.0, 5.0, 2.0]];
        Self { centres, ..Self::of(&[6, 5, 7, 6, 3]) }
    }

    pub(super) fn all_fail() -> Self {
        Self { fails: |_| true, ..Self::of(&[6, 7]) }
    }

    /// A grid of these many values per parameter; of five parameters, with holes and failures.
    pub(super) fn of(sizes: &[u16]) -> Self {
        let mut valid = vec![Vec::new()];
        for &size in sizes {
            valid = valid
                .iter()
                .flat_map(|point: &Vec<u16>| {
                    (0..size).map(move |value| point.iter().copied().chain([value]).collect())
                })
                .collect();
        }
        valid.retain(|p| p.len() < 5 || p[0] + p[2] < 9);
        let fails: fn(&[u16]) -> bool = |p| p.len() == 5 && (p[1] * 3 + p[3] * 5 + p[0]) % 11 == 7;
        Self { sizes: sizes.to_vec(), valid, centres: vec![vec![0.0; sizes.len()]], fails }
    }

    pub(super) fn shares(&self) -> usize {
        self.centres.len()
    }

    pub(super) fn time(&self, index: usize, share: usize) -> Option<u64> {
        let point = &self.valid[index];
        if (self.fails)(point) {
            return None;
        }
        let centre = &self.centres[share];
        let away: Vec<f64> = point
            .iter()
            .zip(centre)
            .zip(&self.sizes)
            .map(|((&p, c), &n)| (f64::from(p) - c) / f64::from(n))
            .collect();
        let slope: f64 = away.iter().map(|d| d * d).sum();
        let interaction: f64 = away.windows(2).map(|pair| (pair[0] * pair[1]).abs()).sum();
        let ripple: f64 = away.iter().map(|d| 0.05 * (1.0 - (d * 19.0).cos())).sum();
        Some((100_000.0 * (1.5 * slope + 2.0 * interaction + ripple).exp()) as u64)
    }

    pub(super) fn observe(&self, index: usize) -> Observation {
        Observation { times_ns: (0..self.shares()).map(|share| self.time(index, share)).collect() }
    }

    pub(super) fn argmin(&self, share: usize) -> usize {
        (0..self.len())
            .filter(|&i| self.time(i, share).is_some())
            .min_by_key(|&i| self.time(i, share))
            .unwrap()
    }

    pub(super) fn optimum(&self, share: usize) -> f64 {
        self.time(self.argmin(share), share).unwrap() as f64
    }
}

impl Points for Grid {
    fn len(&self) -> usize {
        self.valid.len()
    }

    fn point(&self, index: usize) -> Vec<u16> {
        self.valid[index].clone()
    }

    fn values(&self) -> Vec<Vec<Value>> {
        self.sizes.iter().map(|&size| (1..=i64::from(size)).map(Value::Int).collect()).collect()
    }

    fn index_of(&self, point: &[u16]) -> Option<usize> {
        // The points are in ascending order, as they were made.
        self.valid.binary_search_by(|other| other.as_slice().cmp(point)).ok()
    }
}
