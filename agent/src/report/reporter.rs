//! The reporter's life: begin, follow and write, confirm, last words.

use std::pin::pin;
use std::time::Duration;

use fractune_crds::TuneTaskStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::backoff::Backoff;
use super::checkpoint::{self, Checkpoint, MAX_ENCODED};
use super::conditions::Phase;
use super::progress::Progress;
use super::server::{Refusal, Server, Task};
use super::sight::{Sight, now};
use super::status::{Facts, status};
use super::{Arguments, Pace};
use crate::link::{self, Confirmed, Link, Start};
use crate::tune::exit;
use crate::tune::folder::write_whole;

/// The first wait of last words, which have little time.
const HURRY: Duration = Duration::from_millis(250);
/// How often a task may change while its status is written.
const CHANGES: usize = 5;

/// Whether to go on after an attempt to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    /// The task is gone.
    Stop,
}

/// Reports until `stop`; the exit code.
pub(super) async fn run(
    client: Client,
    arguments: &Arguments,
    pace: Pace,
    stop: impl Future<Output = ()>,
) -> u8 {
    let mut stop = pin!(stop);
    let Arguments { namespace, task, .. } = arguments;
    let server = Server::new(client, namespace.clone(), task.clone(), pace.answer);
    let begun = tokio::select! {
        begun = begin(server, arguments, pace) => begun,
        () = &mut stop => return exit::DONE,
    };
    let mut reporter = match begun {
        Ok(reporter) => reporter,
        Err(message) => {
            error!("{message}");
            return exit::IO;
        }
    };
    if reporter.done {
        stop.await;
        return exit::DONE;
    }
    loop {
        // A request that is cut off by the signal is made again: applying the same status twice does no harm.
        let next = tokio::select! {
            next = reporter.pass() => next,
            () = &mut stop => break,
        };
        if next == Next::Stop {
            // Ending now would only have this container started again.
            stop.await;
            return exit::DONE;
        }
        tokio::select! {
            () = tokio::time::sleep(pace.look) => {}
            () = &mut stop => break,
        }
    }
    reporter.last_words().await;
    exit::DONE
}

/// Reads the task, for as long as that takes, and tells the other container what to tune. An error is a sentence.
async fn begin(server: Server, arguments: &Arguments, pace: Pace) -> Result<Reporter<'_>, String> {
    let mut backoff = Backoff::new(pace.first_retry, pace.longest_retry);
    let task = loop {
        let (after, message) = match server.get().await {
            Ok(task) => break task,
            Err(Refusal::Gone(message) | Refusal::Changed(message)) => (None, message),
            Err(Refusal::Later { after, message, .. }) => (after, message),
        };
        let wait = backoff.next(rand::random(), after);
        warn!("TuneTask {} cannot be read, again in {wait:?}: {message}", arguments.task);
        tokio::time::sleep(wait).await;
    };
    Reporter::start(server, arguments, pace, task)
}

struct Reporter<'a> {
    server: Server,
    arguments: &'a Arguments,
    pace: Pace,
    link: Link,
    task: Task,
    generation: i64,
    digest: String,
    sight: Sight,
    /// What became of an earlier pod's checkpoint, if it is of no use.
    lost: Option<String>,
    checkpoint: Option<(Checkpoint, String)>,
    /// Trials behind the checkpoint, and when it was made.
    checkpointed: u32,
    checkpointed_at: Option<Instant>,
    conditions: Vec<Condition>,
    written: Option<TuneTaskStatus>,
    /// Before this nothing is written, except at the end.
    not_before: Instant,
    /// Before this nothing is written at all: the server refused.
    refused_until: Instant,
    backoff: Backoff,
    confirmed: bool,
    /// There is nothing to report: an earlier pod has done it all.
    done: bool,
}

