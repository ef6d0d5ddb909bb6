//! Paths of a project as texts from `/`, and what lies there. Knows nothing of stages.

use std::path::{Component, Path, PathBuf};

use super::text::{Piece, Text};

/// How many entries of a folder are named singly.
const MAX_ENTRIES: usize = 1000;
/// How large a Python file may be to be looked through for imports.
const MAX_SOURCE_BYTES: u64 = 1 << 20;
/// How many Python files are looked through for one stage.
const MAX_SOURCES: usize = 200;

/// A path without `.`, `..` and double `/`, by its text alone.
pub(super) fn normal(path: &Path) -> String {
    let mut normal = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(step) => normal.push(step),
            Component::ParentDir => drop(normal.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    normal.display().to_string()
}

/// A path of `dvc.yaml`, `below` a folder that is normal, as a normal path from `/`. References stay where the text
/// is normal as it stands.
pub(super) fn absolute(below: &Text, path: &Text) -> Text {
    let (folder, plain) = (below.plain(), path.plain());
    let whole = normal(&Path::new(&folder).join(&plain));
    let trimmed = match path.0.split_first() {
        Some((Piece::Literal(first), rest)) if first.starts_with("./") => {
            let first = Piece::Literal(first.trim_start_matches("./").to_owned());
            Text([&[first], rest].concat())
        }
        _ => path.clone(),
    };
    let candidates = [
        below.clone().then(&Text::literal("/")).then(&trimmed),
        below.clone(),
    ];
    candidates
        .into_iter()
        .find(|candidate| candidate.plain() == whole)
        .unwrap_or_else(|| Text::literal(whole))
}

/// The folder that holds a normal path.
pub(super) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        None | Some(0) => "/",
        Some(at) => &path[..at],
    }
}

/// Whether a normal path is a folder or lies in it.
pub(super) fn is_in(path: &str, folder: &str) -> bool {
    path == folder
        || folder == "/"
        || path
            .strip_prefix(folder)
            .is_some_and(|p| p.starts_with('/'))
}

/// The deepest folder that holds both.
pub(super) fn common(a: &str, b: &str) -> String {
    let mut folder = a;
    while !is_in(b, folder) {
        folder = parent(folder);
    }
    folder.to_owned()
}

/// A normal path as seen from a normal folder; with `..` where it lies elsewhere.
pub(super) fn seen_from(path: &Text, folder: &str) -> Text {
    let plain = path.plain();
    if plain == folder {
        return Text::literal(".");
    }
    if is_in(&plain, folder) {
        return path.without_first(if folder == "/" { 1 } else { folder.len() + 1 });
    }
    let shared = common(&plain, folder);
    let up = folder[if shared == "/" { 0 } else { shared.len() }..]
        .split('/')
        .filter(|step| !step.is_empty())
        .count();
    let rest = path.without_first(if shared == "/" { 1 } else { shared.len() + 1 });
    Text::literal("../".repeat(up)).then(&rest)
}

/// The entries of a folder by name, but what DVC and git keep there for themselves; `None` if there are too many.
pub(super) fn entries(folder: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder).ok()? {
        let name = entry.ok()?.file_name().to_str()?.to_owned();
        let is_theirs = name.ends_with(".dvc") || name.starts_with(".git") || name == "__pycache__";
        if !is_theirs {
            names.push(name);
        }
        if names.len() > MAX_ENTRIES {
            return None;
        }
    }
    names.sort();
    Some(names)
}

/// Words of a command that could be paths.
pub(super) fn path_words(command: &str) -> impl Iterator<Item = &str> {
    command
        .split(|c: char| c.is_whitespace() || "'\"=<>|;&()`,:".contains(c))
        .filter(|word| !word.is_empty() && !word.starts_with('-') && word.len() < 4096)
}

