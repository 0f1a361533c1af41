//! What an expression is compiled to: a small tree over `i64`s that allocates nothing when it runs.
//!
//! Types are settled before: a node only ever meets operands of its own type. Booleans are 0 and 1,
//! doubles travel as their bits, strings as the numbers under which the scope interned them.

use super::EvalError;

/// Arithmetic on two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    CeilDiv,
    Min,
    Max,
}

/// Comparison of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One node of a compiled expression.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// A value known when the expression was compiled.
    Constant(i64),
    /// A part that has no value whatever the variables are, such as `1 / 0`.
    Fail(EvalError),
    /// The variable in a slot.
    Variable(usize),
    Negate(Box<Node>),
    NegateDouble(Box<Node>),
    ToDouble(Box<Node>),
    ToInt(Box<Node>),
    Not(Box<Node>),
    Int(Arithmetic, Box<(Node, Node)>),
    Double(Arithmetic, Box<(Node, Node)>),
    CompareInt(Comparison, Box<(Node, Node)>),
    CompareDouble(Comparison, Box<(Node, Node)>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Conditional(Box<(Node, Node, Node)>),
    /// Whether the first value is among the others; doubles never are here.
    In(Box<(Node, Vec<Node>)>),
}

impl Node {
    /// The value for the variables' values.
    pub(super) fn eval(&self, values: &[i64]) -> Result<i64, EvalError> {
        match self {
            Node::Constant(value) => Ok(*value),
            Node::Fail(error) => Err(*error),
            Node::Variable(slot) => values.get(*slot).copied().ok_or(EvalError::MissingValue),
            Node::Negate(operand) => operand.eval(values)?.checked_neg().ok_or(EvalError::Overflow),
            Node::NegateDouble(operand) => operand.eval(values).map(|v| bits(-double(v))),
            Node::ToDouble(operand) => operand.eval(values).map(|v| bits(v as f64)),
            Node::ToInt(operand) => truncate(double(operand.eval(values)?)),
            Node::Not(operand) => operand.eval(values).map(|v| i64::from(v == 0)),
            Node::Int(operator, operands) => {
                integer(*operator, operands.0.operand(values)?, operands.1.operand(values)?)
            }
            Node::Double(operator, operands) => {
                let (a, b) = (operands.0.operand(values)?, operands.1.operand(values)?);
                Ok(bits(floating(*operator, double(a), double(b))))
            }
            Node::CompareInt(operator, operands) => {
                let (a, b) = (operands.0.operand(values)?, operands.1.operand(values)?);
                Ok(i64::from(compare(*operator, &a, &b)))
            }
            Node::CompareDouble(operator, operands) => {
                let (a, b) = (operands.0.operand(values)?, operands.1.operand(values)?);
                Ok(i64::from(compare(*operator, &double(a), &double(b))))
            }
            Node::And(operands) => logic(operands, values, 0),
            Node::Or(operands) => logic(operands, values, 1),
            Node::Conditional(parts) => {
                if parts.0.eval(values)? == 0 {
                    parts.2.eval(values)
                } else {
                    parts.1.eval(values)
                }
            }
            Node::In(parts) => {
                let wanted = parts.0.eval(values)?;
                // An element without a value leaves the list without one, wherever it stands.
                let mut found = false;
                for element in &parts.1 {
                    found |= element.eval(values)? == wanted;
                }
                Ok(i64::from(found))
            }
        }
    }

    /// The same as [`Node::eval`], without a call for the most frequent operands.
    #[inline]
    fn operand(&self, values: &[i64]) -> Result<i64, EvalError> {
        match self {
            Node::Variable(slot) => values.get(*slot).copied().ok_or(EvalError::MissingValue),
            Node::Constant(value) => Ok(*value),
            other => other.eval(values),
        }
    }

