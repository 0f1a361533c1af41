//! NVRTC, CUDA's run-time compiler: found, loaded and called.
//!
//! Its functions are taken from the library that was found. The bindings of cudarc would ask the loader for a
//! library by name, and may get another one than the user named.
#![expect(unsafe_code, reason = "loads NVRTC and calls it")]

mod functions;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use functions::Functions;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::backend::loader_words;

/// Names NVRTC's library, or the folder that it lies in.
pub const VARIABLE: &str = "FRACTUNE_NVRTC";

/// File names of the releases that are supported, the newest first.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// Why NVRTC cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NvrtcError {
    /// It is nowhere.
    #[error(
        "NVRTC, CUDA's run-time compiler (libnvrtc.so.13 or .12), was not found: looked with the loader and in \
         {places}; install it (Debian, Ubuntu: cuda-nvrtc-13-0; pip: nvidia-cuda-nvrtc) or set {VARIABLE} to \
         its file or folder"
    )]
    NotFound {
        /// Where it was looked for.
        places: String,
    },
    /// The variable names something that is no NVRTC.
    #[error(
        "{VARIABLE}={path}: {reason}; set it to the file libnvrtc.so.13, or to the folder that it lies in"
    )]
    Named {
        /// What the variable says.
        path: String,
        /// Why it is of no use.
        reason: String,
    },
    /// It is there, and does not work.
    #[error("NVRTC in {library} does not work: {reason}")]
    Broken {
        /// The library.
        library: String,
        /// What it answered.
        reason: String,
    },
}

/// The loaded compiler.
#[derive(Debug)]
pub struct Nvrtc {
    functions: Functions,
    library: String,
    version: (i32, i32),
    includes: Vec<PathBuf>,
}

/// What is compiled.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Shown in messages as the file's name.
    pub name: &'a str,
    /// CUDA C++ source.
    pub source: &'a str,
    /// The kernel, as C++ names it: `sgemm`, `sgemm<float, 4>`.
    pub entry: &'a str,
    /// `__constant__` and `__device__` variables whose symbols are wanted, as C++ names them.
    pub variables: &'a [String],
    /// Options.
    pub options: &'a [String],
}

/// A compiled program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The CUBIN.
    pub image: Vec<u8>,
    /// The kernel's symbol in it.
    pub entry: String,
    /// The variables' symbols, in their order.
    pub variables: Vec<String>,
}

impl Nvrtc {
    /// Finds and loads NVRTC: what the environment names, else what the loader finds, else what lies where
    /// toolkits and Python wheels are installed.
    ///
    /// # Errors
    /// [`NvrtcError`]: not found, or of no use.
    pub fn load() -> Result<Self, NvrtcError> {
        let Found { loaded, library, folder } = find()?;
        let broken = |reason: String| NvrtcError::Broken { library: library.clone(), reason };
        let functions = Functions::of(loaded).map_err(|error| broken(loader_words(&error)))?;
        let version = functions.version().map_err(broken)?;
        Ok(Self { functions, version, includes: includes(folder.as_deref()), library })
    }

    /// Major and minor version, such as 13 and 0.
    #[must_use]
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The library's path, or its name where the loader found it.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.library
    }

    /// The folders whose headers programs may include.
    #[must_use]
    pub fn includes(&self) -> &[PathBuf] {
        &self.includes
    }

    /// Compiles a program to a CUBIN.
    ///
    /// # Errors
    /// The compiler's words.
    pub fn compile(&self, program: &Program<'_>) -> Result<Compiled, String> {
        let handle = self.functions.program(&c_string(program.source)?, &c_string(program.name)?)?;
        // A variable's name stands for its address, and `&` says so.
        let addresses = program.variables.iter().map(|name| format!("&{name}"));
        let expressions: Vec<CString> = std::iter::once(program.entry.to_string())
            .chain(addresses)
            .map(|text| c_string(&text))
            .collect::<Result<_, _>>()?;
        for expression in &expressions {
            handle.add(expression)?;
        }
        let includes = self.includes.iter().map(|folder| format!("--include-path={}", folder.display()));
        let options = program.options.iter().cloned().chain(includes).map(|option| c_string(&option));
        handle.compile(&options.collect::<Result<Vec<_>, _>>()?)?;
        let mut names = expressions.iter().map(|expression| handle.lowered(expression));
        let entry = names.next().unwrap_or_else(|| Err("no entry point was asked for".into()))?;
        Ok(Compiled { image: handle.image()?, entry, variables: names.collect::<Result<_, _>>()? })
    }
}

/// A library that has been loaded.
struct Found {
    loaded: Library,
    /// Its path, or its name where the loader found it.
    library: String,
    folder: Option<PathBuf>,
}

