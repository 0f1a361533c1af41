"""The command lines and configurations of a cluster's processes."""

import json
import pathlib
import shlex

import layout as names
import machine
import network

# A node's mount namespace has its own /run and /var; the cluster's folder and the programs are bound there, at short
# paths, because a Unix socket's path has at most 107 bytes.
INSIDE = pathlib.Path("/run/fractune/dir")
PROGRAMS_INSIDE = pathlib.Path("/run/fractune/programs")
CONTAINERD = "/run/containerd/containerd.sock"

# What the kubelet would set for the whole machine. A file with the value it wants is bound over each one in the node's
# mounts instead: it reads that and changes nothing.
KUBELET_SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def control_plane(layout, programs):
    """(name, command) of each process of the control plane, in the order of their start."""
    pki = layout.pki
    etcd = [
        programs.path("etcd"),
        f"--data-dir={layout.dir / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    apiserver = [
        programs.path("kube-apiserver"),
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        "--secure-port=443",
        f"--advertise-address={names.CONTROL_PLANE}",
        f"--service-cluster-ip-range={names.SERVICES}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",
        "--kubelet-preferred-address-types=InternalIP",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'sa.pub'}",
        f"--service-account-signing-key-file={pki / 'sa.key'}",
    ]
    controller_manager = [
        programs.path("kube-controller-manager"),
        f"--kubeconfig={layout.kubeconfig('controller-manager')}",
        "--leader-elect=false",
        "--use-service-account-credentials",
        # It makes an account for each of its controllers before it starts them: seconds, at its usual pace.
        "--kube-api-qps=500",
        "--kube-api-burst=500",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'sa.key'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
    ]
    scheduler = [
        programs.path("kube-scheduler"),
        f"--kubeconfig={layout.kubeconfig('scheduler')}",
        "--leader-elect=false",
    ]
    return [
        ("etcd", etcd),
        ("apiserver", apiserver),
        ("controller-manager", controller_manager),
        ("scheduler", scheduler),
    ]


def inside(programs, name):
    """A program's path as a node sees it."""
    return PROGRAMS_INSIDE / programs.path(name).relative_to(programs.cache)


def containerd(node, programs):
    return [inside(programs, "containerd"), "--config", INSIDE / node.name / "containerd.toml"]


def kubelet(node, programs):
    return [
        inside(programs, "kubelet"),
        f"--config={INSIDE / node.name / 'kubelet.json'}",
        f"--kubeconfig={INSIDE / f'{node.name}.kubeconfig'}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        "--v=1",
    ]


def write_node(layout, programs, identity, node, snapshotter):
    """Writes what a node's processes read, and the script that makes its mounts. Returns the script's path."""
    folder = layout.dir / node.name
    for needed in ("cni", "sysctl", "var/lib/kubelet", "var/log/pods", "var/tmp", "containerd"):
        (folder / needed).mkdir(parents=True)
    (folder / "var/run").symlink_to("/run")
    (folder / "cni/10-pods.conflist").write_text(json.dumps(network.cni(node)), encoding="utf-8")
    (folder / "resolv.conf").write_text("", encoding="utf-8")  # there is no name service
    (folder / "kubelet.json").write_text(json.dumps(kubelet_config(identity, node)), encoding="utf-8")
    (folder / "containerd.toml").write_text(containerd_config(programs, node, snapshotter), encoding="utf-8")
    for name, value in KUBELET_SYSCTLS.items():
        (folder / "sysctl" / name.replace("/", ".")).write_text(f"{value}\n", encoding="utf-8")
    script = folder / "mounts.sh"
    script.write_text(mounts_script(layout, programs, node), encoding="utf-8")
    return script


def mounts_script(layout, programs, node):
    # The folders are opened before /run and /var are covered, since they may lie there.
    lines = [
        "set -e",
        f"exec 3<{shlex.quote(str(layout.dir))} 4<{shlex.quote(str(programs.cache))}",
        "mount -t tmpfs -o mode=755 tmpfs /run",
        f"mkdir -p {INSIDE} {PROGRAMS_INSIDE} /run/lock",
        f"mount --no-canonicalize --bind /proc/self/fd/3 {INSIDE}",
        f"mount --no-canonicalize --bind /proc/self/fd/4 {PROGRAMS_INSIDE}",
        f"mount --bind {INSIDE / node.name / 'var'} /var",
        # Volumes that ask for mount propagation need it.
        "mount --bind /var/lib/kubelet /var/lib/kubelet",
        "mount --make-rshared /var/lib/kubelet",
    ]
    for name in KUBELET_SYSCTLS:
        file = INSIDE / node.name / "sysctl" / name.replace("/", ".")
        lines.append(f"[ ! -e /proc/sys/{name} ] || mount --bind {file} /proc/sys/{name}")
    return "\n".join(lines) + "\n"


def kubelet_config(identity, node):
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(INSIDE / "pki/ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{machine.PREFIX}{identity}/{node.name}",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        # Without one, every pod gets a warning. There is no name service: a closed port refuses at once.
        "clusterDNS": [names.API_SERVICE],
        "clusterDomain": "cluster.local",
        "failCgroupV1": False,
        "failSwapOn": False,
        "resolvConf": str(INSIDE / node.name / "resolv.conf"),
        "serializeImagePulls": False,
        # The machine's disk and memory are not the cluster's to manage.
        "evictionHard": {
            "memory.available": "64Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }


def containerd_config(programs, node, snapshotter):
    plugins = inside(programs, "bridge").parent
    # restrict_oom_score_adj: where the score may not be lowered, runc fails otherwise.
    return f"""version = 3
root = "{INSIDE / node.name / "containerd"}"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{INSIDE / node.name / "cni"}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{inside(programs, "runc")}"
        SystemdCgroup = false
"""
