"""The cluster's programs: built once from Go modules, kept outside the repository, found by name.

Each folder in modules/ is one Go module. Its programs lie in the cache under a hash of the files that decide
what is built, so that a change of version builds anew, and any checkout with the same versions finds them.
"""

import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

MODULES = pathlib.Path(__file__).resolve().parent.parent / "modules"
KUBERNETES_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
# What `--kubernetes` may say, and the module file that holds that version.
KUBERNETES = {"newest": "go.mod", "oldest": "oldest.mod"}


class Unbuildable(Exception):
    """A program cannot be built here; the message says what is missing."""


@dataclasses.dataclass(frozen=True)
class Module:
    folder: str
    gives: tuple
    package: str = "tool"  # Go's name for what the module's `tool` lines name
    modfile: str = "go.mod"
    cgo: bool = False
    tags: str = ""
    links: tuple = ()  # further names of gives[0]
    renames: tuple = ()  # (what Go calls it, what it is)

    @property
    def files(self):
        stem = self.modfile.removesuffix(".mod")
        sources = sorted((MODULES / self.folder).glob("*.go"))
        return [MODULES / self.folder / f"{stem}.mod", MODULES / self.folder / f"{stem}.sum", *sources]

    @property
    def ldflags(self):
        flags = "-s -w"
        if self.folder == "kubernetes":  # it reports v0.0.0 unless told
            flags += f" -X k8s.io/component-base/version.gitVersion={kubernetes_version(self.modfile)}"
        return flags

    @property
    def key(self):
        digest = hashlib.sha256(f"{self.package} {self.cgo} {self.tags} {self.ldflags} {self.links} {self.renames}".encode())
        for file in self.files:
            if file.exists():  # a module without dependencies has no go.sum
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
        return f"{self.folder}-{digest.hexdigest()[:16]}"


def modules(kubernetes="newest"):
    """All modules, those that build fastest first: what is missing on the machine then shows early."""
    return [
        Module("certs", ("certs",), package="."),
        Module("runc", ("runc",), cgo=True, tags="seccomp"),
        Module(
            "node",
            ("containerd", "containerd-shim-runc-v2", "ctr", "etcd", "bridge", "host-local", "loopback"),
            renames=(("server", "etcd"),),
        ),
        Module("helm", ("helm",)),
        Module("kubernetes", ("kubernetes",), package=".", modfile=KUBERNETES[kubernetes], links=KUBERNETES_COMMANDS),
    ]


def kubernetes_version(modfile="go.mod"):
    text = (MODULES / "kubernetes" / modfile).read_text()
    return re.search(r"^(?:require |\t)k8s\.io/kubernetes (v\S+)", text, re.M).group(1)


def cache_folder():
    chosen = os.environ.get("FRACTUNE_CLUSTER_CACHE")
    if chosen:
        return pathlib.Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base).absolute() / "fractune" / "cluster"


class Programs:
    """Where each program lies in the cache."""

    def __init__(self, kubernetes="newest"):
        self.cache = cache_folder()
        self.modules = modules(kubernetes)
        self.version = kubernetes_version(KUBERNETES[kubernetes])
        self.folders = {name: self.cache / m.key for m in self.modules for name in (*m.gives, *m.links)}

    def path(self, name):
        return self.folders[name] / name

    def missing(self):
        return [m for m in self.modules if not (self.cache / m.key).is_dir()]

    def build(self):
        """Builds what is not in the cache. Two processes never build at once: the second finds the first one's work."""
        missing = self.missing()
        if not shutil.which("go") and [module.folder for module in missing] == ["helm"]:
            say("helm is not in the cache and go is not on PATH: going on without helm")
            return
        if not missing:
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        with open(self.cache / "lock", "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("another process is building the cluster's programs: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            for module in self.missing():
                build_module(module, self.cache)


def build_module(module, cache):
    if not shutil.which("go"):
        raise Unbuildable("go is not on PATH: install Go 1.26.6 or later (go.dev/dl); `make setup` says what else is needed")
    if module.cgo and subprocess.run(["pkg-config", "--exists", "libseccomp"], check=False).returncode != 0:
        raise Unbuildable("runc needs libseccomp's headers and pkg-config: `make setup` installs them (libseccomp-dev)")
    say(f"building {module.folder} ({', '.join(module.links or module.gives)}): once, then kept in {cache}")
    started = time.monotonic()
    for stale in cache.glob(".building-*"):  # we hold the lock: nobody is at work in it
        shutil.rmtree(stale, ignore_errors=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
    try:
        command = ["go", "build", f"-modfile={module.modfile}", "-trimpath", "-buildvcs=false", f"-ldflags={module.ldflags}"]
        command += [f"-tags={module.tags}"] if module.tags else []
        # Every thread of a link of this size takes gigabytes: as many packages at once as there are cores, not more.
        command += ["-p", str(os.cpu_count() or 1), "-o", f"{work}/", module.package]
        environment = {**os.environ, "CGO_ENABLED": "1" if module.cgo else "0"}
        if subprocess.run(command, cwd=MODULES / module.folder, env=environment, check=False).returncode != 0:
            raise Unbuildable(f"`{' '.join(command)}` failed in {MODULES / module.folder}: its messages are above")
        for built, name in module.renames:
            (work / built).rename(work / name)
        for name in module.links:
            (work / name).symlink_to(module.gives[0])
        for name in module.gives:
            if not os.access(work / name, os.X_OK):
                raise Unbuildable(f"{module.folder}: go built no program named {name}")
        work.chmod(0o755)
        work.rename(cache / module.key)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say(f"built {module.folder} in {time.monotonic() - started:.0f} s")


def say(message):
    print(f"cluster: {message}", file=sys.stderr, flush=True)
