//! Where NVIDIA's libraries lie on this machine. Looks at names of files; loads nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The program's own variable for where libraries lie, which `--cuda-libs` sets.
pub const VARIABLE: &str = "PIPELINE_CUDA_LIBS";
/// The folder beside the program that is looked into, so that program and libraries travel together.
pub const BESIDE: &str = "cuda-libs";
/// Major versions of CUDA whose libraries are used, newest first.
pub const MAJORS: [u32; 2] = [13, 12];

/// One of the libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Library {
    /// `libcuda`: comes with the driver and must be of the machine.
    Driver,
    /// `libnvrtc`: compiles kernels.
    Compiler,
    /// `libcublasLt`: products of matrices.
    Products,
    /// `libnccl`: sums over several GPUs, which have a slower way without it.
    Collectives,
}

impl Library {
    /// All that computing cannot do without.
    pub const ALL: [Self; 3] = [Self::Driver, Self::Compiler, Self::Products];

    /// What it is called.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Driver => "NVIDIA's driver",
            Self::Compiler => "NVRTC",
            Self::Products => "cuBLASLt",
            Self::Collectives => "NCCL",
        }
    }

    /// Names of its file by major version of CUDA, best first; the driver's has none.
    #[must_use]
    pub fn files(self) -> Vec<(Option<u32>, String)> {
        let numbered = |name: &str| {
            let of = |major| (Some(major), format!("{name}.so.{major}"));
            MAJORS.map(of).to_vec()
        };
        match self {
            Self::Driver => vec![(None, "libcuda.so.1".to_owned())],
            Self::Compiler => numbered("libnvrtc"),
            Self::Products => numbered("libcublasLt"),
            Self::Collectives => vec![(None, "libnccl.so.2".to_owned())],
        }
    }

    /// How to get it, as one command or, for the driver, a sentence.
    #[must_use]
    pub fn install(self) -> String {
        match self {
            Self::Driver => "install NVIDIA's driver, 525 or newer, on the machine; \
                 in a container start it with the GPU (`docker run --gpus all`, `apptainer exec --nv`)"
                .to_owned(),
            Self::Compiler => "pip install 'nvidia-cuda-nvrtc-cu12==12.8.93'".to_owned(),
            Self::Products => "pip install 'nvidia-cublas-cu12==12.8.4.1'".to_owned(),
            Self::Collectives => "pip install 'nvidia-nccl-cu12==2.26.2'".to_owned(),
        }
    }
}

/// What decides where is looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The folder that was named: then all but the driver are looked for there alone.
    pub named: Option<PathBuf>,
    /// Variables of the environment, by name.
    pub variables: Vec<(&'static str, OsString)>,
    /// The program's own folder.
    pub program: Option<PathBuf>,
    /// The current folder, for a virtual environment beside the work.
    pub current: Option<PathBuf>,
    /// The root of the file system, `/` but in tests.
    pub root: PathBuf,
}

const VARIABLES: [&str; 7] = [
    "CUDA_PATH",
    "CUDA_HOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LD_LIBRARY_PATH",
    "PATH",
    "HOME",
];

