//! Fine-tuning under way: epochs, the dev split, checkpoints, the best epoch, and what comes out. Knows no configuration
//! text.

use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use data::example::Task;
use data::features::Featuriser;
use data::labels::LabelSet;
use data::metrics::{self, Options, Work, find_metric};
use data::predictions::Predictions;
use data::wordpiece::WordPiece;
use engine::finetune::{TaskExample, TaskNumbers, without_head};
use engine::model::heads::HeadKind;
use engine::random::{Draw, Purpose, Stream};
use engine::weights;
use flow::diagnostic::Diagnostic;
use flow::kind::{StageContext, StageError, StageReport};
use flow::metric::MetricRow;
use flow::notes::SETTINGS;

use super::{Begin, Data, Finetune, Keep};
use crate::kinds::dataset::stage_error;
use crate::kinds::device;
use crate::kinds::model::{self, Model, Spelling, weights_error};
use crate::kinds::tasks::{Encoding, Reading};
use crate::kinds::trainers::{Finetunes, Made};
use crate::kinds::training::keeper::Keeper;
use crate::kinds::training::live::Live;
use crate::kinds::training::room::Extent;
use crate::kinds::training::{Pace, step_error, train_error};

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Epoch {
    epoch: u32,
    steps: u64,
    /// Mean over the epoch's updates.
    train_loss: f64,
    /// The number that epochs are chosen by, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dev: Option<f64>,
}

/// Rows that are evaluated at once at least, however small batches are.
pub(super) const EVALUATED: usize = 64;

/// Updates between lines of the live log.
const LIVE_EVERY: u64 = 10;

/// What became of scoring on `dev`.
enum Scored {
    /// The number, where there are examples.
    At(Option<f64>),
    /// It was given up: the stage was asked to stop.
    Stopped,
}

/// What survives an interruption beside the trainer's own state.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progressed {
    epochs: Vec<Epoch>,
    loss_sum: f64,
}

/// Training under way.
pub(super) struct Run<'a> {
    kind: &'a Finetune,
    stage: &'a StageContext,
    reading: &'a Reading,
    begin: &'a Begin,
    compiled: &'a WordPiece,
    data: Data,
    head: HeadKind,
    trainer: Box<dyn Finetunes>,
    steps_per_epoch: u64,
    so_far: Progressed,
    /// The best epochs of the last checkpoints: their tensors must stay, since any of those may be gone back to.
    needed: Vec<Option<u32>>,
    /// Best epochs found on the disk, which checkpoints of an earlier attempt may mean.
    inherited: Vec<u32>,
    keeper: Keeper,
    live: Live,
    pace: Pace,
}

/// The file of a best epoch's tensors.
const BEST: &str = "best-";
/// Checkpoints that may be read again: those on the disk, and one that is being written.
pub(super) const RECENT: usize = 3;

fn best_place(stage: &StageContext, epoch: u32) -> PathBuf {
    stage.scratch.join(format!("{BEST}{epoch}.safetensors"))
}

/// Epochs whose tensors are kept.
fn bests(stage: &StageContext) -> std::io::Result<Vec<u32>> {
    let mut epochs = Vec::new();
    for entry in fs_err::read_dir(&stage.scratch)? {
        let name = entry?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(BEST));
        let number = name.and_then(|name| name.strip_suffix(".safetensors"));
        epochs.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    Ok(epochs)
}

