//! A project in a temporary folder, and the program run in it. Knows nothing of what is tested.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A project folder that goes with the test.
pub(crate) struct Space {
    _temporary: Option<TempDir>,
    root: PathBuf,
}

impl Space {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let root = fs_err::canonicalize(temporary.path()).expect("it is there");
        Self {
            _temporary: Some(temporary),
            root,
        }
    }

    /// A project at a place of the caller's, who removes it.
    pub(crate) fn at(root: &Path) -> Self {
        fs_err::create_dir_all(root).expect("a folder");
        Self {
            _temporary: None,
            root: root.to_path_buf(),
        }
    }

    /// A project with its pipeline file, `p.yaml`.
    pub(crate) fn with(pipeline: &str) -> Self {
        let space = Self::new();
        space.write("p.yaml", pipeline);
        space
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs_err::create_dir_all(path.parent().expect("below the root")).expect("a folder");
        fs_err::write(path, text).expect("written");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs_err::read_to_string(self.path(path)).expect("readable")
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Lines of a file that stages append to; none when it is not there.
    pub(crate) fn lines(&self, path: &str) -> Vec<String> {
        let text = fs_err::read_to_string(self.path(path)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The program in this folder, away from the surroundings of the one who tests.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipeline"));
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("PIPELINE_") || name.starts_with("CUDA_") {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn call<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        Ran::of(
            &self
                .command(arguments)
                .output()
                .expect("the program starts"),
        )
    }

    /// `run p.yaml` with more arguments.
    pub(crate) fn run(&self, more: &[&str]) -> Ran {
        self.call(&[&["run", "p.yaml"], more].concat())
    }

    /// Every record by stage name: its outputs as JSON.
    pub(crate) fn records(&self) -> BTreeMap<String, Value> {
        let mut records = BTreeMap::new();
        for path in files_below(&self.path("cache/records-v1")) {
            if path.extension().is_some_and(|ending| ending == "json") {
                let text = fs_err::read(&path).expect("a record");
                let record: Value = serde_json::from_slice(&text).expect("a whole record");
                let stage = record["stage"].as_str().expect("named").to_owned();
                records.insert(stage, record);
            }
        }
        records
    }

    /// Every object by its path, with its bytes.
    pub(crate) fn objects(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        contents(&self.path("cache/objects-v1"))
    }

    /// Names left under `cache/work`.
    pub(crate) fn work(&self) -> Vec<String> {
        names_in(&self.path("cache/work"))
    }
}

/// Files below a folder by their paths below it, with their bytes.
pub(crate) fn contents(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files_below(top)
        .into_iter()
        .map(|path| {
            let bytes = fs_err::read(&path).expect("readable");
            let below = path.strip_prefix(top).expect("below").to_path_buf();
            (below, bytes)
        })
        .collect()
}

pub(crate) fn files_below(top: &Path) -> Vec<PathBuf> {
    walkdir::WalkDir::new(top)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}

/// What a call of the program came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        // Long lines are wrapped: compare word by word.
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = flat(&self.stderr.replace(['│', '╰', '├', '·', '▶', '─'], " "));
        assert!(
            said.contains(&flat(text)),
            "no `{text}` in:\n{}",
            self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn says_not(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "`{text}` in:\n{}", self.stderr);
        self
    }

    /// Standard output, which is one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    /// `stages` of `run --json`: total, executed, cached, failed, skipped.
    #[track_caller]
    pub(crate) fn counts(&self) -> [u64; 5] {
        let line = self.stdout.lines().last().unwrap_or_default();
        let summary: Value = serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr));
        ["total", "executed", "cached", "failed", "skipped"]
            .map(|name| summary["stages"][name].as_u64().expect("a count"))
    }
}

/// Looks again and again until `done`, for as long as patience lasts.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Looks until `done` or until the time is over; whether it was done.
pub(crate) fn wait_at_most(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if done() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    done()
}

/// Says on the test's output that something could not be tested here.
pub(crate) fn skip(why: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Numbers that look random and repeat with their seed (SplitMix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}
