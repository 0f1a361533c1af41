//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::search::Search;

#[cfg(feature = "cluster")]
use crate::cluster::args::{Connection, Doctor, Logs, Results, Switch, Watch};

/// Tune kernels for the share of the GPU (or of the CPUs) that they will be served at.
#[derive(Debug, Parser)]
#[command(name = "kubectl-fractune", bin_name = "kubectl fractune", version, max_term_width = 100)]
#[command(after_help = "Exit codes:
  0   done
  1   done, but a task has no configuration that compiled, verified and ran; recheck: a time has drifted;
      watch: the job Failed; results: it is not Complete; doctor: something is broken
  2   the command line is wrong
  65  the job, or the folder given, is wrong: the message names the field and the way out
  66  there is no such TuneJob, or nothing of it yet that could be shown
  69  what is needed is not there: a compiler, a GPU, a CPU for each share, the cluster, its definitions
  74  reading or writing failed, for example on a full disk
  75  interrupted, or out of time: run again with --resume; a job on a cluster goes on
  77  the cluster does not let you
  78  the kubeconfig is wrong: no such file, context or user")]
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
    /// Check jobs without running anything: every problem, misspelt fields and values first.
    Lint {
        /// The jobs: files of `TuneJobs` and `ConfigMaps` as for `kubectl apply`; `-` for standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Write the report of a run, or of a job on a cluster, as one HTML page.
    Report {
        /// Where to write the page; `-` for standard output [default: DIR/report.html, JOB-report.html].
        #[arg(long, short)]
        output: Option<PathBuf>,
        /// What was found.
        #[command(flatten)]
        target: Box<Target>,
    },
    /// Make a job of a tuning problem in the T1 format, as Kernel Tuner and BAT read it.
    Import(Import),
    /// Print what a run, or a job on a cluster, found, for programs to use.
    Export(Export),
    /// Follow a job on a cluster until it is done.
    #[cfg(feature = "cluster")]
    Watch(Watch),
    /// Print what a job on a cluster found.
    #[cfg(feature = "cluster")]
    Results(Results),
    /// Print the logs of a job's pods.
    #[cfg(feature = "cluster")]
    Logs(Logs),
    /// Stop a job's pods and keep what they found.
    #[cfg(feature = "cluster")]
    Suspend(Switch),
    /// Let a suspended job go on from what it found.
    #[cfg(feature = "cluster")]
    Resume(Switch),
    /// Look for what is wrong with fractune on a cluster, and say how to mend it.
    #[cfg(feature = "cluster")]
    Doctor(Doctor),
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
    /// A folder of compiled kernels to share with other runs: what one has compiled, the next one takes from there. Nobody
    /// else should be able to write it.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Tasks tuned at once, instead of the job's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub parallelism: Option<u32>,
    /// Print the results as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error.
    #[arg(long, short)]
    pub quiet: bool,
    /// How configurations are chosen. Last, so that its heading is over nothing else.
    #[command(flatten)]
    pub search: Search,
}

/// Make a job of a tuning problem in the T1 format.
#[derive(Debug, clap::Args)]
pub struct Import {
    /// The T1 file; `-` for standard input.
    pub file: PathBuf,
    /// Where to write the job; `-` for standard output.
    #[arg(long, short, default_value = "-")]
    pub output: PathBuf,
    /// Name of the job and its kernel [default: the benchmark's].
    #[arg(long)]
    pub name: Option<String>,
    /// Shares in percent.
    #[arg(long, value_delimiter = ',', value_name = "PERCENT,...", default_value = "100")]
    pub shares: Vec<u8>,
    /// The kernel's source, instead of the one that the file names.
    #[arg(long, value_name = "FILE")]
    pub source: Option<PathBuf>,
    /// A function of the source with the same arguments whose outputs are right. Without it the job is not
    /// verified.
    #[arg(long, value_name = "FUNCTION")]
    pub reference: Option<String>,
}

/// What was found: by a run on this machine, or by a job on a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The run's output folder; where there is no such folder, the name of a `TuneJob`.
    #[cfg_attr(feature = "cluster", arg(value_name = "DIR|JOB", required_unless_present = "job"))]
    #[cfg_attr(not(feature = "cluster"), arg(value_name = "DIR", required = true))]
    pub target: Option<PathBuf>,
    /// A `TuneJob`, also where there is a folder of its name.
    #[cfg(feature = "cluster")]
    #[arg(long, value_name = "NAME", conflicts_with = "target", value_parser = crate::cluster::args::job_name)]
    pub job: Option<String>,
    /// Which cluster.
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    pub connection: Connection,
}

/// Print what a run found.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// The winners as header or JSON, or every trial in a format of Kernel Tuner.
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// For every trial: the share in percent [default: 100, or the only one].
    #[arg(long, value_name = "PERCENT")]
    pub share: Option<u8>,
    /// For every trial: the kernel, where the run has several.
    #[arg(long)]
    pub kernel: Option<String>,
    /// For every trial: the problem, where the run has several.
    #[arg(long)]
    pub problem: Option<String>,
    /// Where to write; `-` for standard output. For every trial of several kernels or problems, a folder,
    /// which gets a file for each.
    #[arg(long, short, default_value = "-")]
    pub output: PathBuf,
    /// What was found.
    #[command(flatten)]
    pub target: Target,
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

/// Format of what is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A header for C, C++ and CUDA.
    Header,
    /// A JSON list.
    Json,
    /// Every trial, as a cachefile of Kernel Tuner.
    KernelTuner,
    /// Every trial, as results in the T4 format.
    T4,
}
