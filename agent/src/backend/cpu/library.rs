//! Shared objects that export a candidate.
#![expect(unsafe_code, reason = "loads shared objects and calls into them")]

use std::ffi::c_void;
use std::path::Path;

use fractune_tuner::trial::Outcome;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

use super::float_control::FloatControl;
use crate::backend::{Fault, loader_words};

/// `RTLD_NOLOAD | RTLD_NODELETE` of Linux: keep what is loaded already, load nothing.
const KEEP_IF_LOADED: i32 = 0x0004 | 0x1000;

/// Runtimes that keep threads of their own, waiting in the runtime's code for the next parallel region.
/// Unloaded with the first candidate that used them, they would crash.
const THREADED_RUNTIMES: [&str; 4] = ["libgomp.so.1", "libomp.so.5", "libomp.so", "libiomp5.so"];

type Entry = unsafe extern "C" fn(*mut *mut c_void);

/// A loaded candidate; unloaded when dropped.
#[derive(Debug)]
pub(super) struct Candidate {
    entry: Symbol<Entry>,
    /// The control word that its initialisers left.
    control: FloatControl,
    /// Keeps the code of `entry` mapped.
    _library: Library,
}

impl Candidate {
    /// Loads the shared object at `path`, every symbol bound now and none shown to others.
    pub(super) fn load(path: &Path, symbol: &str) -> Result<Self, Fault> {
        let ours = FloatControl::current();
        // SAFETY: the object's initialisers run. They may do anything; that is why this process is a
        // confined child whose death costs one trial.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let control = FloatControl::current();
        ours.set();
        let library = library.map_err(|e| {
            let message = loader_words(&e);
            let no_room = message.contains("cannot allocate memory") || message.contains("map segment");
            let outcome = if no_room { Outcome::ResourceExceeded } else { Outcome::RuntimeError };
            Fault::candidate(outcome, format!("cannot be loaded: {message}"))
        })?;
        // SAFETY: the caller says that the symbol is a `void symbol(void **)`. Calling it is `call`'s matter.
        let entry = unsafe { library.get::<Entry>(symbol.as_bytes()) }.map_err(|e| {
            Fault::candidate(
                Outcome::RuntimeError,
                format!("does not export {symbol:?}: {}", loader_words(&e)),
            )
        })?;
        for runtime in THREADED_RUNTIMES {
            // SAFETY: nothing is loaded; a runtime that is loaded already gets one more reference, which
            // is leaked on purpose.
            if let Ok(kept) = unsafe { Library::open(Some(runtime), RTLD_NOW | KEEP_IF_LOADED) } {
                std::mem::forget(kept);
            }
        }
        Ok(Self { entry, control, _library: library })
    }

    /// Calls the candidate; `arguments[i]` points at the value of the i-th argument.
    pub(super) fn call(&self, arguments: &mut [*mut c_void]) {
        let ours = FloatControl::current();
        self.control.set();
        // SAFETY: the pointers are to live values of the types that the candidate was compiled for. What it
        // does with them is not known: guard pages catch what they can, and the parent survives the rest.
        unsafe { (self.entry)(arguments.as_mut_ptr()) }
        ours.set();
    }
}
