//! Going on with the trials of an earlier pod.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use fractune_tuner::log::{Header, TrialLog};
use fractune_tuner::trial::Outcome;
use serde::{Deserialize, Serialize};

use super::folder::write_whole;
use super::plan::RunError;

/// The longest header that is read, in bytes.
const MAX_HEADER: u64 = 1 << 20;

/// The header of a trial log that a checkpoint had no room for all of. To a reader of logs it is a header like any
/// other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReducedHeader {
    /// What the trials belong to.
    #[serde(flatten)]
    pub(crate) header: Header,
    /// Trials that were made and left out, by outcome. They count as made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) dropped: BTreeMap<Outcome, u32>,
}

/// Makes a checkpoint the task's trial log, unless there is one already. A note says why where it is of no use.
pub(super) fn adopt(checkpoint: &Path, log: &Path, header: &Header) -> Result<Option<String>, RunError> {
    if log.exists() || !checkpoint.exists() {
        return Ok(None);
    }
    if let Err(error) = TrialLog::check(checkpoint, header) {
        return Ok(Some(format!(
            "the trials of an earlier pod are not used, the search begins anew: {error}"
        )));
    }
    let contents = std::fs::read(checkpoint).map_err(|error| RunError::io(checkpoint, &error))?;
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).map_err(|error| RunError::io(folder, &error))?;
    }
    write_whole(log, &contents).map_err(|error| RunError::io(log, &error))?;
    Ok(None)
}

/// Trials that a log says were made but left out of it, by outcome.
pub(super) fn dropped(log: &Path) -> BTreeMap<Outcome, u32> {
    let mut line = String::new();
    let read = File::open(log).and_then(|file| BufReader::new(file.take(MAX_HEADER)).read_line(&mut line));
    let header = read.ok().and_then(|_| serde_json::from_str::<ReducedHeader>(&line).ok());
    header.map(|header| header.dropped).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(device: &str) -> Header {
        Header::new("k/p".into(), BTreeMap::from([("device".into(), device.into())]))
    }

    fn write(path: &Path, header: &ReducedHeader) {
        std::fs::write(path, serde_json::to_string(header).unwrap() + "\n").unwrap();
    }

    #[test]
    fn a_checkpoint_of_the_same_conditions_becomes_the_log_and_another_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoint, log) = (dir.path().join("checkpoint.jsonl"), dir.path().join("k.p/trials.jsonl"));
        assert_eq!(adopt(&checkpoint, &log, &header("H200")).unwrap(), None);
        let dropped_trials = BTreeMap::from([(Outcome::Ok, 7)]);
        write(&checkpoint, &ReducedHeader { header: header("H200"), dropped: dropped_trials.clone() });
        let note = adopt(&checkpoint, &log, &header("H100")).unwrap().unwrap();
        assert!(note.contains(r#"device was "H200", now it is "H100""#), "{note}");
        assert!(!log.exists());
        assert_eq!(adopt(&checkpoint, &log, &header("H200")).unwrap(), None);
        assert_eq!(dropped(&log), dropped_trials);
        TrialLog::resume(&log, &header("H200")).unwrap();
        assert_eq!(dropped(&log), dropped_trials, "the header stays as it is");
    }

    #[test]
    fn a_log_that_is_there_already_is_newer_than_any_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoint, log) = (dir.path().join("checkpoint.jsonl"), dir.path().join("trials.jsonl"));
        TrialLog::create(&log, &header("x")).unwrap();
        write(&checkpoint, &ReducedHeader { header: header("x"), dropped: [(Outcome::Ok, 1)].into() });
        assert_eq!(adopt(&checkpoint, &log, &header("x")).unwrap(), None);
        assert!(dropped(&log).is_empty());
    }

    #[test]
    fn garbage_is_told_of_and_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (checkpoint, log) = (dir.path().join("checkpoint.jsonl"), dir.path().join("trials.jsonl"));
        std::fs::write(&checkpoint, b"\xff\xfe\n").unwrap();
        assert!(adopt(&checkpoint, &log, &header("x")).unwrap().unwrap().contains("no trial log"));
        assert!(dropped(&checkpoint).is_empty());
    }
}
