//! Replays recorded spaces with the strategies and prints how soon each finds what is good.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Parser;
use fractune_bench::chart::{self, Curve};
use fractune_bench::replay::{Pace, Run, fractions, replay};
use fractune_bench::score::{Baseline, Interval, over_spaces};
use fractune_bench::space::{RecordedSpace, read_all};
use fractune_bench::synthetic::thinking_ms;
use fractune_tuner::settings::Strategy;
use rayon::prelude::*;

/// Trials at which strategies are compared.
const COUNTS: [usize; 5] = [25, 50, 100, 200, 400];

/// Replay recorded spaces with the strategies.
#[derive(Debug, Parser)]
struct Args {
    /// A directory with Kernel Tuner cachefiles, compressed or not.
    #[arg(long)]
    spaces: PathBuf,
    /// Where search.csv and search.svg go.
    #[arg(long)]
    out: PathBuf,
    /// Runs of each strategy on each space.
    #[arg(long, default_value_t = 30)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// What `kernel_tuner_search.py` wrote for the same spaces, to be shown beside.
    #[arg(long)]
    peers: Option<PathBuf>,
    /// Only Auto, in batches of 8.
    #[arg(long)]
    quick: bool,
    /// Auto in batches of 1 as well, which takes as long as all else together.
    #[arg(long)]
    sequential: bool,
}

/// A strategy and how it is asked.
#[derive(Clone, Debug)]
struct Contender {
    name: String,
    strategy: Strategy,
    pace: Pace,
}

/// What came of one run on one space.
struct Row {
    contender: usize,
    space: usize,
    seed: u64,
    fractions: Vec<f64>,
    curve: Vec<f64>,
    score: f64,
    thinking_ms: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.seeds == 0 {
        bail!("--seeds is 0; at least one run of each is needed");
    }
    let (spaces, left_out) = read_all(&args.spaces)?;
    for why in &left_out {
        eprintln!("left out: {why}");
    }
    for space in &spaces {
        let failed = space.times.iter().filter(|time| time.is_none()).count();
        println!("{}: {} configurations, {failed} of them failed", space.name, space.times.len());
    }
    let contenders = contenders(args.quick, args.sequential);
    let rows = run_all(&args, &spaces, &contenders);

    println!(
        "\nMean fraction of the optimum over {} spaces, {} seeds, 95 % interval",
        spaces.len(),
        args.seeds
    );
    println!("{}", heading());
    for (number, contender) in contenders.iter().enumerate() {
        let own: Vec<&Row> = rows.iter().filter(|row| row.contender == number).collect();
        let by_space = |value: &dyn Fn(&Row) -> f64| -> Vec<Vec<f64>> {
            let of = |space| own.iter().filter(|row| row.space == space).map(|row| value(row)).collect();
            (0..spaces.len()).map(of).collect()
        };
        let cells: Vec<Interval> =
            (0..COUNTS.len()).map(|i| over_spaces(&by_space(&|row| row.fractions[i]))).collect();
        let score = over_spaces(&by_space(&|row| row.score));
        let thinking = own.iter().map(|row| row.thinking_ms).sum::<f64>() / own.len().max(1) as f64;
        println!("{} {thinking:>8.2}", line(&contender.name, &cells, score));
    }
    if let Some(peers) = &args.peers {
        print_peers(peers, &spaces)?;
    }
    print_by_space(&spaces, &rows);
    if !args.quick {
        print_pairs(&args, &spaces);
        print_warm_starts(&args, &spaces);
    }
    let counts = [25, 100, 400, 1000];
    let thinking = thinking_ms(16, &counts);
    println!("\nAuto thinks, per configuration of a batch of 16, in a space of a million:");
    for (count, ms) in counts.iter().zip(thinking) {
        println!("  {count:>5} known trials: {ms:.2} ms");
    }
    write_files(&args, &spaces, &contenders, &rows)
}

fn contenders(quick: bool, sequential: bool) -> Vec<Contender> {
    let contender = |strategy: Strategy, batch: usize, under_way: usize| {
        let overlap = if under_way > 1 { ", two under way" } else { "" };
        let name = format!("{strategy:?}, batch {batch}{overlap}");
        Contender { name, strategy, pace: Pace { batch, under_way } }
    };
    let mut contenders = vec![contender(Strategy::Auto, 8, 1)];
    if !quick {
        contenders.extend([(16, 1), (32, 1), (8, 2)].map(|(b, u)| contender(Strategy::Auto, b, u)));
        let others =
            [Strategy::SimulatedAnnealing, Strategy::Genetic, Strategy::LocalSearch, Strategy::Random];
        contenders.extend(others.map(|strategy| contender(strategy, 1, 1)));
    }
    if sequential {
        contenders.push(contender(Strategy::Auto, 1, 1));
    }
    contenders
}

