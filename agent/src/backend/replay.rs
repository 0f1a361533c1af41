//! The replay backend: a simulation that answers from recorded spaces instead of measuring.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use fractune_tuner::formats;
use fractune_tuner::kernel::Configuration;
use fractune_tuner::log;
use fractune_tuner::task::Task;
use fractune_tuner::trial::{Outcome, Trial};

/// A file to replay: a Kernel Tuner cachefile, or a trial log of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingFile {
    /// The share that its times stand for; every share of the job unless given. A trial log knows its own.
    pub share: Option<u8>,
    /// The file.
    pub path: PathBuf,
}

/// Recorded outcomes and samples by share and configuration.
#[derive(Debug, Default)]
pub struct Recording {
    /// By configuration with numbers as [`formats::numeric`] has them: files spell fractions differently.
    by_share: BTreeMap<u8, HashMap<Configuration, Recorded>>,
    devices: BTreeSet<String>,
    logs: Vec<LogOrigin>,
    /// What a reader should know: what was recorded, and files that were cut off.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Recorded {
    outcome: Outcome,
    samples_ns: Vec<u64>,
}

/// What a trial log belongs to.
#[derive(Debug)]
struct LogOrigin {
    path: PathBuf,
    task: String,
    digest: Option<String>,
}

/// Why a recording cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct RecordingError {
    path: PathBuf,
    reason: String,
}

impl Recording {
    /// Reads recordings for a job's shares.
    ///
    /// # Errors
    /// If a file cannot be read, is no recording, or a share of the job has none.
    pub fn read(files: &[RecordingFile], shares: &[u8]) -> Result<Self, RecordingError> {
        let mut recording = Self::default();
        for file in files {
            let fail = |reason: String| RecordingError { path: file.path.clone(), reason };
            if file.path.extension().is_some_and(|extension| extension == "jsonl") {
                recording.add_trial_log(&file.path, shares).map_err(|error| fail(error.to_string()))?;
            } else {
                let bytes = std::fs::read(&file.path).map_err(|error| fail(error.to_string()))?;
                let space = formats::read(&bytes).map_err(|error| fail(error.to_string()))?;
                let shares: Vec<u8> = file.share.map_or(shares.to_vec(), |share| vec![share]);
                recording.add_space(space, &shares, &file.path);
            }
        }
        if let Some(share) = shares.iter().find(|share| !recording.by_share.contains_key(share)) {
            let path = files.first().map_or(PathBuf::new(), |file| file.path.clone());
            let reason = format!("no recording has times at share {share}; add --recording {share}=FILE");
            return Err(RecordingError { path, reason });
        }
        Ok(recording)
    }

    fn add_space(&mut self, space: formats::Recorded, shares: &[u8], path: &Path) {
        if let Some(at) = space.broken_off {
            let (path, entries) = (path.display(), space.entries.len());
            self.notes.push(format!("{path} is cut off; its {entries} whole entries are used, up to {at}"));
        }
        if !space.kernel.is_empty() {
            // Files have neither the job's names nor its other sizes, so they answer for every task.
            let (path, kernel) = (path.display(), &space.kernel);
            let problem = space.problem_size.map_or(String::new(), |size| format!(", problem size {size}"));
            self.notes.push(format!("{path} was recorded of kernel {kernel}{problem}"));
        }
        self.devices.insert(space.device);
        for entry in space.entries {
            let configuration = formats::numeric(&entry.configuration);
            for &share in shares {
                let recorded = Recorded { outcome: entry.outcome, samples_ns: entry.samples_ns.clone() };
                self.by_share.entry(share).or_default().insert(configuration.clone(), recorded);
            }
        }
    }

