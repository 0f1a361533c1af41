//! A regression by a Gaussian process, for as long as trials are few.
//!
//! Matérn kernel of smoothness 3/2 with a length of its own for every feature. Lengths and noise are
//! fitted by the gradient of their posterior (Rasmussen and Williams, Gaussian Processes for Machine
//! Learning, 2006, chapters 4 and 5), with a weak prior that keeps them sensible while trials are few.

use super::trees::Table;
use linear::{Lower, dot};

mod linear;

/// Logarithm of the noise's variance, of targets scaled to variance 1, before anything is known.
const NOISE: f64 = -4.0;
/// The noise's variance is never less: matrices stay regular.
const LEAST_NOISE: f64 = 1e-5;
/// Step of the fit, in logarithm of the parameters.
const RATE: f64 = 0.15;
/// How much of the gradient's mean and square the next step keeps.
const KEPT: (f64, f64) = (0.8, 0.9);
/// Where the logarithms stay.
const RANGE: (f64, f64) = (-6.0, 4.0);
const LEAST_VARIANCE: f64 = 1e-9;

/// Logarithms of the kernel's parameters.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    /// Of the inverse lengths.
    scales: Vec<f64>,
    /// Of the noise's variance.
    noise: f64,
}

impl Kernel {
    /// Lengths as long as the features' whole range.
    pub(super) fn new(width: usize) -> Self {
        Self { scales: vec![0.0; width], noise: NOISE }
    }

    /// Climbs the posterior, by Adam.
    fn fit(&mut self, rows: &[Vec<f64>], targets: &[f64], steps: i32) {
        let mut moments = vec![(0.0, 0.0); self.scales.len() + 1];
        for step in 1..=steps {
            let Some(gradient) = self.gradient(rows, targets) else { break };
            let (first, second) = (1.0 - KEPT.0.powi(step), 1.0 - KEPT.1.powi(step));
            let parameters = self.scales.iter_mut().chain([&mut self.noise]);
            for ((parameter, slope), (mean, square)) in parameters.zip(gradient).zip(&mut moments) {
                *mean = KEPT.0 * *mean + (1.0 - KEPT.0) * slope;
                *square = KEPT.1 * *square + (1.0 - KEPT.1) * slope * slope;
                let change = RATE * (*mean / first) / ((*square / second).sqrt() + 1e-6);
                *parameter = (*parameter + change).clamp(RANGE.0, RANGE.1);
            }
        }
    }

    /// Gradient of the log posterior; the priors are normal, of deviation 1. None if the covariances are
    /// singular.
    fn gradient(&self, rows: &[Vec<f64>], targets: &[f64]) -> Option<Vec<f64>> {
        let inverse_lengths = self.inverse_lengths();
        let noise = self.noise_variance();
        let scaled: Vec<Vec<f64>> = rows.iter().map(|row| scale(row, &inverse_lengths)).collect();
        let lower = Lower::factor(covariance(&scaled, noise))?;
        let weights = lower.solve(targets);
        let inverse = lower.inverse();

        let mut slopes: Vec<f64> = self.scales.iter().map(|scale| -scale).collect();
        let mut noise_slope = NOISE - self.noise;
        for (i, a) in scaled.iter().enumerate() {
            for (j, b) in scaled[..i].iter().enumerate() {
                let outer = weights[i] * weights[j] - inverse[i][j];
                let common = -3.0 * outer * (-3.0_f64.sqrt() * distance(a, b)).exp();
                for ((slope, a), b) in slopes.iter_mut().zip(a).zip(b) {
                    *slope += common * (a - b) * (a - b);
                }
            }
            noise_slope += 0.5 * (weights[i] * weights[i] - inverse[i][i]) * noise;
        }
        slopes.push(noise_slope);
        Some(slopes)
    }

    fn inverse_lengths(&self) -> Vec<f64> {
        self.scales.iter().map(|scale| scale.exp()).collect()
    }

    fn noise_variance(&self) -> f64 {
        self.noise.exp().max(LEAST_NOISE)
    }
}

