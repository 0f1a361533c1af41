"""What the real Kernel Tuner makes of a file; prints one line of JSON.

  with_kernel_tuner.py space T1.json          the space that it builds from a tuning file
  with_kernel_tuner.py simulate CACHEFILE     its brute force over a cachefile, in simulation mode
  with_kernel_tuner.py reopen CACHEFILE       opens a cachefile to go on with it, and adds an entry
  with_kernel_tuner.py t4 RESULTS             validates results against its schema
"""

import json
import pathlib
import sys

import jsonschema
from kernel_tuner import file_utils, tune_cache, util
from kernel_tuner.searchspace import Searchspace


def space(path):
    # The conversion is that of kernel_tuner.interface.tune_kernel_T1, which needs a device.
    problem = file_utils.get_input_file(pathlib.Path(path))
    configuration_space = problem["ConfigurationSpace"]
    parameters = {p["Name"]: list(eval(p["Values"])) for p in configuration_space["TuningParameters"]}
    restrictions = [condition["Expression"] for condition in configuration_space["Conditions"]]
    return {"size": Searchspace(parameters, restrictions, max_threads=1024).size}


def simulate(path):
    results, environment = tune_cache(path, strategy="brute_force", quiet=True)
    best = util.get_best_config(results, "time", False)
    cache = util.read_cache(path, open_cache=False)
    failures = [e["__error__"].__class__.__name__ for e in cache["cache"].values() if "__error__" in e]
    keys = cache["tune_params_keys"]
    return {
        "device": environment["device_name"],
        "results": len(results),
        "entries": len(cache["cache"]),
        "failures": sorted(failures),
        "best": {key: best[key] for key in keys},
        "best_time": best["time"],
    }


def reopen(path):
    cache = util.read_cache(path, open_cache=True)
    key, entry = next(iter(cache["cache"].items()))
    entries = dict(cache["cache"])
    util.store_cache("another", {**entry, "__error__": util.InvalidConfig()}, path, entries)
    util.close_cache(path)
    again = util.read_cache(path, open_cache=False)
    return {"before": len(cache["cache"]), "after": len(again["cache"]), "kept": again["cache"][key] == entry}


def t4(path):
    results = json.loads(pathlib.Path(path).read_text())
    version, schema = file_utils.output_file_schema("results")
    jsonschema.validate(results, schema)
    invalidity = [result["invalidity"] for result in results["results"]]
    return {"version": version, "schema_version": results["schema_version"], "invalidity": invalidity}


if __name__ == "__main__":
    command, file = sys.argv[1:]
    print(json.dumps({"space": space, "simulate": simulate, "reopen": reopen, "t4": t4}[command](file)))
