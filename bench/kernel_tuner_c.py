"""Tunes exactly the configurations of one of our trial logs with Kernel Tuner's C backend.

Runs in the bench's venv. Same source, same compiler and options, same sizes, in the order of our log;
nothing is verified, and the first configuration is not compiled a second time to warm up: what is left
is Kernel Tuner's own way of compiling and timing. Prints one line of JSON.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time

import numpy
import kernel_tuner

# Kernel Tuner's C backend wraps a source without the words extern "C" in them, which makes it C++, and
# takes the time that the function returns.
WRAPPER = """
/* Not extern "C": this is C. */
extern int clock_gettime(int, long *);
float timed(const float *A, const float *B, float *C, int m, int n, int k)
{
  long start[2], end[2];
  clock_gettime(1, start);
  %s(A, B, C, m, n, k);
  clock_gettime(1, end);
  return (end[0] - start[0]) * 1e3 + (end[1] - start[1]) * 1e-6;
}
"""


class InOrder:
    """A strategy that runs the given configurations in order, and takes the time."""

    def __init__(self, configurations):
        self.configurations = configurations
        self.seconds = 0.0

    def tune(self, searchspace, runner, tuning_options):
        # Its space is every combination, built before this: only our configurations are run.
        runner.warmed_up = True
        start = time.perf_counter()
        results = runner.run(self.configurations, tuning_options)
        self.seconds = time.perf_counter() - start
        return results


def read_configurations(path):
    """The configurations of a trial log, in order: lines without one (the header) are passed over."""
    found = []
    with open(path, encoding="utf-8") as log:
        for line in log:
            try:
                entry = json.loads(line)
            except ValueError:  # a line that a crash cut short
                continue
            if isinstance(entry, dict) and isinstance(entry.get("configuration"), dict):
                found.append(entry["configuration"])
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--source", required=True, help="the kernel's C source")
    arguments.add_argument("--trials", required=True, help="trials.jsonl of a run")
    arguments.add_argument("--options", required=True, help="the compiler's options: a JSON list")
    arguments.add_argument("--entrypoint", default="sgemm")
    arguments.add_argument("--sizes", type=int, nargs=3, metavar=("M", "N", "K"), required=True)
    arguments.add_argument("--iterations", type=int, default=7, help="runs of each; 7 is their default")
    given = arguments.parse_args()

    configurations = read_configurations(given.trials)
    if not configurations:
        sys.exit(f"{given.trials}: no trial in it")
    names = list(configurations[0])
    chosen = list(dict.fromkeys(tuple(c[name] for name in names) for c in configurations))
    parameters = {name: sorted({c[i] for c in chosen}) for i, name in enumerate(names)}

    m, n, k = given.sizes
    random = numpy.random.default_rng(1)
    a, b = (random.uniform(-1, 1, size).astype(numpy.float32) for size in (m * k, k * n))
    c = numpy.zeros(m * n, numpy.float32)
    with open(given.source, encoding="utf-8") as source:
        text = source.read() + WRAPPER % given.entrypoint
    strategy = InOrder(chosen)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        os.chdir(folder)  # it leaves its files where it runs
        with open("kernel.c", "w", encoding="utf-8") as file:
            file.write(text)
        results, _ = kernel_tuner.tune_kernel(
            "timed",
            "kernel.c",
            1,
            [a, b, c, numpy.int32(m), numpy.int32(n), numpy.int32(k)],
            parameters,
            lang="C",
            compiler="cc",
            compiler_options=json.loads(given.options),
            iterations=given.iterations,
            strategy=strategy,
            quiet=True,
        )
        os.chdir("/")
    timed = [r["time"] for r in results if isinstance(r.get("time"), (int, float, numpy.floating))]
    print(
        json.dumps(
            {
                "configurations": len(chosen),
                "timed": len(timed),
                "best_ms": float(min(timed)) if timed else None,
                "seconds": strategy.seconds,
                "seconds_with_start": time.perf_counter() - start,
                "per_second": len(chosen) / strategy.seconds,
                "kernel_tuner": getattr(kernel_tuner, "__version__", "1.5.0"),
            }
        )
    )


if __name__ == "__main__":
    main()
