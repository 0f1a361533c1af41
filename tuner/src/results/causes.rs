//! Why another configuration wins at another share: how a launch fills the device, and what that says of two winners.
//!
//! Waves, their tail and occupancy are the terms of NVIDIA's CUDA C++ Best Practices Guide and of Nsight Compute.

use serde::{Deserialize, Serialize};

use super::{Device, ShareResult, TaskResult};

/// Two figures closer than this ratio tell nothing.
const TELLING: f64 = 1.05;
/// A loss below this, as a ratio minus one, needs no cause.
const WORTH: f64 = 0.01;

/// What a launch asks of a GPU, as the driver says once the kernel is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Footprint {
    /// Blocks of the launch.
    pub blocks: u64,
    /// Threads of a block.
    pub threads: u32,
    /// Blocks that one SM holds at once.
    pub blocks_per_unit: u32,
    /// Threads that one SM holds at most.
    pub unit_threads: u32,
    /// Registers of a thread.
    pub registers: u32,
    /// Shared memory of a block in bytes, static and dynamic.
    pub shared_bytes: u32,
    /// Local memory of a thread in bytes: arrays, and registers that found no room.
    pub local_bytes: u32,
}

impl Footprint {
    /// How often `units` SMs are filled with blocks until all have run.
    #[must_use]
    pub fn waves(&self, units: u32) -> f64 {
        self.blocks as f64 / self.at_once(units)
    }

    /// The part of the places for blocks that the last wave uses, above 0 and at most 1.
    #[must_use]
    pub fn tail(&self, units: u32) -> f64 {
        let waves = self.waves(units);
        1.0 - (waves.ceil() - waves)
    }

    /// The part of an SM's threads that its blocks fill, from 0 to 1.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        f64::from(self.blocks_per_unit) * f64::from(self.threads) / f64::from(self.unit_threads.max(1))
    }

    /// SMs that have a block.
    fn busy(&self, units: u32) -> u64 {
        self.blocks.min(u64::from(units))
    }

    /// The part of all waves' places that are used.
    fn filled(&self, units: u32) -> f64 {
        let waves = self.waves(units);
        waves / waves.ceil().max(1.0)
    }

    fn all_threads(&self) -> f64 {
        self.blocks as f64 * f64::from(self.threads)
    }

    fn at_once(&self, units: u32) -> f64 {
        (f64::from(units) * f64::from(self.blocks_per_unit)).max(1.0)
    }
}

/// Why the winner of a share beats, there, what another share chose.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// The other share in percent: the largest, or for the largest the smallest.
    pub against: u8,
    /// How much longer its choice takes, as a ratio minus one.
    pub loss: f64,
    /// In one sentence, without a full stop: the first telling difference in how the two fill the device, of idle SMs,
    /// waves, registers that found no room, work of a thread, and occupancy. That it is the cause is likely, and not proven.
    pub sentence: String,
}

impl TaskResult {
    /// Why the winner of a share beats the choice of the largest share (at the largest, that of the smallest). None
    /// where both chose the same, the loss is under one percent, or the device did not say what the launches ask of it.
    #[must_use]
    pub fn cause(&self, share: u8, device: &Device) -> Option<Cause> {
        let of = |share: Option<u8>| self.shares.iter().find(|result| Some(result.share) == share);
        let here = of(Some(share))?;
        let shares = || self.shares.iter().map(|result| result.share);
        let largest = of(shares().max())?;
        let rival = if largest.share == share { of(shares().min())? } else { largest };
        if rival.best.configuration == here.best.configuration {
            return None;
        }
        let units = *device.units_by_share.get(&share)?;
        let loss = here.loss_with_choice_of(rival.share).filter(|loss| *loss >= WORTH)?;
        let reason = reason(here, rival, units)?;
        let sentence = format!(
            "at {share} % ({units} SMs) the choice of {} % takes {:.1} % longer: {reason}",
            rival.share,
            loss * 100.0
        );
        Some(Cause { against: rival.share, loss, sentence })
    }
}

/// What differs most between the winner here and its rival, at so many SMs.
fn reason(here: &ShareResult, rival: &ShareResult, units: u32) -> Option<String> {
    let (mine, its) = (here.footprint?, rival.footprint?);
    let tells = |more: f64, less: f64| more > less * TELLING;
    if tells(mine.busy(units) as f64, its.busy(units) as f64) {
        let all = if mine.busy(units) == u64::from(units) { "all" } else { "more" };
        return Some(format!(
            "its {} blocks leave {} SMs idle, this one's {} use {all} of them",
            its.blocks,
            u64::from(units) - its.busy(units),
            mine.blocks
        ));
    }
    if tells(mine.filled(units), its.filled(units)) {
        return Some(format!("its blocks make {}, this one's {}", waves(its, units), waves(mine, units)));
    }
    if its.local_bytes > mine.local_bytes {
        return Some(format!(
            "each of its threads keeps {} bytes in memory for want of registers, this one's {}",
            its.local_bytes, mine.local_bytes
        ));
    }
    if tells(its.all_threads(), mine.all_threads()) {
        let spare = if rival.share > here.share { ", which need more SMs than there are here" } else { "" };
        return Some(format!(
            "this one's {} threads do {:.1} times as much each as its {}{spare}",
            mine.all_threads(),
            its.all_threads() / mine.all_threads(),
            its.all_threads()
        ));
    }
    if tells(mine.occupancy(), its.occupancy()) {
        return Some(format!(
            "its blocks fill {:.0} % of an SM's threads, this one's {:.0} %, which hides more of the waiting for memory",
            its.occupancy() * 100.0,
            mine.occupancy() * 100.0
        ));
    }
    if tells(mine.all_threads(), its.all_threads()) {
        return Some(format!(
            "this one has {:.1} times its threads to hide waiting behind",
            mine.all_threads() / its.all_threads()
        ));
    }
    Some("blocks, waves, threads and registers do not tell the two apart".to_owned())
}