    fn add_trial_log(&mut self, path: &Path, shares: &[u8]) -> Result<(), log::LogError> {
        let contents = log::read(path)?;
        self.devices.insert(contents.header.identity.get("device").cloned().unwrap_or_default());
        self.logs.push(LogOrigin {
            path: path.into(),
            task: contents.header.task,
            digest: contents.header.identity.get("kernel and problem").cloned(),
        });
        for trial in contents.trials {
            for (share, recorded) in outcomes(&trial, shares) {
                let configuration = formats::numeric(&trial.configuration);
                self.by_share.entry(share).or_default().insert(configuration, recorded);
            }
        }
        Ok(())
    }

    /// The devices that were recorded, for the result's provenance.
    #[must_use]
    pub fn product(&self) -> String {
        self.devices.iter().cloned().collect::<Vec<_>>().join(", ")
    }

    /// Whether a configuration runs at a share; else its outcome, and why it is that.
    ///
    /// # Errors
    /// The outcome of what does not run.
    pub fn outcome(&self, share: u8, configuration: &Configuration) -> Result<(), (Outcome, &'static str)> {
        match self.at(share, configuration) {
            (Outcome::Ok, [_, ..]) => Ok(()),
            (Outcome::Ok, []) => Err((Outcome::RuntimeError, "no times recorded")),
            (outcome @ Outcome::Skipped, _) => Err((outcome, "not in the recording")),
            (outcome, _) => Err((outcome, "recorded as such")),
        }
    }

    /// What is recorded of a configuration at a share: an outcome, and samples in nanoseconds;
    /// [`Outcome::Skipped`] where nothing is.
    #[must_use]
    pub fn at(&self, share: u8, configuration: &Configuration) -> (Outcome, &[u64]) {
        let configuration = formats::numeric(configuration);
        match self.by_share.get(&share).and_then(|space| space.get(&configuration)) {
            Some(recorded) => (recorded.outcome, &recorded.samples_ns),
            None => (Outcome::Skipped, &[]),
        }
    }

    /// Says what differs if the recorded parameters are not the task's, or a trial log is of another task.
    #[must_use]
    pub fn mismatch(&self, task: &Task) -> Option<String> {
        let digest = task.digest();
        let foreign = |log: &&LogOrigin| log.task != task.name() && log.digest.as_ref() != Some(&digest);
        if let Some(log) = self.logs.iter().find(foreign) {
            return Some(format!(
                "{} is the trial log of {}, but the job has {}; replay each kernel and problem in a job of its own, with its own trial log",
                log.path.display(),
                log.task,
                task.name(),
            ));
        }
        let wanted: BTreeSet<&str> = task.space.parameters().iter().map(|p| p.name.as_str()).collect();
        let recorded = self.by_share.values().flat_map(|space| space.keys().take(1)).next()?;
        let recorded: BTreeSet<&str> = recorded.0.keys().map(String::as_str).collect();
        (wanted != recorded).then(|| {
            format!(
                "the recording's parameters are not those of {}: recorded {:?}, the job has {:?}",
                task.name(),
                recorded,
                wanted
            )
        })
    }
}

