//! Results of a pipeline as a bundle, whole or not at all, and the search for what must not be in it. Knows nothing of the
//! command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::plan::Planner;
use flow::restate::Restated;
use flow::spec::{EnvVar, METRICS, StageId};
use flow::store::record::Record;
use report::card::Source;
use serde_json::Value;

use self::gather::{Gathered, gather};
use self::writer::{Listed, Writer};
use super::agreement;
use super::anonymous;
use super::bundle::{
    B3SUMS, BUNDLE, Bundle, CRATE, LeftOut, MIRRORS, README, RESOLVED, SHA256SUMS, Settings,
    SourceFile, VERSION,
};
use super::excerpts::{Excerpt, excerpts};
use super::opened::{decode_record, shown_text};
use super::search::{Needle, search};
use super::sums::is_plain;
use crate::kinds::KINDS;

mod gather;
mod metadata;
mod readme;
mod run_page;
mod writer;

pub(super) use gather::is_numbers;
pub(super) use metadata::uri;
pub(super) use run_page::{RUN_PAGE, run_pages};

/// This program, as records name it.
pub(crate) const PROGRAM: &str = concat!("pipeline ", env!("CARGO_PKG_VERSION"));
/// What is to come along beyond numbers, reports, and what scores are made from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// All outputs, and all files of the author's.
    pub(crate) objects: bool,
    /// Models.
    pub(crate) models: bool,
    /// Also what terms forbid to pass on.
    pub(crate) restricted: bool,
    /// Without people and machines.
    pub(crate) anonymous: bool,
}

/// The texts of a pipeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    /// The pipeline as one text, as it was written.
    pub(crate) flat: String,
    /// The same with profiles and settings merged in, where there are some.
    pub(crate) resolved: Option<String>,
    /// Texts as they were written, by the names they are shown by.
    pub(crate) originals: Vec<(String, String)>,
    /// The lock file.
    pub(crate) lock: Option<Vec<u8>>,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Exported {
    /// The bundle.
    pub(crate) bundle: Bundle,
    /// Files in it.
    pub(crate) files: usize,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The digest that stands for all of it.
    pub(crate) id: Digest,
    /// How many words were searched for and not found.
    pub(crate) searched: usize,
    /// Files with a word that may mean an author and may mean somebody else.
    pub(crate) doubtful: Vec<String>,
    /// Reports that quote what must not be passed on.
    pub(crate) excerpts: Vec<Excerpt>,
}

/// Writes a bundle of stages whose results are known, whole or not at all.
///
/// # Errors
/// A place that is taken, a refusing disk; in an anonymous bundle, and of secrets in any, what was found.
pub(crate) fn export(
    planner: &mut Planner<'_>,
    selected: &[StageId],
    texts: &Texts,
    settings: Settings,
    wish: Wish,
    out: &Path,
) -> Result<Exported, Failure> {
    let to = free_place(out)?;
    let gathered = gather(planner, selected, wish)?;
    let name = to
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let temporary = to.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let done = write(planner, texts, settings, wish, gathered, &temporary).and_then(|exported| {
        if to.exists() {
            fs_err::remove_dir(&to).map_err(|error| disk(&error))?;
        }
        fs_err::rename(&temporary, &to).map_err(|error| disk(&error))?;
        Ok(exported)
    });
    if done.is_err() {
        let _ = flow::store::remove_tree(&temporary);
    }
    done
}

fn disk(error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error("share::write", "the bundle cannot be written")
        .detail(error.to_string())
        .help("check that the folder may be written, and that the disk has space");
    Failure::one(Class::Environment, diagnostic)
}

/// The folder to be: its parent is made, and nothing lies at its place but perhaps an empty folder.
fn free_place(out: &Path) -> Result<PathBuf, Failure> {
    let whole = std::path::absolute(out).map_err(|error| disk(&error))?;
    let is_empty = fs_err::read_dir(&whole).is_ok_and(|mut entries| entries.next().is_none());
    let is_free = std::fs::symlink_metadata(&whole).is_err() || is_empty;
    let (Some(parent), Some(_), true) = (whole.parent(), whole.file_name(), is_free) else {
        let diagnostic = Diagnostic::error(
            "share::exists",
            format!("`{}` is there already", out.display()),
        )
        .help("move it away, or name another folder with `--out`");
        return Err(Failure::one(Class::Input, diagnostic));
    };
    fs_err::create_dir_all(parent).map_err(|error| disk(&error))?;
    Ok(whole)
}

