"""TuneJobs in every state that one can be in, on a real cluster: begun early, looked at when they are there."""

from kube import OPERATOR, SYSTEM, apply, get, items, job, kubectl, namespace, slow, state, until

STATES, FULL = "states", "states-full"
NOWHERE = {"nodeSelector": {"example.com/no-such-node": "here"}, "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "2"}}}
BROKEN = """
void saxpy(const float *x, float *out, float a, int len, int rounds) { __builtin_trap(); }
void reference(const float *x, float *out, float a, int len, int rounds) { for (int i = 0; i < len; i++) out[i] = a * x[i]; }
"""
# Name: state and reason of the condition that says so, the verdicts of kstatus, Flux and Argo CD.
EXPECTED = {
    "unseen": (None, None, "InProgress", "InProgress", "Progressing"),
    "pending": ("Pending", "Starting", "InProgress", "InProgress", "Progressing"),
    "running": ("Running", "Tuning", "InProgress", "InProgress", "Progressing"),
    "suspended": ("Suspended", "Suspended", "Current", "Current", "Suspended"),
    "queued": ("Suspended", "Queued", "Current", "InProgress", "Progressing"),
    "complete": ("Complete", "TasksComplete", "Current", "Current", "Healthy"),
    "failed": ("Failed", "TasksFailed", "Failed", "Failed", "Degraded"),
    "late": ("Failed", "DeadlineExceeded", "Failed", "Failed", "Degraded"),
    "invalid": ("Stalled", "InvalidSpec", "Failed", "Failed", "Degraded"),
    "sourceless": ("Stalled", "SourceMissing", "Failed", "Failed", "Degraded"),
    "taken": ("Stalled", "NameTaken", "Failed", "Failed", "Degraded"),
    "unschedulable": ("Stalled", "Unschedulable", "Failed", "Failed", "Degraded"),
    "refused-pods": ("Stalled", "PodsRefused", "Failed", "Failed", "Degraded"),
    "deviceless": ("Stalled", "DeviceUnavailable", "Failed", "Failed", "Degraded"),
    # Complete, and then changed, while no operator looks.
    "changed": ("Complete", "TasksComplete", "InProgress", "InProgress", "Progressing"),
    # Held back by a finalizer of somebody else's. Flux and Argo CD judge what is being deleted before they come to this.
    "leaving": ("Complete", "TasksComplete", "Terminating", None, "Progressing"),
}
CONDITIONS = {"Pending": "Reconciling", "Running": "Reconciling"}


def begin():
    """Applies them all."""
    namespace(STATES)
    namespace(FULL)
    apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}, namespace=FULL)
    apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken-job"}}, namespace=STATES)
    until("the quota holds", lambda: get("resourcequota", "full", FULL).get("status", {}).get("hard"))
    apply(
        job("unseen", managedBy="example.com/another"),
        job("pending", template=NOWHERE),
        job("suspended", suspend=True),
        job("queued", labels={"kueue.x-k8s.io/queue-name": "nobody-admits"}),
        job("complete"),
        job("changed"),
        job("leaving"),
        job("failed", kernel={"source": {"inline": BROKEN}}),
        job("late", template=NOWHERE, activeDeadlineSeconds=1),
        job("invalid", kernel={"constraints": ["BLOCK * ("]}),
        job("sourceless", kernel={"source": {"configMapKeyRef": {"name": "nowhere", "key": "saxpy.c"}}}),
        job("taken"),
        job("unschedulable", template=NOWHERE, startDeadlineSeconds=1),
        # One percent of the CPUs is less than one CPU. Pods are tried again, further and further apart.
        job("deviceless", shares=[1], backoffLimit=100),
        slow("running", rounds=20000),
        namespace=STATES,
    )
    apply(job("refused-pods"), namespace=FULL)


def collect():
    """Waits until each is where it should be: objects by name, as the API server has them then."""
    found = {"running": state("running", STATES, "Running")}
    kubectl("delete", "tunejob", "running", "-n", STATES, "--wait=false")  # it keeps the CPUs from all others
    for name, (wanted, reason, *_) in EXPECTED.items():
        if wanted and name not in found:
            found[name] = state(name, where(name), wanted, 150, reason if wanted not in CONDITIONS else None)
    kubectl("patch", "tunejob", "leaving", "-n", STATES, "--type=merge", "-p", '{"metadata": {"finalizers": ["example.com/stay"]}}')
    kubectl("delete", "tunejob", "leaving", "-n", STATES, "--wait=false")
    # Between a change and the operator's next pass there is a moment; here it lasts.
    replicas = get("deployment", OPERATOR, SYSTEM)["spec"]["replicas"]
    try:
        scale(0)
        kubectl("patch", "tunejob", "changed", "-n", STATES, "--type=merge", "-p", '{"spec": {"search": {"maxTrials": 4}}}')
        apply(job("fresh"), namespace=STATES)
        fresh = get("tunejob", "fresh", STATES)
        found |= {name: get("tunejob", name, STATES) for name in ("unseen", "changed", "leaving")}
    finally:
        scale(replicas)
    # Nobody has written its status: what is there was filled in by the definition.
    assert fresh["status"] == found["unseen"]["status"] and fresh["status"]["observedGeneration"] == -1, fresh["status"]
    return found


def where(name):
    return FULL if name == "refused-pods" else STATES


def scale(replicas):
    kubectl("scale", "deployment", OPERATOR, "-n", SYSTEM, f"--replicas={replicas}")
    label = "app.kubernetes.io/component=operator"
    until(f"{replicas} operators", lambda: len(items("pods", SYSTEM, "-l", label)) == replicas)
    if replicas:
        kubectl("rollout", "status", "deployment", OPERATOR, "-n", SYSTEM, "--timeout=60s")
