//! Passes against a scripted API server.

use fractune_crds::TuneTask;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::{self, store::Writer as Cache};
use kube::runtime::watcher;
use serde_json::json;

use super::*;
use crate::fixture::{done, job, planned, report, settings};
use crate::leadership::Leadership;
use crate::script::{Answer, Asked, Script, list, refusal};

/// What a pass needs, with caches that a test fills.
struct Stage {
    context: Arc<Context>,
    tasks: Cache<DeserializeGuard<TuneTask>>,
    jobs: Cache<Job>,
    pods: Cache<Pod>,
}

/// The first list has come, and was empty.
fn filled<K>(cache: &mut Cache<K>)
where
    K: kube::runtime::reflector::Lookup + Clone + 'static,
    K::DynamicType: std::hash::Hash + Eq + Clone,
{
    cache.apply_watcher_event(&watcher::Event::Init);
    cache.apply_watcher_event(&watcher::Event::InitDone);
}

fn stage(script: &Script, leads: bool) -> Stage {
    let (task_store, tasks) = reflector::store();
    let (job_store, jobs) = reflector::store();
    let (pod_store, pods) = reflector::store();
    let (config_maps, mut config_map_writer) = reflector::store();
    let (mut tasks, mut jobs, mut pods) = (tasks, jobs, pods);
    filled(&mut tasks);
    filled(&mut jobs);
    filled(&mut pods);
    filled(&mut config_map_writer);
    let (refusals, mut refusal_writer) = reflector::store();
    filled(&mut refusal_writer);
    let leadership = Leadership::default();
    leadership.set(leads);
    let metrics = Metrics::new().unwrap();
    let client = script.client.clone();
    let context = Context {
        caches: Caches::new(task_store, job_store, pod_store, config_maps, refusals),
        writer: Writer::new(client.clone(), leadership, 1000, 1000, metrics.clone()),
        settings: settings(),
        events: Events::new(client.clone(), "test"),
        metrics,
        failures: Failures::default(),
        client,
    };
    Stage { context: Arc::new(context), tasks, jobs, pods }
}

async fn pass_over(stage: &Stage) -> Result<Action, Error> {
    reconcile(Arc::new(DeserializeGuard(Ok(job(|_| ())))), stage.context.clone()).await
}

const ALL: [&str; 7] = [
    "PATCH serviceaccounts/demo-agent",
    "PATCH rolebindings/demo-agent",
    "PATCH configmaps/demo-job",
    "PATCH tunetasks/demo-0",
    "PATCH tunetasks/demo-1",
    "PATCH jobs/demo",
    "PATCH tunejobs/demo/status",
];

/// Answers one kind of request, the first so many times.
fn first(
    times: usize,
    short: &'static str,
    answer: Answer,
) -> impl Fn(&Asked, usize) -> Option<Answer> + Send {
    move |asked, before| (asked.short() == short && before < times).then(|| answer.clone())
}

#[tokio::test]
async fn a_first_pass_applies_everything_in_order_and_the_status_once() {
    let script = Script::new(|_, _| None);
    pass_over(&stage(&script, true)).await.unwrap();
    assert_eq!(script.writes(), ALL);
    for asked in script.asked().iter().filter(|asked| asked.method == "PATCH") {
        assert!(asked.uri.contains("fieldManager=fractune.dev%2Foperator"), "{}", asked.uri);
        assert_eq!(asked.body["metadata"]["name"].as_str().unwrap().split('-').next(), Some("demo"));
    }
}

#[tokio::test]
async fn without_the_lease_nothing_is_written() {
    let script = Script::new(|_, _| None);
    let error = pass_over(&stage(&script, false)).await.unwrap_err();
    assert_eq!(error.reason(), "NotLeading");
    assert_eq!(script.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failure_between_two_steps_leaves_no_pods_and_the_next_pass_goes_on() {
    let failure = refusal(500, "InternalError", "etcd is away");
    let script = Script::new(first(1, "PATCH tunetasks/demo-1", failure));
    let mut stage = stage(&script, true);
    pass_over(&stage).await.unwrap_err();
    assert_eq!(script.writes(), ALL[..5]);
    // What was made is seen by the watch.
    let made = planned(job(|_| ())).tasks[&0].clone();
    stage.tasks.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok((*made).clone()))));
    pass_over(&stage).await.unwrap();
    let again = script.writes().split_off(5);
    assert!(!again.contains(&"PATCH tunetasks/demo-0".to_owned()), "{again:?}");
    assert_eq!(again[again.len() - 3..], ALL[4..]);
}

