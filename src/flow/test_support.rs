//! Small values for tests of several rooms of this crate.

use crate::source::{SourceId, Span};
use crate::spec::{Launch, Policy, Program, StageSpec};

/// A stage of kind `command` without inputs or outputs.
pub(crate) fn stage(name: &str) -> StageSpec {
    StageSpec {
        name: name.to_owned(),
        stage: name.to_owned(),
        axes: Vec::new(),
        doc: None,
        kind: "command".to_owned(),
        version: 1,
        config: "{}".to_owned(),
        lines_before: String::new(),
        lines_after: String::from("kind = command 1\n"),
        inputs: Vec::new(),
        outputs: Vec::new(),
        launch: Launch::Program(Program {
            argv: vec!["true".to_owned()],
            files: Vec::new(),
            numbers: Vec::new(),
        }),
        policy: Policy::default(),
        chooses: Vec::new(),
        choices: Vec::new(),
        variants: Vec::new(),
        departures: Vec::new(),
        span: Span {
            source: SourceId(0),
            offset: 0,
            len: 0,
            line: 1,
            column: 1,
        },
    }
}
