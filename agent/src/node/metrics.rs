//! What a node tells Prometheus.

use std::collections::BTreeMap;

use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::board::Board;
use super::gpu::Gpu;
use super::layout::{Slot, resource};
use crate::gate::NeedKind;

/// States of an MPS server, as labels. `Absent`: no client has come yet, or the daemon is not there.
pub(super) const SERVER_STATES: [&str; 5] = ["Absent", "Initializing", "Active", "Fault", "Other"];

/// A node's metrics. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// Slots, by resource and state.
    slots: IntGaugeVec,
    /// 1 where a GPU's slots can be used, by GPU.
    healthy: IntGaugeVec,
    /// Slots that were given to containers, by resource.
    pub allocations: IntCounterVec,
    /// Registrations with kubelet, by resource.
    pub registrations: IntCounterVec,
    /// Starts of MPS daemons after the first, by GPU.
    pub restarts: IntCounterVec,
    /// 1 for the state that a GPU's MPS server is in.
    servers: IntGaugeVec,
    /// How long granted requests waited at a GPU's gate, in seconds, by what they needed.
    gate: HistogramVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When two metrics have one name.
    pub fn new(simulated: bool) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let build = gauges(
            "fractune_node_info",
            "1, with the version of the node's agent, and whether its GPUs are simulated",
            &["version", "simulated"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), if simulated { "true" } else { "false" }])
            .set(1);
        // From a free gate (20 us) to the longest that anybody should wait (2 s), and beyond.
        let buckets = prometheus::exponential_buckets(0.000_02, 4.0, 11)?;
        let options = HistogramOpts::new(
            "fractune_gate_wait_seconds",
            "How long requests waited at the gate until they were granted",
        );
        let gate = HistogramVec::new(options.buckets(buckets), &["gpu", "need"])?;
        registry.register(Box::new(gate.clone()))?;
        Ok(Self {
            slots: gauges("fractune_slots", "Slots that the node offers", &["resource", "state"])?,
            healthy: gauges(
                "fractune_gpu_healthy",
                "1 while the slots of a GPU can be used",
                &["gpu", "product", "index"],
            )?,
            allocations: counters(
                "fractune_slot_allocations_total",
                "Slots that were given to containers",
                &["resource"],
            )?,
            registrations: counters(
                "fractune_kubelet_registrations_total",
                "Registrations with kubelet: one, and one more whenever it was started again",
                &["resource"],
            )?,
            restarts: counters(
                "fractune_mps_restarts_total",
                "Starts of an MPS control daemon after the one before had died",
                &["gpu"],
            )?,
            servers: gauges(
                "fractune_mps_server_state",
                "1 for the state that the GPU's MPS server is in",
                &["gpu", "state"],
            )?,
            gate,
            registry,
        })
    }

    /// A request was granted at a GPU's gate.
    pub fn granted(&self, gpu: &str, need: NeedKind, waited: std::time::Duration) {
        self.gate.with_label_values(&[gpu, &format!("{need:?}")]).observe(waited.as_secs_f64());
    }

    /// The state that a GPU's MPS server is in: one of [`SERVER_STATES`].
    pub(super) fn server(&self, gpu: &str, state: &str) {
        for known in SERVER_STATES {
            self.servers.with_label_values(&[gpu, known]).set(i64::from(known == state));
        }
    }

    /// Counts slots anew.
    pub fn count(&self, gpus: &[Gpu], slots: &[Slot], board: &Board) {
        let mut states: BTreeMap<(u8, bool), i64> = BTreeMap::new();
        for slot in slots {
            let healthy = board.is_healthy(&slot.gpu);
            *states.entry((slot.share, healthy)).or_default() += 1;
            states.entry((slot.share, !healthy)).or_default();
        }
        for ((share, healthy), count) in states {
            let state = if healthy { "healthy" } else { "unhealthy" };
            self.slots.with_label_values(&[&resource(share), state]).set(count);
        }
        for gpu in gpus {
            let labels = [gpu.uuid.as_str(), &gpu.label(), &gpu.index.to_string()];
            self.healthy.with_label_values(&labels).set(i64::from(board.is_healthy(&gpu.uuid)));
        }
    }

    /// Everything in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::Cause;
    use super::super::gpu::fixtures::h200s;
    use super::super::layout::Layout;
    use super::*;

    #[test]
    fn slots_are_counted_by_resource_and_state() {
        let (metrics, board, gpus) = (Metrics::new(false).unwrap(), Board::default(), h200s(2));
        let slots = Layout::parse("layout: {\"*\": [25, 25, 50]}").unwrap().slots(&gpus).unwrap();
        let text = || {
            metrics.count(&gpus, &slots, &board);
            String::from_utf8(metrics.text().unwrap()).unwrap()
        };
        assert!(text().contains("fractune_slots{resource=\"fractune.dev/mps-25\",state=\"healthy\"} 4"));
        board.trouble(&gpus[0].uuid, Cause::Lost, "gone");
        let sick = text();
        for line in [
            "fractune_slots{resource=\"fractune.dev/mps-25\",state=\"healthy\"} 2",
            "fractune_slots{resource=\"fractune.dev/mps-25\",state=\"unhealthy\"} 2",
            "fractune_slots{resource=\"fractune.dev/mps-50\",state=\"unhealthy\"} 1",
        ] {
            assert!(sick.contains(line), "{line}\n{sick}");
        }
        board.trouble(&gpus[1].uuid, Cause::Lost, "gone");
        assert!(text().contains("fractune_slots{resource=\"fractune.dev/mps-25\",state=\"healthy\"} 0"));
    }

    #[test]
    fn waits_and_the_servers_state_are_told() {
        let metrics = Metrics::new(true).unwrap();
        metrics.granted("GPU-1", NeedKind::Quiet, std::time::Duration::from_millis(3));
        metrics.server("GPU-1", "Fault");
        metrics.server("GPU-1", "Active");
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(text.contains("fractune_gate_wait_seconds_count{gpu=\"GPU-1\",need=\"Quiet\"} 1"), "{text}");
        assert!(text.contains("fractune_mps_server_state{gpu=\"GPU-1\",state=\"Active\"} 1"), "{text}");
        assert!(text.contains("fractune_mps_server_state{gpu=\"GPU-1\",state=\"Fault\"} 0"), "{text}");
        assert!(text.contains("simulated=\"true\""), "{text}");
    }
}
