//! Fetches against a scripted loopback server, made archives and small files.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::kind::{BindContext, StageContext, StageError, StageKind as _, StageReport};
use serde_json::{Value, json};

use super::client::ClientOptions;
use super::hub::Hub;
use super::{Fetch, Surroundings};

mod archives;
mod origins;
mod server;
mod transfer;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A pipeline's root, a stage's folder and its scratch.
struct Bench {
    home: tempfile::TempDir,
    mirrors: Vec<(String, String)>,
    locked: Option<String>,
    offline: bool,
    variables: BTreeMap<String, String>,
    waits: RefCell<Vec<Duration>>,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        for name in ["root", "folder", "scratch"] {
            fs_err::create_dir(home.path().join(name)).expect("a folder");
        }
        Self {
            home,
            mirrors: Vec::new(),
            locked: None,
            offline: false,
            variables: BTreeMap::new(),
            waits: RefCell::default(),
        }
    }

    fn mirror(mut self, prefix: &str, target: &str) -> Self {
        self.mirrors.push((prefix.to_owned(), target.to_owned()));
        self
    }

    fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("folder")
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home.path().join(path);
        fs_err::create_dir_all(path.parent().expect("below home")).expect("a folder");
        fs_err::write(&path, content).expect("written");
        path
    }

    /// Decodes, checks and completes a configuration, and sends it through JSON as the runner does.
    fn bind(&self, config: Value) -> Fetch {
        let mut fetch = decode(config).expect("it decodes");
        let problems = fetch.check();
        assert!(problems.is_empty(), "{problems:?}");
        fetch.complete(&BindContext {
            root: &self.root(),
            stage: "corpus",
            mirrors: &self.mirrors,
            locked: self.locked.as_deref(),
            claims: &Value::Null,
        });
        let text = serde_json::to_string(&fetch).expect("it serialises");
        let again: Fetch = serde_json::from_str(&text).expect("it comes back");
        assert_eq!(again, fetch);
        again
    }

    fn run(&self, config: Value) -> Result<StageReport, StageError> {
        let fetch = self.bind(config);
        let stage = StageContext {
            scratch: self.home.path().join("scratch"),
            offline: self.offline,
            root: self.root(),
            progress_file: Some(self.home.path().join("progress")),
            ..StageContext::in_folder(&self.folder(), BTreeMap::new())
        };
        let result = fetch.run_in(
            &stage,
            &Surroundings {
                client: ClientOptions {
                    connect: Duration::from_secs(20),
                    idle: Duration::from_secs(20),
                    proxies: false,
                },
                hub: Hub::from_environment(|name| self.variables.get(name).cloned()),
                wait: &|time| self.waits.borrow_mut().push(time),
            },
        );
        if result.is_err() {
            assert_eq!(
                names(&self.folder()),
                [""; 0],
                "a failure leaves nothing behind"
            );
        }
        result
    }

    /// The text of an output, or of a file in it.
    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.folder().join(path)).expect("an output")
    }

    fn fails(&self, config: Value) -> StageError {
        self.run(config).expect_err("it must fail")
    }
}

/// The configuration with each URL that stands alone written out, as the reader of pipeline files takes it.
fn decode(mut config: Value) -> serde_json::Result<Fetch> {
    for key in ["files", "folder"] {
        if let Some(Value::Object(files)) = config.get_mut(key) {
            for file in files.values_mut().filter(|file| file.is_string()) {
                *file = json!({"url": file.take()});
            }
        }
    }
    serde_json::from_value(config)
}

/// Every file and folder below `folder`, relative and sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        for entry in fs_err::read_dir(&at).expect("a folder") {
            let path = entry.expect("an entry").path();
            let inside = path.strip_prefix(folder).expect("below it");
            found.push(inside.to_string_lossy().into_owned());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn problems_of(config: Value) -> Vec<String> {
    let fetch = decode(config).expect("it decodes");
    let text = |problem: flow::kind::ConfigProblem| {
        assert!(problem.help.is_some(), "{problem:?} has no help");
        format!("{}: {}", problem.path.join("."), problem.message)
    };
    fetch.check().into_iter().map(text).collect()
}

