//! Points as rows of numbers that trees can cut.

use crate::kernel::Value;

use super::super::Points;

/// How points become rows: a number from 0 to 1 for every parameter that has more than one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Features {
    /// The parameter, and the number of each of its values.
    columns: Vec<(usize, Vec<f32>)>,
}

impl Features {
    pub(super) fn of(points: &dyn Points) -> Self {
        let lists = points.values();
        let several = lists.iter().enumerate().filter(|(_, values)| values.len() > 1);
        Self { columns: several.map(|(parameter, values)| (parameter, unit(numbers(values)))).collect() }
    }

    /// Length of a row.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// Appends the row of a point.
    pub(super) fn push_row(&self, point: &[u16], row: &mut Vec<f32>) {
        for (parameter, numbers) in &self.columns {
            let number = point.get(*parameter).and_then(|&digit| numbers.get(usize::from(digit)));
            row.push(number.copied().unwrap_or_default());
        }
    }

    /// How far two points are apart: every parameter that differs counts for between 1 and 2.
    pub(super) fn distance(&self, a: &[u16], b: &[u16]) -> f64 {
        let mut distance = 0.0;
        for (parameter, numbers) in &self.columns {
            let (x, y) = (a[*parameter], b[*parameter]);
            if x != y {
                distance += 1.0 + f64::from(x.abs_diff(y)) / (numbers.len() - 1) as f64;
            }
        }
        distance
    }
}

/// Numbers shifted and scaled to 0 to 1.
fn unit(numbers: Vec<f32>) -> Vec<f32> {
    let low = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let high = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    numbers.into_iter().map(|number| (number - low) / (high - low).max(f32::MIN_POSITIVE)).collect()
}

/// The values as numbers: the logarithm of positive integers (of one more, where there is 0), for tile sizes
/// act by their ratios; the place in the list of texts.
fn numbers(values: &[Value]) -> Vec<f32> {
    let integers: Option<Vec<i64>> = values
        .iter()
        .map(|value| match value {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            Value::Text(_) => None,
        })
        .collect();
    match integers {
        Some(integers) => {
            let least = integers.iter().copied().min().unwrap_or_default();
            let number = |i: i64| match least {
                1.. => (i as f32).log2(),
                0 => (i as f32 + 1.0).log2(),
                _ => i as f32,
            };
            integers.into_iter().map(number).collect()
        }
        None => (0..values.len()).map(|place| place as f32).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::toy::Grid;

    #[test]
    fn sizes_act_by_their_ratios_and_texts_by_their_place() {
        assert_eq!(unit(numbers(&[1, 2, 4, 16].map(Value::Int))), [0.0, 0.25, 0.5, 1.0]);
        assert_eq!(unit(numbers(&[-10, 0, 10].map(Value::Int))), [0.0, 0.5, 1.0]);
        assert_eq!(unit(numbers(&["a", "c", "b"].map(|t| Value::Text(t.into())))), [0.0, 0.5, 1.0]);
        assert_eq!(unit(numbers(&[false, true].map(Value::Bool))), [0.0, 1.0]);
    }

    #[test]
    fn a_parameter_with_one_value_is_no_feature() {
        let features = Features::of(&Grid::of(&[3, 1, 2]));
        let mut row = Vec::new();
        features.push_row(&[2, 0, 1], &mut row);
        assert_eq!((features.width(), row), (2, vec![1.0, 1.0]));
    }
}
