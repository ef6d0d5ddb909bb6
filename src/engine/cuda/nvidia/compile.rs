//! Kernels' sources to what a device runs, by NVRTC. Knows no devices but their numbers.

use std::ffi::{CStr, CString, c_char, c_int};
use std::path::{Path, PathBuf};

use cudarc::nvrtc::sys::{nvrtcProgram, nvrtcResult};

use super::build;
use super::ffi::{CompilerTable, SUCCESS, Status};
use crate::cuda::PRELUDE;
use crate::cuda::driver::{Element, Source};
use crate::error::DeviceError;

/// Least compute capability: below it there are no products in bf16.
pub const LEAST: u32 = 80;

fn number(capability: (u32, u32)) -> u32 {
    capability.0 * 10 + capability.1
}

/// Whether devices of a compute capability are computed on.
///
/// # Errors
/// When they are too old.
pub(super) fn least(capability: (u32, u32)) -> Result<(), DeviceError> {
    match number(capability) < LEAST {
        true => Err(DeviceError::TooOld { capability }),
        false => Ok(()),
    }
}

/// What is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Instructions of one architecture, such as 90 for `sm_90`.
    Exact(u32),
    /// PTX of an architecture, which the driver makes instructions of for newer ones.
    Portable(u32),
}

impl Target {
    /// NVRTC's option.
    fn option(self) -> String {
        match self {
            Self::Exact(number) => format!("--gpu-architecture=sm_{number}"),
            Self::Portable(number) => format!("--gpu-architecture=compute_{number}"),
        }
    }
}

/// NVRTC.
#[derive(Debug)]
pub struct Compiler {
    table: CompilerTable,
    path: PathBuf,
    version: (u32, u32),
    build: String,
    architectures: Vec<u32>,
}

impl Compiler {
    /// The library of a file.
    ///
    /// # Errors
    /// What of it cannot be loaded, or that it does not answer.
    pub fn open(path: &Path) -> Result<Self, DeviceError> {
        let builtins = builtins(path);
        open_builtins(&builtins);
        let unusable = |reason: String| DeviceError::LibraryUnusable {
            path: path.to_path_buf(),
            reason,
        };
        let table = CompilerTable::open(path).map_err(unusable)?;
        let judge = |call: &str, status: Status| match status {
            SUCCESS => Ok(()),
            status => Err(unusable(format!("{call}: error {status}"))),
        };
        let (mut major, mut minor, mut count) = (0, 0, 0);
        // SAFETY: each call writes the numbers it is given places for.
        unsafe {
            let status = (table.version)(&raw mut major, &raw mut minor);
            judge("nvrtcVersion", status)?;
            let status = (table.count_architectures)(&raw mut count);
            judge("nvrtcGetNumSupportedArchs", status)?;
        }
        let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: there is room for as many as the library counted.
        let status = unsafe { (table.architectures)(architectures.as_mut_ptr()) };
        judge("nvrtcGetSupportedArchs", status)?;
        let unsigned = |number: c_int| u32::try_from(number).unwrap_or(0);
        let mut architectures: Vec<u32> = architectures.into_iter().map(unsigned).collect();
        architectures.sort_unstable();
        Ok(Self {
            table,
            path: path.to_path_buf(),
            version: (unsigned(major), unsigned(minor)),
            build: build_of(path, &builtins),
            architectures,
        })
    }

    /// Its version, which is that of CUDA.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Which build its files are, wherever they lie: of one version there are several, which do not say so when they are asked
    /// and may compile the same text to different instructions.
    pub fn build(&self) -> &str {
        &self.build
    }

