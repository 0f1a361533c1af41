//! When a run's measurements should share the gate: a pure rule over what they waited for and held.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Over how long the means look back: by then what was before counts for a third.
const MEMORY: Duration = Duration::from_secs(4);
/// Measurements share once some queued for more than this part of the time...
const CROWDED: f64 = 0.5;
/// ...or all were kept out by others for more than this part...
const KEPT_OUT: f64 = 0.25;
/// ...and are alone again once they would keep the gate busy for less than this part of the time...
const ROOMY: f64 = 0.4;
/// ...and do not queue for others for more than this part.
const CALM: f64 = 0.2;
/// Measurements share for at least this long: most of the means is then about sharing.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// However often going back was wrong, it is tried again after this time.
const LAST_PATIENCE: Duration = Duration::from_mins(5);

/// Whether the gate is what a run's measurements wait for, so that they should share it.
///
/// A measurement that holds the whole gate is the better one, and costs nothing while compilers or the search are slower.
/// So measurements begin alone, and share where the gate is the bottleneck. Means over the last seconds tell:
///
/// - *queued*, the part of the time in which at least one measurement waited. It is not the single measurement's wait that
///   counts: of trials that are compiled together all but one wait, also where the gate is idle until the next are compiled.
/// - *kept out*, the part in which one waited and none of this run's held the gate: time that others took from it.
/// - *load*, how many measurements held the gate on average. By Little's law that is the time for which all of them
///   held it over the time that passed. So for those that share it, it is how busy they would keep the gate one after another.
///
/// Alone, *queued* over 0.5 or *kept out* over 0.25 means sharing. Then waits are short and say little, and *load* under 0.4,
/// with *queued* under 0.2, means going back. At a gate of this run's own the two rules cannot set each other off. Alone, one
/// waits only while another holds, so *queued* is at most *load*; and where they share, no fewer are measured and none
/// takes less time, so *load* does not fall by it. After a change to sharing it is over 0.5, then, until there is less to do.
///
/// Where others pass the same gate, as on a node, a run may wait for them and have little *load* itself. Going back is then
/// a trial of how full the gate still is. One that fails within the time for which measurements had shared doubles that
/// time, up to five minutes, so that such trials soon cost next to nothing; one that lasts makes it ten seconds again.
///
/// Moments are times since a start that the caller chooses, and never go back.
#[derive(Debug)]
pub(super) struct Crowding {
    at: Duration,
    waiting: u32,
    holding: u32,
    queued: f64,
    kept_out: f64,
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
            kept_out: 0.0,
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
        let part = |is_so: bool| f64::from(u8::from(is_so));
        self.queued = mean(self.queued, part(self.waiting > 0));
        self.kept_out = mean(self.kept_out, part(self.waiting > 0 && self.holding == 0));
        self.load = mean(self.load, f64::from(self.holding));
    }

    /// How many wait, and how many hold.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (u32, u32) {
        (self.waiting, self.holding)
    }

    fn decide(&mut self) {
        let is_crowded = self.queued > CROWDED || self.kept_out > KEPT_OUT;
        match self.stretch {
            Stretch::Start if is_crowded => self.stretch = Stretch::Shared(self.at),
            Stretch::Alone(since) if is_crowded => {
                let was_wrong = self.at.saturating_sub(since) < self.patience;
                self.patience =
                    if was_wrong { (self.patience * 2).min(LAST_PATIENCE) } else { FIRST_PATIENCE };
                self.stretch = Stretch::Shared(self.at);
            }
            Stretch::Shared(since)
                if self.at.saturating_sub(since) >= self.patience
                    && self.load < ROOMY
                    && self.queued < CALM =>
            {
                self.stretch = Stretch::Alone(self.at);
            }
            Stretch::Start | Stretch::Alone(_) | Stretch::Shared(_) => {}
        }
    }
}
