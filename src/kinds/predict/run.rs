//! Prediction under way: the model, batch by batch, and the files of what it says. Knows no configuration text.

use data::error::DataError;
use data::example::{Example, Task};
use data::features::Featuriser;
use data::passages::{self, Cutting, Passage};
use data::predictions::{Prediction, Writer};
use engine::config::ElectraConfig;
use engine::finetune::{Finetuning, Said};
use engine::model::heads::HeadKind;
use engine::schedule::{Schedule, Shape};
use flow::diagnostic::Diagnostic;
use flow::event::Progress;
use flow::kind::{StageContext, StageError, StageReport};
use flow::metric::MetricRow;

use super::Predict;
use crate::kinds::dataset::stage_error;
use crate::kinds::device;
use crate::kinds::fetch::decompressed;
use crate::kinds::finetune::{compiled, split};
use crate::kinds::model;
use crate::kinds::tasks::{Encoding, Reading, Rows};
use crate::kinds::texts::{find_files, load_vocabulary};
use crate::kinds::trainers::Finetunes;
use crate::kinds::training::room::Extent;
use crate::kinds::training::train_error;

/// Examples that are predicted together.
pub(super) const EXAMPLES: usize = 64;
/// What predictions for `text` are called.
const TEXT: &str = "text";

/// Endings of text in folders.
const LINES: [&str; 3] = [".txt", ".txt.gz", ".txt.zst"];
const JSON_LINES: [&str; 6] = [
    ".jsonl",
    ".jsonl.gz",
    ".jsonl.zst",
    ".ndjson",
    ".ndjson.gz",
    ".ndjson.zst",
];

pub(super) fn run(kind: &Predict, stage: &StageContext) -> Result<StageReport, StageError> {
    let folder = stage.input("model")?;
    let reading = Reading::read(&folder).map_err(stage_error)?;
    let (vocabulary, _) =
        load_vocabulary(&folder.join("vocab.txt"), "model").map_err(stage_error)?;
    let model = load(kind, stage, &reading)?;
    let compiled = compiled(&vocabulary, &reading);
    let mut run = Run {
        kind,
        stage,
        reading: &reading,
        model,
        encoding: Encoding::new(&reading, Featuriser::new(&vocabulary, &compiled)),
        numbers: Vec::new(),
        warnings: Vec::new(),
    };
    if stage.find_input("data").is_some() {
        for name in &kind.splits {
            run.split(name)?;
        }
    } else {
        run.text()?;
    }
    Ok(StageReport {
        numbers: run.numbers,
        warnings: run.warnings,
        ..StageReport::default()
    })
}

/// Nothing is trained: what concerns updates is not read.
pub(super) fn settings(config: ElectraConfig, head: HeadKind, outputs: usize) -> Finetuning {
    Finetuning {
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
    }
}

/// The model of the input, with room for as many tokens as the pipeline says.
fn load(
    kind: &Predict,
    stage: &StageContext,
    reading: &Reading,
) -> Result<Box<dyn Finetunes>, StageError> {
    let (config, tensors) = model::read(&stage.input("model")?)?;
    let (head, outputs) = reading.head().map_err(stage_error)?;
    let settings = settings(config, head, outputs);
    let extent = Extent {
        most: EXAMPLES,
        longest: reading.max_length,
    };
    let made = device::task_trainer(stage, kind.precision, settings, extent, false)?;
    let mut model = made.trainer;
    let begun = model.start_from(&tensors).map_err(train_error)?;
    if let Some(missing) = begun.unmatched.missing.first() {
        let message = format!("the model has no tensor `{missing}`");
        let help = "give the output `model` of a stage of kind `finetune`";
        return Err(StageError::new("model::weights", message).help(help));
    }
    Ok(model)
}

/// The files of what is said.
struct Files {
    predictions: Writer,
    probabilities: Option<Writer>,
}