fn run_all(args: &Args, spaces: &[Arc<RecordedSpace>], contenders: &[Contender]) -> Vec<Row> {
    let trials = COUNTS[COUNTS.len() - 1];
    let baselines: Vec<Baseline> = spaces.iter().map(|space| Baseline::of(space)).collect();
    let jobs: Vec<(usize, usize, u64)> = (0..contenders.len())
        .flat_map(|contender| (0..spaces.len()).map(move |space| (contender, space)))
        .flat_map(|(c, s)| (args.first_seed..args.first_seed + args.seeds).map(move |seed| (c, s, seed)))
        .collect();
    let run = |&(contender, number, seed): &(usize, usize, u64)| {
        let Contender { strategy, pace, .. } = contenders[contender];
        let space = &spaces[number];
        let Run { asked, thinking } = replay(std::slice::from_ref(space), strategy, pace, seed, trials);
        Row {
            contender,
            space: number,
            seed,
            fractions: fractions(space, &asked, &COUNTS),
            curve: fractions(space, &asked, &curve_points()),
            score: baselines[number].score(space, &asked),
            thinking_ms: thinking.as_secs_f64() * 1e3 / asked.len().max(1) as f64,
        }
    };
    jobs.par_iter().map(run).collect()
}

/// Trials at which the curves of the chart have a point.
fn curve_points() -> Vec<usize> {
    let mut points: Vec<usize> =
        (0..=40).map(|i| 400.0_f64.powf(f64::from(i) / 40.0).round() as usize).collect();
    points.dedup();
    points
}

fn heading() -> String {
    let counts: String = COUNTS.iter().fold(String::new(), |mut text, count| {
        let _ = write!(text, "{count:>15}");
        text
    });
    format!("{:<34}{counts}{:>15} {:>8}", "", "score", "ms/trial")
}

fn line(name: &str, cells: &[Interval], score: Interval) -> String {
    let mut text = format!("{name:<34}");
    for Interval { mean, half } in cells.iter().chain([&score]) {
        let _ = write!(text, "  {mean:>6.3} ±{half:.3}");
    }
    text
}

fn print_by_space(spaces: &[Arc<RecordedSpace>], rows: &[Row]) {
    println!("\nAuto, batch 8, by space");
    for (number, space) in spaces.iter().enumerate() {
        let own: Vec<&Row> = rows.iter().filter(|row| row.contender == 0 && row.space == number).collect();
        let cell = |i: usize| over_spaces(&[own.iter().map(|row| row.fractions[i]).collect()]);
        let cells: Vec<Interval> = (0..COUNTS.len()).map(cell).collect();
        let score = over_spaces(&[own.iter().map(|row| row.score).collect()]);
        println!("{}", line(&space.name, &cells, score));
    }
}

/// Two recordings of one kernel as two shares: 150 trials for both against 120 for each alone.
fn print_pairs(args: &Args, spaces: &[Arc<RecordedSpace>]) {
    println!("\nTwo targets at once: mean fraction of the optimum (recordings of one kernel on two GPUs");
    println!("stand in for two shares), 150 trials for both against 120 for each alone");
    let pace = Pace { batch: 8, under_way: 1 };
    let seeds = || (args.first_seed..args.first_seed + args.seeds).into_par_iter();
    for (i, a) in spaces.iter().enumerate() {
        for b in spaces.iter().skip(i + 1).filter(|b| a.is_like(b)) {
            let pair = [a.clone(), b.clone()];
            let both = |seed| {
                let asked = replay(&pair, Strategy::Auto, pace, seed, 150).asked;
                f64::midpoint(fractions(a, &asked, &[150])[0], fractions(b, &asked, &[150])[0])
            };
            let alone = |seed| {
                let one = |space: &Arc<RecordedSpace>| {
                    let own = std::slice::from_ref(space);
                    let asked = replay(own, Strategy::Auto, pace, seed, 120).asked;
                    fractions(space, &asked, &[120])[0]
                };
                f64::midpoint(one(a), one(b))
            };
            let both = over_spaces(&[seeds().map(both).collect()]);
            let alone = over_spaces(&[seeds().map(alone).collect()]);
            println!(
                "{:<70} {:.3} ±{:.3} against {:.3} ±{:.3}",
                format!("{} + {}", a.name, b.name),
                both.mean,
                both.half,
                alone.mean,
                alone.half
            );
        }
    }
}

