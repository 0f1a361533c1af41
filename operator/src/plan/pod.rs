//! The pod of a task: the container that tunes, and the reporter beside it. docs/pods.md is its description.

use std::collections::BTreeMap;

use fractune_crds::{GROUP, KernelCache, TuneJobSpec, labels, names};
use fractune_tuner::kernel::Language;
use k8s_openapi::api::core::v1::ConfigMapProjection;
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, DownwardAPIProjection, DownwardAPIVolumeFile,
    EmptyDirVolumeSource, EnvVar, EnvVarSource, ExecAction, KeyToPath, ObjectFieldSelector,
    PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, Probe,
    ProjectedVolumeSource, ResourceRequirements, SeccompProfile, SecurityContext,
    ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Settings;
use crate::fetch::Observed;

/// Name of the container that tunes.
pub(super) const TUNE: &str = "tune";
const REPORTER: &str = "reporter";
/// User and group of every tuning pod: one, so that one MPS server serves them all.
const USER: i64 = 65532;
const WORK: &str = "/var/lib/fractune";
const LINK: &str = "/var/lib/fractune/link";
const OUT: &str = "/var/lib/fractune/out";
/// Where the tuning container finds kernels that others have compiled.
const CACHE: &str = "/var/lib/fractune-cache";
/// The folder of the claim's volume that it sees. All else on it is not candidates' to read.
const CACHE_FOLDER: &str = "fractune-cache";
const MANIFEST_FOLDER: &str = "/etc/fractune";
/// Where clients of Kubernetes look for their credential.
const CREDENTIAL: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// `tune` stops in this time: it has at most a candidate's time limit to wait for, and the reporter a last write.
const GRACE_SECONDS: i64 = 60;

/// The template of a job's pods.
pub(super) fn template(observed: &Observed, settings: &Settings) -> PodTemplateSpec {
    let user = observed.job.spec.template.clone().unwrap_or_default();
    let mut pod_labels = user.labels;
    pod_labels.insert(labels::JOB.to_owned(), observed.base());
    let annotations = (!user.annotations.is_empty()).then_some(user.annotations);
    let spec = PodSpec {
        restart_policy: Some("Never".to_owned()),
        service_account_name: Some(names::agent(&observed.base())),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Else kubelet looks at every file of the volume for every pod.
            fs_group_change_policy: cache(&observed.job.spec).map(|_| "OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..Default::default()
            }),
            ..PodSecurityContext::default()
        }),
        node_selector: (!user.node_selector.is_empty()).then_some(user.node_selector),
        tolerations: (!user.tolerations.is_empty()).then_some(user.tolerations),
        priority_class_name: user.priority_class_name,
        init_containers: Some(vec![reporter(observed, settings)]),
        containers: vec![tune(&observed.job.spec, user.resources, settings)],
        volumes: Some(volumes(observed)),
        ..PodSpec::default()
    };
    let metadata = ObjectMeta { labels: Some(pod_labels), annotations, ..ObjectMeta::default() };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
}

/// Runs candidates, and has no credential.
fn tune(spec: &TuneJobSpec, resources: Option<ResourceRequirements>, settings: &Settings) -> Container {
    let manifest = format!("{MANIFEST_FOLDER}/{}", names::MANIFEST_KEY);
    let mut words = vec!["tune", &manifest, "--out", OUT, "--link", LINK];
    let mut mounts = vec![
        mount("manifest", MANIFEST_FOLDER, true),
        mount("work", WORK, false),
        mount("tune-tmp", "/tmp", false),
    ];
    if cache(spec).is_some() {
        words.extend(["--cache", CACHE]);
        mounts.push(VolumeMount { sub_path: Some(CACHE_FOLDER.to_owned()), ..mount("cache", CACHE, false) });
    }
    Container {
        args: Some(arguments(&words)),
        resources: Some(requirements(spec, resources)),
        volume_mounts: Some(mounts),
        // What it says last, where it fails before it could tell the reporter.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..container(TUNE, settings)
    }
}

