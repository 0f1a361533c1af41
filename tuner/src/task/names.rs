//! Names, the entry point, and what else is checked without evaluating anything.

use std::collections::HashSet;

use super::{Checks, TIME_VARIABLE};
use crate::kernel::{Language, Source};

/// What to say of a name that is not a DNS label.
pub const NOT_A_DNS_LABEL: &str =
    "is not a DNS label; use at most 63 of a-z, 0-9 and -, with a letter or digit first and last";

impl Checks<'_> {
    /// Names of the kernel, the problem (with its position), its sizes and the metrics' variable.
    pub(super) fn names(&mut self, position: usize) {
        let (kernel, problem) = (self.kernel, self.problem);
        if !is_dns_label(&kernel.name) {
            self.refuse("name", &kernel.name, NOT_A_DNS_LABEL);
        }
        let field = format!("problems[{position}]");
        if !is_dns_label(&problem.name) {
            self.refuse(&format!("{field}.name"), &problem.name, NOT_A_DNS_LABEL);
        }
        if kernel.problems.iter().take(position).any(|other| other.name == problem.name) {
            let message = "is the name of an earlier problem too; give each problem of a kernel its own name";
            self.refuse(&format!("{field}.name"), &problem.name, message);
        }
        if problem.weight < 1 {
            let message = "is not a weight; write how often the kernel runs in one inference, at least 1";
            self.refuse(&format!("{field}.weight"), problem.weight, message);
        }
        for name in problem.sizes.keys() {
            let field = format!("{field}.sizes.{name}");
            if !is_c_identifier(name) || name == TIME_VARIABLE {
                self.refuse(&field, name, "cannot name a size; use a C identifier other than time_ns");
            }
        }
        for (i, parameter) in kernel.parameters.iter().enumerate() {
            if parameter.name == TIME_VARIABLE {
                let message = "is the variable of metrics that holds the time; rename the parameter";
                self.refuse(&format!("parameters[{i}].name"), &parameter.name, message);
            }
        }
        let mut arguments = HashSet::new();
        for (i, argument) in kernel.arguments.iter().enumerate() {
            let named = argument
                .buffer
                .iter()
                .map(|buffer| ("buffer", &buffer.name))
                .chain(argument.scalar.iter().map(|scalar| ("scalar", &scalar.name)));
            for (form, name) in named {
                let field = format!("arguments[{i}].{form}.name");
                if name.trim().is_empty() {
                    self.refuse(&field, name, "is empty; name every argument as the source does");
                } else if !arguments.insert(name.as_str()) {
                    self.refuse(&field, name, "is the name of an earlier argument too; rename one of them");
                }
            }
        }
    }

    /// The source and the function to tune in it.
    pub(super) fn entrypoint(&mut self) {
        let entrypoint = self.kernel.entrypoint.as_str();
        let Source { inline, config_map_key_ref } = &self.kernel.source;
        if inline.is_some() == config_map_key_ref.is_some() {
            let message = "needs exactly one of inline and configMapKeyRef: where the source text comes from";
            self.refuse("source", "", message);
        } else if self.source.trim().is_empty() {
            self.refuse("source", "", "is empty; write the kernel's source text");
        }
        if self.function("entrypoint", entrypoint) && !self.declares(entrypoint) {
            let message = format!(
                "missing entry point: the source has no function of that name; write the name of the function to tune, or add {entrypoint} to the source"
            );
            self.refuse("entrypoint", entrypoint, message);
        }
    }

    /// Whether the text can name a function of the source; if not, that is recorded.
    pub(super) fn function(&mut self, field: &str, name: &str) -> bool {
        if name.trim().is_empty() {
            self.refuse(field, name, "missing entry point: write the name of a function of the source");
            return false;
        }
        if self.kernel.language == Language::C && !is_c_identifier(name) {
            let message = "is not a C identifier; write the name of the function alone, without () or types";
            self.refuse(field, name, message);
            return false;
        }
        true
    }

    /// Whether the source has a word with the name of the function, less its namespace and template
    /// arguments. The compiler says the rest. A source that is not there is not to blame.
    pub(super) fn declares(&self, function: &str) -> bool {
        if self.source.trim().is_empty() {
            return true;
        }
        let name = function.split('<').next().unwrap_or(function);
        let name = name.rsplit("::").next().unwrap_or(name).trim();
        let mut words = self.source.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        words.any(|word| word == name)
    }
}

/// Whether Kubernetes takes the name for what becomes part of other names: a DNS label.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|&b| plain(b) || b == b'-')
        && bytes.first().is_some_and(|&b| plain(b))
        && bytes.last().is_some_and(|&b| plain(b))
}

fn is_c_identifier(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
