//! Released weights as a model folder: read, named as today, compared with their configuration. Knows no training.

mod source;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use engine::config::ElectraConfig;
use engine::model::architecture::{Architecture, Comparison, sizes_of};
use engine::weights::{Tensors, names, read_any};
use flow::cost::{Cost, Known};
use flow::diagnostic::Diagnostic;
use flow::kind::{ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport};
use flow::metric::MetricRow;

use super::facts;
use super::model::{self, Model, Spelling, weights_error};
use super::tasks::Reading;
use super::texts::problem;

use source::{Source, Stated};

/// `with:` of a stage of kind `checkpoint`.
///
/// `needs` names `weights`: a folder as `transformers` saves one, or a file of weights (`model.safetensors`,
/// `pytorch_model.bin`, `.pt`; what it is, its first bytes tell). Of files that came singly, `config` is the
/// `config.json` and `vocabulary` the `vocab.txt` or `tokenizer.json`. The output is `model`, a folder like that of
/// `pretrain`, or like that of `finetune` where the weights have such a head.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The model's name in every number.
    pub name: String,
    /// Whether the model reads lower-case text; what its tokenizer's files say where it is absent, else yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_case: Option<bool>,
}

/// Names that a message lists; of more it says how many.
const LISTED: usize = 30;

impl StageKind for Checkpoint {
    const NAME: &'static str = "checkpoint";
    /// 1: first.
    const VERSION: u32 = 1;
    const COSTS: bool = true;
    const DOC: &'static str = "make a model of released weights";

    fn ports(&self) -> Ports {
        Ports::inputs(["weights"])
            .optional("config")
            .optional("vocabulary")
            .outputs(["model"])
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.name.trim().is_empty() {
            let help = "name the model, such as `electramed`";
            problems.push(problem(&["name"], "`name` is empty", help));
        }
        problems
    }

    /// As large as its result, or as the `config.json` among its inputs says.
    fn cost(&self, known: &Known<'_>) -> Cost {
        let made = known.result_file("model", "config.json");
        let given = || {
            let mut inputs = ["config", "weights"].into_iter();
            inputs.find_map(|port| known.input(port)?.file("config.json"))
        };
        let Some(config) = made.or_else(given).and_then(|path| facts::sizes_in(&path)) else {
            return Cost::default();
        };
        let parameters = engine::cost::parameters(Architecture::Body, &config);
        Cost {
            bytes: Some(facts::BYTES_A_WEIGHT * parameters),
            gives: [("model".to_owned(), facts::of_model(&config))].into(),
            ..Cost::default()
        }
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let source = Source::find(stage)?;
        let tensors = read_any(&source.weights).map_err(weights_error)?;
        let renamed = names::current(tensors).map_err(weights_error)?;
        let stated = source.stated()?;
        let vocabulary = source.vocabulary()?;
        let mut warnings = Vec::new();
        let config = sizes(&renamed.tensors, &stated, &mut warnings)?;
        let rows = vocabulary.entries.size() as usize;
        let config = of_vocabulary(config, rows, &renamed.tensors, &mut warnings)?;
        config.check().map_err(weights_error)?;
        let architecture = Architecture::of(&renamed.tensors, stated.architecture.as_deref());
        let comparison = architecture.compare(&config, &renamed.tensors);
        refuse(&comparison)?;
        warnings.extend(remarks(architecture, &stated, &comparison));
        let mut tensors = renamed.tensors;
        tensors.retain(|name, _| !comparison.unused.contains(name));
        if architecture == Architecture::MaskedLm {
            // The token table once more: readers tie it.
            tensors.remove("generator_lm_head.weight");
        }
        let labels = labels(architecture, &stated, &mut warnings);
        let written = Model {
            architecture: architecture.name(),
            config: &config,
            tensors: &tensors,
            vocabulary: &vocabulary.entries,
            spelling: Spelling {
                lower_case: self.lower_case.or(vocabulary.lower_case).unwrap_or(true),
                strip_accents: vocabulary.strip_accents,
            },
            labels: &labels,
            problem: stated.problem.as_deref(),
        };
        let folder = stage.output("model");
        model::write(&folder, &written)?;
        if let Some(from) = &source.folder {
            Reading::carry(from, &folder)?;
        }
        let mut report = StageReport {
            numbers: self.numbers(&tensors, renamed.renamed),
            warnings,
            ..StageReport::default()
        };
        for (note, names) in [
            ("missing_tensors", comparison.missing),
            ("unused_tensors", comparison.unused),
        ] {
            if !names.is_empty() {
                report.notes.insert(note.to_owned(), json!(names));
            }
        }
        Ok(report)
    }
}

impl Checkpoint {
    fn numbers(&self, tensors: &Tensors, renamed: usize) -> Vec<MetricRow> {
        let parameters: usize = tensors.values().map(|tensor| tensor.values.len()).sum();
        let row = |metric: &str, value: usize| MetricRow {
            dataset: Some(self.name.clone()),
            split: None,
            metric: metric.to_owned(),
            class: None,
            value: value as f64,
            n: None,
        };
        vec![
            row("parameters", parameters),
            row("tensors", tensors.len()),
            row("renamed_tensors", renamed),
        ]
    }
}

