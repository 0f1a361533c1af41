//! How long to wait before a request is made again.

use std::time::Duration;

/// The longest that a server's `Retry-After` is obeyed: a wrong one must not stop the reporter.
const LONGEST_ASKED: Duration = Duration::from_mins(2);

/// Waits that grow with every failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) longest: Duration,
    pub(super) failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The wait after one more failure: doubled each time, between half and all of that by `chance` (0 to 1), so
    /// that the reporters of a cluster do not come back all at once; and at least what the server asked for.
    pub(super) fn next(&mut self, chance: f64, asked: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let jittered = doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered))
    }

    /// A request has succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(SECOND, 30 * SECOND);
        let waits: Vec<_> = (0..7).map(|_| backoff.next(1.0, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        (0..100).for_each(|_| assert!(backoff.next(0.0, None) == 15 * SECOND));
        backoff.reset();
        assert_eq!(backoff.next(0.0, None), SECOND / 2);
    }

    #[test]
    fn what_the_server_asks_for_is_obeyed_within_reason() {
        let mut backoff = Backoff::new(SECOND, 30 * SECOND);
        assert_eq!(backoff.next(0.5, Some(7 * SECOND)), 7 * SECOND);
        assert_eq!(backoff.next(0.5, Some(Duration::from_secs(1 << 40))), 120 * SECOND);
        assert!(backoff.next(1.0, Some(Duration::ZERO)) == 4 * SECOND);
    }
}