#[tokio::test]
async fn conflicts_throttling_and_lost_connections_are_tried_again_later_and_later() {
    let answers: [(Answer, &str, bool); 3] = [
        (refusal(409, "Conflict", "try again"), "Conflict", true),
        (refusal(429, "TooManyRequests", "slow down"), "TooManyRequests", false),
        (Answer::Lost, "Connection", false),
    ];
    for (answer, reason, ordinary) in answers {
        let script = Script::new(first(2, "PATCH jobs/demo", answer));
        let stage = stage(&script, true);
        let guarded = Arc::new(DeserializeGuard(Ok(job(|_| ()))));
        for _ in 0..2 {
            let error = pass_over(&stage).await.unwrap_err();
            assert_eq!((error.reason(), error.is_ordinary()), (reason, ordinary));
            let _ = on_error(guarded.clone(), &error, stage.context.clone());
        }
        let counted = stage.context.metrics.reconcile_errors.with_label_values(&[reason]).get();
        assert_eq!(counted, 2);
        assert_eq!(stage.context.failures.counts.lock().unwrap()["uid-1"], 2);
        pass_over(&stage).await.unwrap();
        assert!(stage.context.failures.counts.lock().unwrap().is_empty(), "a success is a fresh start");
        assert_eq!(script.writes().last().map(String::as_str), Some("PATCH tunejobs/demo/status"));
    }
}

#[tokio::test]
async fn what_is_refused_for_good_stalls_the_job_and_says_why() {
    let message = "exceeded quota: no-jobs";
    let script = Script::new(first(9, "PATCH jobs/demo", refusal(403, "Forbidden", message)));
    let action = pass_over(&stage(&script, true)).await.unwrap();
    assert_eq!(action, Action::requeue(REFUSED_RETRY));
    let status = script.asked().pop().filter(|asked| asked.uri.contains("/events"));
    let asked = script.asked();
    let status = status.map_or_else(|| asked.last(), |_| asked.get(asked.len() - 2)).unwrap();
    let conditions = status.body["status"]["conditions"].as_array().unwrap();
    let stalled = conditions.iter().find(|condition| condition["type"] == "Stalled").unwrap();
    assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!("Refused")));
    assert!(stalled["message"].as_str().unwrap().contains(message));
}

#[tokio::test]
async fn a_definition_that_the_api_server_only_just_learnt_of_is_waited_for() {
    let message =
        "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for Kind TuneJob";
    let script = Script::new(first(1, "PATCH configmaps/demo-job", refusal(403, "Forbidden", message)));
    let stage = stage(&script, true);
    pass_over(&stage).await.unwrap_err();
    assert!(!script.writes().contains(&ALL[6].to_owned()), "no status says that it is refused");
    pass_over(&stage).await.unwrap();
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_not_touched() {
    let foreign =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "demo", "uid": "other"}});
    let script = Script::new(first(9, "GET jobs/demo", Answer::Is(200, foreign)));
    pass_over(&stage(&script, true)).await.unwrap();
    assert_eq!(script.writes(), [ALL[6]], "and nothing is half-made");
    let asked = script.asked();
    let status = asked.iter().find(|asked| asked.uri.contains("/status")).unwrap();
    assert!(status.body.to_string().contains("NameTaken"));
}

#[tokio::test]
async fn a_task_of_somebody_else_is_known_without_asking_and_not_touched() {
    let script = Script::new(|_, _| None);
    let mut stage = stage(&script, true);
    let mut foreign = (*planned(job(|_| ())).tasks[&1]).clone();
    foreign.metadata.owner_references = None;
    stage.tasks.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok(foreign))));
    pass_over(&stage).await.unwrap();
    assert_eq!(script.writes(), [ALL[6]], "and nothing is half-made");
    let asked = script.asked();
    assert!(!asked.iter().any(|asked| asked.uri.contains("tunetasks")), "{asked:?}");
    let status = asked.iter().find(|asked| asked.uri.contains("/status")).unwrap();
    assert!(status.body.to_string().contains("there is a TuneTask demo-1 already"));
}

