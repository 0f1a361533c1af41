//! A made-up job: no number here was ever measured. For looking at the report, and for tests.

use std::collections::BTreeMap;

use fractune_tuner::condition::Neighbours;
use fractune_tuner::kernel::{Configuration, Value};
use fractune_tuner::results::{
    CanaryResult, Device, Ended, Footprint, JobResult, Load, LoadedResult, Served, ShareResult, TaskResult,
    Timed,
};
use fractune_tuner::settings::{MeasureSettings, SearchSettings};
use fractune_tuner::trial::{Measurement, Outcome, Trial};

const SHARES: [u8; 3] = [25, 50, 100];

/// Three tasks at three shares, and the trials of each.
pub(crate) fn job() -> (JobResult, Vec<Vec<Trial>>) {
    let names = [
        ("sgemm", "square", 1, 4_000_000.0),
        ("sgemm", "mlp-up", 24, 31_000.0),
        ("stencil", "heat", 8, 600.0),
    ];
    let mut tasks = Vec::new();
    let mut logs = Vec::new();
    for (i, (kernel, problem, weight, scale)) in names.into_iter().enumerate() {
        let trials = trials(i as u64 + 1, scale, 220);
        tasks.push(task((kernel, problem, weight), &trials));
        logs.push(trials);
    }
    let device = Device {
        backend: "cpu".to_owned(),
        product: "Synthetic device (made-up data)".to_owned(),
        units: 64,
        units_by_share: SHARES.iter().map(|&s| (s, u32::from(s) * 64 / 100)).collect(),
        compiler: "synthetic cc 1.0".to_owned(),
        gpu: None,
        notes: vec!["Landlock is not available: candidates could write files".to_owned()],
    };
    let job = JobResult {
        version: 1,
        job: "synthetic".to_owned(),
        device,
        shares: SHARES.to_vec(),
        search: SearchSettings::default(),
        measure: MeasureSettings::default(),
        tasks,
    };
    (job, logs)
}

/// The same, with the winners of 25 and 50 % beside a load as well: there the other one of the two wins.
pub(crate) fn loaded() -> (JobResult, Vec<Vec<Trial>>) {
    let (mut job, logs) = job();
    for task in &mut job.tasks {
        let quiet = task.shares.clone();
        let beside = [(0, 1), (1, 0)].map(|(at, other)| {
            let mut result = quiet[at].clone();
            let slowed = |ns: u64| ns * 8 / 5;
            let (own, best) = (slowed(quiet[at].best.time_ns), quiet[at].best.time_ns * 5 / 4);
            result.best = Timed { time_ns: best, ..quiet[other].best.clone() };
            result.baseline = quiet[at].baseline.clone().map(|b| Timed { time_ns: slowed(b.time_ns), ..b });
            result.finalists = vec![result.best.clone()];
            for served in &mut result.served {
                served.time_ns = match served.tuned_at {
                    tuned if tuned == quiet[at].share => Some(own),
                    tuned if tuned == quiet[other].share => Some(best),
                    _ => served.time_ns.map(slowed),
                };
            }
            let share = 100 - quiet[at].share;
            let units = u32::from(share) * 64 / 100;
            let load = Load { share, units, alone_per_second: 4.5e13, beside_per_second: 3.9e13 };
            LoadedResult { neighbours: Neighbours::Compute, result, load }
        });
        // Everywhere, what the winners of all conditions take.
        let rows: Vec<(u8, u32)> = beside.iter().map(|b| (b.result.share, b.result.best.trial)).collect();
        let add = |result: &mut ShareResult| {
            for &(tuned_at, trial) in &rows {
                let share = quiet.iter().find(|q| q.best.trial == trial).map_or(0, |q| q.share);
                let time_ns = result.served.iter().find(|s| s.tuned_at == share).and_then(|s| s.time_ns);
                result.served.push(Served { tuned_at, neighbours: Neighbours::Compute, time_ns });
            }
        };
        task.loaded = beside.to_vec();
        task.shares.iter_mut().for_each(add);
        task.loaded.iter_mut().for_each(|loaded| add(&mut loaded.result));
    }
    (job, logs)
}

/// A generator of made-up numbers, the same on every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize]
    }
}

