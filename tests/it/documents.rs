//! Every page that shows commands or pipeline files does what it says. Knows nothing of how pages are run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::document::{self, Part};
use crate::shell;
use crate::space::Space;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of a folder, by name.
fn pages_of(folder: &str) -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = fs_err::read_dir(root().join(folder))
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    pages.sort();
    pages
}

/// Tests of one page each, and the list of them.
macro_rules! pages {
    ($($name:ident: $path:literal;)*) => {
        const PAGES: &[&str] = &[$($path),*];
        $(#[test] fn $name() { document::run(&root().join($path)); })*
    };
}

pages! {
    readme: "README.md";
    docs_caching: "docs/caching.md";
    docs_checkpoints: "docs/checkpoints.md";
    docs_cli: "docs/cli.md";
    docs_coming_from: "docs/coming-from.md";
    docs_commands: "docs/commands.md";
    docs_corpus: "docs/corpus.md";
    docs_cuda: "docs/cuda.md";
    docs_cuda_kernels: "docs/cuda-kernels.md";
    docs_examples: "docs/examples.md";
    docs_experiments: "docs/experiments.md";
    docs_results: "docs/results.md";
    docs_finetuning: "docs/finetuning.md";
    docs_getting_started: "docs/getting-started.md";
    docs_handing_out: "docs/handing-out.md";
    docs_kinds: "docs/kinds.md";
    docs_own_paper: "docs/own-paper.md";
    docs_paper: "docs/paper.md";
    docs_pipeline_file: "docs/pipeline-file.md";
    docs_planning: "docs/planning.md";
    docs_pretraining: "docs/pretraining.md";
    docs_released_weights: "docs/released-weights.md";
    docs_releasing: "docs/releasing.md";
    docs_reports: "docs/reports.md";
    docs_sharing: "docs/sharing.md";
    docs_speed: "docs/speed.md";
    docs_troubleshooting: "docs/troubleshooting.md";
    docs_vocabulary: "docs/vocabulary.md";
    docs_watching: "docs/watching.md";
    cmd_accept: "tests/cmd/accept.md";
    cmd_cache: "tests/cmd/cache.md";
    cmd_check: "tests/cmd/check.md";
    cmd_diff: "tests/cmd/diff.md";
    cmd_doctor: "tests/cmd/doctor.md";
    cmd_export: "tests/cmd/export.md";
    cmd_get: "tests/cmd/get.md";
    cmd_graph: "tests/cmd/graph.md";
    cmd_import_dvc: "tests/cmd/import-dvc.md";
    cmd_init: "tests/cmd/init.md";
    cmd_lock: "tests/cmd/lock.md";
    cmd_log: "tests/cmd/log.md";
    cmd_plan: "tests/cmd/plan.md";
    cmd_results: "tests/cmd/results.md";
    cmd_run: "tests/cmd/run.md";
    cmd_serve: "tests/cmd/serve.md";
    cmd_shell: "tests/cmd/shell.md";
    cmd_status: "tests/cmd/status.md";
    cmd_why: "tests/cmd/why.md";
}

#[test]
fn no_page_is_left_out() {
    let listed: BTreeSet<PathBuf> = PAGES.iter().map(|page| root().join(page)).collect();
    let mut there: BTreeSet<PathBuf> = [root().join("README.md")].into();
    there.extend(pages_of("docs"));
    there.extend(pages_of("tests/cmd"));
    assert_eq!(there, listed, "each page has a line in `pages!`");
}

/// Shell lines that no test runs, with the reason that keeps each from being run.
const NOT_RUN: &[(&str, &str)] = &[
    ("cargo install --path .", "builds the program a second time"),
    (
        "cargo run --release -- run pipelines/quickstart.yaml",
        "`quickstart.rs` runs it",
    ),
    ("./test", "would run itself"),
];

#[test]
fn shell_lines_that_are_not_run_are_known() {
    for page in PAGES {
        let text = fs_err::read_to_string(root().join(page)).expect("the page is there");
        for part in document::parts(&text) {
            let Part::Block(block) = part else { continue };
            if !["sh", "bash", "shell"].contains(&block.language()) || block.file().is_some() {
                continue;
            }
            for line in &block.lines {
                let line = line.split(" #").next().unwrap_or_default().trim();
                assert!(
                    line.is_empty() || NOT_RUN.iter().any(|(known, _)| *known == line),
                    "{page}: `{line}` is run by no test; make it a `console` block"
                );
            }
        }
    }
}

/// Whole pipelines pass `check` where they stand; `yaml fragment` marks what is only a part of one.
#[test]
fn yaml_blocks_are_pipelines_that_pass_check() {
    let mut checked = 0;
    for page in PAGES {
        let text = fs_err::read_to_string(root().join(page)).expect("the page is there");
        let space = Space::new();
        for part in document::parts(&text) {
            let block = match part {
                Part::Before(command) => {
                    shell::run(&space, &command);
                    continue;
                }
                Part::Block(block) => block,
            };
            let text = block.lines.join("\n") + "\n";
            let name = block.file().unwrap_or("pipelines/block.yaml");
            if block.file().is_some() {
                space.write(name, &text);
            }
            if block.info != "yaml" || !name.starts_with("pipelines/") {
                continue;
            }
            space.write(name, &text);
            let printed = shell::run(&space, &format!("pipeline check {name}"));
            assert_eq!(
                printed.code, 0,
                "{page}:{}: the pipeline does not pass:\n{}",
                block.at, printed.text
            );
            checked += 1;
        }
    }
    assert!(
        checked >= 15,
        "only {checked} pipelines were found in the pages"
    );
}

/// Links to other files lead somewhere; anchors and addresses elsewhere are not looked at.
#[test]
fn links_between_pages_lead_somewhere() {
    let mut links = 0;
    for page in PAGES.iter().chain(&["src/ARCHITECTURE.md"]) {
        let path = root().join(page);
        let text = fs_err::read_to_string(&path).expect("the page is there");
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.ends_with(".png") {
                continue;
            }
            let folder = path.parent().expect("pages lie in folders");
            assert!(
                folder.join(target).exists(),
                "{page}: `{target}` is not there"
            );
            links += 1;
        }
    }
    assert!(links >= 30, "only {links} links were found");
}
