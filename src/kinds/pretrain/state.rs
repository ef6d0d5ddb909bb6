//! The state of a training as an output, and as what a longer training goes on from: what it says of itself, and what of the
//! two must agree. Knows no steps and no tensors.
//!
//! The folder is a checkpoint ([`engine::checkpoint`]) whose notes are an [`About`]. Neither names a device or a time, so
//! equal trainings leave equal bytes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use engine::checkpoint::{self, Snapshot};
use engine::error::{TrainError, WeightsError};
use flow::kind::{StageContext, StageError};

use super::Pretrain;
use crate::kinds::model::weights_error;
use crate::kinds::training::train_error;

/// The output and the port.
pub(super) const STATE: &str = "state";
/// Where the output stands in the stage's folder: the input is at `state`.
pub(super) const KEPT: &str = "kept-state";

/// What a training may set anew when it goes on from a state: how long and how fast it goes, and what it says on the
/// way. Of `second` see [`Given::check_second`].
pub(super) const MAY_CHANGE: &[&str] = &[
    "name",
    "steps",
    "warmup_steps",
    "learning_rate",
    "snapshots",
    "evaluate_every",
    "log_every",
    "keep_state",
];

/// What a state says of itself; its step and tensors aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    /// The kind that made it.
    kind: String,
    /// Its configuration but for [`MAY_CHANGE`] and `second`, as a manifest has it: defaults are left out.
    with: Map<String, Value>,
    /// Digest of the packed examples.
    examples: String,
    /// The second phase, which had begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    second: Option<AboutSecond>,
}

/// The second phase of a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AboutSecond {
    /// Updates before it.
    first_step: u64,
    /// Examples of an update.
    batch: usize,
    /// Digest of its packed examples.
    examples: String,
}

impl About {
    /// What the state at the end of a stage says.
    fn of(kind: &Pretrain, stage: &StageContext) -> Self {
        let digest = |port: &str| {
            let item = stage.inputs.get(port).and_then(|input| input.items.first());
            item.map_or_else(String::new, |item| item.digest.to_string())
        };
        let config = serde_json::to_value(kind).expect("configurations serialise");
        let Value::Object(mut with) = config else {
            unreachable!("a struct is an object");
        };
        with.retain(|key, _| key != "second" && !MAY_CHANGE.contains(&key.as_str()));
        Self {
            kind: "pretrain".to_owned(),
            with,
            examples: digest("examples"),
            second: kind.second.as_ref().map(|second| AboutSecond {
                first_step: kind.steps - second.steps,
                batch: second.batch.unwrap_or(kind.batch),
                examples: digest("second"),
            }),
        }
    }
}

/// Writes the output.
pub(super) fn write(
    kind: &Pretrain,
    stage: &StageContext,
    snapshot: &Snapshot,
) -> Result<(), StageError> {
    let notes = serde_json::to_vec(&About::of(kind, stage)).expect("texts serialise");
    let written = snapshot.write(&stage.output(KEPT), &notes);
    written.map_err(weights_error)
}

/// A state to go on from, which fits the stage.
#[derive(Debug)]
pub(super) struct Given {
    folder: PathBuf,
    /// Updates that it stands for.
    pub(super) step: u64,
}

impl Given {
    /// The input `state`, held against the configuration and the other inputs; `None` where there is none.
    ///
    /// # Errors
    /// When it is no state, damaged, or of a training that this one cannot go on with: all that differs at once.
    pub(super) fn find(kind: &Pretrain, stage: &StageContext) -> Result<Option<Self>, StageError> {
        let Some(folder) = stage.find_input(STATE) else {
            return Ok(None);
        };
        for port in ["start", "start_generator"] {
            if stage.find_input(port).is_some() {
                let message = format!("`state` and `{port}` are both given");
                return Err(refusal(message).help(format!(
                    "leave `{port}` out: a state holds all values of both networks"
                )));
            }
        }
        let (state, notes) =
            checkpoint::read_notes(&folder).map_err(|error| unread(error.into()))?;
        let about: About = serde_json::from_slice(&notes)
            .map_err(|error| no_state(&folder).detail(error.to_string()))?;
        let own = About::of(kind, stage);
        if about.kind != own.kind {
            return Err(no_state(&folder));
        }
        let given = Self {
            folder,
            step: state.step,
        };
        same(&about, &own)?;
        given.check_second(about.second.as_ref(), own.second.as_ref(), kind.steps)?;
        given.check_steps(kind)?;
        Ok(Some(given))
    }

    /// Reads it into a trainer, through what the trainer reads checkpoints with.
    pub(super) fn load(
        &self,
        resume: impl FnOnce(&Path) -> Result<Vec<u8>, TrainError>,
    ) -> Result<(), StageError> {
        resume(&self.folder).map(drop).map_err(unread)
    }

