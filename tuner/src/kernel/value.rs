//! Parameter values and configurations.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One value of a tuning parameter: an integer, a boolean or a string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`; reaches C and CUDA as `1` or `0`.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A string; reaches C and CUDA as it stands, so it may name a type or an expression.
    Text(String),
}

impl Value {
    /// The text that a `-D` macro of this value expands to.
    #[must_use]
    pub fn macro_text(&self) -> Cow<'_, str> {
        match self {
            Value::Bool(b) => Cow::Borrowed(if *b { "1" } else { "0" }),
            Value::Int(i) => Cow::Owned(i.to_string()),
            Value::Text(t) => Cow::Borrowed(t),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(i) => write!(f, "{i}"),
            Value::Text(t) => f.write_str(t),
        }
    }
}

/// Kubernetes has no "integer, boolean or string" type, so the schema leaves the value open
/// (`x-kubernetes-preserve-unknown-fields`) and validation names what is wrong.
impl schemars::JsonSchema for Value {
    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "An integer, a boolean or a string.",
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}

/// One value for every parameter of a kernel, by parameter name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Configuration(pub BTreeMap<String, Value>);

impl fmt::Display for Configuration {
    /// `block_m=64 unroll=4`, in the order of the names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{name}={value}")?;
        }
        Ok(())
    }
}

impl schemars::JsonSchema for Configuration {
    fn schema_name() -> Cow<'static, str> {
        "Configuration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "One value for every parameter, by parameter name.",
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true
        })
    }
}
