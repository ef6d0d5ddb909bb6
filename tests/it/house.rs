//! Rules of the house that no compiler knows: doors, arrows, first lines, licences, generated files.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::space::files_below;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Rust files below `src/` by their path from the root, with their texts.
fn sources() -> Vec<(PathBuf, String)> {
    files_below(&root().join("src"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .map(|path| {
            let text = fs_err::read_to_string(&path).expect("readable");
            let short = path.strip_prefix(root()).expect("below").to_path_buf();
            (short, text)
        })
        .collect()
}

/// Each outside library and the one place of a crate that may name it: a file, or a folder (a room).
const DOORS: &[(&str, &str)] = &[
    ("base64", "src/kinds/fetch/client.rs"),
    ("bytemuck", "src/data/packed/read.rs"),
    // Numbers as the bytes that devices and processes hand each other.
    ("bytemuck", "src/engine/"),
    ("clap", "src/cli/"),
    ("crc32c", "src/kinds/training/tfevents.rs"),
    ("csv", "src/flow/numbers.rs"),
    ("cudarc", "src/engine/cuda/nvidia/"),
    ("dfdx", "src/reference/"),
    ("flate2", "src/kinds/fetch/unpack.rs"),
    ("gemm", "src/engine/cpu/matmul.rs"),
    ("httparse", "src/serve/http.rs"),
    ("jiff", "src/flow/clock.rs"),
    ("landlock", "src/flow/exec/sandbox.rs"),
    ("libc", "src/flow/exec/trace/stops.rs"),
    ("libc", "src/flow/exec/trace/watch.rs"),
    ("libloading", "src/engine/cuda/nvidia/"),
    ("libm", "src/reference/ops.rs"),
    ("lzma_rust2", "src/kinds/fetch/unpack.rs"),
    ("memmap2", "src/data/packed/map.rs"),
    ("miette", "src/console/"),
    ("minijinja", "src/report/"),
    ("nix", "src/flow/exec/trace/stops.rs"),
    ("nix", "src/flow/exec/trace/watch.rs"),
    ("petgraph", "src/flow/graph.rs"),
    ("polars", "src/report/frame.rs"),
    ("postcard", "src/flow/plan_cache.rs"),
    ("pulldown_cmark", "src/report/render/html.rs"),
    ("pulp", "src/engine/cpu/math.rs"),
    ("quick_xml", "src/data/xml.rs"),
    ("safetensors", "src/engine/weights.rs"),
    ("serde_saphyr", "src/flow/spec/yaml.rs"),
    ("sha2", "src/kinds/fetch/pin.rs"),
    ("signal_hook", "src/flow/signals.rs"),
    ("statrs", "src/report/stats.rs"),
    ("tar", "src/kinds/fetch/unpack.rs"),
    ("textwrap", "src/console/"),
    ("tokenizers", "src/data/vocabulary/train.rs"),
    ("toml", "src/kinds/params_file.rs"),
    ("unicode_normalization", "src/data/wordpiece/unicode.rs"),
    ("unicode_properties", "src/data/wordpiece/unicode.rs"),
    ("unicode_width", "src/console/"),
    ("ureq", "src/kinds/fetch/client.rs"),
    ("url", "src/kinds/fetch/"),
    ("zip", "src/engine/weights/torch/archive.rs"),
    ("zip", "src/kinds/fetch/unpack.rs"),
    ("zstd", "src/kinds/fetch/unpack.rs"),
];

/// Whether a text names a library as a path: `library::` at the beginning of a word.
fn names(text: &str, library: &str) -> bool {
    let needle = format!("{library}::");
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .any(|line| {
            line.match_indices(&needle).any(|(at, _)| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
            })
        })
}

#[test]
fn each_outside_library_has_one_door() {
    let is_test = |path: &Path| {
        let path = path.to_string_lossy();
        path.contains("tests") || path.contains("benches")
    };
    let sources = sources();
    for (library, door) in DOORS {
        let users: Vec<&PathBuf> = sources
            .iter()
            .filter(|(path, text)| !is_test(path) && names(text, library))
            .map(|(path, _)| path)
            .collect();
        assert!(!users.is_empty(), "nobody uses `{library}` any more");
        let doors = || DOORS.iter().filter(|(other, _)| other == library);
        let is_door =
            |path: &Path| doors().any(|(_, at)| path.starts_with(at.trim_end_matches('/')));
        for path in &users {
            assert!(
                is_door(path),
                "`{}` names `{library}`, whose door is `{door}`",
                path.display()
            );
        }
        let is_used = users
            .iter()
            .any(|path| path.starts_with(door.trim_end_matches('/')));
        assert!(is_used, "nobody goes through `{door}` to `{library}`");
    }
    assert!(names("use zip::read;", "zip") && !names("iter::zip::x gzip::y", "zip"));
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "`{}` does not begin with `//! `",
            path.display()
        );
    }
}

