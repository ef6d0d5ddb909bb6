//! What is wrong with a fetch that types cannot say. Knows nothing of networks.

use flow::kind::ConfigProblem;

use super::Fetch;
use super::config::{FileMap, Files, is_output_name, is_relative_path};
use super::hub::{is_commit, is_repository_name};

/// Every problem of a configuration.
pub(super) fn check(fetch: &Fetch) -> Vec<ConfigProblem> {
    let mut problems = Vec::new();
    let single = fetch.single();
    let forms = [
        ("url", !single.is_empty()),
        ("files", matches!(fetch.files, Some(Files::Map(_)))),
        ("folder", fetch.folder.is_some()),
        ("hf", fetch.hf.is_some()),
    ];
    let given: Vec<&str> = forms
        .iter()
        .filter(|(_, set)| *set)
        .map(|(key, _)| *key)
        .collect();
    match given.as_slice() {
        [] if fetch.files.is_some() => problems.push(problem(
            &["files"],
            "a list of files needs a repository",
            "set `hf: owner/name`, or write a map: `files: {train: https://…}`",
        )),
        [] => problems.push(problem(
            &[],
            "nothing says what to fetch",
            "set one of `url`, `files`, `folder`, `hf`, or `manual` with `put`",
        )),
        ["url"] => single.check(&[], &mut problems),
        ["url", other] => problems.push(problem(
            &[other],
            &format!("`{other}` stands beside the keys of a single file"),
            &format!("move `url`, `sha256`, `unpack` … into the entries of `{other}`"),
        )),
        [_] => {}
        [.., other] => problems.push(problem(
            &[other],
            &format!("`{}` exclude each other", given.join("` and `")),
            "make it two stages",
        )),
    }
    if let Some(Files::Map(files)) = &fetch.files {
        check_map(files, "files", &mut problems);
        for (name, _) in &files.0 {
            if !is_output_name(name) {
                problems.push(problem(
                    &["files", name],
                    &format!("`{name}` cannot name an output"),
                    "names are `[a-z][a-z0-9_-]*`, such as `train`; `folder:` takes file names and leaves one folder",
                ));
            } else if name == flow::spec::METRICS {
                problems.push(problem(
                    &["files", name],
                    "`metrics` is the name of a stage's numbers",
                    "choose another name",
                ));
            }
        }
    }
    if let Some(files) = &fetch.folder {
        check_map(files, "folder", &mut problems);
        let names = files.0.iter().map(|(name, _)| name.as_str());
        check_paths("folder", names, &mut problems);
    }
    check_hub(fetch, &mut problems);
    for (key, zero) in [
        ("max_bytes", fetch.max_bytes == Some(0)),
        ("max_unpacked_bytes", fetch.max_unpacked_bytes == Some(0)),
        ("max_entries", fetch.max_entries == Some(0)),
        ("max_ratio", fetch.max_ratio == Some(0)),
    ] {
        if zero {
            problems.push(problem(
                &[key],
                &format!("`{key}: 0` allows nothing"),
                "leave it out for the default",
            ));
        }
    }
    problems
}

fn problem(path: &[&str], message: &str, help: &str) -> ConfigProblem {
    ConfigProblem {
        path: path.iter().map(|key| (*key).to_owned()).collect(),
        message: message.to_owned(),
        help: Some(help.to_owned()),
    }
}

fn check_map(files: &FileMap, key: &str, problems: &mut Vec<ConfigProblem>) {
    if files.0.is_empty() {
        problems.push(problem(
            &[key],
            &format!("`{key}` names no file"),
            "write `NAME: URL`",
        ));
    }
    for (name, file) in &files.0 {
        file.check(&[key, name], problems);
    }
}

/// Paths inside one folder: relative, and none a folder of another.
fn check_paths<'a>(
    key: &str,
    names: impl Iterator<Item = &'a str>,
    problems: &mut Vec<ConfigProblem>,
) {
    let mut names: Vec<&str> = names.collect();
    for name in &names {
        if !is_relative_path(name) || name.ends_with('/') {
            problems.push(problem(
                &[key, name],
                &format!("`{name}` is no path inside a folder"),
                "use a relative path without `..`",
            ));
        }
    }
    names.sort_unstable();
    for pair in names.windows(2) {
        let below = pair[1]
            .strip_prefix(pair[0])
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if below {
            problems.push(problem(
                &[key, pair[1]],
                &format!("`{}` and `{}` cannot both be files", pair[0], pair[1]),
                "give one of them another path",
            ));
        }
    }
}

fn check_hub(fetch: &Fetch, problems: &mut Vec<ConfigProblem>) {
    let Some(name) = &fetch.hf else {
        if fetch.revision.is_some() {
            problems.push(problem(
                &["revision"],
                "`revision` needs a repository",
                "set `hf: owner/name`",
            ));
        }
        return;
    };
    if !is_repository_name(name) {
        problems.push(problem(
            &["hf"],
            &format!("`{name}` is not a repository"),
            "write `owner/name`, or `datasets/owner/name` for a data set",
        ));
    }
    let fixed = format!(
        "the page https://huggingface.co/{name}/commits/main lists the commits; a fixed one gives the same bytes for ever"
    );
    match &fetch.revision {
        None => problems.push(problem(
            &["hf"],
            "`hf` without `revision`",
            &format!("set `revision` to a full commit hash; {fixed}"),
        )),
        Some(revision) if !is_commit(revision) => problems.push(problem(
            &["revision"],
            &format!(
                "`{revision}` is not a full commit hash of 40 hex digits; a branch or tag may move"
            ),
            &fixed,
        )),
        Some(_) => {}
    }
    match &fetch.files {
        Some(Files::List(files)) if !files.is_empty() => {
            check_paths("files", files.iter().map(String::as_str), problems);
        }
        Some(Files::Map(_)) => {}
        _ => problems.push(problem(
            &["hf"],
            "`hf` without `files`",
            "list the files: `files: [config.json, vocab.txt]`; a whole repository often holds the same weights several times",
        )),
    }
}