impl Files {
    fn create(kind: &Predict, stage: &StageContext, name: &str) -> Result<Self, StageError> {
        let create = |output: &str| {
            let folder = stage.output(output);
            fs_err::create_dir_all(&folder)?;
            Writer::create(&folder.join(format!("{name}.jsonl"))).map_err(stage_error)
        };
        let probabilities = kind.probabilities.then(|| create("probabilities"));
        Ok(Self {
            predictions: create("predictions")?,
            probabilities: probabilities.transpose()?,
        })
    }

    fn finish(self) -> Result<(), StageError> {
        self.predictions.finish().map_err(stage_error)?;
        let rest = self.probabilities.map_or(Ok(()), Writer::finish);
        rest.map_err(stage_error)
    }
}

/// Writes lines, one after another.
fn write(writer: &mut Writer, lines: Vec<Prediction>) -> Result<(), StageError> {
    for line in lines {
        writer.write(&line).map_err(stage_error)?;
    }
    Ok(())
}

/// What ends reading of texts early.
enum Trouble {
    Data(DataError),
    Stage(StageError),
}

impl From<DataError> for Trouble {
    fn from(error: DataError) -> Self {
        Self::Data(error)
    }
}

/// A model's numbers for one example.
struct Judged {
    rows: Rows,
    said: Vec<Said>,
}

struct Run<'a> {
    kind: &'a Predict,
    stage: &'a StageContext,
    reading: &'a Reading,
    model: Box<dyn Finetunes>,
    encoding: Encoding<'a>,
    numbers: Vec<MetricRow>,
    warnings: Vec<Diagnostic>,
}

