"""Names and addresses of a cluster, in one place: what lies where in its folder, and who has which address."""

import dataclasses
import json
import pathlib

BRIDGE = "cluster0"
NETWORK = "10.100.0"
CONTROL_PLANE = f"{NETWORK}.1"
SERVICES = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"  # the first address of SERVICES, which Kubernetes gives to `kubernetes.default`
API_NAMES = (
    "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
    "localhost", "127.0.0.1", API_SERVICE, CONTROL_PLANE,
)  # fmt: skip
MOST_NODES = 9
MARKER = "fractune-cluster.json"


@dataclasses.dataclass(frozen=True)
class Node:
    number: int

    @property
    def name(self):
        return f"node-{self.number}"

    @property
    def address(self):
        return f"{NETWORK}.{10 + self.number}"

    @property
    def pods(self):
        return f"10.244.{self.number}.0/24"


@dataclasses.dataclass
class Layout:
    """A cluster's folder."""

    dir: pathlib.Path

    @property
    def logs(self):
        return self.dir / "logs"

    @property
    def pki(self):
        return self.dir / "pki"

    @property
    def marker(self):
        """Says that the folder is a cluster's, and how to reach it."""
        return self.dir / MARKER

    @property
    def control(self):
        return self.dir / "control.sock"

    @property
    def bin(self):
        """kubectl and helm, for PATH."""
        return self.dir / "bin"

    def kubeconfig(self, whose):
        return self.dir / f"{whose}.kubeconfig"

    @property
    def outside(self):
        """The administrator's kubeconfig for processes of the machine; `admin` is the one for those inside."""
        return self.dir / "kubeconfig"

    def state(self):
        return json.loads(self.marker.read_text(encoding="utf-8"))

    def write_state(self, state):
        partial = self.marker.with_suffix(".partial")
        partial.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        partial.rename(self.marker)


def nodes(count):
    return [Node(number) for number in range(1, count + 1)]
