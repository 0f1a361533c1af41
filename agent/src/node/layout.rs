//! How a node's GPUs are cut into slots: what the platform team writes, checked, and the slots that it makes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use fractune_crds::GROUP;
use serde::Deserialize;

use super::gpu::Gpu;

/// MPS gives a client so many SMs at least (seen on an H100 and an H200).
const FEWEST_SMS: u32 = 8;
/// Slots that one GPU can have: an MPS server serves 48 clients on GPUs up to Hopper, and each slot is one or more.
const MOST_SLOTS: usize = 48;

/// A slot: a piece of one GPU, of a given share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name for kubelet, which stays the same as long as the layout does: `<GPU's UUID>:<share>:<number>`.
    pub id: String,
    /// UUID of its GPU.
    pub gpu: String,
    /// Percent of the GPU's SMs.
    pub share: u8,
}

/// What is wrong with a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// It is not YAML of the expected form.
    #[error(
        "the layout cannot be read: {0}; write for example `layout: {{\"*\": [25, 25, 25, 25]}}` and, where shares may \
         add up to more than 100, `oversubscribe: true`"
    )]
    Syntax(String),
    /// It has no entries.
    #[error(
        "layout: is empty; write shares for every GPU as `\"*\": [25, 25, 25, 25]`, or for some by product, UUID or index"
    )]
    Empty,
    /// A GPU's list of shares has no shares.
    #[error("layout.{name:?}: has no shares; write at least one, or leave the entry out")]
    NoShares {
        /// Which entry.
        name: String,
    },
    /// A share is no percentage.
    #[error("layout.{name:?}: share {share} is not between 1 and 100 (percent of a GPU's SMs)")]
    Share {
        /// Which entry.
        name: String,
        /// The share.
        share: i64,
    },
    /// More slots than a GPU can serve.
    #[error(
        "layout.{name:?}: {slots} slots are more than one GPU can have ({MOST_SLOTS}): MPS serves a limited number of clients"
    )]
    TooMany {
        /// Which entry.
        name: String,
        /// How many.
        slots: usize,
    },
    /// Shares add up to more than the GPU.
    #[error(
        "layout.{name:?}: the shares add up to {sum} %, more than a GPU has; take some out, or set `oversubscribe: true`: \
         the gate keeps what measures at one moment at 100 %, and pods wait for each other"
    )]
    Oversubscribed {
        /// Which entry.
        name: String,
        /// Their sum in percent.
        sum: i64,
    },
    /// An entry names no GPU.
    #[error(
        "layout.{name:?}: no GPU of this node is called so; there is {there}. An entry is \"*\", a product, a UUID, or an index"
    )]
    Unknown {
        /// Which entry.
        name: String,
        /// The GPUs, in words.
        there: String,
    },
    /// A share gives fewer SMs than MPS does.
    #[error(
        "layout.{name:?}: share {share} % of the {sms} SMs of {product} is {asked}, and MPS gives {FEWEST_SMS} at least; \
         the smallest share of this GPU is {smallest} %"
    )]
    BelowFloor {
        /// Which entry.
        name: String,
        /// The share in percent.
        share: u8,
        /// The GPU's SMs.
        sms: u32,
        /// The GPU's product.
        product: String,
        /// The SMs that the share stands for.
        asked: String,
        /// The smallest share in percent that works.
        smallest: u32,
    },
}

/// A layout as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    layout: BTreeMap<String, Vec<i64>>,
    #[serde(default)]
    oversubscribe: bool,
}

/// Which shares GPUs are cut into. What can be checked without knowing the GPUs is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// By `*`, product, UUID or index.
    entries: BTreeMap<String, Vec<u8>>,
}

