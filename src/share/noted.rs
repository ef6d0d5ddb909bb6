//! Facts that travel with results (stand-ins, licences, what may not be passed on) along the chain of a bundle: those of an
//! input are those of what it comes from. Knows nothing of bytes.

use std::collections::BTreeMap;

use flow::diagnostic::Diagnostic;
use flow::digest::Digest;
use flow::exec::job::same_bytes;
use flow::notes::{ByInput, ByNumber, DEPARTURES, Notes, VARIABLES, inherit, of_output};
use flow::restate::RestatedItem;
use flow::store::record::Record;
use serde_json::Value;

use super::opened::{Opened, fault};

/// Inputs with other notes than their producers hand on, and downloads whose notes are not those of their keys.
pub(super) fn faults(opened: &Opened) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    // Stages with one key may have inputs of the same bytes and other notes.
    let mut known: BTreeMap<Digest, Vec<Notes>> = BTreeMap::new();
    for entry in &opened.bundle.stages {
        let stage = &entry.stage;
        let record = &opened.records[&entry.key];
        faults.extend(unlike_key(record));
        let mut notes = record.notes.clone();
        let mut by_input = ByInput::new(&notes);
        let mut by_number = ByNumber::new(&mut notes);
        for input in &stage.inputs {
            for item in &input.items {
                let Some(key) = item.key else {
                    by_number.add(&input.port, &Notes::new());
                    continue;
                };
                let mut stated = item.notes.clone();
                // What a run changed, and what its environment said, is no fact of the record.
                stated.remove(DEPARTURES);
                stated.remove(VARIABLES);
                let producer = opened.records.get(&key);
                let is_so = producer.is_some_and(|producer| {
                    let of_key = known.get(&key).into_iter().flatten();
                    of_key
                        .flat_map(|notes| handed_on(producer, notes, item))
                        .any(|notes| notes == stated)
                });
                if !is_so {
                    faults.push(
                        fault(
                            "share::notes",
                            format!(
                                "the input `{}` of `{}` has other notes than what it comes from",
                                input.port.escape_debug(),
                                stage.name
                            ),
                        )
                        .detail(match producer {
                            Some(producer) => format!("it comes from `{}`", producer.stage),
                            None => format!("it comes from {}", key.short()),
                        }),
                    );
                    continue;
                }
                inherit(&mut notes, &stated);
                by_input.add(&input.port, &stated);
                by_number.add(&input.port, &stated);
            }
        }
        by_input.finish(&mut notes);
        by_number.finish(&mut notes);
        known.entry(entry.key).or_default().push(notes);
    }
    faults
}

/// The notes of each output of a record that an input may be.
fn handed_on<'a>(
    producer: &'a Record,
    notes: &'a Notes,
    item: &'a RestatedItem,
) -> impl Iterator<Item = Notes> + 'a {
    let outputs = producer.outputs.iter();
    outputs
        .filter(|(_, content)| same_bytes(content, &item.content))
        .map(|(name, _)| of_output(notes, name))
}

/// A download that notes other terms than its key has, or that no stand-in was read where its key says so.
fn unlike_key(record: &Record) -> Option<Diagnostic> {
    let lines: Vec<(&str, &str)> = record
        .manifest
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .collect();
    let line = |name: &str| {
        lines
            .iter()
            .find(|(path, _)| *path == name)
            .map(|(_, value)| *value)
    };
    // Outputs that a person blessed have the notes of the key that they were made under.
    let is_fetch = line("kind").is_some_and(|kind| kind.starts_with("fetch "));
    if !is_fetch || record.accepted.is_some() {
        return None;
    }
    let stated = |name: &str| -> Option<Value> {
        line(&format!("config.{name}")).and_then(|text| serde_json::from_str(text).ok())
    };
    let noted = |name: &str| record.notes.get(name);
    let has_origin = lines.iter().any(|(path, _)| {
        let path = path.strip_prefix("config.").unwrap_or_default();
        path == "origin" || path.starts_with("origin.") || path.ends_with(".origin")
    });
    let word = if noted("licence") != stated("licence").as_ref() {
        "licence"
    } else if (noted("redistribute") == Some(&Value::Bool(false)))
        != (stated("redistribute") == Some(Value::Bool(false)))
    {
        "redistribute"
    } else if has_origin && noted("stand_in").is_none_or(Value::is_null) {
        "stand_in"
    } else {
        return None;
    };
    Some(fault(
        "share::notes",
        format!(
            "the note `{word}` of `{}` is not what its key says",
            record.stage
        ),
    ))
}
