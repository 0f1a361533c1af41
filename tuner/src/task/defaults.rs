//! The default configuration: what users have today, and the baseline of every speedup.

use super::{Checks, slots_of};
use crate::expr::Expression;
use crate::kernel::{Configuration, Parameter, Value};
use crate::space::Space;

impl Checks<'_> {
    /// The index of the default configuration. Values are checked even where there is no space.
    pub(super) fn default_configuration(&mut self, space: Option<&Space>) -> Option<usize> {
        let parameters = &self.kernel.parameters;
        let mut configuration = Configuration::default();
        let mut wrong = false;
        for (i, parameter) in parameters.iter().enumerate() {
            let Some(default) = &parameter.default else {
                configuration.0.extend(first_value(parameter).map(|v| (parameter.name.clone(), v)));
                continue;
            };
            if !offers(parameter, default) {
                let message = format!(
                    "is not among the values of {}; add it to them or choose one that is there",
                    parameter.name
                );
                self.refuse(&format!("parameters[{i}].default"), default, message);
                wrong = true;
            }
            configuration.0.insert(parameter.name.clone(), default.clone());
        }
        let space = space.filter(|_| !wrong)?;
        if let Some(index) = space.index_of(&configuration) {
            return Some(index);
        }
        if parameters.iter().all(|parameter| parameter.default.is_none()) {
            // Nobody asked for the first values: the first valid configuration is the default.
            return Some(space.first());
        }
        self.refuse_default(space, &configuration);
        None
    }

    fn refuse_default(&mut self, space: &Space, configuration: &Configuration) {
        let slots = slots_of(space.scope(), &self.kernel.parameters, configuration, self.problem);
        let violated: Vec<String> = self
            .kernel
            .constraints
            .iter()
            .filter(|text| {
                let constraint = Expression::compile(text, space.scope());
                constraint.is_ok_and(|constraint| constraint.eval_bool(&slots) != Ok(true))
            })
            .map(|text| format!("{text:?}"))
            .collect();
        let message = format!(
            "the default configuration violates {} for problem {:?}; change the parameters' defaults (the first value where none is set) or the constraint",
            violated.join(" and "),
            self.problem.name
        );
        self.refuse("parameters", configuration, message);
    }
}

/// The value that a parameter has where nobody sets a default.
fn first_value(parameter: &Parameter) -> Option<Value> {
    let from_range = || parameter.range.map(|range| Value::Int(range.min));
    parameter.values.first().cloned().or_else(from_range)
}

fn offers(parameter: &Parameter, value: &Value) -> bool {
    let in_range = match (parameter.range, value) {
        (Some(range), Value::Int(int)) => {
            (range.min..=range.max).contains(int)
                && int.checked_sub(range.min).is_none_or(|d| range.step > 0 && d % range.step == 0)
        }
        _ => false,
    };
    in_range || parameter.values.contains(value)
}
