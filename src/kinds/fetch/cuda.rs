//! NVIDIA's compiler and products as files, from their wheels: for carrying over to a machine without a network.
//! Knows nothing of what they are used for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flow::kind::{StageContext, StageError};
use serde_json::json;

use super::Fetch;
use super::client::ClientOptions;
use super::hub::Hub;
use super::run::Surroundings;

/// A wheel that lies somewhere, and the libraries in it that are needed.
#[derive(Clone, Copy)]
pub(super) struct Wheel<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) sha256: &'a str,
    pub(super) files: &'a [&'a str],
}

/// NVRTC and cuBLAS for x86-64, 88 MB and 594 MB: name and version, digest, libraries. Drivers from 525 on take them.
const PINNED: [(&str, &str, &[&str]); 2] = [
    (
        "nvidia-cuda-nvrtc-cu12==12.8.93",
        "a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994",
        &[
            "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8",
        ],
    ),
    (
        "nvidia-cublas-cu12==12.8.4.1",
        "8ac4e771d5a348c551b2a426eda6193c19aa630236b418086020df5ba9667142",
        &["nvidia/cublas/lib/libcublasLt.so.12"],
    ),
];

/// Lays the libraries into a folder, which is made where it is missing; their paths. The wheels come by `pip download`, from
/// wherever the user's pip takes packages; nothing of them is run, and digests are compared once more here.
///
/// # Errors
/// No pip, no network, another file than is expected, no room.
pub(crate) fn cuda_libraries(to: &Path, say: fn(&str)) -> Result<Vec<PathBuf>, StageError> {
    let around = Surroundings {
        client: ClientOptions::default(),
        hub: Hub::from_environment(|name| std::env::var(name).ok()),
        wait: &|time: Duration| std::thread::sleep(time),
    };
    fs_err::create_dir_all(to)?;
    let folder = tempfile::Builder::new().prefix(".wheels-").tempdir_in(to)?;
    let mut urls = Vec::new();
    for (number, (requirement, sha256, _)) in PINNED.iter().enumerate() {
        let place = folder.path().join(number.to_string());
        say(&format!("pip download {requirement}"));
        download(requirement, sha256, &place)?;
        let entry = fs_err::read_dir(&place)?.next();
        let wheel = entry.ok_or_else(|| no_pip("it leaves no file"))??.path();
        let url = url::Url::from_file_path(std::path::absolute(wheel)?);
        let url = url.map_err(|()| no_pip("it leaves no file"))?;
        urls.push(url.to_string());
    }
    let wheels: Vec<Wheel<'_>> = (PINNED.iter().zip(&urls))
        .map(|((requirement, sha256, files), url)| Wheel {
            name: requirement.split('=').next().unwrap_or(requirement),
            url,
            sha256,
            files,
        })
        .collect();
    fetch(to, &wheels, &around, say)
}

fn no_pip(reason: &str) -> StageError {
    let message = format!("`python3 -m pip download` does not get the libraries: {reason}");
    StageError::new("fetch::pip", message)
        .environment()
        .help("install Python's pip and see that it reaches its package index, or copy the libraries from another machine")
}

/// One wheel into a folder, by name, version and digest.
fn download(requirement: &str, sha256: &str, to: &Path) -> Result<(), StageError> {
    fs_err::create_dir_all(to)?;
    let list = to.with_extension("txt");
    fs_err::write(&list, format!("{requirement} --hash=sha256:{sha256}\n"))?;
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "download", "--quiet", "--no-deps"]);
    command.args(["--only-binary", ":all:", "--require-hashes", "--dest"]);
    command.arg(to).arg("--requirement").arg(&list);
    let output = command
        .output()
        .map_err(|error| no_pip(&error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| line.contains("ERROR"));
            Err(no_pip(last.unwrap_or("it failed").trim()))
        }
    }
}

pub(super) fn fetch(
    to: &Path,
    wheels: &[Wheel<'_>],
    around: &Surroundings<'_>,
    say: fn(&str),
) -> Result<Vec<PathBuf>, StageError> {
    let mut files = serde_json::Map::new();
    for wheel in wheels {
        let of = json!({
            "url": wheel.url,
            "sha256": wheel.sha256,
            "unpack": "zip",
            // Entries are compared by what is left of their names.
            "strip": 3,
            "only": wheel.files.iter().map(|file| name_of(file)).collect::<Vec<_>>(),
        });
        files.insert(wheel.name.to_owned(), of);
    }
    let kind: Fetch = serde_json::from_value(json!({ "files": files }))
        .map_err(|error| StageError::new("fetch::network", error.to_string()).bug())?;
    fs_err::create_dir_all(to)?;
    // Beside where they go, so that nothing is copied, and what broke off is gone on with.
    let place = to.join(".fetch");
    fs_err::create_dir_all(&place)?;
    let folder = tempfile::Builder::new().tempdir_in(&place)?;
    let stage = StageContext {
        scratch: place.join("downloads"),
        offline: false,
        root: to.to_path_buf(),
        say,
        ..StageContext::in_folder(folder.path(), BTreeMap::new())
    };
    kind.run_in(&stage, around)?;
    let mut laid = Vec::new();
    for wheel in wheels {
        for file in wheel.files {
            let name = name_of(file);
            let path = to.join(name);
            fs_err::rename(folder.path().join(wheel.name).join(name), &path)?;
            laid.push(path);
        }
    }
    drop(folder);
    fs_err::remove_dir_all(&place)?;
    Ok(laid)
}

fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap_or(file)
}
