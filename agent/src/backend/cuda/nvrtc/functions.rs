//! NVRTC's functions, taken from one library.

use std::ffi::{CStr, CString, c_char, c_int};

use cudarc::nvrtc::sys::nvrtcProgram;
use libloading::os::unix::{Library, Symbol};

type Answer = c_int;
const SUCCESS: Answer = 0;

/// The functions that are called. Their types are those of `nvrtc.h` of CUDA 12 and 13.
#[derive(Debug)]
pub(super) struct Functions {
    version: Symbol<unsafe extern "C" fn(*mut c_int, *mut c_int) -> Answer>,
    error: Symbol<unsafe extern "C" fn(Answer) -> *const c_char>,
    create: Symbol<Create>,
    destroy: Symbol<unsafe extern "C" fn(*mut nvrtcProgram) -> Answer>,
    add_name: Symbol<unsafe extern "C" fn(nvrtcProgram, *const c_char) -> Answer>,
    compile: Symbol<unsafe extern "C" fn(nvrtcProgram, c_int, *const *const c_char) -> Answer>,
    log_size: Symbol<unsafe extern "C" fn(nvrtcProgram, *mut usize) -> Answer>,
    log: Symbol<unsafe extern "C" fn(nvrtcProgram, *mut c_char) -> Answer>,
    lowered_name: Symbol<unsafe extern "C" fn(nvrtcProgram, *const c_char, *mut *const c_char) -> Answer>,
    image_size: Symbol<unsafe extern "C" fn(nvrtcProgram, *mut usize) -> Answer>,
    image: Symbol<unsafe extern "C" fn(nvrtcProgram, *mut c_char) -> Answer>,
    /// Keeps the functions loaded.
    _library: Library,
}

type Create = unsafe extern "C" fn(
    *mut nvrtcProgram,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Answer;

impl Functions {
    /// An error names the function that the library lacks.
    pub(super) fn of(library: Library) -> Result<Self, libloading::Error> {
        // SAFETY: each type is that of the function of this name in `nvrtc.h`; the library is kept beside them.
        unsafe {
            Ok(Self {
                version: library.get(b"nvrtcVersion")?,
                error: library.get(b"nvrtcGetErrorString")?,
                create: library.get(b"nvrtcCreateProgram")?,
                destroy: library.get(b"nvrtcDestroyProgram")?,
                add_name: library.get(b"nvrtcAddNameExpression")?,
                compile: library.get(b"nvrtcCompileProgram")?,
                log_size: library.get(b"nvrtcGetProgramLogSize")?,
                log: library.get(b"nvrtcGetProgramLog")?,
                lowered_name: library.get(b"nvrtcGetLoweredName")?,
                image_size: library.get(b"nvrtcGetCUBINSize")?,
                image: library.get(b"nvrtcGetCUBIN")?,
                _library: library,
            })
        }
    }

    /// Major and minor version.
    pub(super) fn version(&self) -> Result<(i32, i32), String> {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the pointers are to locals.
        self.check(unsafe { (self.version)(&raw mut major, &raw mut minor) })?;
        Ok((major, minor))
    }

    pub(super) fn program(&self, source: &CStr, name: &CStr) -> Result<Program<'_>, String> {
        let mut program: nvrtcProgram = std::ptr::null_mut();
        let none = std::ptr::null();
        // SAFETY: NVRTC copies both texts; there are no headers.
        let answer =
            unsafe { (self.create)(&raw mut program, source.as_ptr(), name.as_ptr(), 0, none, none) };
        self.check(answer)?;
        Ok(Program { functions: self, program })
    }

    fn check(&self, answer: Answer) -> Result<(), String> {
        if answer == SUCCESS {
            return Ok(());
        }
        // SAFETY: takes any number and returns a static text.
        let words = unsafe { (self.error)(answer) };
        if words.is_null() {
            return Err(format!("NVRTC error {answer}"));
        }
        // SAFETY: not null, and a C string for the library's life.
        Err(unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned())
    }
}

/// A program, destroyed when dropped.
pub(super) struct Program<'a> {
    functions: &'a Functions,
    program: nvrtcProgram,
}

impl Program<'_> {
    /// Asks for the symbol of what an expression names; before compiling.
    pub(super) fn add(&self, expression: &CStr) -> Result<(), String> {
        // SAFETY: the program lives, and NVRTC copies the text.
        self.functions.check(unsafe { (self.functions.add_name)(self.program, expression.as_ptr()) })
    }

    /// An error is the compiler's log.
    pub(super) fn compile(&self, options: &[CString]) -> Result<(), String> {
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let count = c_int::try_from(options.len()).unwrap_or(c_int::MAX);
        // SAFETY: the program lives, and there are `count` options.
        let answer = unsafe { (self.functions.compile)(self.program, count, options.as_ptr()) };
        self.functions.check(answer).map_err(|words| {
            let log = self.log();
            if log.trim().is_empty() { words } else { log }
        })
    }

    /// The symbol of an expression that was added; after compiling.
    pub(super) fn lowered(&self, expression: &CStr) -> Result<String, String> {
        let mut name: *const c_char = std::ptr::null();
        // SAFETY: the program lives and has been compiled.
        let answer =
            unsafe { (self.functions.lowered_name)(self.program, expression.as_ptr(), &raw mut name) };
        self.functions.check(answer)?;
        // SAFETY: on success the name is a C string that lives as long as the program.
        Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    /// The CUBIN; after compiling.
    pub(super) fn image(&self) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program lives and has been compiled; the pointer is to a local.
        self.functions.check(unsafe { (self.functions.image_size)(self.program, &raw mut size) })?;
        if size == 0 {
            return Err("the options ask for a virtual architecture: name a real one, such as \
                        --gpu-architecture=sm_90a"
                .into());
        }
        let mut image = vec![0_u8; size];
        // SAFETY: as above; the vector has the size that was asked for.
        self.functions.check(unsafe { (self.functions.image)(self.program, image.as_mut_ptr().cast()) })?;
        Ok(image)
    }

    fn log(&self) -> String {
        let mut size = 0;
        // SAFETY: the program lives; the pointer is to a local.
        let answer = unsafe { (self.functions.log_size)(self.program, &raw mut size) };
        if answer != SUCCESS {
            return String::new();
        }
        // One more, so that there is an end whatever the library writes.
        let mut log = vec![0_u8; size + 1];
        // SAFETY: the vector has at least the size that was asked for.
        let answer = unsafe { (self.functions.log)(self.program, log.as_mut_ptr().cast()) };
        let text = log.split(|&byte| byte == 0).next().unwrap_or_default();
        if answer == SUCCESS { String::from_utf8_lossy(text).into_owned() } else { String::new() }
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: created in `Functions::program`, destroyed here only.
        let _ = unsafe { (self.functions.destroy)(&raw mut self.program) };
    }
}
