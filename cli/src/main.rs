//! `kubectl fractune`: local runs, jobs on a cluster, and what is done with their results.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use kubectl_fractune::args::{Args, Command};
#[cfg(feature = "cluster")]
use kubectl_fractune::cluster;
use kubectl_fractune::commands;

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Worker => return fractune_agent::worker::serve(),
        Command::Compile => return fractune_agent::compile::serve(),
        Command::MpsGuard => return fractune_agent::mps::guard(),
        Command::Run(run) => commands::run(&run),
        Command::Lint { files } => kubectl_fractune::lint::lint(&files),
        Command::Report { target, output } => commands::report(&target, output.as_deref()),
        Command::Import(import) => kubectl_fractune::import::import(&import),
        Command::Export(export) => commands::export(&export),
        Command::Recheck { dir, times, within, gpu, json } => {
            commands::recheck(&dir, times, within, gpu, json)
        }
        #[cfg(feature = "cluster")]
        Command::Watch(watch) => cluster::watch(&watch),
        #[cfg(feature = "cluster")]
        Command::Results(results) => cluster::results(&results),
        #[cfg(feature = "cluster")]
        Command::Logs(logs) => cluster::logs(&logs),
        #[cfg(feature = "cluster")]
        Command::Suspend(switch) => cluster::switch(&switch, true),
        #[cfg(feature = "cluster")]
        Command::Resume(switch) => cluster::switch(&switch, false),
        #[cfg(feature = "cluster")]
        Command::Doctor(doctor) => cluster::doctor(&doctor),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "kubectl-fractune", &mut std::io::stdout());
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print_error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "errors are for the person at the terminal")]
fn print_error(error: &kubectl_fractune::error::CliError) {
    eprintln!("error: {error}");
}
