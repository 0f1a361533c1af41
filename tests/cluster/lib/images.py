"""The images that run in a cluster, built without a registry: pause, the operator's, the agent's.

A base of Debian packages (charts/images/rootfs, kept in the cache by a hash of that script) and a layer with the
program: a changed program makes a new image in about a second.
"""

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import oci
from programs import Unbuildable, cache_folder, say

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOTFS = HERE.parent.parent / "charts" / "images" / "rootfs"
PAUSE = HERE / "images" / "pause.c"
NONROOT = "65532:65532"
PATH = "PATH=/usr/local/bin:/usr/bin:/bin"


class Failed(Exception):
    """An image was not built; the message says why."""


def folder():
    path = cache_folder() / "images"
    path.mkdir(parents=True, exist_ok=True)
    return path


def pause():
    """The archive of the image that holds each pod's namespaces."""
    key = hashlib.sha256(PAUSE.read_bytes()).hexdigest()[:16]
    path = folder() / f"pause-{key}.tar"
    if path.exists():
        return path
    if not shutil.which("cc"):
        raise Unbuildable("cc is not on PATH: the pause image needs it; `make setup` installs it (Debian's gcc and libc6-dev)")
    with tempfile.TemporaryDirectory() as work:
        program = pathlib.Path(work) / "pause"
        subprocess.run(["cc", "-static", "-Os", "-s", "-o", program, PAUSE], check=True)
        build(path, "localhost/pause:1", None, {"pause": program}, {"Entrypoint": ["/pause"], "User": "65535:65535"})
    return path


def base(which):
    """The archive of a base layer, from Debian's packages."""
    suite = suite_of_this_machine()
    key = hashlib.sha256(ROOTFS.read_bytes() + suite.encode()).hexdigest()[:16]
    path = folder() / f"base-{which}-{key}.tar"
    with open(folder() / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path
        if not shutil.which("mmdebstrap"):
            raise Unbuildable("mmdebstrap is not on PATH: images are built with it; `make setup` installs it")
        say(f"building the base of the {which}'s image from Debian's packages: once, then kept in {folder()}")
        partial = path.with_suffix(".partial")
        done = subprocess.run([ROOTFS, which, partial], env={**os.environ, "DEBIAN_SUITE": suite}, check=False)
        if done.returncode != 0:
            raise Failed(f"{ROOTFS} {which} failed; its messages are above")
        partial.rename(path)
    return path


def suite_of_this_machine():
    """The Debian release whose glibc suits programs built here: this machine's own when it is Debian."""
    if os.environ.get("DEBIAN_SUITE"):
        return os.environ["DEBIAN_SUITE"]
    release = pathlib.Path("/etc/os-release")
    fields = dict(line.split("=", 1) for line in release.read_text(encoding="utf-8").splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", "stable") if fields.get("ID") == "debian" else "stable"


def build(path, name, lowest, files, config):
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        top = pathlib.Path(work) / "layer.tar"
        oci.layer(top, files)
        oci.image(path, name, [*([lowest] if lowest else []), top], config)


def arguments(command):
    command.add_argument("--operator", type=pathlib.Path, metavar="PROGRAM", help="the built fractune-operator")
    command.add_argument("--agent", type=pathlib.Path, metavar="PROGRAM", help="the built fractune-agent")
    command.add_argument("--nvrtc", type=pathlib.Path, metavar="DIR", help="the folder of libnvrtc.so, as scripts/nvrtc prints it: the agent's image for GPUs")
    command.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR", help="for operator.tar and agent.tar")
    command.add_argument("--tag", default="test", help="of localhost/fractune/operator and /agent (default test)")


def make(chosen):
    if not chosen.operator and not chosen.agent:
        raise Failed("nothing to build: name a program with --operator or --agent")
    chosen.out.mkdir(parents=True, exist_ok=True)
    for which, program in (("operator", chosen.operator), ("agent", chosen.agent)):
        if program is None:
            continue
        if not program.is_file():
            raise Failed(f"--{which} {program}: no such file; `cargo build` makes it")
        inside = f"usr/bin/fractune-{which}"
        files = {inside: program}
        if which == "agent" and chosen.nvrtc:
            files.update(cuda(chosen.nvrtc))
        config = {"Entrypoint": [f"/{inside}"], "User": NONROOT, "Env": [PATH], "WorkingDir": "/"}
        path = chosen.out / f"{which}.tar"
        build(path, f"localhost/fractune/{which}:{chosen.tag}", base(which), files, config)
        print(path)


def cuda(folder):
    """NVRTC's files, by where they lie in an image."""
    # Beside the library lies another build of it, as large, that nothing loads.
    libraries = sorted(each for each in folder.glob("libnvrtc*.so.*") if ".alt." not in each.name)
    if not libraries:
        raise Failed(f"--nvrtc {folder}: no libnvrtc*.so.* there; scripts/nvrtc prints the folder of one")
    return {f"usr/local/cuda/lib64/{each.name}": each for each in libraries}
