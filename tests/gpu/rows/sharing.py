"""Many at once on one GPU: time gained, winners kept, winners beside neighbours, faults of others."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import time

from .bench import EXAMPLES, LIMIT, ROOT, SHARES, Bench, Skipped

# Problems of the two kernels: eight tasks.
PROBLEMS = {
    "cuda-sgemm": ["{m: 1024, \"n\": 1024, k: 1024}", "{m: 2048, \"n\": 2048, k: 2048}", "{m: 512, \"n\": 2048, k: 1024}", "{m: 4096, \"n\": 512, k: 1024}"],
    "cuda-conv2d": ["conv-64x56", "conv-128x28", "conv-256x14", "conv-512x7"],
}
# As the examples that the kernels are from.
MEASURE = "{minTimeMs: 5, cache: Hot}"
# Parameters that keep few values, so that a whole space is measured: 26 valid configurations.
FEW = {"block_k": "[16]", "lanes_n": "[8]", "copy": "[0]", "fragments": "[1]", "unroll_k": "[4]", "group_m": "[1]", "min_blocks": "[1]", "stages": "[1, 2]", "block_m": "[64, 128]", "block_n": "[64, 128]", "thread_m": "[4, 8]", "thread_n": "[4, 8]"}


class Sharing(Bench):
    def kernel(self, example):
        """An example's entry of `spec.kernels`, with this script's problems."""
        text = (EXAMPLES / f"{example}.yaml").read_text()
        body = re.search(r"^  kernels:\n(.*?)(?=^  [a-z])", text, re.S | re.M).group(1)
        given = PROBLEMS[example]
        if given[0].startswith("{"):
            kept = [f"        - {{name: p{i}, sizes: {sizes}}}" for i, sizes in enumerate(given)]
        else:
            kept = [line for line in body.split("\n") if any(f"name: {name}," in line for name in given)]
        assert len(kept) == 4, f"{example}: {kept}"
        listed = re.compile(r"(      problems:\n)(?:        (?:- \{name:|#).*\n)+")
        return listed.sub(lambda found: found.group(1) + "\n".join(kept) + "\n", body, count=1)

    def job(self, name, kernels, search, measure="{}", more=""):
        file = self.out / f"{name}.yaml"
        file.write_text(
            f"apiVersion: fractune.dev/v1alpha1\nkind: TuneJob\nmetadata: {{name: {name}}}\nspec:\n  shares: {SHARES}\n{more}"
            f"  kernels:\n{''.join(kernels)}  search: {search}\n  measure: {measure}\n"
        )
        return file

    def together(self):
        """Eight tasks at three shares together, and one after another, share after share, with one compiler."""
        folder, ours = self.tune(self.eight_tasks(), "together", "--parallelism", "8")
        made = self.measured(folder)
        self.eight = ours["seconds"], made
        self.figures.add("eight tasks, three shares, together", f"{ours['seconds']:.0f} s, {made} trials at a share, {made / ours['seconds']:.1f} a second")
        rechecks = json.loads(self.fractune("recheck", folder, "--times", "5", "--json"))["winners"]
        within = sum(abs(r["driftPercent"]) <= 2 for r in rechecks)
        worst = max((r["driftPercent"] for r in rechecks), key=abs)
        self.figures.add("their reported times against solo measurements", f"{within} of {len(rechecks)} within 2 %, worst {worst:+.1f} %", "2 %", within == len(rechecks))
        less, faster, told = self.one_after_another("1", sorted(os.sched_getaffinity(0))[:1])
        self.figures.add("against one after another, share after share, with one compiler", told, ">= 90 %, >= 10x", less >= 0.9 and faster >= 10)

    def compilers(self):
        """As the last, but with a compiler on every CPU."""
        if not hasattr(self, "eight"):
            raise Skipped("it is compared with the row `together`")
        *_, told = self.one_after_another("all", sorted(os.sched_getaffinity(0)))
        self.figures.add("against one after another, share after share, with a compiler on every CPU", told)

    def eight_tasks(self):
        # Less than jobs mostly have (the examples: 112 and more): one after another they take minutes.
        budget = 8 if self.quick else 40
        return self.job("eight-tasks", [self.kernel(example) for example in PROBLEMS], f"{{maxTrials: {budget}, seed: 1}}", MEASURE)

    def one_after_another(self, name, allowed):
        """The eight tasks one by one at one share after the other, on these CPUs: how much less time they take together, how many
        times the trials a second, and both in words."""
        cpus = os.sched_getaffinity(0)
        seconds, trials = 0, 0
        for share in SHARES:
            os.sched_setaffinity(0, allowed)  # what is started has the same
            try:
                folder, results = self.tune(self.eight_tasks(), f"serial-{name}-{share}", "--shares", share, "--parallelism", "1")
            finally:
                os.sched_setaffinity(0, cpus)
            seconds, trials = seconds + results["seconds"], trials + self.measured(folder)
        ours, made = self.eight
        less, faster = 1 - ours / seconds, (made / ours) / (trials / seconds)
        return less, faster, f"{less:.0%} less time, {faster:.1f}x the trials a second ({seconds:.0f} s, {trials} trials)"

    def measured(self, folder):
        """Trials at a share that were timed."""
        return sum(m.get("timeNs") is not None for t in self.trials(folder) for m in t["measurements"])

    def winners(self):
        """A whole space measured in company and alone: the winner of the one against that of the other."""
        kernel = self.kernel("cuda-sgemm")
        for name, values in FEW.items():
            first = values.strip("[]").split(",")[0]
            kernel = re.sub(rf"\{{name: {name}, values: \[.*?\], default: \w+\}}", f"{{name: {name}, values: {values}, default: {first}}}", kernel)
        search = "{strategy: Exhaustive, maxTrials: 64, seed: 1}"
        found = {}
        for how, parallel in (("Shared", "4"), ("Exclusive", "1")):
            job = self.job(f"winners-{how.lower()}", [kernel], search, "{sharing: Exclusive, finalists: 40}" if how == "Exclusive" else "{sharing: Shared}")
            found[how] = self.tune(job, f"winners-{how.lower()}", "--parallelism", parallel)[1]
        losses = []
        for company, alone in zip(found["Shared"]["tasks"], found["Exclusive"]["tasks"]):
            for theirs, ours in zip(company["shares"], alone["shares"]):
                chosen, best = theirs["best"]["configuration"], ours["best"]
                times = {json.dumps(t["configuration"], sort_keys=True): t["timeNs"] for t in ours["finalists"]}
                time_ns = times.get(json.dumps(chosen, sort_keys=True))
                # Not even a finalist when alone: its own quiet time tells.
                losses.append((time_ns or theirs["best"]["timeNs"]) / best["timeNs"] - 1)
        median, worst = statistics.median(losses), max(losses)
        self.figures.add("winners chosen in company against alone", f"{median:.2%} median, {worst:.2%} worst of {len(losses)}", "<= 1 %, <= 3 %", median <= 0.01 and worst <= 0.03)

    def conditions(self):
        """Winners beside loads."""
        text = self.problem("cuda-sgemm", "square-1024").read_text()
        job = self.out / "conditions.yaml"
        job.write_text(re.sub(r"^(  shares: .*\n)", r"\1  neighbours: [Quiet, Compute, Memory]\n", text, count=1, flags=re.M))
        folder, results = self.tune(job, "conditions", "--max-trials", "48" if self.quick else "160")
        task = results["tasks"][0]
        quiet = {s["share"]: s for s in task["shares"]}
        others = []
        for loaded in task["loaded"]:
            share, neighbours, load = loaded["share"], loaded["neighbours"], loaded["load"]
            served = {(s["tunedAt"], s.get("neighbours", "Quiet")): s["timeNs"] for s in loaded["served"]}
            own, choice = loaded["best"]["timeNs"], served[(share, "Quiet")]
            same = loaded["best"]["configuration"] == quiet[share]["best"]["configuration"]
            value = f"{own / 1000:.0f} us, {choice / own - 1:+.1%} with the quiet choice{' (the same)' if same else ''}; quiet {quiet[share]['best']['timeNs'] / 1000:.0f} us; load {load['alonePerSecond'] / 1e12:.2f} and {load['besidePerSecond'] / 1e12:.2f} T/s"
            target, reached = ("another winner", not same) if (share, neighbours) == (25, "Compute") else ("", None)
            self.figures.add(f"1024^3 at {share} % beside {neighbours}", value, target, reached)
            others += [] if same else [f"{share} % beside {neighbours}"]
        self.figures.add("loaded conditions whose winner is another than the quiet one", f"{len(others)} of {len(task['loaded'])}: {', '.join(others)}")
        text = self.fractune("report", folder, "--output", self.out / "conditions.html", check=False)
        told = [line.strip() for line in (self.errors + text).split("\n") if "one for all conditions" in line]
        words = self.fractune("run", job, "--out", folder, "--resume", "--quiet", "--max-trials", "48" if self.quick else "160")
        told = told or [line.strip() for line in (words + self.errors).split("\n") if "one for all conditions" in line]
        self.figures.add("each condition its own winner", told[0].rsplit("(", 1)[-1].rstrip(")") if told else "not told", "told", bool(told))
        canary = task.get("canary") or {}
        self.figures.add("canary", f"{canary.get('readings')} readings, worst {canary.get('computePercent', 0):.1f} % computing, {canary.get('memoryPercent', 0):.1f} % memory", "read", bool(canary))

    def culprits(self):
        """100 illegal addresses over four agents at once, under one daemon of the tests' own."""
        with Daemon(self.out / "mps") as daemon:
            job = ROOT / "tests" / "gpu" / "culprits.yaml"
            folders = [self.out / f"culprits-{i}" for i in range(4)]
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            started = time.time()
            agents = [subprocess.Popen([self.binary, "run", job, "--out", folder, "--quiet"], env=daemon.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for folder in folders]
            ends = []
            try:
                for agent in agents:
                    try:
                        _, errors = agent.communicate(timeout=LIMIT)
                    except subprocess.TimeoutExpired:
                        agent.send_signal(signal.SIGINT)
                        _, errors = agent.communicate(timeout=60)
                    ends.append((agent.returncode, errors.strip()[-200:]))
            finally:
                for agent in agents:
                    if agent.poll() is None:
                        agent.kill()
                        agent.wait()
            seconds = time.time() - started
        trials = [t for folder in folders for t in self.trials(folder)]
        guilty = [t for t in trials if t["configuration"]["fault"] == 1]
        named = sum(t["outcome"] == "RuntimeError" for t in guilty)
        blamed = sum(not self.good(t) for t in trials if t["configuration"]["fault"] == 0)
        ok = all(code == 0 for code, _ in ends) and (len(trials), named, blamed) == (340, 100, 0)
        value = f"{len(trials)} trials, {named} of {len(guilty)} named, {blamed} others blamed, {seconds:.0f} s"
        bad = [f"exit {code}: {errors}" for code, errors in ends if code != 0]
        self.figures.add("100 illegal addresses over four agents at once", "; ".join([value, *bad]), "340, 100, 0", ok)

    def daemon_killed(self):
        """The control daemon is killed in mid-run: it is started again, and no good trial is lost."""
        folder, killed = self.out / "daemon-killed", []

        def kill(process):
            while process.poll() is None and len(self.lines(folder)) < 30:
                time.sleep(0.02)
            for daemon in self.descendants(process.pid, "nvidia-cuda-mps-control"):
                os.kill(daemon, signal.SIGKILL)
                killed.append(daemon)

        _, results = self.tune(self.problem("cuda-sgemm", "square-1024"), "daemon-killed", "--max-trials", "100", stop=kill)
        trials = self.trials(folder)
        lost = [t for t in trials if not self.good(t)]
        ok = bool(killed) and len(trials) == 100 and not lost and len(results["tasks"][0]["shares"]) == 3
        self.figures.add("MPS control daemon killed in mid-run", f"{len(killed)} killed, {len(trials)} trials, {len(lost)} blamed", "100, 0 blamed", ok)


class Daemon:
    """An MPS control daemon of the tests' own, for agents that share a GPU."""

    def __init__(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        pipe, log = folder / "pipe", folder / "log"
        for made in (pipe, log):
            made.mkdir(parents=True)
        self.environment = os.environ | {"CUDA_MPS_PIPE_DIRECTORY": str(pipe), "CUDA_MPS_LOG_DIRECTORY": str(log)}
        self.program = shutil.which("nvidia-cuda-mps-control", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/nvidia/bin")
        if self.program is None:
            raise Skipped("nvidia-cuda-mps-control is not there")

    def __enter__(self):
        # In the foreground, as a child: it cannot outlive the tests unseen.
        self.process = subprocess.Popen([self.program, "-f"], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            if self.ask("get_server_list") == 0:
                return self
            time.sleep(0.1)
        self.__exit__()
        raise AssertionError("the MPS control daemon does not answer")

    def __exit__(self, *_):
        self.ask("quit")
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ask(self, words):
        try:
            return subprocess.run([self.program], input=words + "\n", env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, timeout=20).returncode
        except subprocess.TimeoutExpired:
            return 1
