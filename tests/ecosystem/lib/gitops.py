"""Git says what is to be, and nothing that the operator does looks like drift from it."""

import json
import subprocess

from kube import ROOT, apply, get, items, job, kubectl, namespace, state, until

GITOPS = ROOT / "examples" / "gitops"
GIT = "git"
PRODUCTS = ("h100", "h200", "l4")
OVERLAYS = (*PRODUCTS, "cpu")


def begin():
    """What Git has: a job that will be complete, one that is suspended, and the fleet, of which all but one overlay wait for GPUs."""
    namespace(GIT)
    kubectl("apply", "--server-side", "-n", GIT, "-f", "-", stdin=json.dumps(of_git()))
    for overlay in OVERLAYS:
        kubectl("apply", "--server-side", "-n", GIT, "-k", GITOPS / "fleet/overlays" / overlay)


def of_git():
    held = job("held", suspend=True)
    return {"apiVersion": "v1", "kind": "List", "items": [job("whole"), held]}


def diff(*words, stdin=None):
    """What `kubectl diff` prints; empty where there is no difference."""
    words = ["kubectl", "diff", "-n", GIT, *map(str, words)]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def nothing_that_the_operator_writes_is_drift():
    state("whole", GIT, "Complete")
    state("held", GIT, "Suspended")
    state("rmsnorm-cpu-1", GIT, "Complete")
    for product in PRODUCTS:
        until(f"the operator has seen {product}", lambda name=f"rmsnorm-{product}-1": get("tunejob", name, GIT)["status"].get("state"))
    text = json.dumps(of_git())
    before = generations()
    for way in ("--server-side", "--server-side=false"):
        assert diff(way, "-f", "-", stdin=text) == "", diff(way, "-f", "-", stdin=text)
    for overlay in OVERLAYS:
        folder = GITOPS / "fleet/overlays" / overlay
        assert diff("--server-side", "-k", folder) == "", diff("--server-side", "-k", folder)
        kubectl("apply", "--server-side", "-n", GIT, "-k", folder)
    # No conflict: the operator owns no field that Git has.
    kubectl("apply", "--server-side", "-n", GIT, "-f", "-", stdin=text)
    assert generations() == before, "applying the same again made a new generation"
    for found in items("tunejobs", GIT, "--show-managed-fields"):
        managers = {each["manager"]: each for each in found["metadata"]["managedFields"]}
        written = {manager: set(each["fieldsV1"]) for manager, each in managers.items() if manager.startswith("fractune.dev/")}
        assert all(fields <= {"f:status"} for fields in written.values()), written


def generations():
    found = json.loads(kubectl("get", "tunejobs", "-n", GIT, "-o", "json"))["items"]
    return {each["metadata"]["name"]: each["metadata"]["generation"] for each in found}


def what_is_suspended_in_the_cluster_stays_so_where_git_says_nothing():
    """For server-side apply, as Flux and Argo CD use it: who leaves spec.suspend out does not own it."""
    kubectl("patch", "tunejob", "rmsnorm-h100-1", "-n", GIT, "--type=merge", "-p", '{"spec": {"suspend": true}}')
    state("rmsnorm-h100-1", GIT, "Suspended")
    folder = GITOPS / "fleet/overlays/h100"
    assert diff("--server-side", "-k", folder) == "", diff("--server-side", "-k", folder)
    kubectl("apply", "--server-side", "-n", GIT, "-k", folder)
    assert get("tunejob", "rmsnorm-h100-1", GIT)["spec"]["suspend"] is True, "it goes on"


def another_source_is_another_job():
    """The generated ConfigMap has another name, which a job that was begun does not take; a new number does."""
    rendered = kubectl("kustomize", GITOPS / "fleet/overlays/l4")
    changed = rendered.replace("1e-6f", "1e-5f").replace("kernels-l4-1-", "kernels-l4-1-other-")
    assert changed != rendered
    said = kubectl("apply", "--server-side", "-n", GIT, "-f", "-", stdin=changed, fails=True)
    assert "immutable" in said and "make another job" in said, said
    kubectl("apply", "--server-side", "-n", GIT, "-f", "-", stdin=changed.replace("-l4-1", "-l4-2"))
    assert get("tunejob", "rmsnorm-l4-2", GIT)


def one_broken_job_does_not_keep_the_others_from_the_cluster():
    """What the schema refuses is refused alone; what it cannot see stalls alone."""
    wrong = job("wrong", shares=[101])
    odd = job("odd", kernel={"constraints": ["BLOK > 1"]})
    good = job("fine")
    said = apply(wrong, odd, good, namespace=GIT, fails=True)
    assert 'TuneJob "wrong"' in said or "wrong" in said and "101" in said, said
    assert "fine" in said and "odd" in said, said
    state("odd", GIT, "Stalled", reason="InvalidSpec")
    state("fine", GIT, "Complete")


def the_examples_for_argocd_and_flux_fit_their_definitions(_definitions):
    for file in ("argocd/application.yaml", "argocd/argocd-cm.yaml", "flux/kustomization.yaml"):
        where = "argocd" if file.startswith("argocd") else "flux-system"
        if not get("namespace", where):
            kubectl("create", "namespace", where)
        kubectl("apply", "--server-side", "--validate=strict", "--dry-run=server", "-f", GITOPS / file)
