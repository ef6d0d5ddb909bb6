//! `pipeline lock`: what unpinned downloads turned out to be, beside the pipeline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow::clock;
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::kind::Pin;
use flow::plan::Decision;
use flow::run::RunOptions;
use flow::spec::StageId;
use flow::spec::load::{Lock, LockEntry, lock_path};
use flow::store::index::append_record;

use super::Done;
use super::args::{LockArgs, PipelineArgs};
use super::session::Session;
use crate::console::{Console, format};
use crate::kinds::KINDS;
use crate::kinds::fetch::Fetch;

/// Fetches what is not locked yet, or only what `--update` names, and writes the lock file.
pub(super) fn lock(args: &LockArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let update: BTreeSet<StageId> = if args.update.is_empty() {
        BTreeSet::new()
    } else {
        session.stages(&args.update, console)?.into_iter().collect()
    };
    let path = lock_path(&args.pipeline.file);
    let mut lock = read(&path)?;
    let unpinned = unpinned(&session);
    let names: BTreeSet<&str> = unpinned
        .iter()
        .map(|id| session.workflow().stages[id.index()].name.as_str())
        .collect();
    let mut given_up = BTreeMap::new();
    for id in &update {
        let name = &session.workflow().stages[id.index()].name;
        if !names.contains(name.as_str()) {
            let diagnostic = Diagnostic::error(
                "lock::not_unpinned",
                format!("`{name}` is not an unpinned fetch"),
            )
            .help("only what has no `sha256` or `blake3` in the file is locked");
            return Err(Failure::one(Class::Input, diagnostic));
        }
        if let Some(entry) = lock.stages.remove(name) {
            given_up.insert(name.clone(), entry);
        }
    }
    // Under other settings stages that are left out are there again.
    let left_out = &session.workflow().left_out;
    let is_left_out = |name: &str| {
        let stage = name.split_once('[').map_or(name, |(stage, _)| stage);
        left_out.contains_key(stage)
    };
    lock.stages
        .retain(|name, _| names.contains(name.as_str()) || is_left_out(name));
    let is_wanted = |id: &StageId| match update.is_empty() {
        true => !(lock.stages).contains_key(&session.workflow().stages[id.index()].name),
        false => update.contains(id),
    };
    let targets: Vec<StageId> = unpinned.iter().copied().filter(is_wanted).collect();
    save(&path, &lock)?;
    if targets.is_empty() {
        console.note(&format!(
            "{}: {}, nothing to add",
            path.display(),
            format::counted(lock.stages.len(), "download")
        ));
        return Ok(0);
    }
    // The lock is part of the key: without the old entries these stages are looked at as they stand in the file.
    let session = Session::open(&args.pipeline, console)?;
    let options = RunOptions {
        force: targets.iter().copied().collect(),
        targets,
        confirm_over_seconds: f64::INFINITY,
        keep_going: true,
        arguments: std::env::args().collect(),
        ..RunOptions::default()
    };
    let done = flow::run::run(session.workflow(), &session.store, KINDS, &options, console)
        .and_then(|summary| {
            write(&args.pipeline, &session, &summary.pins, false, console)?;
            Ok(summary)
        });
    // What could not be fetched stays locked as it was.
    take_back(&path, given_up)?;
    let summary = done?;
    if let Some(signal) = &summary.interrupted {
        return Ok(if signal == "SIGINT" { 130 } else { 143 });
    }
    Ok(summary.class.map_or(0, Class::exit_code))
}

fn take_back(path: &Path, given_up: BTreeMap<String, LockEntry>) -> Result<(), Failure> {
    let mut lock = read(path)?;
    let before = lock.stages.len();
    for (stage, entry) in given_up {
        lock.stages.entry(stage).or_insert(entry);
    }
    if lock.stages.len() == before {
        return Ok(());
    }
    save(path, &lock)
}

/// The fetch stages whose content nothing pins in the file.
pub(super) fn unpinned(session: &Session) -> Vec<StageId> {
    let stages = &session.workflow().stages;
    (0_u32..)
        .map(StageId)
        .zip(stages)
        .filter(|(_, stage)| {
            stage.kind == "fetch"
                && serde_json::from_str::<Fetch>(&stage.config)
                    .is_ok_and(|fetch| fetch.is_unpinned())
        })
        .map(|(id, _)| id)
        .collect()
}

