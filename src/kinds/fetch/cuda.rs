//! NVIDIA's compiler and products as files, from their wheels on PyPI: for carrying over to a machine without a network.
//! Knows nothing of what they are used for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::kind::{StageContext, StageError};
use serde_json::json;

use super::Fetch;
use super::client::ClientOptions;
use super::hub::Hub;
use super::run::Surroundings;

/// A wheel, and the libraries in it that are needed.
#[derive(Clone, Copy)]
pub(super) struct Wheel<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    pub(super) sha256: &'a str,
    pub(super) files: &'a [&'a str],
}

/// NVRTC 12.8.93 and cuBLAS 12.8.4.1 for x86-64, 88 MB and 594 MB. Drivers from 525 on take them.
const WHEELS: [Wheel<'static>; 2] = [
    Wheel {
        name: "nvrtc",
        url: "https://files.pythonhosted.org/packages/05/6b/32f747947df2da6994e999492ab306a903659555dddc0fbdeb9d71f75e52/nvidia_cuda_nvrtc_cu12-12.8.93-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl",
        sha256: "a7756528852ef889772a84c6cd89d41dfa74667e24cca16bb31f8f061e3e9994",
        files: &[
            "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8",
        ],
    },
    Wheel {
        name: "cublas",
        url: "https://files.pythonhosted.org/packages/dc/61/e24b560ab2e2eaeb3c839129175fb330dfcfc29e5203196e5541a4c44682/nvidia_cublas_cu12-12.8.4.1-py3-none-manylinux_2_27_x86_64.whl",
        sha256: "8ac4e771d5a348c551b2a426eda6193c19aa630236b418086020df5ba9667142",
        files: &["nvidia/cublas/lib/libcublasLt.so.12"],
    },
];

/// Lays the libraries into a folder, which is made where it is missing; their paths.
///
/// # Errors
/// No network, another file than is expected, no room.
pub(crate) fn cuda_libraries(to: &Path, say: fn(&str)) -> Result<Vec<PathBuf>, StageError> {
    let around = Surroundings {
        client: ClientOptions::default(),
        hub: Hub::from_environment(|name| std::env::var(name).ok()),
        wait: &|time: Duration| std::thread::sleep(time),
    };
    fetch(to, &WHEELS, &around, say)
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
