"""A stand-in for Kueue, which is not it: it does to batch Jobs what Kueue's job integration does, and nothing else.

Kueue could not be had where this was written. Of its behaviour, as its documentation and the API of suspended Jobs have it:

- it looks at Jobs with the label `kueue.x-k8s.io/queue-name`, and suspends one that runs without being admitted;
- to admit one, it writes the flavor's node selector into the pod template and sets spec.suspend to false, in one update;
- to preempt one for another of higher priority, it sets spec.suspend to true, waits for nothing, takes status.startTime back and
  restores the pod template as it was before the admission.

There are no ClusterQueues, cohorts or Workloads: one quota, a number of Jobs at a time, and a list of flavors of which
each admission takes the next.
"""

import json
import subprocess
import threading
import time

QUEUE = "kueue.x-k8s.io/queue-name"


class Queue:
    """Runs in a thread until `stop`; `events` is what it did, in order: (what, Job, flavor)."""

    def __init__(self, namespace, flavors, at_a_time=1):
        self.namespace, self.flavors, self.at_a_time = namespace, flavors, at_a_time
        self.events, self.failure = [], None
        self.admitted = {}  # UID of the Job: its node selector before the admission
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.priorities = {each["metadata"]["name"]: each["value"] for each in self.list("priorityclasses")}
        self.thread.start()
        return self

    def stop(self):
        self.over.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def run(self):
        try:
            while not self.over.wait(0.3):
                self.look()
        except Exception as error:  # noqa: BLE001  told by stop()
            self.failure = error

    def look(self):
        jobs = [job for job in self.list("jobs", "-n", self.namespace) if QUEUE in job["metadata"].get("labels", {})]
        pending = [job for job in jobs if not self.finished(job)]
        for job in pending:
            if not job["spec"].get("suspend") and job["metadata"]["uid"] not in self.admitted:
                self.write(job, "suspend", lambda found: found["spec"].update(suspend=True))
        pending.sort(key=lambda job: (-self.priority(job), job["metadata"]["creationTimestamp"], job["metadata"]["name"]))
        chosen = pending[: self.at_a_time]
        for job in pending[self.at_a_time :]:
            if job["metadata"]["uid"] in self.admitted:
                self.preempt(job)
        # What is preempted holds its quota until its pods are gone.
        busy = any(job.get("status", {}).get("active") for job in pending if job["metadata"]["uid"] not in self.admitted)
        for job in chosen:
            if job["metadata"]["uid"] not in self.admitted and not busy and job["spec"].get("suspend"):
                self.admit(job)

    def admit(self, job):
        name, selector = self.flavors[sum(what == "admit" for what, *_ in self.events) % len(self.flavors)]
        before = job["spec"]["template"]["spec"].get("nodeSelector", {})

        def change(found):
            found["spec"]["template"]["spec"]["nodeSelector"] = {**before, **selector}
            found["spec"]["suspend"] = False

        if self.write(job, "admit", change, flavor=name):
            self.admitted[job["metadata"]["uid"]] = before

    def preempt(self, job):
        if not self.write(job, "preempt", lambda found: found["spec"].update(suspend=True)):
            return
        before = self.admitted.pop(job["metadata"]["uid"])
        # The API server lets the template change once the Job counts as not started.
        until(lambda: self.write(job, "restart", lambda found: found["status"].pop("startTime", None), part="status"))
        until(lambda: self.write(job, "restore", lambda found: found["spec"]["template"]["spec"].update(nodeSelector=before)))

    def write(self, job, what, change, flavor=None, part=None):
        """Reads, changes and replaces, as Kueue's client does; false where somebody else was faster."""
        found = json.loads(self.kubectl("get", "job", job["metadata"]["name"], "-n", self.namespace, "-o", "json"))
        change(found)
        words = ["replace", "-n", self.namespace, "-f", "-", *([f"--subresource={part}"] if part else [])]
        done = subprocess.run(["kubectl", *words], input=json.dumps(found), capture_output=True, text=True, check=False)
        if done.returncode != 0 and "the object has been modified" not in done.stderr:
            raise AssertionError(f"the stand-in for Kueue cannot {what} {job['metadata']['name']}: {done.stderr}")
        if done.returncode == 0:
            self.events.append((what, job["metadata"]["name"], flavor))
        return done.returncode == 0

    def priority(self, job):
        return self.priorities.get(job["spec"]["template"]["spec"].get("priorityClassName"), 0)

    @staticmethod
    def finished(job):
        ends = ("Complete", "Failed")
        return any(c["type"] in ends and c["status"] == "True" for c in job.get("status", {}).get("conditions", []))

    def list(self, kind, *words):
        return json.loads(self.kubectl("get", kind, *words, "-o", "json"))["items"]

    @staticmethod
    def kubectl(*words):
        return subprocess.run(["kubectl", *words], capture_output=True, text=True, check=True).stdout


def until(done, seconds=30):
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError("the stand-in for Kueue never had its turn")
        time.sleep(0.1)
