//! The CUDA driver: a context with one stream, memory, modules, events and graphs that free themselves.
//!
//! Everything is queued on the context's one stream and runs in order. An error of a queued kernel shows at
//! the next call that waits.
#![expect(unsafe_code, reason = "calls the CUDA driver")]

use std::ffi::{CString, c_void};
use std::marker::PhantomData;
use std::rc::Rc;

use cudarc::driver::result::{self, DriverError as Code};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use super::buffers::Buffer;
use crate::worker::protocol::Launch;

/// Most parameters that a launch passes; more are refused before.
pub(super) const MAX_PARAMETERS: usize = 64;
/// What a kernel that takes more parameters than the job has arguments reads for each of the others, in bytes.
const SPARE_BYTES: usize = 4096;

/// What the driver answered: the code, its name and the driver's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words} ({name}, CUDA error {code})")]
pub(super) struct DriverError {
    pub(super) code: u32,
    name: String,
    words: String,
}

/// The driver's answers that are told apart.
pub(super) mod code {
    pub(in super::super) const OUT_OF_MEMORY: u32 = 2;
    pub(in super::super) const NO_DEVICE: u32 = 100;
    pub(in super::super) const INVALID_DEVICE: u32 = 101;
    pub(in super::super) const INVALID_IMAGE: u32 = 200;
    pub(in super::super) const NO_BINARY_FOR_GPU: u32 = 209;
    pub(in super::super) const UNSUPPORTED_PTX_VERSION: u32 = 222;
    pub(in super::super) const LAUNCH_OUT_OF_RESOURCES: u32 = 701;
    /// From here to `MPS_LAST`: the MPS server is not there, starting, failed, full or recovering.
    pub(in super::super) const MPS_FIRST: u32 = 805;
    pub(in super::super) const MPS_LAST: u32 = 809;
}

impl From<Code> for DriverError {
    fn from(error: Code) -> Self {
        let text = |found: std::result::Result<&std::ffi::CStr, Code>| {
            found.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
        };
        Self { code: error.0 as u32, name: text(error.error_name()), words: text(error.error_string()) }
    }
}

type Result<T> = std::result::Result<T, DriverError>;

/// Whether the driver's library can be loaded.
pub(super) fn is_present() -> bool {
    // SAFETY: loads libcuda and runs its initialisers, which is what any CUDA program does.
    unsafe { sys::is_culib_present() }
}

/// The device's primary context, current on this thread, and its stream.
///
/// Not `Send`: a context is current on one thread.
#[derive(Debug)]
pub(super) struct Context {
    device: sys::CUdevice,
    stream: sys::CUstream,
    _thread: PhantomData<Rc<()>>,
}

impl Context {
    /// Opens the first device that this process may see. Waiting for it sleeps: the CPUs compile meanwhile.
    pub(super) fn open() -> Result<Rc<Self>> {
        result::init()?;
        let device = result::device::get(0)?;
        let flags = sys::CUctx_flags_enum::CU_CTX_SCHED_BLOCKING_SYNC as u32;
        // SAFETY: `device` was returned by the driver just now; the context is retained for the process's life.
        unsafe {
            sys::cuDevicePrimaryCtxSetFlags_v2(device, flags).result()?;
            let context = result::primary_ctx::retain(device)?;
            result::ctx::set_current(context)?;
        }
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        Ok(Rc::new(Self { device, stream, _thread: PhantomData }))
    }

