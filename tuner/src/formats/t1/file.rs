//! The fields of a tuning file, as they are written.
//!
//! The schema is T1 1.0.0, which Kernel Tuner carries; BAT's and Kernel Tuner's own files also have the
//! fields `ProblemSize`, `GridDivX` and so on, `MemType` and `Output`, which the schema leaves open.

use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
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
#[serde(rename_all = "PascalCase")]
pub(super) struct General {
    #[serde(default)]
    pub(super) benchmark_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ConfigurationSpace {
    pub(super) tuning_parameters: Vec<TuningParameter>,
    #[serde(default)]
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
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
#[serde(rename_all = "PascalCase")]
pub(super) struct Condition {
    pub(super) expression: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Budget {
    #[serde(rename = "Type")]
    pub(super) ty: String,
    pub(super) budget_value: f64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore<T> {
    More(Vec<T>),
    One(T),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
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
#[serde(rename_all = "PascalCase")]
pub(super) struct Sizes {
    pub(super) x: Json,
    #[serde(default)]
    pub(super) y: Option<Json>,
    #[serde(default)]
    pub(super) z: Option<Json>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
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