fn find() -> Result<Found, NvrtcError> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        let shown = path.display().to_string();
        let is_folder = path.is_dir();
        let files = if is_folder { NAMES.map(|name| path.join(name)).to_vec() } else { vec![path] };
        let Some(file) = files.into_iter().find(|file| file.exists()) else {
            let reason =
                if is_folder { "there is no libnvrtc.so in it" } else { "there is no such file or folder" };
            return Err(NvrtcError::Named { path: shown, reason: reason.into() });
        };
        return open(&file).map_err(|reason| NvrtcError::Named { path: shown, reason });
    }
    let mut broken = None;
    for name in NAMES {
        if let Ok(loaded) = open_one(Path::new(name)) {
            let folder = loaded_from(name);
            let library = name.to_string();
            match folder.as_deref().map_or(Ok(()), open_builtins) {
                Ok(()) => return Ok(Found { loaded, library, folder }),
                Err(reason) => {
                    broken.get_or_insert(NvrtcError::Broken { library, reason });
                }
            }
        }
    }
    let folders = folders();
    let files = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    for file in files.filter(|file| file.exists()) {
        match open(&file) {
            Ok(found) => return Ok(found),
            Err(reason) => {
                broken.get_or_insert(NvrtcError::Broken { library: file.display().to_string(), reason });
            }
        }
    }
    let places = || folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ");
    Err(broken.unwrap_or_else(|| NvrtcError::NotFound { places: places() }))
}

/// Loads NVRTC from a file.
fn open(file: &Path) -> Result<Found, String> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_path_buf);
    if let Some(folder) = &folder {
        open_builtins(folder)?;
    }
    Ok(Found { loaded: open_one(file)?, library: file.display().to_string(), folder })
}

/// Loads NVRTC's builtins for good, which it asks for by name when it first compiles: too late for a process
/// that may not read the folder any more. An error, with the loader's words, if there are some and none loads: NVRTC
/// would only say that they are not there.
fn open_builtins(folder: &Path) -> Result<(), String> {
    let (mut loads, mut broken) = (false, None);
    for builtins in matching(folder, "libnvrtc-builtins.so") {
        match open_one(&builtins) {
            Ok(loaded) => {
                std::mem::forget(loaded);
                loads = true;
            }
            Err(reason) => broken = Some(format!("its builtins do not load: {reason}")),
        }
    }
    match broken {
        Some(reason) if !loads => Err(reason),
        _ => Ok(()),
    }
}

fn open_one(file: &Path) -> Result<Library, String> {
    // SAFETY: runs the library's initialisers, which is what using NVRTC means.
    let opened = unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) };
    opened.map_err(|error| loader_words(&error))
}

/// The folder that a library of this name was loaded from, as the kernel tells.
fn loaded_from(name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let file =
        maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(Path::new).find(|path| {
            path.file_name()
                .is_some_and(|file| file.to_string_lossy().starts_with(name.trim_end_matches(".so")))
        })?;
    file.parent().map(Path::to_path_buf)
}

/// Where toolkits and Python wheels put libraries.
fn folders() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    roots.push("/usr/local/cuda".into());
    roots.extend(matching(Path::new("/usr/local"), "cuda-"));
    let mut folders: Vec<PathBuf> = roots
        .iter()
        .flat_map(|root| [root.join("lib64"), root.join("targets/x86_64-linux/lib"), root.join("lib")])
        .collect();
    let mut prefixes: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    prefixes.extend(std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local")));
    prefixes.push("/usr/local".into());
    for prefix in prefixes {
        for python in matching(&prefix.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                let nvidia = python.join(packages).join("nvidia");
                folders.extend([nvidia.join("cu13/lib"), nvidia.join("cuda_nvrtc/lib")]);
            }
        }
    }
    folders
        .extend(["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"].map(PathBuf::from));
    folders
}

/// Entries of a folder whose names begin so, the last in the alphabet first.
fn matching(folder: &Path, start: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

/// Where `cuda_fp16.h` and its like lie, for a library in `folder`.
fn includes(folder: Option<&Path>) -> Vec<PathBuf> {
    let near = folder.into_iter().flat_map(|lib| {
        // lib64/ of a toolkit, targets/*/lib of one, lib/ of a wheel, cuda_nvrtc/lib/ beside cuda_runtime/.
        ["../include", "../../../include", "../../cuda_runtime/include"].map(|up| lib.join(up))
    });
    let usual = ["CUDA_HOME", "CUDA_PATH"]
        .iter()
        .filter_map(std::env::var_os)
        .map(|root| PathBuf::from(root).join("include"))
        .chain(["/usr/local/cuda/include".into(), "/usr/include".into()]);
    let found = near.chain(usual).find(|folder| folder.join("cuda_fp16.h").exists());
    let Some(found) = found else { return Vec::new() };
    // Since 13.0, `cuda/std` lies in a folder of its own.
    let standard = found.join("cccl");
    [found].into_iter().chain(standard.exists().then_some(standard)).collect()
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "the source, or a name, has a zero byte in it".to_string())
}
