//! Where files of a bundle may lie: each output at the place of its stage, each file of the author's under its name, and
//! nothing else. Knows nothing of what they hold.

use std::collections::BTreeMap;

use flow::content::{Content, Form};
use flow::diagnostic::Diagnostic;
use flow::digest::{Digest, Use};

use super::bundle::{B3SUMS, BUNDLE, CRATE, MIRRORS, README, RECORDS, RESOLVED, SHA256SUMS, TREES};
use super::export::{file_of, folder_of, run_pages};
use super::opened::{Opened, fault};

/// Files that lie where export writes nothing, and files with the bytes of others.
pub(super) fn faults(opened: &Opened) -> Vec<Diagnostic> {
    let bundle = &opened.bundle;
    let mut places: BTreeMap<String, Digest> = BTreeMap::new();
    let mut place = |path: String, content: &Content| match content.form {
        Form::File | Form::Exec => drop(places.insert(path, content.digest)),
        Form::Tree => {
            let tree = opened.tree(&content.digest).unwrap_or_default();
            for entry in tree.entries {
                if let Some(part) = entry.content {
                    places.insert(format!("{path}/{}", entry.path), part.digest);
                }
            }
        }
    };
    for entry in &bundle.stages {
        let record = &opened.records[&entry.key];
        let folder = folder_of(&entry.stage);
        for (name, content) in &record.outputs {
            place(
                format!("{folder}/{}", file_of(&entry.stage.outputs, name)),
                content,
            );
        }
        if let Some(log) = &record.log {
            place(format!("{folder}/log.txt"), log);
        }
    }
    for source in &bundle.sources {
        let path = match source.path.as_str() {
            "" => "pipeline".to_owned(),
            path => format!("pipeline/{path}"),
        };
        place(path, &source.content);
    }
    let file = format!("pipeline/{}.yaml", bundle.pipeline);
    let lock = format!("pipeline/{}.lock", bundle.pipeline);
    let mut faults = Vec::new();
    if bundle.file != file {
        faults.push(fault(
            "share::bundle",
            "`bundle.json` names another file than that of its pipeline".to_owned(),
        ));
    }
    let alone = [
        BUNDLE, README, CRATE, SHA256SUMS, B3SUMS, RESOLVED, &file, &lock,
    ];
    if let Some(text) = bundle.settings.mirrors_text() {
        let digest = Use::File.digest(text.as_bytes());
        places.insert(format!("pipeline/{MIRRORS}"), digest);
    }
    let run_pages = run_pages(bundle, &opened.records);
    for (path, digest) in &opened.files {
        let top = path.split('/').next().unwrap_or_default();
        let is_known = alone.contains(&path.as_str())
            || run_pages.contains_key(path)
            || top == RECORDS
            || top == TREES
            || top == "original" && !bundle.anonymous;
        if is_known {
            continue;
        }
        let message = match places.get(path) {
            Some(expected) if expected == digest => continue,
            Some(_) => format!("`{path}` has the bytes of something else"),
            None => format!("no record names `{path}`: nothing lies there in a bundle"),
        };
        faults.push(fault("share::place", message));
    }
    faults
}
