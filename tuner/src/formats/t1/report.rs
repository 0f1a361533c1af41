//! What is said about a tuning file.

use serde_json::Value as Json;

use super::python::{Expr, PythonError, parse};
use crate::Violation;

/// What cannot be translated, and what changes its meaning a little when it is.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) refused: Vec<Violation>,
    pub(super) warnings: Vec<Violation>,
}

impl Report {
    pub(super) fn refuse(&mut self, path: impl Into<String>, value: &str, message: impl Into<String>) {
        self.refused.push(Violation::new(path, value, message));
    }

    pub(super) fn warn(&mut self, path: impl Into<String>, value: &str, message: impl Into<String>) {
        self.warnings.push(Violation::new(path, value, message));
    }

    /// What a step gave, or nothing and a refusal, unless that would only repeat an earlier one.
    pub(super) fn keep<T>(&mut self, path: &str, value: &str, result: Result<T, PythonError>) -> Option<T> {
        result
            .map_err(|error| {
                if !error.follows {
                    self.refuse(path, value, error.to_string());
                }
            })
            .ok()
    }

    /// The expression in a field: a string of Python, or a number.
    pub(super) fn expression(&mut self, path: &str, json: &Json) -> Option<(String, Expr)> {
        let text = match json {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            other => {
                self.refuse(path, &other.to_string(), "is neither a number nor an expression; write one");
                return None;
            }
        };
        let parsed = self.keep(path, &text, parse(&text))?;
        Some((text, parsed))
    }
}