fn trials(seed: u64, scale: f64, count: u32) -> Vec<Trial> {
    let mut dice = Dice(seed);
    let mut elapsed_ms = 0;
    let mut trials = Vec::new();
    for trial in 0..count {
        let first = trial == 0;
        let block_m = if first { 64 } else { dice.pick(&[16, 32, 64, 128]) };
        let unroll = if first { 1 } else { dice.pick(&[1, 2, 3, 4, 5, 6, 7, 8]) };
        let vector = if first { 1 } else { dice.pick(&[1, 2, 4, 8]) };
        let order = if first { "ijk" } else { dice.pick(&["ijk", "ikj", "kij", "jik-blocked-twice"]) };
        let prefetch = !first && dice.below(2) == 1;
        let configuration = Configuration(BTreeMap::from([
            ("align".to_owned(), Value::Int(64)),
            ("block_m".to_owned(), Value::Int(block_m)),
            ("loop_order".to_owned(), Value::Text(order.to_owned())),
            ("prefetch".to_owned(), Value::Bool(prefetch)),
            ("unroll".to_owned(), Value::Int(unroll)),
            ("vector_width".to_owned(), Value::Int(vector)),
        ]));
        let failure = match if first { 99 } else { dice.below(40) } {
            0 | 1 => Some((Outcome::CompileError, "kernel.c:41:9: error: 'acc' <undeclared> & unused")),
            2 => {
                Some((Outcome::WrongAnswer, "C[17] is 3.25, the reference has 3.50 (relative error 7.1e-2)"))
            }
            3 => Some((Outcome::RunTimeout, "did not end within 15 s")),
            _ => None,
        };
        elapsed_ms += 150 + dice.below(500);
        let time = |share: u8, dice: &mut Dice| {
            let best_block = if share <= 25 { 32.0 } else { 128.0 };
            let order = match order {
                "ikj" => 1.0,
                "kij" => 1.7,
                "ijk" => 1.5,
                _ => 4.0,
            };
            let block = 1.0 + 0.35 * (block_m as f64 / best_block).log2().abs();
            let width = 1.0 + 0.5 * (8.0 / vector as f64).log2() * if share > 25 { 1.0 } else { 0.3 };
            let loops = 1.0 + 0.04 * (unroll - 5_i64).abs() as f64;
            let jitter = 1.0 + dice.below(60) as f64 / 400.0;
            (scale * 100.0 / f64::from(share) * order * block * width * loops * jitter) as u64
        };
        let measurements = SHARES.iter().map(|&share| Measurement {
            share,
            outcome: Outcome::Ok,
            time_ns: Some(time(share, &mut dice)),
            samples_ns: Vec::new(),
        });
        let measurements = if failure.is_none() { measurements.collect() } else { Vec::new() };
        trials.push(Trial {
            trial,
            configuration,
            outcome: failure.map_or(Outcome::Ok, |(outcome, _)| outcome),
            message: failure.map(|(_, message)| format!("{message} (trial {trial})")),
            compile_ns: 120_000_000,
            measurements,
            elapsed_ms,
        });
    }
    trials
}

/// Of a launch that has a block for each square of `block_m` in a matrix.
fn footprint(configuration: &Configuration) -> Option<Footprint> {
    let Some(Value::Int(block_m)) = configuration.0.get("block_m") else { return None };
    let side = u64::try_from(1024 / block_m).ok()?;
    let small = *block_m <= 32;
    Some(Footprint {
        blocks: side * side,
        threads: if small { 64 } else { 256 },
        blocks_per_unit: if small { 16 } else { 2 },
        unit_threads: 2048,
        registers: if small { 40 } else { 128 },
        shared_bytes: u32::try_from(block_m * 256).ok()?,
        local_bytes: 0,
    })
}

fn task((kernel, problem, weight): (&str, &str, i64), trials: &[Trial]) -> TaskResult {
    let mut outcomes = BTreeMap::new();
    for trial in trials {
        *outcomes.entry(trial.outcome).or_insert(0) += 1;
    }
    let winners: Vec<(u8, &Trial)> = (SHARES.iter())
        .filter_map(|&s| {
            Some((s, trials.iter().filter(|t| t.time_ns(s).is_some()).min_by_key(|t| t.time_ns(s))?))
        })
        .collect();
    let timed = |trial: &Trial, share: u8| Timed {
        trial: trial.trial,
        configuration: trial.configuration.clone(),
        time_ns: trial.time_ns(share).unwrap_or(0),
        noise_percent: Some(0.4 + f64::from(share) / 200.0),
        samples: 120,
    };
    let shares = winners.iter().map(|&(share, best)| ShareResult {
        share,
        best: timed(best, share),
        baseline: trials.first().map(|default| timed(default, share)),
        served: (winners.iter())
            .map(|&(tuned_at, winner)| Served {
                tuned_at,
                neighbours: Neighbours::Quiet,
                time_ns: winner.time_ns(share),
            })
            .collect(),
        finalists: vec![timed(best, share)],
        metrics: BTreeMap::from([("gflops".to_owned(), 2.1e9 / best.time_ns(share).unwrap_or(1) as f64)]),
        footprint: footprint(&best.configuration),
    });
    TaskResult {
        kernel: kernel.to_owned(),
        problem: problem.to_owned(),
        weight,
        failures: std::collections::BTreeMap::new(),
        size_macros: std::collections::BTreeMap::new(),
        folder: format!("{kernel}.{problem}"),
        raw: 4096,
        valid: 1024,
        trials: trials.len() as u32,
        outcomes,
        verified: problem != "heat",
        ended: Ended::MaxTrials,
        search_ms: trials.last().map_or(0, |t| t.elapsed_ms),
        finals_ms: 4_200,
        default: trials.first().map(|t| t.configuration.clone()).unwrap_or_default(),
        shares: shares.collect(),
        loaded: Vec::new(),
        canary: Some(CanaryResult { readings: 84, compute_percent: 0.0, memory_percent: 4.2, again: 3 }),
    }
}