impl<'a> Run<'a> {
    pub(super) fn start(
        kind: &'a Finetune,
        stage: &'a StageContext,
        reading: &'a Reading,
        begin: &'a Begin,
        compiled: &'a WordPiece,
        mut data: Data,
    ) -> Result<Self, StageError> {
        let pace = Pace::start()?;
        let head = reading.head().map_err(stage_error)?;
        let steps_per_epoch = data.train.len().div_ceil(kind.batch) as u64;
        let settings = kind.settings(
            &begin.config,
            head,
            steps_per_epoch * u64::from(kind.epochs),
        );
        let positions = begin.config.max_position_embeddings;
        if reading.max_length > positions {
            let message = format!(
                "rows are up to {} pieces long, the model has {positions} positions",
                reading.max_length
            );
            return Err(StageError::new("model::config", message).help("lower `max_length`"));
        }
        let extent = Extent {
            most: kind.batch.max(EVALUATED),
            longest: reading.max_length,
        };
        let Made {
            mut trainer,
            made_on,
        } = device::task_trainer(stage, kind.precision, settings, extent, true)?;
        if let Some(tensors) = &begin.tensors {
            let is_for_others =
                (begin.labels.as_deref()).is_some_and(|labels| *labels != *labels_of(reading));
            let encoder = is_for_others.then(|| without_head(tensors));
            let begun = trainer.start_from(encoder.as_ref().unwrap_or(tensors));
            let begun = begun.map_err(train_error)?;
            if begun.has_other_head || is_for_others {
                let message =
                    "the head of `start` is for other classes: a new one begins at random";
                data.warnings
                    .push(Diagnostic::warning("model::other_head", message));
            }
            let body: Vec<&String> = begun
                .unmatched
                .missing
                .iter()
                .filter(|name| name.starts_with("electra."))
                .collect();
            if !body.is_empty() {
                let message = format!(
                    "{} tensors of the encoder are not in `start` and begin at random",
                    body.len()
                );
                data.warnings.push(
                    Diagnostic::warning("model::missing", message)
                        .detail(format!("the first is `{}`", body[0])),
                );
            }
        }
        let mut keeper = Keeper::new(stage, made_on);
        let so_far = match keeper.resume(|_, place| trainer.resume(place))? {
            Some(notes) => serde_json::from_slice(&notes).map_err(std::io::Error::other)?,
            None => Progressed::default(),
        };
        Ok(Self {
            live: Live::open(stage, trainer.step()),
            kind,
            stage,
            reading,
            begin,
            compiled,
            data,
            head: head.0,
            trainer,
            steps_per_epoch,
            so_far,
            needed: Vec::new(),
            inherited: bests(stage)?,
            keeper,
            pace,
        })
    }

    /// The order of an epoch: by a draw for each row, so that it is a function of the seed and the epoch.
    fn order(&self, epoch: u64) -> Vec<usize> {
        let stream = Stream::new(self.kind.seed, Purpose::Shuffle);
        let draw = Draw {
            step: u32::try_from(epoch).expect("few epochs"),
            sequence: 0,
        };
        let mut order: Vec<usize> = (0..self.data.train.len()).collect();
        order.sort_by_cached_key(|i| (stream.words(draw, *i as u64), *i));
        order
    }

    fn total(&self) -> u64 {
        self.steps_per_epoch * u64::from(self.kind.epochs)
    }