/// A process that has seen some rows.
#[derive(Debug)]
pub(super) struct Process {
    scales: Vec<f64>,
    noise: f64,
    rows: Vec<Vec<f64>>,
    lower: Lower,
    weights: Vec<f64>,
    mean: f64,
    deviation: f64,
    least: f64,
}

impl Process {
    /// Fits the kernel, starting from what it is, and sees the rows and their targets.
    pub(super) fn fit(known: &Table, targets: &[f64], kernel: &mut Kernel, steps: i32) -> Self {
        let rows: Vec<Vec<f64>> = (0..targets.len()).map(|row| doubles(known.row(row))).collect();
        let count = targets.len().max(1) as f64;
        let mean = targets.iter().sum::<f64>() / count;
        let variance = targets.iter().map(|target| (target - mean) * (target - mean)).sum::<f64>() / count;
        let deviation = variance.sqrt().max(LEAST_VARIANCE);
        let centred: Vec<f64> = targets.iter().map(|target| (target - mean) / deviation).collect();
        kernel.fit(&rows, &centred, steps);

        let scales = kernel.inverse_lengths();
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| scale(row, &scales)).collect();
        let mut noise = kernel.noise_variance();
        let lower = loop {
            match Lower::factor(covariance(&rows, noise)) {
                Some(lower) => break lower,
                // Enough noise makes every covariance regular.
                None => noise *= 4.0,
            }
        };
        let weights = lower.solve(&centred);
        let least = targets.iter().copied().fold(f64::INFINITY, f64::min);
        Self { scales, noise, rows, lower, weights, mean, deviation, least }
    }
}

/// What a process says of some rows.
#[derive(Debug)]
pub(super) struct Posterior<'a> {
    process: &'a Process,
    rows: Vec<Vec<f64>>,
    means: Vec<f64>,
    /// Variances, of targets scaled to variance 1.
    variances: Vec<f64>,
    /// The part of each row's covariances that is known.
    known: Vec<Vec<f64>>,
}

impl<'a> Posterior<'a> {
    pub(super) fn new(process: &'a Process, table: &Table) -> Self {
        let mut posterior = Self {
            process,
            rows: Vec::with_capacity(table.rows()),
            means: Vec::with_capacity(table.rows()),
            variances: Vec::with_capacity(table.rows()),
            known: Vec::with_capacity(table.rows()),
        };
        for row in 0..table.rows() {
            let row = scale(&doubles(table.row(row)), &process.scales);
            let mut cross: Vec<f64> =
                process.rows.iter().map(|seen| correlation(distance(seen, &row))).collect();
            posterior.means.push(process.mean + process.deviation * dot(&cross, &process.weights));
            process.lower.solve_lower(&mut cross);
            posterior.variances.push(1.0 - dot(&cross, &cross));
            posterior.known.push(cross);
            posterior.rows.push(row);
        }
        posterior
    }

    /// By how much a row is expected to be less than the least target seen, where it is.
    pub(super) fn expected_improvement(&self, row: usize) -> f64 {
        let spread = self.process.deviation * self.variances[row].max(LEAST_VARIANCE).sqrt();
        let by = self.process.least - self.means[row];
        let z = by / spread;
        (by * normal::cumulative(z) + spread * normal::density(z)).max(0.0)
    }

    /// Makes the variances what they will be once a row's target is known.
    pub(super) fn expect(&mut self, row: usize) {
        let deviation = (self.variances[row].max(LEAST_VARIANCE) + self.process.noise).sqrt();
        let (expected, seen) = (self.rows[row].clone(), self.known[row].clone());
        for ((other, known), variance) in self.rows.iter().zip(&mut self.known).zip(&mut self.variances) {
            let joint = correlation(distance(other, &expected)) - dot(known, &seen);
            let part = joint / deviation;
            *variance -= part * part;
            known.push(part);
        }
    }
}

fn doubles(row: &[f32]) -> Vec<f64> {
    row.iter().map(|&cell| f64::from(cell)).collect()
}

