//! Holds predictions against labelled examples. Knows nothing of metrics, caching or scheduling.

use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

use data::error::DataError;
use data::example::Example;
use data::labels::LabelSet;
use data::metrics::golden::Golden;
use data::metrics::{METRICS, Metric, Missing, Mode, Options, Outcome, Work, find_metric, score};
use data::predictions;
use data::tags::Encoding;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::{listed, mismatch, stage_error};

/// `with:` of a stage of kind `score`.
///
/// `needs` names `data` (the output of a `dataset`, or one file of examples), `predictions` (a file of JSON lines, or a
/// folder with `SPLIT.jsonl`), and for `bioasq` the batch's `golden` file. The output `samples` is a file of JSON lines
/// with each example, what is right and what was predicted. Scores are percentages.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// How predictions are scored.
    #[schemars(schema_with = "metric_schema")]
    pub metric: String,
    /// The data set's name in every number, such as `ncbi-disease`.
    pub name: String,
    /// The split that was predicted.
    #[serde(default = "test_split", skip_serializing_if = "is_test_split")]
    pub split: String,
    /// `span_f1`: how tags are read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// `span_f1`: the scheme that `mode: strict` holds tags to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encoding: Encoding,
    /// Types or classes that count; unless given all, but those that `negative` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// `micro_f1`, `multi_label_f1`: classes that stand for "nothing found"; unless given those of the data set's `negative_labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<Vec<String>>,
    /// `span_f1`: count all types as one, as BLURB does for JNLPBA.
    #[serde(default, skip_serializing_if = "is_default")]
    pub merge_types: bool,
    /// `bioasq`, `multi_label_f1`: with `_`, the examples `q1_000` and `q1_001` belong to the question or document `q1`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_separators: Vec<String>,
    /// `bioasq`: how many answers to a question are submitted.
    #[serde(default = "five", skip_serializing_if = "is_five")]
    pub candidates: u32,
    /// What becomes of examples without a prediction.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing: Missing,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn test_split() -> String {
    "test".to_owned()
}

fn is_test_split(split: &str) -> bool {
    split == "test"
}

fn five() -> u32 {
    5
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde calls"
)]
fn is_five(candidates: &u32) -> bool {
    *candidates == five()
}

fn metric_schema(_: &mut SchemaGenerator) -> Schema {
    let choices: Vec<serde_json::Value> = METRICS
        .iter()
        .map(|metric| json!({"const": metric.name(), "description": metric.doc()}))
        .collect();
    json_schema!({"oneOf": choices})
}

impl StageKind for Score {
    const NAME: &'static str = "score";
    const VERSION: u32 = 1;
    const DOC: &'static str = "hold predictions against labelled examples";
    const DERIVES: bool = true;

    fn ports(&self) -> Ports {
        let mut ports = Ports::inputs(["data", "predictions"]).optional("golden");
        ports
            .outputs
            .push(("samples".to_owned(), "samples.jsonl".to_owned()));
        ports
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut add = |path: &str, message: String, help: String| {
            problems.push(ConfigProblem {
                path: vec![path.to_owned()],
                message,
                help: Some(help),
            });
        };
        match find_metric(&self.metric) {
            Some(metric) => {
                for option in self.given() {
                    if !metric.options().contains(&option) {
                        let help = match metric.options() {
                            [] => format!("remove it; `{}` has no options", metric.name()),
                            known => {
                                let known = listed(known.iter().copied());
                                format!("remove it; `{}` knows {known}", metric.name())
                            }
                        };
                        let message =
                            format!("`{option}` means nothing to the metric `{}`", metric.name());
                        add(option, message, help);
                    }
                }
            }
            None => {
                let names = || METRICS.iter().map(|metric| metric.name());
                let near = names().find(|name| strsim::osa_distance(name, &self.metric) <= 2);
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("metrics are {}", listed(names())),
                };
                add(
                    "metric",
                    format!("there is no metric `{}`", self.metric),
                    help,
                );
            }
        }
        if self.name.trim().is_empty() {
            add(
                "name",
                "`name` is empty".to_owned(),
                "name the data set, such as `ncbi-disease`".to_owned(),
            );
        }
        if self.candidates == 0 {
            add(
                "candidates",
                "no answer would be submitted".to_owned(),
                "write at least 1; BioASQ takes 5".to_owned(),
            );
        }
        if self.mode == Mode::Lenient && !is_default(&self.encoding) {
            add(
                "encoding",
                "`encoding` matters to `mode: strict` only".to_owned(),
                "remove it, or set `mode: strict`".to_owned(),
            );
        }
        problems
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let metric = find_metric(&self.metric).ok_or_else(|| {
            StageError::new(
                "data::metric",
                format!("there is no metric `{}`", self.metric),
            )
            .bug()
        })?;
        let outcome = self.score(stage, metric).map_err(stage_error)?;
        let mut text = String::new();
        for sample in &outcome.samples {
            text.push_str(&serde_json::to_string(sample).expect("samples serialise"));
            text.push('\n');
        }
        fs_err::write(stage.output("samples.jsonl"), text)?;
        let row = |score: data::metrics::Score| MetricRow {
            dataset: Some(self.name.clone()),
            split: Some(self.split.clone()),
            metric: score.metric,
            class: score.class,
            value: score.value,
            n: Some(score.n),
        };
        Ok(StageReport {
            numbers: outcome.scores.into_iter().map(row).collect(),
            ..StageReport::default()
        })
    }
}