/// `--locked`: every unpinned download must be in the lock file.
pub(super) fn require_all(session: &Session) -> Result<(), Failure> {
    let path = lock_path(&session.workflow().file);
    let lock = read(&path)?;
    let missing: Vec<Diagnostic> = unpinned(session)
        .into_iter()
        .map(|id| &session.workflow().stages[id.index()])
        .filter(|stage| !lock.stages.contains_key(&stage.name))
        .map(|stage| {
            Diagnostic::error(
                "lock::not_locked",
                format!("`{}` is not in `{}`", stage.name, path.display()),
            )
            .help("`pipeline lock FILE` adds it; commit the lock file")
        })
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Failure::input(missing))
    }
}

/// Adds what a run fetched to the lock file, and lets the records count under the keys that follow from it.
pub(super) fn write(
    args: &PipelineArgs,
    session: &Session,
    pins: &[(String, Pin)],
    locked: bool,
    console: &mut Console,
) -> Result<(), Failure> {
    let path = lock_path(&args.file);
    let mut lock = read(&path)?;
    let date = clock::rfc3339(clock::now_ns());
    let mut added = BTreeMap::new();
    for (stage, pin) in pins {
        let entry = LockEntry {
            url: pin.url.clone(),
            digest: pin.digest.clone(),
            bytes: pin.bytes,
            date: Some(date.clone()),
        };
        if lock
            .stages
            .get(stage)
            .is_some_and(|known| known.digest == entry.digest)
        {
            continue;
        }
        lock.stages.insert(stage.clone(), entry);
        added.insert(stage.clone(), pin);
    }
    if added.is_empty() || locked {
        return Ok(());
    }
    save(&path, &lock)?;
    let old: BTreeMap<&str, _> = {
        let mut planner = session.planner()?;
        let mut keys = BTreeMap::new();
        for (id, stage) in (0_u32..).map(StageId).zip(&session.workflow().stages) {
            if added.contains_key(&stage.name)
                && let Ok(Decision::Hit(known)) = planner.decide(id)
            {
                keys.insert(stage.name.as_str(), known.key);
            }
        }
        keys
    };
    let again = Session::open(args, console)?;
    let mut planner = again.planner()?;
    for (id, stage) in (0_u32..).map(StageId).zip(&again.workflow().stages) {
        let Some(record) = old
            .get(stage.name.as_str())
            .and_then(|key| session.store.find_record(key))
        else {
            continue;
        };
        if let Ok(Decision::Miss { key, manifest }) = planner.decide(id) {
            let mut record = record;
            (record.key, record.manifest) = (key, manifest.0);
            let entry = flow::exec::job::entry_of(&record);
            let written = session
                .store
                .write_record(&record)
                .and_then(|()| append_record(session.store.dir(), &key, &entry));
            written.map_err(|error| disk(&path, &error))?;
            planner.note_key(stage, key);
        }
    }
    planner.flush().map_err(|error| disk(&path, &error))?;
    console.note(&format!(
        "locked {} in {}",
        format::counted(added.len(), "download"),
        path.display()
    ));
    Ok(())
}

fn read(path: &Path) -> Result<Lock, Failure> {
    match fs_err::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            let diagnostic = Diagnostic::error(
                "spec::lock",
                format!("the lock file `{}` cannot be understood", path.display()),
            )
            .detail(error.to_string())
            .help("restore it from version control, or remove it and run `pipeline lock`");
            Failure::one(Class::Input, diagnostic)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Lock {
            version: 1,
            stages: BTreeMap::new(),
        }),
        Err(error) => Err(disk(path, &error)),
    }
}

fn save(path: &Path, lock: &Lock) -> Result<(), Failure> {
    if lock.stages.is_empty() && !path.exists() {
        return Ok(());
    }
    let mut text = serde_json::to_vec_pretty(lock).expect("locks serialise");
    text.push(b'\n');
    let temporary = path.with_extension(format!("lock.{}.tmp", std::process::id()));
    let saved = fs_err::write(&temporary, text).and_then(|()| fs_err::rename(&temporary, path));
    saved.map_err(|error| {
        let _ = fs_err::remove_file(&temporary);
        disk(path, &error)
    })
}

fn disk(path: &Path, error: &std::io::Error) -> Failure {
    let diagnostic = Diagnostic::error(
        "lock::write",
        format!(
            "the lock file `{}` cannot be written or read",
            path.display()
        ),
    )
    .detail(error.to_string());
    Failure::one(Class::Environment, diagnostic)
}
