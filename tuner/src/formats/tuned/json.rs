//! The winners as JSON.

use serde_json::json;

use super::{Tuned, TunedTask, Winner};

/// Every winner in one line of JSON: an array of `{kernel, problem, share, neighbours, configuration, timeNs, speedup,
/// metrics}`, where `speedup` is a string with three decimals, or null where the default has no time.
#[must_use]
pub fn json(tuned: &Tuned) -> String {
    let entry = |task: &TunedTask, winner: &Winner| {
        json!({
            "kernel": task.kernel,
            "problem": task.problem,
            "share": winner.share,
            "neighbours": winner.neighbours,
            "configuration": winner.configuration,
            "timeNs": winner.time_ns,
            "speedup": winner.speedup().map(|ratio| format!("{ratio:.3}")),
            "metrics": winner.metrics,
        })
    };
    let winners = tuned.tasks.iter().flat_map(|task| task.winners.iter().map(move |w| entry(task, w)));
    serde_json::Value::Array(winners.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn json_has_one_entry_per_winner_and_ratios_as_strings() {
        assert_eq!(
            json(&sample()),
            "[{\"kernel\":\"sgemm\",\"problem\":\"square\",\"share\":50,\"neighbours\":\"Quiet\",\
             \"configuration\":{\"block_m\":64,\"element\":\"unsigned long\"},\
             \"timeNs\":50000,\"speedup\":\"1.500\",\"metrics\":{\"gflops\":2.5}},\
             {\"kernel\":\"sgemm\",\"problem\":\"square\",\"share\":100,\"neighbours\":\"Quiet\",\
             \"configuration\":{\"block_m\":128,\"element\":\"unsigned long\"},\
             \"timeNs\":100000,\"speedup\":null,\"metrics\":{\"gflops\":2.5}}]"
        );
    }
}