/// The place of a stage's results in a bundle: `results/STAGE/AXES`.
pub(super) fn folder_of(stage: &Restated) -> String {
    let is_report = KINDS
        .iter()
        .any(|kind| kind.name == stage.kind && kind.is_report);
    let top = if is_report { "reports" } else { "results" };
    let mut path = format!("{top}/{}", stage.stage);
    if !stage.axes.is_empty() {
        let plain = |c: char| {
            if c.is_alphanumeric() || "=,._-".contains(c) {
                c
            } else {
                '_'
            }
        };
        let axes: String = flow::key::axes_text(&stage.axes)
            .chars()
            .map(plain)
            .collect();
        let mut short: String = axes.trim_start_matches('.').chars().take(100).collect();
        if short != flow::key::axes_text(&stage.axes) {
            // Two values that look alike as names of folders stay two.
            let digest = flow::digest::Use::File.digest(stage.name.as_bytes());
            short.push_str(&format!("-{}", digest.short()));
        }
        path.push('/');
        path.push_str(&short);
    }
    path
}

/// The name of an output's file or folder in that place.
pub(super) fn file_of(outputs: &[flow::spec::OutputSpec], name: &str) -> String {
    let declared = outputs.iter().find(|output| output.name == name);
    match declared {
        Some(output) => output.path.clone(),
        None if name == METRICS => "metrics.jsonl".to_owned(),
        None => name.to_owned(),
    }
}

