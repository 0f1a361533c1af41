//! CEL text under construction: brackets only where they are needed, and the range of every integer, which
//! decides where Python's division and remainder are CEL's.

/// An expression in CEL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cel {
    text: String,
    binds: Binds,
    /// The least and the greatest value of an integer; of anything else it means nothing.
    range: (i128, i128),
}

/// How tightly the outermost operator binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Binds {
    Conditional,
    Or,
    And,
    Relation,
    Sum,
    Product,
    Sign,
    Primary,
}

/// Beyond this a range is not followed; no 64-bit result is.
const FAR: i128 = 1 << 96;

fn within(low: i128, high: i128) -> (i128, i128) {
    (low.clamp(-FAR, FAR), high.clamp(-FAR, FAR))
}

impl Cel {
    pub(super) fn int(value: i64) -> Self {
        let binds = if value < 0 { Binds::Sign } else { Binds::Primary };
        Self { text: value.to_string(), binds, range: (value.into(), value.into()) }
    }

    pub(super) fn variable(name: &str, low: i64, high: i64) -> Self {
        Self { text: name.to_owned(), binds: Binds::Primary, range: (low.into(), high.into()) }
    }

    /// A boolean or string variable or literal.
    pub(super) fn word(text: impl Into<String>) -> Self {
        Self { text: text.into(), binds: Binds::Primary, range: (0, 0) }
    }

