//! The repository's own pipelines, recipes and examples, copied to a folder of their own. Knows nothing of their content.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::space::{Ran, Space, files_below, names_in, skip};

/// A copy of what the repository ships to run, at `repo` in a temporary folder.
pub(crate) struct Shipped {
    _temporary: TempDir,
    pub(crate) space: Space,
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Shipped {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let above = fs_err::canonicalize(temporary.path()).expect("it is there");
        let space = Space::at(&above.join("repo"));
        for folder in ["pipelines", "stages", "examples"] {
            let from = repository().join(folder);
            for path in files_below(&from) {
                let below = path.strip_prefix(repository()).expect("below");
                // What Python leaves in the repository is not shipped.
                if !below
                    .components()
                    .any(|part| part.as_os_str() == "__pycache__")
                {
                    space.write(
                        &below.to_string_lossy(),
                        fs_err::read(&path).expect("readable"),
                    );
                }
            }
        }
        Self {
            _temporary: temporary,
            space,
        }
    }

    /// With `tests/mirrors.txt` as it is, and the real data where its relative paths lead; `None`, said aloud, without.
    pub(crate) fn with_data(test: &str) -> Option<Self> {
        let data = std::env::var_os("PIPELINE_SHARED_DATA")
            .map_or_else(|| repository().join("../shared/data"), PathBuf::from);
        let Ok(data) = fs_err::canonicalize(&data) else {
            skip(&format!(
                "{test}: no real data at `{}`; set PIPELINE_SHARED_DATA",
                data.display()
            ));
            return None;
        };
        let shipped = Self::new();
        let mirrors = fs_err::read(repository().join("tests/mirrors.txt")).expect("it is there");
        shipped.space.write("tests/mirrors.txt", mirrors);
        let shared = shipped.space.root().join("../shared");
        fs_err::create_dir_all(&shared).expect("a folder");
        fs_err::os::unix::fs::symlink(data, shared.join("data")).expect("a link");
        Some(shipped)
    }

    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let text = self.space.read(file);
        assert_eq!(text.matches(from).count(), 1, "`{from}` in {file}");
        self.space.write(file, text.replace(from, to));
    }

    /// A file of the report of a pipeline.
    pub(crate) fn report(&self, pipeline: &str, file: &str) -> String {
        self.space
            .read(&format!("reports/{pipeline}/latest/{file}"))
    }

    /// The manifests of the records, by stage name; `shown` decides which lines are kept, and how.
    pub(crate) fn manifests(&self, shown: impl Fn(&str) -> Option<String>) -> String {
        let records: BTreeMap<_, _> = self.space.records();
        let mut text = String::new();
        let mut shown_of = BTreeSet::new();
        for (stage, record) in records {
            let _ = writeln!(text, "# {stage}");
            // Of a matrix the first instance in full, of the others what all of it comes to.
            if !shown_of.insert(stage.split('[').next().map(str::to_owned)) {
                let _ = writeln!(text, "{}\n", record["key"].as_str().expect("a key"));
                continue;
            }
            let manifest = record["manifest"].as_str().expect("a text");
            for line in manifest.lines().filter_map(&shown) {
                let _ = writeln!(text, "{line}");
            }
            text.push('\n');
        }
        text
    }
}

/// Holds manifests against `tests/golden/manifests/NAME.txt`, or writes that file where `PIPELINE_GENERATE` is 1.
///
/// A change there means that results in people's caches are not found any more: it belongs into the commit's message.
#[track_caller]
pub(crate) fn golden(name: &str, found: &str) {
    let path = repository().join(format!("tests/golden/manifests/{name}.txt"));
    if std::env::var_os("PIPELINE_GENERATE").is_some_and(|value| value == "1") {
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs_err::write(&path, found).expect("written");
        return;
    }
    let expected = fs_err::read_to_string(&path).unwrap_or_default();
    let differing = expected
        .lines()
        .zip(found.lines())
        .find(|(expected, found)| expected != found);
    assert!(
        expected == found,
        "{} is not what the run made (run with PIPELINE_GENERATE=1 to rewrite it); first difference: {differing:?}",
        path.display()
    );
}

#[test]
fn every_shipped_file_passes_check() {
    let shipped = Shipped::new();
    let pipelines = names_in(&shipped.space.path("pipelines"));
    assert!(pipelines.len() >= 3, "{pipelines:?}");
    for name in &pipelines {
        let file = format!("pipelines/{name}");
        check(&shipped, &file).says_not("⚠");
    }
    // A recipe passes when a stage that adds nothing but inputs does.
    let used: String = pipelines
        .iter()
        .map(|name| shipped.space.read(&format!("pipelines/{name}")))
        .collect();
    for name in names_in(&shipped.space.path("stages")) {
        if name.ends_with(".yaml") {
            assert!(
                used.contains(&format!("use: stages/{name}")),
                "`{name}` is used nowhere"
            );
        }
    }
}

fn check(shipped: &Shipped, file: &str) -> Ran {
    shipped.space.call(&["check", file]).exits(0)
}
