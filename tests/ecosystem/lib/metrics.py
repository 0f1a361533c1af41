"""Debian's Prometheus reads the operator's metrics as the chart's ServiceMonitor says; the rules and the dashboard ask it."""

import contextlib
import ctypes
import json
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from kube import CHART, OPERATOR, ROOT, SYSTEM, command, get, items, until

HERE = pathlib.Path(__file__).resolve().parent.parent
ADDRESS = "127.0.0.1:9090"
# Counters by reason that have no series before the first failure; that the operator has them is in its source.
NEED_NOT_HAVE_SERIES = ("fractune_reconcile_errors_total",)
SELECTOR = re.compile(r"([a-z_]+)(\{[^}]*\})")


class Prometheus:
    def __init__(self, programs, folder):
        self.programs, self.folder = programs, folder
        self.rules = folder / "rules.yaml"
        self.targets = folder / "targets.json"
        self.started = time.time()
        self.over = threading.Event()

    def start(self):
        """Begins to read metrics."""
        rule = get("prometheusrule", OPERATOR, SYSTEM)
        self.rules.write_text(json.dumps(rule["spec"]), encoding="utf-8")
        config = self.folder / "prometheus.yaml"
        config.write_text(json.dumps(self.config()), encoding="utf-8")
        self.discover()
        threading.Thread(target=self.keep_discovering, daemon=True).start()
        command(self.programs / "promtool", "check", "config", config)
        words = [self.programs / "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'data'}",
                 f"--web.listen-address={ADDRESS}", "--log.level=warn"]  # fmt: skip
        with open(self.folder / "prometheus.log", "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, cwd=self.folder, preexec_fn=end_with_parent)
        until("Prometheus reads both operators", lambda: self.up() == 2, 60)

    def config(self):
        """As the Prometheus operator translates the ServiceMonitor, but for discovery: Debian's build has none for Kubernetes."""
        [endpoint] = get("servicemonitor", OPERATOR, SYSTEM)["spec"]["endpoints"]
        scrape = {"job_name": "operator", "metrics_path": endpoint["path"],
                  "file_sd_configs": [{"files": [str(self.targets)], "refresh_interval": "1s"}]}  # fmt: skip
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        return {"global": every, "rule_files": [str(self.rules)], "scrape_configs": [scrape]}

    def discover(self):
        """Writes the addresses behind the Services that the ServiceMonitor selects, with the labels that it gives them."""
        monitor = get("servicemonitor", OPERATOR, SYSTEM)["spec"]
        [endpoint] = monitor["endpoints"]
        wanted = ",".join(f"{label}={value}" for label, value in monitor["selector"]["matchLabels"].items())
        found = []
        for each in items("endpointslices", SYSTEM, "-l", wanted):
            service = each["metadata"]["labels"]["kubernetes.io/service-name"]
            ports = [port["port"] for port in each.get("ports") or [] if port["name"] == endpoint["port"]]
            for address in each.get("endpoints") or []:
                labels = {"namespace": SYSTEM, "service": service, "job": service, "pod": address["targetRef"]["name"]}
                found += [{"targets": [f"{address['addresses'][0]}:{port}"], "labels": labels} for port in ports]
        partial = self.targets.with_suffix(".new")
        partial.write_text(json.dumps(found), encoding="utf-8")
        partial.rename(self.targets)

    def keep_discovering(self):
        while not self.over.wait(2):
            with contextlib.suppress(AssertionError, KeyError):  # an upgrade is under way
                self.discover()

    def stop(self):
        self.over.set()
        self.process.terminate()
        self.process.wait(30)

    def ask(self, path, **parameters):
        url = f"http://{ADDRESS}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        assert found["status"] == "success", found
        return found["data"]

    def up(self):
        try:
            return len(self.ask("query", query=f'up{{job="{OPERATOR}"}} == 1')["result"])
        except (OSError, AssertionError):  # it is not there yet, or not ready
            return 0

    def range(self, query):
        """Series of a query over the whole run."""
        start, end = self.started, time.time()
        found = self.ask("query_range", query=query, start=start, end=end, step=max(1, (end - start) / 300))
        return found["result"]


def prometheus_reads_both_operators(programs, _definitions, folder):
    prometheus = Prometheus(pathlib.Path(programs), folder)
    prometheus.start()
    return prometheus


def end_with_parent():
    """For the child before it becomes another program: it is told to end when this process does, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def rules(prometheus):
    return [rule for group in json.loads(prometheus.rules.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def promtool_is_content_with_the_rules_and_their_tests(prometheus):
    command(prometheus.programs / "promtool", "check", "rules", "--lint=all", "--lint-fatal", prometheus.rules)
    command(prometheus.programs / "promtool", "check", "rules", "--lint=all", "--lint-fatal", CHART / "files" / "alerts.yaml")
    tests = HERE / "alerts_test.yaml"
    command(prometheus.programs / "promtool", "test", "rules", tests)
    text = tests.read_text(encoding="utf-8")
    untested = [rule["alert"] for rule in rules(prometheus) if f"alertname: {rule['alert']}\n" not in text]
    assert not untested, f"alerts without a unit test: {untested}"


def every_alert_has_its_section_in_the_runbooks(prometheus):
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbooks.md").read_text(encoding="utf-8"), re.M)
    alerts = [rule["alert"] for rule in rules(prometheus)]
    assert [section for section in sections if section.startswith("Fractune")] == alerts, (sections, alerts)
    for rule in rules(prometheus):
        anchor = rule["alert"].lower()
        assert rule["annotations"]["runbook_url"] == f"https://git.example.com/fractune/docs/runbooks.md#{anchor}", rule["annotations"]
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{anchor}", rule["annotations"]


def need_not(expression):
    return any(name in expression for name in NEED_NOT_HAVE_SERIES)


def every_rule_has_data_to_judge(prometheus):
    """Each series that a rule names is there, and Prometheus evaluates each rule."""
    for rule in rules(prometheus):
        for name, labels in SELECTOR.findall(rule["expr"]):
            found = prometheus.ask("query", query=name + labels)["result"]
            assert found or name in NEED_NOT_HAVE_SERIES, f"{rule['alert']}: no series {name}{labels}"
    source = (ROOT / "operator/src/metrics.rs").read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in NEED_NOT_HAVE_SERIES), "a metric was renamed"
    evaluated = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert len(evaluated) == len(rules(prometheus)), evaluated
    sick = [f"{rule['name']}: {rule.get('lastError')}" for rule in evaluated if rule["health"] != "ok"]
    assert not sick, sick
    states = {rule["name"]: rule["state"] for rule in evaluated}
    # There are stalled jobs, and this alert waits for a quarter of an hour; nothing else that matters is amiss.
    assert states["FractuneJobsStalled"] == "pending", states
    calm = ("FractuneOperatorDown", "FractuneNoLeader", "FractuneTwoLeaders", "FractuneVersionsDiffer", "FractuneSlowPasses")
    assert all(states[name] == "inactive" for name in calm), states


def panels():
    dashboard = json.loads((CHART / "files/dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$job", OPERATOR).replace("$namespace", ".*").replace("$__rate_interval", "15s")
            assert "$" not in query, f"{panel['title']}: a variable that this test does not know: {query}"
            yield panel, target, query


def every_panel_of_the_dashboard_has_data(prometheus):
    kept = json.loads(get("configmap", "fractune-dashboard", SYSTEM)["data"]["fractune.json"])
    assert kept["uid"] == "fractune" and kept["panels"], "the ConfigMap's dashboard is not the file's"
    empty = []
    for panel, _, query in panels():
        found = prometheus.range(query)
        points = [value for series in found for _, value in series["values"] if value != "NaN"]
        if not points and not need_not(query):
            empty.append(f"{panel['title']}: {query}")
    assert not empty, "\n".join(empty)
    for label in ("job", "namespace"):
        assert prometheus.ask(f"label/{label}/values", **{"match[]": "fractune_build_info"}), f"no values of the variable {label}"


def save(prometheus, folder):
    """The panels' series, for tests/ecosystem/picture."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [{"title": panel["title"], "kind": panel["type"], "unit": panel["fieldConfig"]["defaults"]["unit"],
              "stacked": "stacking" in panel["fieldConfig"]["defaults"].get("custom", {}), "position": panel["gridPos"],
              "legend": target["legendFormat"], "series": prometheus.range(query)}
             for panel, target, query in panels()]  # fmt: skip
    (folder / "dashboard.json").write_text(json.dumps(found), encoding="utf-8")
