//! A regression by extremely randomised trees.
//!
//! Each tree is grown on all samples; at each node a few features are drawn, each is cut at a uniformly
//! random place between its least and greatest value there, and the cut that leaves the least variance is
//! taken (Geurts, Ernst and Wehenkel, Extremely randomized trees, 2006). The spread of the trees'
//! predictions tells where the samples leave room for surprises.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// How trees are grown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    pub(super) trees: usize,
    /// Features drawn at each node.
    pub(super) features: usize,
    /// A node with fewer samples is not cut.
    pub(super) least_cut: usize,
}

/// Rows of features, one after the other.
#[derive(Clone, Debug)]
pub(super) struct Table {
    width: usize,
    pub(super) cells: Vec<f32>,
}

impl Table {
    /// No rows yet, of so many features each.
    pub(super) fn new(width: usize) -> Self {
        Self { width, cells: Vec::new() }
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.cells[row * self.width..(row + 1) * self.width]
    }

    pub(super) fn rows(&self) -> usize {
        self.cells.len().checked_div(self.width).unwrap_or(0)
    }
}

/// A grown forest.
#[derive(Clone, Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    roots: Vec<u32>,
}

/// A cut, or a leaf, which has no feature.
#[derive(Clone, Copy, Debug)]
struct Node {
    feature: u32,
    /// The first of the two children, the other of which follows it.
    child: u32,
    /// Where a cut is made, or a leaf's prediction.
    value: f32,
}

const LEAF: u32 = u32::MAX;

/// What a forest says of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Prediction {
    pub(super) mean: f64,
    /// Standard deviation between the trees.
    pub(super) spread: f64,
}

impl Forest {
    /// Grows a forest on the rows, of which each has a target.
    pub(super) fn grow(table: &Table, targets: &[f64], growth: Growth, rng: &mut ChaCha8Rng) -> Self {
        let mut forest = Self::default();
        if targets.is_empty() {
            return forest;
        }
        let mut samples: Vec<u32> = (0..targets.len() as u32).collect();
        for _ in 0..growth.trees {
            let mut grower = Grower { table, targets, growth, rng: SmallStream::of(rng) };
            let root = forest.nodes.len();
            forest.roots.push(root as u32);
            forest.nodes.push(Node { feature: LEAF, child: 0, value: 0.0 });
            grower.grow(&mut forest.nodes, root, &mut samples);
        }
        forest
    }

    /// Mean and spread over the trees.
    pub(super) fn predict(&self, row: &[f32]) -> Prediction {
        let (mut sum, mut squares) = (0.0, 0.0);
        for &root in &self.roots {
            let mut node = self.nodes[root as usize];
            while node.feature != LEAF {
                let right = u32::from(row[node.feature as usize] > node.value);
                node = self.nodes[(node.child + right) as usize];
            }
            let value = f64::from(node.value);
            sum += value;
            squares += value * value;
        }
        let trees = self.roots.len().max(1) as f64;
        let mean = sum / trees;
        Prediction { mean, spread: (squares / trees - mean * mean).max(0.0).sqrt() }
    }
}

/// A fast generator for one tree; its seed comes from the search's own.
struct SmallStream(u64);

impl SmallStream {
    fn of(rng: &mut ChaCha8Rng) -> Self {
        Self(rng.next_u64())
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Uniform in 0 to 1, 1 excluded.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}

struct Grower<'a> {
    table: &'a Table,
    targets: &'a [f64],
    growth: Growth,
    rng: SmallStream,
}

#[derive(Clone, Copy)]
struct Cut {
    feature: usize,
    at: f32,
    gain: f64,
}

