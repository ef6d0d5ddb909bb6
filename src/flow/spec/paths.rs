//! Paths of a specification: whether they stay inside, and whether what they name is there. Knows nothing of contents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::{Origin, Workflow};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// A path of a stage's folder in its normal form; the error says why it is none.
pub(crate) fn inside(path: &str) -> Result<String, &'static str> {
    let mut steps = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(step) => steps.push(step.to_str().ok_or("it is not UTF-8")?),
            Component::CurDir => {}
            Component::ParentDir => return Err("it leads out through `..`"),
            Component::RootDir | Component::Prefix(_) => return Err("it is absolute"),
        }
    }
    if path.contains(['\n', '\0']) {
        return Err("it has a line break");
    }
    if steps.is_empty() {
        return Err("it is empty");
    }
    Ok(steps.join("/"))
}

/// Whether one place lies in the other or is the same.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path is a pattern.
pub(crate) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// The part of a pattern before the first component with `*`, `?` or `[`.
#[must_use]
pub fn glob_base(pattern: &str) -> &str {
    let magic = pattern.find(['*', '?', '[']).unwrap_or(pattern.len());
    pattern[..magic]
        .rfind('/')
        .map_or("", |slash| if slash == 0 { "/" } else { &pattern[..slash] })
}

/// Whether a path matches a pattern: `?` one character, `*` any within a component, `**` any components, `[a-z]`, `[!a]`.
#[must_use]
pub fn glob_matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<Vec<char>> = pattern.split('/').map(|p| p.chars().collect()).collect();
    let path: Vec<Vec<char>> = path.split('/').map(|p| p.chars().collect()).collect();
    // Row by row: which prefixes of the path the first components of the pattern can match.
    let mut reach = vec![false; path.len() + 1];
    reach[0] = true;
    for component in &pattern {
        let mut next = vec![false; path.len() + 1];
        if component.iter().collect::<String>() == "**" {
            let mut any = false;
            for (index, reached) in reach.iter().enumerate() {
                any |= reached;
                next[index] = any;
            }
        } else {
            for (index, name) in path.iter().enumerate() {
                next[index + 1] = reach[index] && component_matches(component, name);
            }
        }
        reach = next;
    }
    reach[path.len()]
}

fn component_matches(pattern: &[char], name: &[char]) -> bool {
    let mut reach = vec![false; name.len() + 1];
    reach[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; name.len() + 1];
        match pattern[at] {
            '*' => {
                let mut any = false;
                for (index, reached) in reach.iter().enumerate() {
                    any |= reached;
                    next[index] = any;
                }
                at += 1;
            }
            c => {
                let class = (c == '[').then(|| class_end(pattern, at)).flatten();
                for (index, letter) in name.iter().enumerate() {
                    let hit = match class {
                        Some(end) => in_class(&pattern[at + 1..end], *letter),
                        None => c == '?' || c == *letter,
                    };
                    next[index + 1] = reach[index] && hit;
                }
                at = class.map_or(at, |end| end) + 1;
            }
        }
        reach = next;
    }
    reach[name.len()]
}

/// Where the `]` of the class opened at `open` stands; one right after the opening belongs to the class.
fn class_end(pattern: &[char], open: usize) -> Option<usize> {
    let negated = usize::from(matches!(pattern.get(open + 1), Some('!' | '^')));
    let from = open + 2 + negated;
    (from..pattern.len()).find(|at| pattern[*at] == ']')
}

