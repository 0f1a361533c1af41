//! How outputs are checked.

use super::{Checks, Task};
use crate::kernel::ElementType;

/// How far an output may be from the reference's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Largest relative error.
    pub relative: f64,
    /// Largest absolute error; unless set, the relative tolerance times the root mean square of the
    /// reference.
    pub absolute: Option<f64>,
}

impl Checks<'_> {
    /// Exactly one of a reference and `none: true`, and tolerances that are numbers.
    pub(super) fn verification(&mut self) {
        let verify = &self.kernel.verify;
        match (&verify.entrypoint, verify.none) {
            (None, false) => {
                let message = "names no reference; write entrypoint: <a function of the same source whose outputs are right>, or none: true to tune without verification";
                self.refuse("verify", "", message);
            }
            (Some(entrypoint), true) => {
                let message = "has both a reference and none: true; remove one of them";
                self.refuse("verify", entrypoint, message);
            }
            (Some(entrypoint), false) => {
                let field = "verify.entrypoint";
                if self.function(field, entrypoint) && !self.declares(entrypoint) {
                    let message = "missing entry point: the source has no function of that name; write the name of the reference, or none: true under verify";
                    self.refuse(field, entrypoint, message);
                }
            }
            (None, true) => {}
        }
        for (field, text) in [("verify.relative", &verify.relative), ("verify.absolute", &verify.absolute)] {
            if let Some(text) = text
                && number(text).is_none()
            {
                self.refuse(
                    field,
                    text,
                    "is not a tolerance; write a number of at least 0, such as \"1e-4\"",
                );
            }
        }
    }
}

impl Task {
    /// The tolerance for outputs of a type: the job's, else the type's.
    #[must_use]
    pub fn tolerance(&self, element: ElementType) -> Tolerance {
        let verify = &self.kernel.verify;
        let relative = verify.relative.as_deref().and_then(number);
        Tolerance {
            relative: relative.unwrap_or_else(|| element.default_tolerance()),
            absolute: verify.absolute.as_deref().and_then(number),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}
