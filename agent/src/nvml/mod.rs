//! What the driver says of the machine's GPUs, by NVIDIA's management library (NVML).
//!
//! The library is loaded when it is asked for: a machine without a driver gives an error that says so.

mod clock;
mod health;
mod parts;

use std::ffi::OsString;
use std::path::Path;
use std::sync::OnceLock;

use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::Clock as ClockType;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError as Cause;

pub use clock::{Clock, Reason, Reasons, Throttle};
pub use health::{Xid, Xids};
pub use parts::Parts;

/// The driver's library.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// Where the library lies on systems whose loader does not know of it.
const PLACES: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64"];

/// Longest name of a process that is asked for, in bytes.
const NAME_BYTES: usize = 256;

/// Why the driver could not be asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum NvmlError {
    /// The library is not there.
    #[error(
        "{LIBRARY} is not found (looked where the loader looks, and in {}): {reason}; install NVIDIA's \
         driver, or in a container start it with the GPU's libraries",
        PLACES.join(", ")
    )]
    LibraryNotFound {
        /// What the loader said.
        reason: String,
    },
    /// The library is there, and the driver behind it is not.
    #[error("NVIDIA's driver does not answer: {0}; see whether nvidia-smi works here")]
    Driver(Cause),
    /// No card has this index or UUID.
    #[error("no GPU {selector:?} here; there is {available}")]
    NoSuchCard {
        /// What was asked for.
        selector: String,
        /// The cards, in words.
        available: String,
    },
    /// More than one card's UUID begins like this.
    #[error("several GPUs are {selector:?}: give more of the UUID; there is {available}")]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// The cards, in words.
        available: String,
    },
    /// The driver refused a question.
    #[error("the driver does not give {what} of GPU {uuid}: {source}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The card.
        uuid: String,
        /// The driver's reason.
        source: Cause,
    },
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its number, as nvidia-smi counts. CUDA may count otherwise: name cards by UUID.
    pub index: u32,
    /// Its UUID, such as `GPU-8932f937-d72c-4106-c12f-20bd9faed9f6`.
    pub uuid: String,
    /// The product's name, such as `NVIDIA H100 80GB HBM3`.
    pub product: String,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Whether it is split into MIG instances.
    pub mig: bool,
    /// Version of the driver, such as `580.159.04`.
    pub driver: String,
    /// Highest version of CUDA that the driver supports: major, minor.
    pub cuda: (i32, i32),
    /// Highest SM clock in MHz; 0 where the driver does not tell, as on virtual GPUs.
    pub max_sm_clock_mhz: u32,
}

/// A process that computes on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherProcess {
    /// Its number as the driver knows it: in a container or a virtual machine that may be another's here.
    pub pid: u32,
    /// Its program; none where the driver does not tell.
    pub program: Option<String>,
    /// GPU memory that it uses in bytes; none where the driver does not tell.
    pub memory_bytes: Option<u64>,
}

/// The driver's management library, and the cards that it knows.
#[derive(Debug)]
pub struct Nvml {
    library: &'static nvml_wrapper::Nvml,
    devices: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    index: u32,
    uuid: String,
    /// Found once, because finding a card by UUID is many times the cost of a question to it.
    device: Device<'static>,
}

impl Nvml {
    /// Loads the library, unless this process has done so, and finds the cards. A card that does not answer
    /// is left out.
    ///
    /// # Errors
    /// [`NvmlError::LibraryNotFound`] and [`NvmlError::Driver`].
    pub fn open() -> Result<Self, NvmlError> {
        let library = library()?;
        let count = library.device_count().map_err(NvmlError::Driver)?;
        let devices = (0..count).filter_map(|index| {
            let device = library.device_by_index(index).ok()?;
            Some(Known { index, uuid: device.uuid().ok()?, device })
        });
        Ok(Self { library, devices: devices.collect() })
    }

    /// The cards, by index.
    ///
    /// # Errors
    /// [`NvmlError::Refused`] if the driver does not tell of a card.
    pub fn cards(&self) -> Result<Vec<Card>, NvmlError> {
        self.devices.iter().map(|known| self.describe(known)).collect()
    }

