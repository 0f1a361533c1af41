//! Watching the GPU's clocks: times that were taken while the card held itself back are not the kernel's.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::nvml::Nvml;

/// Clocks change in milliseconds: asking more often tells nothing new.
const FRESH: Duration = Duration::from_millis(5);

/// Where waiting did not help, it is not tried again for this time: it is the candidates' time that passes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The clocks of one card.
#[derive(Debug)]
pub(super) struct Watch {
    nvml: Nvml,
    uuid: String,
    max_mhz: u32,
    asked: Cell<Option<Instant>>,
    /// When waiting last did not help.
    gave_up: Cell<Option<Instant>>,
}

impl Watch {
    /// None where the driver does not tell, as on some virtual GPUs.
    pub(super) fn open(uuid: &str) -> Option<Self> {
        let nvml = Nvml::open().ok()?;
        let card = nvml.card(uuid).ok()?;
        nvml.clock(&card.uuid).ok()?;
        Some(Self {
            nvml,
            uuid: card.uuid,
            max_mhz: card.max_sm_clock_mhz,
            asked: Cell::new(None),
            gave_up: Cell::new(None),
        })
    }

    /// Whether waiting for the clocks may help: not when it just did not.
    pub(super) fn is_worth_waiting(&self) -> bool {
        self.gave_up.get().is_none_or(|since| since.elapsed() > PATIENCE)
    }

    /// Waiting did not help.
    pub(super) fn give_up(&self) {
        self.gave_up.set(Some(Instant::now()));
    }

    /// Why the card is held back at this moment, if it is; none as well when that was asked just now.
    pub(super) fn throttled(&self) -> Option<String> {
        if self.asked.get().is_some_and(|asked| asked.elapsed() < FRESH) {
            return None;
        }
        let throttle = self.nvml.clock(&self.uuid).ok()?.throttled(self.max_mhz);
        self.asked.set(throttle.is_none().then(Instant::now));
        throttle.map(|throttle| throttle.to_string())
    }
}
