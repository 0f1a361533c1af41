//! The kernel specification as users write it (the `kernels` entries of a `TuneJob`).
//!
//! These types only hold what was written. What it means, and whether it makes sense, is decided by
//! [`crate::task`], which turns a kernel and one of its problems into something that can be tuned.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Value;

/// A kernel to tune: source, entry point, parameters, constraints, launch and verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kernel {
    /// Name of the kernel, unique in the job: a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Language of the source.
    pub language: Language,
    /// Where the source text comes from.
    pub source: Source,
    /// The function to tune. In C, its parameters are the `arguments`, in order.
    #[schemars(length(min = 1, max = 512))]
    pub entrypoint: String,
    /// The sets of sizes that the kernel is tuned for, each on its own.
    #[schemars(length(min = 1, max = 100))]
    pub problems: Vec<Problem>,
    /// Arguments of the entry point, in order.
    #[schemars(length(min = 1, max = 64))]
    pub arguments: Vec<Argument>,
    /// What may be varied. Each parameter reaches the source as a macro of its own name.
    #[schemars(length(min = 1, max = 64))]
    pub parameters: Vec<Parameter>,
    /// CEL expressions over parameters and sizes that must all be true.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub constraints: Vec<String>,
    /// Launch sizes; CUDA only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<Launch>,
    /// How the source is compiled.
    #[serde(default)]
    pub compile: Compile,
    /// How outputs are checked.
    #[serde(default)]
    pub verify: Verify,
    /// Figures derived from the time, such as GFLOP/s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub metrics: Vec<Metric>,
}

/// Language of a kernel's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Language {
    /// CUDA C++, compiled by NVRTC.
    #[serde(rename = "CUDA")]
    Cuda,
    /// C, compiled by the system's compiler; runs on CPUs.
    C,
}

/// Where a kernel's source text comes from: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072))]
    pub inline: Option<String>,
    /// A key of a `ConfigMap` in the job's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
}

/// A key of a `ConfigMap` in the job's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapKeyRef {
    /// Name of the `ConfigMap`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// One set of sizes that a kernel is tuned for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Name of the problem, unique in the kernel: a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Sizes by name; variables of every expression.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub sizes: BTreeMap<String, i64>,
    /// How often the kernel runs with these sizes in one inference; weighs the totals.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub weight: i64,
}

fn one() -> i64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(weight: &i64) -> bool {
    *weight == 1
}

/// One argument of the entry point: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Argument {
    /// A pointer to memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
    /// A number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalar: Option<Scalar>,
}

/// A buffer argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Buffer {
    /// Name, unique among the arguments.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Type of an element.
    #[serde(rename = "type")]
    pub element: ElementType,
    /// CEL expression over the sizes: the number of elements.
    #[schemars(length(min = 1, max = 1024))]
    pub length: String,
    /// First contents. Inputs are `Uniform` unless said otherwise; an output without it is poisoned,
    /// an output with it is both read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
    /// Whether the kernel writes it; outputs are what verification compares.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output: bool,
    /// Whether the kernel uses it for what it works out on the way: it may be written, and is not compared.
    /// Before the first run it holds `init`, or poison; a run finds what the last one left, and must be right.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scratch: bool,
    /// Name of a `__constant__` or `__device__` variable of the source that receives the contents. The buffer
    /// is then no argument of the entry point. CUDA only, inputs only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub symbol: Option<String>,
}

/// First contents of a buffer, the same for every trial of a run's seed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Init {
    /// Uniform random: floats in [-1, 1), signed integers in [-8, 8), unsigned ones in [0, 16).
    #[default]
    Uniform,
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// The element's index (wrapping in narrow types).
    Index,
}

/// A scalar argument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scalar {
    /// Name, unique among the arguments.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub element: ElementType,
    /// CEL expression over parameters and sizes, or a number.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}

/// Type of a buffer's elements or of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it: kind and bits")]
pub enum ElementType {
    F16,
    Bf16,
    F32,
    F64,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
}

impl ElementType {
    /// Size of one element in bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Whether it is a floating-point type.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::Bf16 | Self::F32 | Self::F64)
    }

    /// The C type of the same layout.
    #[must_use]
    pub fn c_name(self) -> &'static str {
        match self {
            Self::F16 => "_Float16",
            Self::Bf16 => "__bf16",
            Self::F32 => "float",
            Self::F64 => "double",
            Self::I8 => "signed char",
            Self::U8 => "unsigned char",
            Self::I16 => "short",
            Self::U16 => "unsigned short",
            Self::I32 => "int",
            Self::U32 => "unsigned int",
            Self::I64 => "long long",
            Self::U64 => "unsigned long long",
        }
    }

    /// Relative tolerance of verification where the job names none: 0 for integers.
    #[must_use]
    pub fn default_tolerance(self) -> f64 {
        match self {
            Self::F64 => 1e-9,
            Self::F32 => 1e-4,
            Self::F16 => 1e-2,
            Self::Bf16 => 5e-2,
            _ => 0.0,
        }
    }
}

/// A tuning parameter: exactly one of `values` and `range`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parameter {
    /// Name: a C identifier, the macro that the source sees and the variable of expressions.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// The values to choose from, all of one type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub values: Vec<Value>,
    /// Integers from `min` to `max`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// The value that users have today: the baseline. The first one unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// Integers from `min` to `max`, both included, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// First value.
    pub min: i64,
    /// Last value, if a step falls on it.
    pub max: i64,
    /// Distance between two values.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1))]
    pub step: i64,
}

/// Launch sizes as CEL expressions, one to three of each: x, y, z.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Blocks in x, y, z.
    #[schemars(length(min = 1, max = 3), inner(length(min = 1, max = 1024)))]
    pub grid: Vec<String>,
    /// Threads of a block in x, y, z.
    #[schemars(length(min = 1, max = 3), inner(length(min = 1, max = 1024)))]
    pub block: Vec<String>,
    /// Dynamic shared memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub shared_memory: Option<String>,
}

/// How the source is compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compile {
    /// Options for the compiler, one a string.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub options: Vec<String>,
    /// How the problem's sizes reach the source.
    #[serde(default)]
    pub sizes: SizesAs,
}

/// How a problem's sizes reach the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SizesAs {
    /// Only through arguments, so that one compiled configuration serves every problem.
    #[default]
    Arguments,
    /// Also as a macro of each size's name: one compilation for every problem.
    Macros,
}

/// How outputs are checked: a reference entry point, or `none: true`, said out loud.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verify {
    /// A function of the same source and arguments whose outputs are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub entrypoint: Option<String>,
    /// The reference's launch sizes; CUDA only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch: Option<Launch>,
    /// Largest relative error, as a number in a string; by element type unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub relative: Option<String>,
    /// Largest absolute error, as a number in a string. Unless set: the relative tolerance times the
    /// root mean square of the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    pub absolute: Option<String>,
    /// Do not verify. The report says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
}

/// A figure derived from the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// Its name, such as `gflops`.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// CEL expression over parameters, sizes and `time_ns`.
    #[schemars(length(min = 1, max = 1024))]
    pub value: String,
}