    /// The same expression with the variables that `constant` knows replaced by their values, and every
    /// part that then depends on no variable by its result.
    pub(super) fn fold(&self, constant: &dyn Fn(usize) -> Option<i64>) -> Node {
        let pair = |p: &(Node, Node)| Box::new((p.0.fold(constant), p.1.fold(constant)));
        let one = |p: &Node| Box::new(p.fold(constant));
        let folded = match self {
            Node::Constant(_) | Node::Fail(_) => return self.clone(),
            Node::Variable(slot) => {
                return constant(*slot).map_or(Node::Variable(*slot), Node::Constant);
            }
            Node::Negate(operand) => Node::Negate(one(operand)),
            Node::NegateDouble(operand) => Node::NegateDouble(one(operand)),
            Node::ToDouble(operand) => Node::ToDouble(one(operand)),
            Node::ToInt(operand) => Node::ToInt(one(operand)),
            Node::Not(operand) => Node::Not(one(operand)),
            Node::Int(operator, operands) => Node::Int(*operator, pair(operands)),
            Node::Double(operator, operands) => Node::Double(*operator, pair(operands)),
            Node::CompareInt(operator, operands) => Node::CompareInt(*operator, pair(operands)),
            Node::CompareDouble(operator, operands) => Node::CompareDouble(*operator, pair(operands)),
            Node::And(operands) => return fold_logic(*pair(operands), 0),
            Node::Or(operands) => return fold_logic(*pair(operands), 1),
            Node::Conditional(parts) => {
                let (condition, yes, no) =
                    (parts.0.fold(constant), parts.1.fold(constant), parts.2.fold(constant));
                match condition {
                    Node::Constant(0) => return no,
                    Node::Constant(_) => return yes,
                    Node::Fail(error) => return Node::Fail(error),
                    condition => Node::Conditional(Box::new((condition, yes, no))),
                }
            }
            Node::In(parts) => Node::In(Box::new((
                parts.0.fold(constant),
                parts.1.iter().map(|element| element.fold(constant)).collect(),
            ))),
        };
        let mut variables = false;
        folded.visit_slots(&mut |_| variables = true);
        if variables { folded } else { folded.eval(&[]).map_or_else(Node::Fail, Node::Constant) }
    }

    /// Dividend and divisor of a comparison `dividend % divisor == 0`.
    pub(super) fn divisibility(&self) -> Option<(&Node, &Node)> {
        let Node::CompareInt(Comparison::Equal, sides) = self else { return None };
        match (&sides.0, &sides.1) {
            (Node::Int(Arithmetic::Remainder, parts), Node::Constant(0))
            | (Node::Constant(0), Node::Int(Arithmetic::Remainder, parts)) => Some((&parts.0, &parts.1)),
            _ => None,
        }
    }

    /// The comparison `dividend % divisor == 0`.
    pub(super) fn divisible(dividend: Node, divisor: Node) -> Node {
        let remainder = Node::Int(Arithmetic::Remainder, Box::new((dividend, divisor)));
        Node::CompareInt(Comparison::Equal, Box::new((remainder, Node::Constant(0))))
    }

    /// The factors of a product; none of anything else.
    pub(super) fn factors(&self) -> Vec<&Node> {
        fn collect<'a>(node: &'a Node, factors: &mut Vec<&'a Node>) {
            if let Node::Int(Arithmetic::Multiply, operands) = node {
                collect(&operands.0, factors);
                collect(&operands.1, factors);
            } else {
                factors.push(node);
            }
        }
        let mut factors = Vec::new();
        if let Node::Int(Arithmetic::Multiply, _) = self {
            collect(self, &mut factors);
        }
        factors
    }

    /// Calls `visit` with the slot of each variable, as often as it occurs.
    pub(super) fn visit_slots(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Node::Constant(_) | Node::Fail(_) => {}
            Node::Variable(slot) => visit(*slot),
            Node::Negate(operand)
            | Node::NegateDouble(operand)
            | Node::ToDouble(operand)
            | Node::ToInt(operand)
            | Node::Not(operand) => operand.visit_slots(visit),
            Node::Int(_, operands)
            | Node::Double(_, operands)
            | Node::CompareInt(_, operands)
            | Node::CompareDouble(_, operands)
            | Node::And(operands)
            | Node::Or(operands) => {
                operands.0.visit_slots(visit);
                operands.1.visit_slots(visit);
            }
            Node::Conditional(parts) => {
                parts.0.visit_slots(visit);
                parts.1.visit_slots(visit);
                parts.2.visit_slots(visit);
            }
            Node::In(parts) => {
                parts.0.visit_slots(visit);
                parts.1.iter().for_each(|element| element.visit_slots(visit));
            }
        }
    }
}

