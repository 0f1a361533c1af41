//! The gate's rules as a pure state machine: no clock, no I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// What a gate has to give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Capacity {
    /// That many interchangeable units: 100 for a GPU, one for each percent of its SMs.
    Units(u32),
    /// These lanes, each by its number: the CPUs of a machine.
    Lanes(Vec<usize>),
}

/// What a request needs before it may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Need {
    /// That many units.
    Units(u32),
    /// Everything: nobody else runs.
    Quiet,
    /// Exactly these lanes.
    Lanes(Vec<usize>),
    /// Any one lane: the highest free one, since measurements use the low ones.
    AnyLane,
}

/// A need that the gate can never meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeedError {
    /// More units than there are, or none.
    #[error("need.units: {units}: the gate has {capacity} units; ask for 1 to {capacity}")]
    Units {
        /// The units asked for.
        units: u32,
        /// The units that the gate has.
        capacity: u32,
    },
    /// A lane that the gate does not have.
    #[error("need.lanes: {lane}: the gate has no such lane; ask for some of {lanes:?}")]
    UnknownLane {
        /// The lane asked for.
        lane: usize,
        /// The lanes that the gate has.
        lanes: Vec<usize>,
    },
    /// An empty list of lanes.
    #[error("need.lanes: []: names no lane; ask for at least one of {lanes:?}")]
    NoLane {
        /// The lanes that the gate has.
        lanes: Vec<usize>,
    },
    /// Units of a gate that has lanes.
    #[error("need.units: {units}: the gate has lanes, not units; ask for some of lanes {lanes:?}")]
    UnitsOfLanes {
        /// The units asked for.
        units: u32,
        /// The lanes that the gate has.
        lanes: Vec<usize>,
    },
    /// Lanes of a gate that has units.
    #[error("need: {need:?}: the gate has units, not lanes; ask for 1 to {capacity} units")]
    LanesOfUnits {
        /// What was asked for.
        need: Need,
        /// The units that the gate has.
        capacity: u32,
    },
    /// A gate that has nothing to give.
    #[error("need: {need:?}: the gate was made with no capacity; give it at least one unit or lane")]
    NoCapacity {
        /// What was asked for.
        need: Need,
    },
    /// An identifier that waits or holds already.
    #[error("id: {id}: waits or holds already; use an id that was not used before")]
    DuplicateId {
        /// The identifier.
        id: u64,
    },
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It holds what it asked for, from now on.
    Granted {
        /// The request.
        id: u64,
        /// The lanes that it holds, ascending; empty at a gate of units.
        lanes: Vec<usize>,
    },
    /// It was past its lease and holds nothing any more.
    Revoked {
        /// The request.
        id: u64,
    },
}

/// A need that was checked against a capacity, with `Quiet` spelled out.
#[derive(Clone, Debug)]
enum Ask {
    Units(u32),
    Lanes(BTreeSet<usize>),
    AnyLane,
}

impl Capacity {
    /// Whether this capacity can meet `need` once everybody else has left.
    ///
    /// # Errors
    /// Says what to ask for instead.
    pub fn check(&self, need: &Need) -> Result<(), NeedError> {
        self.ask(need).map(drop)
    }

    fn ask(&self, need: &Need) -> Result<Ask, NeedError> {
        match self {
            Self::Units(0) => Err(NeedError::NoCapacity { need: need.clone() }),
            Self::Lanes(lanes) if lanes.is_empty() => Err(NeedError::NoCapacity { need: need.clone() }),
            Self::Units(capacity) => ask_units(*capacity, need),
            Self::Lanes(lanes) => ask_lanes(lanes, need),
        }
    }
}

fn ask_units(capacity: u32, need: &Need) -> Result<Ask, NeedError> {
    match need {
        Need::Quiet => Ok(Ask::Units(capacity)),
        Need::Units(units) if (1..=capacity).contains(units) => Ok(Ask::Units(*units)),
        Need::Units(units) => Err(NeedError::Units { units: *units, capacity }),
        Need::Lanes(_) | Need::AnyLane => Err(NeedError::LanesOfUnits { need: need.clone(), capacity }),
    }
}

fn ask_lanes(lanes: &[usize], need: &Need) -> Result<Ask, NeedError> {
    match need {
        Need::Quiet => Ok(Ask::Lanes(lanes.iter().copied().collect())),
        Need::AnyLane => Ok(Ask::AnyLane),
        Need::Units(units) => Err(NeedError::UnitsOfLanes { units: *units, lanes: lanes.to_vec() }),
        Need::Lanes(wanted) if wanted.is_empty() => Err(NeedError::NoLane { lanes: lanes.to_vec() }),
        Need::Lanes(wanted) => match wanted.iter().find(|lane| !lanes.contains(lane)) {
            Some(lane) => Err(NeedError::UnknownLane { lane: *lane, lanes: lanes.to_vec() }),
            None => Ok(Ask::Lanes(wanted.iter().copied().collect())),
        },
    }
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    ask: Ask,
    lease_ms: Option<u64>,
}

