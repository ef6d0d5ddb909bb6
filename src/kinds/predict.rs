//! What a fine-tuned model says of examples. Knows nothing of scores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::features::Featuriser;
use data::predictions::Writer;
use engine::backend::Precision;
use engine::finetune::Finetuning;
use engine::schedule::{Schedule, Shape};
use flow::event::Progress;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::dataset::stage_error;
use super::device;
use super::finetune::{compiled, split};
use super::model;
use super::tasks::{Encoding, Reading};
use super::texts::{load_vocabulary, problem};
use super::training::{is_f32, train_error};

/// `with:` of a stage of kind `predict`.
///
/// `needs` names `model`, the output of `finetune`, and `data`, the output of a `dataset` stage; labels in it are not
/// looked at. The output is `predictions`, a folder with a file of JSON lines for each split, as `score` reads it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Predict {
    /// The data set's name in every number.
    pub name: String,
    /// The splits that are predicted.
    #[serde(default = "test", skip_serializing_if = "is_test")]
    pub splits: Vec<String>,
    /// In what the operands of matrix products are held: `f32`, or `bf16` with sums and weights in f32.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Precision,
}

fn test() -> Vec<String> {
    vec!["test".to_owned()]
}

fn is_test(splits: &Vec<String>) -> bool {
    *splits == test()
}

/// Examples that are predicted together.
const EXAMPLES: usize = 64;

impl StageKind for Predict {
    const NAME: &'static str = "predict";
    /// 1: first.
    const VERSION: u32 = 1;
    const USES_DEVICE: bool = true;
    const DOC: &'static str = "predict with a fine-tuned model";

    fn ports(&self) -> Ports {
        Ports::inputs(["model", "data"]).outputs(["predictions"])
    }

    fn numerics(&self) -> Option<String> {
        Some(self.precision.name().to_owned())
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            let help = "name the data set, such as `ncbi-disease`";
            problems.push(problem(&["name"], "`name` is empty", help));
        }
        if self.splits.is_empty() {
            let help = "name splits of the data set, such as `[dev, test]`";
            problems.push(problem(&["splits"], "there is no split", help));
        }
        problems
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let folder = stage.input("model")?;
        let reading = Reading::read(&folder).map_err(stage_error)?;
        let (config, tensors) = model::read(&folder)?;
        let (vocabulary, _) =
            load_vocabulary(&folder.join("vocab.txt"), "model").map_err(stage_error)?;
        let (head, outputs) = reading.head().map_err(stage_error)?;
        // Nothing is trained: what concerns updates is not read.
        let settings = Finetuning {
            config,
            head,
            outputs,
            schedule: Schedule {
                peak: 0.0,
                steps: 1,
                warmup: 0,
                shape: Shape::Product,
            },
            layer_decay: None,
            weight_decay: 0.0,
            bias_correction: false,
            betas: (0.9, 0.999),
            epsilon: 1e-6,
            clip: None,
            seed: 0,
        };
        let longest = reading.max_length;
        let made = device::task_trainer(stage, self.precision, settings, longest, false)?;
        let mut model = made.trainer;
        let begun = model.start_from(&tensors).map_err(train_error)?;
        if let Some(missing) = begun.unmatched.missing.first() {
            let message = format!("the model has no tensor `{missing}`");
            let help = "give the output `model` of a stage of kind `finetune`";
            return Err(StageError::new("model::weights", message).help(help));
        }
        let compiled = compiled(&vocabulary, &reading);
        let mut encoding = Encoding::new(&reading, Featuriser::new(&vocabulary, &compiled));
        let data = stage.input("data")?;
        let to = stage.output("predictions");
        fs_err::create_dir_all(&to)?;
        let mut numbers = Vec::new();
        for name in &self.splits {
            let Some(examples) = split(&data, name).map_err(stage_error)? else {
                let message = format!("the input `data` has no split `{name}`");
                let help = "name splits of the data set under `splits`";
                return Err(StageError::new("data::mismatch", message).help(help));
            };
            let path = to.join(format!("{name}.jsonl"));
            let mut writer = Writer::create(&path).map_err(stage_error)?;
            for (i, part) in examples.chunks(EXAMPLES).enumerate() {
                let mut encoded = Vec::new();
                for example in part {
                    encoded.push(encoding.encode(example, false).map_err(stage_error)?);
                }
                let rows: Vec<(&[u32], &[u32])> = encoded
                    .iter()
                    .flat_map(|(inputs, _)| inputs)
                    .map(|input| (&input.ids[..], &input.types[..]))
                    .collect();
                let logits = model.predict_while(&rows, &|_| true).map_err(train_error)?;
                let logits = logits.expect("nobody asked to stop");
                let mut rest = &logits[..];
                for (example, (inputs, rows)) in part.iter().zip(&encoded) {
                    let (own, others) = rest.split_at(inputs.len());
                    rest = others;
                    for prediction in encoding.predictions(example, rows, own) {
                        writer.write(&prediction).map_err(stage_error)?;
                    }
                }
                stage.progress(&Progress {
                    done: (i * EXAMPLES + part.len()) as u64,
                    total: Some(examples.len() as u64),
                    unit: "examples".to_owned(),
                    text: name.clone(),
                });
            }
            writer.finish().map_err(stage_error)?;
            let n = examples.len();
            numbers.push(MetricRow {
                dataset: Some(self.name.clone()),
                split: Some(name.clone()),
                metric: "predicted_examples".to_owned(),
                class: None,
                value: n as f64,
                n: Some(n as u64),
            });
        }
        Ok(StageReport {
            numbers,
            ..StageReport::default()
        })
    }
}
