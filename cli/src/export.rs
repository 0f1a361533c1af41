//! The winners of a run, for use by programs.

use fractune_tuner::formats::tuned::{self, HeaderError, Tuned};
use fractune_tuner::results::JobResult;

/// A C and CUDA header with every winner of a run.
///
/// # Errors
/// Names that meet in one macro, and names and values that no macro can hold.
pub fn header(job: &JobResult) -> Result<String, HeaderError> {
    tuned::header(&Tuned::from(job))
}

/// Every winner of a run in one line of JSON.
#[must_use]
pub fn json(job: &JobResult) -> String {
    tuned::json(&Tuned::from(job))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_simulation_is_called_one_in_the_header() {
        let (mut job, _) = sample::job();
        job.device.backend = "replay".to_owned();
        assert!(header(&job).unwrap().contains("SIMULATION"));
    }

    #[test]
    fn json_has_every_winner_of_the_run() {
        let (mut job, _) = sample::job();
        job.tasks[0].shares[0].baseline = None;
        let parsed: Vec<serde_json::Value> = serde_json::from_str(&json(&job)).unwrap();
        let winners: usize = job.tasks.iter().map(|t| t.shares.len()).sum();
        assert_eq!(parsed.len(), winners);
        assert!(parsed[0]["speedup"].is_null());
        let expected = format!("{:.3}", job.tasks[0].shares[1].speedup().unwrap());
        assert_eq!(parsed[1]["speedup"], expected);
        assert_eq!(parsed[1]["timeNs"], job.tasks[0].shares[1].best.time_ns);
    }
}
