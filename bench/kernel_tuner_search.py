"""Replays recorded spaces with Kernel Tuner's own strategies. Runs in the bench's venv; prints CSV lines.

  kernel_tuner_search.py --spaces DIR --out FILE [--strategies A,B] [--seeds N] [--budget N]

Every strategy runs with its own defaults on Kernel Tuner's simulation runner: the space is what the file
holds, configurations that failed included, and only configurations that were not asked before count. One
line per space, strategy, seed and trial count: the fastest time so far over the fastest recorded, inverted.
"""

import argparse
import contextlib
import csv
import glob
import gzip
import io
import json
import os
import random
import sys
import time

import numpy
from kernel_tuner import util
from kernel_tuner.interface import Options, strategy_map
from kernel_tuner.runners.simulation import SimulationRunner
from kernel_tuner.searchspace import Searchspace

STRATEGIES = ["random_sample", "hybrid_vndx", "genetic_algorithm", "greedy_ils", "adaptive_tabu_greywolf",
              "diff_evo", "simulated_annealing", "pso"]
COUNTS = [25, 50, 100, 200, 400]


class Counted(dict):
    """A cache that notes which entries were looked at, in order."""

    def __init__(self, entries):
        super().__init__(entries)
        self.asked = {}

    def __getitem__(self, key):
        self.asked.setdefault(key)
        return super().__getitem__(key)


def load(path):
    """The parameters and cache of a cachefile, without what the strategies never look at."""
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8") as file:
        recorded = json.load(file)
    if "cache" not in recorded:
        return None
    names = recorded["tune_params_keys"]
    cache = {}
    for entry in recorded["cache"].values():
        result = {name: entry[name] for name in names}
        if isinstance(entry.get("time"), (int, float)) and entry["time"] < 1e15:
            result["time"] = float(entry["time"])
        else:
            result["__error__"] = util.RuntimeFailedConfig()
        cache[",".join(str(entry[name]) for name in names)] = result
    return {name: recorded["tune_params"][name] for name in names}, cache


def replay(name, space, cache, seed, budget):
    """The times of one run in the order in which they were asked for; none where it failed."""
    random.seed(seed)
    numpy.random.seed(seed)
    counted = Counted(cache)
    options = Options(strategy_options=Options(max_fevals=budget), objective=["time"],
                      objective_higher_is_better=[False], verbose=False, metrics=None, cache=counted,
                      tune_params=space.tune_params, restrictions=space._modified_restrictions,
                      simulated_time=0)
    options["budget"] = util.TuningBudget(None, min(budget, space.size))
    runner = SimulationRunner(None, Options(kernel_name=""), Options(quiet=True), 1, None)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(util.StopCriterionReached):
        strategy_map[name].tune(space, runner, options)
    return [cache[key].get("time") for key in counted.asked]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--spaces", required=True)
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--strategies", default=",".join(STRATEGIES))
    arguments.add_argument("--seeds", type=int, default=30)
    arguments.add_argument("--first-seed", type=int, default=0)
    arguments.add_argument("--budget", type=int, default=400)
    given = arguments.parse_args()

    files = sorted(glob.glob(os.path.join(given.spaces, "*.json")) +
                   glob.glob(os.path.join(given.spaces, "*.json.gz")))
    with open(given.out, "w", encoding="utf-8", newline="") as out:
        write = csv.writer(out).writerow
        write(["space", "strategy", "seed", "trials", "fraction"])
        for path in files:
            loaded = load(path)
            if loaded is None:
                print(f"{path}: no cachefile, left out", file=sys.stderr)
                continue
            parameters, cache = loaded
            entries = {key: {name: entry[name] for name in parameters} for key, entry in cache.items()}
            space = Searchspace(None, None, None, from_cache={"tune_params": parameters, "cache": entries})
            optimum = min(result["time"] for result in cache.values() if "time" in result)
            label = os.path.basename(path).split(".json")[0]
            for strategy in given.strategies.split(","):
                start = time.perf_counter()
                for seed in range(given.first_seed, given.first_seed + given.seeds):
                    times = replay(strategy, space, cache, seed, given.budget)
                    for count in COUNTS:
                        known = [t for t in times[:count] if t is not None]
                        write([label, strategy, seed, count, f"{optimum / min(known) if known else 0:.6f}"])
                out.flush()
                took = time.perf_counter() - start
                print(f"{label} {strategy}: {took:.1f} s, {len(times)} trials in the last", file=sys.stderr)


if __name__ == "__main__":
    main()