/// A double as a slot holds it.
pub(super) fn bits(value: f64) -> i64 {
    value.to_bits().cast_signed()
}

/// The double that a slot holds.
pub(super) fn double(value: i64) -> f64 {
    f64::from_bits(value.cast_unsigned())
}

/// `&&` (decided by 0) and `||` (decided by 1): the deciding value of either side decides, even beside an
/// error on the other.
fn logic(operands: &(Node, Node), values: &[i64], decisive: i64) -> Result<i64, EvalError> {
    match operands.0.eval(values) {
        Ok(value) if value == decisive => Ok(value),
        Ok(_) => operands.1.eval(values),
        Err(error) => match operands.1.eval(values) {
            Ok(value) if value == decisive => Ok(value),
            _ => Err(error),
        },
    }
}

fn fold_logic((left, right): (Node, Node), decisive: i64) -> Node {
    match (left, right) {
        (Node::Constant(value), other) | (other, Node::Constant(value)) => {
            if value == decisive {
                Node::Constant(value)
            } else {
                other
            }
        }
        (Node::Fail(error), Node::Fail(_)) => Node::Fail(error),
        pair if decisive == 0 => Node::And(Box::new(pair)),
        pair => Node::Or(Box::new(pair)),
    }
}

#[inline]
pub(super) fn integer(operator: Arithmetic, a: i64, b: i64) -> Result<i64, EvalError> {
    let divides = matches!(operator, Arithmetic::Divide | Arithmetic::Remainder | Arithmetic::CeilDiv);
    if divides && b == 0 {
        return Err(EvalError::DivisionByZero);
    }
    match operator {
        Arithmetic::Add => a.checked_add(b),
        Arithmetic::Subtract => a.checked_sub(b),
        Arithmetic::Multiply => a.checked_mul(b),
        Arithmetic::Divide => a.checked_div(b),
        Arithmetic::Remainder => a.checked_rem(b),
        Arithmetic::CeilDiv => a.checked_div(b).map(|quotient| {
            let remainder = a % b;
            // The quotient was cut towards zero, which is upwards unless the signs agree.
            quotient + i64::from(remainder != 0 && (remainder > 0) == (b > 0))
        }),
        Arithmetic::Min => Some(a.min(b)),
        Arithmetic::Max => Some(a.max(b)),
    }
    .ok_or(EvalError::Overflow)
}

fn floating(operator: Arithmetic, a: f64, b: f64) -> f64 {
    match operator {
        Arithmetic::Add => a + b,
        Arithmetic::Subtract => a - b,
        Arithmetic::Multiply => a * b,
        Arithmetic::Divide => a / b,
        Arithmetic::Remainder => a % b,
        Arithmetic::CeilDiv => (a / b).ceil(),
        Arithmetic::Min => a.min(b),
        Arithmetic::Max => a.max(b),
    }
}

#[inline]
fn compare<T: PartialOrd>(operator: Comparison, a: &T, b: &T) -> bool {
    match operator {
        Comparison::Equal => a == b,
        Comparison::NotEqual => a != b,
        Comparison::Less => a < b,
        Comparison::LessOrEqual => a <= b,
        Comparison::Greater => a > b,
        Comparison::GreaterOrEqual => a >= b,
    }
}

/// A double as an integer, cut towards zero.
fn truncate(value: f64) -> Result<i64, EvalError> {
    // 2^63, the first double that is too large; its negative still fits.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { Ok(value as i64) } else { Err(EvalError::Overflow) }
}
