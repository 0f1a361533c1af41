//! A pod's two containers: `tune` with a folder that the test plays the reporter in, and with the reporter itself
//! before a server that the test plays.
#![cfg(feature = "report")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use fractune_agent::link::{
    CHECKPOINT, CONFIRMED, Confirmed, DEVICE, END, End, Link, NOTES, Notes, START, Start,
};
use fractune_agent::report::{self, Arguments, Pace};
use fractune_tuner::results::{Device, JobResult};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower_test::mock::Handle;

const JOB: &str = r#"
apiVersion: fractune.dev/v1alpha1
kind: TuneJob
metadata: {name: scale}
spec:
  shares: [100]
  kernels:
    - name: scale
      language: C
      entrypoint: scale
      problems: [{name: other, sizes: {n: 8}}, {name: small, sizes: {n: 4096}}]
      arguments:
        - buffer: {name: x, type: f32, length: "n"}
        - buffer: {name: y, type: f32, length: "n", output: true}
        - scalar: {name: n, type: i32, value: "n"}
      parameters:
        - {name: step, range: {min: 1, max: 6}}
        - {name: unroll, range: {min: 1, max: 4}}
      verify: {entrypoint: reference}
      source:
        inline: |
          void reference(const float *x, float *y, int n) { for (int i = 0; i < n; i++) y[i] = 2 * x[i]; }
          void scale(const float *x, float *y, int n) { for (int i = 0; i < n; i++) y[i] = 2 * x[i] + 0 * step * unroll; }
  search: {strategy: Random, maxTrials: 999}
  measure: {minTimeMs: 1, finalists: 1}
"#;
const TASK: &str = "scale.small";

/// One pod's folders.
struct Pod {
    dir: tempfile::TempDir,
    link: Link,
}

impl Pod {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["link", "out", "tmp"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("job.yaml"), JOB).unwrap();
        let link = Link::new(dir.path().join("link"));
        Self { dir, link }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self, max_trials: u32) {
        let start =
            Start { version: 1, generation: 2, max_trials, trials: 0, digest: String::new(), done: false };
        self.link.write(START, &start).unwrap();
    }

    /// Starts the tuning container, with an environment as bare as there.
    fn tune(&self, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fractune-agent"));
        command.arg("tune").arg(self.path("job.yaml"));
        command.arg("--out").arg(self.path("out")).arg("--link").arg(self.path("link")).args(more);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("TMPDIR", self.path("tmp")).env("JOB_COMPLETION_INDEX", "1");
        command.stderr(Stdio::from(std::fs::File::create(self.path("stderr")).unwrap())).spawn().unwrap()
    }

    /// Waits for the end, and confirms it.
    fn confirm(&self) -> End {
        let end: End = wait(|| self.link.read(END).unwrap());
        self.link.write(CONFIRMED, &Confirmed { version: 1, generation: 2 }).unwrap();
        end
    }

    /// Runs the tuning container to its confirmed end.
    fn tuned(&self) -> End {
        let mut child = self.tune(&[]);
        let end = self.confirm();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(i32::from(end.exit_code)), "{}", self.stderr());
        end
    }

    fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    fn log(&self) -> PathBuf {
        self.path("out").join(TASK).join("trials.jsonl")
    }

    /// The log's lines: the header, then trials.
    fn lines(&self) -> Vec<String> {
        lines(&self.log())
    }

    fn results(&self) -> JobResult {
        serde_json::from_slice(&std::fs::read(self.path("out/results.json")).unwrap()).unwrap()
    }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_string).collect()
}

fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn terminate(child: &mut Child) -> ExitStatus {
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    child.wait().unwrap()
}

fn numbers(lines: &[String]) -> Vec<u64> {
    let number = |line: &String| serde_json::from_str::<Value>(line).unwrap()["trial"].as_u64().unwrap();
    lines.iter().skip(1).map(number).collect()
}

