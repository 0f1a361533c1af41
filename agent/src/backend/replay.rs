//! The replay backend: a simulation that answers from recorded spaces instead of measuring.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use fractune_tuner::formats;
use fractune_tuner::kernel::Configuration;
use fractune_tuner::log;
use fractune_tuner::task::Task;
use fractune_tuner::trial::Outcome;

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
    by_share: BTreeMap<u8, HashMap<Configuration, Recorded>>,
    devices: BTreeSet<String>,
    /// What a reader should know: files that were cut off.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Recorded {
    outcome: Outcome,
    samples_ns: Vec<u64>,
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
                recording.add_trial_log(&file.path).map_err(|error| fail(error.to_string()))?;
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
        self.devices.insert(space.device);
        for entry in space.entries {
            for &share in shares {
                let recorded = Recorded { outcome: entry.outcome, samples_ns: entry.samples_ns.clone() };
                self.by_share.entry(share).or_default().insert(entry.configuration.clone(), recorded);
            }
        }
    }

    fn add_trial_log(&mut self, path: &Path) -> Result<(), log::LogError> {
        let contents = log::read(path)?;
        self.devices.insert(contents.header.identity.get("device").cloned().unwrap_or_default());
        for trial in contents.trials {
            for measurement in trial.measurements {
                let recorded = Recorded { outcome: measurement.outcome, samples_ns: measurement.samples_ns };
                self.by_share
                    .entry(measurement.share)
                    .or_default()
                    .insert(trial.configuration.clone(), recorded);
            }
        }
        Ok(())
    }

    /// The devices that were recorded, for the result's provenance.
    #[must_use]
    pub fn product(&self) -> String {
        self.devices.iter().cloned().collect::<Vec<_>>().join(", ")
    }

    /// What is recorded of a configuration at a share: an outcome, and samples in nanoseconds.
    #[must_use]
    pub fn at(&self, share: u8, configuration: &Configuration) -> (Outcome, &[u64]) {
        match self.by_share.get(&share).and_then(|space| space.get(configuration)) {
            Some(recorded) => (recorded.outcome, &recorded.samples_ns),
            None => (Outcome::CompileError, &[]),
        }
    }

    /// Says what differs if the recorded parameters are not the task's.
    #[must_use]
    pub fn mismatch(&self, task: &Task) -> Option<String> {
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
