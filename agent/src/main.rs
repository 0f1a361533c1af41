//! The agent: runs in pods, and as the worker that runs candidates.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about = "Measures kernels at the share they will be served at")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run candidates for a parent process; requests on standard input (docs/worker-protocol.md).
    Worker,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Worker => fractune_agent::worker::serve(),
    }
}
