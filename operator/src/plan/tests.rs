use serde_json::json;

use super::*;
use crate::fixture::{batch, checked, done, fresh, job, planned, report, settings};

fn kinds(plan: &Plan) -> Vec<&'static str> {
    let kind = |object: &Object| match object {
        Object::ServiceAccount(_) => "ServiceAccount",
        Object::RoleBinding(_) => "RoleBinding",
        Object::ConfigMap(_) => "ConfigMap",
        Object::Task(_) => "Task",
        Object::Batch(_) => "Batch",
        Object::Scale(_) => "Scale",
    };
    plan.apply.iter().map(kind).collect()
}

fn plan_of(observed: &Observed) -> Plan {
    plan(observed, &checked(observed), &settings())
}

#[test]
fn pods_come_last_and_find_all_they_need() {
    let plan = plan_of(&fresh(job(|_| ())));
    assert_eq!(kinds(&plan), ["ServiceAccount", "RoleBinding", "ConfigMap", "Task", "Task", "Batch"]);
}

#[test]
fn a_second_pass_has_nothing_to_do() {
    assert_eq!(plan_of(&planned(job(|_| ()))), Plan::default());
}

#[test]
fn what_was_half_made_is_completed() {
    let mut observed = planned(job(|_| ()));
    observed.batch = None;
    observed.tasks.remove(&1);
    assert_eq!(kinds(&plan_of(&observed)), ["ServiceAccount", "RoleBinding", "Task", "Batch"]);
}

