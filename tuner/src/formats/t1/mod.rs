//! Tuning problems in the T1 format, which Kernel Tuner and BAT read, as kernels of a `TuneJob`.
//!
//! `docs/formats.md` has the table of fields and what becomes of each. What cannot be translated is refused,
//! all of it at once, by its path in the file; what only means a little less is a warning.

mod arguments;
mod baseline;
mod cel;
mod comparisons;
mod declarations;
mod file;
mod functions;
mod launch;
mod python;
mod reading;
mod report;
mod translate;
mod values;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::Violation;
use crate::expr::{Expression, Scope, Type};
use crate::kernel::{Compile, Kernel, Language, Parameter, Problem, SizesAs, Source, Value, Verify};
use crate::space::Space;

use baseline::valid_default;
use file::{File, OneOrMore};
use reading::{field_path, not_json, wrong_field};
use report::Report;
use translate::{Dimension, Names, Tunable};

/// Largest tuning file that is read, in bytes.
const MAX_BYTES: usize = 8 << 20;
/// Largest source that a job can hold, in bytes.
pub const MAX_SOURCE_BYTES: usize = 131_072;
/// Longest constraint that a job can hold, in bytes.
const MAX_CONSTRAINT_BYTES: usize = 1024;

/// How much of a constraint a refusal shows, in characters.
const SHOWN_CEL: usize = 200;

/// Fields that describe the benchmark or its output, for other tools.
const SILENT: [&str; 14] = [
    "General",
    "BenchmarkName",
    "FormatVersion",
    "LoggingLevel",
    "TimeUnit",
    "OutputFile",
    "OutputFormat",
    "BenchmarksPath",
    "BenchmarkPath",
    "Parameters",
    "Stream",
    "TypeSize",
    "Device",
    "RandomSeed",
];

/// A tuning file that has been read, before its source is.
#[derive(Debug)]
pub struct TuningFile {
    file: File,
    ignored: Vec<String>,
}

/// A kernel made from a tuning file.
#[derive(Clone, Debug, PartialEq)]
pub struct Imported {
    /// The kernel, with its source inline.
    pub kernel: Kernel,
    /// Trials of the search, where the file has a budget of them.
    pub max_trials: Option<u32>,
    /// What means a little less, or something else, than in the file: worth knowing, harmless.
    pub warnings: Vec<Violation>,
}

