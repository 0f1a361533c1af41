//! Progress of a run on standard error: bars on a terminal, plain lines otherwise.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use fractune_agent::tune::Event;
use fractune_tuner::space::count_in_words;
use fractune_tuner::trial::{Outcome, Trial};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::table::duration;

/// A plain line at most this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows a run's events as they come.
pub struct Progress {
    tasks: RefCell<BTreeMap<usize, Task>>,
    bars: Option<MultiProgress>,
    quiet: bool,
}

struct Task {
    name: String,
    budget: u32,
    resumed: u32,
    trials: u32,
    failed: u32,
    best: BTreeMap<u8, u64>,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Progress for this process's standard error; none at all if `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Self { tasks: RefCell::default(), bars, quiet }
    }

    /// Takes the next event.
    pub fn show(&self, event: Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::TaskStarted { task, name, raw, valid, budget, resumed } => {
                let mut line = format!(
                    "{name}: {valid} valid configurations of {raw}, up to {budget} trials",
                    valid = count_in_words(valid)
                );
                if resumed > 0 {
                    let _ = write!(line, ", {resumed} of them from the log");
                }
                self.say(&line);
                let bar = self.bars.as_ref().map(|bars| bars.add(bar(&name, budget)));
                if let Some(bar) = &bar {
                    bar.set_message("compiling the first configurations and running the reference");
                }
                self.tasks.borrow_mut().insert(task, Task::new(name, budget, resumed, bar));
            }
            Event::Trial { task, trial } => {
                let mut tasks = self.tasks.borrow_mut();
                let Some(task) = tasks.get_mut(&task) else { return };
                task.count(&trial);
                if let Some(bar) = &task.bar {
                    bar.set_position(u64::from(task.trials));
                    bar.set_message(task.standing());
                } else if task.last_line.elapsed() >= LINE_EVERY || task.trials == task.budget {
                    task.last_line = Instant::now();
                    let line =
                        format!("{}: {}/{} trials, {}", task.name, task.trials, task.budget, task.standing());
                    self.say(&line);
                }
            }
            Event::Finals { task, condition, entries } => {
                let tasks = self.tasks.borrow();
                let Some(task) = tasks.get(&task) else { return };
                let how = if condition.neighbours.is_quiet() { "quietly " } else { "" };
                let message = format!("measuring {entries} finalists {how}at {condition}");
                match &task.bar {
                    Some(bar) => bar.set_message(message),
                    None => self.say(&format!("{}: {message}", task.name)),
                }
            }
            Event::TaskFinished { task, result } => {
                if let Some(task) = self.tasks.borrow_mut().remove(&task)
                    && let Some(bar) = task.bar
                {
                    bar.finish_and_clear();
                }
                let seconds = |ms: u64| ms as f64 / 1000.0;
                self.say(&format!(
                    "{}/{}: done, {} trials in {:.1} s and quiet rounds in {:.1} s",
                    result.kernel,
                    result.problem,
                    result.trials,
                    seconds(result.search_ms),
                    seconds(result.finals_ms)
                ));
            }
            Event::Note(note) => self.say(&format!("note: {note}")),
        }
    }

    /// Takes the bars off the screen.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            // Nothing depends on a terminal that does not answer.
            let _ = bars.clear();
        }
    }

    #[expect(clippy::print_stderr, reason = "progress is what this module prints")]
    fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

impl Task {
    fn new(name: String, budget: u32, resumed: u32, bar: Option<ProgressBar>) -> Self {
        let now = Instant::now();
        let best = BTreeMap::new();
        Self { name, budget, resumed, trials: 0, failed: 0, best, started: now, last_line: now, bar }
    }

    fn count(&mut self, trial: &Trial) {
        self.trials += 1;
        self.failed += u32::from(trial.outcome != Outcome::Ok);
        for measurement in &trial.measurements {
            if let Some(time) = trial.time_ns(measurement.share) {
                let best = self.best.entry(measurement.share).or_insert(time);
                *best = time.min(*best);
            }
        }
    }

    /// `28 s left, 4.2/s; best 410 µs at 50 %, 230 µs at 100 %; 3 failed`: what matters most is not cut off.
    fn standing(&self) -> String {
        let made = f64::from(self.trials.saturating_sub(self.resumed));
        let per_second = made / self.started.elapsed().as_secs_f64().max(0.001);
        let mut line = String::new();
        if made > 0.0 {
            let left = f64::from(self.budget.saturating_sub(self.trials)) / per_second;
            let _ = write!(line, "{left:.0} s left, {per_second:.1}/s; ");
        }
        let best: Vec<_> =
            self.best.iter().map(|(share, ns)| format!("{} at {share} %", duration(*ns))).collect();
        if best.is_empty() {
            line += "no time yet";
        } else {
            let _ = write!(line, "best {}", best.join(", "));
        }
        if self.failed > 0 {
            let _ = write!(line, "; {} failed", self.failed);
        }
        line
    }
}

fn bar(name: &str, budget: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos}/{len} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    let bar = ProgressBar::new(u64::from(budget)).with_style(style).with_prefix(name.to_string());
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
