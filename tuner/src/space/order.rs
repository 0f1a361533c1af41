//! In which order the search takes the parameters.
//!
//! The order decides how many partial configurations are looked at before the constraints reject them. It
//! is chosen by an estimate of that number: every constraint is tried on a few random combinations of its
//! own parameters, and the parts that pass are taken to be independent.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::constraints::Level;
use crate::expr::Expression;

/// Combinations that each constraint is tried on.
const SAMPLES: u32 = 256;

/// How much a constraint lets through.
struct Filter {
    slots: Vec<usize>,
    passes: f64,
}

/// The parameters in the best order found: from every first one on, the next is always that which makes
/// the estimate grow least, and the cheapest of these orders and of the written one is taken. Parameters
/// without constraints come last.
pub(super) fn of(levels: &[Level], constraints: &[Expression]) -> Vec<usize> {
    let filters = filters(levels, constraints);
    let (bound, free): (Vec<usize>, Vec<usize>) =
        (0..levels.len()).partition(|slot| filters.iter().any(|filter| filter.slots.contains(slot)));
    let written = bound.clone();
    let greedy = bound.iter().map(|&first| greedy(first, &bound, levels, &filters));
    let mut best = (cost(&written, levels, &filters), written);
    for order in greedy {
        let cost = cost(&order, levels, &filters);
        // Only what is clearly better: an estimate is no reason to leave the order that was written.
        if cost < 0.9 * best.0 {
            best = (cost, order);
        }
    }
    best.1.into_iter().chain(free).collect()
}

fn filters(levels: &[Level], constraints: &[Expression]) -> Vec<Filter> {
    // The seed is fixed: the same job gets the same order.
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut values = vec![0; levels.len()];
    let mut filters = Vec::new();
    for constraint in constraints {
        let slots: Vec<usize> = constraint.slots().to_vec();
        let mut passed = 0;
        for _ in 0..SAMPLES {
            for &slot in &slots {
                let known = &levels[slot].values;
                if let Some((value, _)) = known.get(rng.random_range(0..known.len().max(1))) {
                    values[slot] = *value;
                }
            }
            passed += u32::from(constraint.eval_bool(&values) == Ok(true));
        }
        // One that passed nothing may still let something through.
        filters.push(Filter { slots, passes: (f64::from(passed) + 0.5) / (f64::from(SAMPLES) + 1.0) });
    }
    filters
}

fn greedy(first: usize, slots: &[usize], levels: &[Level], filters: &[Filter]) -> Vec<usize> {
    let mut order = vec![first];
    while order.len() < slots.len() {
        let growth = |&slot: &usize| growth(&order, slot, levels, filters);
        let next = slots
            .iter()
            .copied()
            .filter(|slot| !order.contains(slot))
            .min_by(|a, b| growth(a).total_cmp(&growth(b)).then(a.cmp(b)));
        order.extend(next);
    }
    order
}

/// By what factor the partial configurations become more when a parameter is added.
fn growth(order: &[usize], slot: usize, levels: &[Level], filters: &[Filter]) -> f64 {
    let known = |other: &usize| *other == slot || order.contains(other);
    let complete = |filter: &&Filter| filter.slots.contains(&slot) && filter.slots.iter().all(known);
    let passes: f64 = filters.iter().filter(complete).map(|filter| filter.passes).product();
    levels[slot].values.len() as f64 * passes
}

/// Partial configurations that are looked at.
fn cost(order: &[usize], levels: &[Level], filters: &[Filter]) -> f64 {
    let mut left = 1.0;
    let mut cost = 0.0;
    for (i, &slot) in order.iter().enumerate() {
        cost += left * levels[slot].values.len() as f64;
        left *= growth(&order[..i], slot, levels, filters);
    }
    cost
}