    /// The card of an index, or of a UUID or its beginning, as in `CUDA_VISIBLE_DEVICES`.
    ///
    /// # Errors
    /// [`NvmlError::NoSuchCard`], [`NvmlError::Ambiguous`], or [`NvmlError::Refused`] if the driver does not
    /// tell of it.
    pub fn card(&self, selector: &str) -> Result<Card, NvmlError> {
        let names: Vec<_> = self.devices.iter().map(|known| (known.index, known.uuid.as_str())).collect();
        let position = choose(&names, selector)?;
        self.devices
            .get(position)
            .ok_or_else(|| no_such_card(&names, selector))
            .and_then(|known| self.describe(known))
    }

    /// The card's SM clock at this moment. Cheap enough to be asked every few milliseconds: a call takes 1 us
    /// as a rule and 3 ms now and then (H100, driver 580), as if the driver answered from a recent reading.
    ///
    /// # Errors
    /// [`NvmlError::NoSuchCard`] or [`NvmlError::Refused`].
    pub fn clock(&self, uuid: &str) -> Result<Clock, NvmlError> {
        let known = self.known(uuid)?;
        let sm_mhz = known.device.clock_info(ClockType::SM).map_err(known.refused("the SM clock"))?;
        let reasons =
            known.device.current_throttle_reasons().map_err(known.refused("what decides the clock"))?;
        Ok(Clock { sm_mhz, reasons: reasons.into() })
    }

    /// The processes that compute on the card, but for those in `own`. Under MPS the server is listed, too,
    /// as `nvidia-cuda-mps-server`. In a container or a virtual machine the driver may list none, or with
    /// numbers that are not valid here: then [`Nvml::utilisation_percent`] still tells of others.
    ///
    /// # Errors
    /// [`NvmlError::NoSuchCard`] or [`NvmlError::Refused`].
    pub fn other_processes(&self, uuid: &str, own: &[u32]) -> Result<Vec<OtherProcess>, NvmlError> {
        let known = self.known(uuid)?;
        let running = known.device.running_compute_processes().map_err(known.refused("the processes"))?;
        let others = running.into_iter().filter(|process| !own.contains(&process.pid));
        Ok(others
            .map(|process| OtherProcess {
                pid: process.pid,
                program: self
                    .library
                    .sys_process_name(process.pid, NAME_BYTES)
                    .ok()
                    .filter(|name| !name.is_empty()),
                memory_bytes: match process.used_gpu_memory {
                    UsedGpuMemory::Used(bytes) => Some(bytes),
                    UsedGpuMemory::Unavailable => None,
                },
            })
            .collect())
    }

    /// Percent of the last sample period (up to a second) in which a kernel ran on the card, whoever's.
    ///
    /// # Errors
    /// [`NvmlError::NoSuchCard`] or [`NvmlError::Refused`].
    pub fn utilisation_percent(&self, uuid: &str) -> Result<u32, NvmlError> {
        let known = self.known(uuid)?;
        Ok(known.device.utilization_rates().map_err(known.refused("the utilisation"))?.gpu)
    }

    fn known(&self, uuid: &str) -> Result<&Known, NvmlError> {
        self.devices.iter().find(|known| known.uuid == uuid).ok_or_else(|| {
            let names: Vec<_> = self.devices.iter().map(|known| (known.index, known.uuid.as_str())).collect();
            no_such_card(&names, uuid)
        })
    }

    fn describe(&self, known: &Known) -> Result<Card, NvmlError> {
        let device = &known.device;
        let cuda = self.library.sys_cuda_driver_version().map_err(NvmlError::Driver)?;
        Ok(Card {
            index: known.index,
            uuid: known.uuid.clone(),
            product: device.name().map_err(known.refused("the name"))?,
            memory_bytes: device.memory_info().map_err(known.refused("the memory"))?.total,
            // Cards that cannot be split do not answer.
            mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
            driver: self.library.sys_driver_version().map_err(NvmlError::Driver)?,
            cuda: (
                nvml_wrapper::cuda_driver_version_major(cuda),
                nvml_wrapper::cuda_driver_version_minor(cuda),
            ),
            max_sm_clock_mhz: device.max_clock_info(ClockType::SM).unwrap_or(0),
        })
    }
}

impl Known {
    fn refused(&self, what: &'static str) -> impl FnOnce(Cause) -> NvmlError + use<> {
        let uuid = self.uuid.clone();
        move |source| NvmlError::Refused { what, uuid, source }
    }
}

