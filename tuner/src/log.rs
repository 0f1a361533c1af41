//! The trial log: append-only JSON lines, a header first, then one line per trial.
//!
//! Every line is written by one call and ends with a newline, so a process that is killed at any byte
//! leaves at most one torn line, at the end. [`TrialLog::resume`] cuts that line off and goes on.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::trial::Trial;

const FORMAT: &str = "fractune-trials";
const VERSION: u32 = 1;

/// First line of a trial log: what its trials belong to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Always `fractune-trials`.
    pub format: String,
    /// Version of the format: 1.
    pub version: u32,
    /// Kernel and problem, as `kernel/problem`.
    pub task: String,
    /// Everything that must be equal for two trials to be comparable, by name: the kernel's digest,
    /// shares, seed, strategy, settings of measurement, device.
    pub identity: BTreeMap<String, String>,
}

impl Header {
    /// A header of the current version.
    #[must_use]
    pub fn new(task: String, identity: BTreeMap<String, String>) -> Self {
        Self { format: FORMAT.into(), version: VERSION, task, identity }
    }
}

/// What a trial log holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Contents {
    /// The header.
    pub header: Header,
    /// Whole trials, in the order in which they were written; of several with one number, the first.
    pub trials: Vec<Trial>,
    /// Lines before the end that could not be read and were passed over.
    pub damaged: u32,
    /// Bytes of a torn last line.
    pub torn: u64,
}

/// Why a trial log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Reading or writing failed.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The log.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// There is a log already, and nobody asked to go on with it.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// The file is no trial log.
    #[error("{} is no trial log: {reason}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What its first line lacks.
        reason: String,
    },
    /// The log belongs to something else.
    #[error("{} belongs to another run: {what} was {logged:?}, now it is {now:?}", path.display())]
    Other {
        /// The log.
        path: PathBuf,
        /// The part of the identity that differs.
        what: String,
        /// Its value in the log.
        logged: String,
        /// Its value in this run.
        now: String,
    },
}

/// An open trial log.
#[derive(Debug)]
pub struct TrialLog {
    path: PathBuf,
    file: File,
    /// Length of what is known to be whole.
    length: u64,
}

impl TrialLog {
    /// Starts a log. A log whose header was torn counts as none.
    ///
    /// # Errors
    /// [`LogError::Exists`] if there is a log with a header, [`LogError::Io`] if it cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, LogError> {
        let io = |action| move |source| LogError::Io { path: path.into(), action, source };
        if path.exists() && read_bytes(path)?.contains(&b'\n') {
            return Err(LogError::Exists(path.into()));
        }
        let file =
            OpenOptions::new().create(true).write(true).truncate(true).open(path).map_err(io("create"))?;
        let mut log = Self { path: path.into(), file, length: 0 };
        log.write_line(header)?;
        Ok(log)
    }

    /// Whether [`TrialLog::resume`] would accept the log at `path`: there is none, or it has this identity.
    ///
    /// # Errors
    /// As [`TrialLog::resume`]; nothing is written.
    pub fn check(path: &Path, header: &Header) -> Result<(), LogError> {
        if !path.exists() || !read_bytes(path)?.contains(&b'\n') {
            return Ok(());
        }
        read(path)?.header.check_equal(header, path)
    }

    /// Goes on with a log: cuts off a torn last line and returns what is whole. Starts one if there is none.
    ///
    /// # Errors
    /// [`LogError::Other`] if the log's identity differs from `header`'s, [`LogError::Foreign`] if the file
    /// is no trial log, [`LogError::Io`] if it cannot be read or written.
    pub fn resume(path: &Path, header: &Header) -> Result<(Self, Contents), LogError> {
        if !path.exists() || !read_bytes(path)?.contains(&b'\n') {
            let empty = Contents { header: header.clone(), trials: Vec::new(), damaged: 0, torn: 0 };
            return Ok((Self::create(path, header)?, empty));
        }
        let io = |action| move |source| LogError::Io { path: path.into(), action, source };
        let contents = read(path)?;
        contents.header.check_equal(header, path)?;
        let file = OpenOptions::new().append(true).open(path).map_err(io("open"))?;
        let length = file.metadata().map_err(io("open"))?.len() - contents.torn;
        file.set_len(length).map_err(io("cut off the torn last line"))?;
        Ok((Self { path: path.into(), file, length }, contents))
    }

    /// Appends a trial. It is with the operating system when this returns.
    ///
    /// # Errors
    /// [`LogError::Io`], for example when the disk is full; the log then ends with its last whole line.
    pub fn append(&mut self, trial: &Trial) -> Result<(), LogError> {
        self.write_line(trial)
    }

    fn write_line(&mut self, content: &impl Serialize) -> Result<(), LogError> {
        let written = serde_json::to_vec(content).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)?;
            Ok(line.len() as u64)
        });
        match written {
            Ok(bytes) => {
                self.length += bytes;
                Ok(())
            }
            Err(source) => {
                // What the failed write left behind is cut off at the next resume in any case.
                let _ = self.file.set_len(self.length);
                Err(LogError::Io { path: self.path.clone(), action: "write", source })
            }
        }
    }
}

