//! Metric rows and the instances they come from. Knows nothing of tables.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::ReportError;
use crate::sections::settings::StageSettings;

/// The list of instances in a fan-in folder.
pub const INDEX_FILE: &str = "index.jsonl";

/// In the note `stand_in`, a map from inputs to what stands in for each. Numbers of a split rest on the input of its name:
/// those of the others are genuine.
const BY_INPUT: &str = "by_input";

/// In the note `typed`, a list of numbers that rest on typed ones; the others do not.
const BY_NUMBER: &str = "by_number";

/// What names a number among those of an instance.
pub const NUMBER_FIELDS: [&str; 4] = ["metric", "dataset", "split", "class"];

/// One metric row.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What was measured.
    #[serde(default)]
    pub dataset: Option<String>,
    /// `train`, `dev`, `test` or another name.
    #[serde(default)]
    pub split: Option<String>,
    /// The number's name.
    pub metric: String,
    /// The class it is for; `None` over all.
    #[serde(default)]
    pub class: Option<String>,
    /// The number.
    pub value: f64,
    /// How many items it is over.
    #[serde(default)]
    pub n: Option<u64>,
}

/// One producer of rows: a concrete stage, or a file of the user's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Instance {
    /// The report's port it came in by.
    #[serde(skip)]
    pub input: String,
    /// Its rows: a file of JSON lines.
    pub path: PathBuf,
    /// Axes and their values as text, in order.
    #[serde(default, deserialize_with = "axes")]
    pub axes: Vec<(String, String)>,
    /// The axis of repetition, if it has one.
    #[serde(default)]
    pub replicate: Option<String>,
    /// Key of the record, 64 hex digits; `None` for files.
    #[serde(default)]
    pub key: Option<String>,
    /// The device the record says it was made on.
    #[serde(default)]
    pub device: Option<String>,
    /// Facts that travelled with it: `origin`, `stand_in`, `licence` …
    #[serde(default)]
    pub notes: BTreeMap<String, Value>,
    /// What it, or a stage it rests on, has otherwise than the pipeline file as written.
    #[serde(skip)]
    pub departures: Vec<Departure>,
    /// What its stage was set to, where a part of the page asks for it and it comes from a record.
    #[serde(skip)]
    pub settings: Option<StageSettings>,
}

/// A setting that a profile or the command line changed: `pretrain: steps = 500 (the file says 1000000)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departure {
    /// The stage.
    pub stage: String,
    /// The setting, or what of the stage is meant.
    pub what: String,
    /// Its value in this run.
    pub here: String,
    /// Its value in the file as written.
    pub written: String,
    /// Of which input of the report itself this is told; of all, or of a stage before it, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

impl Departure {
    /// `steps = 500 (the file says 1000000)`.
    #[must_use]
    pub fn setting(&self) -> String {
        format!(
            "{} = {} (the file says {})",
            self.what, self.here, self.written
        )
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.stage, self.setting())
    }
}

/// A variable behind a number whose value is not that of the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Variable {
    /// The stage that had it.
    pub stage: String,
    /// Its name.
    pub name: String,
    /// Whether its value is in no record.
    #[serde(default)]
    pub secret: bool,
}

