//! As much linear algebra as a Gaussian process needs.

/// The lower triangular factor of a symmetric positive definite matrix, by row.
#[derive(Debug)]
pub(super) struct Lower(Vec<Vec<f64>>);

impl Lower {
    /// Cholesky's factor of the matrix whose lower triangle is given; none if it is not positive definite.
    pub(super) fn factor(mut triangle: Vec<Vec<f64>>) -> Option<Self> {
        for i in 0..triangle.len() {
            let (above, rest) = triangle.split_at_mut(i);
            let row = rest.first_mut()?;
            for (j, other) in above.iter().enumerate() {
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let square = row[i] - dot(&row[..i], &row[..i]);
            if square.is_nan() || square <= 0.0 {
                return None;
            }
            row[i] = square.sqrt();
        }
        Some(Self(triangle))
    }

    /// Solves for the factor.
    pub(super) fn solve_lower(&self, vector: &mut [f64]) {
        for (i, row) in self.0.iter().enumerate() {
            vector[i] = (vector[i] - dot(&row[..i], &vector[..i])) / row[i];
        }
    }

    /// Solves for the factor's transpose.
    fn solve_upper(&self, vector: &mut [f64]) {
        for (i, row) in self.0.iter().enumerate().rev() {
            vector[i] /= row[i];
            let value = vector[i];
            vector[..i].iter_mut().zip(row).for_each(|(cell, factor)| *cell -= factor * value);
        }
    }

    /// Solves for the matrix.
    pub(super) fn solve(&self, vector: &[f64]) -> Vec<f64> {
        let mut solution = vector.to_vec();
        self.solve_lower(&mut solution);
        self.solve_upper(&mut solution);
        solution
    }

    /// The matrix's inverse, by row.
    pub(super) fn inverse(&self) -> Vec<Vec<f64>> {
        let size = self.0.len();
        let unit = |i: usize| (0..size).map(|j| f64::from(u8::from(i == j))).collect::<Vec<_>>();
        (0..size).map(|i| self.solve(&unit(i))).collect()
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let matrix = [[4.0, 2.0, 0.6], [2.0, 3.0, 0.4], [0.6, 0.4, 2.0]];
        let triangle = matrix.iter().enumerate().map(|(i, row)| row[..=i].to_vec()).collect();
        let inverse = Lower::factor(triangle).unwrap().inverse();
        for (i, row) in matrix.iter().enumerate() {
            for j in 0..3 {
                let product: f64 = row.iter().zip(&inverse).map(|(cell, other)| cell * other[j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_has_no_factor() {
        assert!(Lower::factor(vec![vec![1.0], vec![2.0, 1.0]]).is_none());
        assert!(Lower::factor(vec![vec![f64::NAN]]).is_none());
    }
}