fn write(
    planner: &Planner<'_>,
    texts: &Texts,
    settings: Settings,
    wish: Wish,
    mut gathered: Gathered,
    temporary: &Path,
) -> Result<Exported, Failure> {
    let workflow = planner.workflow;
    let stated: Value = workflow
        .about
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let about = if wish.anonymous {
        anonymous::without_people(&stated)
    } else {
        stated.clone()
    };
    let mut hosts: Vec<String> = gathered
        .records
        .values()
        .map(|record| record.machine.host.clone())
        .collect();
    let attempts = gathered
        .records
        .values()
        .flat_map(|record| &record.attempts);
    hosts.extend(attempts.map(|attempt| attempt.host.clone()));
    hosts.sort();
    hosts.dedup();
    for record in gathered.records.values_mut() {
        // What a command said of the surroundings may have been drawn for a terminal.
        record.environment = std::mem::take(&mut record.environment)
            .into_iter()
            .map(|(words, text)| (shown_text(&words), shown_text(&text)))
            .collect();
    }
    if wish.anonymous {
        gathered
            .records
            .values_mut()
            .for_each(anonymous::without_machine);
    }
    let mut writer =
        Writer::new(temporary, planner.store, &workflow.root).map_err(|error| disk(&error))?;
    for (entry, wanted) in gathered.stages.iter().zip(gathered.wanted) {
        let folder = folder_of(&entry.stage);
        for one in wanted {
            let path = format!("{folder}/{}", file_of(&entry.stage.outputs, &one.name));
            let done = writer
                .output(&one.content, &path, one.only.as_deref())
                .map_err(|error| disk(&error))?;
            if !done {
                gathered.left_out.push(one.left_out);
            }
        }
        let log = gathered.records[&entry.key]
            .log
            .as_ref()
            .filter(|_| wish.objects);
        if let Some(log) = log {
            let path = format!("{folder}/log.txt");
            let _ = writer
                .output(log, &path, None)
                .map_err(|error| disk(&error))?;
        }
    }
    for (source, from) in &gathered.files {
        writer
            .author_file(&source.path, &source.content, from)
            .map_err(|error| disk(&error))?;
    }
    for (key, record) in &gathered.records {
        let mut text = serde_json::to_vec(record).expect("records serialise");
        text.push(b'\n');
        decode_record(&text).map_err(|why| unwelcome(record, &why))?;
        writer
            .file(&format!("records/{key}.json"), &text)
            .map_err(|error| disk(&error))?;
    }
    let file = format!("pipeline/{}.yaml", workflow.name);
    let head = |what: &str| {
        format!(
            "# {} as one file, with {what} merged in. Written by {PROGRAM}.\n",
            workflow.name
        )
    };
    let flat = head("what it extends and its recipes") + &texts.flat;
    writer
        .file(&file, flat.as_bytes())
        .map_err(|error| disk(&error))?;
    if let Some(resolved) = &texts.resolved {
        let text = head("what it extends, its recipes, profiles and settings") + resolved;
        writer
            .file(RESOLVED, text.as_bytes())
            .map_err(|error| disk(&error))?;
    }
    if let Some(lock) = &texts.lock {
        writer
            .file(&format!("pipeline/{}.lock", workflow.name), lock)
            .map_err(|error| disk(&error))?;
    }
    if let Some(text) = settings.mirrors_text() {
        let path = format!("pipeline/{MIRRORS}");
        if gathered
            .files
            .iter()
            .any(|(source, _)| source.path == MIRRORS)
            || writer.has(&path)
        {
            return Err(taken());
        }
        writer
            .file(&path, text.as_bytes())
            .map_err(|error| disk(&error))?;
    }
    if !wish.anonymous {
        for (name, text) in &texts.originals {
            writer
                .file(&original_path(name), text.as_bytes())
                .map_err(|error| disk(&error))?;
        }
    }
    let mut sources: Vec<SourceFile> = gathered
        .files
        .into_iter()
        .map(|(source, _)| source)
        .collect();
    sources.sort_by(|a, b| (&a.path, &a.content).cmp(&(&b.path, &b.content)));
    sources.dedup();
    let mut bundle = Bundle {
        version: VERSION,
        program: PROGRAM.to_owned(),
        pipeline: workflow.name.clone(),
        file,
        about,
        anonymous: wish.anonymous,
        settings,
        stages: gathered.stages,
        objects: writer.objects().clone(),
        sources,
        left_out: summed(gathered.left_out),
        unlike: Vec::new(),
    };
    // What a reader will hold against the records is the one file.
    let one_file = agreement::pipeline(temporary, &bundle).ok();
    bundle.unlike = match &one_file {
        Some(one_file) => agreement::unlike(one_file, &bundle, &gathered.records),
        None => bundle
            .stages
            .iter()
            .map(|entry| entry.stage.name.clone())
            .collect(),
    };
    // The pages follow from what is in the bundle, so that a reader can make them again.
    let lineage = match one_file.as_ref().filter(|_| bundle.unlike.is_empty()) {
        Some(one_file) => agreement::sources(one_file, &bundle, &gathered.records)
            .map_err(|error| disk(&error))?,
        None => agreement::sources_of_records(&bundle, &gathered.records),
    };
    let facts = readme::Facts {
        bundle: &bundle,
        records: &gathered.records,
        doc: one_file
            .as_ref()
            .and_then(|one_file| one_file.doc.as_deref()),
        lineage: &lineage,
    };
    for (path, page) in run_pages(&bundle, &gathered.records) {
        writer.file(&path, &page).map_err(|error| disk(&error))?;
    }
    writer
        .file(README, readme::text(&facts, writer.bytes()).as_bytes())
        .map_err(|error| disk(&error))?;
    let mut text = serde_json::to_vec(&bundle).expect("bundles serialise");
    text.push(b'\n');
    writer.file(BUNDLE, &text).map_err(|error| disk(&error))?;
    let listed = writer.listed().map_err(|error| disk(&error))?;
    let metadata = metadata::graph(&facts, &listed);
    writer
        .file(CRATE, &metadata)
        .map_err(|error| disk(&error))?;
    let id = writer.sums().map_err(|error| disk(&error))?;
    let mut needles = secrets(planner);
    if wish.anonymous {
        needles.extend(anonymous::needles(&workflow.root, &stated, &hosts));
    }
    let doubtful = prove(temporary, &needles)?;
    Ok(Exported {
        doubtful,
        excerpts: excerpts(&bundle, &gathered.records),
        files: writer.count(),
        bytes: writer.bytes(),
        bundle,
        id,
        searched: needles.len(),
    })
}

/// A file of the author's lies where the mirrors go.
fn taken() -> Failure {
    let diagnostic = Diagnostic::error(
        "share::mirrors",
        format!("a stage reads your `{MIRRORS}`, and the mirrors of the bundle go by that name"),
    )
    .help("give your file another name and run the stage again");
    Failure::one(Class::Input, diagnostic)
}

