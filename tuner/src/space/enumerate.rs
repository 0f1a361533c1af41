//! The depth-first search for valid configurations.

use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::constraints::{Level, Plan, Verdict, check};
use super::{MAX_CONFIGURATIONS, field};
use crate::Violation;
use crate::expr::{Bounds, Expression};

/// Most partial configurations that are looked at: minutes, not hours.
const MAX_STEPS: u64 = 4_000_000_000;

/// What the search found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ranks of the valid configurations, ascending.
    pub(super) ranks: Vec<u64>,
    /// Raw combinations that a constraint could not be evaluated for.
    pub(super) undefined: u64,
}

/// Why the search was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Over [`MAX_CONFIGURATIONS`] are valid.
    Configurations,
    /// Over [`MAX_STEPS`] were looked at.
    Steps,
}

/// What to say where there are too many to list, and too few among all combinations to find by chance.
pub(super) fn too_many(path: &str, raw: u64) -> Violation {
    let message = format!(
        "over {MAX_CONFIGURATIONS} of the {raw} combinations are valid, too many to list, and so few that random \
         combinations are hardly ever valid; write equalities so that a parameter follows from others in the source, or \
         shorten the lists of values"
    );
    Violation::new(field(path, "constraints"), "", message)
}

/// What to say where the search takes too long.
pub(super) fn too_long(path: &str, raw: u64) -> Violation {
    let message = format!(
        "finding the valid ones among {raw} combinations takes too long; shorten the lists of values, or write \
         constraints over fewer parameters each and list the parameters that share a constraint next to each other"
    );
    Violation::new(field(path, "constraints"), "", message)
}

/// Walks the parameters in the plan's order, checking each constraint as soon as its parameters have
/// values. The first parameters' values are shared out over the cores.
pub(super) fn enumerate(plan: &Plan, raw: u64, sizes: &[i64]) -> Result<Found, Limit> {
    let mut found = Found::default();
    match plan.constant {
        Some(Ok(())) => return Ok(found),
        Some(Err(_)) => return Ok(Found { undefined: raw, ..found }),
        None => {}
    }
    let levels = plan.levels.as_slice();
    if let Some(barren) = levels.iter().find(|level| level.values.is_empty()) {
        // Nothing is valid; do not walk the parameters before it to find that out.
        found.undefined = barren.undefined * (raw / barren.raw_values);
        return Ok(found);
    }
    let counts = Counts::default();
    let parts = if raw < SHARED_OUT { vec![Part::whole(levels, sizes)] } else { share_out(levels, sizes) };
    let walks: Vec<Result<Found, Limit>> =
        parts.into_par_iter().map(|part| Walk::new(levels, part, &counts).run()).collect();
    // What one thread has found stays true, however long another has looked.
    if walks.iter().any(|walk| matches!(walk, Err(Limit::Configurations))) {
        return Err(Limit::Configurations);
    }
    for walk in walks {
        let walk = walk?;
        found.undefined += walk.undefined;
        found.ranks.extend(walk.ranks);
        if found.ranks.len() > MAX_CONFIGURATIONS {
            return Err(Limit::Configurations);
        }
    }
    found.ranks.par_sort_unstable();
    found.ranks.shrink_to_fit();
    Ok(found)
}

/// Spaces with fewer raw combinations are walked by one thread.
const SHARED_OUT: u64 = 100_000;
/// Parts that a space is shared out in, at least; they differ in size.
const PARTS: usize = 64;
/// Steps between looks at what the other threads have counted.
const CHUNK: u64 = 1 << 16;

/// What all threads have counted together.
#[derive(Debug, Default)]
struct Counts {
    steps: AtomicU64,
    configurations: AtomicU64,
}

/// The first parameters with fixed values.
#[derive(Clone, Debug)]
struct Part {
    depth: usize,
    values: Vec<i64>,
    rank: u64,
}

impl Part {
    fn whole(levels: &[Level], sizes: &[i64]) -> Self {
        Self { depth: 0, values: levels.iter().map(|_| 0).chain(sizes.iter().copied()).collect(), rank: 0 }
    }
}

/// Fixes so many of the first parameters that there are enough parts. They are not checked: each walk
/// begins with that.
fn share_out(levels: &[Level], sizes: &[i64]) -> Vec<Part> {
    let mut parts = vec![Part::whole(levels, sizes)];
    for level in levels.iter().take(levels.len().saturating_sub(1)) {
        if parts.len() >= PARTS {
            break;
        }
        let fix = |part: &Part| {
            level
                .values
                .iter()
                .map(|&(value, rank)| {
                    let mut fixed = Part { depth: part.depth + 1, rank: part.rank + rank, ..part.clone() };
                    fixed.values[level.slot] = value;
                    fixed
                })
                .collect::<Vec<_>>()
        };
        parts = parts.iter().flat_map(fix).collect();
    }
    parts
}

