//! The fields of a tuning file, as they are written.
//!
//! The schema is T1 1.0.0, which Kernel Tuner carries; BAT's and Kernel Tuner's own files also have the
//! fields `ProblemSize`, `GridDivX` and so on, `MemType` and `Output`, which the schema leaves open.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with ConfigurationSpace and KernelSpecification")]
pub(super) struct File {
    #[serde(default)]
    pub(super) general: General,
    pub(super) configuration_space: ConfigurationSpace,
    pub(super) kernel_specification: KernelSpecification,
    #[serde(default)]
    pub(super) budget: Option<OneOrMore<Budget>>,
    #[serde(default)]
    pub(super) search: Option<Json>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object such as {\"BenchmarkName\": \"convolution\"}")]
pub(super) struct General {
    #[serde(default)]
    pub(super) benchmark_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with TuningParameters and Conditions")]
pub(super) struct ConfigurationSpace {
    pub(super) tuning_parameters: Vec<TuningParameter>,
    #[serde(default)]
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with Name, Type, Values and Default")]
pub(super) struct TuningParameter {
    pub(super) name: String,
    #[serde(rename = "Type")]
    pub(super) ty: String,
    /// A string of Python; some writers put the list itself.
    pub(super) values: Json,
    #[serde(default)]
    pub(super) default: Option<Json>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object such as {\"Expression\": \"x > 1\"}")]
pub(super) struct Condition {
    pub(super) expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with Type and BudgetValue")]
pub(super) struct Budget {
    #[serde(rename = "Type")]
    pub(super) ty: String,
    pub(super) budget_value: f64,
}

/// A list, or its one item alone.
#[derive(Debug)]
pub(super) enum OneOrMore<T> {
    More(Vec<T>),
    One(T),
}

#[derive(Debug, Deserialize)]
#[serde(
    rename_all = "PascalCase",
    expecting = "an object with Language, KernelName, KernelFile and Arguments"
)]
pub(super) struct KernelSpecification {
    pub(super) language: String,
    #[serde(default)]
    pub(super) compiler_options: Vec<String>,
    pub(super) kernel_name: String,
    pub(super) kernel_file: String,
    #[serde(default)]
    pub(super) global_size_type: Option<String>,
    #[serde(default)]
    pub(super) global_size: Option<Sizes>,
    #[serde(default)]
    pub(super) local_size: Option<Sizes>,
    #[serde(default)]
    pub(super) problem_size: Option<OneOrMore<Json>>,
    #[serde(default)]
    pub(super) grid_div_x: Option<OneOrMore<Json>>,
    #[serde(default)]
    pub(super) grid_div_y: Option<OneOrMore<Json>>,
    #[serde(default)]
    pub(super) grid_div_z: Option<OneOrMore<Json>>,
    #[serde(default)]
    pub(super) shared_memory: Option<Json>,
    #[serde(default)]
    pub(super) arguments: Vec<Argument>,
    #[serde(default)]
    pub(super) reference_arguments: Vec<Json>,
}

/// Sizes by dimension: expressions, or numbers.
#[derive(Debug, Deserialize)]
#[serde(
    rename_all = "PascalCase",
    expecting = "an object such as {\"X\": \"block_size_x\", \"Y\": \"1\", \"Z\": \"1\"}"
)]
pub(super) struct Sizes {
    pub(super) x: Json,
    #[serde(default)]
    pub(super) y: Option<Json>,
    #[serde(default)]
    pub(super) z: Option<Json>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an object with Name, Type, MemoryType and Size")]
pub(super) struct Argument {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(rename = "Type")]
    pub(super) ty: String,
    pub(super) memory_type: String,
    /// Kernel Tuner's own: `Constant` for what is also copied to constant memory.
    #[serde(default)]
    pub(super) mem_type: Option<String>,
    #[serde(default)]
    pub(super) access_type: Option<String>,
    #[serde(default)]
    pub(super) size: Option<Json>,
    #[serde(default)]
    pub(super) fill_type: Option<String>,
    #[serde(default)]
    pub(super) fill_value: Option<Json>,
    #[serde(default)]
    pub(super) data_source: Option<String>,
    #[serde(default)]
    pub(super) output: Option<Json>,
}

impl<T> OneOrMore<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            OneOrMore::More(items) => items,
            OneOrMore::One(item) => std::slice::from_ref(item),
        }
    }
}

// Serde's untagged enums forget where in them an error is, and what.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Items(PhantomData))
    }
}

struct Items<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = OneOrMore<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list, or one item")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(OneOrMore::More)
    }

    fn visit_map<A: MapAccess<'de>>(self, item: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(item)).map(OneOrMore::One)
    }

    fn visit_i64<E: Error>(self, item: i64) -> Result<Self::Value, E> {
        T::deserialize(item.into_deserializer()).map(OneOrMore::One)
    }

    fn visit_u64<E: Error>(self, item: u64) -> Result<Self::Value, E> {
        T::deserialize(item.into_deserializer()).map(OneOrMore::One)
    }

    fn visit_f64<E: Error>(self, item: f64) -> Result<Self::Value, E> {
        T::deserialize(item.into_deserializer()).map(OneOrMore::One)
    }

    fn visit_str<E: Error>(self, item: &str) -> Result<Self::Value, E> {
        T::deserialize(item.into_deserializer()).map(OneOrMore::One)
    }
}
