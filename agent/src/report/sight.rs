//! What the tuning container has written so far.

use std::io;
use std::path::{Path, PathBuf};

use fractune_crds::TuneTaskSpec;
use fractune_tuner::results::{Device, JobResult};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::error;

use super::conditions::Phase;
use super::follow::{Said, Tail};
use super::progress::Progress;
use crate::link::{self, End, Link, Notes, read_json};
use crate::tune::folder::{RESULTS, TRIALS};

/// The largest results that are read, in bytes.
const MAX_RESULTS: u64 = 64 << 20;

/// What is seen of the tuning container.
#[derive(Debug)]
pub(super) struct Sight {
    link: Link,
    results_file: PathBuf,
    kernel: String,
    problem: String,
    tail: Tail,
    pub(super) progress: Progress,
    pub(super) phase: Phase,
    /// When the phase began.
    pub(super) since: Time,
    /// When the first trial began.
    pub(super) started: Option<Time>,
    pub(super) device: Option<Device>,
    pub(super) results: Option<JobResult>,
    pub(super) notes: Vec<String>,
    /// What is wrong with the files, as last told.
    complaint: Option<String>,
}

impl Sight {
    /// Of the containers' folders, with what is known from earlier pods.
    pub(super) fn new(
        link: Link,
        out: &Path,
        spec: &TuneTaskSpec,
        progress: Progress,
        started: Option<Time>,
    ) -> Self {
        // Whatever the names are, the log lies in the output folder.
        let folder = format!("{}.{}", spec.kernel, spec.problem).replace('/', "_");
        Self {
            link,
            results_file: out.join(RESULTS),
            kernel: spec.kernel.clone(),
            problem: spec.problem.clone(),
            tail: Tail::new(out.join(folder), TRIALS),
            progress,
            phase: Phase::Starting,
            since: now(),
            started,
            device: None,
            results: None,
            notes: Vec::new(),
            complaint: None,
        }
    }

    /// Whether the progress is that of this pod's own log, and not an earlier pod's.
    pub(super) fn has_log(&self) -> bool {
        self.tail.is_there()
    }

    /// Reads what was written since the last time; whether it is another log than before.
    pub(super) fn look(&mut self) -> bool {
        let mut complaints = Vec::new();
        let (progress, mut is_another) = (&mut self.progress, false);
        let followed = self.tail.read(|said| match said {
            Said::Anew => (*progress, is_another) = (Progress::default(), true),
            Said::Line(line) => progress.line(line),
            Said::TooLong => progress.damaged(),
        });
        complaints.extend(followed.err());
        if self.device.is_none() {
            match self.link.read(link::DEVICE) {
                Ok(device) => self.device = device,
                Err(error) => complaints.push(error),
            }
        }
        match self.link.read::<Notes>(link::NOTES) {
            Ok(notes) => self.notes = notes.unwrap_or_default().notes,
            Err(error) => complaints.push(error),
        }
        match self.link.read::<End>(link::END) {
            Ok(Some(end)) => complaints.extend(self.end(end).err()),
            Ok(None) => {}
            Err(error) => complaints.push(error),
        }
        if self.phase == Phase::Starting && self.has_log() {
            self.started.get_or_insert_with(now);
            self.enter(Phase::Tuning);
        }
        self.complain(complaints.first());
        is_another
    }

    /// Changes the phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        if self.phase != phase {
            self.phase = phase;
            self.since = now();
        }
    }

    /// Takes in how `tune` ended. Results that cannot be read are no end: `tune` is not confirmed, and tried again.
    fn end(&mut self, end: End) -> io::Result<()> {
        let phase = Phase::Ended(end);
        if phase.has_results() && self.results.is_none() {
            self.results = Some(self.read_results()?);
        }
        self.enter(phase);
        Ok(())
    }

    fn read_results(&self) -> io::Result<JobResult> {
        let results: Option<JobResult> = read_json(&self.results_file, MAX_RESULTS)?;
        let has_task = |results: &JobResult| {
            results.tasks.iter().any(|task| task.kernel == self.kernel && task.problem == self.problem)
        };
        results.filter(has_task).ok_or_else(|| {
            let reason = format!("{} has no {}/{}", self.results_file.display(), self.kernel, self.problem);
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })
    }

    /// Says what is wrong, once.
    fn complain(&mut self, complaint: Option<&io::Error>) {
        let complaint = complaint.map(ToString::to_string);
        if let Some(complaint) = complaint.as_ref().filter(|new| self.complaint.as_ref() != Some(new)) {
            error!("{complaint}");
        }
        self.complaint = complaint;
    }
}

/// The time in whole seconds, as the API keeps it.
pub(super) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