#[derive(Debug)]
struct Hold {
    units: u32,
    lanes: Vec<usize>,
    deadline: Option<u64>,
}

/// The gate's state. Times are milliseconds since a moment that the caller chooses, and never go back.
///
/// Every change may add events, which [`Core::take_events`] hands out in the order in which they happened.
#[derive(Debug)]
pub struct Core {
    capacity: Capacity,
    free_units: u32,
    free_lanes: BTreeSet<usize>,
    waiting: VecDeque<Waiting>,
    held: BTreeMap<u64, Hold>,
    events: Vec<Event>,
}

impl Core {
    /// A gate that nobody holds. A lane that is named twice counts once.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        let (free_units, free_lanes) = match &capacity {
            Capacity::Units(units) => (*units, BTreeSet::new()),
            Capacity::Lanes(lanes) => (0, lanes.iter().copied().collect()),
        };
        Self {
            capacity,
            free_units,
            free_lanes,
            waiting: VecDeque::new(),
            held: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// What the gate has to give when nobody holds anything.
    #[must_use]
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Puts a request at the end of the line. A lease counts from the moment of the grant.
    ///
    /// # Errors
    /// A need that could never be met, or an `id` that waits or holds already; nothing has changed then.
    pub fn request(
        &mut self,
        id: u64,
        need: &Need,
        lease_ms: Option<u64>,
        now_ms: u64,
    ) -> Result<(), NeedError> {
        let ask = self.capacity.ask(need)?;
        if self.held.contains_key(&id) || self.waiting.iter().any(|waiting| waiting.id == id) {
            return Err(NeedError::DuplicateId { id });
        }
        self.waiting.push_back(Waiting { id, ask, lease_ms });
        self.admit(now_ms);
        Ok(())
    }

    /// Takes back what `id` holds, or takes it out of the line. An unknown `id` changes nothing: its lease
    /// may have ended a moment ago.
    pub fn release(&mut self, id: u64, now_ms: u64) {
        if let Some(hold) = self.held.remove(&id) {
            self.give_back(hold);
        } else {
            self.waiting.retain(|waiting| waiting.id != id);
        }
        self.admit(now_ms);
    }

    /// Revokes every hold whose lease has ended, and says which.
    pub fn expire(&mut self, now_ms: u64) -> Vec<u64> {
        let late = |hold: &Hold| hold.deadline.is_some_and(|deadline| deadline <= now_ms);
        let revoked: Vec<u64> = self.held.iter().filter(|(_, hold)| late(hold)).map(|(id, _)| *id).collect();
        for id in &revoked {
            if let Some(hold) = self.held.remove(id) {
                self.give_back(hold);
            }
            self.events.push(Event::Revoked { id: *id });
        }
        self.admit(now_ms);
        revoked
    }

    /// When the next lease ends, in milliseconds; none if no holder has one.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.held.values().filter_map(|hold| hold.deadline).min()
    }

    /// What has happened since the last call, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn give_back(&mut self, hold: Hold) {
        self.free_units += hold.units;
        self.free_lanes.extend(hold.lanes);
    }

    /// Grants from the head of the line, up to the first request that has to wait.
    fn admit(&mut self, now_ms: u64) {
        while let Some(head) = self.waiting.front() {
            let Some((units, lanes)) = self.fit(&head.ask) else { return };
            let Some(Waiting { id, lease_ms, .. }) = self.waiting.pop_front() else { return };
            self.free_units -= units;
            for lane in &lanes {
                self.free_lanes.remove(lane);
            }
            let deadline = lease_ms.map(|lease| now_ms.saturating_add(lease));
            self.events.push(Event::Granted { id, lanes: lanes.clone() });
            self.held.insert(id, Hold { units, lanes, deadline });
        }
    }

    /// The units and lanes that would meet `ask` now.
    fn fit(&self, ask: &Ask) -> Option<(u32, Vec<usize>)> {
        match ask {
            Ask::Units(units) => (*units <= self.free_units).then_some((*units, Vec::new())),
            Ask::Lanes(lanes) => {
                lanes.is_subset(&self.free_lanes).then(|| (0, lanes.iter().copied().collect()))
            }
            Ask::AnyLane => self.free_lanes.last().map(|lane| (0, vec![*lane])),
        }
    }
}
