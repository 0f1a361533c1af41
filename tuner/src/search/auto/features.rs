//! Points as rows of numbers that trees can cut.

use crate::kernel::Value;

use super::super::Points;

/// How points become rows: a number from 0 to 1 for every parameter that has more than one value, and two
/// more for sizes that are not all powers of two.
#[derive(Clone, Debug, Default)]
pub(super) struct Features {
    /// The parameter, and the number of each of its values.
    columns: Vec<(usize, Vec<f32>)>,
    /// The parameters with more than one value, and how many those are.
    several: Vec<(usize, usize)>,
}

impl Features {
    pub(super) fn of(points: &dyn Points) -> Self {
        let mut features = Self::default();
        for (parameter, values) in points.values().iter().enumerate().filter(|(_, v)| v.len() > 1) {
            features.several.push((parameter, values.len()));
            let columns = std::iter::once(numbers(values)).chain(divisibility(values).into_iter().flatten());
            features.columns.extend(columns.map(|column| (parameter, unit(column))));
        }
        features
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
        for &(parameter, values) in &self.several {
            let (x, y) = (a[parameter], b[parameter]);
            if x != y {
                distance += 1.0 + f64::from(x.abs_diff(y)) / (values - 1) as f64;
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

/// How often 2 divides a size, and the logarithm of what is left: lanes, banks and vectors come in powers of
/// two, and so do most problems, so that a tile of 96 is more like one of 160 than one of 128. None where all
/// values are powers of two, or not all are positive integers.
fn divisibility(values: &[Value]) -> Option<[Vec<f32>; 2]> {
    let mut twos = Vec::with_capacity(values.len());
    let mut odd = Vec::with_capacity(values.len());
    for value in values {
        let &Value::Int(size @ 1..) = value else { return None };
        let power = size.trailing_zeros();
        twos.push(power as f32);
        odd.push(((size >> power) as f32).log2());
    }
    odd.iter().any(|&log| log > 0.0).then_some([twos, odd])
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
        let features = Features::of(&Grid::of(&[2, 1, 2]));
        let mut row = Vec::new();
        features.push_row(&[0, 0, 1], &mut row);
        assert_eq!((features.width(), row), (2, vec![0.0, 1.0]));
    }

    #[test]
    fn sizes_also_act_by_what_divides_them() {
        let [twos, odd] = divisibility(&[16, 48, 64, 96].map(Value::Int)).unwrap();
        assert_eq!(twos, [4.0, 4.0, 6.0, 5.0]);
        assert_eq!(odd, [0.0, 3_f32.log2(), 0.0, 3_f32.log2()]);
        for plain in [[1, 2, 8], [0, 1, 3], [-3, 1, 3]] {
            assert!(divisibility(&plain.map(Value::Int)).is_none(), "{plain:?}");
        }
        assert!(divisibility(&["3", "5"].map(|text| Value::Text(text.into()))).is_none());
        assert_eq!(Features::of(&Grid::of(&[3, 4, 2])).width(), 7);
    }

    #[test]
    fn points_are_as_far_apart_as_their_parameters() {
        let features = Features::of(&Grid::of(&[3, 1, 2]));
        assert!((features.distance(&[0, 0, 0], &[1, 0, 1]) - 3.5).abs() < 1e-12);
    }
}