/// Reads a tuning file.
///
/// # Errors
/// When it is no JSON, lacks a field, has one of the wrong type, or is for a language that is not tuned
/// here.
pub fn read(text: &[u8]) -> Result<TuningFile, Vec<Violation>> {
    let refuse = |path: &str, message: String| vec![Violation::new(path, "", message)];
    if text.len() > MAX_BYTES {
        return Err(refuse("the file", format!("is larger than {MAX_BYTES} bytes; a tuning file is not")));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let json: Json =
        serde_json::from_slice(text).map_err(|error| refuse("the file", not_json(text, &error)))?;
    if json.get("ConfigurationSpace").is_none() || json.get("KernelSpecification").is_none() {
        let message =
            "has no ConfigurationSpace and KernelSpecification, so it is no T1 tuning file; name one";
        return Err(refuse("the file", message.to_owned()));
    }
    let mut ignored = Vec::new();
    let mut ignore = |path: serde_ignored::Path<'_>| ignored.push(field_path(&path.to_string()));
    let known = serde_ignored::Deserializer::new(&json, &mut ignore);
    let file: File =
        serde_path_to_error::deserialize(known).map_err(|error| vec![wrong_field(&json, &error)])?;
    Ok(TuningFile { file, ignored })
}

impl TuningFile {
    /// Path of the kernel's source, as the file has it.
    #[must_use]
    pub fn kernel_file(&self) -> &str {
        &self.file.kernel_specification.kernel_file
    }

    /// A name for the kernel: a DNS label made of the benchmark's or the entry point's name.
    #[must_use]
    pub fn name(&self) -> String {
        let named = self.file.general.benchmark_name.as_deref();
        let named = named.unwrap_or(&self.file.kernel_specification.kernel_name);
        let plain: String = named
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .take(63)
            .collect();
        let plain = plain.trim_matches('-');
        if plain.is_empty() { "kernel".to_owned() } else { plain.to_owned() }
    }

    /// Translates the file: `source` is the text of [`TuningFile::kernel_file`], `reference` the function
    /// of it whose outputs are right, which a tuning file has no field for.
    ///
    /// # Errors
    /// Everything that has no translation.
    pub fn translate(
        &self,
        name: &str,
        source: &str,
        reference: Option<&str>,
    ) -> Result<Imported, Vec<Violation>> {
        let mut report = Report::default();
        let specification = &self.file.kernel_specification;
        let language = self.language(&mut report);
        let mut tunables = values::tunables(&self.file.configuration_space.tuning_parameters, &mut report);
        let dimensions = launch::problem_size(specification, &tunables, &mut report);
        let names = Names { tunables: &tunables, problem_size: &dimensions, lists: false };
        let sizes: BTreeMap<String, i64> = dimensions.iter().filter_map(named_size).collect();
        let mut constraints = self.constraints(&names, &sizes, &mut report);
        let launch = match language {
            Some(Language::C) => None,
            _ => launch::launch(specification, &names, &mut report),
        };
        if let Some((_, Some(limit))) = &launch {
            // Kernel Tuner has this one by itself, for the names of its own.
            let bare = |text: &str| text.replace([' ', '(', ')'], "");
            if !constraints.iter().any(|known| bare(known) == bare(limit)) {
                constraints.push(limit.clone());
            }
        }
        let arguments = arguments::arguments(&specification.arguments, source, &names, &mut report);
        let options = self.options(source, &mut report);
        self.source_macros(source, &tunables, &mut report);
        self.unused(&mut report);
        let (Some(language), true) = (language, report.refused.is_empty()) else {
            return Err(report.refused);
        };
        let max_trials = adjust_to_space(self, &mut tunables, &constraints, &sizes, &mut report);
        if !report.refused.is_empty() {
            return Err(report.refused);
        }
        let kernel = Kernel {
            name: name.to_owned(),
            language,
            source: Source { inline: Some(source.to_owned()), config_map_key_ref: None },
            entrypoint: specification.kernel_name.clone(),
            problems: vec![Problem { name: "default".to_owned(), sizes, weight: 1 }],
            arguments,
            parameters: tunables.into_iter().map(|tunable| tunable.parameter).collect(),
            constraints,
            launch: launch.map(|(launch, _)| launch),
            compile: Compile { options, sizes: SizesAs::Arguments },
            verify: Verify {
                entrypoint: reference.map(str::to_owned),
                none: reference.is_none(),
                ..Verify::default()
            },
            metrics: Vec::new(),
        };
        Ok(Imported { kernel, max_trials, warnings: report.warnings })
    }

    fn language(&self, report: &mut Report) -> Option<Language> {
        match self.file.kernel_specification.language.as_str() {
            "CUDA" | "cuda" => Some(Language::Cuda),
            "C" => Some(Language::C),
            other => {
                let message =
                    "is no language that is tuned here; port the kernel to CUDA (or C) and write that";
                report.refuse("KernelSpecification.Language", other, message);
                None
            }
        }
    }

    fn constraints(
        &self,
        names: &Names<'_>,
        sizes: &BTreeMap<String, i64>,
        report: &mut Report,
    ) -> Vec<String> {
        let scope = scope(names.tunables, sizes);
        let mut constraints = Vec::new();
        for (i, condition) in self.file.configuration_space.conditions.iter().enumerate() {
            let path = format!("ConfigurationSpace.Conditions[{i}].Expression");
            let text = &condition.expression;
            let translated = python::parse(text).and_then(|expression| names.condition(&expression));
            let Some(cel) = report.keep(&path, text, translated) else { continue };
            let cel = cel.into_text();
            if let Err(error) = Expression::compile(&cel, &scope) {
                let shown: String = cel.chars().take(SHOWN_CEL).collect();
                let more = if shown.len() < cel.len() { "..." } else { "" };
                report.refuse(path, text, format!("is refused in CEL: {error} (it becomes `{shown}{more}`)"));
            } else if cel.len() > MAX_CONSTRAINT_BYTES {
                let message =
                    format!("is longer than {MAX_CONSTRAINT_BYTES} bytes in CEL; split it at its `and`s");
                report.refuse(path, text, message);
            } else if !constraints.contains(&cel) {
                constraints.push(cel);
            }
        }
        constraints
    }

    /// The compiler's options. Kernel Tuner defines a macro of its own name, which sources ask for.
    fn options(&self, source: &str, report: &mut Report) -> Vec<String> {
        let mut options = self.file.kernel_specification.compiler_options.clone();
        for (i, option) in options.iter().enumerate() {
            if option.trim().is_empty() {
                let path = format!("KernelSpecification.CompilerOptions[{i}]");
                report.refuse(path, option, "is empty; remove it");
            }
        }
        if words(source).any(|word| word == "kernel_tuner") {
            options.push("-Dkernel_tuner=1".to_owned());
        }
        options
    }

    /// Macros that Kernel Tuner defines beside the parameters, and the source asks for.
    fn source_macros(&self, source: &str, tunables: &[Tunable], report: &mut Report) {
        for name in ["grid_size_x", "grid_size_y", "grid_size_z"] {
            let known = tunables.iter().any(|tunable| tunable.parameter.name == name);
            if !known && words(source).any(|word| word == name) {
                let message = format!(
                    "uses {name}, which Kernel Tuner defines as a macro and this program does not; use gridDim"
                );
                report.warn("KernelSpecification.KernelFile", self.kernel_file(), message);
            }
        }
    }

    fn unused(&self, report: &mut Report) {
        if !self.file.kernel_specification.reference_arguments.is_empty() {
            let message = "is not used: reference outputs come from a function of the source here; name one with --reference";
            report.warn("KernelSpecification.ReferenceArguments", "", message);
        }
        let search = self.file.search.as_ref();
        if let Some(name) = search.and_then(|search| search.get("Name")).and_then(Json::as_str) {
            let message = "is not used: the search is this program's own (spec.search.strategy)";
            report.warn("Search.Name", name, message);
        }
        let named = |path: &&String| !SILENT.iter().any(|silent| path.rsplit('.').next() == Some(silent));
        let mut unused: Vec<&String> = self.ignored.iter().filter(named).collect();
        unused.dedup();
        for path in unused {
            report.warn(path.clone(), "", "is not used");
        }
    }
}

fn words(source: &str) -> impl Iterator<Item = &str> {
    source.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

fn named_size(dimension: &Dimension) -> Option<(String, i64)> {
    match dimension {
        Dimension::Size { name, value } => Some((name.clone(), *value)),
        Dimension::Expression(_) => None,
    }
}

fn scope(tunables: &[Tunable], sizes: &BTreeMap<String, i64>) -> Scope {
    let mut scope = Scope::new();
    for Tunable { parameter, .. } in tunables {
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
    for name in sizes.keys() {
        scope.add(name, Type::Int);
    }
    scope
}

/// Enumerates the space once: for a default that is valid, and a budget that is a part of it.
fn adjust_to_space(
    file: &TuningFile,
    tunables: &mut [Tunable],
    constraints: &[String],
    sizes: &BTreeMap<String, i64>,
    report: &mut Report,
) -> Option<u32> {
    let parameters: Vec<Parameter> = tunables.iter().map(|tunable| tunable.parameter.clone()).collect();
    let space = match Space::build("ConfigurationSpace", &parameters, constraints, sizes) {
        Ok(space) => space,
        Err(violations) => {
            report.refused.extend(violations);
            return None;
        }
    };
    valid_default(tunables, &space, report);
    max_trials(file, space.is_listed().then(|| space.len()), report)
}

/// `valid` is the number of valid configurations, where that is known.
fn max_trials(file: &TuningFile, valid: Option<usize>, report: &mut Report) -> Option<u32> {
    const MOST: f64 = 10_000_000.0;
    let budgets = file.file.budget.as_ref().map_or(&[][..], OneOrMore::as_slice);
    let mut trials = None;
    for (i, budget) in budgets.iter().enumerate() {
        let count = match (budget.ty.as_str(), valid) {
            ("ConfigurationCount", _) => budget.budget_value,
            ("ConfigurationFraction", Some(valid)) => budget.budget_value * valid as f64,
            ("ConfigurationFraction", None) => {
                let message = "is not used: nobody knows how many valid configurations there are, but that they are too \
                               many to list; write a ConfigurationCount, or spec.search.maxTrials";
                report.warn(format!("Budget[{i}].Type"), "ConfigurationFraction", message);
                continue;
            }
            (other, _) => {
                let message = "is not used: a search is bounded by its trials (spec.search.maxTrials)";
                report.warn(format!("Budget[{i}].Type"), other, message);
                continue;
            }
        };
        if (0.5..=MOST).contains(&count) {
            trials = Some(count.ceil() as u32);
        } else {
            let shown = budget.budget_value.to_string();
            let message = "is no number of trials from 1 to 10000000; write one";
            report.refuse(format!("Budget[{i}].BudgetValue"), &shown, message);
        }
    }
    trials
}

#[cfg(test)]
mod tests;
