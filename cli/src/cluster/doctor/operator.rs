//! Is there an operator, and does it run?

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::check::Check;
use super::{Session, all, upgrade};
use crate::cluster::error::INSTALL;

const NAME: &str = "operator";
/// Labels of the operator's Deployment.
const SELECTOR: &str = "app.kubernetes.io/part-of=fractune,app.kubernetes.io/component=operator";

/// Label of its pods, among those of its namespace.
pub(super) const PODS: &str = "app.kubernetes.io/component=operator";

/// An operator, as its Deployment describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) name: String,
    pub(super) namespace: String,
    /// Its service account.
    pub(super) account: String,
    /// The helm release.
    pub(super) release: String,
    pub(super) version: String,
    /// The one namespace that it reconciles; all of them unless set.
    pub(super) watched: Option<String>,
    /// Name and namespace of its lease.
    pub(super) lease: (String, String),
    /// The `ClusterRole` of a job's reporters.
    pub(super) agent_role: String,
    /// Pods that should run, and those that are ready.
    pub(super) replicas: (i32, i32),
    /// Why a pod is not ready, where a pod says it.
    trouble: Option<Trouble>,
}

/// Why a pod is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    kind: Kind,
    /// In words.
    why: String,
}

/// What has to be changed about a pod that is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its image.
    Image,
    /// What its program says tells that.
    Program,
    /// Something else.
    Other,
}

impl Operator {
    /// In words.
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it reconciles the jobs of a namespace.
    pub(super) fn watches(&self, namespace: &str) -> bool {
        self.watched.as_deref().is_none_or(|watched| watched == namespace)
    }
}

impl From<&Deployment> for Operator {
    fn from(deployment: &Deployment) -> Self {
        let name = deployment.name_any();
        let namespace = deployment.namespace().unwrap_or_default();
        let spec = deployment.spec.clone().unwrap_or_default();
        let pod = spec.template.spec.unwrap_or_default();
        let arguments: Vec<String> =
            pod.containers.iter().filter_map(|container| container.args.clone()).flatten().collect();
        let flag = |flag: &str| {
            let value = arguments.iter().find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
            value.map(str::to_owned)
        };
        let label = |key: &str| deployment.labels().get(key).cloned().unwrap_or_default();
        let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        Self {
            account: pod.service_account_name.unwrap_or_else(|| "default".to_owned()),
            release: label("app.kubernetes.io/instance"),
            version: label("app.kubernetes.io/version"),
            watched: flag("--namespace"),
            lease: (
                flag("--lease-name").unwrap_or_else(|| "fractune-operator".to_owned()),
                flag("--lease-namespace").unwrap_or_else(|| "default".to_owned()),
            ),
            agent_role: flag("--agent-cluster-role").unwrap_or_else(|| "fractune-agent".to_owned()),
            replicas: (spec.replicas.unwrap_or(1), ready),
            trouble: None,
            name,
            namespace,
        }
    }
}

/// The findings, and the operators there are.
pub(super) async fn check(session: &Session) -> (Vec<Check>, Vec<Operator>) {
    let deployments: Vec<Deployment> = match all(session, SELECTOR).await {
        Ok(deployments) => deployments,
        Err(error) => return (vec![Check::unknown(NAME, &error)], Vec::new()),
    };
    let mut operators: Vec<Operator> = deployments.iter().map(Operator::from).collect();
    for operator in operators.iter_mut().filter(|operator| operator.replicas.1 < operator.replicas.0) {
        let api: Api<Pod> = Api::namespaced(session.client.clone(), &operator.namespace);
        // Without a look at its pods there is still something to say.
        let pods = session.ask(api.list(&ListParams::default().labels(SELECTOR))).await;
        operator.trouble = pods.ok().and_then(|pods| pods.items.iter().find_map(trouble));
    }
    (judge(&operators, &session.namespace), operators)
}