impl Score {
    /// Options that are given and belong to some metrics only.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("mode", !is_default(&self.mode)),
            ("encoding", !is_default(&self.encoding)),
            ("classes", !self.classes.is_empty()),
            ("negative", self.negative.is_some()),
            ("merge_types", self.merge_types),
            ("id_separators", !self.id_separators.is_empty()),
            ("candidates", self.candidates != five()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name)
    }

    fn score(&self, stage: &StageContext, metric: &dyn Metric) -> Result<Outcome, DataError> {
        let place = |port: &str| stage.folder.join(&stage.inputs[port].place);
        let data = place("data");
        let mut examples: Vec<Example> = Vec::new();
        let file = self.file(&data, "data")?;
        data::jsonl::read(&file, &mut |example| {
            examples.push(example);
            Ok(())
        })?;
        let file = self.file(&place("predictions"), "predictions")?;
        let predictions = predictions::read(&file, "predictions")?;
        let golden = match stage.find_input("golden") {
            Some(path) => Some(Golden::read(&path, "golden")?),
            None => None,
        };
        let negative = match &self.negative {
            Some(negative) => negative.clone(),
            None => negative_labels(&data)?,
        };
        let options = Options {
            mode: self.mode,
            encoding: self.encoding,
            classes: self.classes.clone(),
            negative,
            merge_types: self.merge_types,
            id_separators: self.id_separators.clone(),
            candidates: self.candidates as usize,
            missing: self.missing,
        };
        let work = Work {
            examples: &examples,
            predictions: &predictions,
            golden: golden.as_ref(),
            options: &options,
        };
        score(metric, &work)
    }

    /// The file of the split: the input itself, or the file of that name in it.
    fn file(&self, input: &Path, port: &str) -> Result<PathBuf, DataError> {
        if !input.is_dir() {
            return Ok(input.to_path_buf());
        }
        let file = input.join(format!("{}.jsonl", self.split));
        if file.is_file() {
            return Ok(file);
        }
        let mut splits: Vec<String> = fs_err::read_dir(input)?
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".jsonl")?.to_owned()))
            .collect();
        splits.sort();
        Err(mismatch(
            format!("the input `{port}` has no split `{}`", self.split),
            format!(
                "it has {}; set `split`",
                listed(splits.iter().map(String::as_str))
            ),
        ))
    }
}

/// Whether a stage with this configuration reads a file of a folder among its inputs.
pub(crate) fn reads(config: &serde_json::Value, port: &str, path: &str) -> bool {
    let split = config["split"].as_str().unwrap_or("test");
    let file = format!("{split}.jsonl");
    match port {
        "data" => path == file || path == LABELS,
        "predictions" => path == file,
        _ => true,
    }
}

/// What a data set says of its labels, beside its splits.
const LABELS: &str = "labels.json";

