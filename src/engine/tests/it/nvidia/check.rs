//! The program that checks a machine: without a GPU, and with one that fails.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::Fake;

fn check(libraries: &Path, folder: &Path, arguments: &[&str]) -> (Output, Option<Value>) {
    let report = folder.join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-check"))
        .arg("--cuda-libs")
        .arg(libraries)
        .arg("--out")
        .arg(&report)
        .args(["--small", "--threads", "1"])
        .args(arguments)
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .expect("it runs");
    let text = fs_err::read_to_string(&report).ok();
    let report = text.map(|text| serde_json::from_str(&text).expect("JSON"));
    (output, report)
}

#[test]
fn without_libraries_it_says_what_is_missing() {
    let (libraries, folder) = [(); 2].map(|()| tempfile::tempdir().expect("temp")).into();
    let (output, report) = check(libraries.path(), folder.path(), &[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let report = report.expect("written");
    assert_eq!(report["passed"], false);
    let missing = report["missing"].as_str().expect("said");
    // Which is missing first hangs on the machine; all are told.
    assert!(
        missing.contains("NVIDIA's driver") || missing.contains("NVRTC"),
        "{missing}"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), missing);
    assert_eq!(
        report["survey"]["libraries"].as_array().map(Vec::len),
        Some(3)
    );
}

#[test]
fn arguments_that_say_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("temp");
    for (arguments, word) in [
        (
            &["--only", "everything"][..],
            "there is no part `everything`",
        ),
        (&["--minutes", "0"], "more than 0"),
        (&["--what"], "`--what` is no option"),
        (&["--device"], "`--device` needs a value"),
    ] {
        let (output, report) = check(folder.path(), folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(word), "{said}");
        assert!(report.is_none());
    }
}

/// The libraries in their place know none of the kernels, so that what needs one fails; what needs none passes.
#[test]
fn a_part_that_fails_costs_that_part_alone() {
    let fake = Fake::new();
    let folder = tempfile::tempdir().expect("temp");
    let only = [
        "--only",
        "ops/corrupt",
        "--only",
        "facts",
        "--only",
        "bits",
        "--only",
        "sanitizer",
    ];
    let (output, report) = check(fake.folder.path(), folder.path(), &only);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = report.expect("written");
    assert_eq!(report["format"], "gpu-check-v1");
    assert_eq!(report["passed"], false);
    let parts = &report["parts"];
    let facts = &parts["facts"];
    assert_eq!(facts["passed"], true, "{facts:#}");
    assert_eq!(facts["found"]["device"]["name"], "Fake GPU");
    let kernels = facts["found"]["kernels"].as_array().expect("a list");
    assert_eq!(kernels.len(), 2 * engine::cuda::SOURCES.len());
    assert!(kernels.iter().all(|kernel| kernel["was_kept"] == false));
    // Case by case, with the driver's words.
    let cases = parts["ops/corrupt"]["found"].as_array().expect("a list");
    assert_eq!(cases.len(), 10);
    let fault = cases[0]["fault"].as_str().expect("said");
    assert!(fault.contains("cuModuleGetFunction"), "{fault}");
    assert_eq!(parts["bits"]["passed"], false);
    assert!(parts["bits"]["fault"].is_string(), "{:#}", parts["bits"]);
    assert!(parts.get("gradients").is_none());
    // The kernels are kept for the next time.
    let (_, report) = check(fake.folder.path(), folder.path(), &["--only", "facts"]);
    let report = report.expect("written");
    assert_eq!(report["passed"], true);
    assert_eq!(
        report["parts"]["facts"]["found"]["kernels"][0]["was_kept"],
        true
    );
    // Nothing else is left.
    let left = fs_err::read_dir(folder.path()).expect("read").map(|entry| {
        let name = entry.expect("read").file_name();
        name.to_string_lossy().into_owned()
    });
    let mut left: Vec<String> = left.collect();
    left.sort();
    assert_eq!(left, ["gpu-check-kernels", "report.json"]);
}
