//! A reporter against a scripted API server. The clock stands still, except where everybody waits.

use http::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower_test::mock::{Handle, SendResponse, pair};

use super::super::progress::tests::{HEADER, line, log};
use super::*;
use crate::link::End;
use crate::tune::folder::{RESULTS, TRIALS};

mod done;

const URL: &str = "/apis/fractune.dev/v1alpha1/namespaces/ns/tunetasks/job-0";
const SECOND: Duration = Duration::from_secs(1);

/// A pod's folders, and the server that the reporter talks to.
struct Pod {
    dir: tempfile::TempDir,
    link: Link,
    task: Value,
    handle: Handle<Request<Body>, Response<Body>>,
    stop: Option<oneshot::Sender<()>>,
}

/// A status that the reporter asks to be stored.
struct Asked {
    version: String,
    status: Value,
    answer: SendResponse<Response<Body>>,
}

impl Asked {
    fn grant(self) -> Value {
        let object = json!({"metadata": {"resourceVersion": "8"}}).to_string();
        self.answer.send_response(Response::new(Body::from(object.into_bytes())));
        self.status
    }

    fn refuse(self, code: u16, retry_after: Option<&str>) -> Value {
        let mut response = Response::builder().status(code);
        if let Some(seconds) = retry_after {
            response = response.header("Retry-After", seconds);
        }
        self.answer.send_response(response.body(Body::from(b"no".to_vec())).unwrap());
        self.status
    }
}

impl Pod {
    async fn request(&mut self) -> (Request<Body>, SendResponse<Response<Body>>) {
        let next = tokio::time::timeout(Duration::from_hours(1), self.handle.next_request());
        next.await.expect("the reporter says nothing").unwrap()
    }

    async fn answer_get(&mut self) {
        let (request, answer) = self.request().await;
        assert_eq!((request.method().as_str(), request.uri().path()), ("GET", URL));
        answer.send_response(Response::new(Body::from(self.task.to_string().into_bytes())));
    }

    async fn asked(&mut self) -> Asked {
        let (request, answer) = self.request().await;
        assert_eq!(request.method().as_str(), "PATCH");
        assert_eq!(request.uri().path(), format!("{URL}/status"));
        let query = request.uri().query().unwrap();
        assert!(
            query.contains("fieldManager=fractune.dev%2Fagent") && query.contains("force=true"),
            "{query}"
        );
        assert_eq!(request.headers()["content-type"], "application/apply-patch+yaml");
        let body = request.into_body().collect_bytes().await.unwrap();
        let mut object: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&object["metadata"]["name"], &object["metadata"]["namespace"]),
            (&json!("job-0"), &json!("ns"))
        );
        assert_eq!(
            (&object["apiVersion"], &object["kind"]),
            (&json!(fractune_crds::API_VERSION), &json!("TuneTask"))
        );
        Asked {
            version: object["metadata"]["resourceVersion"].as_str().unwrap().into(),
            status: object["status"].take(),
            answer,
        }
    }

    async fn granted(&mut self) -> Value {
        self.asked().await.grant()
    }

    fn write_log(&self, lines: &[String]) {
        let folder = self.dir.path().join("out/k.p");
        std::fs::create_dir_all(&folder).unwrap();
        write_whole(&folder.join(TRIALS), log(lines).as_bytes()).unwrap();
    }

    fn end(&self, exit_code: u8) {
        let end = End { version: 1, exit_code, message: "because".into() };
        self.link.write(link::END, &end).unwrap();
    }

    fn write_results(&self) {
        let results = json!({
            "version": 1, "job": "j", "shares": [100], "search": {}, "measure": {},
            "device": {"backend": "cpu", "product": "CPU", "units": 2, "unitsByShare": {"100": 2}, "compiler": "cc"},
            "tasks": [{"kernel": "k", "problem": "p", "weight": 1, "folder": "k.p", "raw": 1, "valid": 1,
                "trials": 1, "outcomes": {"Ok": 1}, "verified": true, "ended": "SpaceExhausted", "searchMs": 1,
                "finalsMs": 1, "default": {"x": 0}, "shares": [{"share": 100, "served": [], "finalists": [],
                "best": {"trial": 0, "configuration": {"x": 0}, "timeNs": 77, "noisePercent": null, "samples": 9}}]}]
        });
        std::fs::write(self.dir.path().join("out").join(RESULTS), results.to_string()).unwrap();
    }

    fn is_confirmed(&self) -> bool {
        self.link.read::<Confirmed>(link::CONFIRMED).unwrap().is_some()
    }

    async fn confirmed(&self) {
        while !self.is_confirmed() {
            tokio::time::sleep(SECOND / 10).await;
        }
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

fn task(status: &Value) -> Value {
    json!({"metadata": {"uid": "u-1", "generation": 3, "resourceVersion": "7"}, "status": status, "spec": {"jobName": "j", "kernel": "k",
        "problem": "p", "shares": [50, 100], "index": 0, "maxTrials": 200, "digest": "d-1"}})
}

/// Runs a reporter beside a script, which is its server and its `tune`. The reporter's exit code.
async fn play(task: Value, script: impl AsyncFnOnce(&mut Pod)) -> u8 {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("out")).unwrap();
    let arguments = Arguments {
        ready: false,
        namespace: "ns".into(),
        task: "job-0".into(),
        node: "node-1".into(),
        link: dir.path().join("link"),
        out: dir.path().join("out"),
    };
    let (service, handle) = pair();
    let (stop, stopped) = oneshot::channel::<()>();
    let link = Link::new(arguments.link.clone());
    let mut pod = Pod { dir, link, task, handle, stop: Some(stop) };
    let reporter = run(Client::new(service, "ns"), &arguments, Pace::default(), async {
        let _ = stopped.await;
    });
    let script = async {
        pod.answer_get().await;
        script(&mut pod).await;
        // A script that has not stopped its reporter leaves it alone with a server that is away.
        drop(pod.stop.take());
    };
    tokio::join!(reporter, script).0
}

