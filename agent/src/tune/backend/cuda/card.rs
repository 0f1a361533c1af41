//! Choosing a card, and judging what a worker read back from it.

use crate::nvml::{Card, Nvml, NvmlError};
use crate::tune::plan::RunError;
use crate::worker::Ready as WorkerReady;

/// The chosen card, if it can be used.
pub(super) fn find_card(nvml: &Nvml, selector: Option<&str>) -> Result<Card, RunError> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let first = visible.as_deref().map(|list| list.split(',').next().unwrap_or_default().trim());
    let wanted = selector.or(first).unwrap_or("0");
    if wanted.is_empty() {
        let who = if selector.is_some() { "--gpu" } else { "CUDA_VISIBLE_DEVICES" };
        return Err(RunError::Machine(format!(
            "{who} is empty, which hides every GPU; name one by its index in nvidia-smi or its UUID"
        )));
    }
    if wanted.starts_with("MIG-") {
        return Err(mig(wanted));
    }
    let card = nvml.card(wanted);
    let card = card.map_err(|error| match (&error, selector) {
        (NvmlError::NoSuchCard { .. } | NvmlError::Ambiguous { .. }, None) => RunError::Machine(format!(
            "no GPU to tune on: {error} (CUDA_VISIBLE_DEVICES={})",
            visible.as_deref().unwrap_or("")
        )),
        _ => machine(error),
    })?;
    if card.mig {
        return Err(mig(&format!("GPU {} ({})", card.index, card.product)));
    }
    Ok(card)
}

fn mig(what: &str) -> RunError {
    RunError::Machine(format!(
        "{what} is split by MIG, where MPS shares are shares of an instance; tune on a GPU without MIG"
    ))
}

/// Who else uses the card, in sentences.
pub(super) fn others(nvml: &Nvml, card: &Card) -> Vec<String> {
    let processes = nvml.other_processes(&card.uuid, &[std::process::id()]).unwrap_or_default();
    let busy = nvml.utilisation_percent(&card.uuid).unwrap_or(0);
    if processes.is_empty() && busy == 0 {
        return Vec::new();
    }
    let names: Vec<String> = processes
        .iter()
        .map(|process| {
            let program = process.program.as_deref().and_then(|program| program.rsplit('/').next());
            format!("{} (pid {})", program.unwrap_or("unknown"), process.pid)
        })
        .collect();
    let who =
        if names.is_empty() { "processes that the driver does not name".into() } else { names.join(", ") };
    vec![format!(
        "the GPU was used by others when the run began ({busy} % busy): {who}; times may be longer than alone"
    )]
}

/// Whether a share is what was asked for. MPS rounds to whole groups of SMs, and gives no less than a few.
pub(super) fn check_share(share: u8, ready: &WorkerReady, whole: u32) -> Result<(), RunError> {
    let asked = f64::from(whole) * f64::from(share) / 100.0;
    let got = ready.units;
    if share < 100 && !ready.gpu.as_ref().is_some_and(|gpu| gpu.mps) {
        return Err(RunError::Machine(format!(
            "share {share} % needs MPS, and the worker did not reach its daemon: check that the daemon runs as \
             this user and that CUDA_MPS_PIPE_DIRECTORY names its folder"
        )));
    }
    if f64::from(got) > asked.ceil() {
        // The smallest share whose SMs, rounded up, are as many as MPS gives at least.
        let smallest =
            (1..=100).find(|&s| (f64::from(whole) * f64::from(s) / 100.0).ceil() >= f64::from(got));
        let smallest: i32 = smallest.unwrap_or(100);
        return Err(RunError::Machine(format!(
            "share {share} % of {whole} SMs is {asked:.1}, and MPS gives {got} at least; the smallest share \
             here is {smallest}"
        )));
    }
    if f64::from(got) < asked * 0.8 {
        return Err(RunError::Machine(format!(
            "share {share} % of {whole} SMs is {asked:.1}, and MPS gives only {got}: its daemon, or the slot of \
             this pod, has a smaller limit"
        )));
    }
    Ok(())
}

/// Whether a worker got what the first one at its share got: as many SMs of the same GPU, in the same way.
pub(super) fn is_the_same(got: &WorkerReady, expected: &WorkerReady) -> bool {
    let identity = |ready: &WorkerReady| ready.gpu.as_ref().map(|gpu| (gpu.uuid.clone(), gpu.mps));
    got.units == expected.units && identity(got) == identity(expected)
}

fn machine(error: impl std::fmt::Display) -> RunError {
    RunError::Machine(error.to_string())
}

#[cfg(test)]
mod tests {
    use crate::worker::protocol::GpuReady;

    use super::*;

    fn read_back(units: u32, mps: bool) -> WorkerReady {
        let gpu = GpuReady { uuid: String::new(), mps, compute_capability: [9, 0], free_memory_bytes: 0 };
        WorkerReady { protocol: 2, product: String::new(), units, gpu: Some(gpu), notes: Vec::new() }
    }

    #[test]
    fn the_shares_that_an_h100_was_seen_to_give_are_taken() {
        for (share, units) in [(100, 132), (75, 98), (50, 66), (25, 32), (13, 16), (10, 12), (6, 8)] {
            assert!(check_share(share, &read_back(units, true), 132).is_ok(), "{share}");
        }
    }

    #[test]
    fn a_share_below_the_floor_is_refused_with_the_smallest_that_works() {
        let refused = check_share(3, &read_back(8, true), 132).unwrap_err().to_string();
        assert!(refused.contains("MPS gives 8 at least; the smallest share here is 6"), "{refused}");
    }

    #[test]
    fn a_share_is_never_measured_at_full_size_or_below_its_own() {
        let refused = check_share(25, &read_back(132, false), 132).unwrap_err().to_string();
        assert!(refused.contains("needs MPS"), "{refused}");
        let refused = check_share(50, &read_back(32, true), 132).unwrap_err().to_string();
        assert!(refused.contains("only 32"), "{refused}");
        assert!(check_share(100, &read_back(132, false), 132).is_ok());
    }

    #[test]
    fn the_whole_gpu_without_mps_is_not_the_same_as_with_it() {
        assert!(is_the_same(&read_back(132, true), &read_back(132, true)));
        assert!(!is_the_same(&read_back(132, false), &read_back(132, true)));
        assert!(!is_the_same(&read_back(66, true), &read_back(132, true)));
    }

    #[test]
    fn a_daemon_that_holds_every_client_to_half_is_found_at_100_percent() {
        let refused = check_share(100, &read_back(66, true), 132).unwrap_err().to_string();
        assert!(refused.contains("only 66"), "{refused}");
    }
}
