//! The space as the strategies see it.

use rand::Rng;

use super::Space;
use crate::kernel::Value;
use crate::search::Points;

impl Points for Space {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn is_listed(&self) -> bool {
        Self::is_listed(self)
    }

    fn contains(&self, index: usize) -> bool {
        Self::contains(self, index)
    }

    fn sample(&self, rng: &mut dyn Rng) -> Option<usize> {
        Self::sample(self, rng)
    }

    fn point(&self, index: usize) -> Vec<u16> {
        Self::point(self, index)
    }

    fn values(&self) -> Vec<Vec<Value>> {
        self.parameters().iter().map(|parameter| parameter.values.clone()).collect()
    }

    fn index_of(&self, point: &[u16]) -> Option<usize> {
        self.index_of_point(point)
    }

    fn neighbours(&self, index: usize) -> Vec<usize> {
        Self::neighbours(self, index)
    }
}
