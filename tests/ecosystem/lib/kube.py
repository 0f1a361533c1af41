"""The cluster, by kubectl and helm as they are on PATH inside of it, and the objects that tests write."""

import json
import pathlib
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent.parent
CHART = ROOT / "charts" / "fractune"
SYSTEM = "fractune-system"
RELEASE = "fractune"
OPERATOR = "fractune-operator"
IMAGES = ROOT / "tests/data/cluster/values.yaml"
GOOD, QUICK = {"maxTrials": 3, "seed": 1}, {"minTimeMs": 1, "finalists": 1}
_fixtures = {}


def command(*words, stdin=None, fails=False, timeout=240):
    """What a command prints; where it must fail, what it says."""
    words = [*map(str, words)]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False, timeout=timeout)
    if (done.returncode != 0) != fails:
        outcome = "did not fail" if fails else f"failed with {done.returncode}"
        raise AssertionError(f"{' '.join(words)} {outcome}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr if fails else done.stdout


def kubectl(*words, **options):
    return command("kubectl", *words, **options)


def helm(*words, **options):
    return command("helm", *words, **options)


def get(kind, name, namespace=None):
    """An object, or None where it is not there."""
    words = ["get", kind, name, "-o", "json", "--ignore-not-found", *(["-n", namespace] if namespace else [])]
    text = kubectl(*words)
    return json.loads(text) if text.strip() else None


def items(kind, namespace=None, *words):
    where = ["-n", namespace] if namespace else ["-A"]
    return json.loads(kubectl("get", kind, *where, "-o", "json", *words))["items"]


def apply(*objects, namespace=None, **options):
    where = ["-n", namespace] if namespace else []
    return kubectl("apply", *where, "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), **options)


def namespace(name, **labels):
    apply({"apiVersion": "v1", "kind": "Namespace",
           "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted", **labels}}})  # fmt: skip
    until(f"namespace {name} has its service account", lambda: get("serviceaccount", "default", name))


def until(what, found, seconds=60.0, pause=0.5):
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(pause)
    return value


def fixture(file="saxpy"):
    """A TuneJob of tests/data/cluster as an object."""
    if file not in _fixtures:
        path = ROOT / f"tests/data/cluster/{file}.yaml"
        _fixtures[file] = kubectl("create", "--dry-run=client", "--validate=false", "-f", path, "-o", "json")
    found = json.loads(_fixtures[file])
    found["metadata"] = {"name": found["metadata"]["name"]}
    return found


def job(name, file="saxpy", kernel=None, labels=None, **spec):
    """That TuneJob under a name, with fields of its spec, and of its kernel, replaced."""
    found = fixture(file)
    found["metadata"] = {"name": name, **({"labels": labels} if labels else {})}
    found["spec"] |= {"search": GOOD, "measure": QUICK} | spec
    found["spec"]["kernels"][0] |= kernel or {}
    return found


def slow(name, trials=60, rounds=800, **more):
    """A TuneJob each trial of which takes a quarter of a second, that nothing stops before its trials are made."""
    kernel = {"problems": [{"name": "small", "sizes": {"len": 10000, "rounds": rounds}}]}
    search = {"maxTrials": trials, "seed": 1, "stopAfterStale": trials}
    return job(name, kernel=kernel, search=search, measure={"minTimeMs": 20, "finalists": 1}, **more)


def condition(found, kind):
    for each in (found or {}).get("status", {}).get("conditions", []):
        if each["type"] == kind and each["status"] == "True":
            return each
    return None


def state(name, where, wanted, seconds=120, reason=None):
    """Waits until a TuneJob is in a state that speaks of its spec as it stands; the TuneJob."""

    def reached():
        found = get("tunejob", name, where)
        status = (found or {}).get("status", {})
        if status.get("state") != wanted or status.get("observedGeneration") != found["metadata"]["generation"]:
            return None
        return found if reason is None or (condition(found, wanted) or {}).get("reason") == reason else None

    try:
        return until(f"TuneJob {name} is {wanted} {reason or ''}", reached, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{json.dumps((get('tunejob', name, where) or {}).get('status'), indent=1)}") from None
