//! What an expression's value can be when its variables are only known to lie in ranges.

use super::code::{Arithmetic, Comparison, Node, integer};

/// Least and greatest value, both included.
pub(crate) type Bounds = (i64, i64);

impl Node {
    /// Bounds of the value over all values of the variables in their ranges, by slot; they may be wider
    /// than need be. None if it may have no value for some, or nothing useful is known.
    pub(super) fn bounds(&self, ranges: &[Bounds]) -> Option<Bounds> {
        match self {
            Node::Constant(value) => Some((*value, *value)),
            Node::Variable(slot) => ranges.get(*slot).copied(),
            Node::Negate(operand) => {
                let (low, high) = operand.bounds(ranges)?;
                Some((high.checked_neg()?, low.checked_neg()?))
            }
            Node::Not(operand) => operand.bounds(ranges).map(|(low, high)| (1 - high, 1 - low)),
            Node::Int(operator, operands) => {
                arithmetic(*operator, operands.0.bounds(ranges)?, operands.1.bounds(ranges)?)
            }
            Node::CompareInt(operator, operands) => {
                Some(comparison(*operator, operands.0.bounds(ranges)?, operands.1.bounds(ranges)?))
            }
            Node::And(operands) => match (operands.0.bounds(ranges), operands.1.bounds(ranges)) {
                (Some((_, 0)), _) | (_, Some((_, 0))) => Some((0, 0)),
                (a, b) => a.zip(b).map(|(a, b)| (a.0.min(b.0), a.1.min(b.1))),
            },
            Node::Or(operands) => match (operands.0.bounds(ranges), operands.1.bounds(ranges)) {
                (Some((1, _)), _) | (_, Some((1, _))) => Some((1, 1)),
                (a, b) => a.zip(b).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))),
            },
            Node::Conditional(parts) => match parts.0.bounds(ranges)? {
                (1, _) => parts.1.bounds(ranges),
                (_, 0) => parts.2.bounds(ranges),
                _ => {
                    let (yes, no) = (parts.1.bounds(ranges)?, parts.2.bounds(ranges)?);
                    Some((yes.0.min(no.0), yes.1.max(no.1)))
                }
            },
            Node::In(parts) => {
                let wanted = parts.0.bounds(ranges)?;
                let mut possible = 0;
                for element in &parts.1 {
                    possible |= comparison(Comparison::Equal, wanted, element.bounds(ranges)?).1;
                }
                Some((0, possible))
            }
            Node::Fail(_)
            | Node::NegateDouble(_)
            | Node::ToDouble(_)
            | Node::ToInt(_)
            | Node::Double(..)
            | Node::CompareDouble(..) => None,
        }
    }
}

fn arithmetic(operator: Arithmetic, a: Bounds, b: Bounds) -> Option<Bounds> {
    let divides = matches!(operator, Arithmetic::Divide | Arithmetic::Remainder | Arithmetic::CeilDiv);
    if divides && b.0 <= 0 && b.1 >= 0 {
        return None;
    }
    if operator == Arithmetic::Remainder && (a.0 != a.1 || b.0 != b.1) {
        // Smaller than the divisor, with the sign of the dividend; the least integer has its own rules.
        let most = b.0.checked_abs()?.max(b.1.checked_abs()?) - 1;
        let low = if a.0 < 0 { -most } else { 0 };
        let high = if a.1 > 0 { most.min(a.1) } else { 0 };
        return (a.0 > i64::MIN).then_some((low, high));
    }
    // Each operator is monotonic in each operand alone, so that the extremes are at the corners.
    let mut bounds: Option<Bounds> = None;
    for (x, y) in [(a.0, b.0), (a.0, b.1), (a.1, b.0), (a.1, b.1)] {
        let value = integer(operator, x, y).ok()?;
        bounds = Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
    }
    bounds
}

fn comparison(operator: Comparison, a: Bounds, b: Bounds) -> Bounds {
    let (always, never) = match operator {
        Comparison::Equal => (a.0 == a.1 && a == b, a.1 < b.0 || b.1 < a.0),
        Comparison::NotEqual => (a.1 < b.0 || b.1 < a.0, a.0 == a.1 && a == b),
        Comparison::Less => (a.1 < b.0, a.0 >= b.1),
        Comparison::LessOrEqual => (a.1 <= b.0, a.0 > b.1),
        Comparison::Greater => (a.0 > b.1, a.1 <= b.0),
        Comparison::GreaterOrEqual => (a.0 >= b.1, a.1 < b.0),
    };
    (i64::from(always), i64::from(!never))
}
