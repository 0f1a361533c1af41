//! The operator.

use clap::Parser as _;
use fractune_operator::args::Arguments;
use fractune_operator::{run, telemetry};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let level = telemetry::start(arguments.log_format, &arguments.log_level)?;
    run::run(arguments, level).await
}
