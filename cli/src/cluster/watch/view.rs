//! What is known of a job that is watched.

use std::collections::BTreeMap;

use fractune_crds::{State, TuneJob, TuneTask};

use crate::cluster::find::belongs;

/// A job and its tasks as last seen.
pub(super) struct View {
    pub(super) job: TuneJob,
    /// By index.
    pub(super) tasks: BTreeMap<i32, TuneTask>,
    /// Why nothing new is heard, while that is so.
    pub(super) trouble: Option<String>,
    /// Whether the job was in the last list.
    listed: bool,
}

impl View {
    pub(super) fn new(job: TuneJob, tasks: Vec<TuneTask>) -> Self {
        let mut view = Self { job, tasks: BTreeMap::new(), trouble: None, listed: true };
        for task in tasks {
            view.task(task);
        }
        view
    }

    /// Takes in a job. One that was made anew under the name begins afresh.
    pub(super) fn job(&mut self, job: TuneJob) {
        if job.metadata.uid != self.job.metadata.uid {
            self.tasks.clear();
        }
        self.job = job;
        self.listed = true;
        self.trouble = None;
    }

    /// A list begins, in which the job may be missing.
    pub(super) fn job_is_listed_anew(&mut self) {
        self.listed = false;
    }

    /// Whether the job was in the last list.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }

    pub(super) fn task(&mut self, mut task: TuneTask) {
        if let Some(status) = &mut task.status {
            // A quarter of a megabyte that nobody looks at here.
            status.checkpoint = None;
        }
        if belongs(&task, &self.job) {
            self.tasks.insert(task.spec.index, task);
        }
        self.trouble = None;
    }

    pub(super) fn task_gone(&mut self, task: &TuneTask) {
        if belongs(task, &self.job) {
            self.tasks.remove(&task.spec.index);
        }
    }

    /// The server answers.
    pub(super) fn reached(&mut self) {
        self.trouble = None;
    }

    /// Nothing new is heard, in a sentence.
    pub(super) fn away(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Trials of all tasks. Tasks tell of theirs before the job does.
    pub(super) fn trials(&self) -> i64 {
        let of_tasks: i64 = self.tasks.values().map(made).sum();
        if self.tasks.is_empty() {
            self.job.status.as_ref().map_or(0, |status| status.trials)
        } else {
            of_tasks
        }
    }

    /// Trials that may still be made; none where not all tasks are known.
    pub(super) fn trials_left(&self) -> Option<i64> {
        let total = self.job.status.as_ref().map_or(0, |status| status.tasks.total);
        let known = usize::try_from(total).is_ok_and(|total| total > 0 && total == self.tasks.len());
        let left = |task: &TuneTask| {
            if is_over(task) { 0 } else { (task.spec.max_trials - made(task)).max(0) }
        };
        known.then(|| self.tasks.values().map(left).sum())
    }
}

/// Trials of a task.
pub(super) fn made(task: &TuneTask) -> i64 {
    task.status.as_ref().map_or(0, |status| status.trials.total)
}

/// The state of a task, of its spec as it stands.
pub(super) fn state(task: &TuneTask) -> State {
    let status = task.status.as_ref().filter(|status| status.observed_generation == task.metadata.generation);
    status.and_then(|status| status.state).unwrap_or(State::Pending)
}

/// Whether a task makes no more trials.
pub(super) fn is_over(task: &TuneTask) -> bool {
    matches!(state(task), State::Complete | State::Failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::sample::{job_with, task};

    fn status(state: &str, trials: i64) -> serde_json::Value {
        json!({"observedGeneration": 1, "state": state, "trials": {"total": trials}, "checkpoint": "x"})
    }

    #[test]
    fn tasks_are_counted_and_what_is_left_is_known_once_all_are_there() {
        let job = job_with(json!({"tasks": {"total": 2}}));
        let mut view = View::new(job.clone(), vec![task(0, "small", &status("Complete", 30))]);
        assert_eq!((view.trials(), view.trials_left()), (30, None));
        view.task(task(1, "large", &status("Running", 15)));
        assert_eq!((view.trials(), view.trials_left()), (45, Some(25)));
        assert!(view.tasks.values().all(|task| task.status.as_ref().unwrap().checkpoint.is_none()));
        let mut again = job;
        again.metadata.uid = Some("u2".to_owned());
        view.job(again);
        assert!(view.tasks.is_empty());
    }
}