impl Grower<'_> {
    fn grow(&mut self, nodes: &mut Vec<Node>, place: usize, samples: &mut [u32]) {
        let cut = if samples.len() < self.growth.least_cut { None } else { self.best_cut(samples) };
        let Some(cut) = cut else {
            let sum: f64 = samples.iter().map(|&s| self.targets[s as usize]).sum();
            nodes[place].value = (sum / samples.len() as f64) as f32;
            return;
        };
        let mut left = 0;
        for i in 0..samples.len() {
            if self.cell(samples[i], cut.feature) <= cut.at {
                samples.swap(i, left);
                left += 1;
            }
        }
        let child = nodes.len();
        nodes.extend([Node { feature: LEAF, child: 0, value: 0.0 }; 2]);
        nodes[place] = Node { feature: cut.feature as u32, child: child as u32, value: cut.at };
        let (before, after) = samples.split_at_mut(left);
        self.grow(nodes, child, before);
        self.grow(nodes, child + 1, after);
    }

    fn cell(&self, sample: u32, feature: usize) -> f32 {
        self.table.cells[sample as usize * self.table.width + feature]
    }

    /// The best of one random cut for each of a few features that differ here.
    fn best_cut(&mut self, samples: &[u32]) -> Option<Cut> {
        let mut best: Option<Cut> = None;
        let mut drawn = 0;
        // A feature that is the same everywhere here does not count as drawn, but ends the search in time.
        for _ in 0..self.growth.features * 4 {
            if drawn == self.growth.features {
                break;
            }
            let feature = self.rng.below(self.table.width);
            let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
            for &sample in samples {
                let cell = self.cell(sample, feature);
                low = low.min(cell);
                high = high.max(cell);
            }
            if low >= high {
                continue;
            }
            drawn += 1;
            let at = low + self.rng.unit() * (high - low);
            let at = if at >= high { low } else { at };
            let (mut count, mut sum, mut total) = (0.0, 0.0, 0.0);
            for &sample in samples {
                let target = self.targets[sample as usize];
                total += target;
                if self.cell(sample, feature) <= at {
                    count += 1.0;
                    sum += target;
                }
            }
            let rest = samples.len() as f64 - count;
            let gain = sum * sum / count + (total - sum) * (total - sum) / rest;
            if best.is_none_or(|best| gain > best.gain) {
                best = Some(Cut { feature, at, gain });
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const GROWTH: Growth = Growth { trees: 40, features: 2, least_cut: 2 };

    /// A step in the first feature; the second means nothing.
    fn steps() -> (Table, Vec<f64>) {
        let mut table = Table::new(2);
        let mut targets = Vec::new();
        for i in 0..30 {
            table.cells.extend([i as f32 / 30.0, (i * 11 % 30) as f32]);
            targets.push(if i < 15 { 1.0 } else { 5.0 });
        }
        (table, targets)
    }

    #[test]
    fn a_forest_knows_what_it_has_seen_and_doubts_what_lies_between() {
        let (table, targets) = steps();
        let forest = Forest::grow(&table, &targets, GROWTH, &mut ChaCha8Rng::seed_from_u64(1));
        for (row, target) in targets.iter().enumerate() {
            assert!((forest.predict(table.row(row)).mean - target).abs() < 1e-6);
        }
        let sure = forest.predict(&[0.1, 3.5]);
        let between = forest.predict(&[0.485, 3.5]);
        assert!(sure.spread < between.spread, "{sure:?} {between:?}");
        assert!(between.spread > 0.5 && (1.0..=5.0).contains(&between.mean), "{between:?}");
    }

    #[test]
    fn the_same_seed_grows_the_same_forest() {
        let (table, targets) = steps();
        let grow = |seed| {
            let forest = Forest::grow(&table, &targets, GROWTH, &mut ChaCha8Rng::seed_from_u64(seed));
            forest.predict(&[0.49, 8.0])
        };
        assert_eq!(grow(3), grow(3));
        assert_ne!(grow(3), grow(4));
    }

    #[test]
    fn rows_that_are_all_alike_make_one_leaf_and_nothing_seen_predicts_nothing() {
        let mut table = Table::new(1);
        table.cells.extend([2.0, 2.0, 2.0]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let forest = Forest::grow(&table, &[1.0, 2.0, 6.0], GROWTH, &mut rng);
        assert_eq!(forest.predict(&[0.0]), Prediction { mean: 3.0, spread: 0.0 });
        let nothing = Forest::grow(&Table::new(1), &[], GROWTH, &mut rng);
        assert_eq!(nothing.predict(&[0.0]), Prediction { mean: 0.0, spread: 0.0 });
    }
}
