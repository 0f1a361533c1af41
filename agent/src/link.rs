//! What the two containers of a pod tell each other, as files in a folder that both see (docs/pods.md).

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tune::folder::write_whole;

/// What to tune, from the reporter.
pub const START: &str = "start.json";
/// The trial log that an earlier pod's checkpoint holds, from the reporter.
pub const CHECKPOINT: &str = "checkpoint.jsonl";
/// The [`Device`](fractune_tuner::results::Device) that is measured, from `tune`, before its first trial.
pub const DEVICE: &str = "device.json";
/// What a reader of the results should know, from `tune`.
pub const NOTES: &str = "notes.json";
/// How `tune` ended.
pub const END: &str = "end.json";
/// The reporter's word that the final status is stored.
pub const CONFIRMED: &str = "confirmed.json";

/// Version of every file's format.
pub const VERSION: u32 = 1;
/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// What to tune.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Version of the format: 1.
    pub version: u32,
    /// Generation of the task's spec that this is.
    pub generation: i64,
    /// Trials to make at most, instead of the manifest's.
    pub max_trials: u32,
    /// Trials in the checkpoint.
    pub trials: u32,
    /// Digest of that spec, for a reporter that was restarted; `tune` has no use for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Whether the task is done already under that spec: there is nothing to tune, and no end to confirm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub done: bool,
}

/// How `tune` ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Version of the format: 1.
    pub version: u32,
    /// The process's exit code, once it is confirmed.
    pub exit_code: u8,
    /// What went wrong; empty where nothing did.
    pub message: String,
}

/// What a reader of the results should know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Version of the format: 1.
    pub version: u32,
    /// One sentence each.
    pub notes: Vec<String>,
}

/// The final status is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// Version of the format: 1.
    pub version: u32,
    /// Generation that the status speaks of.
    pub generation: i64,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Link {
    folder: PathBuf,
}

impl Link {
    /// The link in a folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Path of one of its files.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// One of its files; none if it is not there yet.
    ///
    /// # Errors
    /// What the system answers, and [`io::ErrorKind::InvalidData`] where the file is not what it should be.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        read_json(&self.path(name), MAX_BYTES)
    }

    /// Writes one of its files, whole.
    ///
    /// # Errors
    /// What the system answers.
    pub fn write(&self, name: &str, content: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(content).map_err(io::Error::from)?;
        write_whole(&self.path(name), &json)
    }

    /// Removes one of its files, if it is there.
    ///
    /// # Errors
    /// What the system answers.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A file of at most `limit` bytes as JSON; none if there is no such file.
///
/// # Errors
/// As [`open_plain`], and [`io::ErrorKind::InvalidData`] where it is too large or not of this form.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> io::Result<Option<T>> {
    let Some(file) = open_plain(path)? else { return Ok(None) };
    let invalid =
        |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display()));
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(invalid(format!("larger than {limit} bytes")));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| invalid(error.to_string()))
}

/// Opens a plain file: no link is followed, and no pipe or device waited for. None if nothing is there.
///
/// # Errors
/// What the system answers, and [`io::ErrorKind::InvalidData`] for what is no plain file.
pub(crate) fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.is_file() {
        Ok(Some(file))
    } else {
        let reason = format!("{} is no plain file", path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back_as_it_was_written_and_is_none_before() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::new(dir.path().into());
        assert_eq!(link.read::<Start>(START).unwrap(), None);
        let start = Start {
            version: VERSION,
            generation: 3,
            max_trials: 200,
            trials: 57,
            digest: String::new(),
            done: false,
        };
        link.write(START, &start).unwrap();
        assert_eq!(link.read(START).unwrap(), Some(start));
        let text = std::fs::read_to_string(link.path(START)).unwrap();
        assert_eq!(text, r#"{"version":1,"generation":3,"maxTrials":200,"trials":57}"#);
        link.remove(START).unwrap();
        link.remove(START).unwrap();
    }

    #[test]
    fn links_pipes_and_folders_are_no_files() {
        let dir = tempfile::tempdir().unwrap();
        let link = Link::new(dir.path().into());
        std::fs::write(dir.path().join("real"), "{}").unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), link.path(END)).unwrap();
        assert!(link.read::<serde_json::Value>(END).is_err());
        std::fs::create_dir(link.path(NOTES)).unwrap();
        assert!(link.read::<serde_json::Value>(NOTES).is_err());
        let made = std::process::Command::new("mkfifo").arg(link.path(DEVICE)).status().unwrap();
        assert!(made.success());
        assert!(link.read::<serde_json::Value>(DEVICE).is_err(), "and it did not wait for a writer");
    }

    #[test]
    fn what_is_too_large_or_not_json_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        std::fs::write(&path, "[1,2,3]").unwrap();
        assert!(read_json::<Vec<u8>>(&path, 6).unwrap_err().to_string().contains("larger than 6 bytes"));
        assert_eq!(read_json::<Vec<u8>>(&path, 7).unwrap(), Some(vec![1, 2, 3]));
        std::fs::write(&path, "[1,").unwrap();
        assert!(read_json::<Vec<u8>>(&path, 7).unwrap_err().to_string().contains("x.json"));
    }
}
