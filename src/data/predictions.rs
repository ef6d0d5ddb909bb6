//! What a model or a person's program predicts, as JSON lines, read back with checks. Knows nothing of scores.
//!
//! One object a line; only `example_id` is always there:
//!
//! ```json
//! {"example_id":"test-1","start":2,"end":4,"label":"Disease","score":0.98}
//! {"example_id":"test-2","start":0,"end":9,"label":"O"}
//! {"example_id":"d0.s1.p0","label":"effect","score":0.71}
//! {"example_id":"q1_000","text":"dHAND","score":0.62,"start":311,"end":316}
//! {"example_id":"pair-3","score":3.4}
//! ```
//!
//! | task | a line is |
//! | --- | --- |
//! | tagging | a chunk of a type, or a tag (`O`, `B-Disease`) for each token of `start..end`, counted in tokens |
//! | spans | a span of a type, counted in characters |
//! | classification | a label; several lines are several labels where the data set is multi-label |
//! | regression | a number in `score` |
//! | question answering | a candidate answer in `text`; the highest `score` is the answer |
//!
//! An example without any line is missing, which is not the same as one in which nothing was found: that one has a line
//! `O` over its tokens, or a line with its `example_id` alone.

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{DataError, Problem};
use crate::lines::Lines;

/// One line of a file of predictions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// The example it is for.
    pub example_id: String,
    /// First token or character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// One past the last token or character.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
    /// Type, tag or class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure the model is, or the number predicted; finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Prediction {
    /// Its stretch, if it has one.
    #[must_use]
    pub fn span(&self) -> Option<(usize, usize)> {
        Some((self.start?, self.end?))
    }
}

/// Predictions by example, each example's in the order of the file.
pub type Predictions = BTreeMap<String, Vec<Prediction>>;

/// The JSON Schema of one line.
#[must_use]
pub fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Prediction)).expect("schemas serialise")
}

/// Reads a file of predictions; all of them are in memory at once.
///
/// # Errors
/// The first fault with file, line and column.
pub fn read(path: &Path, shown: &str) -> Result<Predictions, DataError> {
    let mut file = BufReader::new(fs_err::File::open(path)?);
    let mut lines = Lines::new(&mut file, shown)?;
    let mut predictions = Predictions::new();
    while lines.advance()? {
        let prediction: Prediction = serde_json::from_str(lines.text()).map_err(|error| {
            let text = error.to_string();
            let mut place = lines.place(lines.number());
            place.column = error.column() as u64;
            let end = text.rfind(" at line ").unwrap_or(text.len());
            Problem::new(
                &text[..end],
                r#"write one object a line, such as `{"example_id":"7","label":"effect","score":0.9}`"#,
            )
            .at(place)
        })?;
        check(&prediction).map_err(|problem| problem.at(lines.place(lines.number())))?;
        match predictions.get_mut(&prediction.example_id) {
            Some(of_example) => of_example.push(prediction),
            None => {
                predictions.insert(prediction.example_id.clone(), vec![prediction]);
            }
        }
    }
    Ok(predictions)
}

fn check(prediction: &Prediction) -> Result<(), Problem> {
    match (prediction.start, prediction.end) {
        (None, None) => {}
        (Some(start), Some(end)) if start < end => {}
        (Some(start), Some(end)) => {
            return Err(Problem::new(
                format!("the stretch {start}..{end} is empty"),
                "`end` is one past the last",
            ));
        }
        _ => {
            return Err(Problem::new(
                "`start` and `end` come together",
                "give both or neither",
            ));
        }
    }
    if prediction.label.as_deref() == Some("") {
        return Err(Problem::new("`label` is empty", "leave it out"));
    }
    Ok(())
}

/// Writes predictions, one a line.
#[derive(Debug)]
pub struct Writer {
    file: BufWriter<fs_err::File>,
}

impl Writer {
    /// A new file; an old one of that name is replaced.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, DataError> {
        Ok(Self {
            file: BufWriter::new(fs_err::File::create(path)?),
        })
    }

    /// Adds one prediction.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn write(&mut self, prediction: &Prediction) -> Result<(), DataError> {
        serde_json::to_writer(&mut self.file, prediction).map_err(std::io::Error::from)?;
        self.file.write_all(b"\n")?;
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn finish(mut self) -> Result<(), DataError> {
        self.file.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Predictions, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("predictions.jsonl");
        fs_err::write(&path, text).expect("written");
        read(&path, "predictions.jsonl").map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_grouped_by_example_in_their_order() {
        let text = "{\"example_id\":\"b\",\"text\":\"x\",\"score\":0.5}\n{\"example_id\":\"a\"}\n{\"example_id\":\"b\",\"text\":\"y\"}\n";
        let predictions = read_text(text).expect("good");
        let texts: Vec<_> = predictions["b"]
            .iter()
            .map(|one| one.text.as_deref())
            .collect();
        assert_eq!(texts, [Some("x"), Some("y")]);
        assert_eq!(
            predictions["a"],
            [Prediction {
                example_id: "a".to_owned(),
                ..Prediction::default()
            }]
        );
    }

    #[test]
    fn faults_have_a_place() {
        for (text, expected) in [
            (
                r#"{"example_id":"a","lable":"x"}"#,
                "predictions.jsonl:1:25: unknown field `lable`, expected one of `example_id`, `start`, `end`, `label`, `score`, `text`",
            ),
            (
                r#"{"example_id":"a","start":3,"end":3}"#,
                "predictions.jsonl:1: the stretch 3..3 is empty",
            ),
            (
                r#"{"example_id":"a","start":3}"#,
                "predictions.jsonl:1: `start` and `end` come together",
            ),
            (
                r#"{"example_id":"a","score":1e999}"#,
                "predictions.jsonl:1:31: number out of range",
            ),
            (
                "{\"example_id\":\"a\"}\n{\"label\":\"x\"}",
                "predictions.jsonl:2:13: missing field `example_id`",
            ),
        ] {
            assert_eq!(read_text(text).expect_err("a fault"), expected);
        }
    }
}