impl Surroundings {
    /// Those of this process, with the folder that was named on the command line, else by [`VARIABLE`].
    #[must_use]
    pub fn of_process(named: Option<PathBuf>) -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let program = std::env::current_exe().ok();
        let named = named.or_else(|| set(VARIABLE).map(PathBuf::from));
        Self {
            named: named.map(|folder| std::path::absolute(&folder).unwrap_or(folder)),
            variables: VARIABLES
                .into_iter()
                .filter_map(|name| Some((name, set(name)?)))
                .collect(),
            program: program.and_then(|path| path.parent().map(Path::to_path_buf)),
            current: std::env::current_dir().ok(),
            root: PathBuf::from("/"),
        }
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        let found = self.variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.variable(name).map(PathBuf::from)
    }

    /// Absolute folders of a variable that lists some.
    fn list(&self, name: &str) -> Vec<PathBuf> {
        let Some(value) = self.variable(name) else {
            return Vec::new();
        };
        let all = std::env::split_paths(value);
        all.filter(|folder| folder.is_absolute()).collect()
    }

    /// Folders that may hold a library, in the order in which they are looked into.
    #[must_use]
    pub fn folders(&self, library: Library) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        if let Some(named) = &self.named {
            folders.extend(around(named));
            if library != Library::Driver {
                return once(folders);
            }
        }
        if library == Library::Driver {
            folders.extend(self.list("LD_LIBRARY_PATH"));
            folders.extend(self.of_system());
            return once(folders);
        }
        if let Some(program) = &self.program {
            folders.extend(around(&program.join(BESIDE)));
        }
        for name in ["CUDA_PATH", "CUDA_HOME"] {
            let toolkit = self.path(name);
            folders.extend(
                toolkit
                    .iter()
                    .flat_map(|at| [at.join("lib64"), at.join("lib")]),
            );
        }
        for prefix in self.pythons() {
            folders.extend(of_python(&prefix));
        }
        folders.extend(self.list("LD_LIBRARY_PATH"));
        folders.extend(self.of_toolkits());
        folders.extend(self.of_system());
        once(folders)
    }

    /// Prefixes of Pythons: environments that are active or beside the work, that of the user, those that commands come from.
    fn pythons(&self) -> Vec<PathBuf> {
        let mut prefixes: Vec<PathBuf> = ["VIRTUAL_ENV", "CONDA_PREFIX"]
            .iter()
            .filter_map(|name| self.path(name))
            .collect();
        for folder in self
            .current
            .iter()
            .flat_map(|current| current.ancestors().take(3))
        {
            prefixes.extend([".venv", "venv"].map(|name| folder.join(name)));
        }
        prefixes.extend(self.path("HOME").map(|home| home.join(".local")));
        for commands in self.list("PATH") {
            if commands.join("python3").exists() {
                prefixes.extend(commands.parent().map(Path::to_path_buf));
            }
        }
        prefixes
    }

    /// Where the system's loader looks, and where distributions and containers put the driver.
    fn of_system(&self) -> Vec<PathBuf> {
        let architecture = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let names = [
            architecture.as_str(),
            "usr/lib64",
            "usr/lib",
            "lib64",
            "usr/local/lib",
            "usr/lib/wsl/lib",
            "usr/local/nvidia/lib64",
            "usr/local/nvidia/lib",
            "run/opengl-driver/lib",
        ];
        names.map(|name| self.root.join(name)).to_vec()
    }

    /// Toolkits below `/usr/local`, the one without a number first, then newest first.
    fn of_toolkits(&self) -> Vec<PathBuf> {
        let local = self.root.join("usr/local");
        let mut toolkits = children(&local);
        toolkits.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name == "cuda" || name.starts_with("cuda-")
        });
        let number = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut parts = name
                .trim_start_matches("cuda")
                .trim_start_matches('-')
                .split('.');
            let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok());
            part().map_or((u32::MAX, 0), |major| (major, part().unwrap_or(0)))
        };
        toolkits.sort_by_key(|path| std::cmp::Reverse(number(path)));
        toolkits
            .into_iter()
            .map(|path| path.join("lib64"))
            .collect()
    }

    /// Files of a library that are there, in order; with each the major version of CUDA it is of.
    #[must_use]
    pub fn find(&self, library: Library) -> Vec<(Option<u32>, PathBuf)> {
        let files = library.files();
        let mut found = Vec::new();
        for folder in self.folders(library) {
            for (major, name) in &files {
                let path = folder.join(name);
                if path.is_file() {
                    found.push((*major, path));
                }
            }
        }
        found
    }
}

/// A folder, what toolkits and wheels put below it.
fn around(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![
        folder.to_path_buf(),
        folder.join("lib64"),
        folder.join("lib"),
    ];
    all.extend(of_wheels(folder));
    all
}