#[test]
fn the_pod_keeps_to_the_restricted_standard_and_only_the_reporter_has_a_credential() {
    let observed = planned(job(|_| ()));
    let pod = observed.batch.as_ref().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    assert_eq!(pod.enable_service_links, Some(false));
    let security = pod.security_context.unwrap();
    assert_eq!((security.run_as_non_root, security.run_as_user), (Some(true), Some(65532)));
    assert_eq!(security.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let reporter = &pod.init_containers.as_ref().unwrap()[0];
    let tune = &pod.containers[0];
    for container in [reporter, tune] {
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert_eq!(security.allow_privilege_escalation, Some(false));
        assert_eq!(security.capabilities.as_ref().unwrap().drop, Some(vec!["ALL".to_owned()]));
    }
    let mounts = |container: &k8s_openapi::api::core::v1::Container| -> Vec<String> {
        container.volume_mounts.iter().flatten().map(|mount| mount.name.clone()).collect()
    };
    assert!(mounts(reporter).contains(&"credential".to_owned()));
    assert!(!mounts(tune).contains(&"credential".to_owned()));
    assert_eq!(pod.host_network.or(pod.host_pid).or(pod.host_ipc), None);
}

#[test]
fn a_cuda_job_asks_for_one_slot_of_its_largest_share_beside_the_users_wishes() {
    let observed = planned(job(|job| {
        let kernel = &mut job["spec"]["kernels"][0];
        kernel["language"] = json!("CUDA");
        kernel["launch"] = json!({"grid": ["len"], "block": ["1"]});
        job["spec"]["shares"] = json!([50, 25]);
        job["spec"]["template"] = json!({"resources": {"limits": {"cpu": "3"}}});
    }));
    let pod = observed.batch.as_ref().unwrap().spec.clone().unwrap().template.spec.unwrap();
    let limits = pod.containers[0].resources.clone().unwrap().limits.unwrap();
    assert_eq!(limits["fractune.dev/mps-50"].0, "1");
    assert_eq!(limits["cpu"].0, "3");
}

#[test]
fn a_cache_is_mounted_where_it_is_asked_for_and_only_in_tune() {
    let pod =
        |observed: &Observed| observed.batch.as_ref().unwrap().spec.clone().unwrap().template.spec.unwrap();
    let of = |container: &k8s_openapi::api::core::v1::Container, name: &str| {
        container.volume_mounts.iter().flatten().find(|mount| mount.name == name).cloned()
    };
    let without = pod(&planned(job(|_| ())));
    assert!(without.volumes.unwrap().iter().all(|volume| volume.persistent_volume_claim.is_none()));
    assert!(!without.containers[0].args.as_ref().unwrap().contains(&"--cache".to_owned()));
    assert_eq!(of(&without.containers[0], "cache"), None);

    let claim = |job: &mut serde_json::Value| {
        job["spec"]["template"] = json!({"cache": {"persistentVolumeClaim": "kernels"}});
    };
    let with = pod(&planned(job(claim)));
    let volume = with.volumes.unwrap().into_iter().find(|volume| volume.name == "cache").unwrap();
    assert_eq!(volume.persistent_volume_claim.unwrap().claim_name, "kernels");
    let mount = of(&with.containers[0], "cache").unwrap();
    assert_eq!(mount.mount_path, "/var/lib/fractune-cache");
    assert_eq!(mount.sub_path.as_deref(), Some("fractune-cache"), "nothing else of the volume is seen");
    let args = with.containers[0].args.clone().unwrap();
    assert_eq!(args[args.len() - 2..], ["--cache", "/var/lib/fractune-cache"]);
    assert_eq!(of(&with.init_containers.unwrap()[0], "cache"), None);
}

#[test]
fn a_share_of_the_cpus_is_a_whole_cpu_at_least() {
    let observed = planned(job(|job| job["spec"]["shares"] = json!([25, 100])));
    let pod = observed.batch.as_ref().unwrap().spec.clone().unwrap().template.spec.unwrap();
    assert_eq!(pod.containers[0].resources.clone().unwrap().limits.unwrap()["cpu"].0, "4");
}

#[test]
fn suspending_and_parallelism_reach_a_live_job_and_nothing_else_does() {
    let mut observed = planned(job(|_| ()));
    observed.job = job(|job| job["spec"]["suspend"] = json!(true)).into();
    let scale =
        |parallelism, suspend| vec![Object::Scale(Scale { name: "demo".into(), parallelism, suspend })];
    assert_eq!(plan_of(&observed).apply, scale(None, Some(true)));
    observed.job = job(|job| job["spec"]["parallelism"] = json!(7)).into();
    assert_eq!(plan_of(&observed).apply, scale(Some(2), None), "no more pods than tasks");
}

/// A pod of the job in a phase, with a container that waits for a reason.
fn pod(phase: &str, waits_for: &str) -> std::sync::Arc<k8s_openapi::api::core::v1::Pod> {
    let waiting = json!({"waiting": {"reason": waits_for, "message": "no such image"}});
    let container = json!({"name": "tune", "image": "agent:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": waiting});
    let pod = json!({"metadata": {"name": "demo-0-x"}, "status": {"phase": phase, "containerStatuses": [container]}});
    std::sync::Arc::new(serde_json::from_value(pod).unwrap())
}

#[test]
fn a_job_whose_pods_do_not_run_is_made_anew_with_the_image_that_the_operator_is_told_of_now() {
    let mut observed = planned(job(|_| ()));
    observed.pods = vec![pod("Pending", "ErrImageNeverPull")];
    let plan_with = |observed: &Observed, change: fn(&mut Settings)| {
        let mut settings = settings();
        change(&mut settings);
        plan(observed, &checked(observed), &settings)
    };
    let mended: fn(&mut Settings) = |settings| settings.image = "agent:2".into();
    assert_eq!(plan_of(&observed), Plan::default(), "as long as the image is the same");
    let plan = plan_with(&observed, mended);
    assert!(plan.delete_batch && plan.apply.is_empty(), "{plan:?}");
    assert!(plan_with(&observed, |settings| settings.image_pull_policy = Some("Always".into())).delete_batch);
    // Webhooks may write another registry into the template: that is no reason to make it again and again.
    batch(&mut observed, |batch| {
        batch["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror/agent:1");
    });
    assert_eq!(plan_of(&observed), Plan::default());
    // What runs goes on with the image that it has.
    observed.pods.push(pod("Running", ""));
    assert_eq!(plan_with(&observed, mended), Plan::default());
    observed.pods.clear();
    observed.batch = None;
    let made = plan_with(&observed, mended).apply.pop();
    let Some(Object::Batch(made)) = made else { panic!("{made:?}") };
    assert_eq!(made.spec.unwrap().template.spec.unwrap().containers[0].image.as_deref(), Some("agent:2"));
}

#[test]
fn a_job_that_waits_in_a_queue_keeps_its_place_when_the_image_changes() {
    let mut observed = planned(job(|job| {
        job["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "gpus"});
    }));
    let other = Settings { image: "agent:2".into(), ..settings() };
    assert_eq!(plan(&observed, &checked(&observed), &other), Plan::default());
    batch(&mut observed, |batch| batch["spec"]["suspend"] = json!(false));
    assert!(plan(&observed, &checked(&observed), &other).delete_batch, "once it is admitted");
}

#[test]
fn only_a_queue_lets_a_queued_job_run() {
    let queued = |suspend: bool| {
        job(|job| {
            job["metadata"]["labels"] = json!({"kueue.x-k8s.io/queue-name": "gpus"});
            job["spec"]["suspend"] = json!(suspend);
        })
    };
    let mut observed = planned(queued(false));
    let made = observed.batch.clone().unwrap();
    assert_eq!(made.spec.as_ref().unwrap().suspend, Some(true));
    assert_eq!(made.labels()["kueue.x-k8s.io/queue-name"], "gpus");
    assert_eq!(plan_of(&observed), Plan::default(), "it stays suspended until the queue admits it");
    batch(&mut observed, |batch| batch["spec"]["suspend"] = json!(false));
    assert_eq!(plan_of(&observed), Plan::default(), "and runs once it is admitted");
    observed.job = queued(true).into();
    assert!(plan_of(&observed).delete_batch, "but the user may stop it");
    observed.batch = None;
    assert!(!kinds(&plan_of(&observed)).contains(&"Batch"), "and it stays stopped");
    observed.job = queued(false).into();
    assert!(kinds(&plan_of(&observed)).contains(&"Batch"), "until it may queue again");
}

#[test]
fn raised_trials_make_a_finished_job_go_on() {
    let mut observed = planned(job(|_| ()));
    for index in 0..2 {
        report(&mut observed, index, done(1, [(50, 10, 20), (100, 5, 20)]));
    }
    batch(&mut observed, |batch| {
        batch["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    });
    assert!(!plan_of(&observed).delete_batch);
    let raised = |job: &mut serde_json::Value| job["spec"]["search"] = json!({"maxTrials": 300});
    observed.job = job(raised).into();
    let plan = plan_of(&observed);
    assert_eq!(kinds(&plan), ["Task", "Task"]);
    for task in observed.tasks.values_mut() {
        let mut changed = (**task).clone();
        changed.spec.max_trials = 300;
        changed.metadata.generation = Some(2);
        *task = changed.into();
    }
    assert!(plan_of(&observed).delete_batch, "its tasks are no longer complete");
    observed.batch = None;
    assert!(kinds(&plan_of(&observed)).contains(&"Batch"));
}

#[test]
fn after_its_ttl_a_job_is_cleaned_up_once() {
    let with_ttl = |completed: i64| {
        let mut job = job(|job| job["spec"]["ttlSecondsAfterFinished"] = json!(60));
        let end = jiff::Timestamp::from_second(crate::fixture::NOW - completed).unwrap();
        job.status = Some(fractune_crds::TuneJobStatus {
            completion_time: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(end)),
            max_trials: Some(200),
            ..Default::default()
        });
        job
    };
    let mut observed = planned(job(|job| job["spec"]["ttlSecondsAfterFinished"] = json!(60)));
    for index in 0..2 {
        report(&mut observed, index, done(1, [(50, 10, 20), (100, 5, 20)]));
    }
    observed.job = with_ttl(10).into();
    assert_eq!(plan_over(&observed), Plan::default());
    observed.job = with_ttl(61).into();
    assert!(plan_over(&observed).clean_up);
    observed.tasks.clear();
    observed.batch = None;
    observed.config_maps.clear();
    assert_eq!(plan_over(&observed), Plan::default(), "once");
}
