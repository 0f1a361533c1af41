//! What the operator tells Prometheus.

use fractune_crds::{State, TuneTask};
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Labels of jobs and tasks.
const STATES: [State; 6] =
    [State::Pending, State::Running, State::Suspended, State::Stalled, State::Complete, State::Failed];

/// Labels of trials, in the order in which they are counted.
const OUTCOMES: [&str; 7] =
    ["Ok", "CompileError", "CompileTimeout", "ResourceExceeded", "RuntimeError", "RunTimeout", "WrongAnswer"];

/// The operator's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Duration of passes in seconds, by outcome.
    pub reconcile_seconds: HistogramVec,
    /// Failed passes, by reason.
    pub reconcile_errors: IntCounterVec,
    /// Passes under way.
    pub reconciles: IntGauge,
    /// Jobs whose status does not speak of their spec yet: they wait for a pass.
    pub waiting: IntGauge,
    /// Writes to the API server, by kind.
    pub writes: IntCounterVec,
    /// Jobs by state.
    pub jobs: IntGaugeVec,
    /// Tasks by state.
    pub tasks: IntGaugeVec,
    /// Trials of all tasks there are, by outcome.
    pub trials: IntGaugeVec,
    /// Time of the latest result, in seconds since 1970.
    pub latest_result: IntGauge,
    /// 1 while this operator leads.
    pub leader: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let buckets = prometheus::exponential_buckets(0.001, 2.5, 12)?;
        let options =
            HistogramOpts::new("fractune_reconcile_seconds", "Duration of passes over jobs").buckets(buckets);
        let reconcile_seconds = HistogramVec::new(options, &["outcome"])?;
        registry.register(Box::new(reconcile_seconds.clone()))?;
        let build = gauges("fractune_build_info", "1, with the operator's version", "version")?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            reconcile_seconds,
            reconcile_errors: counters(
                "fractune_reconcile_errors_total",
                "Failed passes over jobs",
                "reason",
            )?,
            reconciles: gauge("fractune_reconciles_in_progress", "Passes over jobs that are under way")?,
            waiting: gauge(
                "fractune_jobs_waiting",
                "TuneJobs whose status does not speak of their spec yet: they wait for a pass",
            )?,
            writes: counters("fractune_api_writes_total", "Writes to the API server", "kind")?,
            jobs: gauges("fractune_jobs", "TuneJobs by state", "state")?,
            tasks: gauges("fractune_tasks", "TuneTasks by state", "state")?,
            trials: gauges("fractune_trials", "Trials of all TuneTasks there are, by outcome", "outcome")?,
            latest_result: gauge(
                "fractune_latest_result_timestamp_seconds",
                "When a task was last done; its age is time() minus this",
            )?,
            leader: gauge("fractune_leader", "1 while this operator holds the lease")?,
            registry,
        })
    }

    /// Counts jobs and tasks anew.
    pub fn count<'a>(
        &self,
        jobs: impl Iterator<Item = Option<State>>,
        tasks: impl Iterator<Item = &'a TuneTask>,
    ) {
        let mut of_jobs = [0; STATES.len()];
        let mut of_tasks = [0; STATES.len()];
        let at = |state: Option<State>| STATES.iter().position(|s| *s == state.unwrap_or(State::Pending));
        for state in jobs {
            at(state).and_then(|at| of_jobs.get_mut(at)).into_iter().for_each(|count| *count += 1);
        }
        let mut trials = [0_i64; 7];
        let mut latest = 0;
        for task in tasks {
            let Some(status) = &task.status else {
                of_tasks.first_mut().into_iter().for_each(|count| *count += 1);
                continue;
            };
            at(status.state).and_then(|at| of_tasks.get_mut(at)).into_iter().for_each(|count| *count += 1);
            let t = &status.trials;
            let by_outcome = [
                t.ok,
                t.compile_error,
                t.compile_timeout,
                t.resource_exceeded,
                t.runtime_error,
                t.run_timeout,
                t.wrong_answer,
            ];
            trials.iter_mut().zip(by_outcome).for_each(|(sum, count)| *sum += count);
            latest = latest.max(status.completion_time.as_ref().map_or(0, |time| time.0.as_second()));
        }
        for ((state, jobs), tasks) in STATES.iter().zip(of_jobs).zip(of_tasks) {
            let label = format!("{state:?}");
            self.jobs.with_label_values(&[&label]).set(jobs);
            self.tasks.with_label_values(&[&label]).set(tasks);
        }
        OUTCOMES
            .iter()
            .zip(trials)
            .for_each(|(outcome, count)| self.trials.with_label_values(&[outcome]).set(count));
        self.latest_result.set(latest);
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}
