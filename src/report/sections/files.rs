//! Files that parts of a page read: samples, logs, rankings. Knows nothing of what is shown of them.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::ReportError;
use crate::input::{Instance, load_lines};

/// An example with what is right and what was predicted; a line of `samples.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Sample {
    /// The example's id, or the question's.
    pub example_id: String,
    /// The text.
    pub text: String,
    /// The question, where there is one.
    #[serde(default)]
    pub question: Option<String>,
    /// What is right.
    pub gold: Vec<Mark>,
    /// What was predicted, the best first.
    pub predicted: Vec<Mark>,
    /// Whether the two agree.
    pub correct: bool,
}

/// A label, an answer, or a stretch of a text.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Mark {
    /// First character.
    #[serde(default)]
    pub start: Option<usize>,
    /// One past the last character.
    #[serde(default)]
    pub end: Option<usize>,
    /// Type or class.
    #[serde(default)]
    pub label: Option<String>,
    /// An answer, or the words of the stretch.
    #[serde(default)]
    pub text: Option<String>,
    /// What is wrong with it: `missed`, `spurious`, `boundary`, `type`, `boundary_and_type`.
    #[serde(default)]
    pub error: Option<String>,
}

impl Mark {
    /// Its stretch, where it has one that is not empty.
    #[must_use]
    pub fn span(&self) -> Option<(usize, usize)> {
        Some((self.start?, self.end?)).filter(|(start, end)| start < end)
    }
}

/// What a sample is of: decided by what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Stretches of a text with types.
    Spans,
    /// A class a text.
    Classes,
    /// A question with answers.
    Answers,
}

/// The form of the samples of one file; `None` without any mark.
#[must_use]
pub fn form(samples: &[Sample]) -> Option<Form> {
    if samples.iter().any(|sample| sample.question.is_some()) {
        return Some(Form::Answers);
    }
    let marks = || {
        samples
            .iter()
            .flat_map(|sample| sample.gold.iter().chain(&sample.predicted))
    };
    if marks().any(|mark| mark.span().is_some()) {
        return Some(Form::Spans);
    }
    marks()
        .any(|mark| mark.label.is_some())
        .then_some(Form::Classes)
}

/// The samples of one instance.
///
/// # Errors
/// When the file cannot be read or a line is no sample.
pub fn load_samples(instance: &Instance) -> Result<Vec<Sample>, ReportError> {
    load_lines(&file(instance)?, "a sample of `score`")
}

/// The lines of one log.
///
/// # Errors
/// When the file cannot be read or a line is no JSON object.
pub fn load_log(instance: &Instance) -> Result<Vec<serde_json::Map<String, Value>>, ReportError> {
    load_lines(&file(instance)?, "a JSON object of a log")
}

/// What a choice was made among.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Ranking {
    /// What was compared.
    pub metric: String,
    /// The data set of the rows, where they name one.
    #[serde(default)]
    pub dataset: Option<String>,
    /// Their split.
    #[serde(default)]
    pub split: Option<String>,
    /// `max` or `min`.
    pub goal: String,
    /// Who wins among equal means; not known of rankings of before.
    #[serde(default)]
    pub ties: Option<Ties>,
    /// Each axis with its value.
    pub chosen: serde_json::Map<String, Value>,
    /// Every combination, the best first.
    pub ranking: Vec<Combination>,
}

/// Who wins among equal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The one that comes first in the matrix.
    First,
    /// The one with the smallest values; the first axis that differs decides.
    Smallest,
    /// The one with the largest values; the first axis that differs decides.
    Largest,
}

/// One combination of values.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Combination {
    /// From 1; equal means share one.
    pub rank: usize,
    /// Each axis with its value.
    pub axes: serde_json::Map<String, Value>,
    /// Over the repetitions.
    pub mean: f64,
    /// Over n − 1.
    #[serde(default)]
    pub sd: Option<f64>,
    /// How many repetitions.
    pub n: usize,
}

/// The ranking of one instance.
///
/// # Errors
/// When the file cannot be read or is no ranking.
pub fn load_ranking(instance: &Instance) -> Result<Ranking, ReportError> {
    let path = file(instance)?;
    let text = fs_err::read_to_string(&path).map_err(|source| ReportError::Io {
        path: path.clone(),
        source,
    })?;
    serde_json::from_str(&text).map_err(|source| ReportError::Line {
        line: source.line(),
        path,
        expected: "a ranking of `select`",
        source,
    })
}

/// The file of an instance: itself, or the only one in its folder.
fn file(instance: &Instance) -> Result<std::path::PathBuf, ReportError> {
    let path: &Path = &instance.path;
    if !path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let failed = |source| ReportError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut inside: Vec<std::path::PathBuf> = fs_err::read_dir(path)
        .map_err(failed)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    match (inside.pop(), inside.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(ReportError::NotOneFile {
            input: instance.name(),
        }),
    }
}
