//! Synthetic landscapes with a known optimum.

use super::{Observation, Points};
use crate::kernel::Value;

/// A grid with holes, and a time for every valid point and target.
#[derive(Clone)]
pub(super) struct Grid {
    values: Vec<Vec<i64>>,
    valid: Vec<Vec<u16>>,
    landscape: Landscape,
}

#[derive(Clone)]
enum Landscape {
    /// A valley whose parameters interact, ripples on its slopes, and some points that fail.
    Valley {
        /// The valley's floor, one per target.
        centres: Vec<Vec<f64>>,
        fails: fn(&[u16]) -> bool,
    },
    /// What a tiled kernel does on a GPU, by the values of its parameters.
    Tiles(fn(&[i64]) -> Option<f64>),
}

impl Grid {
    pub(super) fn one_target() -> Self {
        Self::of(&[6, 5, 7, 6, 3]).with_centres(vec![vec![3.0, 1.0, 5.0, 2.0, 0.0]])
    }

    pub(super) fn two_targets() -> Self {
        let centres = vec![vec![3.0, 1.0, 5.0, 2.0, 0.0], vec![1.0, 3.0, 2.0, 5.0, 2.0]];
        Self::of(&[6, 5, 7, 6, 3]).with_centres(centres)
    }

    pub(super) fn all_fail() -> Self {
        let landscape = Landscape::Valley { centres: vec![vec![0.0; 2]], fails: |_| true };
        Self { landscape, ..Self::of(&[6, 7]) }
    }

    /// A grid of these many values per parameter; of five parameters, with holes and failures.
    pub(super) fn of(sizes: &[u16]) -> Self {
        let values = sizes.iter().map(|&size| (1..=i64::from(size)).collect()).collect();
        let fails: fn(&[u16]) -> bool = |p| p.len() == 5 && (p[1] * 3 + p[3] * 5 + p[0]) % 11 == 7;
        let landscape = Landscape::Valley { centres: vec![vec![0.0; sizes.len()]], fails };
        Self::new(values, landscape, |p, _| p.len() < 5 || p[0] + p[2] < 9)
    }

    /// Tiles that a block of threads computes of an image of 4096 by 4096: few fit, and of those that fit
    /// only some keep the device busy. Some 5,700 configurations.
    pub(super) fn tiles() -> Self {
        let values = vec![
            (1..=16).map(|i| 16 * i).collect(),
            vec![1, 2, 4, 8, 16],
            vec![1, 2, 3, 4],
            vec![1, 2, 3, 4, 6, 8],
            vec![0, 1],
            vec![0, 1],
        ];
        Self::new(values, Landscape::Tiles(tiled), |_, v| (32..=1024).contains(&(v[0] * v[1])))
    }

    fn new(values: Vec<Vec<i64>>, landscape: Landscape, is_valid: impl Fn(&[u16], &[i64]) -> bool) -> Self {
        let mut valid = vec![Vec::new()];
        for own in &values {
            let grown = |point: &Vec<u16>| {
                let point = point.clone();
                (0..own.len() as u16).map(move |digit| point.iter().copied().chain([digit]).collect())
            };
            valid = valid.iter().flat_map(grown).collect();
        }
        let mut grid = Self { values, valid: Vec::new(), landscape };
        valid.retain(|point: &Vec<u16>| is_valid(point, &grid.numbers(point)));
        grid.valid = valid;
        grid
    }

    fn with_centres(mut self, wanted: Vec<Vec<f64>>) -> Self {
        if let Landscape::Valley { centres, .. } = &mut self.landscape {
            *centres = wanted;
        }
        self
    }

    fn numbers(&self, point: &[u16]) -> Vec<i64> {
        point.iter().zip(&self.values).map(|(&digit, values)| values[usize::from(digit)]).collect()
    }

    pub(super) fn shares(&self) -> usize {
        match &self.landscape {
            Landscape::Valley { centres, .. } => centres.len(),
            Landscape::Tiles(_) => 1,
        }
    }

    pub(super) fn time(&self, index: usize, share: usize) -> Option<u64> {
        let point = &self.valid[index];
        let slower = match &self.landscape {
            Landscape::Valley { fails, .. } if fails(point) => return None,
            Landscape::Valley { centres, .. } => self.up_the_valley(point, &centres[share]),
            Landscape::Tiles(time) => time(&self.numbers(point))?,
        };
        Some((100_000.0 * slower.exp()) as u64)
    }

    fn up_the_valley(&self, point: &[u16], centre: &[f64]) -> f64 {
        let sizes = self.values.iter().map(|values| values.len() as f64);
        let away: Vec<f64> =
            point.iter().zip(centre).zip(sizes).map(|((&p, c), n)| (f64::from(p) - c) / n).collect();
        let slope: f64 = away.iter().map(|d| d * d).sum();
        let interaction: f64 = away.windows(2).map(|pair| (pair[0] * pair[1]).abs()).sum();
        let ripple: f64 = away.iter().map(|d| 0.05 * (1.0 - (d * 19.0).cos())).sum();
        1.5 * slope + 2.0 * interaction + ripple
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

/// Logarithm of how much slower a tiled kernel is than the least conceivable; none where it needs too many
/// registers. Block and tile of both directions, staged through shared memory, read-only loads.
fn tiled(values: &[i64]) -> Option<f64> {
    let &[block_x, block_y, tile_x, tile_y, staged, read_only] = values else { return None };
    let (threads, work) = (block_x * block_y, tile_x * tile_y);
    if threads * (24 + 5 * work) > 65_536 {
        return None;
    }
    let (wide, high) = (block_x * tile_x, block_y * tile_y);
    let ragged = |size: i64| if 4096 % size == 0 { 0.0 } else { 0.4 };
    let lanes = if block_x % 32 == 0 { 0.0 } else { 0.25 };
    // What neighbours share is loaded once, from shared memory, if the block's tile is large.
    let border = ((wide + 14) * (high + 14)) as f64 / (wide * high) as f64;
    let loads = if staged == 1 {
        0.3 + 0.25 * border.ln()
    } else {
        0.35 + 0.1 * (threads as f64 / 64.0).log2().abs()
    };
    let cached = match (staged, read_only) {
        (0, 0) => 0.3,
        (1, 1) => 0.1,
        _ => 0.0,
    };
    let per_thread = 0.2 * ((work as f64).log2() - 2.6).powi(2);
    let occupied = 0.06 * ((threads as f64).log2() - 7.0).powi(2);
    Some(ragged(wide) + ragged(high) + lanes + loads + cached + per_thread + occupied)
}

impl Points for Grid {
    fn len(&self) -> usize {
        self.valid.len()
    }

    fn point(&self, index: usize) -> Vec<u16> {
        self.valid[index].clone()
    }

    fn values(&self) -> Vec<Vec<Value>> {
        self.values.iter().map(|values| values.iter().copied().map(Value::Int).collect()).collect()
    }

    fn index_of(&self, point: &[u16]) -> Option<usize> {
        // The points are in ascending order, as they were made.
        self.valid.binary_search_by(|other| other.as_slice().cmp(point)).ok()
    }
}