fn in_class(class: &[char], letter: char) -> bool {
    let (negated, class) = match class {
        ['!' | '^', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let mut found = false;
    let mut at = 0;
    while at < class.len() {
        if at + 2 < class.len() && class[at + 1] == '-' {
            found |= (class[at]..=class[at + 2]).contains(&letter);
            at += 3;
        } else {
            found |= class[at] == letter;
            at += 1;
        }
    }
    found != negated
}

/// The files a pattern matches, relative to the root (absolute for an absolute pattern), sorted by their bytes.
/// Folders that cannot be read are passed over; links to folders are not followed.
#[must_use]
pub fn find_glob(root: &Path, pattern: &str) -> Vec<String> {
    let base = glob_base(pattern);
    let start = root.join(base);
    let mut found: Vec<String> = walkdir::WalkDir::new(&start)
        .max_depth(if pattern.contains("**") {
            usize::MAX
        } else {
            pattern[base.len()..]
                .trim_start_matches('/')
                .split('/')
                .count()
        })
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| !entry.path().is_dir())
        .filter_map(|entry| {
            let below = entry.path().strip_prefix(&start).ok()?.to_str()?;
            let path = match base {
                "" => below.to_owned(),
                "/" => format!("/{below}"),
                base => format!("{base}/{below}"),
            };
            glob_matches(pattern, &path).then_some(path)
        })
        .collect();
    found.sort();
    found
}

/// Input files that are missing and patterns that match nothing, over all stages; one message a path and place.
#[must_use]
pub fn check_paths(workflow: &Workflow) -> Vec<Diagnostic> {
    let inputs = workflow.stages.iter().flat_map(|stage| {
        stage
            .inputs
            .iter()
            .map(move |input| (stage.stage.as_str(), &input.origin, input.span))
    });
    check_origins(&workflow.root, inputs)
}

/// See [`check_paths`].
pub(crate) fn check_origins<'a>(
    root: &Path,
    inputs: impl Iterator<Item = (&'a str, &'a Origin, Span)>,
) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut present: BTreeMap<&str, bool> = BTreeMap::new();
    let mut said = BTreeSet::new();
    for (stage, origin, span) in inputs {
        let (path, is_glob) = match origin {
            Origin::Path(path) | Origin::KeyOnly(path) => (path, false),
            Origin::Glob(path) => (path, true),
            Origin::Stage(_) | Origin::Many(_) | Origin::Put(_) => continue,
        };
        let there = *present.entry(path).or_insert_with(|| {
            if is_glob {
                !find_glob(root, path).is_empty()
            } else {
                root.join(path).exists()
            }
        });
        if there || !said.insert((path.as_str(), span.source, span.offset)) {
            continue;
        }
        let full = root.join(path);
        let folder = if is_glob {
            root.join(glob_base(path))
        } else {
            full.parent()
                .map_or_else(|| root.to_path_buf(), Path::to_path_buf)
        };
        let looked = format!("looked in {}", folder.display());
        problems.push(if is_glob {
            Diagnostic::error(
                "spec::empty_glob",
                format!("the pattern `{path}` of stage `{stage}` matches no file"),
            )
            .at(span, looked)
            .help(
                "`*` matches within one folder, `**` across folders; check the name and the ending",
            )
        } else {
            Diagnostic::error(
                "spec::missing_file",
                format!("input file `{path}` of stage `{stage}` is missing"),
            )
            .at(span, looked)
            .help("no stage produces it; add a `fetch` stage or copy it there")
        });
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside("./a//b/"), Ok("a/b".to_owned()));
        for wrong in ["", ".", "../a", "a/../../b", "/a", "a/.."] {
            assert!(inside(wrong).is_err(), "{wrong}");
        }
        assert!(overlap("a", "a/b") && overlap("a", "a") && !overlap("a", "ab"));
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, path, expected) in [
            ("data/*.gz", "data/a.gz", true),
            ("data/*.gz", "data/x/a.gz", false),
            ("data/**/*.gz", "data/x/y/a.gz", true),
            ("data/**/*.gz", "data/a.gz", true),
            ("data/**", "data/a/b", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[x", "[x", true),
            ("*a*b*c*", "xxaxxbxxcxx", true),
            ("*a*b*c*", "xxbxxaxxcxx", false),
        ] {
            assert_eq!(glob_matches(pattern, path), expected, "{pattern} {path}");
        }
        assert_eq!(glob_base("data/x*/y"), "data");
        assert_eq!(glob_base("*.txt"), "");
        assert_eq!(glob_base("/a*"), "/");
    }

    #[test]
    fn patterns_find_files_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["data/b.gz", "data/a.gz", "data/c.txt", "data/deep/d.gz"] {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("parent")).expect("folders");
            fs_err::write(path, "x").expect("write");
        }
        assert_eq!(
            find_glob(folder.path(), "data/*.gz"),
            ["data/a.gz", "data/b.gz"]
        );
        assert_eq!(find_glob(folder.path(), "data/**/*.gz").len(), 3);
        assert!(find_glob(folder.path(), "nowhere/*").is_empty());
    }
}
