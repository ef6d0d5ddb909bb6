//! What holds a run back from remaking something precious. Knows nothing of how a run goes on.

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
    let took = format_seconds(last.seconds);
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

/// Seconds for people: `2 h 14 m`, `3 m 20 s`, `41 s`, `0.3 s`.
fn format_seconds(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, not negative, far below 2^64"
    )]
    let whole = seconds.round() as u64;
    match (
        whole / 86_400,
        whole / 3600 % 24,
        whole / 60 % 60,
        whole % 60,
    ) {
        (0, 0, 0, s) => format!("{s} s"),
        (0, 0, m, s) => format!("{m} m {s} s"),
        (0, h, m, _) => format!("{h} h {m} m"),
        (d, h, _, _) => format!("{d} d {h} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::format_seconds;

    #[test]
    fn seconds_read_as_people_say_them() {
        let cases = [
            (0.26, "0.3 s"),
            (41.2, "41 s"),
            (200.0, "3 m 20 s"),
            (8040.0, "2 h 14 m"),
            (90_000.0, "1 d 1 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(format_seconds(seconds), text);
        }
    }
}
