//! Axes with ticks at round numbers, linear or logarithmic, labelled in real units.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// What an axis shows.
#[derive(Clone, Debug)]
enum Unit {
    /// Nanoseconds, labelled in the fitting unit.
    Time,
    /// Milliseconds of search time.
    Elapsed,
    /// A number of things.
    Count,
    /// A ratio: `2x`.
    Ratio,
    /// A share in percent.
    Share,
    /// One row for each label, the first one at the top.
    Rows(Vec<String>),
}

/// One axis of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
    unit: Unit,
    ticks: Vec<f64>,
}

impl Axis {
    /// Times in nanoseconds from zero, or logarithmic where they span more than a factor of ten.
    pub(super) fn times(low: f64, high: f64) -> Self {
        let (low, high) = (low.max(1.0), high.max(1.0));
        if high / low > 10.0 {
            return Self::log(low / 1.15, high * 1.15, Unit::Time);
        }
        Self::linear(0.0, high * 1.08, Unit::Time, 5)
    }

    /// Times in nanoseconds, always logarithmic.
    pub(super) fn log_times(low: f64, high: f64) -> Self {
        Self::log(low.max(1.0), high.max(1.0), Unit::Time)
    }

    /// Ratios from 1 on, logarithmic where they exceed ten.
    pub(super) fn ratios(high: f64) -> Self {
        let high = high.max(1.2);
        if high > 10.0 {
            return Self::log(0.9, high * 1.15, Unit::Ratio);
        }
        Self::linear(1.0 - (high - 1.0) * 0.05, high + (high - 1.0) * 0.05, Unit::Ratio, 4)
    }

    /// Whole numbers from zero.
    pub(super) fn count(high: f64, ticks: usize) -> Self {
        let mut axis = Self::linear(0.0, high.max(1.0), Unit::Count, ticks);
        axis.ticks.retain(|t| t.fract() == 0.0);
        axis
    }

    /// Shares from none to the whole.
    pub(super) fn shares() -> Self {
        Self::linear(0.0, 100.0, Unit::Share, 5)
    }

    /// Search time in milliseconds from zero.
    pub(super) fn elapsed(high: f64) -> Self {
        let high = high.max(1000.0);
        let unit = elapsed_unit(high).0;
        let mut axis = Self::linear(0.0, high / unit, Unit::Elapsed, 5);
        axis.high = high;
        axis.ticks.iter_mut().for_each(|t| *t *= unit);
        axis
    }

    /// One row for each label, the first one at the top.
    pub(super) fn rows(labels: Vec<String>) -> Self {
        let count = labels.len() as f64;
        let ticks = (0..labels.len()).map(|row| row as f64).collect();
        Self { low: count - 0.5, high: -0.5, log: false, unit: Unit::Rows(labels), ticks }
    }

    /// How many labels the axis has.
    pub(super) fn ticks(&self) -> usize {
        self.ticks.len()
    }

    fn linear(low: f64, high: f64, unit: Unit, target: usize) -> Self {
        Self { low, high, log: false, unit, ticks: round_numbers(low, high, target) }
    }

    fn log(low: f64, high: f64, unit: Unit) -> Self {
        let mut ticks = round_magnitudes(low, high);
        if ticks.len() < 3 {
            ticks = round_numbers(low, high, 4);
        }
        Self { low, high, log: true, unit, ticks }
    }

