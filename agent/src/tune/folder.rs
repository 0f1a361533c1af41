//! The output folder of a run: `job.yaml`, `results.json`, and a folder with a trial log for every task.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fractune_tuner::results::JobResult;
use rustix::fs::{FlockOperation, flock};

use super::plan::{Output, RunError};

/// The job as it was read.
pub const MANIFEST: &str = "job.yaml";
/// The results, written when the run is over.
pub const RESULTS: &str = "results.json";
/// The trial log in a task's folder.
pub const TRIALS: &str = "trials.jsonl";

/// A run's output folder, locked against a second run.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Creates the folder, or goes on with the one of the same job.
    pub(super) fn open(output: &Output) -> Result<Self, RunError> {
        let path = output.folder.clone();
        let shown = path.display();
        let manifest = path.join(MANIFEST);
        let io = |error: io::Error| RunError::Io(format!("{shown}: {error}"));
        let occupied = std::fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !manifest.exists() {
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
        let lock = OpenOptions::new().create(true).append(true).open(path.join(".lock")).map_err(io)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| RunError::Folder(format!("{shown} is in use by another run; wait for its end")))?;
        write_whole(&manifest, &output.manifest).map_err(io)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where compiled kernels are kept while the run lasts.
    pub(super) fn objects(&self) -> PathBuf {
        self.path.join("objects")
    }

    /// The folder of a task's trial log, relative and absolute.
    pub(super) fn task(&self, kernel: &str, problem: &str) -> Result<(String, PathBuf), RunError> {
        let name = format!("{kernel}-{problem}");
        let path = self.path.join(&name);
        std::fs::create_dir_all(&path).map_err(|e| RunError::Io(format!("{}: {e}", path.display())))?;
        Ok((name, path))
    }

    /// Writes the results, and drops what only a run needs.
    pub(super) fn finish(self, result: &JobResult) -> Result<(), RunError> {
        let path = self.path.join(RESULTS);
        let written = serde_json::to_vec_pretty(result).map_err(io::Error::from).and_then(|mut json| {
            json.push(b'\n');
            write_whole(&path, &json)
        });
        written.map_err(|error| RunError::Io(format!("{}: {error}", path.display())))?;
        let _ = std::fs::remove_dir_all(self.objects());
        Ok(())
    }
}

/// Writes a file so that a reader sees either the old or the new contents, whole.
///
/// # Errors
/// What the system answers; the old contents are then still there.
pub fn write_whole(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = File::create(&new).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| drop(std::fs::remove_file(&new)))
}
