//! When a run's measurements should share the gate: a pure rule over what they waited for and held.

use std::time::Duration;

/// Over how long the means look back: by then what was before counts for a third.
const MEMORY: Duration = Duration::from_secs(4);
/// Measurements share once they queued for more than this part of the time...
const CROWDED: f64 = 0.5;
/// ...and are alone again once they would load a gate that each holds whole for less than this part of it.
const ROOMY: f64 = 0.4;
/// Measurements share for at least this long: most of the means is then about sharing.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// However often going back was wrong, it is tried again after this time.
const LAST_PATIENCE: Duration = Duration::from_mins(5);

/// Whether the gate is what a run's measurements wait for, so that they should share it.
///
/// A measurement that holds the gate whole is the better one, and costs nothing while compilers or the search are
/// slower. So measurements begin alone, and share where the gate is the bottleneck. Two means over the last seconds
/// tell:
///
/// - *queued*, the part of the time in which at least one measurement waited for the gate. It is not the wait of the
///   single measurement that counts: of trials that are compiled together all but one wait, also where the gate is idle
///   until the next ones are compiled.
/// - *load*, how many measurements held the gate on average. By Little's law that is the time that all of them held it
///   over the time that passed, so while they share it is the part of the time for which they would keep the gate busy
///   one after another.
///
/// Alone, over a half queued means sharing. There *queued* says nothing, for waits are short, so shared, a *load* under
/// 0.4 (and as little queueing) means going back. At a gate that is this run's own the two thresholds cannot set each
/// other off: alone, one waits only while another holds, so *queued* is at most *load*; and sharing, no fewer are measured
/// and each takes no less time, so *load* does not fall by it. A rule that has just begun to share thus has a *load* above
/// a half, until there is less to measure.
///
/// Where others pass the same gate, as on a node, a run may have queued for them and have little load itself. Going back
/// is then a trial of how full the gate still is. One that fails within the time that sharing took at least doubles that
/// time, up to five minutes, so that such trials soon cost next to nothing; one that lasts resets it.
///
/// Moments are times since a start that the caller chooses, and never go back.
#[derive(Debug)]
pub(super) struct Crowding {
    at: Duration,
    waiting: u32,
    holding: u32,
    queued: f64,
    load: f64,
    stretch: Stretch,
    patience: Duration,
}

/// What is done at present, and since when.
#[derive(Clone, Copy, Debug)]
enum Stretch {
    /// Not shared yet.
    Start,
    Alone(Duration),
    Shared(Duration),
}

impl Crowding {
    pub(super) fn new() -> Self {
        Self {
            at: Duration::ZERO,
            waiting: 0,
            holding: 0,
            queued: 0.0,
            load: 0.0,
            stretch: Stretch::Start,
            patience: FIRST_PATIENCE,
        }
    }

    /// A measurement comes to the gate. Whether it should ask for its share only, and not for everything.
    pub(super) fn comes(&mut self, now: Duration) -> bool {
        self.pass(now);
        self.waiting += 1;
        self.decide();
        matches!(self.stretch, Stretch::Shared(_))
    }

    /// One that waited holds the gate.
    pub(super) fn enters(&mut self, now: Duration) {
        self.pass(now);
        self.waiting = self.waiting.saturating_sub(1);
        self.holding += 1;
    }

    /// One that held the gate has left it.
    pub(super) fn leaves(&mut self, now: Duration) {
        self.pass(now);
        self.holding = self.holding.saturating_sub(1);
    }

    /// One that waited does so no more.
    pub(super) fn gives_up(&mut self, now: Duration) {
        self.pass(now);
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Takes the time up to now, in which nothing changed, into the means.
    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let kept = (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        let mean = |before: f64, meanwhile: f64| before * kept + meanwhile * (1.0 - kept);
        self.queued = mean(self.queued, f64::from(u8::from(self.waiting > 0)));
        self.load = mean(self.load, f64::from(self.holding));
    }

    /// How many wait, and how many hold.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.waiting, self.holding)
    }

