"""A cluster as the machine sees it: started, asked, entered and ended from outside its namespaces."""

import contextlib
import json
import os
import pathlib
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

import credentials
import layout as names
import machine
from processes import tail
from programs import say

STAY = b"stay"  # what the lifeline says when it is closed on purpose
ORDERLY = 20.0  # how long a cluster may take to end by itself, in seconds
SUPERVISOR = pathlib.Path(__file__).with_name("supervisor.py")


class Failed(Exception):
    """What was asked of a cluster did not happen; the message says why."""


class Running:
    """A cluster that this process started."""

    def __init__(self, layout, process, lifeline):
        self.layout = layout
        self.process = process  # unshare, which lives as long as the cluster
        self.lifeline = lifeline  # closing it ends the cluster

    def release(self):
        """From here on it lives until `down`."""
        os.write(self.lifeline, STAY)
        os.close(self.lifeline)

    def end(self, keep_logs=False):
        os.close(self.lifeline)
        first = children(self.process.pid)
        try:
            self.process.wait(ORDERLY)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        while any(lives(*each) for each in first):
            time.sleep(0.02)
        remove(self.layout, keep_logs)


def up(folder, programs, options):
    """Starts a cluster and waits until it is ready. Unless it is released, it ends with this process."""
    layout = prepare(folder)
    machine.sweep()
    programs.build()
    layout.bin.mkdir()
    for tool in filter(lambda tool: programs.path(tool).exists(), ("kubectl", "helm")):
        (layout.bin / tool).symlink_to(programs.path(tool))
    identity = secrets.token_hex(4)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    lock = machine.take_lock(identity)
    report_in, report_out = os.pipe()
    lifeline_in, lifeline_out = os.pipe()
    options = {
        **options,
        "dir": str(layout.dir),
        "identity": identity,
        "report": report_out,
        "lifeline": lifeline_in,
        "listener": listener.fileno(),
    }
    handed = [report_out, lifeline_in, listener.fileno(), lock]
    with open(layout.logs / "supervisor.log", "wb") as log:
        process = subprocess.Popen(
            [*machine.NAMESPACES, sys.executable, "-B", str(SUPERVISOR), json.dumps(options)],
            pass_fds=handed, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    running = Running(layout, process, lifeline_out)
    try:
        # Each process with its start time, which tells it from a later one with the same number.
        state = {
            "identity": identity,
            "unshare": [process.pid, start_time(process.pid)],
            "kubernetes": programs.version,
            "nodes": options["nodes"],
        }
        layout.write_state(state)
        port = listener.getsockname()[1]
        listener.close()
        for descriptor in (report_out, lifeline_in, lock):
            os.close(descriptor)
        await_report(layout, report_in)
        layout.write_state({**state, "first": children(process.pid)[0]})
        credentials.write_kubeconfig(layout, layout.outside, "admin", f"https://127.0.0.1:{port}")
    except BaseException:
        running.end(keep_logs=True)
        raise
    return running


def prepare(folder):
    """An empty folder for a cluster, or one that an earlier cluster, now dead, left."""
    layout = names.Layout(pathlib.Path(folder).absolute())
    if layout.marker.exists():
        if alive(layout.state()):
            raise Failed(f"{folder}: a cluster runs there already; end it with `cluster down --dir {folder}`")
        remove(layout)
    elif layout.dir.exists() and any(layout.dir.iterdir()):
        raise Failed(f"{folder}: not empty, and not a cluster's: name an empty or a new folder")
    layout.logs.mkdir(parents=True)
    layout.marker.write_text("{}\n", encoding="utf-8")
    return layout


def await_report(layout, descriptor):
    with os.fdopen(descriptor) as report:
        text = report.readline()  # not to the end: the first processes hold the other side, too
    if not text:
        raise Failed(f"the cluster ended while it started:\n{tail(layout.logs / 'supervisor.log')}")
    answer = json.loads(text)
    if "error" in answer:
        raise Failed(answer["error"])


def hold(running):
    """Waits until stdin is closed or the cluster ends by itself. False in the second case."""
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            readable, _, _ = select.select([sys.stdin], [], [], 1.0)
            if readable and not os.read(sys.stdin.fileno(), 4096):
                return True
            if running.process.poll() is not None:
                return False
    return True


def ask(folder, **request):
    """Sends a request to the supervisor and returns its answer."""
    layout = opened(folder)
    there = os.open(".", os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        os.chdir(layout.dir)  # a socket's path may have 107 bytes only
        try:
            connection.connect(layout.control.name)
        except OSError as error:
            raise Failed(f"{folder}: its cluster does not answer ({error})") from error
        finally:
            os.fchdir(there)
            os.close(there)
        with connection.makefile("rw", encoding="utf-8") as stream:
            stream.write(json.dumps(request) + "\n")
            stream.flush()
            line = stream.readline()
    answer = json.loads(line or '{"error": "the cluster ended before it answered"}')
    if "error" in answer:
        raise Failed(answer["error"])
    return answer


def down(folder, keep_logs):
    layout = names.Layout(pathlib.Path(folder).absolute())
    if not layout.marker.exists():
        raise Failed(f"{folder}: no cluster's folder")
    state = layout.state()
    if alive(state):
        with contextlib.suppress(Failed):
            ask(folder, request="down")
        until = time.monotonic() + ORDERLY
        while alive(state) and time.monotonic() < until:
            time.sleep(0.02)
        while left := alive(state):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    remove(layout, keep_logs)


def opened(folder):
    layout = names.Layout(pathlib.Path(folder).absolute())
    if not layout.marker.exists() or not alive(layout.state()):
        raise Failed(f"{folder}: no cluster runs there; `cluster up --dir {folder}` starts one")
    return layout


def command_inside(folder, command, node=None):
    """COMMAND as it is run in the cluster's network (or in a node's namespaces), and its environment."""
    layout = opened(folder)
    process = layout.state()["first"][0]
    if node is not None:
        # Every process of a node's own shares its namespaces; the holder is the one that only sleeps.
        state = next((c for c in ask(folder, request="status")["nodes"] if c["node"] == node), None)
        if state is None:
            raise Failed(f"node {node}: the cluster has {layout.state()['nodes']}")
        enter = ["nsenter", "-t", str(process), "-m", "-p", "--", "nsenter", "-t", str(state["holder"]), "-n", "-m", "--"]
    else:
        enter = ["nsenter", "-t", str(process), "-n", "--"]
    return enter + list(command), environment(layout, layout.kubeconfig("admin"))


def environment(layout, kubeconfig):
    return {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "PATH": f"{layout.bin}:{os.environ.get('PATH', '')}",
        "FRACTUNE_CLUSTER": str(layout.dir),
    }


def children(pid):
    """A process's children, each with its start time."""
    with contextlib.suppress(OSError):
        found = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
        return [[int(child), start_time(int(child))] for child in found]
    return []


def start_time(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError):
        return None


def alive(state):
    """The cluster's processes that live, of the two that all others end with."""
    return [state[which][0] for which in ("unshare", "first") if which in state and lives(*state[which])]


def lives(pid, started):
    if start_time(pid) != started:
        return False
    with contextlib.suppress(OSError):
        # One that has ended and is not yet waited for does not live.
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    return False


def remove(layout, keep_logs=False):
    """Removes what a dead cluster left: its folder, and control groups that its first process could not remove."""
    with contextlib.suppress(OSError, ValueError):
        identity = layout.state().get("identity")
        if identity and machine.lock_path(identity).exists():
            machine.release(identity)
    if not keep_logs:
        shutil.rmtree(layout.dir)
        return
    for entry in layout.dir.iterdir():
        if entry == layout.logs:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != layout.marker:
            entry.unlink()
    say(f"its logs are in {layout.logs}")
