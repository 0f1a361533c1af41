use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Capacity, Core, Event, Need, NeedError};

fn lanes(count: usize) -> Core {
    Core::new(Capacity::Lanes((0..count).collect()))
}

fn granted(core: &mut Core) -> Vec<(u64, Vec<usize>)> {
    core.take_events()
        .into_iter()
        .filter_map(|event| match event {
            Event::Granted { id, lanes } => Some((id, lanes)),
            Event::Revoked { .. } => None,
        })
        .collect()
}

#[test]
fn units_are_shared_until_they_are_gone() {
    let mut core = Core::new(Capacity::Units(100));
    for (id, units) in [(1, 50), (2, 25), (3, 50), (4, 25)] {
        core.request(id, &Need::Units(units), None, 0).unwrap();
    }
    assert_eq!(granted(&mut core), [(1, vec![]), (2, vec![])], "4 would fit, but 3 is before it");
    core.release(2, 0);
    assert_eq!(granted(&mut core), [(3, vec![])]);
    core.release(1, 0);
    assert_eq!(granted(&mut core), [(4, vec![])]);
}

#[test]
fn a_quiet_request_is_not_starved_by_a_stream_of_small_ones() {
    let mut core = Core::new(Capacity::Units(100));
    core.request(0, &Need::Units(25), None, 0).unwrap();
    core.request(1, &Need::Units(25), None, 0).unwrap();
    core.request(1000, &Need::Quiet, None, 0).unwrap();
    for id in 2..500 {
        core.request(id, &Need::Units(1), None, 0).unwrap();
    }
    assert_eq!(granted(&mut core), [(0, vec![]), (1, vec![])]);
    core.release(0, 0);
    assert_eq!(granted(&mut core), [], "one small holder is left");
    core.release(1, 0);
    assert_eq!(granted(&mut core), [(1000, vec![])], "and nobody beside it");
}

#[test]
fn any_lane_takes_the_highest_and_a_list_exactly_itself() {
    let mut core = lanes(4);
    core.request(1, &Need::AnyLane, None, 0).unwrap();
    core.request(2, &Need::Lanes(vec![1, 0, 1]), None, 0).unwrap();
    core.request(3, &Need::AnyLane, None, 0).unwrap();
    core.request(4, &Need::AnyLane, None, 0).unwrap();
    assert_eq!(granted(&mut core), [(1, vec![3]), (2, vec![0, 1]), (3, vec![2])]);
    core.release(2, 0);
    assert_eq!(granted(&mut core), [(4, vec![1])]);
    core.request(5, &Need::Quiet, None, 0).unwrap();
    for id in [1, 3, 4] {
        core.release(id, 0);
    }
    assert_eq!(granted(&mut core), [(5, vec![0, 1, 2, 3])]);
}

#[test]
fn a_holder_past_its_lease_loses_what_it_holds() {
    let mut core = Core::new(Capacity::Units(100));
    core.request(1, &Need::Units(60), Some(10), 5).unwrap();
    core.request(2, &Need::Units(60), Some(10), 5).unwrap();
    core.take_events();
    assert_eq!(core.next_deadline(), Some(15), "a lease counts from the grant: 2 has no deadline yet");
    assert!(core.expire(14).is_empty());
    assert_eq!(core.expire(15), [1]);
    let events = core.take_events();
    assert_eq!(events, [Event::Revoked { id: 1 }, Event::Granted { id: 2, lanes: vec![] }]);
    assert_eq!(core.next_deadline(), Some(25));
    core.release(1, 16);
    core.request(3, &Need::Units(60), None, 16).unwrap();
    assert_eq!(granted(&mut core), [], "the late release of 1 gave nothing back twice");
}

#[test]
fn a_cancelled_request_leaves_the_line_and_unblocks_those_behind_it() {
    let mut core = Core::new(Capacity::Units(100));
    core.request(1, &Need::Units(50), None, 0).unwrap();
    core.request(2, &Need::Quiet, None, 0).unwrap();
    core.request(3, &Need::Units(50), None, 0).unwrap();
    core.take_events();
    core.release(2, 0);
    assert_eq!(granted(&mut core), [(3, vec![])]);
}

