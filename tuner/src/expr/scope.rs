//! The variables that an expression may name.

use std::collections::HashMap;
use std::fmt;

use crate::kernel::Value;

/// The type of a variable or of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A signed 64-bit integer.
    Int,
    /// `true` or `false`.
    Bool,
    /// A 64-bit floating-point number.
    Double,
    /// A string, which can be compared for equality only.
    Text,
}

impl fmt::Display for Type {
    /// The name that CEL gives the type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Int => "int",
            Type::Bool => "bool",
            Type::Double => "double",
            Type::Text => "string",
        })
    }
}

/// The variables that an expression may name; each has a slot, in the order of their addition.
///
/// The value of a variable is an `i64` in its slot: an integer itself, a boolean as 0 or 1, a string as
/// the number under which it is interned here. A `Double` variable would hold its bits
/// ([`f64::to_bits`]). Intern every string that a variable can take before expressions are compiled: a
/// string literal that is not interned by then equals no variable.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    variables: Vec<(String, Type)>,
    slots: HashMap<String, usize>,
    texts: HashMap<String, i64>,
}

impl Scope {
    /// A scope without variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable and returns its slot; a name added before keeps its slot and type.
    pub fn add(&mut self, name: &str, ty: Type) -> usize {
        if let Some(&slot) = self.slots.get(name) {
            return slot;
        }
        let slot = self.variables.len();
        self.variables.push((name.to_owned(), ty));
        self.slots.insert(name.to_owned(), slot);
        slot
    }

    /// The slot of a variable.
    #[must_use]
    pub fn slot(&self, name: &str) -> Option<usize> {
        self.slots.get(name).copied()
    }

    /// Number of variables, which is the number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.variables.len()
    }

    /// Whether there is no variable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.variables.is_empty()
    }

    /// The names of the variables, by slot.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name.as_str())
    }

    /// The number that stands for a string; the same string has the same number.
    pub fn intern(&mut self, text: &str) -> i64 {
        if let Some(&id) = self.texts.get(text) {
            return id;
        }
        let id = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.texts.insert(text.to_owned(), id);
        id
    }

    /// The slot's content for a value: an integer itself, a boolean as 0 or 1, a string interned.
    pub fn encode(&mut self, value: &Value) -> i64 {
        match value {
            Value::Int(int) => *int,
            Value::Bool(bool) => i64::from(*bool),
            Value::Text(text) => self.intern(text),
        }
    }

    /// Slot and type of a variable.
    pub(super) fn variable(&self, name: &str) -> Option<(usize, Type)> {
        let slot = self.slot(name)?;
        self.variables.get(slot).map(|(_, ty)| (slot, *ty))
    }

    /// The number of an interned string.
    pub(super) fn text_id(&self, text: &str) -> Option<i64> {
        self.texts.get(text).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_added_twice_keeps_its_first_slot() {
        let mut scope = Scope::new();
        assert_eq!(scope.add("a", Type::Int), 0);
        assert_eq!(scope.add("b", Type::Bool), 1);
        assert_eq!(scope.add("a", Type::Bool), 0);
        assert_eq!(scope.variable("a"), Some((0, Type::Int)));
        assert_eq!(scope.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((scope.len(), scope.slot("b"), scope.slot("c")), (2, Some(1), None));
    }

    #[test]
    fn equal_strings_have_equal_numbers() {
        let mut scope = Scope::new();
        let a = scope.intern("a");
        assert_ne!(a, scope.intern("b"));
        assert_eq!(a, scope.encode(&Value::Text("a".into())));
        assert_eq!(scope.encode(&Value::Bool(true)), 1);
        assert_eq!(scope.encode(&Value::Int(-7)), -7);
    }
}