fn waves(footprint: Footprint, units: u32) -> String {
    let waves = footprint.waves(units);
    if waves <= 1.0 {
        return format!("one wave that is {:.0} % full", waves * 100.0);
    }
    format!("{waves:.1} waves, the last {:.0} % full", footprint.tail(units) * 100.0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    const FOOTPRINT: Footprint = Footprint {
        blocks: 264,
        threads: 256,
        blocks_per_unit: 2,
        unit_threads: 2048,
        registers: 96,
        shared_bytes: 16_384,
        local_bytes: 0,
    };

    /// The cause at 25 % (32 SMs) where the two winners have these footprints.
    fn cause(at_25: Footprint, at_100: Footprint) -> Option<Cause> {
        let share = |share: u8, footprint: Footprint, times: [u64; 2]| {
            json!({"share": share, "finalists": [], "footprint": footprint,
                "best": {"trial": share, "configuration": {"x": share}, "timeNs": times[usize::from(share == 100)], "samples": 9},
                "served": [{"tunedAt": 25, "timeNs": times[0]}, {"tunedAt": 100, "timeNs": times[1]}]})
        };
        let task: TaskResult = serde_json::from_value(json!({
            "kernel": "k", "problem": "p", "weight": 1, "folder": "f", "raw": 9, "valid": 9, "trials": 4, "outcomes": {},
            "verified": true, "ended": "MaxTrials", "searchMs": 1, "finalsMs": 1, "default": {"x": 0},
            "shares": [share(25, at_25, [200, 230]), share(100, at_100, [110, 100])]
        }))
        .unwrap();
        let device = Device { units_by_share: BTreeMap::from([(25, 32), (100, 132)]), ..Device::default() };
        assert!(
            task.cause(100, &device).unwrap().sentence.starts_with("at 100 % (132 SMs) the choice of 25 %")
        );
        task.cause(25, &device)
    }

    fn sentence(at_25: Footprint, at_100: Footprint) -> String {
        cause(at_25, at_100).unwrap().sentence
    }

    #[test]
    fn waves_and_occupancy_are_those_of_the_textbook() {
        assert!((FOOTPRINT.waves(132) - 1.0).abs() < 1e-9);
        assert!((FOOTPRINT.tail(132) - 1.0).abs() < 1e-9, "a full last wave");
        assert!((FOOTPRINT.waves(32) - 4.125).abs() < 1e-9);
        assert!((FOOTPRINT.tail(32) - 0.125).abs() < 1e-9);
        assert!((FOOTPRINT.occupancy() - 0.25).abs() < 1e-9);
        assert!((Footprint { blocks: 16, ..FOOTPRINT }.tail(32) - 0.25).abs() < 1e-9, "of 64 places");
        let nothing = Footprint { blocks_per_unit: 0, unit_threads: 0, ..FOOTPRINT };
        assert!(nothing.waves(0).is_finite() && nothing.occupancy() == 0.0);
    }

    #[test]
    fn the_sentence_names_what_differs_first() {
        let cause = cause(Footprint { blocks: 128, ..FOOTPRINT }, FOOTPRINT).unwrap();
        assert_eq!(cause.against, 100);
        assert!((cause.loss - 0.15).abs() < 1e-9);
        assert_eq!(
            cause.sentence,
            "at 25 % (32 SMs) the choice of 100 % takes 15.0 % longer: its blocks make 4.1 waves, the last 12 % full, \
             this one's 2.0 waves, the last 100 % full"
        );
        let few = Footprint { blocks: 16, ..FOOTPRINT };
        let told = sentence(Footprint { blocks: 64, ..FOOTPRINT }, few);
        assert!(told.ends_with("its 16 blocks leave 16 SMs idle, this one's 64 use all of them"), "{told}");
        let one = Footprint { blocks: 40, ..FOOTPRINT };
        let told = sentence(Footprint { blocks: 64, ..FOOTPRINT }, one);
        assert!(told.contains("one wave that is 62 % full"), "{told}");
    }

    #[test]
    fn spills_work_and_occupancy_come_after() {
        let spills = sentence(FOOTPRINT, Footprint { local_bytes: 48, ..FOOTPRINT });
        assert!(spills.contains("keeps 48 bytes in memory"), "{spills}");
        let full = Footprint { blocks: 256, ..FOOTPRINT };
        let work = sentence(full, Footprint { blocks: 1024, ..FOOTPRINT });
        assert!(work.contains("65536 threads do 4.0 times as much each as its 262144, which need"), "{work}");
        let slim = Footprint { blocks: 256, blocks_per_unit: 4, ..FOOTPRINT };
        let hidden = sentence(slim, full);
        assert!(hidden.contains("fill 25 % of an SM's threads, this one's 50 %"), "{hidden}");
        let more = sentence(Footprint { blocks: 512, ..FOOTPRINT }, full);
        assert!(more.contains("2.0 times its threads"), "{more}");
        let alike = sentence(FOOTPRINT, FOOTPRINT);
        assert!(alike.ends_with("do not tell the two apart"), "{alike}");
    }
}
