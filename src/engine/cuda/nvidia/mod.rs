//! NVIDIA's GPUs as devices: the one door to their libraries, which are looked for when they are asked for. Knows no ops.

mod build;
mod collectives;
mod device;
mod driver;
mod ffi;
mod graphs;
mod products;
mod staging;

pub mod compile;
pub mod cubins;
pub mod libraries;

use std::path::{Path, PathBuf};

use super::driver::DeviceFacts;
use crate::error::DeviceError;
use compile::{Compiler, Target};
use device::{Device, Machine};
use ffi::{DriverTable, ProductTable};
use libraries::{Library, Surroundings};

pub use driver::{Counts, Nvidia};

/// How a device is taken.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where libraries are looked for.
    pub libraries: Surroundings,
    /// Where compiled kernels are kept; nowhere without it.
    pub cubins: Option<PathBuf>,
    /// Whether steps are recorded and replayed as graphs.
    pub graphs: bool,
}

/// A device, and libraries that work with it.
struct Found {
    machine: Machine,
    facts: DeviceFacts,
    compiler: Compiler,
    target: Target,
    /// Files, of which at least one loads.
    products: Vec<PathBuf>,
}

/// Finds a device and the libraries, each the first file that can be used, and takes nothing of the device.
fn find(surroundings: &Surroundings, index: u32) -> Result<Found, DeviceError> {
    let (_, table) = open_driver(surroundings)?;
    let machine = Machine::new(table)?;
    let count = machine.count()?;
    if index >= count {
        return Err(device::no_such(index, count));
    }
    let facts = machine.facts(index)?;
    compile::least(facts.capability)?;
    let compilers = usable(surroundings, Library::Compiler, machine.version)?;
    let (compiler, target) = first(Library::Compiler, &compilers, |path| {
        let compiler = Compiler::open(path)?;
        let target = compiler.target(facts.capability)?;
        if let Target::Portable(_) = target
            && machine.version < compiler.version()
        {
            // Instructions of its own load into older drivers of the same major version; PTX does not.
            return Err(DeviceError::DriverTooOld {
                driver: machine.version,
                library: path.to_path_buf(),
                needed: compiler.version(),
            });
        }
        Ok((compiler, target))
    })?;
    let products = usable(surroundings, Library::Products, machine.version)?;
    loading(&products)?;
    Ok(Found {
        machine,
        facts,
        compiler,
        target,
        products,
    })
}

/// The first file of products that loads.
fn loading(products: &[PathBuf]) -> Result<PathBuf, DeviceError> {
    first(Library::Products, products, |path| {
        let table = ProductTable::open(path);
        table.map_err(|reason| unusable(path, reason))?;
        Ok(path.to_path_buf())
    })
}

fn unusable(path: &Path, reason: String) -> DeviceError {
    DeviceError::LibraryUnusable {
        path: path.to_path_buf(),
        reason,
    }
}

/// The driver's library: where it was found, else whatever the system's loader has under the name.
fn open_driver(surroundings: &Surroundings) -> Result<(PathBuf, DriverTable), DeviceError> {
    let found = surroundings.find(Library::Driver);
    let mut paths: Vec<PathBuf> = found.into_iter().map(|(_, path)| path).collect();
    let is_found = !paths.is_empty();
    if surroundings.root == Path::new("/") {
        let names = Library::Driver.files().into_iter();
        paths.extend(names.map(|(_, name)| PathBuf::from(name)));
    }
    let opened = first(Library::Driver, &paths, |path| {
        let table = DriverTable::open(path).map_err(|reason| unusable(path, reason))?;
        Ok((path.to_path_buf(), table))
    });
    match is_found {
        true => opened,
        false => opened.map_err(|_| missing(surroundings, Library::Driver)),
    }
}

/// The first that opens; else why each of them does not.
fn first<T>(
    library: Library,
    paths: &[PathBuf],
    open: impl Fn(&Path) -> Result<T, DeviceError>,
) -> Result<T, DeviceError> {
    let mut faults = Vec::new();
    for path in paths {
        match open(path) {
            Ok(opened) => return Ok(opened),
            Err(error) => faults.push(error),
        }
    }
    if faults.len() == 1 {
        return Err(faults.remove(0));
    }
    Err(DeviceError::NoneUsable {
        library: library.title().to_owned(),
        faults: faults.iter().map(DeviceError::to_string).collect(),
    })
}

