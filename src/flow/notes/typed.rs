//! Which numbers rest on numbers that a person typed into the pipeline file, followed number by number through stages that
//! say of what theirs are made. Knows nothing of records, and computes no number.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Notes, TYPED, facts};

/// What names a number among those of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumberName {
    /// Its metric.
    pub metric: String,
    /// Its data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Its split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Its class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// The note [`TYPED`] of a stage that tells its numbers apart, as its record has it: of what each is made. What that rests
/// on is told by notes that travel, since one result may be made of inputs with the same bytes and other notes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MadeOf {
    /// The input that the rows are of.
    pub input: String,
    /// The rows of it that numbers are made of.
    pub rows: Vec<InputRow>,
    /// The stage's numbers.
    pub by_number: Vec<MadeNumber>,
}

/// A number of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputRow {
    /// The item of the input, counted from 0.
    pub item: usize,
    /// Which of its numbers.
    #[serde(flatten)]
    pub name: NumberName,
}

/// A number and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MadeNumber {
    /// Which.
    #[serde(flatten)]
    pub name: NumberName,
    /// Where the typed numbers stand that the stage itself made it of.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<String>,
    /// Places in [`MadeOf::rows`].
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub from: BTreeSet<usize>,
}

/// What a number rests on, as far as notes tell.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rests {
    /// Where typed numbers stand that it rests on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    sources: BTreeSet<String>,
    /// Where typed numbers stand that it may rest on: a stage between does not tell its numbers apart.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    may: BTreeSet<String>,
    /// Whether it rests on no result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    /// Whether it is not known to rest on any.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    open: bool,
}

impl Rests {
    /// Of a number that is made of numbers typed at `sources` and of parts.
    fn of(sources: &BTreeSet<String>, parts: &[Self]) -> Self {
        let is_made = !sources.is_empty() || !parts.is_empty();
        let all = is_made && parts.iter().all(|part| part.all);
        let mut sources = sources.clone();
        sources.extend(parts.iter().flat_map(|part| part.sources.clone()));
        let may = parts.iter().flat_map(|part| part.may.clone());
        Self {
            may: may.filter(|source| !sources.contains(source)).collect(),
            all,
            open: is_made && !all && parts.iter().all(|part| part.all || part.open),
            sources,
        }
    }

    fn is_nothing(&self) -> bool {
        self.sources.is_empty() && self.may.is_empty()
    }
}

/// A number of a stage as its note travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TypedNumber {
    #[serde(flatten)]
    name: NumberName,
    #[serde(flatten)]
    rests: Rests,
}

/// The note as it travels.
enum Told {
    /// Numbers that rest on typed ones; whether all of the stage do on no result.
    ByNumber(Vec<TypedNumber>, bool),
    /// What holds for each number.
    Each(Rests),
}

impl Told {
    fn read(note: Option<&Value>) -> Self {
        let Some(note) = note else {
            return Self::Each(Rests::default());
        };
        let numbers = note.get(super::BY_NUMBER).cloned();
        let numbers = numbers.and_then(|numbers| serde_json::from_value(numbers).ok());
        let all = note.get(ALL) == Some(&Value::Bool(true));
        if let Some(numbers) = numbers {
            return Self::ByNumber(numbers, all);
        }
        let texts: BTreeSet<String> = (facts(&sources(note)).iter())
            .map(|fact| {
                fact.as_str()
                    .map_or_else(|| fact.to_string(), str::to_owned)
            })
            .collect();
        Self::Each(match all {
            _ if texts.is_empty() => Rests::default(),
            true => Rests {
                sources: texts,
                all: true,
                ..Rests::default()
            },
            false => Rests {
                may: texts,
                open: true,
                ..Rests::default()
            },
        })
    }

    /// What one number rests on.
    fn of(&self, name: &NumberName) -> Rests {
        match self {
            Self::Each(rests) => rests.clone(),
            Self::ByNumber(numbers, _) => (numbers.iter().find(|number| number.name == *name))
                .map_or_else(Rests::default, |number| number.rests.clone()),
        }
    }