    pub(super) fn attribute(&self, attribute: Attribute) -> Result<u32> {
        // SAFETY: the device is the driver's own.
        let value = unsafe { result::device::get_attribute(self.device, attribute) }?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    pub(super) fn product(&self) -> Result<String> {
        Ok(result::device::get_name(self.device)?)
    }

    /// As `nvidia-smi -L` writes it: `GPU-` and 32 hexadecimal digits in groups.
    pub(super) fn uuid(&self) -> Result<String> {
        let uuid = result::device::get_uuid(self.device)?;
        let hex: Vec<String> =
            uuid.bytes.iter().map(|byte| format!("{:02x}", byte.cast_unsigned())).collect();
        let group = |from: usize, to: usize| hex.get(from..to).unwrap_or_default().concat();
        Ok(format!("GPU-{}-{}-{}-{}-{}", group(0, 4), group(4, 6), group(6, 8), group(8, 10), group(10, 16)))
    }

    /// Waits until everything queued is done, and tells what failed.
    pub(super) fn wait(&self) -> Result<()> {
        // SAFETY: the stream is this context's own and lives as long as it does.
        Ok(unsafe { result::stream::synchronize(self.stream) }?)
    }

    /// Whether the context still works. One that has met a device error, its own or under MPS a neighbour's,
    /// never does again.
    pub(super) fn is_alive(&self) -> bool {
        let mut free = 0;
        // SAFETY: the stream is this context's own; the pointers are to locals.
        let idle = unsafe { sys::cuStreamQuery(self.stream) };
        matches!(idle, sys::CUresult::CUDA_SUCCESS | sys::CUresult::CUDA_ERROR_NOT_READY)
            // SAFETY: as above.
            && unsafe { sys::cuMemGetInfo_v2(&raw mut free, &raw mut free) } == sys::CUresult::CUDA_SUCCESS
    }

    /// Free memory in bytes of the device whose context is current.
    pub(super) fn free_memory() -> Result<usize> {
        Ok(result::mem_get_info()?.0)
    }

    pub(super) fn allocate(self: &Rc<Self>, bytes: usize) -> Result<Memory> {
        // SAFETY: the memory belongs to the value made here, and is freed with it.
        let address = unsafe { result::malloc_sync(bytes.max(1)) }?;
        Ok(Memory { context: self.clone(), address, bytes })
    }

    pub(super) fn load(self: &Rc<Self>, image: &[u8]) -> Result<Module> {
        // SAFETY: `image` is a whole CUBIN; the driver checks its header and does not keep the pointer.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }?;
        Ok(Module(Rc::new(ModuleHandle { module, context: self.clone() })))
    }

    pub(super) fn event(self: &Rc<Self>) -> Result<Event> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        Ok(Event { event, context: self.clone() })
    }

    /// Queues a launch. `parameters` are the values in order, each within eight bytes.
    pub(super) fn launch(&self, function: &Function, launch: &Launch, parameters: &mut [u64]) -> Result<()> {
        let mut spare = [0_u8; SPARE_BYTES];
        let mut pointers: Vec<*mut c_void> = parameters.iter_mut().map(|p| (&raw mut *p).cast()).collect();
        // The driver reads as many as the kernel declares, whatever the job says.
        pointers.resize(MAX_PARAMETERS.max(pointers.len()) * 2, spare.as_mut_ptr().cast());
        let Launch { grid: [gx, gy, gz], block: [bx, by, bz], shared_bytes } = *launch;
        // SAFETY: the function's module is loaded while `function` lives. The driver copies the parameters
        // before it returns: every pointer is to at least as many bytes as its parameter has, since arguments
        // that are larger than eight bytes are refused when a candidate is loaded. What the kernel does on the
        // device is not known, and harms this process's context at most.
        Ok(unsafe {
            result::launch_kernel(
                function.handle,
                (gx, gy, gz),
                (bx, by, bz),
                shared_bytes,
                self.stream,
                &mut pointers,
            )
        }?)
    }