#[test]
fn misuses_are_named_with_their_place() {
    let hex = "ab".repeat(32);
    let cases = [
        (json!({}), ": nothing says what to fetch"),
        (
            json!({"url": "data/x.zip"}),
            "url: `data/x.zip` is not a URL: relative URL without a base",
        ),
        (
            json!({"url": "ftp://h/x"}),
            "url: `ftp:` URLs cannot be fetched",
        ),
        (
            json!({"url": "file:x"}),
            "url: `file:x` is not an absolute file URL",
        ),
        (
            json!({"url": "https://h/x", "sha256": "abc"}),
            "sha256: `abc` is not 64 hex digits",
        ),
        (
            json!({"url": "https://h/x", "only": ["a"]}),
            "only: `only` needs an archive to work on",
        ),
        (
            json!({"url": "https://h/x", "files": {"a": "https://h/a"}}),
            "files: `files` stands beside the keys of a single file",
        ),
        (
            json!({"files": {"train.txt": "https://h/a"}}),
            "files.train.txt: `train.txt` cannot name an output",
        ),
        (
            json!({"files": {"metrics": "https://h/a"}}),
            "files.metrics: `metrics` is the name of a stage's numbers",
        ),
        (
            json!({"files": {"a": {"sha256": hex}}}),
            "files.a.url: nothing says where the file comes from",
        ),
        (
            json!({"files": ["a"]}),
            "files: a list of files needs a repository",
        ),
        (
            json!({"folder": {"../a": "https://h/a"}}),
            "folder.../a: `../a` is no path inside a folder",
        ),
        (
            json!({"folder": {"a": "https://h/a", "a/b": "https://h/b"}}),
            "folder.a/b: `a` and `a/b` cannot both be files",
        ),
        (
            json!({"manual": "register"}),
            "manual: `manual` without `put`",
        ),
        (
            json!({"manual": "register", "put": "/abs"}),
            "put: `/abs` does not lie under the root",
        ),
        (
            json!({"hf": "o/n", "revision": "main", "files": ["a"]}),
            "revision: `main` is not a full commit hash of 40 hex digits; a branch or tag may move",
        ),
        (
            json!({"hf": "o/n", "revision": COMMIT}),
            "hf: `hf` without `files`",
        ),
        (
            json!({"hf": "n", "revision": COMMIT, "files": ["a"]}),
            "hf: `n` is not a repository",
        ),
        (
            json!({"url": "https://h/x", "max_bytes": 0}),
            "max_bytes: `max_bytes: 0` allows nothing",
        ),
    ];
    for (config, expected) in cases {
        assert_eq!(problems_of(config.clone()), [expected], "{config}");
    }
}

#[test]
fn unknown_keys_are_refused_in_both_forms() {
    let error = serde_json::from_value::<Fetch>(json!({"files": {"a": {"ulr": "https://h/a"}}}))
        .expect_err("unknown");
    assert!(error.to_string().contains("unknown field `ulr`"), "{error}");
    let error =
        serde_json::from_value::<Fetch>(json!({"ulr": "https://h/a"})).expect_err("unknown");
    assert!(error.to_string().contains("unknown field `ulr`"), "{error}");
    let error = serde_json::from_value::<Fetch>(json!({"files": 3})).expect_err("wrong type");
    assert!(
        error.to_string().contains("a map of output names and URLs"),
        "{error}"
    );
}

#[test]
fn the_schema_knows_the_short_form_and_hides_settings() {
    let schema = serde_json::to_value(schemars::schema_for!(Fetch)).expect("it serialises");
    let properties = schema["properties"].as_object().expect("an object");
    assert!(properties.contains_key("files") && !properties.contains_key("_settings"));
}
