//! What a card is made of, as far as a node needs to know.

use super::{Nvml, NvmlError};

/// What a card is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The number in the name of its device, `/dev/nvidia<minor>`.
    pub minor: u32,
    /// Its SMs; 0 where the driver does not tell.
    pub sms: u32,
}

impl Nvml {
    /// What a card is made of.
    ///
    /// # Errors
    /// [`NvmlError::NoSuchCard`] or [`NvmlError::Refused`].
    pub fn parts(&self, uuid: &str) -> Result<Parts, NvmlError> {
        let known = self.known(uuid)?;
        let minor = known.device.minor_number().map_err(known.refused("the number of the device"))?;
        // The driver counts cores. Without both answers, nobody can say how many SMs there are.
        let capability = known.device.cuda_compute_capability().map(|found| (found.major, found.minor));
        let sms = match (known.device.num_cores(), capability) {
            (Ok(cores), Ok(capability)) => cores / cores_per_sm(capability),
            _ => 0,
        };
        Ok(Parts { minor, sms })
    }
}

/// FP32 cores of one SM, by compute capability (CUDA C++ Programming Guide, "Compute Capabilities").
fn cores_per_sm(capability: (i32, i32)) -> u32 {
    match capability {
        (6 | 8, 0) | (7, _) => 64,
        _ => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_products_have_the_sms_that_their_data_sheets_say() {
        for (cores, capability, sms) in [
            (16_896, (9, 0), 132),
            (6912, (8, 0), 108),
            (18_176, (8, 9), 142),
            (5120, (7, 0), 80),
            (2560, (7, 5), 40),
        ] {
            assert_eq!(cores / cores_per_sm(capability), sms, "{capability:?}");
        }
    }
}