    fn decide(&mut self) {
        let is_crowded = self.queued > CROWDED;
        match self.stretch {
            Stretch::Start if is_crowded => self.stretch = Stretch::Shared(self.at),
            Stretch::Alone(since) if is_crowded => {
                let was_wrong = self.at.saturating_sub(since) < self.patience;
                self.patience =
                    if was_wrong { (self.patience * 2).min(LAST_PATIENCE) } else { FIRST_PATIENCE };
                self.stretch = Stretch::Shared(self.at);
            }
            Stretch::Shared(since)
                if self.at.saturating_sub(since) >= self.patience && self.load.max(self.queued) < ROOMY =>
            {
                self.stretch = Stretch::Alone(self.at);
            }
            Stretch::Start | Stretch::Alone(_) | Stretch::Shared(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(50);

    /// Plays measurements that take one step each, at a gate that others may keep from them.
    struct Play {
        crowding: Crowding,
        now: Duration,
        /// When it changed its mind, and to what.
        changes: Vec<(Duration, bool)>,
    }

    impl Play {
        fn new() -> Self {
            Self { crowding: Crowding::new(), now: Duration::ZERO, changes: Vec::new() }
        }

        fn shares(&self) -> bool {
            self.changes.last().is_some_and(|change| change.1)
        }

        fn comes(&mut self) {
            let shares = self.crowding.comes(self.now);
            if shares != self.shares() {
                self.changes.push((self.now, shares));
            }
        }

        /// `count` measurements come at once, while others hold the gate for `others` steps: alone, one measures after
        /// the other; sharing, all do at once. Then nothing happens for some steps.
        fn burst(&mut self, count: u32, others: u32, idle: u32) {
            (0..count).for_each(|_| self.comes());
            if self.shares() {
                (0..count).for_each(|_| self.crowding.enters(self.now));
                self.now += STEP;
                (0..count).for_each(|_| self.crowding.leaves(self.now));
            } else {
                self.now += STEP * others;
                for _ in 0..count {
                    self.crowding.enters(self.now);
                    self.now += STEP;
                    self.crowding.leaves(self.now);
                }
            }
            self.now += STEP * idle;
        }

        fn bursts_until(&mut self, end: Duration, count: u32, others: u32, idle: u32) {
            while self.now < end {
                self.burst(count, others, idle);
            }
        }
    }

    #[test]
    fn a_single_measurer_stays_alone_however_busy_it_is() {
        let mut play = Play::new();
        play.bursts_until(Duration::from_mins(10), 1, 0, 0);
        assert!(play.changes.is_empty(), "{:?}", play.changes);
    }

    #[test]
    fn measurements_stay_alone_while_they_wait_for_one_another_and_the_gate_is_idle_most_of_the_time() {
        let mut play = Play::new();
        play.bursts_until(Duration::from_mins(10), 8, 0, 12);
        assert!(play.changes.is_empty(), "each but one of eight waits, for two fifths of the time in all");
    }

    #[test]
    fn a_gate_that_is_always_queued_for_is_shared_within_seconds_and_for_as_long_as_that_lasts() {
        let mut play = Play::new();
        play.bursts_until(Duration::from_mins(10), 8, 0, 0);
        assert_eq!(play.changes.len(), 1, "{:?}", play.changes);
        let (at, _) = play.changes[0];
        assert!(at > Duration::from_secs(2) && at < Duration::from_secs(5), "{at:?}");
    }

    #[test]
    fn a_gate_of_one_s_own_that_is_a_little_over_half_full_is_not_left_and_entered_in_turns() {
        let mut play = Play::new();
        // Alone, 12 steps of measuring and 8 idle; the same each second when they overlap.
        while play.now < Duration::from_mins(10) {
            let begun = play.now;
            play.burst(12, 0, 0);
            play.now = play.now.max(begun + STEP * 20);
        }
        assert!(play.changes.len() <= 1, "{:?}", play.changes);
    }

    #[test]
    fn measurements_are_alone_again_once_there_are_few() {
        let mut play = Play::new();
        play.bursts_until(Duration::from_secs(30), 8, 0, 0);
        assert!(play.shares());
        play.bursts_until(Duration::from_mins(1), 2, 0, 18);
        assert!(!play.shares());
        assert_eq!(play.changes.len(), 2, "{:?}", play.changes);
    }

    #[test]
    fn others_that_fill_the_gate_are_tried_less_and_less_often() {
        let mut play = Play::new();
        // One measurement, then as long nothing; alone it would wait three times as long as it measures.
        play.bursts_until(Duration::from_mins(60), 1, 8, 3);
        let shared: Vec<_> =
            play.changes.chunks(2).filter(|pair| pair.len() == 2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(shared.len() >= 3, "it goes back to see: {:?}", play.changes);
        assert!(shared.windows(2).all(|pair| pair[1] > pair[0] || pair[0] >= LAST_PATIENCE), "{shared:?}");
        assert!(shared.len() < 20, "{shared:?}");
        let others_leave = play.now;
        play.bursts_until(others_leave + 2 * LAST_PATIENCE, 1, 0, 3);
        assert!(!play.shares(), "and finds that they have left");
    }

    #[test]
    fn sharing_lasts_for_a_while_and_a_trial_that_lasts_makes_it_short_again() {
        let mut play = Play::new();
        for _ in 0..3 {
            let begun = play.changes.len();
            let crowded = play.now + Duration::from_secs(8);
            play.bursts_until(crowded, 8, 0, 0);
            let idle = play.now + Duration::from_mins(1);
            play.bursts_until(idle, 1, 0, 19);
            let [(from, true), (to, false)] = play.changes[begun..] else { panic!("{:?}", play.changes) };
            assert!(to - from >= FIRST_PATIENCE && to - from < 2 * FIRST_PATIENCE, "{:?}", to - from);
        }
    }

    #[test]
    fn who_gives_up_does_not_wait_for_ever() {
        let mut play = Play::new();
        play.comes();
        play.crowding.gives_up(play.now);
        play.now += Duration::from_mins(1);
        play.comes();
        assert!(!play.shares());
        play.now += Duration::from_mins(1);
        play.comes();
        assert!(play.shares(), "who does not, does");
    }
}
