"""What Argo CD, Flux and Helm make of real TuneJobs: their own code (judges/), our scripts (examples/gitops/)."""

import json
import subprocess
import tempfile
import time

import states
from kube import ROOT, get, helm, job, kubectl, namespace, slow

GITOPS = ROOT / "examples" / "gitops"
CHART_WITH_JOB = ROOT / "tests" / "ecosystem" / "chart-with-job"


def verdicts(program, *arguments, objects):
    done = subprocess.run([program, *arguments], input=json.dumps(list(objects.values())), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(objects, json.loads(done.stdout), strict=True))


def compare(who, objects, found, column):
    wrong = []
    for name in objects:
        expected = states.EXPECTED[name][column]
        if expected is not None and found[name]["status"] != expected:
            wrong.append(f"{name}: {who} says {found[name]['status']} ({found[name]['message']}), not {expected}")
    assert not wrong, "\n".join(wrong)


def kstatus_sees_every_state(judge, objects):
    found = verdicts(judge, "kstatus", objects=objects)
    compare("kstatus", objects, found, 2)
    # What Helm and Flux print is the sentence that says what to change.
    assert "BLOCK * (" in found["invalid"]["message"], found["invalid"]


def flux_expressions():
    """spec.healthCheckExprs of the example, as JSON."""
    text = (GITOPS / "flux" / "kustomization.yaml").read_text(encoding="utf-8")
    example = json.loads(kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=text))
    [check] = example["spec"]["healthCheckExprs"]
    assert (check["apiVersion"], check["kind"]) == ("fractune.dev/v1alpha1", "TuneJob")
    return check


def flux_sees_every_state(judge, objects):
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(flux_expressions(), file)
        file.flush()
        compare("Flux", objects, verdicts(judge, "expressions", file.name, objects=objects), 3)


def argocd_sees_every_state(judge, objects):
    script = GITOPS / "argocd" / "health.lua"
    found = verdicts(judge, script, objects=objects)
    compare("Argo CD", objects, found, 4)
    assert "BLOCK * (" in found["invalid"]["message"], found["invalid"]
    text = (GITOPS / "argocd" / "argocd-cm.yaml").read_text(encoding="utf-8")
    settings = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=text))["data"]
    kept = settings["resource.customizations.health.fractune.dev_TuneJob"]
    assert kept.strip() == script.read_text(encoding="utf-8").strip(), "argocd-cm.yaml and health.lua differ"


def install(release, found, *words, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        json.dump(found, file)
        file.flush()
        return helm("install", release, CHART_WITH_JOB, "-n", "waited", "--set-file", f"job={file.name}", "--wait", *words, **options)


def helm_waits_until_a_job_is_complete():
    namespace("waited")
    install("good", slow("good", trials=20), "--timeout", "120s")
    found = get("tunejob", "good", "waited")
    assert found["status"]["state"] == "Complete", found["status"]


def helm_fails_when_a_job_stalls():
    broken = job("broken", kernel={"constraints": ["BLOCK * ("]})
    started = time.monotonic()
    said = install("broken", broken, "--timeout", "120s", fails=True)
    assert time.monotonic() - started < 60, "helm waited for its timeout"
    assert "broken" in said and "BLOCK * (" in said, said


def helm_does_not_take_an_unseen_job_for_complete():
    said = install("unseen", job("unseen", managedBy="example.com/another"), "--timeout", "5s", fails=True)
    assert "unseen" in said, said


def kubectl_waits_for_conditions():
    """What docs/gitops.md promises without any tool."""
    kubectl("wait", "-n", "waited", "--for=condition=Complete", "tunejob/good", "--timeout=5s")
    kubectl("wait", "-n", "waited", "--for=condition=Stalled", "tunejob/broken", "--timeout=5s")