fn judge(operators: &[Operator], namespace: &str) -> Vec<Check> {
    if operators.is_empty() {
        return vec![Check::fail(NAME, "no operator is installed in any namespace", INSTALL)];
    }
    let mut checks: Vec<Check> = operators.iter().map(state).collect();
    let here: Vec<&Operator> = operators.iter().filter(|operator| operator.watches(namespace)).collect();
    match here.as_slice() {
        [] => checks.push(Check::warn(
            NAME,
            format!("none of them reconciles the TuneJobs of namespace {namespace}"),
            format!("{INSTALL} --set watchNamespace={namespace},crds.install=false"),
        )),
        [_] => {}
        [first, second, ..] => checks.push(Check::fail(
            NAME,
            format!(
                "{} and {} both reconcile the TuneJobs of namespace {namespace}",
                first.title(),
                second.title()
            ),
            format!("helm uninstall {} --namespace {}", second.release, second.namespace),
        )),
    }
    checks
}

/// Why a pod is not ready: what kubelet says of a container that waits, or the scheduler of the pod.
fn trouble(pod: &Pod) -> Option<Trouble> {
    const IMAGE: [&str; 4] = ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"];
    // What passes by itself.
    const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| !STARTING.contains(reason))?;
        let kind = match reason {
            reason if IMAGE.contains(&reason) => Kind::Image,
            "CrashLoopBackOff" => Kind::Program,
            _ => Kind::Other,
        };
        let of = if kind == Kind::Image { format!(" of {}", container.image) } else { String::new() };
        let message = waiting.message.as_deref().map_or(String::new(), |message| format!(": {message}"));
        Some(Trouble { kind, why: format!("{reason}{of}{message}") })
    });
    let conditions = || status.conditions.iter().flatten();
    waiting.or_else(|| {
        let condition = conditions().find(|c| c.type_ == "PodScheduled" && c.status == "False")?;
        Some(Trouble {
            kind: Kind::Other,
            why: format!("no node can take it: {}", condition.message.as_deref()?),
        })
    })
}

/// The command that tells more of pods that are not ready, or mends them.
fn mend(operator: &Operator) -> String {
    let Operator { namespace, trouble, .. } = operator;
    match trouble.as_ref().map(|trouble| trouble.kind) {
        Some(Kind::Image) => {
            format!("{} --set operator.image.repository=REPOSITORY,operator.image.tag=TAG", upgrade(operator))
        }
        Some(Kind::Program) => {
            format!("kubectl logs --namespace {namespace} -l {PODS} --previous --prefix --tail=50")
        }
        Some(Kind::Other) | None => format!("kubectl describe pods --namespace {namespace} -l {SELECTOR}"),
    }
}

