//! What a launch needs against what the device has, said before anything is launched.

use fractune_tuner::results::Footprint;

use crate::worker::protocol::Launch;

/// What one block may use, and how many of them there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Largest grid in x, y, z.
    pub(super) grid: [u32; 3],
    /// Most threads of a block in x, y, z.
    pub(super) block: [u32; 3],
    /// Most threads of a block in all.
    pub(super) threads: u32,
    /// Most registers of a block.
    pub(super) registers: u32,
    /// Most shared memory of a block in bytes, where a kernel asks for it.
    pub(super) shared_bytes: u32,
    /// Most threads that an SM holds at once.
    pub(super) unit_threads: u32,
}

impl Limits {
    /// What a launch asks of this device, of whose SMs each holds so many of its blocks.
    pub(super) fn footprint(&self, usage: Usage, launch: &Launch, blocks_per_unit: u32) -> Footprint {
        Footprint {
            blocks: launch.grid.iter().map(|&n| u64::from(n)).product(),
            threads: launch.block.iter().product(),
            blocks_per_unit,
            unit_threads: self.unit_threads,
            registers: usage.registers,
            shared_bytes: usage.static_shared_bytes + launch.shared_bytes,
            local_bytes: usage.local_bytes,
        }
    }
}

/// What the compiled kernel says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Registers of a thread.
    pub(super) registers: u32,
    /// Shared memory in bytes that is known when compiling.
    pub(super) static_shared_bytes: u32,
    /// Most threads of a block that the registers, or `__launch_bounds__`, allow.
    pub(super) max_threads: u32,
    /// Local memory of a thread in bytes.
    pub(super) local_bytes: u32,
}

/// Why the launch is impossible, if it is: the resource, what is asked for, what there is.
pub(super) fn exceeded(limits: &Limits, usage: Usage, launch: &Launch) -> Option<String> {
    let axes = ["x", "y", "z"];
    for (axis, (&asked, &most)) in axes.iter().zip(launch.block.iter().zip(&limits.block)) {
        if asked > most {
            return Some(format!("block.{axis} is {asked}: this GPU takes {most} at most"));
        }
    }
    for (axis, (&asked, &most)) in axes.iter().zip(launch.grid.iter().zip(&limits.grid)) {
        if asked > most {
            return Some(format!("grid.{axis} is {asked}: this GPU takes {most} at most"));
        }
    }
    let threads = launch.block.iter().map(|&n| u64::from(n)).product::<u64>();
    if threads > u64::from(limits.threads) {
        return Some(format!("a block of {threads} threads: this GPU takes {} at most", limits.threads));
    }
    let shared = u64::from(launch.shared_bytes) + u64::from(usage.static_shared_bytes);
    if shared > u64::from(limits.shared_bytes) {
        return Some(format!(
            "{shared} bytes of shared memory in a block ({} of them dynamic): this GPU has {}",
            launch.shared_bytes, limits.shared_bytes
        ));
    }
    if threads > u64::from(usage.max_threads) {
        let (registers, most) = (usage.registers, usage.max_threads);
        return Some(format!(
            "a block of {threads} threads with {registers} registers each: {most} threads at most fit in {} \
             registers, or in the kernel's __launch_bounds__",
            limits.registers
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An H100's.
    const LIMITS: Limits = Limits {
        grid: [2_147_483_647, 65_535, 65_535],
        block: [1024, 1024, 64],
        threads: 1024,
        registers: 65_536,
        shared_bytes: 232_448,
        unit_threads: 2048,
    };
    const USAGE: Usage =
        Usage { registers: 32, static_shared_bytes: 1024, max_threads: 1024, local_bytes: 0 };

    fn refused(usage: Usage, grid: [u32; 3], block: [u32; 3], shared_bytes: u32) -> Option<String> {
        exceeded(&LIMITS, usage, &Launch { grid, block, shared_bytes })
    }

    #[test]
    fn what_fits_is_let_through_to_the_last_byte_and_thread() {
        assert_eq!(refused(USAGE, [1 << 20, 65_535, 1], [1024, 1, 1], 232_448 - 1024), None);
    }

    #[test]
    fn a_footprint_counts_all_blocks_and_all_shared_memory() {
        let launch = Launch { grid: [65_536, 65_535, 2], block: [32, 8, 1], shared_bytes: 512 };
        let footprint = LIMITS.footprint(USAGE, &launch, 8);
        assert_eq!((footprint.blocks, footprint.threads), (65_536 * 65_535 * 2, 256));
        assert_eq!((footprint.shared_bytes, footprint.registers), (1536, 32));
        assert!((footprint.occupancy() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_does_not_fit_is_named_with_the_limit() {
        let says = |found: Option<String>, words: &str| {
            let found = found.unwrap();
            assert!(found.contains(words), "{found}");
        };
        says(refused(USAGE, [1, 65_536, 1], [32, 1, 1], 0), "grid.y is 65536");
        says(refused(USAGE, [1, 1, 1], [1, 1, 128], 0), "block.z is 128");
        says(refused(USAGE, [1, 1, 1], [64, 32, 1], 0), "2048 threads: this GPU takes 1024");
        says(refused(USAGE, [1, 1, 1], [32, 1, 1], 232_448), "233472 bytes of shared memory");
        let hungry = Usage { registers: 255, max_threads: 256, ..USAGE };
        says(refused(hungry, [1, 1, 1], [512, 1, 1], 0), "512 threads with 255 registers");
    }
}
