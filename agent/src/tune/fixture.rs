//! A job for tests of the loop's parts, which nothing compiles or runs.

use super::plan::Plan;

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