/// The negative classes that `labels.json` of a data set names; none where there is no such file.
fn negative_labels(data: &Path) -> Result<Vec<String>, DataError> {
    let path = data.join(LABELS);
    if !data.is_dir() || !path.is_file() {
        return Ok(Vec::new());
    }
    let labels: LabelSet = serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| {
        mismatch(
            format!("`labels.json` of the data cannot be understood: {error}"),
            "give the output of a `dataset` stage",
        )
    })?;
    Ok(labels.negative)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::digest::Use;
    use flow::kind::{InputItem, StageInput};
    use std::collections::BTreeMap;

    fn config(text: serde_json::Value) -> Score {
        serde_json::from_value(text).expect("it decodes")
    }

    fn stage(folder: &Path, files: &[(&str, &str)]) -> StageContext {
        let mut inputs = BTreeMap::new();
        for (path, text) in files {
            let full = folder.join(path);
            fs_err::create_dir_all(full.parent().expect("it has one")).expect("made");
            fs_err::write(&full, text).expect("written");
            let place = path.split('/').next().expect("a path").to_owned();
            let item = InputItem {
                path: place.clone(),
                axes: Vec::new(),
                digest: Use::File.digest(text.as_bytes()),
                key: None,
                device: None,
                notes: BTreeMap::new(),
                made_by: None,
            };
            let input = StageInput {
                place: place.clone(),
                items: vec![item],
                many: false,
            };
            inputs.insert(place, input);
        }
        StageContext::in_folder(folder, inputs)
    }

    #[test]
    fn negative_classes_come_from_the_data_set() {
        let folder = tempfile::tempdir().expect("a folder");
        let example = |id: &str, label: &str| {
            format!(r#"{{"task":"classification","id":"{id}","text":"x","label":"{label}"}}"#)
        };
        let examples = [example("1", "yes"), example("2", "no"), example("3", "yes")].join("\n");
        let predictions = "{\"example_id\":\"1\",\"label\":\"yes\"}\n{\"example_id\":\"2\",\"label\":\"yes\"}\n{\"example_id\":\"3\",\"label\":\"no\",\"score\":0.6}\n";
        let stage = stage(
            folder.path(),
            &[
                ("data/test.jsonl", &examples),
                (
                    "data/labels.json",
                    r#"{"task":"classification","labels":["no","yes"],"negative":["no"]}"#,
                ),
                ("predictions", predictions),
            ],
        );
        let kind = config(json!({"metric": "micro_f1", "name": "toy"}));
        assert!(kind.check().is_empty());
        let report = kind.run(&stage).expect("it runs");
        let find = |metric: &str, class: Option<&str>| {
            let row = report
                .numbers
                .iter()
                .find(|row| row.metric == metric && row.class.as_deref() == class);
            row.expect("a row").value
        };
        assert_eq!(find("f1", None), 50.0);
        assert_eq!(find("f1", Some("yes")), 50.0);
        assert_eq!(find("confusion", Some("yes -> no")), 1.0);
        assert!(
            report
                .numbers
                .iter()
                .all(|row| row.metric != "f1" || row.class.as_deref() != Some("no"))
        );
        let samples = fs_err::read_to_string(folder.path().join("samples.jsonl")).expect("written");
        assert_eq!(samples.lines().count(), 3);
        assert_eq!(
            samples.lines().last(),
            Some(
                r#"{"example_id":"3","text":"x","gold":[{"label":"yes"}],"predicted":[{"label":"no","score":0.6}],"correct":false}"#
            )
        );
    }

    #[test]
    fn misuse_is_explained() {
        let problems = |text| -> Vec<String> {
            let line = |one: ConfigProblem| {
                format!(
                    "{}: {} / {}",
                    one.path.join("."),
                    one.message,
                    one.help.expect("help")
                )
            };
            config(text).check().into_iter().map(line).collect()
        };
        assert_eq!(
            problems(json!({"metric": "span-f1", "name": "x"})),
            ["metric: there is no metric `span-f1` / did you mean `span_f1`?"]
        );
        assert_eq!(
            problems(json!({"metric": "accuracy", "name": "x", "mode": "strict", "candidates": 0})),
            [
                "mode: `mode` means nothing to the metric `accuracy` / remove it; `accuracy` has no options",
                "candidates: `candidates` means nothing to the metric `accuracy` / remove it; `accuracy` has no options",
                "candidates: no answer would be submitted / write at least 1; BioASQ takes 5",
            ]
        );
        let folder = tempfile::tempdir().expect("a folder");
        let stage = stage(
            folder.path(),
            &[("data/dev.jsonl", ""), ("predictions", "")],
        );
        let error = config(json!({"metric": "accuracy", "name": "x"}))
            .run(&stage)
            .expect_err("no such split");
        assert_eq!(
            error.diagnostic.message,
            "the input `data` has no split `test`"
        );
        assert_eq!(
            error.diagnostic.help.as_deref(),
            Some("it has `dev`; set `split`")
        );
    }
}
