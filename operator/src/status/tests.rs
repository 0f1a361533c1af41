use fractune_crds::State;
use fractune_crds::conditions::reason;
use fractune_crds::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::json;

use super::*;
use crate::fetch::Observed;
use crate::fixture::{NOW, batch, checked, condition, done, fresh, job, planned, report};
use crate::validate::Stalled;

fn derived(observed: &Observed) -> fractune_crds::TuneJobStatus {
    derive(observed, Ok(&checked(observed))).status
}

fn holds<'a>(status: &'a fractune_crds::TuneJobStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|c| c.type_ == kind && c.status == "True")
}

#[test]
fn from_the_first_pass_on_kstatus_sees_work_under_way() {
    let status = derived(&fresh(job(|_| ())));
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.state, Some(State::Pending));
    assert!(holds(&status, "Reconciling").is_some() && holds(&status, "Stalled").is_none());
    assert_eq!(status.tasks.summary.as_deref(), Some("0/2"));
}

#[test]
fn totals_are_weighted_and_the_speedup_is_of_the_first_share() {
    let mut observed = planned(job(|_| ()));
    report(&mut observed, 0, done(1, [(50, 100, 200), (100, 50, 200)]));
    report(&mut observed, 1, done(1, [(50, 100, 100), (100, 80, 90)]));
    let status = derived(&observed);
    assert_eq!(status.state, Some(State::Complete));
    assert!(holds(&status, "Complete").is_some() && holds(&status, "Reconciling").is_none());
    // 200 + 3 * 100 over 100 + 3 * 100
    assert_eq!((status.totals[0].default_ns, status.totals[0].best_ns), (500, 400));
    assert_eq!(status.speedup.as_deref(), Some("1.25x"));
    assert_eq!(status.results.len(), 4);
    assert_eq!(status.trials, 6);
    assert_eq!(status.completion_time.unwrap().0.as_second(), NOW);
}

#[test]
fn a_job_just_resumed_starts_and_one_in_a_queue_waits() {
    let mut observed = planned(job(|_| ()));
    batch(&mut observed, |batch| batch["spec"]["suspend"] = json!(true));
    assert_eq!(derived(&observed).state, Some(State::Pending));
    let mut queued = (*observed.job).clone();
    queued.metadata.labels = Some([("kueue.x-k8s.io/queue-name".to_owned(), "gpus".to_owned())].into());
    observed.job = queued.into();
    assert!(holds(&derived(&observed), "Suspended").is_some_and(|held| held.reason == reason::QUEUED));
}

#[test]
fn what_tasks_say_across_shares_is_told_by_kernel_and_problem() {
    let mut observed = planned(job(|_| ()));
    let mut large = done(1, [(50, 100, 100), (100, 80, 90)]);
    large["across"] = json!({
        "knee": {"share": 50, "slowdown": "1.03"},
        "oneForAll": {"trial": 1, "configuration": {"BLOCK": 2}, "worstShare": 100, "worstSlowdown": "1.08"}
    });
    report(&mut observed, 0, done(1, [(50, 100, 200), (100, 50, 200)]));
    report(&mut observed, 1, large);
    let across = derived(&observed).across;
    assert_eq!(across.len(), 1);
    assert_eq!((across[0].kernel.as_str(), across[0].problem.as_str()), ("scale", "large"));
    assert_eq!(across[0].knee.as_ref().unwrap().share, 50);
    assert_eq!(across[0].one_for_all.as_ref().unwrap().worst_slowdown, "1.08");
}

#[test]
fn a_result_of_an_older_spec_does_not_complete_the_job() {
    let mut observed = planned(job(|_| ()));
    report(&mut observed, 0, done(1, [(50, 100, 200), (100, 50, 200)]));
    report(&mut observed, 1, done(0, [(50, 100, 100), (100, 80, 90)]));
    let status = derived(&observed);
    assert_eq!(status.state, Some(State::Running));
    assert_eq!(status.tasks.summary.as_deref(), Some("1/2"));
}

#[test]
fn a_failed_job_says_which_task_and_why() {
    let mut observed = planned(job(|_| ()));
    let message = "scale/small: the source does not compile";
    report(&mut observed, 0, json!({"conditions": [condition("Failed", 1, message)], "state": "Failed"}));
    report(&mut observed, 1, done(1, [(50, 100, 100), (100, 80, 90)]));
    batch(&mut observed, |batch| {
        batch["status"] = json!({
            "failedIndexes": "0",
            "conditions": [{"type": "Failed", "status": "True", "reason": "FailedIndexes", "message": "x"}]
        });
    });
    let status = derived(&observed);
    assert_eq!((status.state, status.tasks.failed, status.tasks.succeeded), (Some(State::Failed), 1, 1));
    let failed = holds(&status, "Failed").unwrap();
    assert_eq!((failed.reason.as_str(), failed.message.as_str()), (reason::TASKS_FAILED, message));
    assert!(holds(&status, "Stalled").is_some(), "kstatus knows failure by no other word");
}