fn scale(row: &[f64], scales: &[f64]) -> Vec<f64> {
    row.iter().zip(scales).map(|(cell, scale)| cell * scale).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// Matérn 3/2.
fn correlation(distance: f64) -> f64 {
    let scaled = 3.0_f64.sqrt() * distance;
    (1.0 + scaled) * (-scaled).exp()
}

/// Lower triangles of the covariances, by row.
fn covariance(rows: &[Vec<f64>], noise: f64) -> Vec<Vec<f64>> {
    let row = |(i, a): (usize, &Vec<f64>)| {
        rows[..i].iter().map(|b| correlation(distance(a, b))).chain([1.0 + noise]).collect()
    };
    rows.iter().enumerate().map(row).collect()
}

/// The standard normal distribution.
mod normal {
    pub(super) fn density(z: f64) -> f64 {
        (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
    }

    /// By formula 26.2.17 of Abramowitz and Stegun; its error is below 1e-7.
    pub(super) fn cumulative(z: f64) -> f64 {
        const COEFFICIENTS: [f64; 5] =
            [1.330_274_429, -1.821_255_978, 1.781_477_937, -0.356_563_782, 0.319_381_53];
        let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
        let polynomial = COEFFICIENTS.iter().fold(0.0, |sum, coefficient| sum * t + coefficient) * t;
        let tail = density(z) * polynomial;
        if z > 0.0 { 1.0 - tail } else { tail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[[f32; 2]]) -> Table {
        let mut table = Table::new(2);
        table.cells.extend(rows.iter().flatten());
        table
    }

    fn line() -> (Table, Vec<f64>) {
        let rows: Vec<[f32; 2]> = (0..12).map(|i| [i as f32 / 11.0, (i * 7 % 12) as f32 / 11.0]).collect();
        let targets = rows.iter().map(|row| f64::from(row[0]) * 2.0 - 1.0).collect();
        (table(&rows), targets)
    }

    #[test]
    fn it_remembers_what_it_saw_and_follows_it_in_between() {
        let (known, targets) = line();
        let process = Process::fit(&known, &targets, &mut Kernel::new(2), 30);
        let asked = table(&[[0.0, 0.0], [0.5, 0.5], [1.0, 0.3]]);
        let posterior = Posterior::new(&process, &asked);
        for (mean, expected) in posterior.means.iter().zip([-1.0, 0.0, 1.0]) {
            assert!((mean - expected).abs() < 0.1, "{mean} for {expected}");
        }
    }

    #[test]
    fn the_feature_that_matters_gets_the_shorter_length() {
        let (known, targets) = line();
        let mut kernel = Kernel::new(2);
        Process::fit(&known, &targets, &mut kernel, 30);
        assert!(kernel.scales[0] > kernel.scales[1] + 1.0, "{kernel:?}");
    }

    #[test]
    fn what_is_about_to_be_known_is_not_asked_again() {
        let (known, targets) = line();
        let process = Process::fit(&known, &targets, &mut Kernel::new(2), 5);
        let mut posterior = Posterior::new(&process, &table(&[[-0.9, 0.5], [-0.9, 0.52], [1.0, 0.3]]));
        let before = [0, 1].map(|row| posterior.expected_improvement(row));
        posterior.expect(0);
        assert!(posterior.expected_improvement(1) < 0.7 * before[1]);
        assert!(posterior.expected_improvement(0) < 0.7 * before[0]);
    }

    #[test]
    fn targets_that_are_all_alike_do_no_harm() {
        let known = table(&[[0.0, 0.0], [1.0, 1.0]]);
        let process = Process::fit(&known, &[0.0, 0.0], &mut Kernel::new(2), 5);
        assert!(Posterior::new(&process, &known).expected_improvement(0).is_finite());
    }

    #[test]
    fn the_normal_distribution_has_its_known_values() {
        for (z, expected) in [(0.0, 0.5), (1.0, 0.841_344_7), (-2.0, 0.022_750_1)] {
            assert!((normal::cumulative(z) - expected).abs() < 1e-6);
        }
    }
}
