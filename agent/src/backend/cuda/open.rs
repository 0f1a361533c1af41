//! Opening the device: what it is, what it allows, and what keeps it from being opened.

use std::path::Path;
use std::rc::Rc;

use cudarc::driver::sys::CUdevice_attribute as Attribute;

use super::driver::{self, Context, DriverError, code};
use super::resources::Limits;
use crate::backend::Fault;
use crate::mps::PIPE_DIRECTORY;
use crate::worker::protocol::GpuReady;

/// Whether this process is to be a client of an MPS daemon.
fn is_client() -> bool {
    std::env::var_os(PIPE_DIRECTORY).is_some_and(|directory| Path::new(&directory).is_dir())
}

/// An open device.
#[derive(Debug)]
pub struct Found {
    pub(super) context: Rc<Context>,
    pub(super) limits: Limits,
    pub(super) l2_bytes: usize,
    /// What the parent is told.
    pub ready: GpuReady,
    /// Product name.
    pub product: String,
    /// SMs that this process has: fewer than the GPU's under an MPS share.
    pub units: u32,
}

impl Found {
    /// Opens the only device that this process may see.
    ///
    /// # Errors
    /// [`Fault::Lost`] where trying again may help, as while an MPS server recovers; else [`Fault::Fatal`].
    pub fn open() -> Result<Self, Fault> {
        if !driver::is_present() {
            return Err(Fault::fatal(
                "the CUDA driver's library, libcuda.so.1, was not found: install NVIDIA's driver, or in a \
                 container give the pod a GPU",
            ));
        }
        Self::try_open().map_err(|error| match error.code {
            code::MPS_FIRST..=code::MPS_LAST => Fault::lost(format!("the MPS server is not ready: {error}")),
            code::NO_DEVICE | code::INVALID_DEVICE => Fault::fatal(format!(
                "no GPU can be opened: {error}; check nvidia-smi and CUDA_VISIBLE_DEVICES"
            )),
            code::OUT_OF_MEMORY => Fault::fatal(format!(
                "no GPU memory is left for a context: {error}; see nvidia-smi for who uses it"
            )),
            // An MPS server that ends over somebody's fault leaves those who just come with any error.
            _ if is_client() => Fault::lost(format!("the GPU cannot be opened: {error}")),
            _ => Fault::fatal(format!("the GPU cannot be opened: {error}")),
        })
    }

    fn try_open() -> Result<Self, DriverError> {
        let context = Context::open()?;
        let number = |attribute| context.attribute(attribute);
        let limits = Limits {
            grid: [
                number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
                number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y)?,
                number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)?,
            ],
            block: [
                number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X)?,
                number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y)?,
                number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)?,
            ],
            threads: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            registers: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK)?,
            shared_bytes: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            unit_threads: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
        };
        let ready = GpuReady {
            uuid: context.uuid()?,
            mps: number(Attribute::CU_DEVICE_ATTRIBUTE_MPS_ENABLED)? != 0,
            compute_capability: [
                number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ],
            free_memory_bytes: Context::free_memory()? as u64,
        };
        Ok(Self {
            limits,
            l2_bytes: number(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)? as usize,
            ready,
            product: context.product()?,
            units: number(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            context,
        })
    }
}
