//! `sandbox: strict`: the kernel denies a stage what was not declared. Linux with Landlock; elsewhere an error.

use std::path::{Path, PathBuf};

use crate::kind::StageError;

/// Folders every program may read: the system's.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/proc",
    "/sys",
    "/nix/store",
    "/gnu/store",
];

/// Devices every program may use: those that keep nothing from one process for another, unlike `/dev/shm`. Standard
/// input, output and error need no rule: the links in `/dev` lead to what is open already.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/dri",
    "/dev/kfd",
];

/// Restricts this process, and what it becomes, to: the stage's folder (read and write), [`DEVICES`] and NVIDIA's, the
/// system's folders, the folders of `PATH` with what lies beside a `bin`, `readable` (targets of linked inputs) and
/// `writable`.
///
/// # Errors
/// When the kernel has no Landlock, or refuses.
#[cfg(target_os = "linux")]
pub fn restrict(
    folder: &Path,
    readable: &[PathBuf],
    writable: &[PathBuf],
) -> Result<(), StageError> {
    use landlock::{
        ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd,
        Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    };
    let refused = |error: &dyn std::fmt::Display| {
        StageError::new(
            "run::sandbox",
            format!("the sandbox cannot be set up: {error}"),
        )
        .environment()
        .help("remove `sandbox: strict`, or use a Linux kernel with Landlock (5.13 or later)")
    };
    let abi = ABI::V3;
    let (all, read) = (AccessFs::from_all(abi), AccessFs::from_read(abi));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)
        .and_then(landlock::Ruleset::create)
        .map_err(|error| refused(&error))?;
    let mut allow: Vec<(PathBuf, BitFlags<AccessFs>)> = vec![(folder.to_path_buf(), all)];
    let use_device = read | AccessFs::from_file(abi);
    allow.extend(devices().into_iter().map(|path| (path, use_device)));
    allow.extend(SYSTEM.iter().map(|path| (PathBuf::from(path), read)));
    allow.extend(program_folders().into_iter().map(|path| (path, read)));
    allow.extend(readable.iter().map(|path| (path.clone(), read)));
    allow.extend(writable.iter().map(|path| (path.clone(), all)));
    for (path, access) in allow {
        let Ok(descriptor) = PathFd::new(&path) else {
            continue;
        };
        let access = if path.is_dir() {
            access
        } else {
            access & AccessFs::from_file(abi)
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(descriptor, access))
            .map_err(|error| refused(&error))?;
    }
    let status = ruleset.restrict_self().map_err(|error| refused(&error))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(refused(&"this kernel has no Landlock"));
    }
    Ok(())
}

/// As on Linux, where it works.
///
/// # Errors
/// Always: this system has no Landlock.
#[cfg(not(target_os = "linux"))]
pub fn restrict(
    folder: &Path,
    readable: &[PathBuf],
    writable: &[PathBuf],
) -> Result<(), StageError> {
    let _ = (folder, readable, writable, SYSTEM, DEVICES);
    Err(StageError::new(
        "run::sandbox",
        "`sandbox: strict` needs Linux with Landlock",
    )
    .environment()
    .help("remove `sandbox: strict`"))
}

/// [`DEVICES`] and those of NVIDIA's driver, whatever their number.
#[cfg(target_os = "linux")]
fn devices() -> Vec<PathBuf> {
    let mut devices: Vec<PathBuf> = DEVICES.iter().map(PathBuf::from).collect();
    for entry in std::fs::read_dir("/dev").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("nvidia") {
            devices.push(entry.path());
        }
    }
    devices
}

/// The folders of `PATH`, each `bin` with what lies beside it (`…/bin/python3` reads `…/lib`), but never a home folder
/// itself.
#[cfg(target_os = "linux")]
fn program_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut folders = Vec::new();
    for entry in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let Ok(entry) = std::fs::canonicalize(&entry) else {
            continue;
        };
        let is_bin = entry
            .file_name()
            .is_some_and(|name| name == "bin" || name == "sbin");
        match entry.parent() {
            Some(parent)
                if is_bin && parent.parent().is_some() && Some(parent) != home.as_deref() =>
            {
                folders.push(parent.to_path_buf());
            }
            _ => folders.push(entry),
        }
    }
    folders
}