/// The library of this process. It is never unloaded, so that what it gives may be kept.
fn library() -> Result<&'static nvml_wrapper::Nvml, NvmlError> {
    static LOADED: OnceLock<nvml_wrapper::Nvml> = OnceLock::new();
    if let Some(loaded) = LOADED.get() {
        return Ok(loaded);
    }
    let loaded = load()?;
    // The library counts its users: one that lost this race goes without harm.
    Ok(LOADED.get_or_init(|| loaded))
}

fn load() -> Result<nvml_wrapper::Nvml, NvmlError> {
    let mut reason = None;
    let places = PLACES.iter().map(|place| Path::new(place).join(LIBRARY).into_os_string());
    for path in std::iter::once(OsString::from(LIBRARY)).chain(places) {
        match nvml_wrapper::Nvml::builder().lib_path(&path).init() {
            Ok(loaded) => return Ok(loaded),
            Err(Cause::LibloadingError(error)) => {
                reason.get_or_insert_with(|| error.to_string());
            }
            Err(error) => return Err(NvmlError::Driver(error)),
        }
    }
    Err(NvmlError::LibraryNotFound { reason: reason.unwrap_or_default() })
}

/// The position of the card that a selector means, among the cards' indices and UUIDs.
fn choose(cards: &[(u32, &str)], selector: &str) -> Result<usize, NvmlError> {
    let number = selector.parse::<u32>().ok();
    let begins = |uuid: &str| {
        let beginning = uuid.get(..selector.len());
        !selector.is_empty() && beginning.is_some_and(|b| b.eq_ignore_ascii_case(selector))
    };
    let means = |&(index, uuid): &(u32, &str)| number.map_or_else(|| begins(uuid), |number| index == number);
    let mut found = cards.iter().enumerate().filter(|(_, card)| means(card)).map(|(position, _)| position);
    match (found.next(), found.next()) {
        (Some(position), None) => Ok(position),
        (None, _) => Err(no_such_card(cards, selector)),
        (Some(_), Some(_)) => {
            Err(NvmlError::Ambiguous { selector: selector.to_owned(), available: in_words(cards) })
        }
    }
}

fn no_such_card(cards: &[(u32, &str)], selector: &str) -> NvmlError {
    NvmlError::NoSuchCard { selector: selector.to_owned(), available: in_words(cards) }
}

fn in_words(cards: &[(u32, &str)]) -> String {
    let words: Vec<_> = cards.iter().map(|(index, uuid)| format!("{index} ({uuid})")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: [(u32, &str); 3] = [(0, "GPU-8932f937-d72c"), (2, "GPU-89aa0000-1111"), (3, "GPU-12345678")];

    #[test]
    fn a_card_is_chosen_by_index_uuid_or_the_beginning_of_one() {
        assert_eq!(choose(&CARDS, "0").unwrap(), 0);
        assert_eq!(choose(&CARDS, "2").unwrap(), 1);
        assert_eq!(choose(&CARDS, "GPU-89aa0000-1111").unwrap(), 1);
        assert_eq!(choose(&CARDS, "GPU-1").unwrap(), 2);
        assert_eq!(choose(&CARDS, "gpu-893").unwrap(), 0);
    }

    #[test]
    fn a_selector_that_means_no_card_or_several_is_refused_with_the_cards_there_are() {
        for selector in ["1", "", "-1", "MIG-8932f937", "GPU-8932f937-d72c-more", "ü"] {
            let refused = choose(&CARDS, selector).unwrap_err();
            assert!(matches!(refused, NvmlError::NoSuchCard { .. }), "{selector}: {refused}");
            assert!(refused.to_string().contains("2 (GPU-89aa0000-1111)"), "{refused}");
        }
        assert!(matches!(choose(&CARDS, "GPU-89"), Err(NvmlError::Ambiguous { .. })));
        assert!(choose(&[], "0").unwrap_err().to_string().contains("there is none"));
    }

    #[test]
    fn a_missing_library_is_an_error_that_says_where_it_was_looked_for() {
        let error = NvmlError::LibraryNotFound { reason: "no such file".into() }.to_string();
        assert!(error.contains("/usr/local/nvidia/lib64") && error.contains("install"), "{error}");
        // Whether there is a driver here or not: nothing panics.
        if let Err(error) = Nvml::open() {
            assert!(matches!(error, NvmlError::LibraryNotFound { .. } | NvmlError::Driver(_)), "{error}");
        }
    }
}