/// The sizes that `config.json` states, else those that shapes tell.
fn sizes(
    tensors: &Tensors,
    stated: &Stated,
    warnings: &mut Vec<Diagnostic>,
) -> Result<ElectraConfig, StageError> {
    if let Some(config) = &stated.config {
        return Ok(config.clone());
    }
    let config = sizes_of(tensors).map_err(|error| {
        StageError::new("model::config", error.to_string())
            .detail("there is no `config.json`, so sizes were looked for in the tensors")
            .help("give the `config.json` that belongs to the weights as `config`")
    })?;
    let warning = Diagnostic::warning(
        "model::config",
        format!(
            "there is no `config.json`: {} attention heads are taken from the width of {}",
            config.num_attention_heads, config.hidden_size
        ),
    );
    warnings.push(warning.help("give it as `config`, since no tensor tells the number of heads"));
    Ok(config)
}

/// Holds the vocabulary against the rows of the token table, which say more than `config.json`: of public copies of
/// ELECTRAMed some state another size (spec B.3).
fn of_vocabulary(
    mut config: ElectraConfig,
    entries: usize,
    tensors: &Tensors,
    warnings: &mut Vec<Diagnostic>,
) -> Result<ElectraConfig, StageError> {
    let table = tensors.get("electra.embeddings.word_embeddings.weight");
    let rows = table.and_then(|table| table.shape.first().copied());
    let rows = rows.unwrap_or(config.vocab_size);
    if entries != rows {
        let message = format!("the vocabulary has {entries} entries, the table of tokens {rows}");
        return Err(StageError::new("model::config", message)
            .help("give the vocabulary that belongs to the weights"));
    }
    if config.vocab_size != rows {
        let message = format!(
            "`config.json` states a `vocab_size` of {}; vocabulary and weights have {rows}, which is written",
            config.vocab_size
        );
        warnings.push(Diagnostic::warning("model::config", message));
        config.vocab_size = rows;
    }
    Ok(config)
}

fn listed<T>(items: &[T], line: impl Fn(&T) -> String) -> Vec<String> {
    let mut lines: Vec<String> = items.iter().take(LISTED).map(line).collect();
    if items.len() > LISTED {
        lines.push(format!("and {} more", items.len() - LISTED));
    }
    lines
}

/// What cannot be a model: tensors of other shapes, an encoder that is not whole.
fn refuse(comparison: &Comparison) -> Result<(), StageError> {
    let with = |mut error: StageError, lines: Vec<String>| {
        for line in lines {
            error = error.detail(line);
        }
        Err(error)
    };
    let reshaped = &comparison.reshaped;
    if !reshaped.is_empty() {
        let message = match reshaped.len() {
            1 => "a tensor has another shape than its configuration gives it".to_owned(),
            n => format!("{n} tensors have other shapes than their configuration gives them"),
        };
        let lines = listed(reshaped, |of| {
            format!(
                "`{}` is {:?}, by the configuration {:?}",
                of.name, of.found, of.expected
            )
        });
        let error = StageError::new("model::weights", message)
            .help("give the `config.json` that belongs to the weights");
        return with(error, lines);
    }
    let body: Vec<&String> = comparison
        .missing
        .iter()
        .filter(|name| name.starts_with("electra."))
        .collect();
    if !body.is_empty() {
        let message = format!("{} tensors of the encoder are not in the file", body.len());
        let error = StageError::new("model::missing", message)
            .help("give weights of an ELECTRA model, and the `config.json` that belongs to them");
        return with(error, listed(&body, |name| format!("`{name}`")));
    }
    Ok(())
}

/// What a model can do without, and what it has too much.
fn remarks(
    architecture: Architecture,
    stated: &Stated,
    comparison: &Comparison,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut say = |code: &str, message: String, names: &[String]| {
        let mut warning = Diagnostic::warning(code, message);
        for line in listed(names, |name| format!("`{name}`")) {
            warning = warning.detail(line);
        }
        found.push(warning);
    };
    if let Some(class) = stated
        .architecture
        .as_deref()
        .filter(|c| *c != architecture.name())
    {
        let message = format!(
            "`config.json` states the class `{class}`; the tensors are those of `{}`",
            architecture.name()
        );
        say("model::config", message, &[]);
    }
    let (missing, unused) = (&comparison.missing, &comparison.unused);
    if !missing.is_empty() {
        let message = format!(
            "{} tensors of the head are not in the file and begin at random where they are needed",
            missing.len()
        );
        say("model::missing", message, missing);
    }
    if !unused.is_empty() {
        let message = format!(
            "{} tensors of the file are not of this model and are left out",
            unused.len()
        );
        say("model::unused", message, unused);
    }
    found
}

/// Names of a head's classes: as `config.json` has them, else those that `transformers` gives.
fn labels(
    architecture: Architecture,
    stated: &Stated,
    warnings: &mut Vec<Diagnostic>,
) -> Vec<String> {
    let classes = architecture.classes();
    let mut names = stated.labels.clone();
    if classes == 0 {
        return Vec::new();
    }
    if names.len() != classes {
        if !names.is_empty() {
            let message = format!(
                "`config.json` names {} labels, the head has {classes}: they are numbered",
                names.len()
            );
            warnings.push(Diagnostic::warning("model::labels", message));
        }
        names = (0..classes).map(|i| format!("LABEL_{i}")).collect();
    }
    names
}

#[cfg(test)]
mod tests;
