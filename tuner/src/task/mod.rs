//! A kernel and one of its problems, checked and ready to be tuned.
//!
//! [`Task::build`] is where a specification becomes meaning: every name, expression and size is checked at
//! once, so that what a run meets later can only come from a candidate, never from the specification.

mod arguments;
mod defaults;
mod digest;
mod launch;
mod metrics;
mod names;
mod verification;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Violation;
use crate::expr::{Expression, Scope, Type};
use crate::kernel::{Configuration, ElementType, Init, Kernel, Parameter, Problem, SizesAs, Value};
use crate::space::Space;

pub use arguments::{Number, ScalarValue};
pub use launch::LaunchSizes;
pub use names::{NOT_A_DNS_LABEL, is_dns_label};
pub use verification::Tolerance;

use launch::LaunchExpressions;

/// The variable of metrics that holds the measured time in nanoseconds.
pub const TIME_VARIABLE: &str = "time_ns";

/// A kernel and one of its problems, checked and ready to be tuned.
#[derive(Clone, Debug)]
pub struct Task {
    /// The kernel as written.
    pub kernel: Kernel,
    /// The problem that it is tuned for.
    pub problem: Problem,
    /// The source text.
    pub source: String,
    /// Every valid configuration.
    pub space: Arc<Space>,
    /// Index in the space of the default configuration: the baseline.
    pub default: usize,
    /// Arguments of the entry point, in order, with their lengths for this problem.
    pub arguments: Vec<TaskArgument>,
    launch: Option<LaunchExpressions>,
    reference_launch: Option<LaunchExpressions>,
    metrics: Vec<(String, Expression)>,
}

/// One argument of the entry point, for one problem.
#[derive(Clone, Debug)]
pub enum TaskArgument {
    /// A pointer to memory.
    Buffer {
        /// Its name.
        name: String,
        /// Type of an element.
        element: ElementType,
        /// Number of elements.
        length: u64,
        /// First contents, where the job names them.
        init: Option<Init>,
        /// Whether the kernel writes it.
        output: bool,
        /// Whether the kernel may write it although it is no output.
        scratch: bool,
        /// The variable of the source that receives it, where it is no argument.
        symbol: Option<String>,
    },
    /// A number.
    Scalar {
        /// Its name.
        name: String,
        /// Its type.
        element: ElementType,
        /// Its value, over parameters and sizes.
        value: Expression,
    },
}

/// Where a check stands: the kernel, its path, and everything found so far.
struct Checks<'a> {
    path: &'a str,
    kernel: &'a Kernel,
    problem: &'a Problem,
    source: &'a str,
    found: Vec<Violation>,
}

impl Checks<'_> {
    /// Records a violation at a field of the kernel, such as `constraints[1]`.
    fn refuse(&mut self, field: &str, value: impl std::fmt::Display, message: impl Into<String>) {
        self.found.push(Violation::new(format!("{}.{field}", self.path), value, message));
    }

    /// Compiles an expression, or records why it cannot be.
    fn expression(&mut self, field: &str, text: &str, scope: &Scope) -> Option<Expression> {
        if text.trim().is_empty() {
            self.refuse(
                field,
                text,
                "is empty; write a CEL expression, such as a number or the name of a size",
            );
            return None;
        }
        Expression::compile(text, scope).map_err(|error| self.refuse(field, text, error.to_string())).ok()
    }
}

