"""What must not break a run: faults, kills, bad input, files of others."""

import os
import re
import signal
import sys
import time

from .bench import ROOT, SHARES, Bench


class Faults(Bench):
    def refusals(self):
        """Bad input that only a GPU can tell."""
        job = self.problem("cuda-sgemm", "square-1024")
        self.fractune("run", job, "--shares", "3", "--out", self.out / "share-3", "--quiet", check=False)
        ok = self.code == 69 and "smallest share" in self.errors
        self.figures.add("--shares 3", self.errors.strip()[-110:], "refused", ok)
        self.fractune("run", job, "--gpu", "97", "--out", self.out / "gpu-97", "--quiet", check=False)
        self.figures.add("--gpu 97", self.errors.strip()[:110], "refused", self.code == 69 and "97" in self.errors)
        bad = self.out / "too-large.yaml"
        bad.write_text(re.sub(r'sharedMemory: ".*?"', 'sharedMemory: "300000"', job.read_text(), count=1))
        self.fractune("run", bad, "--shares", "100", "--max-trials", "8", "--out", self.out / "too-large", "--quiet", check=False)
        trials = self.trials(self.out / "too-large")
        outcomes = {t["outcome"] for t in trials}
        message = (trials[0].get("message") or "")[:90] if trials else self.errors.strip()[-110:]
        self.figures.add("300,000 bytes of shared memory", message, "refused", outcomes == {"ResourceExceeded"} and "300000" in message)

    def checks(self):
        """Wrong answers in every type, and writes where none may be, are found and named."""
        folder, _ = self.tune(ROOT / "tests" / "gpu" / "checks.yaml", "checks")
        types = "f16 bf16 f32 f64 i8 u8 i16 u16 i32 u32 i64 u64".split()
        words = {k: ("WrongAnswer", f"out_{t}[999]") for k, t in enumerate(types, 1)}
        words |= {0: ("Ok", ""), 13: ("WrongAnswer", "sum[999] is not written"), 14: ("RuntimeError", "writes to the input in_f32")}
        words |= {15: ("RuntimeError", "after the end of sum"), 16: ("RuntimeError", "before the start of sum")}
        trials = self.trials(folder)
        right = 0
        for trial in trials:
            outcome, message = words[trial["configuration"]["fault"]]
            if trial["outcome"] == outcome and message in (trial.get("message") or ""):
                right += 1
            else:
                print(f"    {trial['configuration']}: {trial['outcome']}: {trial.get('message')}", file=sys.stderr)
        self.figures.add("wrong outputs of every type, writes elsewhere", f"{right} of {len(trials)} told as they are", "19", right == len(trials) == 19)

    def faults(self):
        """20 faults in 200 trials: 180 good ones recorded, 20 named."""
        folder, results = self.tune(ROOT / "tests" / "gpu" / "faults.yaml", "faults")
        trials = self.trials(folder)
        good = sum(map(self.good, trials))
        kinds = {1: "RuntimeError", 2: "RunTimeout", 3: "WrongAnswer", 4: "CompileError", 5: "ResourceExceeded"}
        named = sum(t["outcome"] == kinds.get(t["configuration"]["fault"]) for t in trials)
        blamed = [t for t in trials if t["configuration"]["fault"] == 0 and not self.good(t)]
        for trial in blamed[:5] + [t for t in trials if kinds.get(t["configuration"]["fault"], t["outcome"]) != t["outcome"]][:5]:
            print(f"    {trial['configuration']}: {trial['outcome']}: {trial.get('message')}", file=sys.stderr)
        self.figures.add("200 trials with 20 faults", f"{good} good, {named} named as what they are, {results['seconds']:.1f} s", "180, 20", (good, named) == (180, 20))
        elapsed = sorted((t["elapsedMs"], t["configuration"]["fault"]) for t in trials)
        costs = [(b[0] - a[0], b[1]) for a, b in zip(elapsed, elapsed[1:]) if b[1] in kinds]
        worst = max(costs)
        self.figures.add("time that a fault costs, at most", f"{worst[0] / 1000:.2f} s (kind {worst[1]})", "< 2 s", worst[0] < 2000)

    def faults_beside(self):
        """A kernel that fails at 25 % alone, while others are measured at 50 %: nobody else is blamed."""
        folder, _ = self.tune(ROOT / "tests" / "gpu" / "faults-beside.yaml", "faults-beside")
        trials = self.trials(folder)
        blamed = [t for t in trials if t["configuration"]["late"] == 0 and not self.good(t)]
        guilty = [t for t in trials if t["configuration"]["late"] == 1]
        at = lambda trial: {m["share"]: m["outcome"] for m in trial["measurements"]}
        named = sum(at(t) == {25: "RuntimeError", 50: "Ok", 100: "Ok"} for t in guilty)
        for trial in (blamed + [t for t in guilty if at(t)[25] != "RuntimeError"])[:5]:
            print(f"    {trial['configuration']}: {at(trial)}: {trial.get('message')}", file=sys.stderr)
        self.figures.add("faults at 25 % alone, beside others", f"{named} of {len(guilty)} named, {len(blamed)} others blamed", "8, 0", (named, len(blamed)) == (8, 0))

    def server_killed(self):
        """The MPS server is killed in mid-run: the run goes on, and no good trial is lost."""
        folder = self.out / "server-killed"

        def kill(process):
            while process.poll() is None and len(self.lines(folder)) < 30:
                time.sleep(0.02)
            for server in self.descendants(process.pid, "nvidia-cuda-mps-server"):
                os.kill(server, signal.SIGKILL)
                self.killed += 1

        self.killed = 0
        job = self.problem("cuda-sgemm", "square-1024")
        _, results = self.tune(job, "server-killed", "--max-trials", "100", stop=kill)
        trials = self.trials(folder)
        lost = [t for t in trials if not self.good(t)]
        ok = self.killed > 0 and len(trials) == 100 and not lost and len(results["tasks"][0]["shares"]) == 3
        self.figures.add("MPS server killed in mid-run", f"{self.killed} killed, {len(trials)} trials, {len(lost)} blamed", "100, 0 blamed", ok)

    def interrupted(self):
        """Ctrl-C and SIGKILL in mid-run: every process ends, and --resume goes on."""
        job = self.problem("cuda-sgemm", "square-1024")
        for name, number, code in (("SIGINT", signal.SIGINT, 75), ("SIGKILL", signal.SIGKILL, -9)):
            folder = self.out / f"interrupted-{name}"

            def stop(process, folder=folder, number=number):
                while process.poll() is None and len(self.lines(folder)) < 20:
                    time.sleep(0.02)
                process.send_signal(number)

            self.fractune("run", job, "--out", folder, "--quiet", "--max-trials", "200", check=False, stop=stop)
            ended, kept = self.code, len(self.trials(folder))
            started = time.time()
            while self.left() and time.time() - started < 10:
                time.sleep(0.1)
            gone, left = time.time() - started, self.left()
            self.fractune("run", job, "--out", folder, "--quiet", "--resume", "--max-trials", "48")
            total = len(self.trials(folder))
            ok = ended == code and not left and kept >= 20 - 1 and total == max(48, kept)
            self.figures.add(f"{name} in mid-run", f"exit {ended}, {kept} trials kept, processes gone after {gone:.1f} s, {total} after --resume", "all gone, none lost", ok)

    def imports(self):
        """Tuning files of others (T1) become jobs, and tune."""
        for file in [ROOT / "tests" / "data" / "t1" / "scale" / "scale.json", *self.t1]:
            row = f"import of {file.parent.name}/{file.name}"
            try:
                good, trials, results = self.tune_import(file)
            except AssertionError as error:  # the other files are tuned nevertheless
                self.figures.add(row, str(error).split("\n", 1)[-1].strip()[:200], "winners at every share", False)
                continue
            won = all([s["share"] for s in t["shares"]] == SHARES for t in results["tasks"])
            self.figures.add(row, f"{good} of {trials} trials good in {results['seconds']:.1f} s", "winners at every share", won)

    def tune_import(self, file):
        name = f"import-{file.parent.name}-{file.stem}"
        job = self.out / f"{name}.yaml"
        self.fractune("import", file, "--output", job, "--shares", "25,50,100", "--name", "imported")
        folder, results = self.tune(job, name, "--max-trials", "24")
        trials = self.trials(folder)
        return sum(t["outcome"] == "Ok" for t in trials), len(trials), results

    def nothing_left(self):
        """No daemon, server or worker is left of what ran."""
        time.sleep(1)
        left = self.left()
        self.figures.add("processes left", ", ".join(left) or "none", "none", not left)
