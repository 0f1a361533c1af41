//! The depth-first search for valid configurations.

use super::constraints::{Plan, Verdict, check};
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

impl Limit {
    pub(super) fn violation(self, path: &str, raw: u64) -> Violation {
        match self {
            Limit::Configurations => Violation::new(
                field(path, "parameters"),
                "",
                format!(
                    "over {MAX_CONFIGURATIONS} of the {raw} combinations are valid, more than a search can \
                     use; add constraints or shorten the lists of values"
                ),
            ),
            Limit::Steps => Violation::new(
                field(path, "constraints"),
                "",
                format!(
                    "finding the valid ones among {raw} combinations takes too long; shorten the lists of \
                     values, or write constraints over fewer parameters each and list the parameters that \
                     share a constraint next to each other"
                ),
            ),
        }
    }
}

/// Walks the parameters in order, checking each constraint as soon as its parameters have values.
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
    let mut values: Vec<i64> = levels.iter().map(|_| 0).chain(sizes.iter().copied()).collect();
    let mut cursors = vec![0_usize; levels.len()];
    let mut ranks = vec![0_u64; levels.len() + 1];
    let mut ranges: Vec<Bounds> = levels.iter().map(|level| level.range).collect();
    let mut foresight: Vec<Foresight> = levels.iter().map(|_| Foresight::default()).collect();
    let mut steps = 0_u64;
    let mut depth = 0;
    loop {
        let level = &levels[depth];
        let Some(&(value, part)) = level.values.get(cursors[depth]) else {
            if depth == 0 {
                break;
            }
            ranges[depth] = level.range;
            depth -= 1;
            continue;
        };
        if cursors[depth] == 0 {
            found.undefined += level.undefined * level.stride;
        }
        cursors[depth] += 1;
        steps += 1;
        if steps > MAX_STEPS {
            return Err(Limit::Steps);
        }
        values[depth] = value;
        ranges[depth] = (value, value);
        let verdict = match check(&level.constraints, &values) {
            Verdict::Valid if foresight[depth].rejects(&level.pending, &ranges) => Verdict::Rejected,
            verdict => verdict,
        };
        match verdict {
            Verdict::Rejected => {}
            Verdict::Undefined => found.undefined += level.stride,
            Verdict::Valid => {
                let rank = ranks[depth] + part;
                if depth + 1 < levels.len() {
                    depth += 1;
                    cursors[depth] = 0;
                    ranks[depth] = rank;
                } else if found.ranks.len() < MAX_CONFIGURATIONS {
                    found.ranks.push(rank);
                } else {
                    return Err(Limit::Configurations);
                }
            }
        }
    }
    found.ranks.shrink_to_fit();
    Ok(found)
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