#[test]
fn what_a_checkpoint_holds_is_not_measured_again_and_the_reporters_budget_counts() {
    let earlier = Pod::new();
    earlier.start(4);
    assert_eq!(earlier.tuned().exit_code, 0, "{}", earlier.stderr());
    let known = earlier.lines();
    assert_eq!(numbers(&known), [0, 1, 2, 3]);
    let device: Device = earlier.link.read(DEVICE).unwrap().unwrap();
    assert_eq!(device.product, earlier.results().device.product);

    let later = Pod::new();
    std::fs::write(later.link.path(CHECKPOINT), known.join("\n") + "\n").unwrap();
    later.start(7);
    let end = later.tuned();
    assert_eq!((end.exit_code, end.message.as_str()), (0, ""), "{}", later.stderr());
    let lines = later.lines();
    assert_eq!(lines[..known.len()], known[..], "what is known stays as it was");
    assert_eq!(numbers(&lines), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(later.results().tasks[0].trials, 7);
}

#[test]
fn a_reduced_checkpoint_is_kept_whole_and_what_it_dropped_counts_as_made() {
    let earlier = Pod::new();
    earlier.start(12);
    assert_eq!(earlier.tuned().exit_code, 0, "{}", earlier.stderr());
    let whole = earlier.lines();
    let mut header: Value = serde_json::from_str(&whole[0]).unwrap();
    header["dropped"] = json!({"Ok": 8});
    // The default, and three that the search asked for late.
    let kept =
        [header.to_string(), whole[1].clone(), whole[10].clone(), whole[11].clone(), whole[12].clone()];

    let later = Pod::new();
    std::fs::write(later.link.path(CHECKPOINT), kept.join("\n") + "\n").unwrap();
    later.start(15);
    assert_eq!(later.tuned().exit_code, 0, "{}", later.stderr());
    let lines = later.lines();
    assert_eq!(lines[..kept.len()], kept[..]);
    let mut all = numbers(&lines);
    assert_eq!(all.len(), 4 + 3, "12 of 15 trials were made already");
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 7, "no two trials have one number");
    let configurations: std::collections::BTreeSet<String> = lines[1..]
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["configuration"].to_string())
        .collect();
    assert_eq!(configurations.len(), 7, "nothing that is known was measured again");
    let task = &later.results().tasks[0];
    assert_eq!((task.trials, task.outcomes.values().sum::<u32>()), (15, 15));
}

#[test]
fn a_checkpoint_of_other_conditions_is_told_of_and_the_search_begins_anew() {
    let pod = Pod::new();
    let header = r#"{"format":"fractune-trials","version":1,"task":"scale/small","identity":{"seed":"99"}}"#;
    std::fs::write(pod.link.path(CHECKPOINT), format!("{header}\n")).unwrap();
    pod.start(2);
    assert_eq!(pod.tuned().exit_code, 0, "{}", pod.stderr());
    assert_eq!(numbers(&pod.lines()), [0, 1]);
    let notes: Notes = pod.link.read(NOTES).unwrap().unwrap();
    assert!(notes.notes.iter().any(|note| note.contains("begins anew")), "{notes:?}");
}

#[test]
fn an_end_that_nobody_confirms_is_none() {
    let pod = Pod::new();
    pod.start(1);
    let code = pod.tune(&["--confirm-seconds", "1"]).wait().unwrap().code();
    assert_eq!(code, Some(75), "{}", pod.stderr());
    assert_eq!(pod.link.read::<End>(END).unwrap().unwrap().exit_code, 0);
    assert!(pod.stderr().contains("has not confirmed"));
}

#[test]
fn a_pod_that_is_stopped_ends_with_75_while_it_tunes_and_while_it_waits() {
    let pod = Pod::new();
    pod.start(24);
    let mut child = pod.tune(&[]);
    wait(|| (pod.lines().len() > 2).then_some(()));
    assert_eq!(terminate(&mut child).code(), Some(75), "{}", pod.stderr());
    assert_eq!(pod.link.read::<End>(END).unwrap().unwrap().exit_code, 75);

    let pod = Pod::new();
    pod.start(1);
    let mut child = pod.tune(&[]);
    wait(|| pod.link.read::<End>(END).unwrap());
    assert_eq!(terminate(&mut child).code(), Some(75), "{}", pod.stderr());
}

#[test]
fn a_wrong_specification_reaches_the_reporter() {
    let pod = Pod::new();
    std::fs::write(pod.path("job.yaml"), JOB.replace("entrypoint: scale", "entrypiont: scale")).unwrap();
    pod.start(1);
    let end = pod.tuned();
    assert_eq!(end.exit_code, 65);
    assert!(end.message.contains("entrypiont"), "{}", end.message);

    let pod = Pod::new();
    std::fs::write(pod.path("job.yaml"), JOB.replace("2 * x[i] + 0 * step", "does not compile")).unwrap();
    pod.start(24);
    let end = pod.tuned();
    assert_eq!(end.exit_code, 65);
    let blames = "scale/small: the source does not compile with the default configuration (step=1 unroll=1)";
    assert!(end.message.contains(blames), "{}", end.message);
}

