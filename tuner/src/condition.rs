//! Under which condition a kernel is served: its share of the device, and what its neighbours do.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What runs on the rest of the GPU.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Neighbours {
    /// Nothing.
    #[default]
    Quiet,
    /// A load that keeps the other SMs computing.
    Compute,
    /// A load that keeps memory busy.
    Memory,
}

impl Neighbours {
    /// Whether nothing runs beside.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        *self == Self::Quiet
    }
}

impl fmt::Display for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "Quiet",
            Self::Compute => "Compute",
            Self::Memory => "Memory",
        })
    }
}

/// A share, and what its neighbours do. Written `25 %`, or `25 % beside Compute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Condition {
    /// The share in percent.
    pub share: u8,
    /// What runs on the rest of the GPU.
    pub neighbours: Neighbours,
}

impl Condition {
    /// A share with nothing beside it.
    #[must_use]
    pub fn quiet(share: u8) -> Self {
        Self { share, neighbours: Neighbours::Quiet }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share, neighbours } = self;
        if neighbours.is_quiet() {
            write!(f, "{share} %")
        } else {
            write!(f, "{share} % beside {neighbours}")
        }
    }
}

/// Every condition of a job: each share quiet, in the job's order, then each share that leaves something of the GPU
/// beside each of its loads.
#[must_use]
pub fn conditions(shares: &[u8], neighbours: &[Neighbours]) -> Vec<Condition> {
    let loads = neighbours.iter().filter(|neighbours| !neighbours.is_quiet());
    let loaded = loads.flat_map(|&neighbours| {
        let parts = shares.iter().filter(|share| **share < 100);
        parts.map(move |&share| Condition { share, neighbours })
    });
    shares.iter().map(|&share| Condition::quiet(share)).chain(loaded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_gpu_has_no_neighbours() {
        let all = conditions(&[100, 25], &[Neighbours::Quiet, Neighbours::Compute]);
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["100 %", "25 %", "25 % beside Compute"]);
    }
}