#[test]
fn a_stalled_job_keeps_what_is_known_and_goes_on_afterwards() {
    let mut observed = planned(job(|_| ()));
    report(&mut observed, 0, done(1, [(50, 100, 200), (100, 50, 200)]));
    let before = derived(&observed);
    let mut with_status = (*observed.job).clone();
    with_status.status = Some(before.clone());
    observed.job = with_status.into();
    let stalled = Stalled::new(reason::SOURCE_CHANGED, "put it back");
    let status = derive(&observed, Err(&stalled)).status;
    assert_eq!(status.state, Some(State::Stalled));
    assert_eq!(holds(&status, "Stalled").unwrap().message, "put it back");
    assert_eq!((status.totals, status.digest), (before.totals, before.digest));
    assert_eq!(status.tasks.summary.as_deref(), Some("1/2"));
    let again = derived(&observed);
    assert!(holds(&again, "Stalled").is_none());
}

#[test]
fn pods_that_fit_nowhere_stall_the_job_after_its_patience() {
    let pod = |age: i64| {
        let created = jiff::Timestamp::from_second(NOW - age).unwrap();
        serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(json!({
            "metadata": {"name": "demo-0-abcde", "creationTimestamp": created.to_string()},
            "status": {"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": "0/1 nodes are available: 1 Insufficient fractune.dev/mps-50."
            }]}
        }))
        .unwrap()
    };
    let mut observed = planned(job(|job| job["spec"]["startDeadlineSeconds"] = json!(60)));
    observed.offers = Some("nodes offer: node-1: no GPU share, 2 CPUs".into());
    observed.pods = vec![pod(10).into()];
    let waiting = derive(&observed, Ok(&checked(&observed)));
    assert_eq!(waiting.status.state, Some(State::Pending));
    // What nodes offer may change, and nobody tells of it.
    assert_eq!(waiting.look_again, Some(crate::offers::GOOD_FOR));
    observed.pods = vec![pod(55).into()];
    let waiting = derive(&observed, Ok(&checked(&observed)));
    assert_eq!(waiting.look_again, Some(std::time::Duration::from_secs(5)));
    observed.pods = vec![pod(61).into()];
    let stalled = derive(&observed, Ok(&checked(&observed)));
    assert_eq!(stalled.look_again, Some(crate::offers::GOOD_FOR));
    let status = stalled.status;
    let stalled = holds(&status, "Stalled").unwrap();
    assert_eq!(stalled.reason, reason::UNSCHEDULABLE);
    assert!(stalled.message.contains("mps-50") && stalled.message.contains("node-1"), "{}", stalled.message);
}

#[test]
fn a_pod_that_goes_is_not_blamed_for_what_its_successor_may_not_have() {
    let pod = |deleted: bool| {
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        let container = json!({"name": "tune", "image": "a", "imageID": "", "ready": false, "restartCount": 0,
            "state": waiting});
        let mut pod = json!({"metadata": {"name": "demo-0-x"}, "status": {"containerStatuses": [container]}});
        if deleted {
            pod["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        }
        serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(pod).unwrap()
    };
    let mut observed = planned(job(|_| ()));
    observed.pods = vec![pod(false).into()];
    assert_eq!(holds(&derived(&observed), "Stalled").unwrap().reason, reason::PODS_REFUSED);
    observed.pods = vec![pod(true).into()];
    assert_eq!(derived(&observed).state, Some(State::Pending));
}

#[test]
fn an_unchanged_job_has_an_unchanged_status() {
    let mut observed = planned(job(|_| ()));
    report(&mut observed, 0, done(1, [(50, 100, 200), (100, 50, 200)]));
    let first = derived(&observed);
    let mut with_status = (*observed.job).clone();
    with_status.status = Some(first.clone());
    observed.job = with_status.into();
    observed.now = jiff::Timestamp::from_second(NOW + 1000).unwrap();
    assert_eq!(derived(&observed), first);
}

#[test]
fn results_outlive_the_tasks() {
    let mut observed = planned(job(|_| ()));
    for index in 0..2 {
        report(&mut observed, index, done(1, [(50, 100, 200), (100, 50, 200)]));
    }
    let complete = derived(&observed);
    let mut with_status = (*observed.job).clone();
    with_status.status = Some(complete.clone());
    let after = fresh(with_status);
    assert_eq!(derived(&after), complete);
}

#[test]
fn results_are_published_once_for_what_they_say() {
    let mut observed = planned(job(|_| ()));
    assert_eq!(tuned(&observed), Ok(None));
    report(&mut observed, 0, done(1, [(50, 100, 200), (100, 50, 200)]));
    let map = tuned(&observed).unwrap().unwrap();
    assert_eq!(map.metadata.name.as_deref(), Some("demo-tuned"));
    let data = map.data.clone().unwrap();
    assert!(
        data[names::HEADER_KEY].contains("FRACTUNE_SCALE_SMALL_50_BLOCK 2"),
        "{}",
        data[names::HEADER_KEY]
    );
    assert!(data[names::JSON_KEY].contains("\"timeNs\":100"));
    observed.config_maps.push(map.into());
    assert_eq!(tuned(&observed), Ok(None));
}
