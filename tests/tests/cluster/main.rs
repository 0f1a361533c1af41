//! Tests of the operator, the agent and the chart on a real Kubernetes: docs/testing.md.

mod cache;
mod faults;
mod lifecycle;
mod node;
mod operators;
mod others;
mod plugin;
mod running;
mod tuned;
mod wrong;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use fractune_tests::{Availability, Installation, Scope, availability};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

/// A test in a namespace of its own.
type Test = for<'a> fn(&'a Scope<'a>) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

struct Case {
    name: &'static str,
    test: Test,
}

macro_rules! cases {
    ($($module:ident::$name:ident),* $(,)?) => {
        vec![$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            test: |scope| Box::pin($module::$name(scope)),
        }),*]
    };
}

/// In the order in which they are run: what everything else builds on comes first.
fn cases() -> Vec<Case> {
    cases![
        tuned::a_job_is_applied_and_complete_and_another_pod_reads_its_results,
        plugin::a_job_is_watched_to_its_end_and_its_results_are_those_of_a_local_run,
        plugin::a_job_is_suspended_and_resumed_by_a_manager_of_its_own,
        plugin::the_doctor_finds_nothing_wrong_and_then_the_verb_that_was_cut,
        cache::what_one_pod_compiled_no_other_one_compiles_again,
        faults::a_deleted_pod_is_replaced_and_goes_on_from_its_checkpoint,
        faults::the_pod_of_a_drained_node_goes_on_on_another_one,
        faults::a_pod_that_vanishes_costs_only_what_was_not_checkpointed,
        faults::a_killed_agent_is_replaced_and_goes_on_from_its_checkpoint,
        faults::a_killed_worker_costs_no_pod,
        faults::a_killed_reporter_costs_no_trial,
        faults::a_restarted_kubelet_disturbs_nothing,
        faults::a_restarted_etcd_disturbs_nothing,
        faults::an_api_server_that_is_away_for_ten_seconds_disturbs_nothing,
        operators::an_operator_killed_again_and_again_changes_nothing,
        operators::a_job_of_a_wrong_image_goes_on_when_the_image_is_mended,
        operators::of_two_operators_one_writes_and_the_other_takes_over,
        lifecycle::suspending_stops_pods_in_time_and_keeps_the_trials,
        lifecycle::a_finished_job_goes_on_when_more_trials_are_asked_for,
        wrong::what_no_schema_allows_is_refused_at_admission,
        wrong::what_cannot_be_tuned_is_stalled_with_a_sentence,
        wrong::a_missing_source_stalls_a_job_until_it_is_there,
        wrong::a_source_that_changes_under_a_running_job_stalls_it,
        wrong::a_name_that_is_taken_stalls_a_job_until_it_is_free,
        wrong::a_share_that_nobody_offers_is_named_and_waited_for,
        wrong::a_kernel_that_always_crashes_fails_and_the_others_are_tuned,
        wrong::a_quota_of_zero_stalls_a_job_until_it_is_raised,
        wrong::a_limit_range_that_refuses_the_pods_is_told,
        lifecycle::a_job_deleted_in_mid_run_leaves_nothing_behind,
        lifecycle::a_namespace_deleted_in_mid_run_ends,
        lifecycle::a_time_to_live_removes_everything_but_the_job_and_its_results,
        lifecycle::a_deadline_ends_a_job_as_failed,
        lifecycle::five_hundred_problems_become_five_hundred_tasks,
        lifecycle::a_name_of_63_characters_works,
        others::an_agents_token_writes_the_status_of_its_own_task_and_nothing_else,
        others::a_job_that_cannot_be_read_does_not_stall_others,
        // Last: what a node has offered, it offers none of afterwards, but does not forget.
        node::a_job_on_a_simulated_slot_is_told_that_it_is_simulated,
        node::slots_are_back_when_kubelet_or_the_agent_was_started_again,
        node::an_agents_token_labels_its_own_node_and_nothing_else,
    ]
}

/// The cluster that all tests share, started by the first.
struct Shared {
    runtime: Runtime,
    installation: OnceCell<Installation>,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    // Two CPUs are what the tests are made for: beside each other they would disturb each other's times.
    arguments.test_threads = Some(1);
    let ignored = if arguments.list { None } else { unavailable()? };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let shared = Arc::new(Shared { runtime, installation: OnceCell::new() });
    let trial = |(number, case): (usize, Case)| {
        let shared = shared.clone();
        let trial = Trial::test(case.name, move || shared.run(number, &case));
        trial.with_ignored_flag(ignored.is_some())
    };
    let trials = cases().into_iter().enumerate().map(trial).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Before the process exits, so that the cluster ends in order.
    drop(shared);
    conclusion.exit()
}

/// Why no cluster can run here, which is said once and loudly.
fn unavailable() -> Result<Option<String>> {
    Ok(match availability()? {
        Availability::Available => None,
        Availability::Unavailable(why) => {
            tell(&format!("every test on a real Kubernetes is SKIPPED:\n{why}\n"));
            Some(why)
        }
    })
}

impl Shared {
    fn run(&self, number: usize, case: &Case) -> Result<(), Failed> {
        let result = self.runtime.block_on(async {
            let installation = self.installation.get_or_try_init(Installation::start).await?;
            installation.settled().await?;
            let scope = Scope::new(installation, &format!("t{number}")).await?;
            let started = Instant::now();
            let result = (case.test)(&scope).await;
            tell(&format!("({:.0?})", started.elapsed()));
            if let Err(error) = &result {
                // The reason last: where a log is cut, its end is kept.
                tell(&format!("{}\n{}: {error:#}", scope.describe(), case.name));
            }
            scope.remove().await.context("removing the test's namespace")?;
            result
        });
        result.map_err(|error| format!("{error:#}").into())
    }
}

/// Tells the person who runs the tests.
#[expect(clippy::print_stderr, reason = "a test's output")]
fn tell(text: &str) {
    eprintln!("{text}");
}