fn ok(count: u32) -> Vec<String> {
    (0..count).map(|n| line(n, Some((1000 - u64::from(n), 500)))).collect()
}

fn condition(status: &Value) -> (&str, &str) {
    assert_eq!(status["conditions"].as_array().unwrap().len(), 1);
    let condition = &status["conditions"][0];
    (condition["type"].as_str().unwrap(), condition["reason"].as_str().unwrap())
}

/// A status with a checkpoint of these lines, made under a digest.
fn checkpointed(lines: &[String], digest: &str) -> Value {
    let progress = Progress::of(log(lines).as_bytes()).unwrap();
    let made = checkpoint::make(&progress, MAX_ENCODED).unwrap().unwrap();
    json!({"checkpoint": made.encoded, "checkpointTrials": made.trials, "checkpointDigest": digest,
        "startTime": "2026-01-02T03:04:05Z"})
}

#[tokio::test(start_paused = true)]
async fn progress_is_written_every_five_seconds_and_a_checkpoint_every_thirty_if_there_is_news() {
    let code = play(task(&Value::Null), async |pod| {
        let first = pod.granted().await;
        assert_eq!(condition(&first), ("Reconciling", "Starting"));
        assert_eq!((&first["node"], &first["observedGeneration"]), (&json!("node-1"), &json!(3)));
        let start: Start = pod.link.read(link::START).unwrap().unwrap();
        assert_eq!((start.generation, start.max_trials, start.trials), (3, 200, 0));

        let began = Instant::now();
        pod.write_log(&ok(1));
        let second = pod.granted().await;
        assert!(began.elapsed() >= 4 * SECOND, "{:?}", began.elapsed());
        assert_eq!(condition(&second), ("Reconciling", "Tuning"));
        assert_eq!((&second["trials"]["total"], &second["checkpointTrials"]), (&json!(1), &json!(1)));
        let mut writes = 0;
        let (mut written, mut last) = (2, second);
        while last["checkpointTrials"] == 1 {
            written += 1;
            pod.write_log(&ok(written));
            last = pod.granted().await;
            writes += 1;
            assert_eq!(last["trials"]["total"], json!(written));
        }
        assert!((6..=8).contains(&writes), "{writes} writes of progress between two checkpoints");
        assert_eq!(last["checkpointTrials"], json!(written));
        assert_eq!(last["best"][0]["trial"], json!(written - 1));
        // Nothing new: nothing is written for hours.
        let silence = tokio::time::timeout(Duration::from_hours(3), pod.handle.next_request()).await;
        assert!(silence.is_err());
        pod.stop();
        let last = pod.granted().await;
        assert_eq!(condition(&last), ("Reconciling", "Interrupted"));
    });
    assert_eq!(code.await, exit::DONE);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_confirmed_only_when_its_status_is_stored() {
    play(task(&Value::Null), async |pod| {
        pod.granted().await;
        pod.write_log(&ok(1));
        pod.end(exit::DONE);
        let silence = tokio::time::timeout(30 * SECOND, pod.asked()).await;
        let asked = silence.expect("the log is followed, but the end without results is none");
        assert_eq!(condition(&asked.grant()), ("Reconciling", "Tuning"));
        pod.write_results();
        let began = Instant::now();
        for code in [500, 503, 403] {
            let asked = pod.asked().await;
            assert!(!pod.is_confirmed());
            asked.refuse(code, None);
        }
        let asked = pod.asked().await;
        assert!(!pod.is_confirmed() && began.elapsed() < 12 * SECOND, "the end does not wait for its turn");
        let last = asked.grant();
        assert_eq!(condition(&last), ("Complete", "Tuned"));
        assert_eq!((&last["state"], &last["best"][0]["timeNs"]), (&json!("Complete"), &json!(77)));
        assert_eq!(last["checkpointTrials"], 1);
        assert!(last["completionTime"].is_string());
        pod.confirmed().await;
        let confirmed: Confirmed = pod.link.read(link::CONFIRMED).unwrap().unwrap();
        assert_eq!(confirmed.generation, 3);
        pod.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_only_delays_what_is_written() {
    play(task(&Value::Null), async |pod| {
        pod.asked().await.refuse(429, Some("17"));
        let began = Instant::now();
        pod.asked().await.refuse(500, None);
        assert!(began.elapsed() >= 17 * SECOND, "Retry-After");
        // An answer that never comes.
        let unanswered = pod.asked().await;
        for n in 1..50 {
            pod.write_log(&ok(n));
            pod.asked().await.refuse(503, None);
        }
        drop(unanswered);
        assert!(began.elapsed() > 600 * SECOND && began.elapsed() < 2500 * SECOND, "{:?}", began.elapsed());
        assert_eq!(pod.granted().await["trials"]["total"], 49);
        pod.stop();
        pod.granted().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_earlier_checkpoint_is_handed_over_and_never_lost() {
    let earlier = checkpointed(&ok(57), "d-1");
    play(task(&earlier), async |pod| {
        let first = pod.granted().await;
        let start: Start = pod.link.read(link::START).unwrap().unwrap();
        assert_eq!(start.trials, 57);
        let handed = std::fs::read_to_string(pod.link.path(link::CHECKPOINT)).unwrap();
        assert_eq!((handed.lines().count(), handed.lines().next()), (58, Some(HEADER)));
        assert_eq!((&first["trials"]["total"], &first["startTime"]), (&json!(57), &earlier["startTime"]));
        assert_eq!(first["checkpoint"], earlier["checkpoint"]);
        // The node is of no use, and no trial log is made.
        pod.end(exit::UNAVAILABLE);
        let last = pod.granted().await;
        assert_eq!(condition(&last), ("Stalled", "DeviceUnavailable"));
        assert_eq!(last["conditions"][0]["message"], "because");
        assert_eq!((&last["checkpoint"], &last["checkpointTrials"]), (&earlier["checkpoint"], &json!(57)));
        pod.confirmed().await;
        pod.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_of_another_spec_or_a_damaged_one_is_left_out() {
    let mut damaged = checkpointed(&ok(5), "d-1");
    damaged["checkpoint"] = json!("KLUv/QRY");
    for (status, notes) in [(checkpointed(&ok(5), "d-0"), 0), (damaged, 1)] {
        play(task(&status), async |pod| {
            let first = pod.granted().await;
            assert!(!pod.link.path(link::CHECKPOINT).exists());
            assert_eq!(pod.link.read::<Start>(link::START).unwrap().unwrap().trials, 0);
            assert!(first["checkpoint"].is_null() && first["trials"]["total"] == 0);
            assert_eq!(first["notes"].as_array().map_or(0, Vec::len), notes);
            pod.stop();
            pod.granted().await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn once_the_task_is_gone_nothing_is_written() {
    let code = play(task(&Value::Null), async |pod| {
        pod.asked().await.refuse(404, None);
        pod.write_log(&ok(3));
        pod.end(exit::DONE);
        let silence = tokio::time::timeout(Duration::from_hours(1), pod.handle.next_request()).await;
        assert!(silence.is_err() && !pod.is_confirmed());
        pod.stop();
    });
    assert_eq!(code.await, exit::DONE);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_has_changed_is_read_again_and_another_of_its_name_is_left_alone() {
    play(task(&Value::Null), async |pod| {
        let asked = pod.asked().await;
        assert_eq!(asked.version, "7");
        asked.refuse(409, None);
        pod.task["metadata"] = json!({"uid": "u-1", "generation": 4, "resourceVersion": "11"});
        pod.answer_get().await;
        let asked = pod.asked().await;
        assert_eq!(asked.version, "11");
        assert_eq!(asked.grant()["observedGeneration"], 3, "this pod was told of no other");
        pod.write_log(&ok(3));
        let asked = pod.asked().await;
        assert_eq!(asked.version, "8", "of the last answer");
        asked.refuse(409, None);
        pod.task["metadata"] = json!({"uid": "u-2", "generation": 1, "resourceVersion": "12"});
        pod.answer_get().await;
        let silence = tokio::time::timeout(Duration::from_hours(1), pod.handle.next_request()).await;
        assert!(silence.is_err());
        pod.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_last_words_hold_every_trial_and_are_repeated_while_there_is_time() {
    play(task(&Value::Null), async |pod| {
        pod.granted().await;
        pod.write_log(&ok(1));
        assert_eq!(pod.granted().await["checkpointTrials"], 1);
        pod.write_log(&ok(9));
        pod.end(exit::INTERRUPTED);
        pod.stop();
        let began = Instant::now();
        for _ in 0..3 {
            pod.asked().await.refuse(503, Some("1"));
        }
        let last = pod.granted().await;
        assert!(began.elapsed() < 20 * SECOND);
        assert_eq!(condition(&last), ("Reconciling", "Interrupted"));
        assert_eq!((&last["state"], &last["checkpointTrials"]), (&json!("Pending"), &json!(9)));
        let (log, _) = checkpoint::read(last["checkpoint"].as_str().unwrap()).unwrap();
        assert_eq!(String::from_utf8(log).unwrap().lines().count(), 10);
    })
    .await;
    // Without any answer it ends all the same.
    play(task(&Value::Null), async |pod| {
        pod.granted().await;
        pod.stop();
        let _unanswered = pod.asked().await;
        tokio::time::sleep(60 * SECOND).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reporter_that_was_started_again_changes_nothing_of_what_it_told() {
    let mut newer = task(&checkpointed(&ok(5), "d-1"));
    newer["metadata"]["generation"] = json!(4);
    newer["spec"]["digest"] = json!("d-2");
    play(newer, async |pod| {
        // The reporter has not looked yet.
        std::fs::create_dir(pod.dir.path().join("link")).unwrap();
        let told =
            Start { version: 1, generation: 3, max_trials: 9, trials: 5, digest: "d-1".into(), done: false };
        pod.link.write(link::START, &told).unwrap();
        let first = pod.granted().await;
        assert_eq!(pod.link.read::<Start>(link::START).unwrap().unwrap(), told);
        assert!(!pod.link.path(link::CHECKPOINT).exists());
        assert_eq!((&first["observedGeneration"], &first["checkpointDigest"]), (&json!(3), &json!("d-1")));
        pod.stop();
        pod.granted().await;
    })
    .await;
}

#[test]
fn the_probe_succeeds_once_there_is_something_to_tune() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = Arguments {
        ready: true,
        namespace: "ns".into(),
        task: "t".into(),
        node: String::new(),
        link: dir.path().into(),
        out: dir.path().into(),
    };
    assert_ne!(super::super::main(&arguments), exit::DONE);
    let start =
        Start { version: 1, generation: 1, max_trials: 1, trials: 0, digest: String::new(), done: false };
    Link::new(dir.path().into()).write(link::START, &start).unwrap();
    assert_eq!(super::super::main(&arguments), exit::DONE);
}
