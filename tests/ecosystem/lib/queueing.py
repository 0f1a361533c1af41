"""Jobs in a queue, by a stand-in for Kueue: held back, admitted to a node, preempted, admitted to another."""

import re
import subprocess
import tempfile

import kueue_stand_in
from kube import apply, condition, get, items, kubectl, namespace, slow, state, until

QUEUED = "queued"
TRIALS = 40
FLAVORS = (("first", {"example.com/pool": "first"}), ("second", {"example.com/pool": "second"}))


def trials_survive_a_queue_that_preempts():
    namespace(QUEUED)
    nodes = sorted(node["metadata"]["name"] for node in items("nodes"))
    pools = dict(zip(nodes, FLAVORS, strict=True))
    for node, (name, _) in pools.items():
        kubectl("label", "--overwrite", "node", node, f"example.com/pool={name}")
    apply(*({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
             "preemptionPolicy": "Never"} for name, value in (("patient", 1), ("urgent", 2))))  # fmt: skip
    apply(queued("patient"), namespace=QUEUED)
    held = state("patient", QUEUED, "Suspended", reason="Queued")
    assert condition(held, "Suspended")["message"], held
    assert not items("pods", QUEUED), "a pod of a job that no queue has admitted"

    queue = kueue_stand_in.Queue(QUEUED, FLAVORS).start()
    logs = Logs()
    try:
        pod = logs.follow("patient")
        assert pools[pod["spec"]["nodeName"]][0] == "first", pod["spec"]["nodeName"]
        until("some trials", lambda: task("patient")["trials"]["total"] >= 5, 90)
        assert get("tunejob", "patient", QUEUED)["status"]["state"] == "Running"
        apply(queued("urgent", trials=6), namespace=QUEUED)
        until("it is preempted", lambda: ("preempt", "patient", None) in queue.events, 60)
        pod = logs.follow("urgent")
        assert pools[pod["spec"]["nodeName"]][0] == "second", pod["spec"]["nodeName"]
        state("patient", QUEUED, "Suspended", reason="Queued")
        state("urgent", QUEUED, "Complete")
        until("it is admitted again", lambda: [what for what, name, _ in queue.events if name == "patient"].count("admit") == 2)
        logs.follow("patient", other_than=logs.followed["patient"][0])
        done = state("patient", QUEUED, "Complete", 180)
    finally:
        queue.stop()
        found = logs.end()
    assert done["status"]["trials"] == TRIALS, done["status"]["trials"]
    # A pod that goes on tells of the trials that it took over as their first pod did.
    first, second = map(trials, found["patient"])
    lost = {number: told for number, told in first.items() if second.get(number) != told}
    assert not lost, f"lost or made again: {lost}"
    assert len(second) == TRIALS > len(first) > 0, (len(first), len(second))
    resumed = re.search(r" resumed=(\d+)", found["patient"][1])
    assert resumed and int(resumed.group(1)) == len(first), f"{len(first)} trials, then {resumed}"


def queued(name, trials=TRIALS):
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}
    template = {"priorityClassName": name, "resources": resources}
    return slow(name, trials=trials, labels={kueue_stand_in.QUEUE: "team"}, template=template)


def task(name):
    status = (get("tunetask", f"{name}-0", QUEUED) or {}).get("status", {})
    return {"trials": {"total": 0}} | status


def trials(text):
    """What a log tells of each trial, by its number."""
    return {int(number): told for number, told in re.findall(r" trial trial=(\d+) (.*)", text)}


class Logs:
    """Logs of pods, followed so that they outlive them."""

    def __init__(self):
        self.processes, self.files, self.followed = [], {}, {}

    def follow(self, job, other_than=None):
        def running():
            for pod in items("pods", QUEUED, "-l", f"fractune.dev/job={job}"):
                statuses = pod.get("status", {}).get("containerStatuses", [])
                begun = any("running" in each["state"] or "terminated" in each["state"] for each in statuses)
                if begun and pod["metadata"]["name"] != other_than and "deletionTimestamp" not in pod["metadata"]:
                    return pod
            return None

        pod = until(f"a pod of {job}", running, 90)
        name = pod["metadata"]["name"]
        file = tempfile.TemporaryFile("w+", encoding="utf-8")
        self.processes.append(subprocess.Popen(["kubectl", "logs", "-f", "-n", QUEUED, name, "-c", "tune"], stdout=file))
        self.files.setdefault(job, []).append(file)
        self.followed.setdefault(job, []).append(name)
        return pod

    def end(self):
        """What was logged: texts by job, one for each pod that was followed."""
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        texts = {}
        for job, files in self.files.items():
            for file in files:
                file.seek(0)
                texts.setdefault(job, []).append(re.sub(r"\x1b\[[0-9;]*m", "", file.read()))
                file.close()
        return texts
