//! NVRTC, CUDA's run-time compiler: found, loaded and called.
#![expect(unsafe_code, reason = "loads NVRTC and calls it")]

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::result;
use cudarc::nvrtc::sys::{self, nvrtcResult};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

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
        let (library, folder) = find()?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the library has been loaded, so that the bindings find it; the pointers are to locals.
        let answer = unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) };
        if answer != nvrtcResult::NVRTC_SUCCESS {
            return Err(NvrtcError::Broken { library, reason: format!("{answer:?}") });
        }
        Ok(Self { library, version: (major, minor), includes: includes(folder.as_deref()) })
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
        let (source, name) = (c_string(program.source)?, c_string(program.name)?);
        let handle = Handle(result::create_program(&source, Some(&name)).map_err(|e| e.to_string())?);
        let expressions: Vec<CString> = std::iter::once(program.entry)
            .chain(program.variables.iter().map(String::as_str))
            // A variable's name stands for its address, and `&` says so.
            .enumerate()
            .map(|(i, text)| c_string(&if i == 0 { text.to_string() } else { format!("&{text}") }))
            .collect::<Result<_, _>>()?;
        for expression in &expressions {
            // SAFETY: the program lives, and the text outlives the call.
            let added = unsafe { sys::nvrtcAddNameExpression(handle.0, expression.as_ptr()) };
            succeeded(added)?;
        }
        let includes = self.includes.iter().map(|folder| format!("--include-path={}", folder.display()));
        let options: Vec<String> = program.options.iter().cloned().chain(includes).collect();
        if let Some(option) = options.iter().find(|option| option.contains('\0')) {
            return Err(format!("the option {option:?} has a zero byte in it"));
        }
        // SAFETY: the program lives.
        if let Err(error) = unsafe { result::compile_program(handle.0, &options) } {
            let log = handle.log();
            return Err(if log.trim().is_empty() { error.to_string() } else { log });
        }
        let mut names = expressions.iter().map(|expression| handle.lowered(expression));
        let entry = names.next().unwrap_or_else(|| Err("no entry point was asked for".into()))?;
        Ok(Compiled { image: handle.image()?, entry, variables: names.collect::<Result<_, _>>()? })
    }
}

/// The library that is loaded now, and its folder if it is known.
fn find() -> Result<(String, Option<PathBuf>), NvrtcError> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        let shown = path.display().to_string();
        let files =
            if path.is_dir() { NAMES.map(|name| path.join(name)).to_vec() } else { vec![path.clone()] };
        let Some(file) = files.into_iter().find(|file| file.exists()) else {
            return Err(NvrtcError::Named { path: shown, reason: "there is no libnvrtc.so in it".into() });
        };
        open(&file).map_err(|reason| NvrtcError::Named { path: shown, reason })?;
        return Ok((file.display().to_string(), file.parent().map(Path::to_path_buf)));
    }
    if let Some(name) = NAMES.iter().find(|name| open_one(Path::new(name)).is_ok()) {
        let folder = loaded_from(name);
        if let Some(folder) = &folder {
            open_builtins(folder);
        }
        return Ok(((*name).to_string(), folder));
    }
    let folders = folders();
    let files = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    for file in files.filter(|file| file.exists()) {
        if open(&file).is_ok() {
            return Ok((file.display().to_string(), file.parent().map(Path::to_path_buf)));
        }
    }
    let places: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(NvrtcError::NotFound { places: places.join(", ") })
}

/// Loads NVRTC from a file. The bindings ask for it by name, and get this one.
fn open(file: &Path) -> Result<(), String> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        open_builtins(folder);
    }
    open_one(file)
}

/// Loads NVRTC's builtins, which it asks for by name when it first compiles: too late for a process that may
/// not read the folder any more.
fn open_builtins(folder: &Path) {
    for builtins in matching(folder, "libnvrtc-builtins.so") {
        // NVRTC says it if one that it needs does not load.
        let _ = open_one(&builtins);
    }
}

/// Loads a library for good.
fn open_one(file: &Path) -> Result<(), String> {
    // SAFETY: runs the library's initialisers, which is what using NVRTC means.
    match unsafe { Library::open(Some(file), RTLD_NOW | RTLD_GLOBAL) } {
        Ok(library) => {
            std::mem::forget(library);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
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

fn succeeded(answer: nvrtcResult) -> Result<(), String> {
    answer.result().map_err(|error| error.to_string())
}

/// A program, destroyed when dropped.
struct Handle(sys::nvrtcProgram);

impl Handle {
    fn log(&self) -> String {
        // SAFETY: the program lives.
        let log = unsafe { result::get_program_log(self.0) }.unwrap_or_default();
        let bytes: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|&b| b != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn lowered(&self, expression: &CStr) -> Result<String, String> {
        let mut name: *const c_char = std::ptr::null();
        // SAFETY: the program lives and has been compiled; the expression was added to it.
        succeeded(unsafe { sys::nvrtcGetLoweredName(self.0, expression.as_ptr(), &raw mut name) })?;
        // SAFETY: on success the name is a C string that lives as long as the program.
        Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    fn image(&self) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program lives and has been compiled; the pointer is to a local.
        succeeded(unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut size) })?;
        if size == 0 {
            return Err("the options ask for a virtual architecture: name a real one, such as \
                        --gpu-architecture=sm_90a"
                .into());
        }
        let mut image = vec![0_u8; size];
        // SAFETY: as above; the vector has the size that was asked for.
        succeeded(unsafe { sys::nvrtcGetCUBIN(self.0, image.as_mut_ptr().cast()) })?;
        Ok(image)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: created in `compile`, destroyed here only.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}
