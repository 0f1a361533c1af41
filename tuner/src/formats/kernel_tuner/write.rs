//! Writes one task's trials at one share: as a cachefile that Kernel Tuner goes on with or simulates from,
//! and as T4 results. Times are milliseconds in both.

use serde_json::{Map, Value as Json, json};

use super::values::{MILLISECONDS, are_fractions, json_value, python_str};
use crate::space::SpaceParameter;
use crate::trial::{Outcome, Trial};

/// One task's trials at one share, and what they belong to.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// Product name of the device.
    pub device: &'a str,
    /// The share in percent.
    pub share: u8,
    /// The kernel's entry point.
    pub kernel: &'a str,
    /// The problem's sizes.
    pub problem_size: &'a [i64],
    /// The parameters, in the job's order.
    pub parameters: &'a [SpaceParameter],
    /// The trials, each with the time at which it was complete, in RFC 3339; empty where that is not known.
    pub trials: &'a [(Trial, String)],
}

/// A recording as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file's text.
    pub text: String,
    /// Trials in it.
    pub entries: usize,
    /// Trials left out because they were not measured at the share: hopeless or failed at another.
    pub left_out: usize,
}

/// Whether a trial was measured at no share, though it did not fail: a replay skips what its recording lacks.
#[must_use]
pub fn is_unmeasured(trial: &Trial) -> bool {
    let mut outcomes = trial.measurements.iter().map(|measurement| measurement.outcome);
    trial.outcome == Outcome::Skipped
        || (!trial.measurements.is_empty() && outcomes.all(|outcome| outcome == Outcome::Skipped))
}

/// A trial at the share: how it ended, and its samples.
struct Entry<'a> {
    trial: &'a Trial,
    timestamp: &'a str,
    outcome: Outcome,
    time_ns: Option<u64>,
    samples_ns: &'a [u64],
}

impl Recording<'_> {
    fn entries(&self) -> Vec<Entry<'_>> {
        self.trials
            .iter()
            .filter_map(|(trial, timestamp)| {
                let measurement = trial.measurements.iter().find(|m| m.share == self.share);
                let mut entry =
                    Entry { trial, timestamp, outcome: trial.outcome, time_ns: None, samples_ns: &[] };
                // A trial that was wrong at one share is wrong, however it was timed at another.
                if let (Outcome::Ok, Some(measurement)) = (trial.outcome, measurement) {
                    entry.outcome = measurement.outcome;
                    entry.time_ns = measurement.time_ns;
                    entry.samples_ns = &measurement.samples_ns;
                }
                let measured = match entry.outcome {
                    Outcome::Skipped => false,
                    Outcome::Ok => entry.time_ns.is_some(),
                    _ => !is_unmeasured(trial),
                };
                measured.then_some(entry)
            })
            .collect()
    }

    /// The name that keeps times at a share from being mistaken for those of the whole device.
    fn device_name(&self) -> String {
        if self.share == 100 {
            self.device.to_owned()
        } else {
            format!("{}, {} % of it", self.device, self.share)
        }
    }
}

impl Entry<'_> {
    fn milliseconds(&self) -> Vec<f64> {
        self.samples_ns.iter().map(|ns| *ns as f64 / MILLISECONDS).collect()
    }

    fn configuration(&self, parameters: &[SpaceParameter]) -> Map<String, Json> {
        let values = &self.trial.configuration.0;
        let named = parameters.iter().filter_map(|p| {
            let value = json_value(values.get(&p.name)?, are_fractions(&p.values));
            Some((p.name.clone(), value))
        });
        named.collect()
    }

    fn compile_ms(&self) -> f64 {
        self.trial.compile_ns as f64 / MILLISECONDS
    }

    fn benchmark_ms(&self) -> f64 {
        self.samples_ns.iter().sum::<u64>() as f64 / MILLISECONDS
    }
}