    /// Up to the state's step both trainings must have read the same file in the same batches.
    fn check_second(
        &self,
        made: Option<&AboutSecond>,
        own: Option<&AboutSecond>,
        steps: u64,
    ) -> Result<(), StageError> {
        let at = self.step;
        match (made, own) {
            (None, None) => Ok(()),
            (None, Some(own)) if own.first_step >= at => Ok(()),
            (None, Some(own)) => Err(refusal(format!(
                "the second phase begins after {} updates, and `state` stands at {at}, all of the first phase",
                own.first_step
            ))
            .help(format!(
                "`second.steps` is at most {} here",
                steps.saturating_sub(at)
            ))),
            (Some(made), own) if own.map(|own| own.first_step) != Some(made.first_step) => {
                let here = match own {
                    None => "here there is none".to_owned(),
                    Some(own) => format!("here it begins after {}", own.first_step),
                };
                let left = steps.saturating_sub(made.first_step);
                Err(refusal(format!(
                    "the second phase of `state` began after {} updates, {here}",
                    made.first_step
                ))
                .help(format!(
                    "go on in it: `second: {{ steps: {left} }}`, with the same input `second`"
                )))
            }
            (Some(made), Some(own)) => {
                let mut details = Vec::new();
                if made.batch != own.batch {
                    let (made, own) = (made.batch, own.batch);
                    details.push(format!("`second.batch`: {made} in the state, {own} here"));
                }
                if made.examples != own.examples {
                    details.push("the input `second` is another one".to_owned());
                }
                differing(details)
            }
            (Some(_), None) => unreachable!("no second phase is another beginning"),
        }
    }

    fn check_steps(&self, kind: &Pretrain) -> Result<(), StageError> {
        let at = self.step;
        if kind.steps <= at {
            let message = format!(
                "`state` stands at {at} updates, and `steps` is {}",
                kind.steps
            );
            return Err(refusal(message).help(format!(
                "`steps` counts all updates, those of `state` too: give more than {at}"
            )));
        }
        let gone: Vec<String> = (kind.snapshots.iter())
            .filter(|step| **step <= at)
            .map(u64::to_string)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let message = format!(
            "`snapshots` asks for {}, and `state` stands at {at} updates already",
            gone.join(", ")
        );
        Err(refusal(message).help("leave them to the stage that made `state`"))
    }
}

/// Everything but phases and steps.
fn same(made: &About, own: &About) -> Result<(), StageError> {
    let mut keys: Vec<&String> = made.with.keys().chain(own.with.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let shown = |with: &Map<String, Value>, key: &str| match with.get(key) {
        None => "its default".to_owned(),
        Some(value) => value.to_string(),
    };
    let mut details: Vec<String> = keys
        .into_iter()
        .filter(|key| made.with.get(*key) != own.with.get(*key))
        .map(|key| {
            let (made, own) = (shown(&made.with, key), shown(&own.with, key));
            format!("`{key}`: {made} in the state, {own} here")
        })
        .collect();
    if made.examples != own.examples {
        details.push("the input `examples` is another one".to_owned());
    }
    differing(details)
}

fn differing(details: Vec<String>) -> Result<(), StageError> {
    if details.is_empty() {
        return Ok(());
    }
    let error = refusal("`state` is of another training".to_owned()).help(format!(
        "only {} may differ; to begin from its weights alone, give the `model` and `generator` beside it as `start` and `start_generator`",
        MAY_CHANGE
            .iter()
            .map(|key| format!("`{key}`"))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    Err(details.into_iter().fold(error, StageError::detail))
}

fn refusal(message: String) -> StageError {
    StageError::new("model::state", message)
}

fn no_state(folder: &Path) -> StageError {
    refusal(format!(
        "`{}` is no state of a pre-training",
        folder.file_name().unwrap_or_default().to_string_lossy()
    ))
    .help("give the output `state` of a stage of kind `pretrain` with `keep_state: true`")
}

/// A state that is not there or not whole, unless the disk is at fault.
fn unread(error: TrainError) -> StageError {
    match error {
        TrainError::Weights(WeightsError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            no_state(Path::new(STATE)).detail(source.to_string())
        }
        TrainError::Weights(
            error @ (WeightsError::Checkpoint { .. }
            | WeightsError::Shape { .. }
            | WeightsError::Format { .. }
            | WeightsError::Type { .. }),
        ) => refusal("`state` cannot be read".to_owned())
            .detail(error.to_string())
            .help("give it whole, as the stage that made it left it"),
        error => train_error(error),
    }
}
