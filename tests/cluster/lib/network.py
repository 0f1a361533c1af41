"""The cluster's network: a bridge with the control plane's address, a veth pair to each node, a subnet of pods per node.

Nothing is translated: the control plane's namespace is every node's router, and answers at the address of the service
`kubernetes.default`, so that pods reach the API server without a service proxy.
"""

import re
import subprocess

import layout as names
import machine


def run(*command, inside=None):
    """Runs a command, in a node's namespaces when one is given by its holder's process."""
    enter = ["nsenter", "-t", str(inside), "-n", "-m", "--"] if inside else []
    done = subprocess.run([*enter, *map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(map(str, command))}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def ip(*arguments, inside=None):
    return run(*machine.ip_command(), *arguments, inside=inside)


def forward_packets(inside=None):
    run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward", inside=inside)


def connect_control_plane():
    ip("link", "set", "lo", "up")
    ip("addr", "add", f"{names.API_SERVICE}/32", "dev", "lo")
    ip("link", "add", names.BRIDGE, "type", "bridge")
    ip("addr", "add", f"{names.CONTROL_PLANE}/24", "dev", names.BRIDGE)
    ip("link", "set", names.BRIDGE, "up")
    forward_packets()


def connect_node(node, holder):
    """HOLDER is the process whose namespaces are the node's."""
    ip("link", "add", node.name, "type", "veth")
    # The kernel names the other end: busybox cannot. It is shown as `3: node-1@veth0: <BROADCAST...`.
    far = re.search(rf"{node.name}@([^:]+):", ip("link", "show", node.name)).group(1)
    ip("link", "set", far, "netns", holder)
    ip("link", "set", node.name, "master", names.BRIDGE)
    ip("link", "set", node.name, "up")
    ip("link", "set", "lo", "up", inside=holder)
    ip("link", "set", far, "name", "eth0", inside=holder)
    ip("addr", "add", f"{node.address}/24", "dev", "eth0", inside=holder)
    ip("link", "set", "eth0", "up", inside=holder)
    ip("route", "add", "default", "via", names.CONTROL_PLANE, inside=holder)
    forward_packets(inside=holder)
    ip("route", "add", node.pods, "via", node.address)


def cni(node):
    """The configuration that containerd gives to the CNI plugins."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": True,
                "hairpinMode": True,
                "ipam": {"type": "host-local", "ranges": [[{"subnet": node.pods}]]},
            }
        ],
    }