impl Run<'_> {
    /// What the model says of some examples, in their order.
    fn say<'e>(
        &mut self,
        examples: impl Iterator<Item = &'e Example>,
    ) -> Result<Vec<Judged>, StageError> {
        let mut encoded = Vec::new();
        for example in examples {
            let rows = self.encoding.encode(example, false);
            encoded.push(rows.map_err(stage_error)?);
        }
        let rows: Vec<(&[u32], &[u32])> = encoded
            .iter()
            .flat_map(|(inputs, _)| inputs)
            .map(|input| (&input.ids[..], &input.types[..]))
            .collect();
        // A signal ends this process at once: there is nothing to keep.
        let said = self.model.predict_while(&rows, &|_| true);
        let said = said.map_err(train_error)?.expect("nobody asked to stop");
        let mut said = said.into_iter();
        let judged = encoded.into_iter().map(|(inputs, rows)| Judged {
            rows,
            said: said.by_ref().take(inputs.len()).collect(),
        });
        Ok(judged.collect())
    }

    /// Predicts a split of `data`.
    fn split(&mut self, name: &str) -> Result<(), StageError> {
        let data = self.stage.input("data")?;
        let Some(examples) = split(&data, name).map_err(stage_error)? else {
            let message = format!("the input `data` has no split `{name}`");
            let help = "name splits of the data set under `splits`";
            return Err(StageError::new("data::mismatch", message).help(help));
        };
        let mut files = Files::create(self.kind, self.stage, name)?;
        for (i, part) in examples.chunks(EXAMPLES).enumerate() {
            let judged = self.say(part.iter())?;
            for (example, Judged { rows, said }) in part.iter().zip(&judged) {
                if let Some(writer) = &mut files.probabilities {
                    write(writer, self.encoding.probabilities(example, rows, said))?;
                }
                let lines = self.encoding.predictions(example, rows, said);
                write(&mut files.predictions, lines)?;
            }
            self.tell(i * EXAMPLES + part.len(), Some(examples.len()), name);
        }
        files.finish()?;
        self.count(name, "predicted_examples", examples.len());
        Ok(())
    }

    /// Predicts the texts of `text`, as many at once as make a batch.
    fn text(&mut self) -> Result<(), StageError> {
        let endings: &[&str] = match self.kind.format {
            passages::TextFormat::Lines => &LINES,
            passages::TextFormat::JsonLines => &JSON_LINES,
        };
        let (mut files, warnings) = find_files(self.stage, TEXT, endings).map_err(stage_error)?;
        self.warnings.extend(warnings);
        for file in &mut files {
            // Texts are called after their file, which for a folder stands behind the input's name.
            if let Some(inner) = file.name.strip_prefix("text/") {
                file.name = inner.to_owned();
            }
        }
        let texts = data::texts::Texts {
            files,
            decode: decompressed,
        };
        let cutting = Cutting {
            sentences: self.kind.split_sentences,
            tokens: self.kind.tokens,
        };
        let mut out = Files::create(self.kind, self.stage, TEXT)?;
        let (mut waiting, mut n_waiting, mut done) = (Vec::new(), 0, 0);
        let (format, task) = (self.kind.format, self.reading.task());
        let outcome = passages::read(&texts, format, task, cutting, &mut |passage| {
            n_waiting += passage.examples.len();
            waiting.push(passage);
            if n_waiting < EXAMPLES && waiting.len() < EXAMPLES {
                return Ok(());
            }
            n_waiting = 0;
            done += waiting.len();
            let part = std::mem::take(&mut waiting);
            self.passages(&part, &mut out).map_err(Trouble::Stage)?;
            self.tell(done, None, TEXT);
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(Trouble::Data(error)) => return Err(stage_error(error)),
            Err(Trouble::Stage(error)) => return Err(error),
        }
        done += waiting.len();
        self.passages(&waiting, &mut out)?;
        out.finish()?;
        if done == 0 {
            let message = "the input `text` holds no text";
            let help = "give a file with a text a line, or set `format: json_lines`";
            return Err(StageError::new("data::mismatch", message).help(help));
        }
        self.tell(done, Some(done), TEXT);
        self.count(TEXT, "predicted_texts", done);
        let lost = self.encoding.lost.shortened as usize;
        if lost > 0 {
            let message = format!("{lost} texts are longer than the model reads and were cut");
            self.warnings
                .push(Diagnostic::warning("data::lost", message));
        }
        Ok(())
    }

    /// Predicts some texts.
    fn passages(&mut self, part: &[Passage], out: &mut Files) -> Result<(), StageError> {
        let judged = self.say(part.iter().flat_map(|passage| &passage.examples))?;
        let mut rest = &judged[..];
        for passage in part {
            let (own, others) = rest.split_at(passage.examples.len());
            rest = others;
            let each = || passage.examples.iter().zip(own);
            if let Some(writer) = &mut out.probabilities {
                for (at, (example, judged)) in each().enumerate() {
                    let mut lines =
                        (self.encoding).probabilities(example, &judged.rows, &judged.said);
                    if let Some(places) = passage.places().get(at) {
                        lines
                            .iter_mut()
                            .for_each(|line| in_characters(line, places));
                    }
                    write(writer, lines)?;
                }
            }
            if self.reading.task() != Task::Tagging {
                for (example, judged) in each() {
                    let lines = (self.encoding).predictions(example, &judged.rows, &judged.said);
                    write(&mut out.predictions, lines)?;
                }
                continue;
            }
            let tagged: Vec<Vec<(&str, f64)>> = each()
                .filter_map(|(example, judged)| match (example, &judged.rows) {
                    (Example::Tagging(sentence), Rows::Tagging(rows)) => {
                        let n = sentence.tokens.len();
                        Some(self.encoding.tagged(rows, &judged.said, n))
                    }
                    _ => None,
                })
                .collect();
            write(&mut out.predictions, passage.chunks(&tagged))?;
        }
        Ok(())
    }

    fn tell(&self, done: usize, total: Option<usize>, name: &str) {
        self.stage.progress(&Progress {
            done: done as u64,
            total: total.map(|total| total as u64),
            unit: "examples".to_owned(),
            text: name.to_owned(),
        });
    }

    fn count(&mut self, split: &str, metric: &str, n: usize) {
        self.numbers.push(MetricRow {
            dataset: Some(self.kind.name.clone()),
            split: Some(split.to_owned()),
            metric: metric.to_owned(),
            class: None,
            value: n as f64,
            n: Some(n as u64),
        });
    }
}

/// From tokens to characters of the text.
fn in_characters(line: &mut Prediction, places: &[(usize, usize)]) {
    if let Some((start, end)) = line.span() {
        line.start = Some(places[start].0);
        line.end = Some(places[end - 1].1);
    }
}
