"""What the tests need that is not in the repository: made or fetched once, kept in a cache.

Each function returns a path, or raises Unavailable with the reason, which is then the reason of the tests it skips.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent.parent
# Definitions of those that we write objects for, from the modules that they publish: (module, version, files).
DEFINITIONS = (
    ("github.com/prometheus-operator/prometheus-operator", "v0.88.0", (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    )),
    ("github.com/fluxcd/kustomize-controller", "v1.9.6", ("config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",)),
    ("github.com/argoproj/argo-cd/v3", "v3.2.12", ("manifests/crds/application-crd.yaml",)),
)  # fmt: skip


class Unavailable(Exception):
    """It cannot be had here; the message says why."""


def cache():
    chosen = os.environ.get("FRACTUNE_ECOSYSTEM_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(chosen or pathlib.Path(base) / "fractune" / "ecosystem").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prometheus():
    """The folder of prometheus and promtool: the machine's own, or Debian's package, unpacked and not installed."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return pathlib.Path(shutil.which("promtool")).parent
    folder = cache() / "prometheus"
    if not (folder / "usr/bin/promtool").exists():
        if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
            raise Unavailable("prometheus and promtool are not on PATH, and this is no Debian that has a package of them")
        say("fetching Debian's package prometheus: once")
        with tempfile.TemporaryDirectory() as work:
            download = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "prometheus"]
            done = subprocess.run(download, cwd=work, capture_output=True, text=True, check=False)
            packages = list(pathlib.Path(work).glob("prometheus_*.deb"))
            if done.returncode != 0 or not packages:
                raise Unavailable(f"Debian's package prometheus cannot be fetched: {last_line(done)}")
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            subprocess.run(["dpkg-deb", "-x", packages[0], partial], check=True)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    return folder / "usr/bin"


def judge(which):
    """A program that judges objects by the code of `argocd` or `flux` (judges/)."""
    sources = HERE / "judges" / which
    digest = hashlib.sha256()
    for file in sorted(sources.iterdir()):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    program = cache() / f"judge-{which}-{digest.hexdigest()[:16]}"
    if not program.exists():
        need_go()
        say(f"building the judge of {which} from its Go modules: once, some minutes")
        partial = program.with_suffix(".partial")
        build = ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-p", str(os.cpu_count() or 1), "-o", partial, "."]
        done = subprocess.run(build, cwd=sources, env={**os.environ, "CGO_ENABLED": "0"}, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"the judge of {which} cannot be built: {last_line(done)}")
        partial.rename(program)
    return program


def definitions():
    """Files with the definitions of ServiceMonitor, PrometheusRule, Kustomization and Application."""
    found = []
    for module, version, files in DEFINITIONS:
        folder = cache() / f"{module.replace('/', '_')}@{version}"
        wanted = [folder / pathlib.Path(file).name for file in files]
        if not all(file.exists() for file in wanted):
            fetch_definitions(module, version, files, folder)
        found += wanted
    return found


def fetch_definitions(module, version, files, folder):
    need_go()
    say(f"fetching the definitions of {module} {version}: once")
    with tempfile.TemporaryDirectory() as work:
        command = ["go", "mod", "download", "-json", f"{module}@{version}"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Unavailable(f"module {module} cannot be fetched: {last_line(done)}")
        source = pathlib.Path(json.loads(done.stdout)["Dir"])
        folder.mkdir(exist_ok=True)
        for file in files:
            shutil.copyfile(source / file, folder / pathlib.Path(file).name)


def need_go():
    if not shutil.which("go"):
        raise Unavailable("go is not on PATH, and it is not in the cache")


def last_line(done):
    lines = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"


def say(message):
    print(f"ecosystem: {message}", file=sys.stderr, flush=True)
