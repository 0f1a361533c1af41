//! What is added to the derived schemas: how lists merge, and rules that Kubernetes checks at admission.

use serde_json::{Map, Value, json};

/// How server-side apply merges a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum ListType {
    /// Its elements are unique scalars.
    Set,
    /// Its elements are objects, unique by these keys.
    Map(&'static [&'static str]),
}

impl ListType {
    pub(super) fn set(self, list: &mut Map<String, Value>) {
        let (name, keys) = match self {
            Self::Set => ("set", None),
            Self::Map(keys) => ("map", Some(keys)),
        };
        list.insert("x-kubernetes-list-type".into(), json!(name));
        if let Some(keys) = keys {
            list.insert("x-kubernetes-list-map-keys".into(), json!(keys));
        }
    }
}

/// The lists of a `TuneJob` that are not atomic. Those of the spec are: their order numbers tasks and
/// configurations, and Kubernetes would call a set or a map in another order unchanged.
pub(super) const JOB_LISTS: &[(&str, ListType)] = &[
    ("status.conditions", ListType::Map(&["type"])),
    ("status.totals", ListType::Map(&["share", "neighbours"])),
];

/// The lists of a `TuneTask` that are not atomic.
pub(super) const TASK_LISTS: &[(&str, ListType)] = &[
    ("spec.shares", ListType::Set),
    ("status.conditions", ListType::Map(&["type"])),
    ("status.best", ListType::Map(&["share", "neighbours"])),
    ("status.gpu.units", ListType::Map(&["share"])),
];

/// A rule in CEL that Kubernetes checks on the object at a path.
pub(super) struct Rule {
    pub(super) path: &'static str,
    expression: String,
    message: String,
}

impl Rule {
    fn new(path: &'static str, expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path, expression: expression.into(), message: message.into() }
    }

    pub(super) fn add(&self, object: &mut Map<String, Value>) {
        let rules = object.entry("x-kubernetes-validations").or_insert(json!([]));
        if let Value::Array(rules) = rules {
            rules.push(json!({"rule": self.expression, "message": self.message}));
        }
    }
}

/// The rules of a `TuneJob`.
pub(super) fn job() -> Vec<Rule> {
    // Until the job has passed the operator's checks, whatever is wrong may be mended.
    const FREE: &str = "!has(oldSelf.status) || !has(oldSelf.status.digest)";
    const MAY_CHANGE: &str = "only suspend, parallelism and search.maxTrials may change; make another job";
    let fixed = [
        "shares",
        "neighbours",
        "kernels",
        "measure",
        "activeDeadlineSeconds",
        "backoffLimit",
        "startDeadlineSeconds",
        "ttlSecondsAfterFinished",
        "managedBy",
        "template",
    ];
    let mut rules: Vec<Rule> = fixed
        .iter()
        .map(|field| {
            let rule = format!("{FREE} || ({})", unchanged(&format!("spec.{field}")));
            Rule::new("", rule, format!("{field} is immutable: {MAY_CHANGE}"))
        })
        .collect();
    rules.extend(["strategy", "options", "seed", "stopAfterStale", "target", "start"].iter().map(|field| {
        let there = "has(self.spec.search) == has(oldSelf.spec.search)";
        let same = unchanged(&format!("spec.search.{field}"));
        let rule = format!("{FREE} || ({there} && (!has(self.spec.search) || ({same})))");
        Rule::new("", rule, format!("search.{field} is immutable: {MAY_CHANGE}"))
    }));
    // No rule says "exactly one of values and range": to CEL, a list of values of any type does not exist.
    rules.extend([
        Rule::new(
            "spec.kernels[].source",
            "has(self.inline) != has(self.configMapKeyRef)",
            "write exactly one of inline and configMapKeyRef",
        ),
        Rule::new(
            "spec.kernels[].arguments[]",
            "has(self.buffer) != has(self.scalar)",
            "write exactly one of buffer and scalar",
        ),
        Rule::new(
            "spec.kernels[]",
            "(self.language == 'CUDA') == has(self.launch)",
            "a CUDA kernel needs launch; a C kernel must not have it",
        ),
        // On the kernel, because a rule on verify would refuse verify's own default.
        Rule::new(
            "spec.kernels[]",
            "has(self.verify) && has(self.verify.entrypoint) != (has(self.verify.none) && self.verify.none)",
            "verify needs exactly one of entrypoint and none: true",
        ),
    ]);
    rules
}

/// The rules of a `TuneTask`.
pub(super) fn task() -> Vec<Rule> {
    let fixed = ["jobName", "kernel", "problem", "shares", "index", "digest"];
    fixed
        .iter()
        .map(|field| Rule::new("spec", unchanged(field), format!("{field} is immutable: edit the TuneJob")))
        .collect()
}

/// The rule that a property neither changes nor comes nor goes.
fn unchanged(field: &str) -> String {
    format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    )
}
