"""charts/fractune, installed, upgraded, misused and asked on a real cluster."""

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading

from kube import CHART, IMAGES, OPERATOR, RELEASE, ROOT, SYSTEM, command, get, helm, items, kubectl, namespace, until

TUNING = "tuned"
EVERYTHING = {
    "operator.replicas": "2",
    "monitoring.serviceMonitor.enabled": "true",
    "monitoring.prometheusRule.enabled": "true",
    "monitoring.prometheusRule.runbookUrl": "https://git.example.com/fractune/docs/runbooks.md",
    "monitoring.dashboard.enabled": "true",
    "networkPolicies.enabled": "true",
    "networkPolicies.apiServer.cidrs": "{10.0.0.1/32,fd00::/8}",
    "networkPolicies.metricsFrom[0].namespaceSelector.matchLabels.team": "monitoring",
    "networkPolicies.tuningNamespaces": f"{{{TUNING}}}",
}
# What users get wrong, and a word that must be in the answer.
REFUSED = (
    ("operator.replica=3", "replica"),
    ("operator.replicas=three", "integer"),
    ("operator.replicas=-1", "minimum"),
    ("operator.image.digest=latest", "digest"),
    ("monitoring.enabled=true", "enabled"),
    ("monitoring.serviceMonitor.interval=often", "interval"),
    ("networkPolicies.apiServer.cidrs={10.0.0.1}", "cidrs"),
    ("policies.enabled=no-thanks", "boolean"),
    ("watchNamespace=Team", "watchNamespace"),
    ("operator.logLevel=verbose", "logLevel"),
    (r"operator.logLevel=info\,fractune_operator", "logLevel"),
    ("node.logLevel=verbose", "logLevel"),
    ("unknown=1", "unknown"),
)
# Who may do what: user of ClusterRole, verb, resource, subresource, allowed.
RIGHTS = (
    ("view", "get", "tunejobs", "", True),
    ("view", "watch", "tunetasks", "", True),
    ("view", "create", "tunejobs", "", False),
    ("view", "delete", "tunejobs", "", False),
    ("edit", "list", "tunetasks", "", True),
    ("edit", "create", "tunejobs", "", True),
    ("edit", "patch", "tunejobs", "", True),
    ("edit", "patch", "tunejobs", "status", False),
    ("edit", "create", "tunetasks", "", False),
    ("edit", "delete", "tunetasks", "", False),
    ("admin", "create", "tunejobs", "", True),
    ("admin", "delete", "tunetasks", "", True),
    ("admin", "patch", "tunetasks", "", False),
    ("admin", "patch", "tunetasks", "status", False),
)


def without_monitoring():
    """What can be installed where the definitions of the Prometheus operator cannot be had."""
    return {name: value for name, value in EVERYTHING.items() if "Monitor" not in name and "prometheusRule" not in name}


def settings(values):
    return [word for pair in values.items() for word in ("--set", "=".join(pair))]


def definitions_of_an_older_version_are_upgraded():
    """Applied by hand, without a field: the chart says whose they are, its words mend it, and they are upgraded."""
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        definition = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", file))
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        schema["status"]["properties"].pop("speedup", None)
        kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(definition))
    namespace(SYSTEM)
    namespace(TUNING)
    notes = helm("install", RELEASE, CHART, "-n", SYSTEM, "--values", IMAGES, "--set", "crds.install=false", "--dry-run=server")
    assert "is of another version than this chart" in notes, notes
    said = helm("install", RELEASE, CHART, "-n", SYSTEM, "--values", IMAGES, fails=True)
    assert "no Helm release has them" in said and "crds.install=false" in said, said
    commands = [line.strip() for line in said.splitlines() if line.strip().startswith("kubectl ")]
    assert len(commands) == 2, said
    for line in commands:
        command(*line.split())
    assert "--force-conflicts" in said, said
    whole = [*settings(EVERYTHING), "--force-conflicts", "--wait", "--timeout", "90s"]
    notes = helm("install", RELEASE, CHART, "-n", SYSTEM, "--values", IMAGES, *whole)
    assert "helm test fractune" in notes and "WARNING" not in notes, notes
    found = get("crd", "tunejobs.fractune.dev")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert "speedup" in found["status"]["properties"], "the definition was not upgraded"
    return True