impl Task {
    /// Checks a kernel for one of its problems (an index into its list). `path` is where the kernel stands
    /// in the specification, such as `spec.kernels[0]`; `source` is its source text.
    ///
    /// # Errors
    /// Everything that is wrong with the kernel or the problem, each with its path and the way out. What
    /// concerns the kernel alone is the same violation for each of its problems.
    pub fn build(path: &str, kernel: &Kernel, problem: usize, source: &str) -> Result<Task, Vec<Violation>> {
        let Some(chosen) = kernel.problems.get(problem) else {
            let message = "has no problem to tune for; write at least one, such as {name: default}";
            return Err(vec![Violation::new(format!("{path}.problems"), "", message)]);
        };
        let mut checks = Checks { path, kernel, problem: chosen, source, found: Vec::new() };
        checks.names(problem);
        checks.entrypoint();
        checks.verification();

        let space = Space::build(path, &kernel.parameters, &kernel.constraints, &chosen.sizes);
        let (space, scope) = match space {
            Ok(space) => {
                let scope = space.scope().clone();
                (Some(space), scope)
            }
            Err(violations) => {
                checks.found.extend(violations);
                // Without a space the other expressions are still checked, so that all is said at once.
                (None, scope_of(&kernel.parameters, chosen))
            }
        };
        let arguments = checks.arguments(&scope);
        let launch = checks.launch(&scope);
        let reference_launch = checks.reference_launch(&scope);
        let metrics = checks.metrics(&scope);
        let default = checks.default_configuration(space.as_ref());

        let (Some(space), Some(default), true) = (space, default, checks.found.is_empty()) else {
            return Err(checks.found);
        };
        let task = Task {
            kernel: kernel.clone(),
            problem: chosen.clone(),
            source: source.to_owned(),
            space: Arc::new(space),
            default,
            arguments,
            launch,
            reference_launch,
            metrics,
        };
        match task.check_default_runs(path) {
            violations if violations.is_empty() => Ok(task),
            violations => Err(violations),
        }
    }

    /// `kernel/problem`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.kernel.name, self.problem.name)
    }

    /// The macros that the source sees at a configuration: name and text of every parameter, and of every
    /// size where the job asks for that.
    #[must_use]
    pub fn macros(&self, index: usize) -> Vec<(String, String)> {
        let configuration = self.space.configuration(index);
        let parameters = self.kernel.parameters.iter().filter_map(|parameter| {
            let value = configuration.0.get(&parameter.name)?;
            Some((parameter.name.clone(), value.macro_text().into_owned()))
        });
        let sizes = self.problem.sizes.iter().map(|(name, size)| (name.clone(), size.to_string()));
        let sizes = sizes.filter(|_| self.kernel.compile.sizes == SizesAs::Macros);
        parameters.chain(sizes).collect()
    }

    /// What cannot be known from types alone is tried with the default configuration: a baseline that
    /// cannot be launched is a mistake in the specification.
    fn check_default_runs(&self, path: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        let with = format!("with the default configuration ({})", self.space.configuration(self.default));
        if let Err(message) = self.scalar_values(self.default) {
            found.push(Violation::new(format!("{path}.arguments"), "", format!("{message}, {with}")));
        }
        for (field, sizes) in
            [("launch", self.launch(self.default)), ("verify.launch", self.reference_launch(self.default))]
        {
            if let Some(Err(message)) = sizes {
                let violation = Violation::new(format!("{path}.{field}"), "", format!("{message}, {with}"));
                if !found.iter().any(|v: &Violation| v.message == violation.message) {
                    found.push(violation);
                }
            }
        }
        found
    }
}

/// The scope that [`Space::scope`] would have: parameters in order, then sizes.
fn scope_of(parameters: &[Parameter], problem: &Problem) -> Scope {
    let mut scope = Scope::new();
    for parameter in parameters {
        let ty = match parameter.values.first() {
            Some(Value::Bool(_)) => Type::Bool,
            Some(Value::Text(_)) => Type::Text,
            Some(Value::Int(_)) | None => Type::Int,
        };
        scope.add(&parameter.name, ty);
        for value in &parameter.values {
            scope.encode(value);
        }
    }
    add_sizes(&mut scope, &problem.sizes);
    scope
}

fn add_sizes(scope: &mut Scope, sizes: &BTreeMap<String, i64>) {
    for name in sizes.keys() {
        scope.add(name, Type::Int);
    }
}

/// The slots of a configuration that need not be valid: parameters in order, then sizes.
fn slots_of(
    scope: &Scope,
    parameters: &[Parameter],
    configuration: &Configuration,
    problem: &Problem,
) -> Vec<i64> {
    // Every value of the parameters is known to the scope, so that encoding adds nothing.
    let mut scope = scope.clone();
    let values = parameters.iter().filter_map(|parameter| configuration.0.get(&parameter.name));
    let mut slots: Vec<i64> = values.map(|value| scope.encode(value)).collect();
    slots.extend(problem.sizes.values());
    slots
}

#[cfg(test)]
mod tests;