#[test]
fn without_a_reporter_it_says_what_is_missing() {
    let pod = Pod::new();
    let code = pod.tune(&["--start-seconds", "0"]).wait().unwrap().code();
    assert_eq!(code, Some(69));
    assert!(pod.stderr().contains("start.json") && pod.stderr().contains("report"), "{}", pod.stderr());
}

/// Stores the status of one task.
async fn serve(mut handle: Handle<Request<Body>, Response<Body>>, stored: &mut Value) {
    while let Some((request, answer)) = handle.next_request().await {
        let object = if request.method() == "GET" {
            json!({"metadata": {"uid": "u", "generation": 2, "resourceVersion": "1"}, "status": stored, "spec": {"jobName": "scale",
                "kernel": "scale", "problem": "small", "shares": [100], "index": 1, "maxTrials": 24, "digest": "d"}})
        } else {
            let body = request.into_body().collect_bytes().await.unwrap();
            *stored = serde_json::from_slice::<Value>(&body).unwrap()["status"].take();
            Value::Null
        };
        answer.send_response(Response::new(Body::from(object.to_string().into_bytes())));
    }
}

/// Runs both containers of a pod until `tune` ends; its exit code.
async fn both(pod: &Pod, stored: &mut Value, stop_after: Option<usize>) -> i32 {
    let arguments = Arguments {
        ready: false,
        namespace: "ns".into(),
        task: "scale-1".into(),
        node: "node-1".into(),
        link: pod.path("link"),
        out: pod.path("out"),
    };
    let second = Duration::from_secs(1);
    let pace = Pace { look: second / 50, progress: second / 10, checkpoint: second / 5, ..Pace::default() };
    let (service, handle) = tower_test::mock::pair();
    let (stop, stopped) = oneshot::channel::<()>();
    let tuning = async {
        while report::main(&Arguments { ready: true, ..arguments.clone() }) != 0 {
            tokio::time::sleep(second / 50).await;
        }
        let mut child = pod.tune(&[]);
        let status = loop {
            if stop_after.is_some_and(|count| pod.lines().len() > count) {
                break terminate(&mut child);
            }
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None => tokio::time::sleep(second / 50).await,
            }
        };
        stop.send(()).unwrap();
        status.code().unwrap()
    };
    let reporting = report::run(Client::new(service, "ns"), &arguments, pace, async {
        let _ = stopped.await;
    });
    let (code, reported, ()) = tokio::join!(tuning, reporting, serve(handle, stored));
    assert_eq!(reported, 0);
    code
}

#[tokio::test]
async fn a_task_goes_on_in_another_pod_and_is_complete_there() {
    let mut stored = Value::Null;
    let first = Pod::new();
    assert_eq!(both(&first, &mut stored, Some(5)).await, 75, "{}", first.stderr());
    let made = numbers(&first.lines());
    assert!((5..24).contains(&made.len()), "{made:?}");
    assert_eq!(stored["checkpointTrials"], made.len(), "the last words hold every trial");
    assert_eq!(stored["conditions"][0]["reason"], "Interrupted");

    let second = Pod::new();
    assert_eq!(both(&second, &mut stored, None).await, 0, "{}", second.stderr());
    assert_eq!(numbers(&second.lines())[..made.len()], made[..]);
    let elapsed = |pod: &Pod| -> Vec<Value> {
        pod.lines()[1..=made.len()]
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["elapsedMs"].clone())
            .collect()
    };
    assert_eq!(elapsed(&first), elapsed(&second), "no trial was made again");
    assert_eq!(stored["conditions"][0]["type"], "Complete");
    assert_eq!((&stored["trials"]["total"], &stored["checkpointTrials"]), (&json!(24), &json!(24)));
    assert!(stored["best"][0]["quiet"] == true && stored["best"][0]["fullChoiceNs"].is_u64());

    // As when a pod is deleted after its status was stored and before it could end: Kubernetes makes another.
    let complete = stored.clone();
    let third = Pod::new();
    assert_eq!(both(&third, &mut stored, None).await, 0, "{}", third.stderr());
    assert_eq!(stored, complete, "a task that is done is left as it is");
    assert_eq!(numbers(&third.lines()), [0; 0], "and not measured again");
}