#[tokio::test]
async fn a_pass_over_what_has_not_changed_writes_nothing() {
    let script = Script::new(|_, _| None);
    let mut stage = stage(&script, true);
    let observed = planned(job(|_| ()));
    for task in observed.tasks.values() {
        stage.tasks.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok((**task).clone()))));
    }
    stage.jobs.apply_watcher_event(&watcher::Event::Apply((**observed.batch.as_ref().unwrap()).clone()));
    // The first pass learns of the ConfigMap by applying it, and writes the status.
    pass_over(&stage).await.unwrap();
    let asked = script.asked();
    let status = &asked.iter().find(|asked| asked.uri.contains("/status")).unwrap().body["status"];
    let mut known = job(|_| ());
    known.status = Some(serde_json::from_value(status.clone()).unwrap());
    let before = script.writes().len();
    let guarded = Arc::new(DeserializeGuard(Ok(known)));
    reconcile(guarded, stage.context.clone()).await.unwrap();
    let after = script.writes().split_off(before);
    assert!(after.iter().all(|write| write == "PATCH configmaps/demo-job"), "{after:?}");
}

#[tokio::test]
async fn an_object_that_does_not_fit_its_types_is_told_so() {
    let script = Script::new(|_, _| None);
    let invalid = InvalidObject {
        error: "missing field `kernels`".into(),
        metadata: serde_json::from_value(json!({"name": "demo", "namespace": "team", "uid": "uid-1"}))
            .unwrap(),
    };
    reconcile(Arc::new(DeserializeGuard(Err(invalid))), stage(&script, true).context.clone()).await.unwrap();
    assert_eq!(script.writes(), ["PATCH tunejobs/demo/status"]);
    assert!(script.asked()[0].body.to_string().contains("missing field"));
}

#[tokio::test]
async fn a_watch_that_expired_is_begun_anew_and_nothing_is_missed() {
    let expired = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version"
    }});
    let script = Script::new(move |asked, before| {
        let watched = ["TuneJob", "TuneTask", "Job", "Pod", "ConfigMap", "Event"];
        let kind = watched.iter().find(|kind| {
            let path = asked.uri.split('?').next().unwrap_or_default();
            path.ends_with(&format!("/{}s", kind.to_lowercase()))
        })?;
        let watch = asked.uri.contains("watch=true");
        match (*kind, watch, before) {
            // The job was made while nobody watched.
            ("TuneJob", false, 0) => Some(Answer::Is(200, list(kind, &[]))),
            ("TuneJob", true, 1) => Some(Answer::Is(200, json!(expired.to_string()))),
            ("TuneJob", false, _) => {
                Some(Answer::Is(200, list(kind, &[serde_json::to_value(job(|_| ())).unwrap()])))
            }
            (_, false, _) => Some(Answer::Is(200, list(kind, &[]))),
            (_, true, _) => Some(Answer::Never),
        }
    });
    let arguments = <crate::args::Arguments as clap::Parser>::parse_from([
        "fractune-operator",
        "--agent-image",
        "agent:1",
        "--namespace",
        "team",
    ]);
    let watches = crate::controller::Watches::new(&script.client, &arguments);
    let Stage { context, .. } = stage(&script, true);
    let mut context = Arc::into_inner(context).unwrap();
    context.caches = watches.caches.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(watches.run(Arc::new(context), stopped));
    let written = async {
        while !script.writes().contains(&"PATCH tunejobs/demo/status".to_owned()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), written).await.expect("the job was missed");
    assert_eq!(script.writes()[..7], ALL);
    drop(stop);
    tokio::time::timeout(Duration::from_mins(1), running).await.expect("it did not stop").unwrap();
}

