//! Whether what a bundle says of itself holds together: keys, manifests, inputs and outputs, objects. Runs nothing.

use std::collections::{BTreeMap, BTreeSet};

use flow::content::{Content, Form};
use flow::diagnostic::Diagnostic;
use flow::digest::Digest;
use flow::exec::job::same_bytes;
use flow::key::Manifest;
use flow::restate::{Restated, RestatedItem};

use super::export::run_pages;
use super::opened::{Opened, fault, is_line};
use super::sums::is_plain;
use crate::kinds::KINDS;

/// The folders whose files are objects.
const FOLDERS: [&str; 2] = ["results/", "reports/"];

/// Everything that does not fit, in the order of the stages.
pub(super) fn faults(opened: &Opened, found: &BTreeMap<String, u64>) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    let bundle = &opened.bundle;
    let mut texts = vec![bundle.program.as_str(), &bundle.pipeline];
    let title = bundle.title();
    let authors = bundle.authors();
    texts.push(&title);
    texts.extend(authors.iter().map(String::as_str));
    let settings = &bundle.settings;
    let settings = settings
        .profiles
        .iter()
        .chain(&settings.set)
        .chain(&settings.mirrors)
        .chain(&settings.device);
    texts.extend(settings.map(String::as_str));
    for out in &bundle.left_out {
        texts.extend([out.what.as_str(), &out.output]);
        texts.extend(out.terms.iter().map(String::as_str));
    }
    texts.extend(bundle.unlike.iter().map(String::as_str));
    if texts.iter().any(|text| !is_line(text)) {
        faults.push(fault(
            "share::bundle",
            "`bundle.json` has texts that are no lines".to_owned(),
        ));
    }
    if !is_plain(&bundle.file) || !found.contains_key(&bundle.file) {
        faults.push(fault(
            "share::bundle",
            "`bundle.json` names no pipeline file of the bundle".to_owned(),
        ));
    }
    stages(opened, &mut faults);
    objects(opened, found, &mut faults);
    faults
}

fn stages(opened: &Opened, faults: &mut Vec<Diagnostic>) {
    let mut names = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let sources: BTreeSet<Digest> = opened
        .bundle
        .sources
        .iter()
        .map(|source| source.content.digest)
        .collect();
    for entry in &opened.bundle.stages {
        let stage = &entry.stage;
        let shown: String = stage.name.escape_debug().take(200).collect();
        let is_named = flow::spec::check_name(&stage.stage) && is_line(&stage.name);
        if !is_named || !names.insert(&stage.name) {
            faults.push(fault(
                "share::stage",
                format!("`{shown}` cannot name a stage, or names two"),
            ));
            continue;
        }
        keys.insert(entry.key);
        let Some(record) = opened.records.get(&entry.key) else {
            faults.push(fault("share::chain", format!("`{shown}` has no record")));
            continue;
        };
        if let Some(odd) = odd_place(stage) {
            faults.push(fault(
                "share::name",
                format!(
                    "`{}` of `{shown}` leads out of a stage's folder",
                    odd.escape_debug()
                ),
            ));
        }
        if let Err(line) = stage.agrees(KINDS, &Manifest(record.manifest.clone())) {
            faults.push(
                fault(
                    "share::chain",
                    format!("`{shown}` is not what its key was made of"),
                )
                .detail(format!("another line: {}", line.escape_debug())),
            );
        }
        for input in &stage.inputs {
            for item in &input.items {
                if let Some(why) = loose(opened, &sources, item) {
                    faults.push(
                        fault(
                            "share::chain",
                            format!(
                                "the input `{}` of `{shown}` comes from nowhere",
                                input.port.escape_debug()
                            ),
                        )
                        .detail(why),
                    );
                }
            }
        }
    }
    for (key, record) in &opened.records {
        if !keys.contains(key) {
            faults.push(fault(
                "share::chain",
                format!(
                    "the record {} of `{}` belongs to no stage",
                    key.short(),
                    record.stage
                ),
            ));
        }
    }
}