    /// Architectures it knows, oldest first.
    pub fn architectures(&self) -> &[u32] {
        &self.architectures
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to compile for a device of a compute capability: its own instructions, or PTX of the newest that is known
    /// where the device is newer than this library.
    ///
    /// # Errors
    /// When the device is too old.
    pub fn target(&self, capability: (u32, u32)) -> Result<Target, DeviceError> {
        least(capability)?;
        let number = number(capability);
        if self.architectures.contains(&number) {
            return Ok(Target::Exact(number));
        }
        let older = self
            .architectures
            .iter()
            .rev()
            .find(|known| **known < number);
        let newest = older.filter(|known| **known >= LEAST);
        let Some(newest) = newest else {
            return Err(DeviceError::LibraryUnusable {
                path: self.path.clone(),
                reason: format!("it does not know architectures from {LEAST} on"),
            });
        };
        Ok(Target::Portable(*newest))
    }

    /// NVRTC's options: all but the text that decides what comes out.
    pub(super) fn options(element: Element, target: Target) -> Vec<String> {
        let mut options = vec![target.option(), "--std=c++17".to_owned()];
        if element == Element::Bf16 {
            options.push("-DACT_BF16".to_owned());
        }
        options
    }

    /// Compiles a file of kernels; what comes out is a cubin or, for [`Target::Portable`], PTX with a zero at its end.
    ///
    /// # Errors
    /// What the compiler says about it.
    pub fn compile(
        &self,
        source: &Source,
        element: Element,
        target: Target,
    ) -> Result<Vec<u8>, DeviceError> {
        let failed = |log: String| DeviceError::Compile {
            source_name: source.name.to_owned(),
            log,
        };
        let text =
            |text: &str| CString::new(text).map_err(|_| failed("it holds a zero".to_owned()));
        let name = text(&format!("{}.cu", source.name))?;
        let code = text(source.text)?;
        let header = text(PRELUDE)?;
        let options = Self::options(element, target);
        let options: Vec<CString> = options
            .iter()
            .map(|one| text(one))
            .collect::<Result<_, _>>()?;
        let options: Vec<*const c_char> = options.iter().map(|one| one.as_ptr()).collect();
        let headers = [header.as_ptr()];
        let names = [c"prelude.cuh".as_ptr()];
        let mut program: nvrtcProgram = std::ptr::null_mut();
        // SAFETY: all texts end in zero and outlive the program, which is destroyed at the end of this function.
        let status = unsafe {
            (self.table.create)(
                &raw mut program,
                code.as_ptr(),
                name.as_ptr(),
                1,
                headers.as_ptr(),
                names.as_ptr(),
            )
        };
        if status != SUCCESS {
            return Err(failed(format!("nvrtcCreateProgram: error {status}")));
        }
        let program = Program {
            table: &self.table,
            program,
        };
        let count = c_int::try_from(options.len()).expect("a handful");
        const WRONG: Status = nvrtcResult::NVRTC_ERROR_COMPILATION as Status;
        // SAFETY: the program is alive, and so are the options.
        match unsafe { (self.table.compile)(program.program, count, options.as_ptr()) } {
            SUCCESS => {}
            WRONG => return Err(failed(program.log())),
            status => {
                let log = program.log();
                return Err(failed(format!(
                    "nvrtcCompileProgram: error {status}\n{log}"
                )));
            }
        }
        let made = match target {
            Target::Exact(_) => program.bytes(self.table.cubin_size, self.table.cubin),
            Target::Portable(_) => program.bytes(self.table.ptx_size, self.table.ptx),
        };
        made.ok_or_else(|| failed("the compiler made nothing".to_owned()))
    }
}

/// What NVRTC takes from beside itself, by name.
fn builtins(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libnvrtc-builtins.so.")
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths.filter(is_one).collect();
    found.sort();
    found
}

/// NVRTC opens these by their names alone; opened by its path before, one is found wherever it lies.
fn open_builtins(builtins: &[PathBuf]) {
    for path in builtins {
        // SAFETY: a library of NVIDIA's beside the one that was chosen. Where it does not load, NVRTC says so itself.
        if let Ok(library) = unsafe { libloading::Library::new(path) } {
            std::mem::forget(library);
        }
    }
}

/// What the library and what lies beside it hold. A toolkit has one file under several names, a wheel under one.
fn build_of(path: &Path, builtins: &[PathBuf]) -> String {
    let beside = builtins.iter().map(PathBuf::as_path);
    let mut builds: Vec<String> = Vec::new();
    for path in std::iter::once(path).chain(beside) {
        match build::identity(path) {
            Ok(build) if builds.contains(&build) => {}
            Ok(build) => builds.push(build),
            // What cannot be read is not loaded either.
            Err(_) => {}
        }
    }
    builds.join(", ")
}

struct Program<'a> {
    table: &'a CompilerTable,
    program: nvrtcProgram,
}

impl Program<'_> {
    fn log(&self) -> String {
        let bytes = self
            .bytes(self.table.log_size, self.table.log)
            .unwrap_or_default();
        let text = match CStr::from_bytes_until_nul(&bytes) {
            Ok(text) => text.to_string_lossy().into_owned(),
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        text.trim_end().to_owned()
    }

    fn bytes(
        &self,
        size: unsafe extern "C" fn(nvrtcProgram, *mut usize) -> Status,
        get: unsafe extern "C" fn(nvrtcProgram, *mut c_char) -> Status,
    ) -> Option<Vec<u8>> {
        let mut len = 0;
        // SAFETY: the program is alive; there is room for as many bytes as the library says there are.
        unsafe {
            if size(self.program, &raw mut len) != SUCCESS || len == 0 {
                return None;
            }
            let mut bytes = vec![0_u8; len];
            (get(self.program, bytes.as_mut_ptr().cast()) == SUCCESS).then_some(bytes)
        }
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: made by this table's `create`, and destroyed once.
        unsafe {
            (self.table.destroy)(&raw mut self.program);
        }
    }
}
