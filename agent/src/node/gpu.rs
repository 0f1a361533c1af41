//! The GPUs of a node: those that the driver tells of, or simulated ones.

use crate::nvml::{Nvml, NvmlError};

/// A GPU, as far as a node needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number, as nvidia-smi counts.
    pub index: u32,
    /// Its UUID.
    pub uuid: String,
    /// The product's name, such as `NVIDIA H200`.
    pub product: String,
    /// Its SMs; 0 where the driver does not tell.
    pub sms: u32,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// The number in the name of its device.
    pub minor: u32,
    /// Version of the driver; none of a simulated GPU.
    pub driver: Option<String>,
}

impl Gpu {
    /// The product's name as the value of a label: `NVIDIA-H200`.
    #[must_use]
    pub fn label(&self) -> String {
        label_value(&self.product)
    }
}

/// A text as the value of a label: letters, digits, `-`, `_` and `.`, 63 at most, and a letter or digit at both ends.
#[must_use]
pub fn label_value(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let value: String = text.chars().map(|c| if allowed(c) { c } else { '-' }).take(63).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// The GPUs that the driver tells of. Those that MIG splits are left out, and named in the second value.
///
/// # Errors
/// [`NvmlError::Refused`] if the driver does not tell what is needed.
pub fn real(nvml: &Nvml) -> Result<(Vec<Gpu>, Vec<String>), NvmlError> {
    let (mut gpus, mut notes) = (Vec::new(), Vec::new());
    for card in nvml.cards()? {
        if card.mig {
            notes.push(format!(
                "GPU {} ({}) is split by MIG, where MPS shares are shares of an instance: it has no slots",
                card.index, card.product
            ));
            continue;
        }
        let parts = nvml.parts(&card.uuid)?;
        gpus.push(Gpu {
            index: card.index,
            uuid: card.uuid,
            product: card.product,
            sms: parts.sms,
            memory_bytes: card.memory_bytes,
            minor: parts.minor,
            driver: Some(card.driver),
        });
    }
    Ok((gpus, notes))
}

/// Products that can be simulated: name, SMs, memory in GiB (their data sheets).
const PRODUCTS: [(&str, u32, u64); 10] = [
    ("NVIDIA B200", 148, 180),
    ("NVIDIA H200", 132, 141),
    ("NVIDIA H100 80GB HBM3", 132, 80),
    ("NVIDIA H100", 132, 80),
    ("NVIDIA A100", 108, 80),
    ("NVIDIA L40S", 142, 48),
    ("NVIDIA L4", 58, 24),
    ("NVIDIA A10", 72, 24),
    ("NVIDIA V100", 80, 32),
    ("NVIDIA T4", 40, 16),
];
/// GPUs that one node can simulate.
const MOST: u32 = 16;

/// What is wrong with `--simulate`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    /// It is not PRODUCT:COUNT.
    #[error("--simulate {0:?}: write a product and a number of GPUs from 1 to {MOST}, such as NVIDIA-H200:2")]
    Form(String),
    /// Nobody knows the product.
    #[error("--simulate {product:?}: no such GPU is known here; known are {}", known())]
    Product {
        /// What was asked for.
        product: String,
    },
}

fn known() -> String {
    PRODUCTS.map(|(product, ..)| label_value(product)).join(", ")
}

/// Simulated GPUs, of `PRODUCT:COUNT` such as `NVIDIA-H200:2`. Their UUIDs begin with `SIMULATED-`.
///
/// # Errors
/// [`SimulateError`].
pub fn simulated(text: &str) -> Result<Vec<Gpu>, SimulateError> {
    let form = || SimulateError::Form(text.to_owned());
    let (product, count) = text.rsplit_once(':').ok_or_else(form)?;
    let count: u32 = count.parse().ok().filter(|count| (1..=MOST).contains(count)).ok_or_else(form)?;
    let wanted = label_value(product);
    let found = PRODUCTS.iter().find(|(product, ..)| label_value(product).eq_ignore_ascii_case(&wanted));
    let &(product, sms, gib) = found.ok_or_else(|| SimulateError::Product { product: product.to_owned() })?;
    Ok((0..count)
        .map(|index| Gpu {
            index,
            uuid: format!("SIMULATED-{}-{index}", label_value(product)),
            product: product.to_owned(),
            sms,
            memory_bytes: gib << 30,
            minor: index,
            driver: None,
        })
        .collect())
}

#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// H200s as the driver tells of them.
    pub(crate) fn h200s(count: u32) -> Vec<Gpu> {
        let real = |mut gpu: Gpu| {
            gpu.uuid = format!("GPU-8932f937-d72c-4106-c12f-20bd9faed9f{}", gpu.index);
            gpu.driver = Some("580.159.04".to_owned());
            gpu
        };
        simulated(&format!("NVIDIA-H200:{count}")).unwrap().into_iter().map(real).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_gpus_are_called_so() {
        let gpus = simulated("NVIDIA-H200:2").unwrap();
        assert_eq!(gpus.len(), 2);
        assert_eq!((gpus[1].uuid.as_str(), gpus[1].sms), ("SIMULATED-NVIDIA-H200-1", 132));
        assert_eq!(simulated("nvidia h200:2"), Ok(gpus));
        // A slot's name has room for a share and a number behind it.
        assert!(
            PRODUCTS
                .iter()
                .all(|(product, ..)| label_value(product).len() < 63 - "SIMULATED--15:100:47".len())
        );
    }

    #[test]
    fn what_cannot_be_simulated_is_refused_with_what_can() {
        assert!(
            simulated("NVIDIA-H300:1")
                .unwrap_err()
                .to_string()
                .contains("known are NVIDIA-B200, NVIDIA-H200")
        );
        for wrong in ["NVIDIA-H200", "NVIDIA-H200:0", "NVIDIA-H200:17", "NVIDIA-H200:two", "", ":"] {
            assert!(simulated(wrong).unwrap_err().to_string().contains("NVIDIA-H200:2"), "{wrong}");
        }
    }

    #[test]
    fn a_products_name_becomes_a_label() {
        assert_eq!(label_value("NVIDIA H100 80GB HBM3"), "NVIDIA-H100-80GB-HBM3");
        assert_eq!(label_value("  (x) "), "x");
        assert_eq!(label_value(&"a".repeat(80)).len(), 63);
        assert_eq!(label_value(&format!("{}-b", "a".repeat(62))).len(), 62);
    }
}
