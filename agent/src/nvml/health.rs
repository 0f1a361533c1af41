//! What the driver reports of cards that fail: Xid events.

use std::time::Duration;

use nvml_wrapper::EventSet;
use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError as Cause;

use super::{Nvml, NvmlError};

/// Xids that a program causes and that leave the card as it was ("Xid Errors" in NVIDIA's documentation): a fault in a
/// kernel, a page fault, a stopped channel or context, a fault of a copy engine, a video decoder's exception, an
/// access that the program's own limits refuse. Candidates cause them all the time.
const OF_PROGRAMS: [u64; 8] = [13, 31, 43, 45, 68, 69, 109, 137];

/// An error that a card reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Xid {
    /// The card's UUID; none where the driver does not say which card.
    pub gpu: Option<String>,
    /// The number; none where the driver does not know it.
    pub number: Option<u64>,
}

impl Xid {
    /// Whether the card needs help, rather than a program.
    #[must_use]
    pub fn is_of_the_card(&self) -> bool {
        self.number.is_none_or(|number| !OF_PROGRAMS.contains(&number))
    }
}

/// The errors that cards report, from the moment on when this was made.
#[derive(Debug)]
pub struct Xids {
    events: EventSet<'static>,
}

impl Nvml {
    /// Has errors of these cards (UUIDs) reported.
    ///
    /// # Errors
    /// [`NvmlError::NoSuchCard`], or [`NvmlError::Refused`] if a card does not report errors.
    pub fn xids(&self, uuids: &[String]) -> Result<Xids, NvmlError> {
        let mut events = self.library.create_event_set().map_err(NvmlError::Driver)?;
        for uuid in uuids {
            let known = self.known(uuid)?;
            let registered = known.device.register_events(EventTypes::CRITICAL_XID_ERROR, events);
            events = registered.map_err(|refused| known.refused("Xid events")(refused.error))?;
        }
        Ok(Xids { events })
    }

    /// Whether the driver still reaches the card.
    ///
    /// # Errors
    /// Why not.
    pub fn answers(&self, uuid: &str) -> Result<(), NvmlError> {
        let known = self.known(uuid)?;
        known.device.memory_info().map(|_| ()).map_err(known.refused("any answer"))
    }
}

impl Xids {
    /// Waits for the next error; none if there is none for so long. Blocks the thread.
    ///
    /// # Errors
    /// [`NvmlError::Driver`], at once, while the driver cannot be asked.
    pub fn next(&self, patience: Duration) -> Result<Option<Xid>, NvmlError> {
        let milliseconds = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        match self.events.wait(milliseconds) {
            Ok(event) => Ok(Some(Xid {
                gpu: event.device.uuid().ok(),
                number: match event.event_data {
                    Some(XidError::Value(number)) => Some(number),
                    Some(XidError::Unknown) | None => None,
                },
            })),
            Err(Cause::Timeout) => Ok(None),
            Err(error) => Err(NvmlError::Driver(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_candidate_causes_is_not_held_against_the_card() {
        let of = |number| Xid { gpu: None, number };
        for number in [13, 31, 43, 45, 109] {
            assert!(!of(Some(number)).is_of_the_card(), "{number}");
        }
        for number in [48, 63, 64, 74, 79, 94, 95, 119, 120] {
            assert!(of(Some(number)).is_of_the_card(), "{number}");
        }
        assert!(of(None).is_of_the_card());
    }
}