impl<'a> Reporter<'a> {
    /// Hands the checkpoint and what to tune to the other container, unless an earlier reporter of this pod did.
    fn start(server: Server, arguments: &'a Arguments, pace: Pace, task: Task) -> Result<Self, String> {
        // The volume that both containers see is empty at first.
        let link = Link::new(arguments.link.clone());
        std::fs::create_dir_all(&arguments.link)
            .map_err(|error| format!("{}: {error}", arguments.link.display()))?;
        let earlier: Option<Start> = link.read(link::START).map_err(|error| error.to_string())?;
        let digest = earlier.as_ref().map_or(&task.spec.digest, |start| &start.digest).clone();
        let status = task.status.clone().unwrap_or_default();
        let same = status.checkpoint_digest.as_ref() == Some(&digest);
        let (mut progress, mut lost, mut checkpoint) = (Progress::default(), None, None);
        if let Some(encoded) = status.checkpoint.filter(|_| same) {
            match checkpoint::read(&encoded) {
                Ok((log, read)) => {
                    if earlier.is_none() {
                        let path = link.path(link::CHECKPOINT);
                        write_whole(&path, &log).map_err(|error| format!("{}: {error}", path.display()))?;
                    }
                    let trials = read.kept().len() as u32;
                    let left_out = read.header().map_or(0, |header| header.dropped.values().sum());
                    checkpoint = Some((Checkpoint { encoded, trials, left_out }, digest.clone()));
                    progress = read;
                }
                Err(why) => {
                    lost = Some(format!(
                        "the trials of an earlier pod are lost, their checkpoint is damaged: {why}"
                    ));
                }
            }
        }
        let Start { generation, done, .. } = match earlier {
            Some(start) => start,
            None => tell_what_to_tune(&link, &task, &digest, progress.kept().len() as u32)?,
        };
        if done {
            info!(generation, "the task is done already, and stays as it is");
        } else {
            info!(generation, trials = progress.total(), "tuning may start");
        }
        let started = status.start_time.filter(|_| same);
        Ok(Self {
            checkpointed: progress.total(),
            sight: Sight::new(link.clone(), &arguments.out, &task.spec, progress, started),
            conditions: status.conditions,
            generation,
            digest,
            lost,
            checkpoint,
            checkpointed_at: None,
            written: None,
            not_before: Instant::now(),
            refused_until: Instant::now(),
            backoff: Backoff::new(pace.first_retry, pace.longest_retry),
            confirmed: false,
            done,
            server,
            arguments,
            pace,
            link,
            task,
        })
    }

    /// Looks at everything, and writes if there is something to write and it is time.
    async fn pass(&mut self) -> Next {
        if self.confirmed {
            return Next::GoOn;
        }
        if self.sight.look() {
            self.checkpointed = 0;
        }
        let at_the_end = matches!(self.sight.phase, Phase::Ended(_));
        let now = Instant::now();
        if now < self.refused_until || (now < self.not_before && !at_the_end) {
            return Next::GoOn;
        }
        self.make_checkpoint(at_the_end);
        match self.write().await {
            Ok(was_new) => {
                if was_new {
                    self.not_before = Instant::now() + self.pace.progress;
                }
                if at_the_end {
                    self.confirm();
                }
                Next::GoOn
            }
            Err(Refusal::Gone(message) | Refusal::Changed(message)) => {
                info!("the TuneTask is gone, nothing more is written: {message}");
                Next::Stop
            }
            Err(Refusal::Later { after, message, lasting }) => {
                let wait = self.backoff.next(rand::random(), after);
                self.refused_until = Instant::now() + wait;
                complain(&message, wait, lasting);
                Next::GoOn
            }
        }
    }

    /// Writes what is there to say once more, for as long as the pod's end leaves time.
    async fn last_words(&mut self) {
        let deadline = Instant::now() + self.pace.grace;
        if self.confirmed {
            return;
        }
        if self.sight.look() {
            self.checkpointed = 0;
        }
        if !matches!(self.sight.phase, Phase::Ended(_)) {
            self.sight.enter(Phase::Stopped);
        }
        self.make_checkpoint(true);
        let mut backoff = Backoff::new(HURRY.min(self.pace.first_retry), self.pace.longest_retry / 8);
        loop {
            let (after, message, lasting) = match tokio::time::timeout_at(deadline, self.write()).await {
                Ok(Ok(_)) => {
                    if matches!(self.sight.phase, Phase::Ended(_)) {
                        self.confirm();
                    }
                    return info!("the last status is written");
                }
                Ok(Err(Refusal::Gone(message) | Refusal::Changed(message))) => {
                    return info!("the TuneTask is gone: {message}");
                }
                Ok(Err(Refusal::Later { after, message, lasting })) => (after, message, lasting),
                Err(_) => (None, "no time is left".into(), false),
            };
            let wait = backoff.next(rand::random(), after);
            if Instant::now() + wait >= deadline {
                return error!("the last status could not be written: {message}");
            }
            complain(&message, wait, lasting);
            tokio::time::sleep(wait).await;
        }
    }

