//! Writes a report of synthetic data, to look at: `cargo run --example report_sample -- out.html`.

mod synthetic;

use fractune_tuner::trial::Trial;
use kubectl_fractune::report::{ReportInput, page};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "synthetic.html".to_owned());
    let (job, logs) = synthetic::loaded();
    let settings = [("Strategy", "Auto"), ("Seed", "1"), ("Cache state", "Cold"), ("Finalists", "10")];
    let input = ReportInput {
        job: &job,
        trials: logs.iter().map(|log: &Vec<Trial>| log.as_slice()).collect(),
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        notices: Vec::new(),
        generated: "from synthetic data, by the report_sample example".to_owned(),
    };
    std::fs::write(path, page(&input)?)?;
    Ok(())
}