/// Names of all packages that `member` is built from.
fn tree(member: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--package", member, "--edges", "normal"])
        .args([
            "--prefix",
            "none",
            "--format",
            "{lib}",
            "--offline",
            "--locked",
        ])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn rooms_that_are_crates_do_not_see_each_other() {
    let rooms = ["flow", "data", "engine", "report"];
    for room in rooms {
        let tree = tree(room);
        assert!(tree.iter().any(|name| name == room), "{room}: {tree:?}");
        for other in rooms.iter().filter(|other| **other != room) {
            assert!(
                !tree.iter().any(|name| name == other),
                "{room} sees {other}"
            );
        }
        // Nothing waits for dfdx but what computes with it.
        assert!(
            !tree.iter().any(|name| name == "dfdx"),
            "dfdx in the tree of {room}"
        );
        let has_polars = tree.iter().any(|name| name.starts_with("polars"));
        assert_eq!(has_polars, room == "report", "polars in the tree of {room}");
    }
}

const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether one of the alternatives of a licence expression is wholly in [`LICENCES`].
fn is_permissive(expression: &str) -> bool {
    let flat = expression
        .replace(" WITH LLVM-exception", "")
        .replace(['(', ')'], "");
    // Without brackets `AND` must hold for each part, so any alternative of each part will do.
    flat.split(" AND ").all(|part| {
        part.split(" OR ")
            .flat_map(|choice| choice.split('/'))
            .any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn licences_are_permissive() {
    assert!(is_permissive("(MIT OR GPL-3.0) AND Unicode-3.0") && !is_permissive("GPL-3.0"));
    assert!(!is_permissive("MIT AND GPL-3.0"));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root())
        .output()
        .expect("cargo starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "{}", packages.len());
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_permissive(licence), "{}: {licence}", package["name"]);
    }
}

#[test]
fn generated_files_are_what_the_program_makes() {
    let output = Command::new(env!("CARGO_BIN_EXE_pipeline"))
        .args(["dev", "generate", "--check"])
        .current_dir(root())
        .output()
        .expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// The map names tests by their paths; each must be there.
#[test]
fn tests_named_by_the_architecture_exist() {
    let map = fs_err::read_to_string(root().join("src/ARCHITECTURE.md")).expect("the map");
    let mut code: String = sources().into_iter().map(|(_, text)| text).collect();
    for path in files_below(&root().join("tests/it")) {
        if path.extension().is_some_and(|ending| ending == "rs") {
            code.push_str(&fs_err::read_to_string(path).expect("readable"));
        }
    }
    let named: Vec<&str> = map
        .split('`')
        .filter(|words| {
            let rooms = ["flow: ", "data: ", "engine: ", "it: "];
            rooms.iter().any(|room| words.starts_with(room))
        })
        .filter_map(|words| words.rsplit("::").next().filter(|last| *last != words))
        .collect();
    assert!(named.len() >= 15, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "no test `{name}`");
    }
}