/// The ten best of one recording are asked first on another of the same kernel.
fn print_warm_starts(args: &Args, spaces: &[Arc<RecordedSpace>]) {
    println!(
        "\nWarm start: fraction of the optimum after 10 trials, from the ten best of another recording,"
    );
    println!("and without");
    for to in spaces {
        for from in spaces.iter().filter(|from| !Arc::ptr_eq(from, to) && from.is_like(to)) {
            let mut best: Vec<usize> = (0..from.times.len()).filter(|&i| from.times[i].is_some()).collect();
            best.sort_by_key(|&i| from.times[i]);
            let warm = fractions(to, &best, &[10])[0];
            let cold = (args.first_seed..args.first_seed + args.seeds).map(|seed| {
                let own = std::slice::from_ref(to);
                let asked = replay(own, Strategy::Auto, Pace { batch: 8, under_way: 1 }, seed, 10).asked;
                fractions(to, &asked, &[10])[0]
            });
            let cold = over_spaces(&[cold.collect()]);
            println!("{:<70} {warm:.3} against {:.3}", format!("{} from {}", to.name, from.name), cold.mean);
        }
    }
}

/// Shows what the peers' script wrote; only spaces that are here too count.
fn print_peers(path: &std::path::Path, spaces: &[Arc<RecordedSpace>]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    // Strategy, then trials, then space.
    let mut peers: BTreeMap<String, BTreeMap<usize, Vec<Vec<f64>>>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.trim().split(',').collect();
        let [space, strategy, _, trials, fraction] = cells[..] else {
            bail!("{}: not a line of kernel_tuner_search.py: {line}", path.display());
        };
        let Some(number) = spaces.iter().position(|known| known.name == space) else { continue };
        let by_trials = peers.entry(strategy.to_owned()).or_default();
        let by_space = by_trials.entry(trials.parse()?).or_insert_with(|| vec![Vec::new(); spaces.len()]);
        by_space[number].push(fraction.parse()?);
    }
    println!("Kernel Tuner");
    for (strategy, by_trials) in &peers {
        let mut text = format!("{strategy:<34}");
        for count in COUNTS {
            let values: Vec<Vec<f64>> =
                by_trials.get(&count).into_iter().flatten().filter(|v| !v.is_empty()).cloned().collect();
            let Interval { mean, half } = over_spaces(&values);
            let _ = write!(text, "  {mean:>6.3} ±{half:.3}");
        }
        let seen = by_trials.values().next().map_or(0, |v| v.iter().filter(|v| !v.is_empty()).count());
        println!("{text}  ({seen} spaces)");
    }
    Ok(())
}

fn write_files(
    args: &Args,
    spaces: &[Arc<RecordedSpace>],
    contenders: &[Contender],
    rows: &[Row],
) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let mut csv = String::from("space,strategy,batch,under_way,seed,trials,fraction,score\n");
    for row in rows {
        let Contender { strategy, pace, .. } = &contenders[row.contender];
        for (count, fraction) in COUNTS.iter().zip(&row.fractions) {
            let space = &spaces[row.space].name;
            let Pace { batch, under_way } = pace;
            let (seed, score) = (row.seed, row.score);
            writeln!(
                csv,
                "{space},{strategy:?},{batch},{under_way},{seed},{count},{fraction:.6},{score:.6}"
            )?;
        }
    }
    std::fs::write(args.out.join("search.csv"), csv)?;
    let points = curve_points();
    let curve = |number: usize| {
        let own: Vec<&Row> = rows.iter().filter(|row| row.contender == number).collect();
        let mean = |i: usize| own.iter().map(|row| row.curve[i]).sum::<f64>() / own.len().max(1) as f64;
        let points = points.iter().enumerate().map(|(i, &trials)| (trials, mean(i))).collect();
        Curve { name: contenders[number].name.clone(), points }
    };
    let curves: Vec<Curve> = (0..contenders.len()).map(curve).collect();
    let title = format!("Fraction of the optimum, mean over {} spaces, {} seeds", spaces.len(), args.seeds);
    chart::draw(&args.out.join("search.svg"), &curves, &title)?;
    println!("\nWritten: search.csv and search.svg in {}", args.out.display());
    Ok(())
}