    /// Whether nothing of it rests on a result.
    fn is_all(&self) -> bool {
        match self {
            Self::Each(rests) => rests.all,
            Self::ByNumber(_, all) => *all,
        }
    }
}

/// Beside the sources of a note, that no number of the stage rests on a result.
const ALL: &str = "all";

/// What the note [`TYPED`] says of all numbers together.
pub(super) fn sources(note: &Value) -> Value {
    match note.get(super::BY_NUMBER).and_then(Value::as_array) {
        Some(numbers) => (numbers.iter())
            .flat_map(|one| [one["sources"].clone(), one["may"].clone()])
            .collect(),
        None => note.get("sources").unwrap_or(note).clone(),
    }
}

/// Gathers the note [`TYPED`] of a stage from its own and those of its inputs.
#[derive(Debug)]
pub struct ByNumber {
    own: Option<Value>,
    inputs: BTreeMap<String, Vec<Option<Value>>>,
}

impl ByNumber {
    /// Takes the stage's own note out of its notes.
    #[must_use]
    pub fn new(notes: &mut Notes) -> Self {
        Self {
            own: notes.remove(TYPED),
            inputs: BTreeMap::new(),
        }
    }

    /// What is upstream of the next item of an input; of a file of the user's nothing is.
    pub fn add(&mut self, input: &str, upstream: &Notes) {
        let items = self.inputs.entry(input.to_owned()).or_default();
        items.push(upstream.get(TYPED).cloned());
    }

    /// Puts what was gathered into the notes, which inherited what the inputs have.
    pub fn finish(self, notes: &mut Notes) {
        let made_of = self.own.clone().map(serde_json::from_value::<MadeOf>);
        if let Some(Ok(made_of)) = made_of {
            notes.remove(TYPED);
            if let Some(note) = self.follow(&made_of) {
                notes.insert(TYPED.to_owned(), note);
            }
            return;
        }
        if let Some(own) = self.own {
            super::inherit(notes, &Notes::from([(TYPED.to_owned(), own)]));
            return;
        }
        let mut items = self.inputs.values().flatten().peekable();
        let is_all = items.peek().is_some() && items.all(|note| Told::read(note.as_ref()).is_all());
        if is_all && let Some(sources) = notes.remove(TYPED) {
            let note = json!({ ALL: true, "sources": facts(&sources) });
            notes.insert(TYPED.to_owned(), note);
        }
    }

