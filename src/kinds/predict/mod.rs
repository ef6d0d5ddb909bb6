//! What a fine-tuned model says of examples or of plain text. Knows nothing of scores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use data::passages::{TextFormat, TokenRule};
use engine::backend::Precision;
use flow::cost::{Cost, Known};
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};

use super::texts::{is_yes, problem, yes};
use super::training::is_f32;

mod cost;
mod run;

/// `with:` of a stage of kind `predict`.
///
/// `needs` names `model`, the output of `finetune`, and either `data`, the output of a `dataset` stage, whose labels are
/// not looked at, or `text`, a file or a folder of files with texts. The output is `predictions`, a folder with a file of
/// JSON lines for each split, as `score` reads it, or with the file `text.jsonl`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Predict {
    /// The data set's name in every number.
    pub name: String,
    /// The splits that are predicted.
    #[serde(default = "test", skip_serializing_if = "is_test")]
    pub splits: Vec<String>,
    /// How texts stand in the files of `text`: a text a line, or an object a line with `text`, or `texts`, or `question` and `context`, and perhaps `id`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: TextFormat,
    /// Find sentences in the texts of `text` before they are tagged; else a text is one.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub split_sentences: bool,
    /// What is tagged in `text`: words and each punctuation mark, words without the marks around them, or what stands between spaces; it should be as in the data that the model learned from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tokens: TokenRule,
    /// A second output `probabilities`, like the first but with every label of every text or token.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probabilities: bool,
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl StageKind for Predict {
    const NAME: &'static str = "predict";
    /// 1: first.
    const VERSION: u32 = 1;
    const USES_DEVICE: bool = true;
    const COSTS: bool = true;
    const DOC: &'static str = "predict with a fine-tuned model";

    fn ports(&self) -> Ports {
        let ports = Ports::inputs(["model"])
            .one_of(["data", "text"])
            .outputs(["predictions"]);
        match self.probabilities {
            true => ports.outputs(["probabilities"]),
            false => ports,
        }
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

    fn cost(&self, known: &Known<'_>) -> Cost {
        self.expected_cost(known)
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        run::run(self, stage)
    }
}
