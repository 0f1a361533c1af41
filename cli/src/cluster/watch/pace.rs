//! How fast trials are made, and how long the rest takes.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back is looked: tasks report every five seconds, so less would jump.
const WINDOW: Duration = Duration::from_mins(1);
/// Less time says nothing.
const LEAST: Duration = Duration::from_secs(4);

/// Trials over the last minute.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When how many trials had been made, where that changed.
    noted: VecDeque<(Duration, i64)>,
    now: Duration,
}

impl Pace {
    /// Notes how many trials there are at a time since the beginning.
    pub(super) fn note(&mut self, now: Duration, trials: i64) {
        self.now = now;
        match self.noted.back() {
            Some(&(_, before)) if before == trials => {}
            // Fewer than before: another job, or a task that began anew.
            Some(&(_, before)) if before > trials => self.noted = VecDeque::from([(now, trials)]),
            _ => self.noted.push_back((now, trials)),
        }
        // The first one that is too old is kept: the window begins in the midst of it.
        while self.noted.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.noted.pop_front();
        }
    }

    /// Trials a second; none as long as that cannot be told.
    pub(super) fn per_second(&self) -> Option<f64> {
        let (&(first, from), &(_, to)) = (self.noted.front()?, self.noted.back()?);
        let time = self.now.saturating_sub(first);
        (to > from && time >= LEAST).then(|| (to - from) as f64 / time.as_secs_f64())
    }

    /// How long so many trials take at this pace; none where nothing is left, or no pace is known.
    pub(super) fn time_for(&self, trials: i64) -> Option<Duration> {
        let seconds = trials as f64 / self.per_second()?;
        (trials > 0).then(|| Duration::try_from_secs_f64(seconds.ceil()).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_that_of_the_last_minute() {
        let mut pace = Pace::default();
        let at = |second| Duration::from_secs(second);
        pace.note(at(0), 100);
        assert_eq!(pace.per_second(), None, "nothing has been seen yet");
        pace.note(at(5), 110);
        assert_eq!(pace.per_second(), Some(2.0));
        assert_eq!(pace.time_for(30), Some(at(15)));
        assert_eq!(pace.time_for(0), None);
        for (report, trials) in (1..40).zip((160..).step_by(50)) {
            pace.note(at(5 + report * 5), trials);
        }
        assert!((pace.per_second().unwrap() - 10.0).abs() < 1.0, "{pace:?}");
        pace.note(at(1000), 110 + 39 * 50);
        assert!(pace.per_second().unwrap_or(0.0) < 0.2, "it stands still: {pace:?}");
    }

    #[test]
    fn fewer_trials_than_before_begin_a_new_count() {
        let mut pace = Pace::default();
        pace.note(Duration::from_secs(0), 50);
        pace.note(Duration::from_secs(10), 70);
        pace.note(Duration::from_secs(11), 3);
        assert_eq!(pace.per_second(), None);
    }
}
