//! Lines of shell in a space, as people type them, and what they print made plain. Knows nothing of what is tested.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use regex::Regex;

use crate::space::Space;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pipeline");

/// What pages call the folder they are run in.
pub(crate) const HERE: &str = "/home/me/paper";

/// What a command printed and how it ended.
pub(crate) struct Printed {
    /// Standard output and standard error as they came.
    pub(crate) text: String,
    /// The exit code; -1 after a signal.
    pub(crate) code: i32,
}

/// Runs a line of shell in the folder, with the program on `PATH` and nothing of the surroundings that it listens to.
pub(crate) fn run(space: &Space, line: &str) -> Printed {
    let bin = Path::new(PROGRAM)
        .parent()
        .expect("programs lie in folders");
    let path = std::env::var("PATH").unwrap_or_default();
    let child = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{line}")])
        .current_dir(space.root())
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("REPOSITORY", env!("CARGO_MANIFEST_DIR"))
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .output()
        .expect("sh starts");
    Printed {
        text: String::from_utf8_lossy(&child.stdout).into_owned(),
        code: child.status.code().unwrap_or(-1),
    }
}

/// Text with what differs from run to run made equal: times, digests, run ids, this folder, widths of columns.
pub(crate) fn plain(space: &Space, text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"\d{8}T\d{6}Z-[0-9a-f]{4}", "RUN"),
            (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", "DATE"),
            (r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2})?( UTC)?", "DATE"),
            (r"\b\d{2}:\d{2}:\d{2}Z", "CLOCK"),
            (r"\b[0-9a-f]{64}\b", "DIGEST"),
            (r"\b[0-9a-f]{2}/[0-9a-f]{62}\b", "DIGEST"),
            (r"\b[0-9a-f]{10}\b", "DIGEST"),
            (r"\b\d+(\.\d+)? (B|KiB|MiB)\b", "SIZE"),
            (r#"("bytes":)\d+"#, "${1}SIZE"),
            (r#"("(wall_s|seconds)":)[0-9.e-]+"#, "${1}TIME"),
            (
                r"\b\d+(\.\d+)? (ms|s|min|h)\b( \d+ (m|s|min)\b)?|\b\d+ m \d+ s\b",
                "TIME",
            ),
            (r"\b\d+ GFLOP/s", "SPEED"),
            (r"[ ]{2,}", "  "),
            (r"[ ]+(\n|$)", "$1"),
        ]
        .into_iter()
        .map(|(rule, to)| (Regex::new(rule).expect("rules are regular"), to))
        .collect()
    });
    let mut text = text
        .replace(&space.root().display().to_string(), "HERE")
        .replace(HERE, "HERE");
    for (rule, to) in RULES.iter() {
        text = rule.replace_all(&text, *to).into_owned();
    }
    text
}
