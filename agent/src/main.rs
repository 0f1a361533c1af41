//! The agent: tunes in a pod or on any machine, and runs candidates as its own worker.

mod tuning;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use fractune_agent::{mps, worker};
use tracing::warn;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

#[derive(Parser)]
#[command(version, about = "Measures kernels at the share they will be served at")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tune a job's kernels, CUDA on the GPU and C on the CPUs of this container; goes on with what the output folder holds.
    Tune {
        /// The job: a `TuneJob`.
        job: PathBuf,
        /// Where trials and results go.
        #[arg(long)]
        out: PathBuf,
        /// Tune only this task: kernels and problems in the job's order, from 0.
        #[arg(long, env = "JOB_COMPLETION_INDEX")]
        task: Option<usize>,
        /// A folder of compiled kernels that is shared with other runs (docs/how-to/cache.md).
        #[arg(long)]
        cache: Option<PathBuf>,
        /// In a pod: the folder that is shared with the reporter (docs/pods.md).
        #[arg(long, requires = "task")]
        link: Option<PathBuf>,
        /// Seconds to wait for the reporter to say what to tune.
        #[arg(long, hide = true, default_value_t = 120, requires = "link")]
        start_seconds: u64,
        /// Seconds to wait for the reporter to confirm the final status.
        #[arg(long, hide = true, default_value_t = 120, requires = "link")]
        confirm_seconds: u64,
    },
    /// In a pod: write what the tuning container finds to the status of its `TuneTask` (docs/pods.md).
    #[cfg(feature = "report")]
    Report(fractune_agent::report::Arguments),
    /// On a GPU node: offer slots of its GPUs to pods, and keep what they need (docs/node.md).
    #[cfg(feature = "node")]
    Node(fractune_agent::node::Arguments),
    /// Run candidates for a parent process; requests on standard input (docs/worker-protocol.md).
    Worker,
    /// Compile CUDA C++ for a parent process.
    #[command(hide = true)]
    Compile,
    /// Keep a private MPS control daemon for a parent process, and end it with the parent.
    #[command(hide = true)]
    MpsGuard,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Worker => worker::serve(),
        Command::Compile => fractune_agent::compile::serve(),
        Command::MpsGuard => mps::guard(),
        Command::Tune { job, out, task, cache, link, start_seconds, confirm_seconds } => {
            log_to_stderr();
            let request = tuning::Request { job, out, task, cache };
            ExitCode::from(match link {
                Some(link) => tuning::tune_in_pod(&request, link, start_seconds, confirm_seconds),
                None => tuning::tune(&request),
            })
        }
        #[cfg(feature = "report")]
        Command::Report(arguments) => {
            log_to_stderr();
            ExitCode::from(fractune_agent::report::main(&arguments))
        }
        #[cfg(feature = "node")]
        Command::Node(arguments) => {
            log_to_stderr();
            ExitCode::from(fractune_agent::node::main(&arguments))
        }
    }
}

fn log_to_stderr() {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|text| !text.is_empty());
    let filter = wanted.as_deref().map(filter);
    let (filter, problem) = match filter {
        Some(Ok(filter)) => (filter, None),
        Some(Err(problem)) => (EnvFilter::new("info"), Some(problem)),
        None => (EnvFilter::new("info"), None),
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    if let Some(problem) = problem {
        warn!("{problem}");
    }
}

/// What `RUST_LOG` says is logged. An error is a sentence.
fn filter(text: &str) -> Result<EnvFilter, String> {
    // A word alone that is no level would be taken for a module: that module is logged, and nothing else.
    let is_level = |word: &str| word.parse::<LevelFilter>().is_ok();
    let strange = text.split(',').find(|word| !word.contains(['=', '[']) && !is_level(word));
    let filter = match strange {
        Some(word) => Err(format!("{word:?} is neither a level nor MODULE=LEVEL")),
        None => EnvFilter::try_new(text).map_err(|error| error.to_string()),
    };
    filter.map_err(|why| {
        format!(
            "{}={text:?} is no log level: {why}; write error, warn, info, debug or trace. Until then it is info.",
            EnvFilter::DEFAULT_ENV
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_does_not_silence_the_log() {
        for wrong in ["verbose", "info,verbose", "fractune_agent=loud"] {
            let problem = filter(wrong).expect_err(wrong);
            assert!(problem.contains(wrong) && problem.contains("debug"), "{problem}");
        }
        for right in ["info", "debug,kube=warn", "[trial]=trace"] {
            assert!(filter(right).is_ok(), "{right}");
        }
    }
}
