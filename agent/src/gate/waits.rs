//! How long requests waited, for reports.

use std::collections::BTreeMap;
use std::time::Duration;

use super::core::Need;

/// A kind of need, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeedKind {
    /// [`Need::Units`].
    Units,
    /// [`Need::Quiet`].
    Quiet,
    /// [`Need::Lanes`].
    Lanes,
    /// [`Need::AnyLane`].
    AnyLane,
}

impl From<&Need> for NeedKind {
    fn from(need: &Need) -> Self {
        match need {
            Need::Units(_) => Self::Units,
            Need::Quiet => Self::Quiet,
            Need::Lanes(_) => Self::Lanes,
            Need::AnyLane => Self::AnyLane,
        }
    }
}

/// How long the granted requests of one kind waited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// How many were granted.
    pub count: u64,
    /// The sum of their waits.
    pub total: Duration,
    /// The longest wait.
    pub max: Duration,
}

impl Waits {
    fn add(&mut self, wait: Duration) {
        self.count += 1;
        self.total += wait;
        self.max = self.max.max(wait);
    }
}

/// Counts one granted request.
pub(super) fn record(waits: &mut BTreeMap<NeedKind, Waits>, kind: NeedKind, wait: Duration) {
    waits.entry(kind).or_default().add(wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_counted_by_kind() {
        let mut waits = BTreeMap::new();
        for ms in [3, 9, 1] {
            record(&mut waits, NeedKind::Quiet, Duration::from_millis(ms));
        }
        record(&mut waits, NeedKind::AnyLane, Duration::ZERO);
        let (total, max) = (Duration::from_millis(13), Duration::from_millis(9));
        assert_eq!(waits[&NeedKind::Quiet], Waits { count: 3, total, max });
        assert_eq!(waits[&NeedKind::AnyLane].count, 1);
    }
}
