//! Figures derived from the time.

use std::collections::{BTreeMap, HashSet};

use super::{Checks, TIME_VARIABLE, Task};
use crate::expr::{Expression, Scope, Type};

impl Checks<'_> {
    /// The metrics, over parameters, sizes and the time, which takes the slot after them.
    pub(super) fn metrics(&mut self, scope: &Scope) -> Vec<(String, Expression)> {
        let kernel = self.kernel;
        let mut scope = scope.clone();
        scope.add(TIME_VARIABLE, Type::Int);
        let mut names = HashSet::new();
        let mut metrics = Vec::with_capacity(kernel.metrics.len());
        for (i, metric) in kernel.metrics.iter().enumerate() {
            let field = format!("metrics[{i}]");
            if metric.name.trim().is_empty() {
                self.refuse(
                    &format!("{field}.name"),
                    &metric.name,
                    "is empty; name the metric, such as gflops",
                );
            } else if !names.insert(metric.name.as_str()) {
                let message = "is the name of an earlier metric too; rename one of them";
                self.refuse(&format!("{field}.name"), &metric.name, message);
            }
            let field = format!("{field}.value");
            let Some(value) = self.expression(&field, &metric.value, &scope) else { continue };
            match value.result_type() {
                Type::Int | Type::Double => metrics.push((metric.name.clone(), value)),
                ty => {
                    let message = format!("is of type {ty}; a metric is a number, an int or a double");
                    self.refuse(&field, &metric.value, message);
                }
            }
        }
        metrics
    }
}

impl Task {
    /// The job's metrics of a configuration that took `time_ns` nanoseconds, by name. One that has no
    /// finite value is left out.
    #[must_use]
    pub fn metrics(&self, index: usize, time_ns: u64) -> BTreeMap<String, f64> {
        let mut slots = self.space.slots(index);
        slots.push(i64::try_from(time_ns).unwrap_or(i64::MAX));
        let values = self.metrics.iter().filter_map(|(name, expression)| {
            let value = expression.eval_double(&slots).ok().filter(|value| value.is_finite())?;
            Some((name.clone(), value))
        });
        values.collect()
    }
}
