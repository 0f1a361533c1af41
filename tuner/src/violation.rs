//! What is wrong with a specification.

use std::fmt;

/// One thing wrong with a specification: where, what was written, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `spec.kernels[0].constraints[1]`.
    pub path: String,
    /// The value as written; empty where there is none (a missing field).
    pub value: String,
    /// What is wrong and what to change, as a sentence without a full stop.
    pub message: String,
}

impl Violation {
    /// A violation at `path`, of `value`.
    pub fn new(path: impl Into<String>, value: impl fmt::Display, message: impl Into<String>) -> Self {
        Self { path: path.into(), value: value.to_string(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    /// `spec.kernels[0].constraints[1]: "x +": message`; a long value is cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 80;
        write!(f, "{}: ", self.path)?;
        if !self.value.is_empty() {
            let mut shown: String = self.value.chars().take(SHOWN).collect();
            if self.value.chars().nth(SHOWN).is_some() {
                shown.push_str("...");
            }
            write!(f, "{shown:?}: ")?;
        }
        f.write_str(&self.message)
    }
}