    /// A string literal.
    pub(super) fn string(text: &str) -> Self {
        Self::word(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The integer that it always is, if it is known.
    pub(super) fn constant(&self) -> Option<i64> {
        (self.range.0 == self.range.1).then_some(self.range.0)?.try_into().ok()
    }

    pub(super) fn is_positive(&self) -> bool {
        self.range.0 > 0
    }

    pub(super) fn is_negative(&self) -> bool {
        self.range.1 < 0
    }

    pub(super) fn is_not_negative(&self) -> bool {
        self.range.0 >= 0
    }

    fn is_literal(&self, value: i64) -> bool {
        self.text == value.to_string()
    }

    fn bracketed(&self, least: Binds) -> String {
        if self.binds >= least { self.text.clone() } else { format!("({})", self.text) }
    }

    fn infix(left: &Self, operator: &str, right: &Self, binds: Binds, range: (i128, i128)) -> Self {
        // Chains group from the left, so only the right operand needs brackets at the same level.
        let tighter = match binds {
            Binds::Relation => Binds::Sum,
            Binds::Sum => Binds::Product,
            _ => Binds::Sign,
        };
        let first = if binds == Binds::Relation { tighter } else { binds };
        let text = format!("{} {operator} {}", left.bracketed(first), right.bracketed(tighter));
        Self { text, binds, range }
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let range = within(self.range.0 + other.range.0, self.range.1 + other.range.1);
        Self::infix(self, "+", other, Binds::Sum, range)
    }

    pub(super) fn subtract(&self, other: &Self) -> Self {
        let range = within(self.range.0 - other.range.1, self.range.1 - other.range.0);
        Self::infix(self, "-", other, Binds::Sum, range)
    }

    pub(super) fn multiply(&self, other: &Self) -> Self {
        if let (Ok(a), Ok(b)) = (self.text.parse::<i64>(), other.text.parse::<i64>())
            && let Some(product) = a.checked_mul(b)
        {
            return Self::int(product);
        }
        if self.is_literal(0) || other.is_literal(0) {
            return Self::int(0);
        }
        if self.is_literal(1) {
            return other.clone();
        }
        if other.is_literal(1) {
            return self.clone();
        }
        let (a, b) = (self.range, other.range);
        let corners = [(a.0, b.0), (a.0, b.1), (a.1, b.0), (a.1, b.1)].map(|(a, b)| a.saturating_mul(b));
        let low = corners.into_iter().min().unwrap_or(-FAR);
        let high = corners.into_iter().max().unwrap_or(FAR);
        Self::infix(self, "*", other, Binds::Product, within(low, high))
    }

    pub(super) fn negate(&self) -> Self {
        if let Some(negative) = self.text.parse::<i64>().ok().and_then(i64::checked_neg) {
            return Self::int(negative);
        }
        let range = within(-self.range.1, -self.range.0);
        Self { text: format!("-{}", self.bracketed(Binds::Primary)), binds: Binds::Sign, range }
    }

    /// Division as Python's `//`, which rounds down where CEL's cuts towards zero.
    pub(super) fn floor_divide(&self, by: &Self) -> Self {
        if by.is_literal(1) {
            return self.clone();
        }
        if self.is_not_negative() && by.is_not_negative() {
            return self.truncate_divide(by);
        }
        self.subtract(&self.modulo(by)).truncate_divide(by)
    }

    /// Division as CEL's own, which cuts towards zero.
    pub(super) fn truncate_divide(&self, by: &Self) -> Self {
        let largest = self.range.0.abs().max(self.range.1.abs());
        let range = if self.is_not_negative() && by.is_not_negative() {
            (self.range.0 / by.range.1.max(1), self.range.1 / by.range.0.max(1))
        } else {
            (-largest, largest)
        };
        Self::infix(self, "/", by, Binds::Product, range)
    }

    /// The remainder as Python's `%`, which has the sign of the divisor.
    pub(super) fn modulo(&self, by: &Self) -> Self {
        let largest = by.range.0.abs().max(by.range.1.abs());
        let remainder = |left: &Self, range| Self::infix(left, "%", by, Binds::Product, range);
        if self.is_not_negative() && by.is_not_negative() {
            return remainder(self, (0, self.range.1.min(largest)));
        }
        let range = if by.is_positive() { (0, largest - 1) } else { (-largest, largest) };
        remainder(&remainder(self, (-largest, largest)).add(by), range)
    }

    pub(super) fn ceil_divide(&self, by: &Self) -> Self {
        if by.is_literal(1) {
            return self.clone();
        }
        let least = i128::from(self.is_positive() && by.is_positive());
        let range = (least, self.range.1 / by.range.0.max(1) + 1);
        let largest = self.range.0.abs().max(self.range.1.abs());
        let range = if self.is_not_negative() && by.is_positive() { range } else { (-largest, largest) };
        Self::call("ceil_div", self, by, range)
    }

    pub(super) fn min(&self, other: &Self) -> Self {
        let range = (self.range.0.min(other.range.0), self.range.1.min(other.range.1));
        Self::call("min", self, other, range)
    }

    pub(super) fn max(&self, other: &Self) -> Self {
        let range = (self.range.0.max(other.range.0), self.range.1.max(other.range.1));
        Self::call("max", self, other, range)
    }

    fn call(function: &str, a: &Self, b: &Self, range: (i128, i128)) -> Self {
        Self { text: format!("{function}({}, {})", a.text, b.text), binds: Binds::Primary, range }
    }

    pub(super) fn compare(&self, operator: &str, other: &Self) -> Self {
        Self::infix(self, operator, other, Binds::Relation, (0, 0))
    }

    pub(super) fn is_in(&self, items: &[Self]) -> Self {
        let items: Vec<&str> = items.iter().map(Self::text).collect();
        let text = format!("{} in [{}]", self.bracketed(Binds::Sum), items.join(", "));
        Self { text, binds: Binds::Relation, range: (0, 0) }
    }

    pub(super) fn not(&self) -> Self {
        Self { text: format!("!{}", self.bracketed(Binds::Primary)), binds: Binds::Sign, range: (0, 0) }
    }

    pub(super) fn all(operands: &[Self]) -> Self {
        Self::joined(operands, " && ", Binds::And)
    }

    pub(super) fn any(operands: &[Self]) -> Self {
        Self::joined(operands, " || ", Binds::Or)
    }

    fn joined(operands: &[Self], operator: &str, binds: Binds) -> Self {
        if let [only] = operands {
            return only.clone();
        }
        let texts: Vec<String> = operands.iter().map(|operand| operand.bracketed(binds)).collect();
        Self { text: texts.join(operator), binds, range: (0, 0) }
    }

    pub(super) fn choose(&self, yes: &Self, no: &Self) -> Self {
        let (condition, first) = (self.bracketed(Binds::Or), yes.bracketed(Binds::Or));
        let range = (yes.range.0.min(no.range.0), yes.range.1.max(no.range.1));
        let text = format!("{condition} ? {first} : {}", no.text);
        Self { text, binds: Binds::Conditional, range }
    }
}
