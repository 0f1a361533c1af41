#!/usr/bin/env python3
"""Has Kernel Tuner measure configurations of examples/cuda-sgemm.yaml, at 1024 x 1024 x 1024.

    kernel_tuner.py CONFIGURATIONS [JOB]

CONFIGURATIONS holds one JSON object a line, {"block_m": 64, ...}; `-` is standard input. JOB is the
example's file. Kernel Tuner compiles and times every one of them, as it does by default (seven
iterations, no verification), by its CUDA backend for CuPy.

Prints one JSON object: {configurations, failed, seconds, per_second, best_time_ns}. `configurations`
counts all, `failed` those without a time. Prints {"skipped": "why"} where a package or a GPU is missing.
"""

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time

SIZE = 1024
JOB = pathlib.Path(__file__).resolve().parents[3] / "examples" / "cuda-sgemm.yaml"


def skip(why):
    print(json.dumps({"skipped": why}))
    sys.exit(0)


def threads(c):
    """Of a block, as the job's launch has it."""
    return c["block_m"] // c["thread_m"] * (c["block_n"] // c["thread_n"])


def shared_memory(c):
    """Bytes, as the job's launch has it."""
    return c["stages"] * c["block_k"] * (c["block_m"] + 4 + c["block_n"]) * 4


def allow_shared_memory():
    """Lets CuPy's kernels have more than 48 KiB of shared memory, which Kernel Tuner does not ask for."""
    from kernel_tuner.backends.cupy import CupyFunctions

    set_size = CupyFunctions.copy_shared_memory_args

    def set_size_and_limit(self, arguments):
        set_size(self, arguments)
        if self.smem_size > 48 * 1024:
            self.func.max_dynamic_shared_size_bytes = self.smem_size

    CupyFunctions.copy_shared_memory_args = set_size_and_limit


def tune(configurations, kernel):
    """Times of all configurations in milliseconds (None where one failed), and the seconds it took."""
    import kernel_tuner
    import numpy
    from constraint import FunctionConstraint

    random = numpy.random.default_rng(1)
    a, b = (random.uniform(-1, 1, SIZE * SIZE).astype(numpy.float32) for _ in range(2))
    c = numpy.zeros(SIZE * SIZE, numpy.float32)
    size = numpy.int32(SIZE)
    # One parameter stands for a whole configuration, so that exactly these are run. The block's size has
    # to be a parameter too; it follows from the configuration.
    sizes = [threads(c) for c in configurations]
    parameters = {"configuration": list(range(len(configurations))), "block_size_x": sorted(set(sizes))}

    def fits(configuration, block_size_x):
        return block_size_x == sizes[configuration]

    def chosen(p):
        return configurations[int(p["configuration"])]

    def macro(name):
        return lambda p: str(chosen(p)[name])

    begin = time.perf_counter()
    results, _ = kernel_tuner.tune_kernel(
        kernel["entrypoint"],
        kernel["source"]["inline"],
        lambda p: (SIZE // chosen(p)["block_m"]) * (SIZE // chosen(p)["block_n"]),
        [a, b, c, size, size, size],
        parameters,
        grid_div_x=[],
        restrictions=[FunctionConstraint(fits)],
        smem_args={"size": lambda p: shared_memory(chosen(p))},
        defines={name: macro(name) for name in configurations[0]},
        compiler_options=["--std=c++17"],
        lang="CUPY",
        quiet=True,
    )
    seconds = time.perf_counter() - begin
    times = [r["time"] if isinstance(r.get("time"), (int, float)) else None for r in results]
    return times, seconds


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        import cupy
        import kernel_tuner  # noqa: F401
        import yaml
    except ImportError as error:
        skip(f"a package is not installed: {error}")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        skip(f"CuPy finds no GPU: {error}")
    allow_shared_memory()
    text = sys.stdin.read() if sys.argv[1] == "-" else pathlib.Path(sys.argv[1]).read_text()
    configurations = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not configurations:
        sys.exit(f"{sys.argv[1]} holds no configuration; write one JSON object a line")
    job = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else JOB
    kernel = yaml.safe_load(job.read_text())["spec"]["kernels"][0]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CUPY_CACHE_DIR"] = cache  # nothing compiled by an earlier run counts
        with contextlib.redirect_stdout(sys.stderr):
            times, seconds = tune(configurations, kernel)
    good = [t for t in times if t is not None]
    print(
        json.dumps(
            {
                "configurations": len(configurations),
                "failed": len(configurations) - len(good),
                "seconds": round(seconds, 3),
                "per_second": round(len(configurations) / seconds, 3),
                "best_time_ns": round(min(good) * 1e6) if good else None,
            }
        )
    )


if __name__ == "__main__":
    # This file bears the package's name: its folder must not be searched first.
    sys.path = [p for p in sys.path if pathlib.Path(p or ".").resolve() != pathlib.Path(__file__).resolve().parent]
    main()
