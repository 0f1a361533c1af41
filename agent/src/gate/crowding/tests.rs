use std::collections::BTreeMap;
use std::ops::Range;

use super::super::core::{Capacity, Core, Event, Need};
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

    /// How long it shared, each time until it went back.
    fn shared(&self) -> Vec<Duration> {
        let [(_, true), ..] = self.changes[..] else { return Vec::new() };
        self.changes.chunks_exact(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).collect()
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
    assert!(play.changes.is_empty(), "each but one of eight waits, for a third of the time in all");
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
    assert_eq!(play.changes.len(), 1, "{:?}", play.changes);
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
    // A measurement of one step, then three of nothing; alone it first waits for eight.
    play.bursts_until(Duration::from_hours(1), 1, 8, 3);
    let shared = play.shared();
    assert!(shared.len() >= 3, "it goes back to see: {:?}", play.changes);
    assert!(shared.windows(2).all(|pair| pair[1] > pair[0] || pair[0] >= LAST_PATIENCE), "{shared:?}");
    assert!(shared.len() < 20, "{shared:?}");
    let others_leave = play.now;
    play.bursts_until(others_leave + 2 * LAST_PATIENCE, 1, 0, 3);
    assert!(!play.shares(), "and finds that they have left");
    let crowded = play.now + Duration::from_secs(8);
    play.bursts_until(crowded, 8, 0, 0);
    let few = play.now + Duration::from_mins(1);
    play.bursts_until(few, 1, 0, 19);
    let again = *play.shared().last().unwrap();
    assert!(again < 2 * FIRST_PATIENCE, "{again:?}: what was wrong long ago is forgotten");
}

#[test]
fn sharing_lasts_for_a_while_however_soon_there_are_few() {
    let mut play = Play::new();
    for _ in 0..3 {
        let crowded = play.now + Duration::from_secs(8);
        play.bursts_until(crowded, 8, 0, 0);
        let idle = play.now + Duration::from_mins(1);
        play.bursts_until(idle, 1, 0, 19);
    }
    let lengths = play.shared();
    assert_eq!(lengths.len(), 3);
    let short = FIRST_PATIENCE..2 * FIRST_PATIENCE;
    assert!(lengths.iter().all(|length| short.contains(length)), "{lengths:?}");
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

/// Runs that pass one gate, step by step, each with one measurer.
struct Node {
    core: Core,
    runs: Vec<Crowding>,
    /// Which run asked, and when it will have measured, by request.
    asked: BTreeMap<u64, (usize, Option<u32>)>,
    /// When each run comes next.
    next: Vec<Option<u32>>,
    measured: u32,
    shared: u32,
}

impl Node {
    fn new(runs: usize) -> Self {
        Self {
            core: Core::new(Capacity::Units(100)),
            runs: (0..runs).map(|_| Crowding::new()).collect(),
            asked: BTreeMap::new(),
            next: (0..runs).map(|run| Some(run as u32)).collect(),
            measured: 0,
            shared: 0,
        }
    }

    /// Each run measures at 25 % for `hold` steps, then does something else for `idle`.
    fn play(&mut self, steps: Range<u32>, hold: u32, idle: u32) {
        for step in steps {
            let (now, now_ms) = (STEP * step, u64::from(step));
            let over: Vec<u64> =
                self.asked.iter().filter(|(_, (_, end))| *end == Some(step)).map(|(id, _)| *id).collect();
            for id in over {
                let (run, _) = self.asked.remove(&id).unwrap();
                self.core.release(id, now_ms);
                self.runs[run].leaves(now);
                self.next[run] = Some(step + idle);
                self.measured += 1;
            }
            for run in 0..self.runs.len() {
                if self.next[run].is_some_and(|at| at <= step) {
                    self.next[run] = None;
                    let shares = self.runs[run].comes(now);
                    self.shared += u32::from(shares);
                    let id = u64::from(step) * 100 + run as u64;
                    let need = if shares { Need::Units(25) } else { Need::Quiet };
                    self.asked.insert(id, (run, None));
                    self.core.request(id, &need, None, now_ms).unwrap();
                }
            }
            for event in self.core.take_events() {
                let Event::Granted { id, .. } = event else { panic!("{event:?}") };
                let (run, end) = self.asked.get_mut(&id).unwrap();
                *end = Some(step + hold);
                self.runs[*run].enters(now);
            }
        }
    }
}

const HOUR: u32 = 72_000;

#[test]
fn runs_that_fill_a_gate_together_share_it_nearly_all_the_time() {
    for idle in 0..4 {
        let mut node = Node::new(4);
        node.play(0..HOUR, 2, idle);
        let at_most = 4 * HOUR / (2 + idle);
        assert!(node.measured > at_most * 9 / 10, "idle {idle}: {} of {at_most}", node.measured);
    }
}

#[test]
fn runs_that_do_not_fill_a_gate_together_are_alone() {
    let mut node = Node::new(4);
    node.play(0..HOUR, 1, 12);
    assert_eq!(node.shared, 0);
    let mut node = Node::new(4);
    node.play(0..HOUR, 2, 0);
    node.play(HOUR..2 * HOUR, 1, 19);
    // After an hour of sharing and one to find out.
    node.shared = 0;
    node.play(2 * HOUR..3 * HOUR, 1, 19);
    assert_eq!(node.shared, 0);
}
