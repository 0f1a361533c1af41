//! The output folder of a run: `job.yaml`, `results.json`, and a folder with a trial log for every task.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fractune_tuner::results::JobResult;
use fractune_tuner::task::Task;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::plan::{Output, RunError};

/// The job as it was read.
pub const MANIFEST: &str = "job.yaml";
/// The results, written when the run is over.
pub const RESULTS: &str = "results.json";
const LOCK: &str = ".lock";
/// Where compiled kernels are kept while a run lasts.
pub(super) const OBJECTS: &str = "objects";
/// The trial log in a task's folder.
pub const TRIALS: &str = "trials.jsonl";

/// A run's output folder, locked against a second run.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder, or goes on with the one of the same job. Nothing that was there is changed.
    pub(super) fn open(output: &Output, job: &str) -> Result<Self, RunError> {
        let path = output.folder.clone();
        let shown = path.display();
        let manifest = path.join(MANIFEST);
        let io = |error: io::Error| RunError::io(&path, &error);
        if is_occupied(&path) && !manifest.exists() {
            return Err(RunError::Folder(format!(
                "{shown} holds something else than a run of fractune; name another folder with --out"
            )));
        }
        if manifest.exists() && !output.resume {
            return Err(RunError::Folder(format!(
                "{shown} holds a run already; go on with it by --resume, or name another folder with --out"
            )));
        }
        std::fs::create_dir_all(&path).map_err(io)?;
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path.join(LOCK))
            .map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| RunError::Folder(format!("{shown} is in use by another run; wait for its end")))?;
        if let Some(other) = job_in(&manifest).filter(|other| other != job) {
            return Err(RunError::Folder(format!(
                "{shown} holds a run of job {other:?}, and this is {job:?}; name another folder with --out"
            )));
        }
        // What a killed run left half-built.
        let _ = std::fs::remove_dir_all(path.join(OBJECTS));
        Ok(Self { path, _lock: lock })
    }

    /// Keeps the job as it was read, once it is known to be the folder's.
    pub(super) fn keep(&self, manifest: &[u8]) -> Result<(), RunError> {
        let path = self.path.join(MANIFEST);
        write_whole(&path, manifest).map_err(|error| RunError::io(&path, &error))
    }

    /// A task's trial log.
    pub(super) fn trials(&self, task: &Task) -> PathBuf {
        self.path.join(folder_of(task)).join(TRIALS)
    }

    /// Writes the results, and drops what only a run needs.
    pub(super) fn finish(self, result: &JobResult) -> Result<(), RunError> {
        let path = self.path.join(RESULTS);
        let written = serde_json::to_vec_pretty(result).map_err(io::Error::from).and_then(|mut json| {
            json.push(b'\n');
            write_whole(&path, &json)
        });
        written.map_err(|error| RunError::io(&path, &error))?;
        let _ = std::fs::remove_dir_all(self.path.join(OBJECTS));
        Ok(())
    }
}

/// The folder of a task's trial log in the output folder.
pub(super) fn folder_of(task: &Task) -> String {
    // Neither name can contain a dot, so two tasks never share a folder.
    format!("{}.{}", task.kernel.name, task.problem.name)
}

/// Whether there is anything in the folder but what a run leaves that could not even begin.
fn is_occupied(path: &Path) -> bool {
    let ours = |path: PathBuf| path.ends_with(LOCK) || path.extension().is_some_and(|e| e == "new");
    std::fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| !ours(entry.path())))
}

/// Name of the job in a manifest; none if there is no manifest that can be read.
fn job_in(manifest: &Path) -> Option<String> {
    let manifest = fractune_crds::parse(&std::fs::read(manifest).ok()?).ok()?;
    manifest.job.metadata.name
}

/// Writes a file so that a reader sees either the old or the new contents, whole.
///
/// # Errors
/// What the system answers; the old contents are then still there.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    // What lies there is a leftover, or a link that somebody wants to be followed.
    let _ = std::fs::remove_file(&new);
    let written = File::create_new(&new).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| drop(std::fs::remove_file(&new)))
}