/// A cachefile as Kernel Tuner 1.x writes it once a run is over: `time` is the median of `times`.
#[must_use]
pub fn write_cachefile(recording: &Recording<'_>) -> Written {
    let values = |p: &SpaceParameter| -> Vec<Json> {
        let fractions = are_fractions(&p.values);
        p.values.iter().map(|value| json_value(value, fractions)).collect()
    };
    let tune_params: Map<String, Json> =
        recording.parameters.iter().map(|p| (p.name.clone(), json!(values(p)))).collect();
    let header = json!({
        "device_name": recording.device_name(),
        "kernel_name": recording.kernel,
        "problem_size": recording.problem_size,
        "tune_params_keys": recording.parameters.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
        "tune_params": tune_params,
        "objective": "time",
    });
    let entries = recording.entries();
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| {
            let mut fields = entry.configuration(recording.parameters);
            // Kernel Tuner joins what Python's str() makes of each value.
            let key: Vec<String> = fields.values().map(python_str).collect();
            match (entry.outcome, entry.time_ns) {
                (Outcome::Ok, Some(time_ns)) => {
                    fields.insert("time".into(), json!(time_ns as f64 / MILLISECONDS));
                    fields.insert("times".into(), json!(entry.milliseconds()));
                }
                _ => {
                    fields.insert("__error__".into(), json!(failure(entry.outcome)));
                }
            }
            fields.insert("compile_time".into(), json!(entry.compile_ms()));
            fields.insert("verification_time".into(), json!(0));
            fields.insert("benchmark_time".into(), json!(entry.benchmark_ms()));
            fields.insert("strategy_time".into(), json!(0));
            fields.insert("framework_time".into(), json!(0));
            if !entry.timestamp.is_empty() {
                fields.insert("timestamp".into(), json!(entry.timestamp));
            }
            format!("{}: {}", json!(key.join(",")), Json::Object(fields))
        })
        .collect();
    let mut text = header.to_string();
    text.pop();
    // Kernel Tuner knows a closed file by these last characters, and cuts them off to append.
    text.push_str(",\n\"cache\": {\n");
    text.push_str(&lines.join(",\n"));
    text.push_str("}\n}");
    Written { text, entries: entries.len(), left_out: recording.trials.len() - entries.len() }
}

/// T4 results, version 1.0.0 of the schema.
#[must_use]
pub fn write_t4(recording: &Recording<'_>) -> Written {
    let entries = recording.entries();
    let results: Vec<Json> = entries
        .iter()
        .map(|entry| {
            let mut result = Map::new();
            if !entry.timestamp.is_empty() {
                result.insert("timestamp".into(), json!(entry.timestamp));
            }
            result.insert("configuration".into(), Json::Object(entry.configuration(recording.parameters)));
            result.insert(
                "times".into(),
                json!({
                    "compilation": entry.compile_ms(),
                    "benchmark": entry.benchmark_ms(),
                    "framework": 0,
                    "search_algorithm": 0,
                    "validation": 0,
                    "runtimes": entry.milliseconds(),
                }),
            );
            result.insert("invalidity".into(), json!(invalidity(entry.outcome)));
            result.insert("correctness".into(), json!(i32::from(entry.outcome != Outcome::WrongAnswer)));
            let time = entry
                .time_ns
                .map(|ns| json!({"name": "time", "value": ns as f64 / MILLISECONDS, "unit": "ms"}));
            result.insert("measurements".into(), json!(time.into_iter().collect::<Vec<_>>()));
            result.insert("objectives".into(), json!(["time"]));
            Json::Object(result)
        })
        .collect();
    let file = json!({
        "metadata": {
            "timeunit": "milliseconds",
            "device": recording.device_name(),
            "share": recording.share,
            "kernel": recording.kernel,
            "problem_size": recording.problem_size,
        },
        "results": results,
        "schema_version": "1.0.0",
    });
    Written {
        text: format!("{file}\n"),
        entries: entries.len(),
        left_out: recording.trials.len() - entries.len(),
    }
}

/// Kernel Tuner has three kinds; it ends a run at a wrong answer, so that one counts as a failure at run time.
fn failure(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::CompileError | Outcome::CompileTimeout => "CompilationFailedConfig",
        Outcome::ResourceExceeded => "InvalidConfig",
        _ => "RuntimeFailedConfig",
    }
}

