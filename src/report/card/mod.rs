//! The card of a model that is handed out: YAML for the Hugging Face hub, Markdown for people. Knows no stores.

mod front;
mod licence;
mod template;
mod view;

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::ReportError;
use crate::stats::Summary;
use view::View;

const TEMPLATE: &str = include_str!("../templates/model-card.md");
const LICENCES: &str = include_str!("../templates/model-licence.md");

/// Numbers that count things; they are shown, but are no scores for the hub to compare.
const COUNTS: [&str; 4] = [
    "confusion",
    "missing_predictions",
    "span_errors",
    "unanswered_questions",
];

/// Everything a card says.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Card {
    /// The model's name: that of its folder.
    pub name: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// What the pipeline is, in its own words.
    pub doc: Option<String>,
    /// The stage, as people know it, such as `finetune[task=ddi,seed=1]`.
    pub stage: String,
    /// What the stage is, in the pipeline's words.
    pub stage_doc: Option<String>,
    /// Its kind.
    pub kind: String,
    /// The output that the model is.
    pub output: String,
    /// What the folder holds.
    pub model: Model,
    /// How it came about.
    pub made: Made,
    /// The stage that it began from; `None` where it began at random or from files.
    pub start: Option<String>,
    /// The repository of the hub that it began from.
    pub base_model: Option<String>,
    /// What it was made from, at the beginning of the chain.
    pub sources: Vec<Source>,
    /// Names of the data sets that it learned from; of the hub where they come from there.
    pub datasets: Vec<String>,
    /// The members over the axis of repetition, in its order; one where there is none.
    pub members: Vec<Member>,
    /// Numbers of every member.
    pub scores: Vec<Score>,
    /// Whether numbers of `dev` chose what was kept.
    pub is_chosen_on_dev: bool,
    /// Whether something forbids to hand it on.
    pub is_restricted: bool,
    /// Languages, as the hub names them.
    pub languages: Vec<String>,
    /// What to cite, as written.
    pub citation: Option<String>,
}

/// What a model's folder holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Model {
    /// The class of `transformers`.
    pub class: String,
    /// The task of the pipeline, such as `tagging`; `None` of a model that was not fine-tuned.
    pub task: Option<String>,
    /// Whether the head is one that `transformers` has no class for.
    pub is_native: bool,
    /// Names of its classes by id.
    pub labels: Vec<String>,
    /// Numbers in all tensors.
    pub parameters: usize,
    /// Layers of the encoder.
    pub layers: usize,
    /// Its width.
    pub width: usize,
    /// Heads of attention.
    pub heads: usize,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Most pieces of a row.
    pub max_length: usize,
    /// Whether text is lower-cased.
    pub lower_case: bool,
    /// Tensors that the class has no place for: name and shape.
    pub extra: Vec<(String, Vec<usize>)>,
    /// Tensors of the class that are not there.
    pub missing: Vec<String>,
}

/// How a model came about.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Made {
    /// The key of its record, 64 hex digits.
    pub key: String,
    /// The digest of the output.
    pub digest: String,
    /// SHA-256 of the file of weights, as the hub shows it.
    pub weights: String,
    /// The program and its version.
    pub program: String,
    /// The device.
    pub device: String,
    /// The day, RFC 3339.
    pub finished: String,
    /// The text that decided it.
    pub manifest: String,
    /// Why a person let it stand for another key.
    pub accepted: Option<String>,
}

/// Something that the model was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The stage that brought it, or the file.
    pub name: String,
    /// The stages that read it.
    pub read_by: Vec<String>,
    /// Licences as they were stated; empty where none was.
    pub licences: Vec<String>,
    /// Where it came from.
    pub origins: Vec<String>,
    /// What stands in for the real data.
    pub stand_ins: Vec<String>,
    /// Whether it must not be passed on.
    pub is_restricted: bool,
}

/// One of several models that differ in their seed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its value on the axis, such as `seed=3`.
    pub name: String,
    /// The key of its record; `None` where it was not made.
    pub key: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// Whether it is the one in the folder.
    pub is_this: bool,
}

/// A number of every member.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Score {
    /// The stage that measured it.
    pub stage: String,
    /// Its other axes, such as `margin=2`.
    pub axes: String,
    /// What was measured.
    pub dataset: Option<String>,
    /// `train`, `dev`, `test` or another name.
    pub split: Option<String>,
    /// The number's name.
    pub metric: String,
    /// By member; `None` where a member has none.
    pub values: Vec<Option<f64>>,
    /// How many items it is over, where all members agree.
    pub items: Option<u64>,
}

impl Score {
    /// Mean and spread over the members that have the number.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        let values: Vec<f64> = self.values.iter().flatten().copied().collect();
        Summary::of(&values)
    }

    /// Whether it says how good the model is, beyond how well it fits what it learned from.
    fn is_for_comparison(&self) -> bool {
        self.split.as_deref() != Some("train") && !COUNTS.contains(&self.metric.as_str())
    }
}

