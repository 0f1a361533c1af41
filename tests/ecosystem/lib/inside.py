"""The tests, in the order in which they cost least time: jobs are begun early and looked at late."""

import pathlib

import chart
import documented
import gitops
import health
import metrics
import queueing
import states
from attempts import Needed, Tally
from kube import kubectl

CHART = (
    chart.values_are_documented,
    chart.wrong_values_are_refused_by_name,
    chart.what_is_rendered_is_what_the_api_server_takes,
    chart.operators_are_on_different_nodes_and_one_may_be_drained,
    chart.policies_say_what_may_be_reached,
    chart.users_have_what_their_roles_say,
    chart.helm_test_asks_the_operator,
    chart.helm_test_tells_silence_from_an_operator_that_is_not_ready,
)
GITOPS = (
    gitops.nothing_that_the_operator_writes_is_drift,
    gitops.what_is_suspended_in_the_cluster_stays_so_where_git_says_nothing,
    gitops.another_source_is_another_job,
    gitops.one_broken_job_does_not_keep_the_others_from_the_cluster,
)
WAITING = (
    health.helm_waits_until_a_job_is_complete,
    health.helm_fails_when_a_job_stalls,
    health.helm_does_not_take_an_unseen_job_for_complete,
    health.kubectl_waits_for_conditions,
)
METRICS = (
    metrics.promtool_is_content_with_the_rules_and_their_tests,
    metrics.every_alert_has_its_section_in_the_runbooks,
    metrics.every_rule_has_data_to_judge,
    metrics.every_panel_of_the_dashboard_has_data,
)


def run(settings):
    tally = Tally(settings["names"])
    tools = {name: Needed(*found) for name, found in settings["tools"].items()}
    definitions = tools["definitions"]
    chart.EVERYTHING = chart.EVERYTHING if definitions.value else chart.without_monitoring()
    for file in definitions.value or []:
        kubectl("apply", "--server-side", "-f", file)
    # Everything else needs the chart: it is installed, and this is tested, in any case.
    if not tally.attempt(chart.definitions_of_an_older_version_are_upgraded):
        return tally.end()
    states.begin()
    gitops.begin()
    folder = pathlib.Path(settings["work"]) / "prometheus"
    folder.mkdir()
    started = tally.attempt(metrics.prometheus_reads_both_operators, tools["prometheus"], definitions, folder)
    prometheus = Needed(started, tools["prometheus"].reason or definitions.reason)
    tally.all(CHART)
    objects = None
    if any(map(tally.wanted, ("kstatus_sees_every_state", "flux_sees_every_state", "argocd_sees_every_state"))):
        objects = tally.attempt(states.collect)
    for judge, test in (("flux", health.kstatus_sees_every_state), ("flux", health.flux_sees_every_state),
                        ("argocd", health.argocd_sees_every_state)):  # fmt: skip
        tally.all([test], tools[judge], Needed(objects))
    tally.all(WAITING)
    tally.all(GITOPS)
    tally.all([gitops.the_examples_for_argocd_and_flux_fit_their_definitions], definitions)
    tally.all([queueing.trials_survive_a_queue_that_preempts])
    tally.all(map(documented.test_of, documented.pages()), pathlib.Path(settings["programs"]))
    tally.all(METRICS, prometheus)
    if prometheus.value:
        if settings["pictures"]:
            metrics.save(prometheus.value, pathlib.Path(settings["pictures"]))
        prometheus.value.stop()
    # It takes operators from the namespaces of all others.
    tally.all([chart.a_second_release_is_refused_with_the_way_out])
    return tally.end()
