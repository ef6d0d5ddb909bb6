//! Chooses values of axes by a metric averaged over repetitions. Knows nothing of who refers to the choice.

use std::collections::BTreeSet;

use flow::diagnostic::Diagnostic;
use flow::kind::{
    Choosing, ConfigProblem, Port, Ports, StageContext, StageError, StageKind, StageReport,
};
use flow::metric::MetricRow;
use flow::spec::METRICS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::divide::is_test_split;

mod rank;
mod scores;
mod sheet;

use rank::Ranking;
use scores::Scores;

/// The only input.
const PORT: &str = "scores";

/// `with:` of a stage of kind `select`.
///
/// `needs` names `scores`, every instance of a stage with numbers: `{ all: score }`. With axes of its own the stage
/// chooses once for each of their values, among the instances that agree with it. Outputs: `choice` (JSON, each axis
/// with its value), `ranking` (JSON, every combination) and `table` (the ranking as a Markdown table).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// The axes whose values are chosen, such as `[learning_rate, epochs]`; `${STAGE.learning_rate}` is the choice.
    pub over: Vec<String>,
    /// The axes averaged over; unless given the `replicate` of the stage that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_over: Option<Vec<String>>,
    /// The name of the number that decides.
    pub metric: String,
    /// Which of the numbers of that name.
    #[serde(default, rename = "where", skip_serializing_if = "is_default")]
    pub filter: Filter,
    /// Which mean wins; `max` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    /// Who wins among equal means.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ties: Ties,
    /// What becomes of combinations without a number for each repetition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing: Missing,
}

/// Which rows decide. One row of each instance must be left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Rows of this data set only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// Rows of this split only; never one of test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Rows of this class only; unless given those over all classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// Which mean wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The largest.
    Max,
    /// The smallest, such as of a loss.
    Min,
}

/// Who wins among equal means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ties {
    /// The one that comes first in the matrix.
    #[default]
    First,
    /// The one with the smallest values; the first axis of `over` that differs decides.
    Smallest,
    /// The one with the largest values; the first axis of `over` that differs decides.
    Largest,
}

/// What becomes of combinations without a number for each repetition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The stage fails and names them.
    #[default]
    Refuse,
    /// The mean is over those that are there; a combination without any is left out.
    Allow,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl StageKind for Select {
    const NAME: &'static str = "select";
    /// 1: first. 2: `ranking` has `ties`.
    const VERSION: u32 = 2;
    const DOC: &'static str = "choose values of axes by a metric averaged over repetitions";
    const CHOOSES: bool = true;

    fn ports(&self) -> Ports {
        let output = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        Ports {
            inputs: vec![Port {
                name: PORT,
                optional: false,
                output: Some(METRICS),
                only: None,
            }],
            outputs: vec![
                output("choice", "choice.json"),
                output("ranking", "ranking.json"),
                output("table", "ranking.md"),
            ],
            ..Ports::default()
        }
    }

    fn choosing(&self) -> Option<Choosing> {
        Some(Choosing {
            port: PORT,
            axes_key: "over",
            axes: self.over.clone(),
            averaged_key: "mean_over",
            averaged: self.mean_over.clone(),
        })
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut add = |path: &[&str], message: String, help: &str| {
            problems.push(ConfigProblem {
                path: path.iter().map(|&step| step.to_owned()).collect(),
                message,
                help: Some(help.to_owned()),
            });
        };
        if self.over.is_empty() {
            add(
                &["over"],
                "nothing is chosen".to_owned(),
                "name an axis of the stage that `scores` reads, such as `over: [learning_rate]`",
            );
        }
        let mut seen = BTreeSet::new();
        let named = self
            .over
            .iter()
            .enumerate()
            .map(|(at, axis)| ("over", at, axis));
        let averaged = self.mean_over.iter().flatten().enumerate();
        for (key, at, axis) in named.chain(averaged.map(|(at, axis)| ("mean_over", at, axis))) {
            if !seen.insert(axis) {
                let help = "an axis is either chosen or averaged over; keep it once";
                add(
                    &[key, &at.to_string()],
                    format!("the axis `{axis}` stands twice"),
                    help,
                );
            }
        }
        if self.metric.trim().is_empty() {
            add(
                &["metric"],
                "it is empty".to_owned(),
                "name the number that decides, such as `f1`",
            );
        }
        if self.goal.is_none() && sounds_like_a_loss(&self.metric) {
            add(
                &["metric"],
                format!(
                    "of `{}` the smallest is mostly best, and the largest would be chosen",
                    self.metric
                ),
                "say which you mean: `goal: min` or `goal: max`",
            );
        }
        if let Some(split) = self
            .filter
            .split
            .as_ref()
            .filter(|split| is_test_split(split))
        {
            add(
                &["where", "split"],
                format!("`{split}` is a split of test, which must not choose"),
                "choose on the development split: `split: dev`",
            );
        }
        problems
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let input = stage.inputs.get(PORT).ok_or_else(|| {
            StageError::new("kind::port", format!("the stage has no input `{PORT}`")).bug()
        })?;
        let scores = Scores::read(self, stage, input)?;
        let ranking = Ranking::of(self, &scores)?;
        let write = |name: &str, text: String| fs_err::write(stage.output(name), text);
        write("choice.json", sheet::choice(&ranking))?;
        write("ranking.json", sheet::json(self, &scores, &ranking))?;
        write("ranking.md", sheet::markdown(self, &scores, &ranking))?;
        let best = ranking.best();
        (stage.say)(&format!("chose {}", best.name()));
        Ok(StageReport {
            numbers: self.numbers(&scores, &ranking),
            choice: best
                .values
                .iter()
                .map(|axis| (axis.name.clone(), axis.text.clone()))
                .collect(),
            warnings: warnings(&scores, &ranking),
            ..StageReport::default()
        })
    }
}

