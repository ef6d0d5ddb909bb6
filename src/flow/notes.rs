//! Facts that travel with a result to everything made from it: licences, stand-ins, what may not be passed on.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::spec::METRICS;

mod typed;

pub use typed::{ByNumber, InputRow, MadeNumber, MadeOf, NumberName};

/// Facts by name, as kinds state them in their reports.
pub type Notes = BTreeMap<String, Value>;

/// In a note, a map from outputs to what holds for each: whoever reads one output sees its part of the note only.
pub const BY_OUTPUT: &str = "by_output";

/// In the note `stand_in`, a map from inputs to what stands in for each; see [`NUMBERS_BY_INPUT`].
pub const BY_INPUT: &str = "by_input";

/// The note of what rests on numbers that a person typed into the pipeline file. As it travels it is where those stand, a
/// text each, of which any number of the stage may be made; with `all: true` and `sources` where no number has a result
/// behind it; and with [`BY_NUMBER`] where the stage tells its numbers apart, whose record says what they are made of
/// ([`MadeOf`]).
pub const TYPED: &str = "typed";

/// In the note [`TYPED`], a list of numbers, each with what it rests on beside what names it.
pub const BY_NUMBER: &str = "by_number";

/// The note of a stage whose numbers of a split rest on the input of the split's name only, as those of a data set do.
pub const NUMBERS_BY_INPUT: &str = "numbers_by_input";

/// The note in which kinds whose key knows of records find what of an input is not as the pipeline file is written.
pub const DEPARTURES: &str = "departures";

/// The note in which such kinds find the variables behind an input whose values the pipeline file does not state.
pub const VARIABLES: &str = "variables";

/// The note in which a stage says what settings came to that hang on its inputs, by the names of [`StageKind::in_effect`].
///
/// [`StageKind::in_effect`]: crate::kind::StageKind::in_effect
pub const SETTINGS: &str = "settings";

/// Adds to `into` what `from`, the notes of something it was made from, hands on:
/// `redistribute` (false wins), `stand_in`, `licence`, `accepted` and `typed` (each fact once, sorted, whatever part or
/// number it is about).
pub fn inherit(into: &mut Notes, from: &Notes) {
    if from.get("redistribute") == Some(&Value::Bool(false)) {
        into.insert("redistribute".to_owned(), Value::Bool(false));
    }
    for name in ["stand_in", "licence", "accepted"] {
        if let Some(new) = from.get(name) {
            add_facts(into, name, new);
        }
    }
    if let Some(new) = from.get(TYPED).map(typed::sources) {
        add_facts(into, TYPED, &new);
    }
}

fn add_facts(into: &mut Notes, name: &str, new: &Value) {
    let mut known = into.get(name).map(facts).unwrap_or_default();
    for fact in facts(new) {
        if !known.contains(&fact) {
            known.push(fact);
        }
    }
    known.sort_by_key(ToString::to_string);
    let one = if known.len() == 1 { known.pop() } else { None };
    if one.is_some() || !known.is_empty() {
        into.insert(name.to_owned(), one.unwrap_or(Value::Array(known)));
    }
}

/// The single facts of a note; `false` and `null` are none.
fn facts(note: &Value) -> Vec<Value> {
    match note {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Array(many) => many.iter().flat_map(facts).collect(),
        Value::Object(parts) => parts.values().flat_map(facts).collect(),
        one => vec![one.clone()],
    }
}

/// The notes as they are about one output. A note that tells outputs apart says nothing of one that it does not name;
/// the numbers of a stage, its output `metrics`, rest on everything.
#[must_use]
pub fn of_output(notes: &Notes, output: &str) -> Notes {
    let of_note = |note: &Value| match note.get(BY_OUTPUT) {
        Some(parts) if output != METRICS => parts.get(output).cloned(),
        _ => Some(note.clone()),
    };
    let notes = notes.iter();
    notes
        .filter_map(|(name, note)| Some((name.clone(), of_note(note)?)))
        .collect()
}

/// Gathers `stand_in` by input, for stages that ask for it with [`NUMBERS_BY_INPUT`].
#[derive(Debug)]
pub struct ByInput {
    parts: Option<Notes>,
}

impl ByInput {
    /// Empty; gathers nothing unless `own`, the stage's own notes, ask for it.
    #[must_use]
    pub fn new(own: &Notes) -> Self {
        let wanted = own.get(NUMBERS_BY_INPUT) == Some(&Value::Bool(true));
        Self {
            parts: wanted.then(Notes::new),
        }
    }

    /// What is upstream of an input.
    pub fn add(&mut self, input: &str, upstream: &Notes) {
        if let (Some(parts), Some(new)) = (&mut self.parts, upstream.get("stand_in")) {
            add_facts(parts, input, new);
        }
    }

    /// Puts what was gathered in place of the note that does not tell inputs apart.
    pub fn finish(self, notes: &mut Notes) {
        if let Some(parts) = self.parts.filter(|parts| !parts.is_empty()) {
            notes.insert("stand_in".to_owned(), json!({ BY_INPUT: parts }));
        }
    }
}

/// Only what [`inherit`] hands on.
#[must_use]
pub fn travelling(notes: &Notes) -> Notes {
    let mut travelling = Notes::new();
    inherit(&mut travelling, notes);
    travelling
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(value: &Value) -> Notes {
        serde_json::from_value(value.clone()).expect("a map")
    }

    #[test]
    fn a_stand_in_marks_the_output_and_the_input_it_is_about() {
        let fetched =
            notes(&json!({ "stand_in": { BY_OUTPUT: { "train": "near" } }, "licence": "MIT" }));
        assert_eq!(
            of_output(&fetched, "test"),
            notes(&json!({ "licence": "MIT" }))
        );
        assert_eq!(of_output(&fetched, "train")["stand_in"], json!("near"));
        assert_eq!(of_output(&fetched, METRICS), fetched);

        let mut own = notes(&json!({ NUMBERS_BY_INPUT: true }));
        let mut by_input = ByInput::new(&own);
        for split in ["train", "test"] {
            let upstream = of_output(&fetched, split);
            inherit(&mut own, &upstream);
            by_input.add(split, &upstream);
        }
        by_input.finish(&mut own);
        assert_eq!(own["stand_in"], json!({ BY_INPUT: { "train": "near" } }));
        // What is made of all of it rests on the stand-in, whatever it calls its own parts.
        assert_eq!(
            travelling(&own),
            notes(&json!({ "stand_in": "near", "licence": "MIT" }))
        );
    }

    #[test]
    fn the_stricter_fact_wins_and_licences_add_up() {
        let mut into = notes(&json!({ "licence": "MIT", "redistribute": true, "origin": "here" }));
        inherit(
            &mut into,
            &notes(
                &json!({ "licence": ["CC BY-NC", "MIT"], "redistribute": false, "origin": "there" }),
            ),
        );
        inherit(&mut into, &notes(&json!({ "stand_in": true })));
        inherit(
            &mut into,
            &notes(&json!({ "stand_in": false, "redistribute": true })),
        );
        let expected = json!({ "licence": ["CC BY-NC", "MIT"], "redistribute": false, "origin": "here", "stand_in": true });
        assert_eq!(into, notes(&expected));
        assert_eq!(
            travelling(&notes(&json!({ "origin": "x", "licence": "MIT" }))),
            notes(&json!({ "licence": "MIT" }))
        );
    }
}
