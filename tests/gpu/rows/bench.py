"""What every row needs: running the binary, reading what it left, the table."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
SHARES = [25, 50, 100]
LIMIT = 300  # seconds that any command may take


class Skipped(Exception):
    """A row that cannot be measured here, and why."""


class Figures:
    """Rows of the table: what, measured, target, and whether it was reached (None: nothing to reach)."""

    def __init__(self):
        self.rows = []

    def add(self, name, value, target="", reached=None):
        self.rows.append((name, value, target, reached))
        print(f"  {name}: {value}", file=sys.stderr, flush=True)

    def table(self):
        verdict = {True: "ok", False: "MISSED", None: ""}
        rows = [(n, v, t, verdict[r]) for n, v, t, r in self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths)) + "  " + row[3] for row in rows)

    @property
    def missed(self):
        return any(reached is False for *_, reached in self.rows)


class Busy(threading.Thread):
    """How busy the machine's CPUs were, sampled ten times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.samples, self.ended = [], threading.Event()

    def run(self):
        while not self.ended.wait(0.1):
            fields = [int(x) for x in pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            self.samples.append((time.time(), sum(fields), fields[3] + fields[4]))

    def between(self, start, end):
        inside = [s for s in self.samples if start <= s[0] <= end]
        if len(inside) < 2:
            raise Skipped("the search was too short to see")
        total, idle = (inside[-1][i] - inside[0][i] for i in (1, 2))
        return 1 - idle / total


class Bench:
    def __init__(self, binary, out, quick, recheck, t1):
        self.binary, self.out, self.quick, self.figures = binary, out, quick, Figures()
        self.recheck, self.t1 = recheck, t1

    def fractune(self, *arguments, check=True, stop=None, limit=LIMIT):
        """Runs the binary; its standard output. `stop(process)` may interfere while it runs."""
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen([self.binary, *map(str, arguments)], stdout=subprocess.PIPE, stderr=errors, text=True)
            if stop:
                threading.Thread(target=stop, args=(process,), daemon=True).start()
            try:
                output, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                output, _ = process.communicate(timeout=30)
                raise AssertionError(f"{arguments[:2]}: did not end within {limit} s")
            errors.seek(0)
            self.errors = errors.read()
        if check and process.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, arguments))}: exit {process.returncode}\n{self.errors[-2000:]}")
        self.code = process.returncode
        return output

    def tune(self, job, name, *arguments, stop=None):
        """Tunes a job in a fresh folder: its results."""
        folder = self.out / name
        shutil.rmtree(folder, ignore_errors=True)
        started = time.time()
        output = self.fractune("run", job, "--out", folder, "--json", "--quiet", *arguments, stop=stop)
        results = json.loads(output)
        results["seconds"] = time.time() - started
        return folder, results

    def trials(self, folder):
        """Trials of every task's log, without its header."""
        return [json.loads(line) for log in sorted(folder.glob("*/trials.jsonl")) for line in log.read_text().splitlines()[1:]]

    def problem(self, name, keep):
        """A copy of an example with one of its problems."""
        text = (EXAMPLES / f"{name}.yaml").read_text()
        head, tail = text.split("problems:\n", 1)
        lines = tail.split("\n")
        end = next(i for i, line in enumerate(lines) if not re.match(r"\s*(- \{name:|#)", line))
        kept = [line for line in lines[:end] if f"name: {keep}," in line]
        assert kept, f"{name} has no problem {keep}"
        job = self.out / f"{name}-{keep}.yaml"
        job.write_text(head + "problems:\n" + "\n".join(kept + lines[end:]))
        return job

    def card(self):
        query = "name,driver_version,mig.mode.current,compute_mode"
        try:
            card = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"tests/gpu/run: no NVIDIA GPU here ({error}); nothing was tested")
        self.figures.add("card (driver, MIG, compute mode)", card.stdout.strip().split("\n")[0])
        self.figures.add("CPUs", str(len(os.sched_getaffinity(0))))

    def good(self, trial):
        """Whether nothing is held against a trial at any share."""
        return trial["outcome"] == "Ok" and all(m["outcome"] in ("Ok", "Skipped") for m in trial["measurements"])

    def lines(self, folder):
        return [line for log in folder.glob("*/trials.jsonl") for line in log.read_text().splitlines()]

    def descendants(self, root, name):
        """Processes of this name that the process has started, by whatever way."""
        parents, names = {}, {}
        for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                head, tail = entry.read_text().rsplit(")", 1)
            except OSError:
                continue
            pid, comm = head.split(" (", 1)
            parents[int(pid)], names[int(pid)] = int(tail.split()[1]), comm
        for pid, comm in names.items():
            # The kernel keeps 15 characters.
            if comm == name[:15]:
                above = pid
                while above in parents and above != root:
                    above = parents[above]
                if above == root:
                    yield pid

    def left(self):
        """Processes of ours, or of MPS, that run."""
        left = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            # The program, or the script that a shell runs: not whoever names one in an argument.
            if any(pathlib.Path(word).name.startswith("nvidia-cuda-mps") or word == str(self.binary) for word in words[:2]):
                left.append(" ".join(words)[:60])
        return left
