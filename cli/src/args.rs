//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Tune kernels for the share of the GPU (or of the CPUs) that they will be served at.
#[derive(Debug, Parser)]
#[command(name = "kubectl-fractune", bin_name = "kubectl fractune", version, max_term_width = 100)]
#[command(after_help = "Exit codes:
  0   done
  1   done, but a task has no configuration that compiled, verified and ran; recheck: a time has drifted
  2   the command line is wrong
  65  the job, or the folder given, is wrong: the message names the field and the way out
  69  what is needed is not there: a compiler, a GPU, a CPU for each share
  74  reading or writing failed, for example on a full disk
  75  interrupted: run again with --resume")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tune a job on this machine, without a cluster.
    Run(Run),
    /// Check a job without running anything: every problem at once.
    Lint {
        /// The job: a `TuneJob` as for `kubectl apply`; `-` for standard input.
        file: PathBuf,
    },
    /// Write the report of a run as one HTML page.
    Report {
        /// The run's output folder.
        dir: PathBuf,
        /// Where to write the page; `-` for standard output [default: DIR/report.html].
        #[arg(long, short)]
        output: Option<PathBuf>,
    },
    /// Print the winners of a run for programs to use.
    Export {
        /// The run's output folder.
        dir: PathBuf,
        /// A C and CUDA header, or JSON.
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
    },
    /// Measure the winners of a run again, each alone, and compare with what was reported.
    Recheck {
        /// The run's output folder.
        dir: PathBuf,
        /// Measurements of each winner, each in a new worker.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        times: u32,
        /// Fail with exit code 1 if a reported time is off by more than this.
        #[arg(long, value_name = "PERCENT")]
        within: Option<f64>,
        /// For a run on a GPU: which one, by index or UUID [default: the one of the run].
        #[arg(long, value_name = "INDEX|UUID")]
        gpu: Option<String>,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The child that runs candidate kernels; started by `run`.
    #[command(hide = true)]
    Worker,
    /// The child that compiles CUDA C++; started by `run`.
    #[command(hide = true)]
    Compile,
    /// The child that keeps a private MPS control daemon; started by `run`.
    #[command(hide = true)]
    MpsGuard,
}

/// Tune a job on this machine.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The job: a `TuneJob` as for `kubectl apply`; `-` for standard input.
    pub file: PathBuf,
    /// Shares in percent, instead of the job's.
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,...")]
    pub shares: Vec<u8>,
    /// What to tune on.
    #[arg(long, value_enum, default_value_t = BackendName::Auto)]
    pub backend: BackendName,
    /// For CUDA kernels: the GPU, by index or UUID [default: the first of `CUDA_VISIBLE_DEVICES`].
    #[arg(long, value_name = "INDEX|UUID")]
    pub gpu: Option<String>,
    /// For `--backend replay`: a Kernel Tuner cachefile or a trial log (trials.jsonl) to answer from, for
    /// one share or for all. May be given several times.
    #[arg(long, value_name = "[SHARE=]FILE", required_if_eq("backend", "replay"))]
    pub recording: Vec<String>,
    /// Where trials and results go [default: fractune-out/JOB].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in the output folder.
    #[arg(long)]
    pub resume: bool,
    /// Tasks tuned at once, instead of the job's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub parallelism: Option<u32>,
    /// Trials of each task at most, instead of the job's.
    #[arg(long, value_name = "N")]
    pub max_trials: Option<u32>,
    /// Print the results as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error.
    #[arg(long, short)]
    pub quiet: bool,
}

/// What to tune on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BackendName {
    /// By the kernels' language: CUDA on a GPU, C on the CPUs.
    Auto,
    /// CUDA kernels on a GPU; shares under 100 are made by MPS.
    Cuda,
    /// C kernels on this machine's CPUs; a share is that part of them.
    Cpu,
    /// A simulation: answers from a recording, measures nothing.
    Replay,
}

/// Format of exported winners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header for C, C++ and CUDA.
    Header,
    /// A JSON list.
    Json,
}
