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
    /// A message that tells more, in CEL.
    message_expression: Option<String>,
}

impl Rule {
    fn new(path: &'static str, expression: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path, expression: expression.into(), message: message.into(), message_expression: None }
    }

    pub(super) fn add(&self, object: &mut Map<String, Value>) {
        let rules = object.entry("x-kubernetes-validations").or_insert(json!([]));
        if let Value::Array(rules) = rules {
            let mut rule = json!({"rule": self.expression, "message": self.message});
            if let Some(expression) = &self.message_expression {
                rule["messageExpression"] = json!(expression);
            }
            rules.push(rule);
        }
    }
}

/// The rules of a `TuneJob`.
pub(super) fn job() -> Vec<Rule> {
    let mut rules = vec![immutable_spec()];
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
    // All of them are required.
    let fixed = ["jobName", "kernel", "problem", "shares", "index", "digest"];
    let same = fixed.map(|field| format!("self.{field} == oldSelf.{field}")).join(" && ");
    vec![Rule::new("spec", same, "only maxTrials may change, by the operator: edit the TuneJob")]
}

/// The rule that of a `TuneJob`'s spec only some fields may change.
///
/// It is one rule, which looks up as little as it can: Kubernetes evaluates it at every change of the status, too, and
/// looking a field up is what takes its time. (The `.?` of optionals looks up less, but Kubernetes cannot bound its cost.)
fn immutable_spec() -> Rule {
    // Until the job has passed the operator's checks, whatever is wrong may be mended.
    const FREE: &str = "!has(oldSelf.status) || !has(oldSelf.status.digest)";
    const MAY_CHANGE: &str = "only suspend, parallelism and search.maxTrials may change; make another job";
    // Required, or with a default.
    let always_there = [
        "shares",
        "neighbours",
        "kernels",
        "measure",
        "startDeadlineSeconds",
        "search.strategy",
        "search.seed",
    ];
    let optional = [
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "managedBy",
        "template",
        "search.options",
        "search.stopAfterStale",
        "search.target",
        "search.start",
    ];
    let (new, old) = ("self.spec.", "oldSelf.spec.");
    let same = always_there.map(|field| (field, format!("{new}{field} == {old}{field}")));
    let same_or_absent = optional.map(|field| {
        let (new, old) = (format!("{new}{field}"), format!("{old}{field}"));
        (field, format!("(has({new}) ? has({old}) && {new} == {old} : !has({old}))"))
    });
    let unchanged: Vec<(&str, String)> = same.into_iter().chain(same_or_absent).collect();
    let all: Vec<&str> = unchanged.iter().map(|(_, expression)| expression.as_str()).collect();
    let first: Vec<String> =
        unchanged.iter().map(|(field, expression)| format!("!({expression}) ? '{field}' : ")).collect();
    Rule {
        message_expression: Some(format!("({}'spec') + ' is immutable: {MAY_CHANGE}'", first.concat())),
        ..Rule::new("", format!("{FREE} || ({})", all.join(" && ")), format!("immutable: {MAY_CHANGE}"))
    }
}