def wrong_values_are_refused_by_name():
    for value, word in REFUSED:
        said = helm("template", RELEASE, CHART, "--set", value, fails=True)
        assert word in said and "schema" in said, f"{value}: {said}"
    said = helm("template", RELEASE, CHART, "--set", "monitoring.serviceMonitor.enabled=true,service.enabled=false", fails=True)
    assert "service.enabled=true" in said, said
    helm("lint", "--strict", CHART)


def what_is_rendered_is_what_the_api_server_takes():
    """Every object, with all fields known, for several sets of values; nothing is stored."""
    whole = settings(EVERYTHING)
    sets = {
        "the defaults": [],
        "everything": whole,
        "one namespace": [*whole, "--set", f"watchNamespace={TUNING}"],
        "little": ["--set", "operator.replicas=1,service.enabled=false,roles.enabled=false,policies.enabled=false,crds.keep=false"],
        "pods' fields": [
            "--set", "operator.nodeSelector.a=b,operator.tolerations[0].operator=Exists,operator.priorityClassName=system-node-critical",
            "--set", "operator.podLabels.a=b,operator.podAnnotations.a=b,operator.imagePullSecrets[0].name=a,service.annotations.a=b",
            "--set-json", 'operator.topologySpreadConstraints=[{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]',
            "--set-json", 'operator.affinity={"nodeAffinity": {}}',
        ],
    }  # fmt: skip
    for name, words in sets.items():
        rendered = helm("template", RELEASE, CHART, "-n", SYSTEM, "--values", IMAGES, *words)
        dry = ("apply", "--server-side", "--force-conflicts", "--validate=strict", "--dry-run=server", "-f", "-")
        done = subprocess.run(["kubectl", *dry], input=rendered, capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "unknown field" not in done.stderr, f"{name}: {done.stderr}"


def operators_are_on_different_nodes_and_one_may_be_drained():
    pods = items("pods", SYSTEM, "-l", "app.kubernetes.io/component=operator")
    nodes = {pod["spec"]["nodeName"] for pod in pods}
    assert len(pods) == len(nodes) == 2, [pod["spec"]["nodeName"] for pod in pods]
    budget = until("the budget", lambda: get("pdb", OPERATOR, SYSTEM).get("status", {}).get("expectedPods") and get("pdb", OPERATOR, SYSTEM))
    assert budget["status"]["disruptionsAllowed"] == 1, budget["status"]


def a_second_release_is_refused_with_the_way_out():
    namespace("second")

    def attempt(*words, **options):
        return helm("install", "second", CHART, "-n", "second", "--values", IMAGES, *words, **options)

    said = attempt(fails=True)
    assert f"belong to release {RELEASE} in namespace {SYSTEM}" in said and "crds.install=false" in said, said
    said = attempt("--set", "crds.install=false", fails=True)
    assert "every namespace" in said and "watchNamespace" in said, said
    said = attempt("--set", "crds.install=false,watchNamespace=nonexist", fails=True)
    assert "watchNamespace=nonexist: there is no such namespace" in said and "kubectl create namespace" in said, said
    assert not items("deployments", "second"), "something was installed"
    assert not items("secrets", "second", "-l", "owner=helm"), "a failed revision is left"
    # With a namespace each, they live beside each other.
    helm("upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--set", f"watchNamespace={TUNING}", "--wait", "--timeout", "90s")
    try:
        said = attempt("--set", f"crds.install=false,watchNamespace={TUNING}", fails=True)
        assert f"namespace {TUNING}" in said, said
        attempt("--set", "crds.install=false,watchNamespace=second", "--wait", "--timeout", "60s")
        said = helm("upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--set", "watchNamespace=", fails=True)
        assert "release second in namespace second" in said.lower(), said
    finally:
        with contextlib.suppress(AssertionError):
            helm("uninstall", "second", "-n", "second", "--wait")
        helm("upgrade", RELEASE, CHART, "-n", SYSTEM, "--reuse-values", "--set", "watchNamespace=", "--wait", "--timeout", "90s")


def users_have_what_their_roles_say():
    for role in ("view", "edit", "admin"):
        binding = f"kind: RoleBinding\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {{name: {role}, namespace: {TUNING}}}\n"
        binding += f"roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}\n"
        binding += f"subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {role}er}}]\n"
        kubectl("apply", "-f", "-", stdin=binding)

    def wrong():
        reviews = [{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": f"{role}er",
            "resourceAttributes": {"namespace": TUNING, "verb": verb, "group": "fractune.dev", "resource": resource, "subresource": part},
        }} for role, verb, resource, part, _ in RIGHTS]  # fmt: skip
        said = kubectl("create", "-o", "json", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews}))
        # kubectl prints one object after the other.
        answers = [review["status"].get("allowed", False) for review in json.loads("[" + said.replace("}\n{", "},{") + "]")]
        return [right for right, answer in zip(RIGHTS, answers, strict=True) if answer != right[4]]

    # Kubernetes aggregates roles, and its authorizer learns of it, a moment later.
    with contextlib.suppress(AssertionError):
        until("the roles hold", lambda: not wrong(), 20)
    assert not wrong(), wrong()


