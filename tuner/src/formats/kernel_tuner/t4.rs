//! T4 results: an array of configurations with their times and what became of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::kernel::Configuration;
use crate::trial::Outcome;

use super::values::{MILLISECONDS, nanoseconds, parameter_value};
use super::{FormatError, Recorded, RecordedEntry, values_in};

#[derive(Deserialize)]
struct File {
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    configuration: Map<String, Json>,
    #[serde(default)]
    times: Times,
    #[serde(default)]
    invalidity: String,
    #[serde(default)]
    measurements: Vec<Measurement>,
}

#[derive(Default, Deserialize)]
struct Times {
    #[serde(default)]
    runtimes: Vec<Json>,
}

#[derive(Deserialize)]
struct Measurement {
    name: String,
    value: Json,
    #[serde(default)]
    unit: String,
}

pub(super) fn read(text: &[u8]) -> Result<Recorded, FormatError> {
    let file: File = serde_json::from_slice(text)?;
    let names: Vec<String> = match file.results.first() {
        Some(first) => first.configuration.keys().cloned().collect(),
        None => Vec::new(),
    };
    let entries = file
        .results
        .iter()
        .enumerate()
        .map(|(number, entry)| recorded(number, entry, &names))
        .collect::<Result<Vec<_>, FormatError>>()?;
    let parameters = names
        .into_iter()
        .map(|name| {
            let values = values_in(&entries, &name);
            (name, values)
        })
        .collect();
    Ok(Recorded {
        device: String::new(),
        kernel: String::new(),
        problem_size: None,
        parameters,
        entries,
        broken_off: None,
    })
}

fn recorded(number: usize, entry: &Entry, names: &[String]) -> Result<RecordedEntry, FormatError> {
    let mut configuration = BTreeMap::new();
    for name in names.iter().chain(entry.configuration.keys()) {
        let value = entry
            .configuration
            .get(name)
            .and_then(parameter_value)
            .ok_or_else(|| FormatError::MissingParameter { entry: number, parameter: name.clone() })?;
        configuration.insert(name.clone(), value);
    }
    let mut outcome = outcome_of(&entry.invalidity);
    let samples_ns = if outcome == Outcome::Ok { samples(entry) } else { Vec::new() };
    if outcome == Outcome::Ok && samples_ns.is_empty() {
        outcome = Outcome::RuntimeError;
    }
    Ok(RecordedEntry { configuration: Configuration(configuration), outcome, samples_ns })
}

fn samples(entry: &Entry) -> Vec<u64> {
    let runs: Vec<u64> =
        entry.times.runtimes.iter().filter_map(|time| nanoseconds(time, MILLISECONDS)).collect();
    if !runs.is_empty() {
        return runs;
    }
    let time = entry.measurements.iter().find(|m| m.name == "time");
    time.and_then(|m| nanoseconds(&m.value, ns_per_unit(&m.unit))).into_iter().collect()
}

fn ns_per_unit(unit: &str) -> f64 {
    match unit {
        "s" | "seconds" => 1e9,
        "us" | "microseconds" => 1e3,
        "ns" | "nanoseconds" => 1.0,
        _ => MILLISECONDS,
    }
}

fn outcome_of(invalidity: &str) -> Outcome {
    match invalidity {
        "correct" | "" => Outcome::Ok,
        "timeout" => Outcome::RunTimeout,
        "compile" => Outcome::CompileError,
        "correctness" => Outcome::WrongAnswer,
        "constraints" => Outcome::ResourceExceeded,
        _ => Outcome::RuntimeError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(fields: &str) -> RecordedEntry {
        let file = format!(r#"{{"results": [{{"configuration": {{"x": 1}}, {fields}}}]}}"#);
        read(file.as_bytes()).unwrap().entries.remove(0)
    }

    #[test]
    fn results_are_read_with_their_parameters_and_samples() {
        let file = br#"{"metadata": {"timeunit": "miliseconds"}, "results": [
            {"configuration": {"y": 2, "x": 16}, "times": {"compilation": 900.5, "runtimes": [0.5, 0.75]},
             "invalidity": "correct", "correctness": 1, "objectives": ["time"],
             "measurements": [{"name": "time", "value": 0.6, "unit": ""}]},
            {"configuration": {"y": 1, "x": 16}, "times": {"runtimes": []}, "invalidity": "compile",
             "measurements": [{"name": "time", "value": "CompilationFailedConfig", "unit": ""}]}],
            "schema_version": "1.0.0"}"#;
        let recorded = read(file).unwrap();
        let names: Vec<&str> = recorded.parameters.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["y", "x"]);
        assert_eq!(recorded.parameters[0].1.len(), 2);
        assert_eq!(recorded.entries[0].samples_ns, [500_000, 750_000]);
        assert_eq!(recorded.entries[1].outcome, Outcome::CompileError);
    }

    #[test]
    fn every_invalidity_has_its_outcome() {
        for (invalidity, outcome) in [
            ("timeout", Outcome::RunTimeout),
            ("compile", Outcome::CompileError),
            ("runtime", Outcome::RuntimeError),
            ("correctness", Outcome::WrongAnswer),
            ("constraints", Outcome::ResourceExceeded),
        ] {
            let entry = one(&format!(r#""times": {{"runtimes": [1.0]}}, "invalidity": "{invalidity}""#));
            assert_eq!((entry.outcome, entry.samples_ns.len()), (outcome, 0), "{invalidity}");
        }
    }

    #[test]
    fn the_mean_stands_in_for_missing_runs_in_its_own_unit() {
        let mean = |unit: &str| {
            one(&format!(
                r#""invalidity": "correct", "measurements": [{{"name": "time", "value": 2.5, "unit": "{unit}"}}]"#
            ))
        };
        assert_eq!(mean("").samples_ns, [2_500_000]);
        assert_eq!(mean("us").samples_ns, [2_500]);
    }

    #[test]
    fn a_correct_result_without_any_time_is_a_failure() {
        assert_eq!(one(r#""invalidity": "correct""#).outcome, Outcome::RuntimeError);
    }
}