fn state(operator: &Operator) -> Check {
    let (wanted, ready) = operator.replicas;
    let title = operator.title();
    if wanted == 0 {
        let fix = format!(
            "kubectl scale deployment {} --namespace {} --replicas 1",
            operator.name, operator.namespace
        );
        return Check::fail(NAME, format!("{title} is scaled to 0: nothing is reconciled"), fix);
    }
    let why = operator.trouble.as_ref().map_or(String::new(), |trouble| format!("; {}", trouble.why));
    if ready == 0 {
        return Check::fail(NAME, format!("{title}: 0 of {wanted} pods are ready{why}"), mend(operator));
    }
    let own = env!("CARGO_PKG_VERSION");
    let message = format!("{title}: {ready} of {wanted} pods ready, version {}", operator.version);
    if ready < wanted {
        return Check::warn(NAME, format!("{message}{why}"), mend(operator));
    }
    if operator.version != own {
        return Check::warn(NAME, format!("{message}; this program is version {own}"), upgrade(operator));
    }
    Check::ok(NAME, message)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::super::check::Verdict;
    use super::*;
    use crate::cluster::script::{Answer, Script, list};

    /// An operator as the chart installs it.
    pub(in crate::cluster::doctor) fn installed() -> Operator {
        Operator::from(&serde_json::from_value::<Deployment>(deployment(2)).unwrap())
    }

    fn deployment(ready: i32) -> Value {
        json!({
            "metadata": {"name": "fractune-operator", "namespace": "fractune", "labels": {
                "app.kubernetes.io/instance": "fractune", "app.kubernetes.io/version": env!("CARGO_PKG_VERSION")}},
            "spec": {"replicas": 2, "selector": {}, "template": {"spec": {
                "serviceAccountName": "fractune-operator",
                "containers": [{"name": "operator", "args": ["--agent-cluster-role=fractune-agent",
                    "--lease-name=fractune-operator", "--lease-namespace=fractune"]}]}}},
            "status": {"readyReplicas": ready},
        })
    }

    #[tokio::test]
    async fn pods_that_are_not_ready_are_told_with_what_their_container_waits_for() {
        let of = async |status: Value| {
            let pods = list("Pod", &[json!({"metadata": {"name": "p"}, "status": status})]);
            let script = Script::new(move |asked| {
                let all = asked.uri.contains("/deployments").then(|| list("Deployment", &[deployment(0)]));
                let all = all.or_else(|| asked.uri.contains("/fractune/pods").then(|| pods.clone()));
                all.map(|all| Answer::Is(200, all))
            });
            let (checks, _) = check(&script.session()).await;
            assert_eq!(checks[0].verdict, Verdict::Fail);
            (checks[0].message.clone(), checks[0].fix.clone().unwrap())
        };
        let waiting = |reason: &str| {
            json!({"containerStatuses": [{"name": "operator", "image": "reg/operator:tset", "imageID": "",
                "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": "not found"}}}]})
        };
        let (message, fix) = of(waiting("ErrImagePull")).await;
        assert!(
            message.ends_with("0 of 2 pods are ready; ErrImagePull of reg/operator:tset: not found"),
            "{message}"
        );
        assert!(fix.contains("helm upgrade") && fix.contains("--set operator.image.repository="), "{fix}");
        let (message, fix) = of(waiting("CrashLoopBackOff")).await;
        assert!(
            message.contains("CrashLoopBackOff: not found") && fix.contains("--previous"),
            "{message} {fix}"
        );
        let (message, fix) = of(waiting("ContainerCreating")).await;
        assert!(
            message.ends_with("pods are ready") && fix.starts_with("kubectl describe pods"),
            "{message} {fix}"
        );
        let unschedulable = json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "message": "0/1 nodes are available"}]});
        assert!(of(unschedulable).await.0.ends_with("no node can take it: 0/1 nodes are available"));
    }

    #[test]
    fn a_deployment_says_all_there_is_to_know() {
        let operator = installed();
        assert_eq!(operator.account, "fractune-operator");
        assert_eq!(operator.lease, ("fractune-operator".to_owned(), "fractune".to_owned()));
        assert_eq!((operator.replicas, operator.watched.clone()), ((2, 2), None));
        let checks = judge(&[operator], "team");
        assert!(checks.len() == 1 && checks[0].verdict == Verdict::Ok, "{checks:?}");
    }

    #[test]
    fn what_does_not_run_fails_and_another_version_warns() {
        let of = |change: fn(&mut Operator)| {
            let mut operator = installed();
            change(&mut operator);
            let check = judge(&[operator], "team").remove(0);
            (check.verdict, check.fix.unwrap_or_default())
        };
        let (verdict, fix) = of(|operator| operator.replicas = (0, 0));
        assert!(
            verdict == Verdict::Fail && fix.starts_with("kubectl scale deployment fractune-operator"),
            "{fix}"
        );
        assert_eq!(of(|operator| operator.replicas = (2, 0)).0, Verdict::Fail);
        assert_eq!(of(|operator| operator.replicas = (2, 1)).0, Verdict::Warn);
        assert_eq!(of(|operator| operator.version = "0.0.1".to_owned()).0, Verdict::Warn);
        assert_eq!(judge(&[], "team")[0].verdict, Verdict::Fail);
    }

    #[test]
    fn nobody_and_two_for_one_namespace_are_told() {
        let mut elsewhere = installed();
        elsewhere.watched = Some("other".to_owned());
        let verdicts =
            |operators: &[Operator]| judge(operators, "team").iter().map(|c| c.verdict).collect::<Vec<_>>();
        assert_eq!(verdicts(&[elsewhere.clone()]), [Verdict::Ok, Verdict::Warn]);
        assert_eq!(verdicts(&[installed(), elsewhere]), [Verdict::Ok, Verdict::Ok]);
        assert_eq!(verdicts(&[installed(), installed()]).last(), Some(&Verdict::Fail));
    }
}
