//! What holds a run back from remaking something precious. Knows nothing of how a run goes on.

use crate::clock::duration;
use crate::diagnostic::Diagnostic;
use crate::key::{Change, shorten};
use crate::plan::Why;
use crate::spec::StageSpec;
use crate::store::record::Record;

/// How many changed lines are shown.
const SHOWN: usize = 12;

/// The message that stops a run before it remakes a protected or costly stage; `None` when it may go on.
pub(super) fn guard(
    stage: &StageSpec,
    last: &Record,
    why: &Why,
    dependents: usize,
    confirm_over_seconds: f64,
) -> Option<Diagnostic> {
    if !stage.policy.protect && last.seconds <= confirm_over_seconds {
        return None;
    }
    let name = &stage.name;
    let took = duration(last.seconds);
    let reason = if stage.policy.protect {
        "it is protected"
    } else {
        "it was costly"
    };
    let mut diagnostic = Diagnostic::error(
        "run::protected",
        format!("`{name}` would be remade, and {reason}: its last result took {took}"),
    )
    .at(stage.span, "this stage");
    if let Why::Changed(changes) = why {
        for line in changes.iter().take(SHOWN).flat_map(change_lines) {
            diagnostic = diagnostic.detail(line);
        }
        if changes.len() > SHOWN {
            diagnostic = diagnostic.detail(format!("… and {} more lines", changes.len() - SHOWN));
        }
    }
    let hangs = match dependents {
        0 => "nothing else depends on it".to_owned(),
        1 => "1 stage depends on it".to_owned(),
        n => format!("{n} stages depend on it"),
    };
    Some(diagnostic.detail(hangs).help(format!(
        "to remake it: `--yes '{name}'`; to go on with the old result: `--keep-old '{name}'`; \
         to bless the old result for good: `pipeline accept FILE '{name}' --reason TEXT`"
    )))
}

fn change_lines(change: &Change) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(old) = &change.old {
        lines.push(format!("- {} = {}", change.path, shorten(old)));
    }
    if let Some(new) = &change.new {
        lines.push(format!("+ {} = {}", change.path, shorten(new)));
    }
    lines
}