/// Folders of libraries that NVIDIA's wheels lay below `site-packages`.
fn of_wheels(site: &Path) -> Vec<PathBuf> {
    let wheels = children(&site.join("nvidia"));
    let folders = wheels.into_iter().map(|wheel| wheel.join("lib"));
    folders.filter(|folder| folder.is_dir()).collect()
}

fn of_python(prefix: &Path) -> Vec<PathBuf> {
    let library = prefix.join("lib");
    let mut all = Vec::new();
    for python in children(&library) {
        let name = python.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("python3") {
            all.extend(of_wheels(&python.join("site-packages")));
        }
    }
    // Conda's packages lie in the prefix itself.
    if prefix.join("conda-meta").is_dir() {
        let name = format!("targets/{}-linux/lib", std::env::consts::ARCH);
        all.extend([library, prefix.join(name)]);
    }
    all
}

/// What lies in a folder, by name; nothing where it cannot be read.
fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
}

/// Each folder once, at its first place.
fn once(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let is_new = |folder: &PathBuf| seen.insert(folder.clone());
    folders.into_iter().filter(is_new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str) -> PathBuf {
        let path = root.join(path);
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs_err::write(&path, b"a library").expect("written");
        path
    }

    #[test]
    fn places_are_looked_into_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let names = [
            "app/cuda-libs/libnvrtc.so.12",
            "toolkit/lib64/libnvrtc.so.13",
            "venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "venv/lib/python3.13/site-packages/nvidia/cu13/lib/libnvrtc.so.13",
            "conda/lib/libnvrtc.so.12",
            "work/.venv/lib/python3.12/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "py/lib/python3.9/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
            "loader/libnvrtc.so.12",
            "usr/local/cuda/lib64/libnvrtc.so.12",
            "usr/local/cuda-12.10/lib64/libnvrtc.so.12",
            "usr/local/cuda-12.9/lib64/libnvrtc.so.12",
            "usr/lib64/libnvrtc.so.12",
        ];
        let mut expected: Vec<PathBuf> = names.iter().map(|name| put(root, name)).collect();
        put(root, "conda/conda-meta/history");
        put(root, "py/bin/python3");
        put(root, "loader/libnvrtc.so.11");
        put(root, "other/lib/libnvrtc.so.12");
        let mut surroundings = Surroundings {
            named: None,
            variables: vec![
                ("CUDA_HOME", root.join("toolkit").into()),
                ("VIRTUAL_ENV", root.join("venv").into()),
                ("CONDA_PREFIX", root.join("conda").into()),
                ("LD_LIBRARY_PATH", root.join("loader").into()),
                ("PATH", root.join("py/bin").into()),
            ],
            program: Some(root.join("app")),
            current: Some(root.join("work/deep")),
            root: root.to_path_buf(),
        };
        let paths = |found: Vec<(Option<u32>, PathBuf)>| -> Vec<PathBuf> {
            found.into_iter().map(|(_, path)| path).collect()
        };
        assert_eq!(paths(surroundings.find(Library::Compiler)), expected);
        let majors: Vec<_> = surroundings.find(Library::Compiler);
        assert_eq!(majors[1].0, Some(13));
        // A folder that is named stands for all of them, but for the driver.
        surroundings.named = Some(root.join("other"));
        expected = vec![root.join("other/lib/libnvrtc.so.12")];
        assert_eq!(paths(surroundings.find(Library::Compiler)), expected);
        let driver = put(root, "usr/lib64/libcuda.so.1");
        assert_eq!(
            paths(surroundings.find(Library::Driver)),
            std::slice::from_ref(&driver)
        );
        let stub = put(root, "other/libcuda.so.1");
        assert_eq!(paths(surroundings.find(Library::Driver)), [stub, driver]);
        assert!(surroundings.find(Library::Products).is_empty());
    }
}