#[tokio::test]
async fn in_a_namespace_that_is_deleted_pods_that_wait_for_successors_are_let_go() {
    let held: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "demo-0-x", "namespace": "team", "labels": {"fractune.dev/job": "demo"},
            "finalizers": ["batch.kubernetes.io/job-tracking"], "deletionTimestamp": "2027-01-15T08:00:00Z"
        },
        "status": {"phase": "Failed"}
    }))
    .unwrap();
    let mut batch = (*planned(job(|_| ())).batch.unwrap()).clone();
    batch.metadata.uid = Some("batch".to_owned());
    for (ends, first_write) in [(true, "DELETE jobs/demo"), (false, "PATCH configmaps/demo-job")] {
        let there = serde_json::to_value(&batch).unwrap();
        let script = Script::new(move |asked, _| match asked.short().as_str() {
            "GET jobs/demo" => Some(Answer::Is(200, there.clone())),
            // Namespaces are in no namespace, so of their path this is all that is left.
            "GET " => {
                let mut metadata = json!({"name": "team"});
                if ends {
                    metadata["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
                }
                Some(Answer::Is(
                    200,
                    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}),
                ))
            }
            _ => None,
        });
        let mut stage = stage(&script, true);
        stage.jobs.apply_watcher_event(&watcher::Event::Apply(batch.clone()));
        stage.pods.apply_watcher_event(&watcher::Event::Apply(held.clone()));
        pass_over(&stage).await.unwrap();
        assert_eq!(script.writes()[0], first_write);
        assert!(script.writes().len() == 1 || !ends, "{:?}", script.writes());
    }
}

#[tokio::test]
async fn what_an_earlier_job_of_the_same_name_left_is_deleted_and_awaited() {
    let owner =
        json!({"apiVersion": "fractune.dev/v1alpha1", "kind": "TuneJob", "name": "demo", "uid": "earlier"});
    let left = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "demo", "uid": "left", "ownerReferences": [owner]}
    });
    let script = Script::new(first(1, "GET jobs/demo", Answer::Is(200, left)));
    let stage = stage(&script, true);
    let error = pass_over(&stage).await.unwrap_err();
    assert!(error.is_ordinary(), "{error}");
    assert_eq!(script.writes(), ["DELETE jobs/demo"]);
    pass_over(&stage).await.unwrap();
    assert_eq!(script.writes()[1..], ALL);
}

#[tokio::test]
async fn a_job_whose_last_task_is_done_completes_though_its_source_is_gone() {
    let script = Script::new(|_, _| None);
    let mut stage = stage(&script, true);
    let mut observed = planned(job(|_| ()));
    let mut known = job(|job| {
        job["spec"]["kernels"][0]["source"] =
            json!({"configMapKeyRef": {"name": "kernels", "key": "scale.c"}});
    });
    known.status = Some(TuneJobStatus {
        digest: Some(observed.tasks[&0].spec.digest.clone()),
        state: Some(State::Running),
        ..TuneJobStatus::default()
    });
    for index in 0..2 {
        report(&mut observed, index, done(1, [(50, 10, 20), (100, 5, 20)]));
        let task = (*observed.tasks[&index]).clone();
        stage.tasks.apply_watcher_event(&watcher::Event::Apply(DeserializeGuard(Ok(task))));
    }
    reconcile(Arc::new(DeserializeGuard(Ok(known))), stage.context.clone()).await.unwrap();
    assert_eq!(script.writes(), ["PATCH configmaps/demo-tuned", ALL[6]]);
    let asked = script.asked();
    assert!(asked.iter().any(|asked| asked.short() == "GET configmaps/kernels"));
    let status = asked.iter().find(|asked| asked.uri.contains("/status")).unwrap();
    assert_eq!(status.body["status"]["state"], "Complete");
}

#[tokio::test]
async fn every_pass_that_waits_for_full_caches_goes_on_once_they_are() {
    let (tasks, mut task_writer) = reflector::store();
    let (jobs, mut job_writer) = reflector::store();
    let (pods, mut pod_writer) = reflector::store();
    let (config_maps, mut config_map_writer) = reflector::store();
    let (refusals, mut refusal_writer) = reflector::store();
    let caches = Caches::new(tasks, jobs, pods, config_maps, refusals);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let caches = caches.clone();
            tokio::spawn(async move { caches.filled().await })
        })
        .collect();
    tokio::task::yield_now().await;
    filled(&mut task_writer);
    tokio::task::yield_now().await;
    filled(&mut job_writer);
    filled(&mut pod_writer);
    filled(&mut config_map_writer);
    filled(&mut refusal_writer);
    for pass in waiting {
        let went_on = tokio::time::timeout(Duration::from_mins(1), pass).await.expect("it waits for ever");
        assert!(went_on.unwrap());
    }
}