/// What a logged trial says of each share. What it skipped there is not recorded, unless the trial failed: a
/// configuration that does not compile does so at every share, and one that failed at one counts as failed.
fn outcomes(trial: &Trial, shares: &[u8]) -> Vec<(u8, Recorded)> {
    let failed = || Recorded { outcome: trial.outcome, samples_ns: Vec::new() };
    if trial.measurements.is_empty() && trial.outcome != Outcome::Ok {
        return shares.iter().map(|&share| (share, failed())).collect();
    }
    if formats::is_unmeasured(trial) {
        return Vec::new();
    }
    let at_share = trial.measurements.iter().filter_map(|measurement| {
        let recorded = match (measurement.outcome, trial.outcome) {
            (Outcome::Skipped, Outcome::Ok) => return None,
            (Outcome::Skipped, _) => failed(),
            (outcome, _) => Recorded { outcome, samples_ns: measurement.samples_ns.clone() },
        };
        Some((measurement.share, recorded))
    });
    at_share.collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CACHEFILE: &str = r#"{"device_name": "A", "kernel_name": "conv", "problem_size": [64, 32],
        "tune_params_keys": ["x", "f"], "cache": {
        "1,2": {"x": 1, "f": 2, "time": 1.0},
        "1,0.5": {"x": 1, "f": 0.5, "time": 2.0},
        "1,1e-05": {"x": 1, "f": 1e-05, "time": "CompilationFailedConfig"}}}"#;

    fn read(text: &str, extension: &str, shares: &[u8]) -> Recording {
        let mut file = tempfile::Builder::new().suffix(extension).tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Recording::read(&[RecordingFile { share: None, path: file.path().into() }], shares).unwrap()
    }

    fn configuration(f: &str) -> Configuration {
        let text = fractune_tuner::kernel::Value::Text(f.to_owned());
        let x = fractune_tuner::kernel::Value::Int(1);
        Configuration(BTreeMap::from([("x".to_owned(), x), ("f".to_owned(), text)]))
    }

    #[test]
    fn numbers_are_found_however_they_are_spelt() {
        let recording = read(CACHEFILE, ".json", &[100]);
        for spelling in ["2", "2.0", "2e0"] {
            assert_eq!(recording.at(100, &configuration(spelling)).1, [1_000_000], "{spelling}");
        }
        assert_eq!(recording.at(100, &configuration("0.50")).1, [2_000_000]);
        assert_eq!(recording.at(100, &configuration("0.00001")).0, Outcome::CompileError);
    }

    #[test]
    fn what_was_not_recorded_is_no_failure() {
        let recording = read(CACHEFILE, ".json", &[100]);
        assert_eq!(recording.at(100, &configuration("3")).0, Outcome::Skipped);
        assert_eq!(recording.at(50, &configuration("2")).0, Outcome::Skipped);
    }

    #[test]
    fn kernel_and_problem_of_a_cachefile_are_noted() {
        let notes = read(CACHEFILE, ".json", &[100]).notes;
        assert!(notes.len() == 1 && notes[0].contains("kernel conv, problem size [64,32]"), "{notes:?}");
    }

    #[test]
    fn a_trial_log_tells_failures_from_what_it_skipped() {
        let trial = |number: u32, outcome: &str, at: &str| {
            format!(
                r#"{{"trial":{number},"configuration":{{"x":{number}}},"outcome":"{outcome}","compileNs":1,"measurements":[{at}],"elapsedMs":1}}"#
            )
        };
        let at = |share: u8, outcome: &str| {
            format!(r#"{{"share":{share},"outcome":"{outcome}","timeNs":5,"samplesNs":[5]}}"#)
        };
        let skipped = format!("{},{}", at(50, "Skipped"), at(100, "Skipped"));
        let log = [
            r#"{"format":"fractune-trials","version":1,"task":"k/p","identity":{}}"#.to_owned(),
            trial(0, "Ok", &format!("{},{}", at(50, "Ok"), at(100, "Skipped"))),
            trial(1, "CompileError", ""),
            trial(2, "RunTimeout", &format!("{},{}", at(50, "RunTimeout"), at(100, "Skipped"))),
            trial(3, "RuntimeError", &skipped),
            String::new(),
        ];
        let recording = read(&log.join("\n"), ".jsonl", &[50]);
        let outcome = |share: u8, number: i64| {
            let x = fractune_tuner::kernel::Value::Int(number);
            recording.at(share, &Configuration(BTreeMap::from([("x".to_owned(), x)]))).0
        };
        assert_eq!((outcome(50, 0), outcome(100, 0)), (Outcome::Ok, Outcome::Skipped));
        assert_eq!(outcome(50, 1), Outcome::CompileError);
        assert_eq!((outcome(50, 2), outcome(100, 2)), (Outcome::RunTimeout, Outcome::RunTimeout));
        assert_eq!((outcome(50, 3), outcome(100, 3)), (Outcome::Skipped, Outcome::Skipped));
    }
}