/// Writes the task's status: the only one with a credential.
fn reporter(observed: &Observed, settings: &Settings) -> Container {
    let field = |path: &str| EnvVarSource {
        field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None }),
        ..EnvVarSource::default()
    };
    let plain =
        |name: &str, value: String| EnvVar { name: name.to_owned(), value: Some(value), value_from: None };
    let from =
        |name: &str, path: &str| EnvVar { name: name.to_owned(), value: None, value_from: Some(field(path)) };
    let index = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
    Container {
        args: Some(arguments(&["report"])),
        env: Some(vec![
            from("JOB_COMPLETION_INDEX", index),
            plain("FRACTUNE_TASK", format!("{}-$(JOB_COMPLETION_INDEX)", observed.base())),
            from("FRACTUNE_NAMESPACE", "metadata.namespace"),
            from("FRACTUNE_NODE", "spec.nodeName"),
            plain("FRACTUNE_LINK", LINK.to_owned()),
            plain("FRACTUNE_OUT", OUT.to_owned()),
        ]),
        restart_policy: Some("Always".to_owned()),
        startup_probe: Some(Probe {
            exec: Some(ExecAction { command: Some(arguments(&["fractune-agent", "report", "--ready"])) }),
            period_seconds: Some(1),
            timeout_seconds: Some(5),
            // The API server may be away for a while: without a checkpoint, trials would be made again.
            failure_threshold: Some(600),
            ..Probe::default()
        }),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&[("cpu", "10m"), ("memory", "32Mi")])),
            limits: Some(quantities(&[("memory", "128Mi")])),
            ..ResourceRequirements::default()
        }),
        volume_mounts: Some(vec![
            mount("work", WORK, false),
            mount("reporter-tmp", "/tmp", false),
            mount("credential", CREDENTIAL, true),
        ]),
        ..container(REPORTER, settings)
    }
}

fn container(name: &str, settings: &Settings) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(settings.image.clone()),
        image_pull_policy: settings.image_pull_policy.clone(),
        command: Some(arguments(&["fractune-agent"])),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// CPUs and memory as the user wants them, and the GPU slot.
fn requirements(spec: &TuneJobSpec, wanted: Option<ResourceRequirements>) -> ResourceRequirements {
    let least = spec.shares.iter().min().copied().unwrap_or(100).max(1);
    let most = spec.shares.iter().max().copied().unwrap_or(100);
    let cuda = spec.kernels.iter().any(|kernel| kernel.language == Language::Cuda);
    // A share of the CPUs is at least one CPU.
    let cpus = if cuda { 4 } else { 100_u32.div_ceil(u32::from(least)) };
    let mut resources = wanted.unwrap_or_else(|| {
        let cpus = cpus.to_string();
        ResourceRequirements {
            requests: Some(quantities(&[("cpu", &cpus), ("memory", "1Gi")])),
            limits: Some(quantities(&[("cpu", &cpus), ("memory", "4Gi")])),
            ..ResourceRequirements::default()
        }
    });
    if cuda {
        let slot = (format!("{GROUP}/mps-{most}"), Quantity("1".to_owned()));
        resources.limits.get_or_insert_default().extend([slot]);
    }
    resources
}

fn volumes(observed: &Observed) -> Vec<Volume> {
    let scratch = |name: &str, limit: &str| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { size_limit: Some(Quantity(limit.to_owned())), medium: None }),
        ..Volume::default()
    };
    let manifest = Volume {
        name: "manifest".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: names::manifest(&observed.base()),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let mut volumes = vec![
        manifest,
        scratch("work", "4Gi"),
        scratch("tune-tmp", "2Gi"),
        scratch("reporter-tmp", "16Mi"),
        credential(),
    ];
    volumes.extend(cache(&observed.job.spec).map(|cache| Volume {
        name: "cache".to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: cache.persistent_volume_claim.clone(),
            read_only: None,
        }),
        ..Volume::default()
    }));
    volumes
}

fn cache(spec: &TuneJobSpec) -> Option<&KernelCache> {
    spec.template.as_ref()?.cache.as_ref()
}

/// What Kubernetes mounts by itself where it is let: a token bound to the pod, the API server's authority, and the
/// namespace.
fn credential() -> Volume {
    let key = |key: &str| KeyToPath { key: key.to_owned(), path: key.to_owned(), mode: None };
    let token = VolumeProjection {
        service_account_token: Some(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(3607),
            audience: None,
        }),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: "kube-root-ca.crt".to_owned(),
            items: Some(vec![key("ca.crt")]),
            optional: None,
        }),
        ..VolumeProjection::default()
    };
    let namespace = VolumeProjection {
        downward_api: Some(DownwardAPIProjection {
            items: Some(vec![DownwardAPIVolumeFile {
                path: "namespace".to_owned(),
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.namespace".to_owned(),
                    api_version: None,
                }),
                ..DownwardAPIVolumeFile::default()
            }]),
        }),
        ..VolumeProjection::default()
    };
    Volume {
        name: "credential".to_owned(),
        projected: Some(ProjectedVolumeSource {
            sources: Some(vec![token, authority, namespace]),
            default_mode: Some(0o440),
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}

fn arguments(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn quantities(of: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    of.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
}