    /// Makes a new checkpoint if there are new trials, and it is time or the last chance.
    fn make_checkpoint(&mut self, last: bool) {
        let due = self.checkpointed_at.is_none_or(|made| made.elapsed() >= self.pace.checkpoint);
        // A log without trials must not take the place of what an earlier pod found.
        if !(due || last) || self.sight.progress.total() == 0 || !self.sight.has_log() {
            return;
        }
        if self.checkpointed == self.sight.progress.total() && self.checkpoint.is_some() {
            return;
        }
        match checkpoint::make(&self.sight.progress, MAX_ENCODED) {
            Ok(Some(made)) => {
                debug!(trials = made.trials, bytes = made.encoded.len(), "checkpoint");
                self.checkpoint = Some((made, self.digest.clone()));
            }
            Ok(None) => {}
            Err(error) => error!("no checkpoint can be made: {error}"),
        }
        self.checkpointed = self.sight.progress.total();
        self.checkpointed_at = Some(Instant::now());
    }

    /// Writes the status, if it is another than the one that is stored; whether it was.
    async fn write(&mut self) -> Result<bool, Refusal> {
        let status = self.status();
        self.conditions.clone_from(&status.conditions);
        if self.written.as_ref() == Some(&status) {
            return Ok(false);
        }
        self.apply(&status).await?;
        self.written = Some(status);
        self.backoff.reset();
        Ok(true)
    }

    /// Applies a status to the task that this pod is for, however that has changed, and to no other of its name.
    async fn apply(&mut self, status: &TuneTaskStatus) -> Result<(), Refusal> {
        for _ in 0..CHANGES {
            match self.server.apply(&self.task.resource_version, status).await {
                Ok(version) => {
                    self.task.resource_version = version;
                    return Ok(());
                }
                Err(Refusal::Changed(_)) => {
                    let found = self.server.get().await?;
                    if found.uid != self.task.uid {
                        return Err(Refusal::Gone(format!(
                            "another one has its name, with UID {}",
                            found.uid
                        )));
                    }
                    self.task.resource_version = found.resource_version;
                }
                Err(other) => return Err(other),
            }
        }
        let message = format!("the task has changed {CHANGES} times while its status was written");
        Err(Refusal::Later { after: None, message, lasting: false })
    }

    fn status(&self) -> TuneTaskStatus {
        let mut notes: Vec<String> = self.lost.iter().chain(&self.sight.notes).cloned().collect();
        let left_out = self.checkpoint.as_ref().map_or(0, |(checkpoint, _)| checkpoint.left_out);
        if left_out > 0 {
            notes.push(format!(
                "the checkpoint has no room for {left_out} of the trials: they count, but a later pod may make them again"
            ));
        }
        if self.sight.progress.unreadable() > 0 {
            notes.push(format!("{} lines of the trial log cannot be read", self.sight.progress.unreadable()));
        }
        status(&Facts {
            generation: self.generation,
            node: &self.arguments.node,
            kernel: &self.task.spec.kernel,
            problem: &self.task.spec.problem,
            phase: &self.sight.phase,
            since: &self.sight.since,
            now: &now(),
            started: self.sight.started.as_ref(),
            progress: &self.sight.progress,
            device: self.sight.device.as_ref(),
            results: self.sight.results.as_ref(),
            notes: &notes,
            checkpoint: self.checkpoint.as_ref().map(|(checkpoint, digest)| (checkpoint, digest.as_str())),
            earlier: &self.conditions,
            before: self
                .task
                .status
                .as_ref()
                .filter(|s| s.checkpoint_digest.as_ref() == Some(&self.task.spec.digest)),
        })
    }

    /// Tells the other container that its end is stored.
    fn confirm(&mut self) {
        let confirmed = Confirmed { version: link::VERSION, generation: self.generation };
        match self.link.write(link::CONFIRMED, &confirmed) {
            Ok(()) => {
                info!("the final status is stored");
                self.confirmed = true;
            }
            Err(error) => error!("{}: {error}", self.link.path(link::CONFIRMED).display()),
        }
    }
}

/// Writes `start.json`, which is returned. An error is a sentence.
fn tell_what_to_tune(link: &Link, task: &Task, digest: &str, trials: u32) -> Result<Start, String> {
    let start = Start {
        version: link::VERSION,
        generation: task.generation,
        max_trials: u32::try_from(task.spec.max_trials.max(1)).unwrap_or(u32::MAX),
        trials,
        digest: digest.to_owned(),
        done: task.is_done(),
    };
    link.write(link::START, &start)
        .map_err(|error| format!("{}: {error}", link.path(link::START).display()))?;
    Ok(start)
}

fn complain(message: &str, wait: Duration, lasting: bool) {
    if lasting {
        error!(
            "the API server refuses the status, and will until something changes; again in {wait:?}: {message}"
        );
    } else {
        warn!("the status is not written, again in {wait:?}: {message}");
    }
}

#[cfg(test)]
mod tests;