#[test]
fn a_need_that_can_never_be_met_is_refused_with_the_way_out() {
    let refused = |core: &mut Core, need: Need| core.request(9, &need, None, 0).unwrap_err().to_string();
    let mut gpu = Core::new(Capacity::Units(100));
    assert_eq!(
        refused(&mut gpu, Need::Units(101)),
        "need.units: 101: the gate has 100 units; ask for 1 to 100"
    );
    assert!(refused(&mut gpu, Need::Units(0)).contains("ask for 1 to 100"));
    assert!(refused(&mut gpu, Need::AnyLane).contains("ask for 1 to 100 units"));
    assert!(refused(&mut gpu, Need::Lanes(vec![0])).contains("units, not lanes"));
    let mut cpus = lanes(2);
    assert_eq!(
        refused(&mut cpus, Need::Lanes(vec![0, 7])),
        "need.lanes: 7: the gate has no such lane; ask for some of [0, 1]"
    );
    assert!(refused(&mut cpus, Need::Lanes(vec![])).contains("at least one of [0, 1]"));
    assert!(refused(&mut cpus, Need::Units(50)).contains("lanes, not units"));
    assert!(refused(&mut lanes(0), Need::Quiet).contains("no capacity"));
    assert!(refused(&mut Core::new(Capacity::Units(0)), Need::Quiet).contains("no capacity"));

    cpus.request(1, &Need::AnyLane, None, 0).unwrap();
    assert_eq!(cpus.request(1, &Need::AnyLane, None, 0), Err(NeedError::DuplicateId { id: 1 }));
}

/// What a second, naive bookkeeping says about a gate under random use.
struct Model {
    core: Core,
    total: usize,
    by_units: bool,
    line: Vec<(u64, Need)>,
    held: BTreeMap<u64, (usize, Vec<usize>, Option<u64>)>,
    now: u64,
    leases: BTreeMap<u64, u64>,
}

impl Model {
    fn new(by_units: bool, total: usize) -> Self {
        let core = if by_units { Core::new(Capacity::Units(total as u32)) } else { lanes(total) };
        let (line, held, leases) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { core, total, by_units, line, held, now: 0, leases }
    }

    fn random_need(&self, random: &mut ChaCha8Rng) -> Need {
        match random.random_range(0..8) {
            0 => Need::Quiet,
            _ if self.by_units => Need::Units(random.random_range(1..=self.total) as u32),
            1..=3 => Need::Lanes((0..random.random_range(1..=self.total)).collect()),
            _ => Need::AnyLane,
        }
    }

    fn step(&mut self, id: u64, random: &mut ChaCha8Rng) {
        self.now += random.random_range(0..3);
        match random.random_range(0..10) {
            0..=4 => {
                let need = self.random_need(random);
                let lease = random.random_bool(0.3).then(|| random.random_range(1..20));
                self.core.request(id, &need, lease, self.now).unwrap();
                self.line.push((id, need));
                if let Some(lease) = lease {
                    self.leases.insert(id, lease);
                }
            }
            5..=7 => {
                let held: Vec<u64> = self.held.keys().copied().collect();
                if !held.is_empty() {
                    self.release(held[random.random_range(0..held.len())]);
                }
            }
            8 if !self.line.is_empty() => {
                let (cancelled, _) = self.line.remove(random.random_range(0..self.line.len()));
                self.core.release(cancelled, self.now);
            }
            _ => {
                self.core.expire(self.now);
            }
        }
        self.settle();
    }

    fn release(&mut self, id: u64) {
        self.held.remove(&id);
        self.core.release(id, self.now);
        self.settle();
    }

    /// Takes the events in and checks each against the naive books.
    fn settle(&mut self) {
        for event in self.core.take_events() {
            match event {
                Event::Granted { id, lanes } => {
                    assert!(!self.line.is_empty(), "{id} was granted, but nobody waits");
                    let (head, need) = self.line.remove(0);
                    assert_eq!(id, head, "only the head of the line is granted");
                    let size = match &need {
                        Need::Quiet => self.total,
                        Need::Units(units) => *units as usize,
                        Need::Lanes(wanted) => wanted.len(),
                        Need::AnyLane => 1,
                    };
                    if !self.by_units {
                        assert_eq!(lanes.len(), size);
                    }
                    let deadline = self.leases.get(&id).map(|lease| self.now + lease);
                    self.held.insert(id, (size, lanes, deadline));
                }
                Event::Revoked { id } => {
                    let (_, _, deadline) = self.held.remove(&id).expect("only a holder is revoked");
                    assert!(deadline.is_some_and(|deadline| deadline <= self.now));
                }
            }
        }
        let used: usize = self.held.values().map(|(size, _, _)| size).sum();
        assert!(used <= self.total, "{used} of {} are held", self.total);
        let all: Vec<usize> = self.held.values().flat_map(|(_, lanes, _)| lanes.clone()).collect();
        let distinct: BTreeSet<usize> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len(), "a lane has two holders");
    }
}

#[test]
fn random_use_keeps_capacity_order_and_liveness() {
    for seed in 0..200 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let by_units = random.random_bool(0.5);
        let total = if by_units { 100 } else { random.random_range(1..9) };
        let mut model = Model::new(by_units, total);
        for id in 0..300 {
            model.step(id, &mut random);
        }
        while let Some(id) = model.held.keys().next().copied() {
            model.release(id);
        }
        assert!(model.line.is_empty(), "seed {seed}: {:?} were never granted", model.line);
        model.core.request(1_000_000, &Need::Quiet, None, model.now).unwrap();
        assert_eq!(granted(&mut model.core).len(), 1, "seed {seed}: something did not come back");
    }
}