/// A record that no reader would take.
fn unwelcome(record: &Record, why: &str) -> Failure {
    let diagnostic = Diagnostic::error(
        "share::record",
        format!("the record of `{}` would be refused by every reader", record.stage),
    )
    .detail(why.to_owned())
    .help("correct the text in the pipeline file, such as the licence of a `fetch`, and run the stage again");
    Failure::one(Class::Input, diagnostic)
}

/// The pages of a bundle that is there, as this program writes them: README.md, ro-crate-metadata.json and those beside
/// reports. `files` are all
/// of its files with their sizes, `sha256` their digests.
pub(super) fn pages(
    bundle: &Bundle,
    records: &BTreeMap<Digest, Record>,
    doc: Option<&str>,
    lineage: &[Source],
    files: &BTreeMap<String, u64>,
    sha256: &BTreeMap<String, String>,
) -> BTreeMap<String, Vec<u8>> {
    let facts = readme::Facts {
        bundle,
        records,
        doc,
        lineage,
    };
    let after = [CRATE, B3SUMS, SHA256SUMS];
    let listed: Vec<Listed> = files
        .iter()
        .filter(|(path, _)| !after.contains(&path.as_str()))
        .map(|(path, bytes)| Listed {
            path: path.clone(),
            bytes: *bytes,
            sha256: sha256.get(path).cloned().unwrap_or_default(),
        })
        .collect();
    let before = listed
        .iter()
        .filter(|file| ![README, BUNDLE].contains(&file.path.as_str()));
    let bytes = before.map(|file| file.bytes).sum();
    let mut pages = run_pages(bundle, records);
    pages.insert(README.to_owned(), readme::text(&facts, bytes).into_bytes());
    pages.insert(CRATE.to_owned(), metadata::graph(&facts, &listed));
    pages
}

/// Where a text lies that was read under this name: outside of the root by its last name.
fn original_path(name: &str) -> String {
    if is_plain(name) {
        return format!("original/{name}");
    }
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| {
        if c.is_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    format!(
        "original/outside/{}",
        last.chars().map(plain).collect::<String>()
    )
}

/// What is left out, instances of a stage together.
fn summed(mut all: Vec<LeftOut>) -> Vec<LeftOut> {
    all.sort();
    let mut summed: Vec<LeftOut> = Vec::new();
    for one in all {
        match summed.last_mut() {
            Some(last)
                if (&last.what, &last.output, last.why, &last.terms)
                    == (&one.what, &one.output, one.why, &one.terms) =>
            {
                // A file that several stages read is one file.
                if !one.output.is_empty() {
                    last.count += one.count;
                    last.bytes += one.bytes;
                }
            }
            _ => summed.push(one),
        }
    }
    summed
}

/// Values that stages see and nobody else may: in no key and no record, so in no bundle.
fn secrets(planner: &Planner<'_>) -> Vec<Needle> {
    let stages = &planner.workflow.stages;
    let variables = stages.iter().flat_map(|stage| &stage.policy.env);
    let value = |variable: &EnvVar| {
        let text = match &variable.value {
            Some(value) => Some(value.clone()),
            None => std::env::var(&variable.name).ok(),
        };
        text.filter(|text| variable.secret && text.len() >= 4)
    };
    let mut needles: Vec<Needle> = variables
        .filter_map(value)
        .map(|text| Needle::text("the value of a secret variable", &text))
        .collect();
    needles.sort();
    needles.dedup();
    needles
}

/// Searches what was written for what must not be in it; what was found that may mean somebody else.
fn prove(folder: &Path, needles: &[Needle]) -> Result<Vec<String>, Failure> {
    if needles.is_empty() {
        return Ok(Vec::new());
    }
    let found = search(folder, needles).map_err(|error| disk(&error))?;
    if found.certain.is_empty() {
        return Ok(found.doubtful);
    }
    let mut diagnostic = Diagnostic::error(
        "share::found",
        "the bundle would tell what it must not, and was not written",
    );
    diagnostic.details = found.certain;
    let diagnostic = diagnostic.help(
        "take it out of the named files: use relative paths and `{ from: environment, secret: true }`; a record's manifest changes by running the stage without it",
    );
    Err(Failure::one(Class::Input, diagnostic))
}