impl Header {
    fn check_equal(&self, now: &Header, path: &Path) -> Result<(), LogError> {
        let other = |what: &str, logged: &str, now: &str| LogError::Other {
            path: path.into(),
            what: what.into(),
            logged: logged.into(),
            now: now.into(),
        };
        if self.task != now.task {
            return Err(other("the task", &self.task, &now.task));
        }
        for (what, value) in &now.identity {
            let logged = self.identity.get(what).map_or("", String::as_str);
            if logged != value {
                return Err(other(what, logged, value));
            }
        }
        Ok(())
    }
}

/// Reads a trial log, whole lines only.
///
/// # Errors
/// [`LogError::Foreign`] if its first line is no header of a known version, [`LogError::Io`] if it cannot be
/// read.
pub fn read(path: &Path) -> Result<Contents, LogError> {
    let bytes = read_bytes(path)?;
    let foreign = |reason: String| LogError::Foreign { path: path.into(), reason };
    let mut lines = bytes.split_inclusive(|&b| b == b'\n');
    let first = lines.next().unwrap_or_default();
    let header: Header = serde_json::from_slice(first).map_err(|e| foreign(e.to_string()))?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(foreign(format!(
            "format {:?} version {}, this program reads {FORMAT:?} version {VERSION}",
            header.format, header.version
        )));
    }
    let mut contents = Contents { header, trials: Vec::new(), damaged: 0, torn: 0 };
    let mut seen = std::collections::HashSet::new();
    for line in lines {
        if line.last() != Some(&b'\n') {
            contents.torn = line.len() as u64;
        } else if let Ok(trial) = serde_json::from_slice::<Trial>(line) {
            if seen.insert(trial.trial) {
                contents.trials.push(trial);
            }
        } else {
            contents.damaged += 1;
        }
    }
    Ok(contents)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    if path.is_symlink() {
        return Err(LogError::Foreign { path: path.into(), reason: "it is a symbolic link".into() });
    }
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(|source| LogError::Io {
        path: path.into(),
        action: "read",
        source,
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Configuration, Value};
    use crate::trial::Outcome;

    fn header() -> Header {
        Header::new("k/p".into(), BTreeMap::from([("seed".to_string(), "1".to_string())]))
    }

    fn trial(number: u32) -> Trial {
        Trial {
            trial: number,
            configuration: Configuration(BTreeMap::from([("x".into(), Value::Int(i64::from(number)))])),
            outcome: Outcome::CompileError,
            message: Some("line one\nline two".into()),
            compile_ns: 5,
            measurements: Vec::new(),
            elapsed_ms: 7,
        }
    }

    #[test]
    fn survives_being_cut_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        let mut log = TrialLog::create(&path, &header()).unwrap();
        for n in 0..3 {
            log.append(&trial(n)).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, contents) = TrialLog::resume(&path, &header()).unwrap();
            let trials = contents.trials;
            let whole_lines = whole[..cut].split_inclusive(|&b| b == b'\n').filter(|l| l.ends_with(b"\n"));
            assert_eq!(trials.len(), whole_lines.count().saturating_sub(1), "cut at {cut}");
            for n in trials.len() as u32..3 {
                log.append(&trial(n)).unwrap();
            }
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn refuses_the_log_of_another_run_and_says_what_differs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        TrialLog::create(&path, &header()).unwrap();
        let mut other = header();
        other.identity.insert("seed".into(), "2".into());
        let message = TrialLog::resume(&path, &other).unwrap_err().to_string();
        assert!(message.contains(r#"seed was "1", now it is "2""#), "{message}");
        assert!(matches!(TrialLog::create(&path, &header()), Err(LogError::Exists(_))));
    }

    #[test]
    fn passes_over_a_damaged_line_and_counts_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        let mut log = TrialLog::create(&path, &header()).unwrap();
        log.append(&trial(0)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"\xff\xfe not json\n");
        std::fs::write(&path, &bytes).unwrap();
        let (mut log, contents) = TrialLog::resume(&path, &header()).unwrap();
        assert_eq!((contents.trials.len(), contents.damaged), (1, 1));
        log.append(&trial(1)).unwrap();
        let contents = read(&path).unwrap();
        assert_eq!((contents.trials.len(), contents.damaged), (2, 1));
    }

    #[test]
    fn a_file_that_is_no_log_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trials.jsonl");
        std::fs::write(&path, "hello\nworld\n").unwrap();
        assert!(matches!(TrialLog::resume(&path, &header()), Err(LogError::Foreign { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"hello\nworld\n");
    }
}
