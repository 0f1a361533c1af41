//! A job for tests of the loop's parts, which nothing compiles or runs.

use std::collections::BTreeMap;
use std::io::Write as _;

use fractune_tuner::condition::Condition;
use fractune_tuner::kernel::{Configuration, Value};
use fractune_tuner::settings::Sharing;

use super::TaskRun;
use super::backend::{Backend, Prepared};
use super::canary::Canary;
use super::finals::Known;
use super::plan::Plan;
use super::rounds::Seen;
use super::session::Runner;
use crate::backend::replay::{Recording, RecordingFile};
use crate::gate::{Access, Gate};
use crate::worker::protocol::Load;

/// What each of three trials gives at 100 % and 50 %: a time in nanoseconds, or an outcome.
pub(super) type Later = [[Result<u64, &'static str>; 2]; 3];

const JOB: &str = r#"
apiVersion: fractune.dev/v1alpha1
kind: TuneJob
metadata: {name: fixture}
spec:
  shares: SHARES
  kernels:
    - name: scale
      language: CUDA
      entrypoint: scale
      launch: {grid: ["1"], block: ["32"]}
      problems: [{name: small, sizes: {n: 8}}]
      arguments: [{buffer: {name: y, type: f32, length: "n", output: true}}]
      parameters: [{name: step, values: STEPS}]
      verify: {none: true}
      source: {inline: "__global__ void scale(float *y) { y[0] = step; }"}
"#;

/// One task with these shares and values of its parameter `step`, both as YAML has lists.
pub(super) fn plan(shares: &str, steps: &str) -> Plan {
    let job = JOB.replace("SHARES", shares).replace("STEPS", steps);
    let (loaded, tasks) = fractune_crds::load(job.as_bytes(), |_| ()).unwrap();
    Plan::new(loaded.job, tasks)
}

fn configuration(step: u32) -> Configuration {
    Configuration(BTreeMap::from([("step".to_owned(), Value::Int(step.into()))]))
}

/// What is known after the rounds gave each trial ten microseconds less its number, at each of two shares, and after `then`, which
/// measures what is recorded as `later`. Trial 0 is the default.
pub(super) fn recorded(
    later: Later,
    then: impl AsyncFnOnce(&TaskRun<'_>, &mut [Runner<'_>], &mut Known),
) -> Known {
    let mut file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    writeln!(file, r#"{{"format":"fractune-trials","version":1,"task":"scale/small","identity":{{}}}}"#)
        .unwrap();
    for (trial, at) in later.iter().enumerate() {
        let at = [100, 50].iter().zip(at).map(|(share, later)| match later {
            Ok(time) => {
                format!(r#"{{"share":{share},"outcome":"Ok","timeNs":{time},"samplesNs":[{time}]}}"#)
            }
            Err(outcome) => {
                format!(r#"{{"share":{share},"outcome":"{outcome}","timeNs":null,"samplesNs":[]}}"#)
            }
        });
        let at = at.collect::<Vec<_>>().join(",");
        writeln!(
            file,
            r#"{{"trial":{trial},"configuration":{{"step":{trial}}},"outcome":"Ok","compileNs":1,"measurements":[{at}],"elapsedMs":1}}"#
        )
        .unwrap();
    }
    let files = [RecordingFile { share: None, path: file.path().into() }];
    let plan = plan("[50, 100]", "[0, 1, 2]");
    let backend = Backend::Replay(Recording::read(&files, &plan.shares).unwrap());
    let gate = Gate::gpu();
    let access = Access::new(&gate, Sharing::Auto);
    let (task, listener) = (&plan.tasks[0], &|_| ());
    let (backend, gate, access, canary) = (&backend, &gate, &access, &Canary::default());
    let run = TaskRun { number: 0, plan: &plan, task, backend, gate, access, canary, listener };
    let mut runners = [100, 50].map(|share| Runner::new(backend, &plan, task, share));
    let prepared =
        |trial| Prepared { trial, configuration: configuration(trial), load: Load::default(), compile_ns: 0 };
    let rounds: BTreeMap<u32, Vec<u64>> =
        (0..3).map(|trial| (trial, vec![10_000 - 1000 * u64::from(trial)])).collect();
    let conditions = [100, 50].map(Condition::quiet);
    let mut known = Known {
        finalists: BTreeMap::new(),
        prepared: (0..3).map(prepared).collect(),
        samples: conditions.iter().map(|&condition| (condition, rounds.clone())).collect(),
        winners: BTreeMap::new(),
        default: 0,
        seen: Seen::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(then(&run, &mut runners, &mut known));
    known
}