/// `train: HF_HOME, API_KEY (secret); score: LANG`; none without variables. They are sorted by stage.
#[must_use]
pub fn variables_line(variables: &[Variable]) -> Option<String> {
    let stages = variables.chunk_by(|one, next| one.stage == next.stage);
    let lines: Vec<String> = stages
        .map(|of_stage| {
            let names = of_stage.iter().map(|one| match one.secret {
                true => format!("{} (secret)", one.name),
                false => one.name.clone(),
            });
            let names: Vec<String> = names.collect();
            format!("{}: {}", of_stage[0].stage, names.join(", "))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// What numbers that a person typed a number rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// Where those stand, each once; none where it is not known to rest on such a number.
    pub sources: Vec<String>,
    /// Where those stand that it may rest on: a stage between does not tell its numbers apart.
    pub may: Vec<String>,
    /// Whether it rests on nothing else.
    pub is_all: bool,
    /// Whether it may rest on nothing else.
    pub is_open: bool,
}

impl Instance {
    /// What the note `typed` says of one number, by its fields in the order of [`NUMBER_FIELDS`]. Where the note tells no
    /// numbers apart, or is in no form to be read, it is about all of them.
    #[must_use]
    pub fn typed(&self, fields: [Option<&str>; 4]) -> Typed {
        let note = self.notes.get("typed").unwrap_or(&Value::Null);
        let Some(numbers) = note.get(BY_NUMBER).and_then(Value::as_array) else {
            let all = self.typed_sources();
            let is_all = note["all"] == true;
            let (sources, may) = if is_all {
                (all, Vec::new())
            } else {
                (Vec::new(), all)
            };
            return Typed {
                is_all,
                is_open: !may.is_empty(),
                sources,
                may,
            };
        };
        let is_meant = |number: &&Value| {
            (NUMBER_FIELDS.iter().zip(fields)).all(|(name, has)| match number[name].as_str() {
                Some(stated) => has == Some(stated),
                // What a number leaves open an axis may say.
                None => {
                    has.is_none()
                        || self
                            .axes
                            .iter()
                            .any(|(axis, v)| axis == name && has == Some(v))
                }
            })
        };
        let Some(found) = numbers.iter().find(is_meant) else {
            return Typed::default();
        };
        Typed {
            sources: note_lines(&found["sources"]),
            may: note_lines(&found["may"]),
            is_all: found["all"] == true,
            is_open: found["open"] == true,
        }
    }

    /// Where the typed numbers stand that any number of it rests on, or may rest on, each once.
    #[must_use]
    pub fn typed_sources(&self) -> Vec<String> {
        let note = self.notes.get("typed").unwrap_or(&Value::Null);
        match note.get(BY_NUMBER).and_then(Value::as_array) {
            Some(numbers) => {
                let parts = |one: &Value| [one["sources"].clone(), one["may"].clone()];
                note_lines(&numbers.iter().flat_map(parts).collect())
            }
            None => note_lines(note.get("sources").unwrap_or(note)),
        }
    }

    /// Variables of it, or of what it was made from, whose values the pipeline file does not state.
    ///
    /// Whoever wrote the note, what is in no form to be read is told as it stands.
    #[must_use]
    pub fn variables(&self) -> Vec<Variable> {
        let Some(note) = self.notes.get("variables").filter(|note| !note.is_null()) else {
            return Vec::new();
        };
        serde_json::from_value(note.clone()).unwrap_or_else(|_| {
            vec![Variable {
                stage: "something upstream".to_owned(),
                name: text_of(note),
                secret: false,
            }]
        })
    }

    /// `input[axis=value,…]`, as people know it.
    #[must_use]
    pub fn name(&self) -> String {
        if self.axes.is_empty() {
            return self.input.clone();
        }
        let axes: Vec<String> = self
            .axes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        format!("{}[{}]", self.input, axes.join(","))
    }

    /// The value on the axis of repetition.
    #[must_use]
    pub fn replicate_value(&self) -> Option<&str> {
        let axis = self.replicate.as_deref()?;
        self.axes
            .iter()
            .find(|(name, _)| name == axis)
            .map(|(_, value)| value.as_str())
    }

    /// What stands in for the data behind a number of this split (all splits: `None`) and class. The class counts because
    /// it may name the split that another is compared with.
    #[must_use]
    pub fn stand_ins(&self, split: Option<&str>, class: Option<&str>) -> Vec<String> {
        let note = self.notes.get("stand_in");
        let parts = note
            .and_then(|note| note.get(BY_INPUT))
            .and_then(Value::as_object);
        let Some(parts) = parts else {
            return self.note("stand_in");
        };
        let is_meant = |part: &str| split.is_none() || split == Some(part) || class == Some(part);
        let lines = parts.iter().filter(|(part, _)| is_meant(part));
        lines.flat_map(|(_, note)| note_lines(note)).collect()
    }

    /// What a note says, as lines of text; empty without the note.
    #[must_use]
    pub fn note(&self, name: &str) -> Vec<String> {
        self.notes.get(name).map_or_else(Vec::new, note_lines)
    }
}

/// A note's value as lines: lists are several, maps are `key: value` pairs in one, `false` and `null` are none.
fn note_lines(value: &Value) -> Vec<String> {
    match value {
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Array(items) => {
            let mut lines: Vec<String> = Vec::new();
            for line in items.iter().flat_map(note_lines) {
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
            lines
        }
        Value::Object(entries) => vec![
            entries
                .iter()
                .map(|(key, value)| format!("{key}: {}", text_of(value)))
                .collect::<Vec<_>>()
                .join(", "),
        ],
        Value::Bool(true) => vec!["yes".to_owned()],
        other => vec![text_of(other)],
    }
}

/// A JSON value as people read it: strings bare, everything else as JSON.
#[must_use]
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn axes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, String)>, D::Error> {
    let map = serde_json::Map::<String, Value>::deserialize(deserializer)?;
    Ok(map
        .into_iter()
        .map(|(name, value)| (name, text_of(&value)))
        .collect())
}

/// What the note `departures` says. Whoever wrote the note, what is in no form to be read still marks the number.
#[must_use]
pub fn departures(notes: &BTreeMap<String, Value>) -> Vec<Departure> {
    let Some(note) = notes.get("departures").filter(|note| !note.is_null()) else {
        return Vec::new();
    };
    serde_json::from_value(note.clone()).unwrap_or_else(|_| {
        vec![Departure {
            stage: "something upstream".to_owned(),
            what: "settings".to_owned(),
            here: text_of(note),
            written: "others".to_owned(),
            port: None,
        }]
    })
}

/// The instances a fan-in folder lists, with paths made absolute to it.
///
/// # Errors
/// When the index cannot be read or a line is not an entry.
pub fn load_index(input: &str, folder: &Path) -> Result<Vec<Instance>, ReportError> {
    let path = folder.join(INDEX_FILE);
    let mut instances: Vec<Instance> = load_lines(&path, "an entry of a fan-in index")?;
    for instance in &mut instances {
        input.clone_into(&mut instance.input);
        instance.path = folder.join(&instance.path);
        instance.departures = departures(&instance.notes);
    }
    Ok(instances)
}

/// The rows of one file of JSON lines; blank lines are passed over.
///
/// # Errors
/// When the file cannot be read or a line is not a row (a value that is not finite is none).
pub fn load_rows(path: &Path) -> Result<Vec<Row>, ReportError> {
    load_lines(path, "a metric row")
}

/// The values of a file of JSON lines; blank lines are passed over.
pub(crate) fn load_lines<T: for<'de> Deserialize<'de>>(
    path: &Path,
    expected: &'static str,
) -> Result<Vec<T>, ReportError> {
    let text = fs::read_to_string(path).map_err(|source| ReportError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|source| ReportError::Line {
                path: path.to_path_buf(),
                line: at + 1,
                expected,
                source,
            })
        })
        .collect()
}
