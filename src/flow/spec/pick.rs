//! A kind that chooses, for tests and fuzzing of references to a choice. It is never run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kind::{Choosing, Ports, StageContext, StageError, StageKind, StageReport};

/// Chooses among anything.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Pick {
    over: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mean_over: Option<Vec<String>>,
}

impl StageKind for Pick {
    const NAME: &'static str = "pick";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Chooses.";
    const CHOOSES: bool = true;

    fn ports(&self) -> Ports {
        Ports::inputs(["scores"]).outputs(["choice"])
    }

    fn choosing(&self) -> Option<Choosing> {
        Some(Choosing {
            port: "scores",
            axes_key: "over",
            axes: self.over.clone(),
            averaged_key: "mean_over",
            averaged: self.mean_over.clone(),
        })
    }

    fn run(&self, _: &StageContext) -> Result<StageReport, StageError> {
        Err(StageError::new("kind::pick", "this kind is never run").bug())
    }
}