/// A place of a stage that is not inside its folder. Its key would not tell: the folder is ours.
fn odd_place(stage: &Restated) -> Option<&str> {
    let inputs = stage
        .inputs
        .iter()
        .flat_map(|input| [Some(input.place.as_str()), input.file.as_deref()])
        .flatten()
        .filter(|place| !place.is_empty());
    let outputs = stage.outputs.iter().map(|output| output.path.as_str());
    let numbers = stage.numbers.iter().map(String::as_str);
    let checkpoint = stage
        .checkpoint
        .iter()
        .map(|checkpoint| checkpoint.dir.as_str());
    inputs
        .chain(outputs)
        .chain(numbers)
        .chain(checkpoint)
        .find(|place| !flow::content::is_inside(place))
}

/// Why an input does not go back to an output of the bundle or to a file of the author's.
fn loose(opened: &Opened, sources: &BTreeSet<Digest>, item: &RestatedItem) -> Option<String> {
    let content = &item.content;
    let Some(key) = item.key else {
        // What a person was asked to put somewhere, and had not.
        let is_known = sources.contains(&content.digest) || content.digest == Digest::ZERO;
        return (!is_known).then(|| format!("no file of the author's is {}", content.line()));
    };
    let Some(record) = opened.records.get(&key) else {
        return Some(format!("there is no record {}", key.short()));
    };
    let is_it = |output: &Content| same_bytes(output, content) && output.bytes == content.bytes;
    if !record.outputs.values().any(is_it) {
        return Some(format!(
            "`{}` has no output {} {}",
            record.stage,
            content.form.word(),
            content.digest.short()
        ));
    }
    let device = item.device.as_deref().unwrap_or_default();
    // The index keeps devices without blanks.
    let plain = |text: &str| text.replace(char::is_whitespace, "_");
    (plain(device) != plain(&record.device)).then(|| {
        format!(
            "`{}` was made on `{}`, not on `{device}`",
            record.stage, record.device
        )
    })
}

fn objects(opened: &Opened, found: &BTreeMap<String, u64>, faults: &mut Vec<Diagnostic>) {
    let mut named: BTreeSet<Digest> = BTreeSet::new();
    let mut trees: Vec<Digest> = Vec::new();
    let outputs = opened.records.values().flat_map(|record| {
        let log = record.log.iter();
        record.outputs.values().chain(log)
    });
    let sources = opened.bundle.sources.iter().map(|source| &source.content);
    for content in outputs.chain(sources) {
        named.insert(content.digest);
        if content.form == Form::Tree {
            trees.push(content.digest);
        }
    }
    for (digest, place) in &opened.bundle.objects {
        if !is_plain(&place.path) {
            faults.push(fault(
                "share::name",
                format!("`{}` is no place in a bundle", place.path.escape_debug()),
            ));
        } else if found.get(&place.path) != Some(&place.bytes) {
            faults.push(fault(
                "share::object",
                format!("`{}` is not what `bundle.json` says", place.path),
            ));
        } else if trees.contains(digest) {
            match opened.tree(digest) {
                Some(tree) => named.extend(
                    tree.entries
                        .iter()
                        .filter_map(|entry| Some(entry.content?.digest)),
                ),
                None => faults.push(fault(
                    "share::object",
                    format!("`{}` is not the listing it stands for", place.path),
                )),
            }
        } else if opened.files.get(&place.path) != Some(digest) {
            faults.push(
                fault(
                    "share::object",
                    format!("`{}` is not what a record made", place.path),
                )
                .detail(format!("the record says {}", digest.short())),
            );
        }
    }
    for (digest, place) in &opened.bundle.objects {
        if !named.contains(digest) {
            faults.push(fault(
                "share::object",
                format!("no record names `{}`", place.path),
            ));
        }
    }
    let pages = run_pages(&opened.bundle, &opened.records);
    for (path, digest) in &opened.files {
        let is_result =
            FOLDERS.iter().any(|folder| path.starts_with(folder)) && !pages.contains_key(path);
        if is_result && !opened.bundle.objects.contains_key(digest) {
            faults.push(fault("share::object", format!("no record names `{path}`")));
        }
        if path.starts_with("trees/")
            && !opened
                .bundle
                .objects
                .values()
                .any(|place| place.path == *path)
        {
            faults.push(fault("share::object", format!("no record names `{path}`")));
        }
    }
}