fn missing(surroundings: &Surroundings, library: Library) -> DeviceError {
    DeviceError::LibraryMissing {
        library: library.title().to_owned(),
        files: library.files().into_iter().map(|(_, name)| name).collect(),
        looked_in: surroundings.folders(library),
        install: library.install(),
    }
}

/// Files of a library that the driver is new enough for, at least one.
fn usable(
    surroundings: &Surroundings,
    library: Library,
    driver: (u32, u32),
) -> Result<Vec<PathBuf>, DeviceError> {
    let found = surroundings.find(library);
    let is_known = |major: Option<u32>| major.is_none_or(|major| major <= driver.0);
    let fitting: Vec<PathBuf> = found
        .iter()
        .filter(|(major, _)| is_known(*major))
        .map(|(_, path)| path.clone())
        .collect();
    match (fitting.is_empty(), found.first()) {
        (false, _) => Ok(fitting),
        (true, None) => Err(missing(surroundings, library)),
        (true, Some((major, path))) => Err(DeviceError::DriverTooOld {
            driver,
            library: path.clone(),
            needed: (major.unwrap_or(0), 0),
        }),
    }
}

/// A library as `doctor` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Seen {
    /// Which.
    pub library: Library,
    /// Its file, if there is one that loads.
    pub path: Option<PathBuf>,
    /// Its version, where it says one.
    pub version: Option<String>,
    /// Why it cannot be used.
    pub fault: Option<String>,
    /// Where it was looked for.
    pub looked_in: Vec<PathBuf>,
    /// How to get it.
    pub install: String,
}

/// What this machine has for computing on a GPU.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Survey {
    /// Why it cannot be computed on; nothing where it can.
    pub missing: Option<String>,
    /// Libraries.
    pub libraries: Vec<Seen>,
    /// Devices, by index.
    pub devices: Vec<DeviceFacts>,
}

/// Looks at everything, and uses no device.
#[must_use]
pub fn survey(surroundings: &Surroundings) -> Survey {
    let seen = |library: Library, opened: Result<(PathBuf, Option<(u32, u32)>), DeviceError>| {
        let (path, version, fault) = match opened {
            Ok((path, version)) => (Some(path), version, None),
            Err(error) => (None, None, Some(error.to_string())),
        };
        Seen {
            library,
            path,
            version: version.map(|(major, minor)| format!("{major}.{minor}")),
            fault,
            looked_in: surroundings.folders(library),
            install: library.install(),
        }
    };
    let driver = open_driver(surroundings);
    let mut devices = Ok(Vec::new());
    // What is newer than a driver is told apart only where there is a driver.
    let mut version = (u32::MAX, u32::MAX);
    let driver = driver.map(|(path, table)| match Machine::new(table) {
        Ok(machine) => {
            version = machine.version;
            let count = machine.count();
            devices = count.and_then(|count| (0..count).map(|i| machine.facts(i)).collect());
            (path, Some(machine.version))
        }
        Err(error) => {
            devices = Err(error);
            (path, None)
        }
    });
    let compiler = usable(surroundings, Library::Compiler, version)
        .and_then(|paths| first(Library::Compiler, &paths, Compiler::open))
        .map(|compiler| (compiler.path().to_path_buf(), Some(compiler.version())));
    let products = usable(surroundings, Library::Products, version)
        .and_then(|paths| Ok((loading(&paths)?, None)));
    let missing = check(surroundings, 0).err().map(|error| error.to_string());
    Survey {
        missing,
        libraries: vec![
            seen(Library::Driver, driver),
            seen(Library::Compiler, compiler),
            seen(Library::Products, products),
        ],
        devices: devices.unwrap_or_default(),
    }
}

/// Whether a device could be taken: its libraries are there, and so is the device. Takes nothing of it.
///
/// # Errors
/// What is missing.
pub fn check(surroundings: &Surroundings, index: u32) -> Result<DeviceFacts, DeviceError> {
    find(surroundings, index).map(|found| found.facts)
}

/// Opens a device with everything it takes.
fn open(options: &Options, index: u32) -> Result<(Device, Found), DeviceError> {
    let found = find(&options.libraries, index)?;
    let device = Device::open(&found.machine, index)?;
    Ok((device, found))
}
