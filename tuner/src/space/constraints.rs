//! Constraints: compiled, and placed where each can be checked soonest.

use super::parameters::Domain;
use super::{field, order};
use crate::Violation;
use crate::expr::{Bounds, EvalError, Expression, ExpressionError, Scope, Type};

/// Compiles every constraint, reporting those that are wrong.
///
/// `untyped` says that some parameter has no type of its own because it is wrong itself: type errors may
/// then be no more than its echo.
pub(super) fn compile(
    path: &str,
    constraints: &[String],
    scope: &Scope,
    untyped: bool,
    violations: &mut Vec<Violation>,
) -> Vec<Expression> {
    let mut compiled = Vec::with_capacity(constraints.len());
    for (i, text) in constraints.iter().enumerate() {
        let message = match Expression::compile(text, scope) {
            Ok(expression) if expression.result_type() == Type::Bool => {
                compiled.push(expression);
                continue;
            }
            Ok(_) | Err(ExpressionError::Type { .. }) if untyped => continue,
            Ok(expression) => format!(
                "the result is {} where a constraint must be bool; compare it with something, as in x > 0",
                expression.result_type()
            ),
            Err(error) => error.to_string(),
        };
        violations.push(Violation::new(field(path, &format!("constraints[{i}]")), text, message));
    }
    compiled
}

/// What to do at each parameter of the search, in the order in which it takes them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) levels: Vec<Level>,
    /// What the constraints that depend on no parameter say: nothing, that no configuration is valid, or
    /// that they cannot be evaluated.
    pub(super) constant: Option<Result<(), EvalError>>,
}

/// One parameter of the search.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Which parameter it is.
    pub(super) slot: usize,
    /// The values that the parameter's own constraints let through, each with its part of the rank.
    pub(super) values: Vec<(i64, u64)>,
    /// How many values it has, let through or not.
    pub(super) raw_values: u64,
    /// How many values its own constraints could not be evaluated for.
    pub(super) undefined: u64,
    /// How many raw combinations of the later parameters there are.
    pub(super) below: u64,
    /// The constraints whose last parameter this is.
    pub(super) constraints: Vec<Expression>,
    /// The constraints that this parameter and later ones have a part in.
    pub(super) pending: Vec<Expression>,
    /// Least and greatest of the values.
    pub(super) range: Bounds,
}

/// What a list of constraints says about values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Valid,
    Rejected,
    Undefined,
}

/// Checks all: what one rejects is rejected, even where another cannot be evaluated.
pub(super) fn check(constraints: &[Expression], values: &[i64]) -> Verdict {
    let mut verdict = Verdict::Valid;
    for constraint in constraints {
        match constraint.eval_bool(values) {
            Ok(true) => {}
            Ok(false) => return Verdict::Rejected,
            Err(_) => verdict = Verdict::Undefined,
        }
    }
    verdict
}

impl Plan {
    /// Splits conjunctions, makes constants of the sizes and of parameters with a single value, orders the
    /// parameters, and places each part at the last parameter that it depends on.
    pub(super) fn new(constraints: &[Expression], domains: &[Domain], sizes: &[i64]) -> Self {
        let constant = |slot: usize| match domains.get(slot) {
            Some(domain) => domain.values.first().copied().filter(|_| domain.values.len() == 1),
            None => sizes.get(slot - domains.len()).copied(),
        };
        let mut plan = Plan::default();
        let mut own: Vec<Vec<Expression>> = domains.iter().map(|_| Vec::new()).collect();
        let mut shared: Vec<Expression> = Vec::new();
        let parts = constraints.iter().flat_map(|constraint| constraint.fold(&constant).conjuncts());
        for part in parts.flat_map(|part| part.implied().into_iter().chain([part])) {
            match *part.slots() {
                [] => match part.eval_bool(&[]) {
                    Ok(true) => {}
                    Ok(false) => plan.constant = Some(Ok(())),
                    Err(error) => plan.constant = plan.constant.or(Some(Err(error))),
                },
                [slot] => own[slot].push(part),
                _ => shared.push(part),
            }
        }
        let mut levels: Vec<Level> = domains
            .iter()
            .zip(&own)
            .enumerate()
            .map(|(slot, (domain, own))| level(slot, domain, own))
            .collect();
        let order = order::of(&levels, &shared);
        let place = |slot: usize| order.iter().position(|&other| other == slot).unwrap_or_default();
        for constraint in shared {
            let places: Vec<usize> = constraint.slots().iter().map(|&slot| place(slot)).collect();
            let last = places.iter().copied().max().unwrap_or_default();
            for &earlier in places.iter().filter(|&&place| place != last) {
                levels[order[earlier]].pending.push(constraint.clone());
            }
            levels[order[last]].constraints.push(constraint);
        }
        let mut below = 1;
        for &slot in order.iter().rev() {
            levels[slot].below = below;
            below *= levels[slot].raw_values;
        }
        levels.sort_by_key(|level| place(level.slot));
        plan.levels = levels;
        plan
    }
}

/// The values of a parameter that its own constraints let through.
fn level(slot: usize, domain: &Domain, own: &[Expression]) -> Level {
    let mut level = Level { slot, raw_values: domain.values.len() as u64, ..Level::default() };
    let mut values = vec![0; slot + 1];
    for (digit, &value) in domain.values.iter().enumerate() {
        values[slot] = value;
        match check(own, &values) {
            Verdict::Valid => level.values.push((value, digit as u64 * domain.stride)),
            Verdict::Rejected => {}
            Verdict::Undefined => level.undefined += 1,
        }
    }
    let ordered = || level.values.iter().map(|(value, _)| *value);
    level.range = (ordered().min().unwrap_or(0), ordered().max().unwrap_or(0));
    level
}
