//! Who is blamed when a worker loses its device: a worker that plays the losses, so that no GPU is needed.

#![expect(clippy::unwrap_used, reason = "a failure to set up is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use fractune_agent::tune::{self, Output, Plan, Target};
use fractune_agent::worker::WorkerCommand;
use fractune_tuner::results::JobResult;
use fractune_tuner::trial::Outcome;

const JOB: &str = r#"
apiVersion: fractune.dev/v1alpha1
kind: TuneJob
metadata: {name: blame}
spec:
  shares: [100]
  kernels:
    - name: scale
      language: C
      entrypoint: scale
      problems: [{name: small, sizes: {n: 8}}]
      arguments:
        - buffer: {name: y, type: f32, length: "n", output: true}
      parameters:
        - {name: step, range: {min: 1, max: 8}}
      verify: {entrypoint: scale}
      source: {inline: "void scale(float *y) { y[0] = step; }"}
  search: {strategy: Exhaustive, maxTrials: 8}
  measure: {minTimeMs: 1, finalists: 2}
"#;

/// Speaks the worker protocol. Trial 2 loses the device whenever it is verified, trial 4 the first time only,
/// and trial 6 is not answered at all the first time.
const WORKER: &str = r#"
import json, os, sys
folder = sys.argv[1]
def first(what):
    path = os.path.join(folder, what)
    new = not os.path.exists(path)
    open(path, "w").close()
    return new
for line in sys.stdin:
    request = json.loads(line)
    kind, trial = request["request"], request.get("id")
    reply = {"reply": "ok"}
    if kind == "init":
        reply = {"reply": "ready", "protocol": request["protocol"], "product": "played", "units": 1}
    elif kind == "load":
        of = {"blocks": 8 * trial + 8, "threads": 256, "blocksPerUnit": 2, "unitThreads": 2048, "registers": 32}
        reply = {"reply": "loaded", "footprint": {**of, "sharedBytes": 0, "localBytes": 0}}
    elif kind == "verify" and (trial == 2 or trial == 4 and first("4")):
        reply = {"reply": "lost", "message": "an illegal memory access"}
    elif kind == "verify" and trial == 6 and first("6"):
        os._exit(3)
    elif kind == "run":
        reply = {"reply": "times", "timesNs": [1000 * (trial + 1)] * request["runs"]}
    print(json.dumps(reply), flush=True)
    if reply["reply"] == "lost":
        break
"#;

fn run(folder: &Path, sharing: &str, resume: bool) -> (JobResult, BTreeMap<u32, (Outcome, Option<String>)>) {
    let script = folder.join("worker.py");
    std::fs::write(&script, WORKER).unwrap();
    let job = JOB.replace("minTimeMs: 1", &format!("minTimeMs: 1, sharing: {sharing}"));
    let (loaded, tasks) = fractune_crds::load(job.as_bytes(), |_| ()).unwrap();
    let plan = Plan::new(loaded.job, tasks);
    let output = Output { folder: folder.join("out"), resume, manifest: job.into(), cache: None };
    let worker = WorkerCommand { program: "python3".into(), args: vec![script.into(), folder.into()] };
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(tune::run(&plan, &output, Target::Cpu(worker), &|_| ()))
        .unwrap();
    let log = fractune_tuner::log::read(&folder.join("out/scale.small/trials.jsonl")).unwrap();
    (result, log.trials.into_iter().map(|trial| (trial.trial, (trial.outcome, trial.message))).collect())
}

#[test]
fn only_what_loses_the_device_again_when_it_is_alone_is_blamed() {
    for sharing in ["Auto", "Exclusive"] {
        blames_the_culprit_alone(sharing);
    }
}

fn blames_the_culprit_alone(sharing: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (result, trials) = run(folder.path(), sharing, false);
    assert_eq!(format!("{:?}", result.measure.sharing), sharing);
    assert_eq!(trials.len(), 8);
    for (trial, (outcome, message)) in &trials {
        if *trial == 2 {
            assert_eq!(*outcome, Outcome::RuntimeError);
            assert_eq!(message.as_deref(), Some("an illegal memory access"));
        } else {
            assert_eq!(*outcome, Outcome::Ok, "trial {trial}: {message:?}");
        }
    }
    let best = &result.tasks[0].shares[0].best;
    assert_eq!((best.trial, best.time_ns), (0, 1000));
    let footprint = result.tasks[0].shares[0].footprint.unwrap();
    assert_eq!((footprint.blocks, footprint.registers), (8, 32), "the winner's, as the worker said");
}

#[test]
fn a_run_may_go_on_with_another_sharing() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "Shared", false);
    let (_, trials) = run(folder.path(), "Exclusive", true);
    assert_eq!(trials.len(), 8);
}