/// What the hub calls a task: its tag, and its name for people.
fn hub_task(model: &Model) -> (&'static str, &'static str) {
    match (model.task.as_deref(), model.class.as_str()) {
        (Some("tagging"), _) | (None, "ElectraForTokenClassification") => {
            ("token-classification", "Token classification")
        }
        (Some("question_answering"), _) | (None, "ElectraForQuestionAnswering") => {
            ("question-answering", "Question answering")
        }
        (Some(_), _) | (None, "ElectraForSequenceClassification") => {
            ("text-classification", "Text classification")
        }
        (None, "ElectraForMaskedLM") => ("fill-mask", "Masked language modelling"),
        (None, "ElectraForPreTraining") => ("other", "Replaced token detection"),
        _ => ("feature-extraction", "Feature extraction"),
    }
}

/// The tag by which the hub knows what to do with the model; `None` for what it has no use for.
fn pipeline_tag(model: &Model) -> Option<&'static str> {
    // What `transformers` loads of a native head is an encoder.
    match (model.is_native, model.class.as_str()) {
        (true, _) => Some("feature-extraction"),
        (false, "ElectraForPreTraining") => None,
        (false, _) => Some(hub_task(model).0),
    }
}

impl Card {
    /// The licence by the hub's identifier, `other` or `unknown`: the most restrictive of the sources.
    #[must_use]
    pub fn licence(&self) -> &'static str {
        let stated = self.sources.iter().flat_map(|source| {
            let own = source.licences.iter().map(|text| Some(text.as_str()));
            let none = source.licences.is_empty().then_some(None);
            own.chain(none).collect::<Vec<_>>()
        });
        licence::of_all(stated)
    }

    /// The page `README.md`.
    ///
    /// # Errors
    /// When the built-in template does not render, which is a fault of this program.
    pub fn page(&self) -> Result<String, ReportError> {
        let front = front::to_yaml(&self.front());
        let body = template::render("model-card.md", TEMPLATE, &View::of(self))?;
        Ok(format!("---\n{front}---\n\n{body}"))
    }

    /// The page `LICENSE.md`, which the hub asks for where the licence is none that it knows.
    ///
    /// # Errors
    /// As [`Card::page`].
    pub fn licence_page(&self) -> Result<Option<String>, ReportError> {
        if self.licence() != "other" {
            return Ok(None);
        }
        template::render("model-licence.md", LICENCES, &View::of(self)).map(Some)
    }

    fn front(&self) -> Value {
        let is_other = self.licence() == "other";
        let mut tags = vec!["electra"];
        match self.model.class.as_str() {
            "ElectraForPreTraining" => tags.push("replaced-token-detection"),
            _ if self.model.task.is_some() => tags.push(hub_task(&self.model).0),
            _ => {}
        }
        if self
            .sources
            .iter()
            .any(|source| !source.stand_ins.is_empty())
        {
            tags.push("stand-in-data");
        }
        json!({
            "language": self.languages,
            "license": self.licence(),
            "license_name": is_other.then_some("see-license-file"),
            "license_link": is_other.then_some("LICENSE.md"),
            "library_name": "transformers",
            "pipeline_tag": pipeline_tag(&self.model),
            "tags": tags,
            "datasets": self.datasets,
            "base_model": self.base_model,
            "model-index": self.index(),
        })
    }

    /// `model-index` of the hub: the mean over the members of every score, one result a data set and split.
    fn index(&self) -> Value {
        let mut results: Vec<Value> = Vec::new();
        let (task, task_name) = hub_task(&self.model);
        let scores = self.scores.iter().filter(|score| score.is_for_comparison());
        for score in scores {
            let (Some(dataset), Some(summary)) = (&score.dataset, score.summary()) else {
                continue;
            };
            let name = match (summary.n, score.axes.as_str()) {
                (1, "") => score.metric.clone(),
                (n, "") => format!("{} (mean of {n})", score.metric),
                (1, axes) => format!("{} ({axes})", score.metric),
                (n, axes) => format!("{} ({axes}, mean of {n})", score.metric),
            };
            let metric = json!({ "type": score.metric, "value": summary.mean, "name": name });
            let place = json!({ "name": dataset, "type": dataset, "split": score.split });
            let same = results
                .iter_mut()
                .find(|result| result["dataset"] == place)
                .and_then(|result| result["metrics"].as_array_mut());
            match same {
                Some(metrics) => metrics.push(metric),
                None => results.push(json!({
                    "task": { "type": task, "name": task_name },
                    "dataset": place,
                    "metrics": [metric],
                })),
            }
        }
        if results.is_empty() {
            return Value::Null;
        }
        json!([{ "name": self.name, "results": results }])
    }
}

#[cfg(test)]
mod tests;
