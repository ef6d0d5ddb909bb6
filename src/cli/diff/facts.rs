//! What a run and a result are, fact by fact, so that two can be compared. Knows nothing of tables.

use std::collections::BTreeMap;

use flow::key::{Manifest, shorten};
use flow::run::RunLine;
use flow::store::Store;
use flow::store::record::Record;
use serde_json::{Value, json};

use crate::cli::results::full_name;
use crate::cli::status::rows_of;
use crate::console::format;

/// What a fact is about. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// The run as a whole.
    Run,
    /// What decides the result.
    Manifest,
    /// What it measured.
    Number,
    /// How long it took.
    Time,
    /// Where it was made: device, host, program, recorded environment.
    Place,
    /// Stand-ins, mirrors, licences.
    Note,
}

impl About {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Manifest => "parameter",
            Self::Number => "number",
            Self::Time => "time",
            Self::Place => "environment",
            Self::Note => "note",
        }
    }
}

/// One fact.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    Text(String),
    Number(f64),
    Seconds(f64),
}

impl Fact {
    /// As shown.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => shorten(text),
            Self::Number(number) => rounded(*number).to_string(),
            Self::Seconds(seconds) => format::duration(*seconds),
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) | Self::Seconds(number) => json!(number),
        }
    }

    /// New minus old, where both are numbers: as shown, and itself.
    pub(super) fn difference(old: &Self, new: &Self) -> Option<(String, f64)> {
        match (old, new) {
            (Self::Number(old), Self::Number(new)) => {
                Some((format!("{:+}", rounded(new - old)), new - old))
            }
            // Times are never twice the same: beside each other they say enough.
            (Self::Seconds(old), Self::Seconds(new)) => Some((String::new(), new - old)),
            _ => None,
        }
    }
}

/// A difference to nine digits, so that `0.1 + 0.2` does not show its tail.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

/// Facts by what they are about and their name.
pub(super) type Facts = BTreeMap<(About, String), Fact>;

/// What a run says of itself. Of its command line the first `known` words are left out, which the other one has too.
pub(super) fn of_run(run: &RunLine, known: usize) -> Facts {
    let mut facts = Facts::new();
    let mut add = |name: &str, text: &str| {
        if !text.is_empty() {
            facts.insert((About::Run, name.to_owned()), Fact::Text(text.to_owned()));
        }
    };
    add("host", &run.facts.host);
    add("program", &run.facts.program);
    let arguments = run.facts.arguments.iter().skip(known);
    add(
        "arguments",
        &arguments.cloned().collect::<Vec<_>>().join(" "),
    );
    if let Some(seconds) = run.facts.wall_seconds {
        facts.insert((About::Run, "wall time".to_owned()), Fact::Seconds(seconds));
    }
    facts
}

/// What the record of a stage says, in the run that reached it; none where the record is gone.
pub(super) fn of_stage(store: &Store, run: &RunLine, stage: &str) -> Facts {
    let record = run.keys.get(stage).and_then(|key| store.find_record(key));
    record
        .map(|record| of_record(store, &record))
        .unwrap_or_default()
}

fn of_record(store: &Store, record: &Record) -> Facts {
    let mut facts = Facts::new();
    let mut add = |about, name: String, fact| facts.insert((about, name), fact);
    for (axis, value) in &record.choice {
        add(
            About::Manifest,
            format!("choice {axis}"),
            Fact::Text(value.clone()),
        );
    }
    for (path, value) in Manifest(record.manifest.clone()).lines() {
        if !follows_upstream(path) {
            add(
                About::Manifest,
                path.to_owned(),
                Fact::Text(value.to_owned()),
            );
        }
    }
    for row in rows_of(store, record) {
        add(
            About::Number,
            format!("number {}", full_name(&row)),
            Fact::Number(row.value),
        );
    }
    add(
        About::Time,
        "time".to_owned(),
        Fact::Seconds(record.seconds),
    );
    let resumed = record
        .attempts
        .iter()
        .filter(|attempt| attempt.resumed)
        .count();
    if record.attempts.len() > 1 {
        let text = format!("{}, {resumed} from a checkpoint", record.attempts.len());
        add(About::Time, "attempts".to_owned(), Fact::Text(text));
    }
    let machine = &record.machine;
    for (name, text) in [
        ("device", &record.device),
        ("host", &machine.host),
        ("system", &machine.system),
        ("processor", &machine.processor),
        ("gpus", &machine.gpus.join(", ")),
        ("program", &record.program),
    ] {
        add(About::Place, name.to_owned(), Fact::Text(text.clone()));
    }
    for (command, output) in &record.environment {
        let text = output.trim().to_owned();
        add(
            About::Place,
            format!("environment {command}"),
            Fact::Text(text),
        );
    }
    for (notes, word) in [(&record.notes, "note"), (&record.inherited, "inherited")] {
        for (name, note) in notes {
            let text = note
                .as_str()
                .map_or_else(|| note.to_string(), str::to_owned);
            add(About::Note, format!("{word} {name}"), Fact::Text(text));
        }
    }
    if let Some(accepted) = &record.accepted {
        add(
            About::Note,
            "accepted".to_owned(),
            Fact::Text(accepted.reason.clone()),
        );
    }
    facts
}

/// Lines that say of an input what the stage that made it says itself.
fn follows_upstream(path: &str) -> bool {
    path.starts_with("input.")
        && [".record", ".device", ".notes", ".index"]
            .iter()
            .any(|end| path.ends_with(end))
}