/// One thread's depth-first walk.
struct Walk<'a> {
    levels: &'a [Level],
    part: Part,
    counts: &'a Counts,
    ranges: Vec<Bounds>,
    foresight: Vec<Foresight>,
    found: Found,
    steps: u64,
    counted: usize,
}

impl<'a> Walk<'a> {
    fn new(levels: &'a [Level], part: Part, counts: &'a Counts) -> Self {
        let mut ranges = vec![(0, 0); levels.len()];
        for level in levels {
            ranges[level.slot] = level.range;
        }
        let foresight = levels.iter().map(|_| Foresight::default()).collect();
        Self { levels, part, counts, ranges, foresight, found: Found::default(), steps: 0, counted: 0 }
    }

    fn run(mut self) -> Result<Found, Limit> {
        if self.enter() {
            self.walk()?;
        }
        self.found.ranks.shrink_to_fit();
        Ok(self.found)
    }

    /// Checks the fixed parameters; whether anything below them can be valid. Each combination of fixed
    /// values counts what is undefined in it once, in its own part.
    fn enter(&mut self) -> bool {
        for depth in 0..self.part.depth {
            let level = &self.levels[depth];
            let first = |later: &Level| later.values.first().map(|&(value, _)| value);
            let later = &self.levels[depth + 1..self.part.depth];
            let is_first_below = |fixed: &Level| Some(self.part.values[fixed.slot]) == first(fixed);
            // Of all parts that share what is fixed above, one speaks for them.
            let speaks = later.iter().all(is_first_below);
            if speaks && is_first_below(level) {
                self.found.undefined += level.undefined * level.below;
            }
            let value = self.part.values[level.slot];
            self.ranges[level.slot] = (value, value);
            match check(&level.constraints, &self.part.values) {
                Verdict::Valid => {}
                Verdict::Rejected => return false,
                Verdict::Undefined => {
                    self.found.undefined += if speaks { level.below } else { 0 };
                    return false;
                }
            }
        }
        true
    }

    fn walk(&mut self) -> Result<(), Limit> {
        let first = self.part.depth;
        let mut values = self.part.values.clone();
        let mut cursors = vec![0_usize; self.levels.len()];
        let mut ranks = vec![self.part.rank; self.levels.len() + 1];
        let mut depth = first;
        loop {
            let level = &self.levels[depth];
            let Some(&(value, part)) = level.values.get(cursors[depth]) else {
                if depth == first {
                    return self.report();
                }
                self.ranges[level.slot] = level.range;
                depth -= 1;
                continue;
            };
            if cursors[depth] == 0 {
                self.found.undefined += level.undefined * level.below;
            }
            cursors[depth] += 1;
            self.steps += 1;
            if self.steps.is_multiple_of(CHUNK) {
                self.report()?;
            }
            values[level.slot] = value;
            self.ranges[level.slot] = (value, value);
            let verdict = match check(&level.constraints, &values) {
                Verdict::Valid if self.foresight[depth].rejects(&level.pending, &self.ranges) => {
                    Verdict::Rejected
                }
                verdict => verdict,
            };
            match verdict {
                Verdict::Rejected => {}
                Verdict::Undefined => self.found.undefined += level.below,
                Verdict::Valid => {
                    let rank = ranks[depth] + part;
                    if depth + 1 < self.levels.len() {
                        depth += 1;
                        cursors[depth] = 0;
                        ranks[depth] = rank;
                    } else {
                        self.found.ranks.push(rank);
                    }
                }
            }
        }
    }

    /// Adds to what all threads have counted, and gives up where that is too much.
    fn report(&mut self) -> Result<(), Limit> {
        let new = (self.found.ranks.len() - self.counted) as u64;
        self.counted = self.found.ranks.len();
        let steps = self.counts.steps.fetch_add(std::mem::take(&mut self.steps), Ordering::Relaxed);
        let configurations = self.counts.configurations.fetch_add(new, Ordering::Relaxed) + new;
        if configurations > MAX_CONFIGURATIONS as u64 {
            return Err(Limit::Configurations);
        }
        if steps > MAX_STEPS { Err(Limit::Steps) } else { Ok(()) }
    }
}

/// Rejects a partial configuration that no values of the later parameters can make valid, for as long as
/// asking is worth its time.
#[derive(Debug, Default)]
struct Foresight {
    asked: u64,
    rejected: u64,
}

impl Foresight {
    fn rejects(&mut self, pending: &[Expression], ranges: &[Bounds]) -> bool {
        /// Questions before the first judgement.
        const TRIAL: u64 = 4096;
        /// One rejection in so many questions pays for them.
        const WORTH: u64 = 32;
        if pending.is_empty() || self.asked >= TRIAL && self.rejected * WORTH < self.asked {
            return false;
        }
        self.asked += 1;
        let rejects = pending.iter().any(|constraint| constraint.is_false_within(ranges));
        self.rejected += u64::from(rejects);
        rejects
    }
}
