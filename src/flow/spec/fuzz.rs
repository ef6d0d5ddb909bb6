//! The way from a text to a drawn plan, for fuzzing. Knows a kind that takes anything and touches no file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::load::load_text;
use super::pick::Pick;
use super::{Launch, Program};
use crate::graph::{GraphFormat, downstream, render_graph, upstream};
use crate::kind::{Ports, StageContext, StageError, StageKind, StageReport, kind};
use crate::select::select;

/// Has a field of each shape that configurations have.
#[derive(Deserialize, Serialize, JsonSchema)]
struct Anything {
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    script: Option<String>,
    #[serde(default)]
    count: Option<u32>,
    #[serde(default)]
    rate: Option<f64>,
    #[serde(default)]
    shape: Option<Shape>,
    #[serde(default)]
    params: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Flat,
    Nested { depth: u8 },
}

impl StageKind for Anything {
    const NAME: &'static str = "command";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Takes any inputs and declares its outputs.";

    fn ports(&self) -> Ports {
        Ports {
            any_input: true,
            declares_outputs: true,
            ..Ports::default()
        }
    }

    fn launch(&self) -> Launch {
        Launch::Program(Program {
            argv: self.argv.clone(),
            files: Vec::new(),
            numbers: Vec::new(),
        })
    }

    fn run(&self, _: &StageContext) -> Result<StageReport, StageError> {
        Err(StageError::new("kind::fuzz", "this kind is never run").bug())
    }
}

/// Reads, expands, selects and draws. Never panics, whatever the text; files it names are taken for missing.
pub fn fuzz_load(text: &str) {
    let kinds = [kind::<Anything>(), kind::<Pick>()];
    match load_text(text, &kinds) {
        Ok(loaded) => {
            let workflow = &loaded.workflow;
            for format in [GraphFormat::Dot, GraphFormat::Mermaid, GraphFormat::Svg] {
                assert!(!render_graph(workflow, format).is_empty());
            }
            for stage in &workflow.stages {
                let chosen = select(workflow, std::slice::from_ref(&stage.name))
                    .expect("a stage is selected by its own name");
                assert_eq!(chosen.len(), 1, "{}", stage.name);
                assert!(upstream(workflow, &chosen).contains(&chosen[0]));
                assert!(downstream(workflow, &chosen).contains(&chosen[0]));
            }
        }
        Err(failure) => {
            for problem in &failure.failure.diagnostics {
                for label in &problem.labels {
                    let text = &failure.sources.get(label.span.source).text;
                    let begin = label.span.offset as usize;
                    let covered = text.get(begin..begin + label.span.len as usize);
                    assert!(covered.is_some(), "{problem:?} lies outside its text");
                }
            }
        }
    }
}
