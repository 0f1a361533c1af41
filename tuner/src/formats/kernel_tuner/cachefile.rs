//! Cachefiles: a header, and one object per configuration, keyed by its values.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value as Json};

use crate::kernel::{Configuration, Value};
use crate::trial::Outcome;

use super::values::{MILLISECONDS, nanoseconds, parameter_value};
use super::{FormatError, Recorded, RecordedEntry, values_in};

#[derive(Deserialize)]
struct Header {
    device_name: Option<String>,
    kernel_name: Option<String>,
    problem_size: Option<Json>,
    #[serde(default)]
    tune_params_keys: Vec<String>,
    #[serde(default)]
    tune_params: Map<String, Json>,
}

pub(super) fn read(text: &[u8]) -> Result<Recorded, FormatError> {
    let header: Header = serde_json::from_slice(text)?;
    let names = if header.tune_params_keys.is_empty() {
        header.tune_params.keys().cloned().collect()
    } else {
        header.tune_params_keys
    };

    let mut json = serde_json::Deserializer::from_slice(text);
    let entries = File { names: &names }
        .deserialize(&mut json)?
        .into_iter()
        .collect::<Result<Vec<_>, FormatError>>()?;

    let parameters = names
        .into_iter()
        .map(|name| {
            let listed = header.tune_params.get(&name).and_then(Json::as_array);
            let values = listed
                .map(|values| values.iter().filter_map(parameter_value).collect())
                .filter(|values: &Vec<Value>| !values.is_empty())
                .unwrap_or_else(|| values_in(&entries, &name));
            (name, values)
        })
        .collect();
    Ok(Recorded {
        device: header.device_name.unwrap_or_default(),
        kernel: header.kernel_name.unwrap_or_default(),
        problem_size: header.problem_size.map(|size| size.to_string()),
        parameters,
        entries,
        broken_off: None,
    })
}

type Entries = Vec<Result<RecordedEntry, FormatError>>;

/// Reads the file's entries one by one, so that no more than one is held as JSON.
struct File<'a> {
    names: &'a [String],
}

impl<'de> DeserializeSeed<'de> for File<'_> {
    type Value = Entries;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entries, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for File<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a cachefile")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == "cache" {
                entries = map.next_value_seed(Cache { names: self.names })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(entries)
    }
}

struct Cache<'a> {
    names: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Cache<'_> {
    type Value = Entries;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entries, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Cache<'_> {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of configurations")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some((_, fields)) = map.next_entry::<IgnoredAny, Map<String, Json>>()? {
            entries.push(entry(entries.len(), &fields, self.names));
        }
        Ok(entries)
    }
}

fn entry(number: usize, fields: &Map<String, Json>, names: &[String]) -> Result<RecordedEntry, FormatError> {
    let mut configuration = BTreeMap::new();
    for name in names {
        let value = fields
            .get(name)
            .and_then(parameter_value)
            .ok_or_else(|| FormatError::MissingParameter { entry: number, parameter: name.clone() })?;
        configuration.insert(name.clone(), value);
    }
    let (outcome, samples_ns) = result(fields);
    Ok(RecordedEntry { configuration: Configuration(configuration), outcome, samples_ns })
}

/// The newer generation names the failure beside the time, the older one in its place.
fn result(fields: &Map<String, Json>) -> (Outcome, Vec<u64>) {
    let failure = ["__error__", "time"].iter().find_map(|key| fields.get(*key)?.as_str());
    if let Some(failure) = failure {
        return (outcome_of(failure), Vec::new());
    }
    let in_ns = |time: &Json| nanoseconds(time, MILLISECONDS);
    let Some(mean) = fields.get("time").and_then(in_ns) else {
        return (Outcome::RuntimeError, Vec::new());
    };
    let samples: Vec<u64> =
        fields.get("times").and_then(Json::as_array).into_iter().flatten().filter_map(in_ns).collect();
    (Outcome::Ok, if samples.is_empty() { vec![mean] } else { samples })
}

fn outcome_of(failure: &str) -> Outcome {
    match failure {
        "InvalidConfig" => Outcome::ResourceExceeded,
        "CompilationFailedConfig" => Outcome::CompileError,
        _ => Outcome::RuntimeError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn a_cachefile_is_read_with_its_parameters_times_and_failures() {
        let file = br#"{"device_name": "A4000", "kernel_name": "conv",
            "tune_params_keys": ["x", "t"], "tune_params": {"t": ["a", "b"], "x": [1, 2, 4]},
            "cache": {
              "1,a": {"x": 1, "t": "a", "time": 1.5, "times": [1.0000015, 2], "GFLOP/s": 1.0},
              "2,a": {"x": 2, "t": "a", "time": "CompilationFailedConfig"},
              "2,b": {"x": 2, "t": "b", "time": "InvalidConfig"},
              "4,a": {"x": 4, "t": "a", "time": null, "__error__": "RuntimeFailedConfig"},
              "4,b": {"x": 4, "t": "b", "time": 1e20},
              "1,b": {"x": 1, "t": "b", "time": 0.25}}}"#;
        let recorded = read(file).unwrap();
        assert_eq!((recorded.device.as_str(), recorded.kernel.as_str()), ("A4000", "conv"));
        assert_eq!(
            recorded.parameters,
            [
                ("x".to_owned(), vec![Value::Int(1), Value::Int(2), Value::Int(4)]),
                ("t".to_owned(), vec![text("a"), text("b")])
            ]
        );
        let outcomes: Vec<Outcome> = recorded.entries.iter().map(|e| e.outcome).collect();
        assert_eq!(
            outcomes,
            [
                Outcome::Ok,
                Outcome::CompileError,
                Outcome::ResourceExceeded,
                Outcome::RuntimeError,
                Outcome::RuntimeError,
                Outcome::Ok
            ]
        );
        assert_eq!(recorded.entries[0].samples_ns, [1_000_002, 2_000_000]);
        assert_eq!(recorded.entries[5].samples_ns, [250_000]);
        assert!(recorded.entries[1].samples_ns.is_empty());
        assert_eq!(recorded.entries[1].configuration.to_string(), "t=a x=2");
    }

    #[test]
    fn an_entry_without_a_parameter_is_named() {
        let file = br#"{"tune_params_keys": ["x", "y"], "cache": {"1,2": {"x": 1, "y": 2, "time": 1},
            "3": {"x": 3, "time": 1}}}"#;
        let error = read(file).unwrap_err().to_string();
        assert!(error.contains("entry 1") && error.contains("`y`"), "{error}");
    }

    #[test]
    fn values_that_the_header_does_not_list_come_from_the_entries() {
        let file =
            br#"{"tune_params_keys": ["x"], "cache": {"3": {"x": 3, "time": 1}, "1": {"x": 1, "time": 1}}}"#;
        assert_eq!(read(file).unwrap().parameters, [("x".to_owned(), vec![Value::Int(1), Value::Int(3)])]);
    }
}