fn invalidity(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "correct",
        Outcome::CompileError | Outcome::CompileTimeout => "compile",
        Outcome::ResourceExceeded => "constraints",
        Outcome::RunTimeout => "timeout",
        Outcome::WrongAnswer => "correctness",
        Outcome::RuntimeError | Outcome::Skipped => "runtime",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::read;
    use super::*;
    use crate::kernel::{Configuration, Value};
    use crate::trial::Measurement;

    fn trial(number: u32, outcome: Outcome, at: &[(u8, Outcome, u64)]) -> (Trial, String) {
        let x = Value::Int(i64::from(number));
        let configuration =
            BTreeMap::from([("x".to_owned(), x), ("fast".to_owned(), Value::Bool(number.is_multiple_of(2)))]);
        let measurements = at.iter().map(|&(share, outcome, ns)| Measurement {
            share,
            outcome,
            time_ns: (outcome == Outcome::Ok).then_some(ns),
            samples_ns: if outcome == Outcome::Ok { vec![ns, ns + 10] } else { Vec::new() },
        });
        let trial = Trial {
            trial: number,
            configuration: Configuration(configuration),
            outcome,
            message: None,
            compile_ns: 2_000_000,
            measurements: measurements.collect(),
            elapsed_ms: 5,
        };
        (trial, "2026-01-02 03:04:05+00:00".to_owned())
    }

    fn with_recording<T>(share: u8, then: impl Fn(&Recording<'_>) -> T) -> T {
        let trials = [
            trial(1, Outcome::Ok, &[(50, Outcome::Ok, 900_000), (100, Outcome::Ok, 500_000)]),
            trial(2, Outcome::CompileError, &[]),
            trial(3, Outcome::ResourceExceeded, &[]),
            trial(4, Outcome::Ok, &[(50, Outcome::RunTimeout, 0), (100, Outcome::Ok, 700_000)]),
            trial(5, Outcome::WrongAnswer, &[(50, Outcome::Ok, 1), (100, Outcome::WrongAnswer, 0)]),
            trial(6, Outcome::Ok, &[(50, Outcome::Skipped, 0), (100, Outcome::Ok, 800_000)]),
            // A replay whose recording lacks it.
            trial(7, Outcome::RuntimeError, &[(50, Outcome::Skipped, 0), (100, Outcome::Skipped, 0)]),
        ];
        let parameters = [
            SpaceParameter { name: "x".into(), values: (1..8).map(Value::Int).collect() },
            SpaceParameter { name: "fast".into(), values: vec![Value::Bool(true), Value::Bool(false)] },
        ];
        then(&Recording {
            device: "A100",
            share,
            kernel: "add",
            problem_size: &[4096],
            parameters: &parameters,
            trials: &trials,
        })
    }

    #[test]
    fn a_cachefile_is_read_back_with_times_and_failures() {
        let written = with_recording(50, write_cachefile);
        assert_eq!((written.entries, written.left_out), (5, 2));
        assert!(written.text.contains(r#""1,False": {"x":1,"fast":false,"time":0.9"#), "{}", written.text);
        let recorded = read(written.text.as_bytes()).unwrap();
        assert_eq!((recorded.device.as_str(), recorded.broken_off.is_none()), ("A100, 50 % of it", true));
        assert_eq!(recorded.parameters[1], ("fast".into(), vec![Value::Bool(true), Value::Bool(false)]));
        let outcomes: Vec<Outcome> = recorded.entries.iter().map(|e| e.outcome).collect();
        let expected = [
            Outcome::Ok,
            Outcome::CompileError,
            Outcome::ResourceExceeded,
            Outcome::RuntimeError,
            Outcome::RuntimeError,
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(recorded.entries[0].samples_ns, [900_000, 900_010]);
    }

    #[test]
    fn a_cachefile_ends_as_kernel_tuner_ends_it() {
        assert!(with_recording(100, write_cachefile).text.ends_with("\"}}\n}"));
    }

    #[test]
    fn t4_results_are_read_back_with_what_they_can_tell() {
        let written = with_recording(50, write_t4);
        let recorded = read(written.text.as_bytes()).unwrap();
        let outcomes: Vec<Outcome> = recorded.entries.iter().map(|e| e.outcome).collect();
        let expected = [
            Outcome::Ok,
            Outcome::CompileError,
            Outcome::ResourceExceeded,
            Outcome::RunTimeout,
            Outcome::WrongAnswer,
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(recorded.entries[0].samples_ns, [900_000, 900_010]);
        assert!(written.text.contains("\"correctness\":0"));
    }

    #[test]
    fn fractions_are_numbers_under_the_keys_that_kernel_tuner_makes_of_them() {
        let text = |text: &str| Value::Text(text.to_owned());
        let parameters = [SpaceParameter { name: "f".into(), values: vec![text("2"), text("1e-05")] }];
        let trial = |value: &str| {
            let configuration = Configuration(BTreeMap::from([("f".to_owned(), text(value))]));
            (Trial { configuration, ..trial(1, Outcome::CompileError, &[]).0 }, String::new())
        };
        let trials = [trial("2"), trial("1e-05")];
        let recording = Recording {
            device: "A100",
            share: 100,
            kernel: "add",
            problem_size: &[4096],
            parameters: &parameters,
            trials: &trials,
        };
        let written = write_cachefile(&recording).text;
        for phrase in [r#""f":[2,0.00001]"#, r#""2": {"f":2,"#, r#""1e-05": {"f":0.00001,"#] {
            assert!(written.contains(phrase), "without {phrase}: {written}");
        }
        assert!(write_t4(&recording).text.contains(r#""configuration":{"f":2}"#));
    }

    #[test]
    fn the_whole_device_has_its_own_name() {
        assert_eq!(read(with_recording(100, write_cachefile).text.as_bytes()).unwrap().device, "A100");
    }
}
