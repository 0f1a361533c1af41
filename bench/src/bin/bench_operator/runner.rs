//! The simulated runner: it writes what the reporters of pods would write. Nothing is tuned.

use std::time::{Duration, Instant};

use anyhow::Result;
use fractune_crds::{API_VERSION, TuneTask};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::fleet::{AT_ONCE, Fleet, Place};
use crate::watch::Sent;

/// Trials from one report to the next.
const TRIALS: i64 = 5;
/// Each so many reports carry another checkpoint: every 30 s and every 5 s are the reporter's times.
const CHECKPOINT_EVERY: u32 = 6;
/// Characters of a checkpoint of some hundred trials.
const CHECKPOINT: usize = 8 * 1024;

/// Reports for tasks that nobody tunes.
pub(crate) struct SimulatedRunner {
    client: Client,
    tasks: Vec<Place>,
    sent: Sent,
}

impl SimulatedRunner {
    /// A runner of the first task of so many jobs, then of the second, and so on.
    pub(crate) fn new(client: Client, fleet: &Fleet, reporting: u32, sent: Sent) -> Self {
        let reporting = reporting.min(fleet.tasks());
        let task = |number: u32| {
            let Place { namespace, name } = fleet.place(number);
            Place { namespace, name: format!("{name}-{}", number / fleet.jobs()) }
        };
        Self { client, tasks: (0..reporting).map(task).collect(), sent }
    }

    /// Reports for every task each `every`, spread over that time, for `length`; how many reports there were.
    pub(crate) async fn run(&self, every: Duration, length: Duration) -> Result<u32> {
        let number = u32::try_from(self.tasks.len())?;
        let apart = every / number.max(1);
        let rounds = u32::try_from(length.as_millis() / every.as_millis().max(1))?;
        let started = Instant::now();
        let reports = (0..rounds).flat_map(|round| (0..number).map(move |task| (round, task)));
        let report = |(round, task): (u32, u32)| async move {
            let due = every * round + apart * task;
            tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
            self.report(round, &self.tasks[task as usize]).await
        };
        stream::iter(reports).map(report).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(rounds * number)
    }

    async fn report(&self, round: u32, task: &Place) -> Result<()> {
        let api: Api<TuneTask> = Api::namespaced(self.client.clone(), &task.namespace);
        let trials = TRIALS * i64::from(round + 1);
        let object = json!({
            "apiVersion": API_VERSION, "kind": "TuneTask", "metadata": {"name": task.name},
            "status": status(trials, round / CHECKPOINT_EVERY),
        });
        self.sent.report(task, TRIALS);
        api.patch_status(
            &task.name,
            &PatchParams::apply("fractune.dev/agent").force(),
            &Patch::Apply(object),
        )
        .await?;
        Ok(())
    }
}

/// A status as the reporter writes it while a task runs.
fn status(trials: i64, checkpoint: u32) -> Value {
    let best = |share: u8| {
        json!({
            "share": share, "neighbours": "Quiet", "trial": trials, "configuration": {"BLOCK": 64, "LANES": 8},
            "timeNs": 1_000_000 - trials, "defaultNs": 2_000_000, "quiet": false
        })
    };
    let digit = char::from_digit(checkpoint % 10, 10).unwrap_or('0');
    json!({
        "observedGeneration": 1,
        "conditions": [{
            "type": "Reconciling", "status": "True", "reason": "Tuning", "message": "trials are made",
            "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z"
        }],
        "state": "Running", "startTime": "2026-01-01T00:00:00Z",
        "trials": {"total": trials, "ok": trials}, "best": [best(50), best(100)],
        "gpu": {"product": "simulated", "compiler": "simulated"}, "node": "simulated",
        "checkpoint": digit.to_string().repeat(CHECKPOINT), "checkpointTrials": trials,
    })
}
