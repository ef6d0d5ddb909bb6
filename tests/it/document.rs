//! Runs a Markdown page: its files are written, its commands run, its printed answers compared. Knows no page.
//!
//! A block whose first line is `# some/file.ext` is that file. In a `console` block `$ ` begins a command, the lines
//! below are what it prints, `[exit code N]` what it ends with unless 0, and a line `…` stands for any lines. A comment
//! `<!-- before: COMMAND -->` prepares the folder without the reader's notice. What differs from run to run (times,
//! digests, run ids) is made equal on both sides. `PIPELINE_DOCS=overwrite` writes what was printed into the page.

use std::path::Path;

use crate::shell;
use crate::space::Space;

/// A fenced block.
pub(crate) struct Block {
    /// The words after the fence.
    pub(crate) info: String,
    /// Its lines.
    pub(crate) lines: Vec<String>,
    /// Number of its first line, from 0.
    pub(crate) at: usize,
}

/// A part of a page that has an effect.
pub(crate) enum Part {
    Before(String),
    Block(Block),
}

impl Block {
    pub(crate) fn language(&self) -> &str {
        self.info.split_whitespace().next().unwrap_or_default()
    }

    /// The file it is, if its first line names one.
    pub(crate) fn file(&self) -> Option<&str> {
        let first = self.lines.first()?;
        let name = first
            .strip_prefix("# ")
            .or_else(|| first.strip_prefix("#!"))?;
        let is_path = name.contains(['/', '.'])
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        (is_path && self.language() != "console" && !name.starts_with('/')).then_some(name)
    }
}

/// The parts of a page in order.
pub(crate) fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block {
                    info: info.trim().to_owned(),
                    lines: Vec::new(),
                    at: number + 1,
                });
            }
            (Some(_), Some("")) => parts.extend(open.take().map(Part::Block)),
            (Some(block), _) => block.lines.push(line.to_owned()),
            (None, None) => {
                let before = line
                    .strip_prefix("<!-- before: ")
                    .and_then(|rest| rest.strip_suffix(" -->"));
                parts.extend(before.map(|command| Part::Before(command.to_owned())));
            }
        }
    }
    assert!(open.is_none(), "a block of the page is not closed");
    parts
}

struct Step {
    command: String,
    expected: Vec<String>,
    /// Line of the first expected line in the page.
    at: usize,
}

fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut goes_on = false;
    for (offset, line) in block.lines.iter().enumerate() {
        let at = block.at + offset + 1;
        if let Some(command) = line.strip_prefix("$ ") {
            goes_on = command.ends_with('\\');
            steps.push(Step {
                command: command.to_owned(),
                expected: Vec::new(),
                at,
            });
            continue;
        }
        let step = steps
            .last_mut()
            .expect("a console block begins with a command, `$ …`");
        if goes_on {
            goes_on = line.ends_with('\\');
            step.command = format!("{}\n{line}", step.command);
            step.at = at;
        } else {
            step.expected.push(line.clone());
        }
    }
    steps
}

/// Lines ready for comparison; those of single stages stand in any order, since stages run side by side.
fn comparable(space: &Space, lines: &[String]) -> Vec<String> {
    let text = shell::plain(space, &lines.join("\n"));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let in_any_order = |line: &str| {
        let kinds = ["CLOCK started ", "CLOCK done ", "result "];
        kinds.iter().any(|kind| line.starts_with(kind))
    };
    for run in lines.chunk_by_mut(|a, b| in_any_order(a) && in_any_order(b)) {
        run.sort();
    }
    lines
}

/// Whether `printed` is what `expected` says; a line `…` matches any number of lines.
fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        // The exit code is never among the lines left out.
        Some((line, rest)) if line == "…" => (0..=printed.len())
            .take_while(|skip| *skip == 0 || !printed[skip - 1].starts_with("[exit code "))
            .any(|skip| matches(rest, &printed[skip..])),
        Some((line, rest)) => {
            printed.first() == Some(line) && matches(rest, printed.get(1..).unwrap_or_default())
        }
    }
}

/// Runs the page at `path` in a new folder.
///
/// # Panics
/// When a command prints or ends otherwise than the page says.
pub(crate) fn run(path: &Path) {
    let page = fs_err::read_to_string(path).expect("the page is there");
    let space = Space::new();
    let overwrite = std::env::var("PIPELINE_DOCS").is_ok_and(|word| word == "overwrite");
    let mut edits: Vec<(usize, usize, Vec<String>)> = Vec::new();
    let mut differences = Vec::new();
    for part in parts(&page) {
        let block = match part {
            Part::Before(command) => {
                let printed = shell::run(&space, &command);
                assert_eq!(printed.code, 0, "`{command}`: {}", printed.text);
                continue;
            }
            Part::Block(block) => block,
        };
        if let Some(name) = block.file() {
            space.write(name, &(block.lines.join("\n") + "\n"));
        }
        if block.language() != "console" {
            continue;
        }
        for step in steps(&block) {
            let printed = shell::run(&space, &step.command);
            let mut lines: Vec<String> = printed.text.lines().map(str::to_owned).collect();
            if printed.code != 0 {
                lines.push(format!("[exit code {}]", printed.code));
            }
            let expected = comparable(&space, &step.expected);
            if matches(&expected, &comparable(&space, &lines)) {
                continue;
            }
            differences.push(format!(
                "{}:{}: `{}` should print\n{}\nbut prints\n{}\n",
                path.display(),
                step.at,
                step.command,
                step.expected.join("\n"),
                lines.join("\n")
            ));
            let here = space.root().display().to_string();
            let lines = lines.iter().map(|line| line.replace(&here, shell::HERE));
            edits.push((step.at, step.expected.len(), lines.collect()));
        }
    }
    if overwrite {
        let mut lines: Vec<String> = page.lines().map(str::to_owned).collect();
        for (at, count, new) in edits.into_iter().rev() {
            lines.splice(at..at + count, new);
        }
        fs_err::write(path, lines.join("\n") + "\n").expect("the page can be written");
        return;
    }
    assert!(
        differences.is_empty(),
        "{}\n`PIPELINE_DOCS=overwrite` writes what is printed into the page",
        differences.join("\n")
    );
}

#[test]
fn dots_stand_for_lines() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    assert!(matches(&lines("a\n…\nd"), &lines("a\nb\nc\nd")));
    assert!(matches(&lines("…"), &[]));
    assert!(!matches(&lines("a\n…\nd"), &lines("a\nb")));
    assert!(!matches(&lines("a"), &lines("a\nb")));
    assert!(!matches(&lines("…"), &lines("a\n[exit code 1]")));
    assert!(matches(
        &lines("…\n[exit code 1]"),
        &lines("a\n[exit code 1]")
    ));
}

#[test]
fn a_page_falls_into_files_and_steps() {
    let page = "<!-- before: mkdir data -->\n```yaml\n# pipelines/a.yaml\nstages: {}\n```\n```console\n$ one \\\n  two\nx\n$ three\n```\n";
    let parts = parts(page);
    assert!(matches!(&parts[0], Part::Before(command) if command == "mkdir data"));
    let Part::Block(file) = &parts[1] else {
        panic!("a block")
    };
    assert_eq!(file.file(), Some("pipelines/a.yaml"));
    let Part::Block(console) = &parts[2] else {
        panic!("a block")
    };
    let steps = steps(console);
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0].command, "one \\\n  two");
    assert_eq!(
        (steps[0].expected.as_slice(), steps[0].at),
        (&["x".to_owned()][..], 8)
    );
}
