//! Which trials were made, by whom: what checkpoints hold and what pods log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use fractune_crds::TuneTask;
use serde_json::Value;

use crate::scope::Scope;

/// How long a log may take to end after its pod has.
const PATIENCE: Duration = Duration::from_secs(30);

/// The trials in a task's checkpoint, by number, as the trial log has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint(pub BTreeMap<u64, Value>);

impl Checkpoint {
    /// Reads a task's checkpoint; empty where it has none.
    ///
    /// # Errors
    /// When it is damaged, or a trial is in it twice.
    pub fn of(task: &TuneTask) -> Result<Self> {
        let Some(encoded) = task.status.as_ref().and_then(|status| status.checkpoint.as_ref()) else {
            return Ok(Self::default());
        };
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded)?;
        let text = String::from_utf8(zstd::decode_all(bytes.as_slice())?)?;
        let mut trials = BTreeMap::new();
        for line in text.lines().skip(1) {
            let trial: Value = serde_json::from_str(line).context("a line of the checkpoint")?;
            let number = trial["trial"].as_u64().context("a trial without a number")?;
            anyhow::ensure!(trials.insert(number, trial).is_none(), "trial {number} is there twice");
        }
        Ok(Self(trials))
    }

    /// Numbers of the trials.
    #[must_use]
    pub fn numbers(&self) -> BTreeSet<u64> {
        self.0.keys().copied().collect()
    }

    /// Checks that `later` has everything that this has, as it was, and no configuration twice.
    ///
    /// # Errors
    /// Says which trial is missing, other than it was, or made again.
    pub fn is_kept_in(&self, later: &Self) -> Result<()> {
        for (number, trial) in &self.0 {
            let now = later.0.get(number).with_context(|| format!("trial {number} was lost"))?;
            anyhow::ensure!(now == trial, "trial {number} was {trial}, and now is {now}");
        }
        let mut seen = BTreeMap::new();
        for (number, trial) in &later.0 {
            if let Some(first) = seen.insert(trial["configuration"].to_string(), number) {
                anyhow::bail!("trials {first} and {number} are of one configuration");
            }
        }
        Ok(())
    }
}

/// The trials that a tuning container's log tells of, by number, each with its outcome and times in words. Those that a
/// pod took over from a checkpoint are among them, with the times that they had.
#[must_use]
pub fn trials_in(log: &str) -> BTreeMap<u64, String> {
    let trial = |line: &str| {
        let (number, rest) = line.split_once(" trial trial=")?.1.split_once(' ')?;
        Some((number.parse().ok()?, rest.to_owned()))
    };
    log.lines().filter_map(trial).collect()
}

/// How many trials a tuning container's log says that it took over.
#[must_use]
pub fn resumed_in(log: &str) -> Option<usize> {
    let rest = log.lines().find_map(|line| Some(line.split_once(" resumed=")?.1))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A pod's log as it is written, kept when the pod is gone.
#[derive(Debug)]
pub struct Follow {
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Follow {
    /// Follows the log of a pod's tuning container.
    ///
    /// # Errors
    /// When kubectl cannot be run.
    pub fn start(scope: &Scope<'_>, pod: &str) -> Result<Self> {
        let file = tempfile::NamedTempFile::new()?;
        let words = ["logs", "--follow", "--namespace", scope.namespace(), pod, "--container", "tune"];
        let mut command = scope.cluster().kubectl_command(&words);
        let child = command.stdin(Stdio::null()).stdout(File::create(file.path())?).stderr(Stdio::null());
        Ok(Self { child: child.spawn()?, file })
    }

    /// What was logged so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.file.path())?).into_owned())
    }

    /// Waits for the log's end; all of it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn end(mut self) -> Result<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.text()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_of_trials_and_of_how_many_were_taken_over() {
        let log = "T INFO fractune_agent::tuning: search started task=\"a/b\" resumed=3\n\
                   T INFO fractune_agent::tuning: trial trial=3 outcome=Ok times=[(50, 1)]\n\
                   T INFO fractune_agent::tuning: trial trial=12 outcome=CompileError times=[]\n";
        assert_eq!(resumed_in(log), Some(3));
        let trials = trials_in(log);
        assert_eq!(trials.keys().copied().collect::<Vec<_>>(), [3, 12]);
        assert_eq!(trials[&3], "outcome=Ok times=[(50, 1)]");
    }

    #[test]
    fn a_trial_that_is_lost_changed_or_made_again_is_told() {
        let trial = |n: u64, block: u64| (n, serde_json::json!({"trial": n, "configuration": {"B": block}}));
        let before = Checkpoint(BTreeMap::from([trial(0, 1), trial(1, 2)]));
        assert!(before.is_kept_in(&before).is_ok());
        let lost = Checkpoint(BTreeMap::from([trial(0, 1)]));
        assert!(before.is_kept_in(&lost).is_err());
        let changed = Checkpoint(BTreeMap::from([trial(0, 1), trial(1, 3)]));
        assert!(before.is_kept_in(&changed).is_err());
        let again = Checkpoint(BTreeMap::from([trial(0, 1), trial(1, 2), trial(2, 1)]));
        assert!(before.is_kept_in(&again).is_err());
    }
}