def helm_test_asks_the_operator():
    """Nothing serves Services in this cluster: here stands a forwarder at the Service's address."""
    service = get("service", OPERATOR, SYSTEM)["spec"]
    address, port = service["clusterIP"], service["ports"][0]["port"]
    pod = items("pods", SYSTEM, "-l", "app.kubernetes.io/component=operator")[0]["status"]["podIP"]
    with Forwarder(address, port, pod, 8080):
        said = helm("test", RELEASE, "-n", SYSTEM, "--timeout", "90s")
    assert re.search(r"Phase:\s+Succeeded", said), said


def helm_test_tells_silence_from_an_operator_that_is_not_ready():
    with tempfile.TemporaryDirectory() as work, socket.create_server(("127.0.0.1", 0)) as server:
        program = f"{work}/ask"
        subprocess.run(["cc", "-o", program, CHART / "files/ask.c"], check=True)

        def asked(port):
            variables = {"HOST": "127.0.0.1", "PORT": str(port)}
            return subprocess.run([program, "HOST", "PORT", "1"], env=variables, capture_output=True, text=True, check=False)

        def refuse():
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as client:
                        client.recv(1024)
                        client.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\nnot the leader")

        threading.Thread(target=refuse, daemon=True).start()
        answered, silent = asked(server.getsockname()[1]), asked(1)
    assert answered.returncode == 1 and "is not ready; it answered: HTTP/1.1 503" in answered.stderr, answered
    assert silent.returncode == 1 and "cannot be reached (Connection refused)" in silent.stderr, silent


class Forwarder:
    """Carries connections to ADDRESS:PORT, which becomes an address of this network namespace, to another."""

    def __init__(self, address, port, to, to_port):
        self.address, self.port, self.to, self.to_port = address, port, to, to_port
        self.loop = asyncio.new_event_loop()

    def __enter__(self):
        self.ip("add")
        self.loop.run_until_complete(asyncio.start_server(self.carry, self.address, self.port))
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.ip("del")

    def ip(self, verb):
        program = ["ip"] if shutil.which("ip") else ["busybox", "ip"]
        subprocess.run([*program, "addr", verb, f"{self.address}/32", "dev", "lo"], check=True)

    async def carry(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(self.to, self.to_port)

        async def one_way(source, sink):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
            sink.close()

        with contextlib.suppress(OSError):
            await asyncio.gather(one_way(reader, far_writer), one_way(far_reader, writer))


def policies_say_what_may_be_reached():
    """The network of this cluster enforces no policies: they are read, not tried."""
    policies = {policy["metadata"]["namespace"]: policy["spec"] for policy in items("networkpolicies")}
    assert set(policies) == {SYSTEM, TUNING}, set(policies)
    ports = [port["port"] for rule in policies[TUNING]["egress"] for port in rule["ports"]]
    assert ports == [443, 6443] and "ingress" not in policies[TUNING], policies[TUNING]


def values_are_documented():
    command(ROOT / "scripts" / "chart-values", "--check")
    with tempfile.TemporaryDirectory() as work:
        copy = shutil.copytree(ROOT / "charts", f"{work}/charts")
        shutil.copytree(ROOT / "scripts", f"{work}/scripts")
        with open(f"{copy}/fractune/values.yaml", "a", encoding="utf-8") as values:
            values.write("\nunknown: true\n")
        said = command(f"{work}/scripts/chart-values", "--check", fails=True)
        assert "unknown has no comment" in said and "does not know unknown" in said, said
