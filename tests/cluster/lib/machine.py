"""What the machine must offer, and its control groups: the one thing of a cluster that lies outside its namespaces."""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys
import time

CGROUPS = pathlib.Path("/sys/fs/cgroup")
PREFIX = "fractune-cluster-"
LOCKS = pathlib.Path("/run/lock")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
WHERE_OFFERED = ("io", "hugetlb")  # a kubelet insists on hugetlb where the root has it
NAMESPACES = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
NEEDED_PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "mount": "mount",
    "sleep": "coreutils",
}


def ip_command():
    """iproute2's `ip`, or busybox, which can do all that is needed."""
    if shutil.which("ip"):
        return ["ip"]
    return ["busybox", "ip"]


def problems():
    """Why no cluster can run here, each with the way out; empty when one can."""
    if sys.platform != "linux":
        return [f"this system is {sys.platform}; a node needs Linux: use a Linux machine or a virtual one"]
    found = []
    if os.geteuid() != 0:
        found.append("not root: mounts, namespaces and control groups need it; run this as root")
    found += [
        f"{program} is not on PATH: install Debian's package {package}"
        for program, package in NEEDED_PROGRAMS.items()
        if not shutil.which(program)
    ]
    if not shutil.which("ip") and not shutil.which("busybox"):
        found.append("neither ip nor busybox is on PATH: install Debian's package iproute2")
    if found:
        return found
    probe = "mount -t tmpfs tmpfs /run && {ip} link set lo up && {ip} link add name probe0 type bridge && {ip} link add name probe1 type veth"
    tried = subprocess.run(
        [*NAMESPACES, "sh", "-c", probe.format(ip=" ".join(ip_command()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode != 0:
        why = tried.stderr.strip() or f"exit status {tried.returncode}"
        found.append(f"namespaces of its own, with mounts, a bridge and a veth pair, are refused ({why}): run this on "
                     "the machine itself, or in a container with --privileged")  # fmt: skip
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text(encoding="utf-8"):
        found.append("the kernel has no overlay file system: `modprobe overlay`")
    found += cgroup_problems()
    return found


def cgroup_problems():
    if unified():
        offered = set((CGROUPS / "cgroup.controllers").read_text(encoding="utf-8").split())
        missing = [c for c in CONTROLLERS if c not in offered]
    else:
        missing = [c for c in CONTROLLERS if not (CGROUPS / c).is_dir()]
    if missing:
        return [f"control groups at {CGROUPS} lack {', '.join(missing)}: boot with them, or mount them"]
    try:
        probe = hierarchies()[0] / f"{PREFIX}probe-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return [f"no control group can be made ({error}): run this on the machine itself, or in a container with --privileged"]
    return []


def unified():
    """True on cgroup v2."""
    return (CGROUPS / "cgroup.controllers").exists()


def hierarchies():
    """The roots that a cluster makes its control groups in: one on v2, one per controller on v1."""
    if unified():
        return [CGROUPS]
    return [d for d in sorted(CGROUPS.iterdir()) if d.is_dir() and not d.is_symlink() and (d / "cgroup.procs").exists()]


def make_cgroups(identity, nodes):
    """A group per node, below one for the cluster. The kubelet wants them to be there, with the CPUs set on v1."""
    for root in hierarchies():
        if unified():
            enable_controllers(root)
        group = root / f"{PREFIX}{identity}"
        for folder in [group, *(group / node for node in nodes)]:
            folder.mkdir()
            if unified():
                enable_controllers(folder)
            elif (root / "cpuset.cpus").exists():
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (folder / name).write_text((folder.parent / name).read_text())


def enable_controllers(folder):
    offered = (folder / "cgroup.controllers").read_text(encoding="utf-8").split()
    enabled = (folder / "cgroup.subtree_control").read_text(encoding="utf-8").split()
    for controller in CONTROLLERS + WHERE_OFFERED:
        if controller in offered and controller not in enabled:
            try:
                (folder / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError as error:
                raise RuntimeError(f"the {controller} controller cannot be enabled in {folder} ({error.strerror}): in a "
                                   "container, move its processes into a group below that one first") from error  # fmt: skip


def remove_cgroups(identity, patience=5.0):
    """Removes the cluster's groups, once its processes are gone. False when something still lives in one."""
    until = time.monotonic() + patience
    left = [root / f"{PREFIX}{identity}" for root in hierarchies()]
    while left:
        left = [group for group in left if not remove_tree(group)]
        if left and time.monotonic() > until:
            return False
        if left:
            time.sleep(0.02)
    return True


def remove_tree(group):
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)  # the files in a group go with it
    except OSError:
        pass
    return not group.exists()


def lock_path(identity):
    return LOCKS / f"{PREFIX}{identity}"


def take_lock(identity):
    """A lock that the cluster's first process holds for as long as it lives. Returns its descriptor."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_path(identity), os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def sweep():
    """Removes the groups of clusters that were killed together with the process that would have done it."""
    for path in LOCKS.glob(f"{PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime < 60:
                continue  # perhaps just made, and not locked yet
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if remove_cgroups(path.name.removeprefix(PREFIX), patience=0.5):
                path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # its cluster lives
        finally:
            os.close(descriptor)


def release(identity):
    """After the end: no group and no lock is left. Says when something is."""
    if remove_cgroups(identity):
        lock_path(identity).unlink(missing_ok=True)
    else:
        print(f"cluster: control groups named {PREFIX}{identity} are still in use; the next start removes them", file=sys.stderr)