    fn label(&self, value: f64) -> String {
        match &self.unit {
            Unit::Time if value < 1.0 => "0".to_owned(),
            Unit::Time => {
                let (unit, name) = match value {
                    ns if ns < 999.5 => (1.0, "ns"),
                    ns if ns < 999.5e3 => (1e3, "µs"),
                    ns if ns < 999.5e6 => (1e6, "ms"),
                    _ => (1e9, "s"),
                };
                format!("{} {name}", trimmed(value / unit))
            }
            Unit::Elapsed => {
                let (unit, name) = elapsed_unit(self.high);
                format!("{} {name}", trimmed(value / unit))
            }
            Unit::Count => trimmed(value),
            Unit::Ratio => format!("{}x", trimmed(value)),
            Unit::Share => format!("{} %", trimmed(value)),
            Unit::Rows(labels) => labels.get(value as usize).cloned().unwrap_or_default(),
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let position = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        let position = if position.is_finite() { position.clamp(-1.0, 2.0) } else { 0.0 };
        limit.0 + (position * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

fn elapsed_unit(high_ms: f64) -> (f64, &'static str) {
    match high_ms {
        ms if ms <= 180e3 => (1e3, "s"),
        ms if ms <= 180.0 * 60e3 => (60e3, "min"),
        _ => (3600e3, "h"),
    }
}

/// About `target` numbers between `low` and `high`, a round step apart.
fn round_numbers(low: f64, high: f64, target: usize) -> Vec<f64> {
    let rough = (high - low) / target.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return vec![low];
    }
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|s| s * magnitude).find(|s| *s >= rough * 0.75);
    let step = step.unwrap_or(rough);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last.min(first + 50)).map(|i| i as f64 * step).collect()
}

/// The numbers 1, 2 and 5 times a power of ten between `low` and `high`; only the powers where that were
/// too many.
fn round_magnitudes(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let factors: &[f64] = if high / low > 500.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let every = if last - first > 8 { 2 } else { 1 };
    let powers = (first..=last).step_by(every).map(|p| 10_f64.powi(p));
    let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * power));
    ticks.filter(|tick| (low..=high).contains(tick)).collect()
}

/// Four significant digits at most, without zeros at the end.
fn trimmed(value: f64) -> String {
    let decimals = if value == 0.0 { 0 } else { (3 - value.abs().log10().floor() as i32).clamp(0, 6) };
    let text = format!("{value:.*}", decimals as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|t| axis.label(*t)).collect()
    }

    #[test]
    fn a_narrow_range_of_times_is_linear_from_zero() {
        let axis = Axis::times(1_200_000.0, 4_000_000.0);
        assert!(!axis.log);
        assert_eq!(labels(&axis), ["0", "1 ms", "2 ms", "3 ms", "4 ms"]);
    }

    #[test]
    fn a_wide_range_of_times_is_logarithmic() {
        let axis = Axis::times(150_000.0, 3_000_000.0);
        assert!(axis.log);
        assert_eq!(labels(&axis), ["200 µs", "500 µs", "1 ms", "2 ms"]);
    }

    #[test]
    fn a_narrow_logarithmic_range_still_has_ticks() {
        assert!(Axis::log_times(1_000_000.0, 1_300_000.0).ticks() >= 3);
    }

    #[test]
    fn search_time_is_labelled_in_the_fitting_unit() {
        assert_eq!(labels(&Axis::elapsed(90_000.0)), ["0 s", "20 s", "40 s", "60 s", "80 s"]);
        assert!(labels(&Axis::elapsed(3_600_000.0)).contains(&"40 min".to_owned()));
        assert!(labels(&Axis::elapsed(86_400_000.0)).contains(&"10 h".to_owned()));
    }

    #[test]
    fn counts_have_whole_ticks() {
        assert_eq!(labels(&Axis::count(2.0, 5)), ["0", "1", "2"]);
    }

    #[test]
    fn a_logarithmic_axis_maps_decades_evenly() {
        let axis = Axis::log_times(10.0, 1000.0);
        assert_eq!(axis.map(&100.0, (0, 200)), 100);
        assert_eq!(axis.map(&0.0, (0, 200)), -200);
    }

    #[test]
    fn degenerate_ranges_have_an_axis() {
        for axis in
            [Axis::times(0.0, 0.0), Axis::log_times(5.0, 5.0), Axis::count(0.0, 4), Axis::elapsed(0.0)]
        {
            let _ = axis.map(&1.0, (0, 100));
            assert!(axis.ticks() < 60);
        }
    }
}
