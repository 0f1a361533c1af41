//! What a device said of a launch and of a load, in the whole numbers of the API.

use fractune_tuner::results;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A load on the rest of the GPU, and how much it did: floating-point operations (`Compute`), or bytes read and written
/// (`Memory`), in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Its share in percent.
    #[schemars(range(min = 1, max = 100))]
    pub share: u8,
    /// SMs that it had.
    #[schemars(range(min = 0))]
    pub units: i32,
    /// Work per second with nothing beside it.
    #[schemars(range(min = 0))]
    pub alone_per_second: i64,
    /// Work per second beside what was measured.
    #[schemars(range(min = 0))]
    pub beside_per_second: i64,
}

/// What a launch asks of a GPU. Blocks over SMs times blocks per SM are its waves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Footprint {
    /// Blocks of the launch.
    #[schemars(range(min = 0))]
    pub blocks: i64,
    /// Threads of a block.
    #[schemars(range(min = 0))]
    pub threads: i64,
    /// Blocks that one SM holds at once.
    #[schemars(range(min = 0))]
    pub blocks_per_unit: i64,
    /// Threads that one SM holds at most.
    #[schemars(range(min = 0))]
    pub unit_threads: i64,
    /// Registers of a thread.
    #[schemars(range(min = 0))]
    pub registers: i64,
    /// Shared memory of a block in bytes, static and dynamic.
    #[schemars(range(min = 0))]
    pub shared_bytes: i64,
    /// Local memory of a thread in bytes: arrays, and registers that found no room.
    #[schemars(range(min = 0))]
    pub local_bytes: i64,
}

impl From<results::Load> for Load {
    fn from(load: results::Load) -> Self {
        let results::Load { share, units, alone_per_second, beside_per_second } = load;
        Self {
            share,
            units: i32::try_from(units).unwrap_or(i32::MAX),
            alone_per_second: alone_per_second as i64,
            beside_per_second: beside_per_second as i64,
        }
    }
}

impl From<Load> for results::Load {
    fn from(load: Load) -> Self {
        let Load { share, units, alone_per_second, beside_per_second } = load;
        Self {
            share,
            units: units.unsigned_abs(),
            alone_per_second: alone_per_second as f64,
            beside_per_second: beside_per_second as f64,
        }
    }
}

impl From<results::Footprint> for Footprint {
    fn from(footprint: results::Footprint) -> Self {
        let results::Footprint {
            blocks,
            threads,
            blocks_per_unit,
            unit_threads,
            registers,
            shared_bytes,
            local_bytes,
        } = footprint;
        Self {
            blocks: i64::try_from(blocks).unwrap_or(i64::MAX),
            threads: threads.into(),
            blocks_per_unit: blocks_per_unit.into(),
            unit_threads: unit_threads.into(),
            registers: registers.into(),
            shared_bytes: shared_bytes.into(),
            local_bytes: local_bytes.into(),
        }
    }
}

impl From<Footprint> for results::Footprint {
    /// A number that no device could have said becomes the nearest that one could.
    fn from(footprint: Footprint) -> Self {
        let Footprint {
            blocks,
            threads,
            blocks_per_unit,
            unit_threads,
            registers,
            shared_bytes,
            local_bytes,
        } = footprint;
        let of = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
        Self {
            blocks: blocks.unsigned_abs(),
            threads: of(threads),
            blocks_per_unit: of(blocks_per_unit),
            unit_threads: of(unit_threads),
            registers: of(registers),
            shared_bytes: of(shared_bytes),
            local_bytes: of(local_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_said_comes_back_unchanged() {
        let load =
            results::Load { share: 75, units: 99, alone_per_second: 4.5e13, beside_per_second: 2.0e12 };
        assert_eq!(results::Load::from(Load::from(load)), load);
        let footprint = results::Footprint {
            blocks: 4096,
            threads: 256,
            blocks_per_unit: 2,
            unit_threads: 2048,
            registers: 104,
            shared_bytes: 49_152,
            local_bytes: 8,
        };
        assert_eq!(results::Footprint::from(Footprint::from(footprint)), footprint);
        assert_eq!(results::Footprint::from(Footprint { threads: -1, ..Footprint::default() }).threads, 0);
    }
}
