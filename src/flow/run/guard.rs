//! What holds a run back from remaking something precious. Knows nothing of how a run goes on.

use crate::amounts::duration;
use crate::diagnostic::Diagnostic;
use crate::key::{Change, shorten};
use crate::plan::{Offer, Why};
use crate::spec::StageSpec;

/// How many changed lines are shown.
const SHOWN: usize = 12;

/// What is about to be remade, and why.
pub(super) struct Remake<'a> {
    pub(super) stage: &'a StageSpec,
    /// Seconds the result took that is there now.
    pub(super) seconds: f64,
    pub(super) cause: Cause<'a>,
    /// Stages that hang on it.
    pub(super) dependents: usize,
    /// What it could go on from instead.
    pub(super) offer: Option<&'a Offer>,
}

/// Why something is about to be remade.
pub(super) enum Cause<'a> {
    /// It has another key now.
    Outdated(&'a Why),
    /// The result stands, but bytes of it are gone; what needs them.
    Lost(String),
}

/// Whether a result is one that is not to be remade without a word.
pub(super) fn is_precious(stage: &StageSpec, seconds: f64, confirm_over_seconds: f64) -> bool {
    stage.policy.protect || seconds > confirm_over_seconds
}

/// The message that stops a run before it remakes a protected or costly stage; `None` when it may go on.
pub(super) fn guard(remake: &Remake<'_>, confirm_over_seconds: f64) -> Option<Diagnostic> {
    let Remake {
        stage,
        seconds,
        cause,
        dependents,
        offer,
    } = remake;
    if !is_precious(stage, *seconds, confirm_over_seconds) {
        return None;
    }
    let name = &stage.name;
    let took = duration(*seconds);
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
    if let Cause::Lost(needed) = cause {
        diagnostic = diagnostic.detail(format!("its bytes are gone, and {needed}"));
    }
    if let Cause::Outdated(Why::Changed(changes)) = cause {
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
    let diagnostic = match offer {
        None => diagnostic.detail(hangs),
        Some(offer) => diagnostic.detail(hangs).detail(offer.words()),
    };
    let help = match cause {
        Cause::Outdated(_) => format!(
            "to remake it: `--yes '{name}'`; to go on with the old result: `--keep-old '{name}'`; \
             to bless the old result for good: `pipeline accept FILE '{name}' --reason TEXT`"
        ),
        Cause::Lost(_) => format!(
            "to remake it: `--yes '{name}'`; or put its objects back into the cache, from a copy of it"
        ),
    };
    let help = match offer.is_some_and(|offer| !offer.lines.is_empty()) {
        true => format!("to go on from it: `pipeline why FILE '{name}'` has the lines; {help}"),
        false => help,
    };
    Some(diagnostic.help(help))
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