impl Layout {
    /// Reads a layout: YAML, as in docs/node.md.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn parse(text: &str) -> Result<Self, LayoutError> {
        let written: Written =
            serde_yaml::from_str(text).map_err(|error| LayoutError::Syntax(error.to_string()))?;
        if written.layout.is_empty() {
            return Err(LayoutError::Empty);
        }
        let entries = written.layout.into_iter().map(|(name, shares)| {
            let shares = check(&name, &shares, written.oversubscribe)?;
            Ok((name, shares))
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// The slots of these GPUs. A GPU is cut by the entry that names it most exactly: its UUID, its index, its
    /// product, `*`; one that no entry names has no slots.
    ///
    /// The same layout may be every node's, so an entry may name a GPU that is not here; but it must name one if no
    /// GPU is named by any other.
    ///
    /// # Errors
    /// [`LayoutError::Unknown`] and [`LayoutError::BelowFloor`].
    pub fn slots(&self, gpus: &[Gpu]) -> Result<Vec<Slot>, LayoutError> {
        let cut: Vec<_> = gpus.iter().filter_map(|gpu| Some((gpu, self.entry(gpu)?))).collect();
        if let (true, Some((name, _))) = (cut.is_empty() && !gpus.is_empty(), self.entries.first_key_value())
        {
            return Err(LayoutError::Unknown { name: name.clone(), there: in_words(gpus) });
        }
        let mut slots = Vec::new();
        for (gpu, (name, shares)) in cut {
            let mut numbers: BTreeMap<u8, u32> = BTreeMap::new();
            for &share in shares {
                check_floor(name, share, gpu)?;
                let number = numbers.entry(share).or_default();
                let id = format!("{}:{share}:{number}", gpu.uuid);
                slots.push(Slot { id, gpu: gpu.uuid.clone(), share });
                *number += 1;
            }
        }
        Ok(slots)
    }

    /// What a reader of the log should know: entries that name no GPU of this node, and GPUs without slots.
    #[must_use]
    pub fn notes(&self, gpus: &[Gpu]) -> Vec<String> {
        let unused = self.entries.keys().filter(|name| !gpus.iter().any(|gpu| names(name, gpu)));
        let unused = unused
            .map(|name| format!("layout.{name:?} names no GPU of this node; there is {}", in_words(gpus)));
        let uncut = gpus.iter().filter(|gpu| self.entry(gpu).is_none());
        let uncut = uncut.map(|gpu| {
            format!("GPU {} ({}) has no slots: no entry of the layout names it", gpu.index, gpu.product)
        });
        unused.chain(uncut).collect()
    }

    fn entry(&self, gpu: &Gpu) -> Option<(&str, &[u8])> {
        let exact =
            [gpu.uuid.clone(), gpu.index.to_string(), gpu.label(), gpu.product.clone(), "*".to_owned()];
        exact.iter().find_map(|name| {
            let (name, shares) = self.entries.get_key_value(name)?;
            Some((name.as_str(), shares.as_slice()))
        })
    }
}

fn names(entry: &str, gpu: &Gpu) -> bool {
    entry == "*"
        || entry == gpu.uuid
        || entry == gpu.product
        || entry == gpu.label()
        || entry == gpu.index.to_string()
}

fn check(name: &str, shares: &[i64], oversubscribe: bool) -> Result<Vec<u8>, LayoutError> {
    let name = || name.to_owned();
    if shares.is_empty() {
        return Err(LayoutError::NoShares { name: name() });
    }
    if shares.len() > MOST_SLOTS {
        return Err(LayoutError::TooMany { name: name(), slots: shares.len() });
    }
    let share = |&share: &i64| {
        let percent = u8::try_from(share).ok().filter(|percent| (1..=100).contains(percent));
        percent.ok_or_else(|| LayoutError::Share { name: name(), share })
    };
    let percents = shares.iter().map(share).collect::<Result<Vec<u8>, _>>()?;
    let sum: i64 = shares.iter().sum();
    if sum > 100 && !oversubscribe {
        return Err(LayoutError::Oversubscribed { name: name(), sum });
    }
    Ok(percents)
}

fn check_floor(name: &str, share: u8, gpu: &Gpu) -> Result<(), LayoutError> {
    // MPS rounds up: 6 % of 132 SMs are 7.9, and that is 8.
    let rounded = |share: u32| (gpu.sms * share).div_ceil(100);
    if gpu.sms == 0 || rounded(u32::from(share)) >= FEWEST_SMS.min(gpu.sms) {
        return Ok(());
    }
    Err(LayoutError::BelowFloor {
        name: name.to_owned(),
        share,
        sms: gpu.sms,
        product: gpu.product.clone(),
        asked: format!("{:.1}", f64::from(gpu.sms) * f64::from(share) / 100.0),
        smallest: (1..=100).find(|&share| rounded(share) >= FEWEST_SMS).unwrap_or(100),
    })
}

fn in_words(gpus: &[Gpu]) -> String {
    let mut words = String::new();
    for gpu in gpus {
        let comma = if words.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(words, "{comma}{} ({}, {})", gpu.index, gpu.label(), gpu.uuid);
    }
    if words.is_empty() { "none".to_owned() } else { words }
}

/// The resource that a slot is one of.
#[must_use]
pub fn resource(share: u8) -> String {
    format!("{GROUP}/mps-{share}")
}

/// The shares that there are slots of.
#[must_use]
pub fn shares(slots: &[Slot]) -> BTreeSet<u8> {
    slots.iter().map(|slot| slot.share).collect()
}

#[cfg(test)]
mod tests {
    use super::super::gpu::fixtures::h200s;
    use super::*;

    fn refused(text: &str) -> String {
        let slots = Layout::parse(text).and_then(|layout| layout.slots(&h200s(2)));
        slots.unwrap_err().to_string()
    }

    fn shares_by_gpu(text: &str) -> Vec<(String, u8)> {
        let slots = Layout::parse(text).unwrap().slots(&h200s(2)).unwrap();
        slots.into_iter().map(|slot| (slot.gpu, slot.share)).collect()
    }

    #[test]
    fn every_gpu_is_cut_by_the_entry_that_names_it_most_exactly() {
        let [first, second] = [0, 1].map(|n| h200s(2)[n].uuid.clone());
        let quarters = shares_by_gpu(r#"layout: {"*": [50, 25]}"#);
        assert_eq!(
            quarters,
            [(first.clone(), 50), (first.clone(), 25), (second.clone(), 50), (second.clone(), 25)]
        );
        for name in ["NVIDIA H200", "NVIDIA-H200", "1", &second] {
            let cut = shares_by_gpu(&format!("layout: {{\"*\": [100], {name:?}: [25]}}"));
            let expected = if name.contains("H200") { 25 } else { 100 };
            assert_eq!(cut, [(first.clone(), expected), (second.clone(), 25)], "{name}");
        }
        let exact =
            shares_by_gpu(&format!("layout: {{\"{second}\": [10], \"1\": [20], \"NVIDIA-H200\": [30]}}"));
        assert_eq!(exact, [(first, 30), (second, 10)]);
    }

    #[test]
    fn slots_have_names_of_their_own_that_name_gpu_and_share_and_suit_kubelet() {
        let slots = Layout::parse("layout: {\"0\": [25, 25, 50]}").unwrap().slots(&h200s(2)).unwrap();
        let uuid = &h200s(1)[0].uuid;
        let ids: Vec<_> = slots.iter().map(|slot| slot.id.clone()).collect();
        assert_eq!(ids, [format!("{uuid}:25:0"), format!("{uuid}:25:1"), format!("{uuid}:50:0")]);
        assert!(ids.iter().all(|id| id.len() <= 63), "kubelet takes no longer names");
        assert_eq!(resource(25), "fractune.dev/mps-25");
        assert_eq!(shares(&slots).into_iter().collect::<Vec<_>>(), [25, 50]);
    }

    #[test]
    fn shares_over_100_need_to_be_asked_for() {
        let message = refused(r#"layout: {"*": [50, 50, 25]}"#);
        assert!(message.contains("add up to 125 %") && message.contains("oversubscribe: true"), "{message}");
        assert_eq!(shares_by_gpu("layout: {\"0\": [100, 100]}\noversubscribe: true").len(), 2);
    }

    #[test]
    fn a_share_below_the_floor_names_the_smallest_that_works() {
        let message = refused(r#"layout: {"*": [5, 95]}"#);
        assert!(message.contains("share 5 % of the 132 SMs of NVIDIA H200 is 6.6"), "{message}");
        assert!(message.contains("the smallest share of this GPU is 6 %"), "{message}");
        assert_eq!(shares_by_gpu(r#"layout: {"0": [6]}"#).len(), 1);
    }

    #[test]
    fn a_gpu_whose_sms_the_driver_does_not_tell_is_cut_all_the_same() {
        let mut gpus = h200s(1);
        gpus[0].sms = 0;
        assert_eq!(Layout::parse("layout: {\"*\": [1]}").unwrap().slots(&gpus).unwrap().len(), 1);
    }

    #[test]
    fn a_name_that_means_no_gpu_is_refused_if_nothing_else_means_one_and_told_otherwise() {
        let message = refused("layout: {NVIDIA-H2000: [50]}");
        assert!(message.contains("NVIDIA-H2000") && message.contains("0 (NVIDIA-H200, GPU-"), "{message}");
        let layout = Layout::parse("layout: {NVIDIA-A100: [50], \"1\": [50]}").unwrap();
        assert_eq!(layout.slots(&h200s(2)).unwrap().len(), 1);
        let notes = layout.notes(&h200s(2)).join("\n");
        assert!(
            notes.contains("NVIDIA-A100") && notes.contains("GPU 0 (NVIDIA H200) has no slots"),
            "{notes}"
        );
        assert_eq!(layout.slots(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_no_layout_says_what_one_looks_like() {
        for (text, words) in [
            ("layout: []", "write for example"),
            ("layouts: {}", "write for example"),
            ("", "write for example"),
            ("layout: {}", "is empty"),
            ("layout: {\"*\": []}", "has no shares"),
            ("layout: {\"*\": [0]}", "share 0 is not between 1 and 100"),
            ("layout: {\"*\": [-5]}", "share -5"),
            ("layout: {\"*\": [101]}\noversubscribe: true", "share 101"),
            ("layout: {\"*\": [half]}", "write for example"),
        ] {
            let message = refused(text);
            assert!(message.contains(words), "{text}: {message}");
        }
        let many = format!("layout: {{\"*\": {:?}}}\noversubscribe: true", vec![10; 49]);
        assert!(refused(&many).contains("49 slots"));
    }
}