    /// All steps and epochs that are left.
    pub(super) fn train(&mut self) -> Result<(), StageError> {
        let mut order: Option<(u64, Vec<usize>)> = None;
        loop {
            let step = self.trainer.step();
            let epoch = step / self.steps_per_epoch;
            // Also what an interruption kept from being done.
            if self.so_far.epochs.len() < epoch as usize {
                self.end_epoch()?;
            }
            if step >= self.total() {
                return Ok(());
            }
            if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                order = Some((epoch, self.order(epoch)));
            }
            let rows = &order.as_ref().expect("just made").1;
            let first = (step % self.steps_per_epoch) as usize * self.kind.batch;
            let rows = &rows[first..(first + self.kind.batch).min(rows.len())];
            self.step(rows)?;
            if self.pace.wants_checkpoint() && !self.keeper.is_writing(self.stage) {
                self.keep()?;
            }
        }
    }

    fn step(&mut self, rows: &[usize]) -> Result<(), StageError> {
        let batch: Vec<TaskExample<'_>> = rows
            .iter()
            .map(|i| {
                let input = &self.data.train[*i];
                TaskExample {
                    ids: &input.ids,
                    types: &input.types,
                    label: input.label(),
                }
            })
            .collect();
        let pace = &self.pace;
        let numbers = self
            .trainer
            .train_while(&batch, &|_| !pace.must_stop())
            .map_err(|error| {
                step_error(error, || {
                    format!("rows {rows:?} of `train`, counted from 0")
                })
            })?;
        let Some(numbers) = numbers else {
            return Err(self.stop());
        };
        self.so_far.loss_sum += f64::from(numbers.loss);
        self.tell(&numbers);
        Ok(())
    }

    fn tell(&mut self, numbers: &TaskNumbers) {
        let done = self.trainer.step();
        self.pace.count(numbers.tokens);
        let is_logged = done.is_multiple_of(LIVE_EVERY) || done == self.total();
        if self.pace.wants_line(is_logged) {
            let speed = self.pace.tokens_per_second();
            let others = [("tokens_per_second", speed)];
            self.live.numbers("train", done, numbers, &others);
            self.pace.restart_count();
        }
        (self.pace).say_step(self.stage, done, self.total(), numbers.loss);
    }

    fn end_epoch(&mut self) -> Result<(), StageError> {
        let dev = match self.dev_score()? {
            Scored::At(dev) => dev,
            Scored::Stopped => return Err(self.stop()),
        };
        let before = self.best().cloned();
        let epoch = Epoch {
            epoch: u32::try_from(self.so_far.epochs.len()).expect("few epochs") + 1,
            steps: self.trainer.step(),
            train_loss: std::mem::take(&mut self.so_far.loss_sum) / self.steps_per_epoch as f64,
            dev,
        };
        self.live.numbers("epoch", epoch.steps, &epoch, &[]);
        self.pace.restart_count();
        let number = epoch.epoch;
        self.so_far.epochs.push(epoch);
        if self.kind.keep == Keep::Best && dev.is_some() && self.best() != before.as_ref() {
            // Beside its place first: a kill in between leaves the best before it.
            let partial = self.stage.scratch.join("best.partial");
            let tensors = self.trainer.tensors().map_err(train_error)?;
            weights::write(&partial, &tensors).map_err(weights_error)?;
            fs_err::File::open(&partial)?.sync_all()?;
            fs_err::rename(partial, best_place(self.stage, number))?;
            self.forget_bests(number)?;
        }
        Ok(())
    }

    /// Removes tensors of epochs that no checkpoint that may be read again calls its best.
    fn forget_bests(&mut self, newest: u32) -> Result<(), StageError> {
        if self.needed.len() == RECENT {
            self.inherited.clear();
        }
        for epoch in bests(self.stage)? {
            let is_needed = epoch == newest
                || self.needed.contains(&Some(epoch))
                || self.inherited.contains(&epoch);
            if !is_needed {
                fs_err::remove_file(best_place(self.stage, epoch))?;
            }
        }
        Ok(())
    }

    /// The earliest of the best epochs on `dev`.
    fn best(&self) -> Option<&Epoch> {
        let mut best: Option<&Epoch> = None;
        for epoch in &self.so_far.epochs {
            if epoch.dev > best.and_then(|best| best.dev) {
                best = Some(epoch);
            }
        }
        best
    }

    fn dev_score(&mut self) -> Result<Scored, StageError> {
        if self.data.dev.is_empty() {
            return Ok(Scored::At(None));
        }
        let featuriser = Featuriser::new(&self.begin.vocabulary, self.compiled);
        let mut encoding = Encoding::new(self.reading, featuriser);
        let rows: Vec<(&[u32], &[u32])> = self
            .data
            .dev
            .iter()
            .flat_map(|(_, inputs, _)| inputs)
            .map(|input| (&input.ids[..], &input.types[..]))
            .collect();
        let at = (self.trainer.step(), self.total());
        let go_on = self.pace.watch(self.stage, at, rows.len(), "evaluating");
        let logits = self.trainer.predict_while(&rows, &go_on);
        drop(go_on);
        let Some(logits) = logits.map_err(train_error)? else {
            return Ok(Scored::Stopped);
        };
        let mut rest = &logits[..];
        let mut predictions = Predictions::new();
        let mut examples = Vec::new();
        for (example, inputs, rows) in &self.data.dev {
            let (own, others) = rest.split_at(inputs.len());
            rest = others;
            let found = encoding.predictions(example, rows, own);
            predictions.insert(example.id().to_owned(), found);
            examples.push(example.clone());
        }
        let (name, number) = chosen_by(&self.reading.labels);
        let metric = find_metric(name).expect("a metric of this program");
        let options = Options {
            negative: self.reading.labels.negative.clone(),
            ..Options::default()
        };
        let work = Work {
            examples: &examples,
            predictions: &predictions,
            golden: None,
            options: &options,
        };
        let outcome = metrics::score(metric, &work).map_err(stage_error)?;
        let of = |score: &&metrics::Score| score.metric == number && score.class.is_none();
        let score = outcome.scores.iter().find(of);
        Ok(Scored::At(score.map(|score| score.value)))
    }

    /// Begins to keep the step it is at.
    fn keep(&mut self) -> Result<(), StageError> {
        self.needed.push(self.best().map(|best| best.epoch));
        if self.needed.len() > RECENT {
            self.needed.remove(0);
        }
        let notes = self.notes();
        let snapshot = self.trainer.snapshot().map_err(train_error)?;
        self.keeper.keep(self.stage, snapshot, &notes)
    }

    fn notes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.so_far).expect("numbers serialise")
    }

    /// How the stage ends when it is asked to: with its step on the disk.
    fn stop(&mut self) -> StageError {
        let (step, notes) = (self.trainer.step(), self.notes());
        let take = || (self.trainer.snapshot(), notes);
        self.keeper.stop(self.stage, step, take)
    }

    /// Writes what comes out.
    pub(super) fn finish(mut self) -> Result<StageReport, StageError> {
        let stage = self.stage;
        self.keeper.wait()?;
        self.data.warnings.extend(self.keeper.take_warnings());
        let best = self.best().cloned();
        let tensors = match &best {
            Some(best) if self.kind.keep == Keep::Best => {
                weights::read(&best_place(stage, best.epoch)).map_err(weights_error)?
            }
            _ => self.trainer.tensors().map_err(train_error)?,
        };
        let problem = match self.reading.task() {
            Task::Regression => Some("regression"),
            Task::MultiLabel => Some("multi_label_classification"),
            _ => None,
        };
        let written = Model {
            architecture: match self.head {
                HeadKind::Tokens => "ElectraForTokenClassification",
                HeadKind::Span => "ElectraForQuestionAnswering",
                HeadKind::Sequence => "ElectraForSequenceClassification",
                // What stands on them `transformers` has no class for.
                HeadKind::TokensPlain | HeadKind::SequencePlain | HeadKind::Joint => "ElectraModel",
            },
            config: &self.begin.config,
            tensors: &tensors,
            vocabulary: &self.begin.vocabulary,
            spelling: Spelling {
                lower_case: self.kind.lower_case,
                strip_accents: None,
            },
            labels: &labels_of(self.reading),
            problem,
        };
        let folder = stage.output("model");
        model::write(&folder, &written)?;
        self.reading.write(&folder).map_err(stage_error)?;
        let mut log = String::new();
        for epoch in &self.so_far.epochs {
            log.push_str(&serde_json::to_string(epoch).expect("numbers serialise"));
            log.push('\n');
        }
        fs_err::write(stage.output("log.jsonl"), log)?;
        let kept = match self.kind.keep {
            Keep::Best => best.or_else(|| self.so_far.epochs.last().cloned()),
            Keep::Last => self.so_far.epochs.last().cloned(),
        };
        let kept = kept.expect("at least one epoch");
        let row = |split: &str, metric: &str, value: f64, n: usize| MetricRow {
            dataset: Some(self.kind.name.clone()),
            split: Some(split.to_owned()),
            metric: metric.to_owned(),
            class: None,
            value,
            n: Some(n as u64),
        };
        let mut numbers = vec![
            row(
                "train",
                "train_loss",
                kept.train_loss,
                self.data.train.len(),
            ),
            row(
                "train",
                "kept_epoch",
                f64::from(kept.epoch),
                self.data.train.len(),
            ),
        ];
        if let Some(value) = kept.dev {
            let (_, number) = chosen_by(&self.reading.labels);
            numbers.push(row("dev", number, value, self.data.dev.len()));
        }
        Ok(StageReport {
            numbers,
            warnings: self.data.warnings,
            notes: [(
                SETTINGS.to_owned(),
                Finetune::settled(&self.begin.config, self.reading),
            )]
            .into(),
            ..StageReport::default()
        })
    }
}

/// The names of a head's outputs in `config.json`.
fn labels_of(reading: &Reading) -> Cow<'_, [String]> {
    match reading.task() {
        // Without a name for its one output a regression would be read as a head of two.
        Task::Regression => Cow::Owned(vec!["value".to_owned()]),
        _ => Cow::Borrowed(&reading.labels.labels),
    }
}

/// The metric, and which of its numbers, that epochs are chosen by.
fn chosen_by(labels: &LabelSet) -> (&'static str, &'static str) {
    match labels.task {
        Task::Tagging | Task::Spans => ("span_f1", "f1"),
        Task::Classification if labels.negative.is_empty() => ("accuracy", "accuracy"),
        Task::Classification => ("micro_f1", "f1"),
        Task::MultiLabel => ("multi_label_f1", "f1"),
        Task::Regression => ("pearson", "pearson"),
        Task::QuestionAnswering => ("exact_match", "f1"),
    }
}
