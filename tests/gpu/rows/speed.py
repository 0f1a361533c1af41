"""Speed and truth: one kernel, the examples, and other tools beside them."""

import json
import pathlib
import re
import subprocess
import sys
import time

from .bench import EXAMPLES, LIMIT, ROOT, SHARES, Bench, Busy, Skipped

PEERS = ROOT / "tests" / "gpu" / "peers"


class Speed(Bench):
    def speed(self):
        """One kernel at one share and at three; CPUs busy; memory; the first trial."""
        job = self.problem("cuda-sgemm", "square-1024")
        busy = Busy()
        busy.start()
        peak = {}
        folder, one = self.tune(job, "one-share", "--shares", "100", "--max-trials", "200")
        folder3, three = self.tune(job, "three-shares", "--max-trials", "200", stop=lambda p: self.watch_memory(p, peak))
        busy.ended.set()
        log = next(folder.glob("*/trials.jsonl"))
        trials = self.trials(folder)
        good = sum(t["outcome"] == "Ok" for t in trials)
        search = one["tasks"][0]["searchMs"] / 1000
        self.rate = len(trials) / search
        self.figures.add("configurations a second, verified, one share", f"{self.rate:.1f} ({len(trials)} in {search:.1f} s, {good} good)")
        end = log.stat().st_mtime
        share = busy.between(end - search, end)
        self.figures.add("CPUs busy while searching, one share", f"{share:.0%}", ">= 85 %", share >= 0.85)
        end3 = next(folder3.glob("*/trials.jsonl")).stat().st_mtime
        share3 = busy.between(end3 - three["tasks"][0]["searchMs"] / 1000, end3)
        self.figures.add("CPUs busy while searching, three shares", f"{share3:.0%}", ">= 85 %", share3 >= 0.85)
        ratio = three["seconds"] / one["seconds"]
        self.figures.add("three shares over one, whole run", f"{ratio:.2f}x ({three['seconds']:.1f} s, {one['seconds']:.1f} s)", "<= 1.5x", ratio <= 1.5)
        if "kib" in peak:
            self.figures.add("agent's own memory at its peak", f"{peak['kib'] / 1024:.0f} MiB", "< 150 MB", peak["kib"] < 150e6 / 1024)
        fast = next((t["elapsedMs"] for t in trials if any(m.get("timeNs") and m["timeNs"] <= 80_500 for m in t["measurements"])), None)
        found = "never" if fast is None else f"{fast / 1000:.1f} s"
        self.figures.add("until 80.5 us (MetaSchedule: 129 s)", found, "< 12.9 s", fast is not None and fast < 12_900)
        self.sgemm1024 = folder3, three

    def watch_memory(self, process, peak):
        """Largest resident memory of the run's own process."""
        while process.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            found = re.search(r"VmHWM:\s+(\d+)", status)
            if found:
                peak["kib"] = int(found.group(1))
            time.sleep(0.05)

    def examples(self):
        """Every example at every share in one run, and its winners measured again."""
        budgets = {"cuda-sgemm": 112, "cuda-conv2d": 32, "cuda-reduction": 40, "cuda-stencil": 40}
        jobs = {name: min(budget, 24) if self.quick else budget for name, budget in budgets.items()}
        self.results = {}
        for name, budget in jobs.items():
            folder, results = self.tune(EXAMPLES / f"{name}.yaml", name, "--max-trials", budget)
            self.results[name] = results
            for task in results["tasks"]:
                assert [s["share"] for s in task["shares"]] == SHARES, f"{name}/{task['problem']}: a share has no winner"
            units = results["device"]["unitsByShare"]
            total = {t["share"]: t for t in self.totals(results)}
            gains = ", ".join(f"{total[s]['default'] / total[s]['best']:.2f}x" for s in SHARES)
            self.figures.add(f"{name}: {sum(t['trials'] for t in results['tasks'])} trials in {results['seconds']:.0f} s", f"over the default {gains} at {', '.join(f'{s} % ({units[str(s)]} SMs)' for s in SHARES)}")
            if self.recheck is not None and name not in self.recheck:
                continue
            rechecked = self.fractune("recheck", folder, "--times", "10", "--json")
            (folder / "recheck.json").write_text(rechecked)
            rechecks = json.loads(rechecked)["winners"]
            worst = max(rechecks, key=lambda r: abs(r["driftPercent"]))
            within = sum(abs(r["driftPercent"]) <= 2 for r in rechecks)
            where = f"{worst['problem']} at {worst['share']} %"
            self.figures.add(f"{name}: reported against 10 later measurements", f"{worst['driftPercent']:+.1f} % worst ({where}); {within} of {len(rechecks)} within 2 %", "2 %", within == len(rechecks))

    def totals(self, results):
        for share in results["shares"]:
            of = [(t["weight"], s) for t in results["tasks"] for s in t["shares"] if s["share"] == share]
            yield {"share": share, "best": sum(w * s["best"]["timeNs"] for w, s in of), "default": sum(w * (s.get("baseline") or s["best"])["timeNs"] for w, s in of)}

    def peers(self):
        peers = json.loads(self.peer("cublas.py"))
        if "skipped" in peers:
            raise Skipped(f"cuBLAS: {peers['skipped']}")
        best = {t["problem"]: t["shares"][-1]["best"]["timeNs"] for name in ("cuda-sgemm", "cuda-conv2d") for t in self.results[name]["tasks"]}
        for problem in ("square-1024", "square-4096"):
            ratio = best[problem] / peers[problem]
            self.figures.add(f"cuda-sgemm {problem} against cuBLAS", f"{ratio:.2f}x ({best[problem] / 1000:.1f} us, {peers[problem] / 1000:.1f} us)", "<= 1.3x", ratio <= 1.3)
        weights = {t["problem"]: t["weight"] for t in self.results["cuda-conv2d"]["tasks"]}
        ours, theirs = (sum(w * times[p] for p, w in weights.items()) for times in (best, peers))
        self.figures.add("cuda-conv2d's total against cuDNN (float)", f"{ours / theirs:.2f}x ({ours / 1000:.0f} us, {theirs / 1000:.0f} us)")

    def shares(self):
        """The 100 % winner at 25 %, against 25 %'s own."""
        task = next(t for t in self.results["cuda-sgemm"]["tasks"] if t["problem"] == "square-1024")
        by_share = {s["share"]: s for s in task["shares"]}
        own = by_share[25]["best"]["timeNs"]
        served = {s["tunedAt"]: s["timeNs"] for s in by_share[25]["served"]}
        loss = served[100] / own - 1
        self.figures.add("cuda-sgemm 1024^3 at 25 %: loss with 100 %'s choice", f"{loss:.1%} ({served[100] / 1000:.1f} us, {own / 1000:.1f} us)", ">= 10 %", loss >= 0.10)

    def kernel_tuner(self):
        folder, _ = self.sgemm1024
        configurations = [t["configuration"] for t in self.trials(folder)][: 16 if self.quick else 36]
        given = "\n".join(json.dumps(c) for c in configurations)
        result = json.loads(self.peer("kernel_tuner.py", "-", given=given).strip().split("\n")[-1])
        if "skipped" in result:
            raise Skipped(f"Kernel Tuner: {result['skipped']}")
        ratio = self.rate / result["per_second"]
        self.figures.add("configurations a second against Kernel Tuner (unverified)", f"{ratio:.1f}x ({self.rate:.1f}, {result['per_second']:.1f})", ">= 8x", ratio >= 8)

    def peer(self, script, *arguments, given=None):
        done = subprocess.run([sys.executable, PEERS / script, *arguments], input=given, capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == 0, f"{script}: {done.stderr.strip().split(chr(10))[-1][:200]}"
        return done.stdout
