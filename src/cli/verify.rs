//! `pipeline verify`: what holds of a bundle, and what that does not prove.

use flow::diagnostic::Class;

use super::Done;
use super::args::VerifyArgs;
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};
use crate::share::gap::Gap;
use crate::share::opened::LIMIT_BYTES;
use crate::share::verify::{Request, Rung, Verdict, verify as climb};

/// Lines of findings that are printed of one rung unless all are asked for.
const MOST_LINES: usize = 40;

/// Climbs the ladder and prints each rung.
pub(super) fn verify(args: &VerifyArgs, console: &mut Console) -> Done {
    let mut request = Request {
        dir: args.bundle.clone(),
        random: 0,
        named: Vec::new(),
        seed: args.seed,
        tolerance: args.tolerance,
        cache: args.cache.clone(),
        limit_bytes: args.limit.unwrap_or(LIMIT_BYTES),
    };
    for word in &args.rerun {
        match word.parse() {
            Ok(count) => request.random = count,
            Err(_) => request.named.push(word.clone()),
        }
    }
    let (rungs, faults) = climb(&request)?;
    let fails = rungs.iter().any(|rung| rung.verdict == Verdict::Fails);
    if args.json {
        console.json(&rungs);
    } else {
        for rung in &rungs {
            console.text(&shown(rung, args.verbose, Look::of_stdout()));
        }
    }
    console.report(&faults);
    Ok(if fails { Class::Stage.exit_code() } else { 0 })
}

fn shown(rung: &Rung, is_all: bool, look: Look) -> String {
    let (ink, word) = match rung.verdict {
        Verdict::Holds => (Ink::Good, "holds"),
        Verdict::Fails => (Ink::Bad, "fails"),
        Verdict::Partly => (Ink::Warning, "holds as far as it can be judged here"),
        Verdict::Unjudged => (Ink::Faint, "not judged"),
    };
    let mut text = format!(
        "{} {}: {}",
        look.paint(Ink::Name, &format!("{}", rung.level)),
        rung.what,
        look.paint(ink, word)
    );
    if rung.seconds > 0.0 {
        text.push_str(&look.paint(
            Ink::Faint,
            &format!(" ({})", format::duration(rung.seconds)),
        ));
    }
    text.push('\n');
    let most = if is_all { usize::MAX } else { MOST_LINES };
    for line in rung.found.iter().take(most) {
        text.push_str(&format!("    {line}\n"));
    }
    if rung.found.len() > most {
        text.push_str(&format!("    and {} more lines\n", rung.found.len() - most));
    }
    for gap in &rung.gaps {
        if is_all {
            text.push_str(&format!("    {}\n", gap.heading()));
            for line in gap.all() {
                text.push_str(&format!("      {line}\n"));
            }
        } else {
            text.push_str(&format!("    {}\n", gap.line()));
        }
    }
    if !is_all && rung.gaps.iter().any(Gap::is_cut) {
        text.push_str(&look.paint(Ink::Faint, "    `-v` names all of them\n"));
    }
    text.push_str(&look.paint(Ink::Faint, &format!("    does not prove {}", rung.unproven)));
    text.push('\n');
    text
}