    /// Makes a graph of what `queue` queues.
    pub(super) fn record(self: &Rc<Self>, queue: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is this context's own, and nothing is being captured on it.
        unsafe { result::stream::begin_capture(self.stream, mode) }?;
        let queued = queue();
        // SAFETY: the capture was begun above. It is ended whatever `queue` met, and the graph destroyed
        // once it has been instantiated.
        unsafe {
            let graph = result::stream::end_capture(self.stream);
            // A launch that failed spoils the capture as well: its error says more.
            let executable = queued
                .and_then(|()| Ok(result::graph::instantiate(graph?, sys::CUgraphInstantiate_flags(0))?));
            if let Ok(graph) = graph {
                let _ = result::graph::destroy(graph);
            }
            Ok(Graph { executable: executable?, context: self.clone() })
        }
    }
}

/// Device memory.
#[derive(Debug)]
pub(super) struct Memory {
    context: Rc<Context>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl Memory {
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues setting `count` bytes from `offset` on.
    pub(super) fn fill(&self, offset: usize, count: usize, byte: u8) -> Result<()> {
        let count = count.min(self.bytes.saturating_sub(offset));
        // SAFETY: the range lies within this memory.
        Ok(unsafe {
            result::memset_d8_async(self.address + offset as u64, byte, count, self.context.stream)
        }?)
    }

    /// Copies from the host, as much as fits behind `offset`; waits for it.
    pub(super) fn upload(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let bytes = bytes.get(..self.bytes.saturating_sub(offset)).unwrap_or(bytes);
        // SAFETY: the range lies within this memory; the call returns when `bytes` has been read.
        unsafe {
            result::memcpy_htod_async(self.address + offset as u64, bytes, self.context.stream)?;
        }
        self.context.wait()
    }

    /// Copies to the host, as much as there is behind `offset`; waits for it.
    pub(super) fn download(&self, offset: usize, bytes: &mut [u8]) -> Result<()> {
        let count = bytes.len().min(self.bytes.saturating_sub(offset));
        let bytes = bytes.get_mut(..count).unwrap_or_default();
        // SAFETY: the range lies within this memory; `bytes` is borrowed until the copy is done.
        unsafe {
            result::memcpy_dtoh_async(bytes, self.address + offset as u64, self.context.stream)?;
        }
        self.context.wait()
    }

    /// Queues a copy of `count` bytes of `from` behind `offset`.
    pub(super) fn copy(&self, offset: usize, from: &Memory, from_offset: usize, count: usize) -> Result<()> {
        let count = count.min(self.bytes.saturating_sub(offset)).min(from.bytes.saturating_sub(from_offset));
        let (to, from) = (self.address + offset as u64, from.address + from_offset as u64);
        // SAFETY: both ranges lie within their memory.
        Ok(unsafe { result::memcpy_dtod_async(to, from, count, self.context.stream) }?)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate`, freed here only. Freeing waits for what uses it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// A loaded CUBIN.
#[derive(Clone, Debug)]
pub(super) struct Module(Rc<ModuleHandle>);

#[derive(Debug)]
struct ModuleHandle {
    module: sys::CUmodule,
    /// Modules are unloaded before their context ends.
    context: Rc<Context>,
}

impl Module {
    pub(super) fn function(&self, name: &str) -> Result<Function> {
        let handle = c_string(name, |name| {
            // SAFETY: the module is loaded while `self` lives, and the function keeps it.
            unsafe { result::module::get_function(self.0.module, name) }
        })?;
        Ok(Function { handle, _module: self.clone() })
    }

    /// Queues a copy of a buffer to the variable `name`. Returns the variable's size in bytes instead if it is
    /// too small.
    pub(super) fn set_variable(&self, name: &str, from: &Buffer) -> Result<Option<usize>> {
        let bytes = from.bytes();
        let (address, size) = c_string(name, |name| {
            // SAFETY: as for `function`.
            unsafe { result::module::get_global(self.0.module, name) }
        })?;
        if size < bytes {
            return Ok(Some(size));
        }
        // SAFETY: both the variable and the buffer have `bytes` bytes.
        unsafe {
            result::memcpy_dtod_async(address, from.address(), bytes, self.0.context.stream)?;
        }
        Ok(None)
    }
}

fn c_string<T>(name: &str, act: impl FnOnce(CString) -> std::result::Result<T, Code>) -> Result<T> {
    // A name with a zero byte in it names nothing.
    let name = CString::new(name).map_err(|_| Code(sys::CUresult::CUDA_ERROR_NOT_FOUND))?;
    Ok(act(name)?)
}

impl Drop for ModuleHandle {
    fn drop(&mut self) {
        // SAFETY: loaded in `load`, unloaded here only, when no function of it is left.
        let _ = unsafe { result::module::unload(self.module) };
    }
}

/// A kernel of a loaded module.
#[derive(Clone, Debug)]
pub(super) struct Function {
    handle: sys::CUfunction,
    _module: Module,
}

impl Function {
    pub(super) fn attribute(&self, attribute: sys::CUfunction_attribute) -> Result<u32> {
        // SAFETY: the function's module is loaded while `self` lives.
        let value = unsafe { result::function::get_function_attribute(self.handle, attribute) }?;
        Ok(u32::try_from(value).unwrap_or(0))
    }

    pub(super) fn allow_shared_memory(&self, bytes: u32) -> Result<()> {
        let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: as for `attribute`.
        Ok(unsafe { result::function::set_function_attribute(self.handle, attribute, bytes) }?)
    }

    /// Blocks of a launch that an SM holds at once.
    pub(super) fn blocks_per_unit(&self, launch: &Launch) -> Result<u32> {
        let threads = launch.block.iter().product::<u32>();
        let (threads, shared) = (i32::try_from(threads).unwrap_or(i32::MAX), launch.shared_bytes as usize);
        // SAFETY: as for `attribute`.
        let blocks =
            unsafe { result::occupancy::max_active_block_per_multiprocessor(self.handle, threads, shared) }?;
        Ok(u32::try_from(blocks).unwrap_or(0))
    }

    /// Size in bytes of each parameter.
    pub(super) fn parameters(&self) -> Result<Vec<usize>> {
        let (mut offset, mut size) = (0, 0);
        let mut sizes = Vec::new();
        loop {
            // SAFETY: the function is loaded, the pointers are to locals.
            let answer =
                unsafe { sys::cuFuncGetParamInfo(self.handle, sizes.len(), &raw mut offset, &raw mut size) };
            match answer.result() {
                Ok(()) => sizes.push(size),
                // There is no such parameter.
                Err(Code(sys::CUresult::CUDA_ERROR_INVALID_VALUE)) => return Ok(sizes),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A point in the stream whose time is known afterwards.
#[derive(Debug)]
pub(super) struct Event {
    event: sys::CUevent,
    context: Rc<Context>,
}

impl Event {
    /// Queues the taking of the time.
    pub(super) fn record(&self) -> Result<()> {
        // SAFETY: event and stream belong to the same context, which `self` keeps.
        Ok(unsafe { result::event::record(self.event, self.context.stream) }?)
    }

    /// Nanoseconds from `earlier` to this; both must have been passed.
    pub(super) fn since(&self, earlier: &Event) -> Result<u64> {
        // SAFETY: both events live and are of one stream.
        let milliseconds = unsafe { result::event::elapsed(earlier.event, self.event) }?;
        Ok((f64::from(milliseconds) * 1e6).round() as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created in `Context::event`, destroyed here only.
        let _ = unsafe { result::event::destroy(self.event) };
    }
}

/// A recorded sequence of launches.
#[derive(Debug)]
pub(super) struct Graph {
    executable: sys::CUgraphExec,
    context: Rc<Context>,
}

impl Graph {
    pub(super) fn launch(&self) -> Result<()> {
        // SAFETY: graph and stream belong to the same context, which `self` keeps.
        Ok(unsafe { result::graph::launch(self.executable, self.context.stream) }?)
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated in `Context::record`, destroyed here only.
        let _ = unsafe { result::graph::exec_destroy(self.executable) };
    }
}
