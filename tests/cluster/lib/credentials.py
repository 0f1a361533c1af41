"""Keys, certificates, kubeconfigs, and calls of the API server with them."""

import base64
import http.client
import json
import ssl
import subprocess

import layout as names


def write(layout, programs, nodes):
    layout.pki.mkdir()
    clients = [
        "admin=admin/system:masters",
        "apiserver-kubelet=kube-apiserver/system:masters",
        "controller-manager=system:kube-controller-manager",
        "scheduler=system:kube-scheduler",
    ]
    clients += [f"{node.name}=system:node:{node.name}/system:nodes" for node in nodes]
    subprocess.run([programs.path("certs"), layout.pki, ",".join(names.API_NAMES), *clients], check=True)
    for who in ("admin", "controller-manager", "scheduler", *(node.name for node in nodes)):
        write_kubeconfig(layout, layout.kubeconfig(who), who, f"https://{names.API_SERVICE}")


def write_kubeconfig(layout, path, who, server):
    """JSON is YAML. The keys are in it, so that it can be carried."""

    def data(name):
        return base64.b64encode((layout.pki / name).read_bytes()).decode()

    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fractune", "cluster": {"server": server, "certificate-authority-data": data("ca.crt")}}],
        "users": [
            {
                "name": who,
                "user": {"client-certificate-data": data(f"{who}.crt"), "client-key-data": data(f"{who}.key")},
            }
        ],
        "contexts": [{"name": "fractune", "context": {"cluster": "fractune", "user": who}}],
        "current-context": "fractune",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


class Api:
    """The API server as the administrator sees it, from inside the cluster's network."""

    def __init__(self, layout):
        self.context = ssl.create_default_context(cafile=layout.pki / "ca.crt")
        self.context.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")

    def get(self, path):
        """(status, body), or (0, why) when nobody answers."""
        connection = http.client.HTTPSConnection(names.API_SERVICE, 443, context=self.context, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error).encode()
        finally:
            connection.close()

    def ready(self):
        return self.get("/readyz")[0] == 200

    def node_ready(self, name):
        status, body = self.get(f"/api/v1/nodes/{name}")
        if status != 200:
            return False
        node = json.loads(body)
        conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", [])}
        # The taints of a fresh node are lifted a moment after it is ready.
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    def has_default_service_account(self):
        return self.get("/api/v1/namespaces/default/serviceaccounts/default")[0] == 200
