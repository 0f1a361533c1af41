"""Inside the namespaces: the first process, which cleans up, and the one that starts and serves the cluster.

The first process of a process namespace takes all others with it, and outlives none. So it does little: it waits for
the supervisor, its child, ends whatever is left, and removes the control groups.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

import components
import credentials
import layout as names
import machine
import network
from processes import Component, NeverReady, tail
from programs import Programs

PATIENCE = 120.0  # for one component, on a busy machine


def first_process(options):
    """Runs as process 1 of the new namespace. Never returns."""
    supervisor = os.fork()
    if supervisor == 0:
        code = 1
        try:
            code = Supervisor(options).run()
        except BaseException:  # noqa: BLE001  nothing may escape into the parent's code
            traceback.print_exc()
        finally:
            os._exit(code)
    while os.wait()[0] != supervisor:
        pass
    try:
        os.kill(-1, signal.SIGKILL)
        while True:
            os.wait()
    except (ProcessLookupError, ChildProcessError):
        pass
    machine.release(options["identity"])
    os._exit(0)


class Supervisor:
    def __init__(self, options):
        self.options = options
        self.layout = names.Layout(pathlib.Path(options["dir"]))
        self.programs = Programs(options["kubernetes"])
        self.nodes = names.nodes(options["nodes"])
        self.holders = {}
        self.components = {}
        self.ended = threading.Event()

    def run(self):
        threading.Thread(target=self.watch_lifeline, daemon=True).start()
        with os.fdopen(self.options["report"], "w") as report:
            try:
                self.boot()
            except (NeverReady, RuntimeError, OSError, subprocess.CalledProcessError) as error:
                report.write(json.dumps({"error": str(error)}) + "\n")
                return 1
            report.write(json.dumps({"ready": True}) + "\n")
        self.ended.wait()
        return 0

    def watch_lifeline(self):
        """Ends with the process that started this, however that ends, unless it said that the cluster stays."""
        if not os.read(self.options["lifeline"], 16):
            os._exit(0)  # in the middle of a start, too

    def boot(self):
        started = time.monotonic()
        self.timings = {}

        def mark(what):
            self.timings[what] = round(time.monotonic() - started, 2)

        machine.make_cgroups(self.options["identity"], [node.name for node in self.nodes])
        network.connect_control_plane()
        credentials.write(self.layout, self.programs, self.nodes)
        self.api = credentials.Api(self.layout)
        for name, command in components.control_plane(self.layout, self.programs):
            self.add(name, command + self.options["flags"].get(name, []), self.probe(name))
        self.start("etcd")
        mark("etcd")
        self.component("apiserver").start()
        self.spread(self.start_containerd)  # while the API server starts
        mark("containerd")
        self.component("apiserver").await_ready(PATIENCE, most_ends=0)
        mark("apiserver")
        for name in ("controller-manager", "scheduler"):
            self.component(name).start()
        for node in self.nodes:
            self.component("kubelet", node).start()
        for node in self.nodes:
            self.component("kubelet", node).await_ready(PATIENCE, most_ends=0)
        mark("nodes")
        for name in ("controller-manager", "scheduler"):
            self.component(name).await_ready(PATIENCE, most_ends=0)
        wait_for(self.api.has_default_service_account, "the service account `default`", self.component("controller-manager").log)
        self.start_forward()
        self.listen()
        mark("ready")

    def probe(self, name):
        return {
            "etcd": lambda: answers(2379),
            "apiserver": self.api.ready,
            "controller-manager": lambda: answers(10257),
            "scheduler": lambda: answers(10259),
        }[name]

    def add(self, name, command, ready, environment=None):
        self.components[name] = Component(name, command, self.layout.logs / f"{name}.log", ready, environment)

    def component(self, name, node=None):
        name = f"{name}-{node.number}" if node else name
        return self.components[name]

    def start(self, name, node=None):
        component = self.component(name, node)
        component.start()
        component.await_ready(PATIENCE, most_ends=0)

    def spread(self, work):
        """Does WORK for all nodes at once."""
        failures = []

        def guarded(node):
            try:
                work(node)
            except (NeverReady, RuntimeError, OSError, subprocess.CalledProcessError) as error:
                failures.append(f"{node.name}: {error}")

        threads = [threading.Thread(target=guarded, args=(node,)) for node in self.nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise NeverReady("\n".join(failures))

    def start_containerd(self, node):
        identity = self.options["identity"]
        snapshotter = "native" if on_overlay(self.layout.dir) else "overlayfs"
        script = components.write_node(self.layout, self.programs, identity, node, snapshotter)
        holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", '. "$0"; exec sleep infinity', script],
            stdin=subprocess.DEVNULL, stdout=open(self.layout.logs / f"mounts-{node.number}.log", "wb"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.holders[node.number] = holder.pid
        log = self.layout.logs / f"mounts-{node.number}.log"
        wait_for(lambda: program_of(holder.pid) == "sleep" or holder.poll() is not None, f"the mounts of {node.name}", log)
        if holder.poll() is not None:
            raise NeverReady(f"the mounts of {node.name} failed:\n{tail(log)}")
        network.connect_node(node, holder.pid)
        enter = ["nsenter", "-t", holder.pid, "-n", "-m", "--"]
        path = components.inside(self.programs, "containerd").parent
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
        name = f"containerd-{node.number}"
        self.add(name, enter + components.containerd(node, self.programs), lambda: self.containerd_answers(node), environment)
        self.start("containerd", node)
        kubelet = enter + components.kubelet(node, self.programs) + self.options["flags"].get("kubelet", [])
        self.add(f"kubelet-{node.number}", kubelet, lambda: self.node_serves(node), environment)
        for image in self.options["images"]:
            self.load(node, image)

    def ctr(self, node, *arguments):
        command = [components.inside(self.programs, "ctr"), "-a", components.CONTAINERD, "-n", "k8s.io", *arguments]
        enter = ["nsenter", "-t", str(self.holders[node.number]), "-n", "-m", "--"]
        return subprocess.run([*enter, *map(str, command)], capture_output=True, text=True, check=False)

    def containerd_answers(self, node):
        return self.ctr(node, "version").returncode == 0

    def node_serves(self, node):
        # The API server believes in a node for a while after its kubelet is gone: ask the kubelet's port, too.
        return self.api.node_ready(node.name) and answers(10250, node.address)

    def load(self, node, image):
        # By way of the cluster's folder: the image's own may lie beneath a node's /run or /var.
        staged = self.layout.dir / node.name / f"image-{threading.get_ident()}.tar"
        try:
            os.link(image, staged)
        except OSError:  # it lies in another file system
            shutil.copyfile(image, staged)
        try:
            done = self.ctr(node, "images", "import", "--local", components.INSIDE / node.name / staged.name)
            if done.returncode != 0:
                raise RuntimeError(f"{image}: not imported as an image: {done.stderr.strip()}")
        finally:
            staged.unlink()

    def start_forward(self):
        listener = self.options["listener"]
        forward = pathlib.Path(__file__).with_name("forward.py")
        log = open(self.layout.logs / "forward.log", "wb")
        subprocess.Popen(
            [sys.executable, "-B", str(forward), str(listener), names.API_SERVICE, "443"],
            pass_fds=[listener], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def listen(self):
        """Serves requests on the control socket: one JSON object a line, one answer each."""
        os.chdir(self.layout.dir)  # the path from here is short enough for a socket, wherever the folder lies
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(self.layout.control.name)
        server.listen()
        threading.Thread(target=self.serve, args=(server,), daemon=True).start()

    def serve(self, server):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with connection, connection.makefile("rw", encoding="utf-8") as stream:
            try:
                answer = self.do(**json.loads(stream.readline()))
            except (NeverReady, RuntimeError, OSError, KeyError, TypeError, ValueError) as error:
                answer = {"error": str(error)}
            stream.write(json.dumps(answer) + "\n")

    def do(self, request, name=None, node=1, down=0.0, images=()):
        if request == "down":
            self.ended.set()
            return {}
        if request == "status":
            return {
                "boot_seconds": self.timings,
                "nodes": [{"node": number, "holder": pid} for number, pid in self.holders.items()],
                "components": [component.state() for component in self.components.values()],
            }
        if request == "load":
            self.spread(lambda each: [self.load(each, image) for image in images])
            return {}
        component = self.named(name, node)
        if request in ("restart", "stop"):
            component.stop()
        elif request == "kill":
            component.kill()
        elif request != "start":
            raise ValueError(f"unknown request {request!r}")
        if request == "restart":
            time.sleep(down)
        if request in ("restart", "start"):
            component.start()
        if request != "stop":
            component.await_ready(PATIENCE)
        return {}

    def named(self, name, node):
        component = self.components.get(name) or self.components.get(f"{name}-{node}")
        if component is None:
            raise ValueError(f"no component {name!r} on node {node}: there are {', '.join(sorted(self.components))}")
        return component


def wait_for(condition, what, log):
    until = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > until:
            raise NeverReady(f"{what}: not there after {PATIENCE:.0f} s. Last lines of {log.name}:\n{tail(log)}")
        time.sleep(0.02)


def answers(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def program_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def on_overlay(folder):
    """An overlay cannot be laid on another one's upper folder."""
    best, kind = "", ""
    for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4]
        if len(point) >= len(best) and folder.is_relative_to(point):
            best, kind = point, rest.split()[0]
    return kind == "overlay"


if __name__ == "__main__":
    first_process(json.loads(sys.argv[1]))