impl Select {
    /// Whether a larger mean is better.
    fn is_max(&self) -> bool {
        self.goal != Some(Goal::Min)
    }

    /// The ranking as rows: of each combination, named in `class`, mean, deviation and rank; and what was chosen.
    fn numbers(&self, scores: &Scores, ranking: &Ranking) -> Vec<MetricRow> {
        let row = |metric: String, class: Option<String>, value: f64, n: Option<usize>| MetricRow {
            dataset: scores.dataset.clone(),
            split: scores.split.clone(),
            class,
            n: n.map(|n| n as u64),
            ..MetricRow::new(metric, value)
        };
        let mut rows = Vec::new();
        for cell in &ranking.cells {
            let n = Some(cell.summary.n);
            let class = || Some(cell.name());
            rows.push(row(
                format!("{}_mean", self.metric),
                class(),
                cell.summary.mean,
                n,
            ));
            if let Some(deviation) = cell.summary.deviation {
                rows.push(row(format!("{}_sd", self.metric), class(), deviation, n));
            }
            rows.push(row("rank".to_owned(), class(), cell.rank as f64, n));
        }
        for axis in &ranking.best().values {
            if let Ok(value) = axis.json.parse::<f64>() {
                rows.push(row(format!("chosen_{}", axis.name), None, value, None));
            }
        }
        rows
    }
}

/// Whether a metric's name has a word of those that are made small.
fn sounds_like_a_loss(metric: &str) -> bool {
    let metric = metric.to_lowercase();
    let mut words = metric.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        matches!(
            word,
            "loss" | "error" | "perplexity" | "nll" | "mse" | "mae" | "rmse" | "wer"
        )
    })
}

fn warnings(scores: &Scores, ranking: &Ranking) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    if scores.split.is_none() {
        let warning = Diagnostic::warning(
            "select::no_split",
            "the numbers that chose name no split: whether they are of test cannot be seen",
        );
        warnings.push(
            warning.help("have the stage that writes them say it, such as `\"split\": \"dev\"`"),
        );
    }
    if !ranking.gaps.is_empty() {
        let mut warning = Diagnostic::warning(
            "select::missing",
            "some combinations were judged by fewer repetitions than others",
        );
        warning.details = rank::shown(&ranking.gaps);
        warnings.push(warning.help("`missing: allow` takes them as they are"));
    }
    warnings
}

#[cfg(test)]
mod tests;