/// Python files of the project that a Python file imports, and those import, by normal paths. Found by reading the
/// lines that begin with `import` or `from`; `folders` are where modules are looked for beside the file's own folder.
pub(super) fn imports(script: &str, folders: &[&str], project: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = vec![script.to_owned()];
    while let Some(file) = open.pop() {
        let is_small =
            fs_err::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= MAX_SOURCE_BYTES);
        let text = match is_small {
            true => fs_err::read(&file).unwrap_or_default(),
            false => continue,
        };
        let text = String::from_utf8_lossy(&text).into_owned();
        for module in text.lines().flat_map(modules) {
            let places = std::iter::once(parent(script)).chain(folders.iter().copied());
            for folder in places.filter(|folder| is_in(folder, project)) {
                for path in files_of(folder, &module) {
                    if path != script && found.len() < MAX_SOURCES && !found.contains(&path) {
                        found.push(path.clone());
                        open.push(path);
                    }
                }
            }
        }
    }
    found.sort();
    found
}

/// The modules that a line imports, `from a import b` as `a.b`, which may name a module or something in it.
fn modules(line: &str) -> Vec<String> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let name = |text: &str| {
        let word = text.trim().trim_matches(['(', ')']);
        let word = word.split_whitespace().next().unwrap_or_default();
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        (!word.is_empty() && word.chars().all(is_name)).then(|| word.to_owned())
    };
    if let Some(rest) = line.strip_prefix("import ") {
        return rest.split(',').filter_map(name).collect();
    }
    let Some((from, what)) = line
        .strip_prefix("from ")
        .and_then(|rest| rest.split_once(" import "))
    else {
        return Vec::new();
    };
    let from = from.trim().trim_start_matches('.');
    let joined = |what: String| {
        if from.is_empty() {
            what
        } else {
            format!("{from}.{what}")
        }
    };
    what.split(',').filter_map(name).map(joined).collect()
}

/// The files below a folder that importing a module reads.
fn files_of(folder: &str, module: &str) -> Vec<String> {
    let mut files = Vec::new();
    let mut path = folder.to_owned();
    for step in module.split('.').filter(|step| !step.is_empty()) {
        path = format!("{path}/{step}");
        let candidates = [format!("{path}.py"), format!("{path}/__init__.py")];
        files.extend(
            candidates
                .into_iter()
                .filter(|file| Path::new(file).is_file()),
        );
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normal_and_keep_their_references() {
        assert_eq!(normal(Path::new("/a/./b//../c")), "/a/c");
        assert_eq!(normal(Path::new("/../a")), "/a");
        let axis = Piece::Axis {
            axis: "key".to_owned(),
            text: "us".to_owned(),
        };
        let path = Text(vec![Piece::Literal("./data/".to_owned()), axis]);
        let whole = absolute(&Text::literal("/p"), &path);
        assert_eq!(whole.plain(), "/p/data/us");
        assert_eq!(seen_from(&whole, "/p").literals(), "data/");
        assert_eq!(seen_from(&whole, "/p/x/y").plain(), "../../data/us");
        assert_eq!(
            absolute(&Text::literal("/p"), &Text::literal("../x")).plain(),
            "/x"
        );
        assert_eq!(
            absolute(&Text::literal("/p"), &Text::literal(".")).plain(),
            "/p"
        );
        assert_eq!(common("/a/b/c", "/a/bc"), "/a");
        assert!(!is_in("/ab", "/a"));
    }

    #[test]
    fn imports_of_the_project_are_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let project = folder.path().display().to_string();
        for (name, text) in [
            ("src/a.py", "import os, b\nfrom lib.c import f  # x\n"),
            ("src/b.py", "import b\n"),
            ("lib/__init__.py", ""),
            ("lib/c.py", "import os\n"),
            ("lib/d.py", ""),
        ] {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs_err::write(path, text).expect("written");
        }
        let found = imports(&format!("{project}/src/a.py"), &[&project], &project);
        let below: Vec<&str> = found.iter().map(|path| &path[project.len()..]).collect();
        assert_eq!(below, ["/lib/__init__.py", "/lib/c.py", "/src/b.py"]);
    }
}