    /// What each number rests on by way of what it is made of; none where none rests on a typed one.
    fn follow(&self, made_of: &MadeOf) -> Option<Value> {
        let items = self.inputs.get(&made_of.input);
        let told: Vec<Told> = (items.into_iter().flatten())
            .map(|note| Told::read(note.as_ref()))
            .collect();
        let rests = |number: &MadeNumber| {
            let parts = (number.from.iter()).map(|at| {
                let row = made_of.rows.get(*at)?;
                Some(told.get(row.item)?.of(&row.name))
            });
            // What is of no row that there is counts as a result: it is nothing that this program writes.
            let parts: Vec<Rests> = parts.map(Option::unwrap_or_default).collect();
            TypedNumber {
                name: number.name.clone(),
                rests: Rests::of(&number.sources, &parts),
            }
        };
        let numbers: Vec<TypedNumber> = made_of.by_number.iter().map(rests).collect();
        let is_all = numbers.iter().all(|number| number.rests.all);
        let resting = numbers.iter().filter(|number| !number.rests.is_nothing());
        let resting: Vec<&TypedNumber> = resting.collect();
        if resting.is_empty() {
            return None;
        }
        let mut note = json!({ super::BY_NUMBER: resting });
        if is_all {
            note[ALL] = json!(true);
        }
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notes::{BY_NUMBER, inherit, travelling};

    fn notes(value: &Value) -> Notes {
        serde_json::from_value(value.clone()).expect("a map")
    }

    /// The notes of a stage with these of its own and these inputs, all called `scores`.
    fn gathered(own: &Value, inputs: &[&Notes]) -> Notes {
        let mut notes = notes(own);
        let mut typed = ByNumber::new(&mut notes);
        for upstream in inputs {
            inherit(&mut notes, upstream);
            typed.add("scores", upstream);
        }
        typed.finish(&mut notes);
        notes
    }

    /// Ours from a result, theirs typed, and both.
    fn means() -> Notes {
        gathered(
            &json!({ TYPED: {
                "input": "scores",
                "rows": [{ "item": 0, "metric": "f1" }],
                "by_number": [
                    { "metric": "f1", "class": "ours", "from": [0] },
                    { "metric": "f1", "class": "theirs", "sources": ["T 9"] },
                    { "metric": "both", "sources": ["T 9"], "from": [0] },
                ],
            }}),
            &[&Notes::new()],
        )
    }

    fn second(by_number: &Value, upstream: &Notes) -> Notes {
        let rows = json!([
            { "item": 0, "metric": "f1", "class": "ours" },
            { "item": 0, "metric": "f1", "class": "theirs" },
        ]);
        let own = json!({ TYPED: { "input": "scores", "rows": rows, "by_number": by_number } });
        gathered(&own, &[upstream])
    }

    #[test]
    fn each_number_is_followed_through_stages_that_say_what_theirs_are_made_of() {
        let means = means();
        assert_eq!(
            means[TYPED],
            json!({ BY_NUMBER: [
                { "metric": "f1", "class": "theirs", "sources": ["T 9"], "all": true },
                { "metric": "both", "sources": ["T 9"] },
            ]})
        );
        let each = second(
            &json!([{ "metric": "own", "from": [0] }, { "metric": "best", "from": [1] }, { "metric": "top", "from": [0, 1] }]),
            &means,
        );
        assert_eq!(
            each[TYPED],
            json!({ BY_NUMBER: [
                { "metric": "best", "sources": ["T 9"], "all": true },
                { "metric": "top", "sources": ["T 9"] },
            ]})
        );
        assert_eq!(travelling(&each)[TYPED], json!("T 9"));
        let ours = second(&json!([{ "metric": "own", "from": [0] }]), &means);
        assert_eq!(ours, Notes::new(), "nothing of it is typed");
    }

    #[test]
    fn a_stage_that_tells_nothing_apart_may_rest_on_what_it_reads_and_has_no_result_where_that_has_none()
     {
        let blurred = gathered(&json!({}), &[&means()]);
        assert_eq!(blurred[TYPED], json!("T 9"));
        let best = json!([{ "metric": "best", "from": [1] }]);
        assert_eq!(
            second(&best, &blurred)[TYPED],
            json!({ BY_NUMBER: [{ "metric": "best", "may": ["T 9"], "open": true }] })
        );
        let theirs = second(&best, &means());
        assert_eq!(theirs[TYPED][ALL], json!(true));
        let silent = gathered(&json!({}), &[&theirs]);
        assert_eq!(silent[TYPED], json!({ ALL: true, "sources": ["T 9"] }));
        assert_eq!(travelling(&silent)[TYPED], json!("T 9"));
        assert_eq!(second(&best, &silent)[TYPED], theirs[TYPED]);
        // A file beside it, or a result, may be what it is made of.
        let beside = gathered(&json!({}), &[&theirs, &Notes::new()]);
        assert_eq!(beside[TYPED], json!("T 9"));
    }

    #[test]
    fn a_note_in_another_form_is_about_every_number() {
        let earlier = json!({ TYPED: { BY_NUMBER: [{ "metric": "a", "sources": ["T 8"] }] } });
        assert_eq!(
            gathered(&earlier, &[&means()])[TYPED],
            json!(["T 8", "T 9"])
        );
    }
}
