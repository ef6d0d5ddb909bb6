//! `pipeline why`: the manifest of the last record against the one planned now.

use flow::key::{Manifest, shorten};
use flow::plan::{Decision, Offer, Planner, Why};
use flow::spec::{StageId, StageSpec};

use super::Done;
use super::args::StageArgs;
use super::session::Session;
use crate::console::Console;

/// How many unchanged lines are named.
const SAME_SHOWN: usize = 6;

/// Prints what decides whether a stage runs.
pub(super) fn why(args: &StageArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let id = session.one_stage(&args.stage, console)?;
    let mut planner = session.planner()?;
    let stage = planner.stage(id);
    let name = &stage.name;
    let mut open: Option<StageId> = None;
    for upstream in flow::graph::upstream(session.workflow(), &[id]) {
        match planner.decide(upstream) {
            Err(problem) => return Err(session.failure(vec![problem], console)),
            Ok(Decision::Miss { .. }) if upstream != id => open = open.or(Some(upstream)),
            Ok(Decision::Open) if upstream == id => {}
            Ok(Decision::Open) => {}
            Ok(Decision::Hit(known)) if upstream == id => {
                let record = planner.store.find_record(&known.key);
                let made = record
                    .as_ref()
                    .map(|record| format!(" of {}", record.finished))
                    .unwrap_or_default();
                console.text(&format!(
                    "{name} is cached: its record{made} has the key {}",
                    known.key.short()
                ));
                let chosen = chosen(&planner, id);
                if !chosen.is_empty() {
                    console.text(&chosen);
                }
                if let Some(imported) = record.as_ref().and_then(|record| record.imported.as_ref())
                {
                    console.text(&format!("  {}, on {}", imported.words(), imported.date));
                }
                if let Some(accepted) = record.and_then(|record| record.accepted) {
                    console.text(&format!(
                        "  accepted from {}: {}",
                        accepted.from.short(),
                        accepted.reason
                    ));
                }
                let _ = planner.flush();
                return Ok(0);
            }
            Ok(Decision::Hit(_)) => {}
            Ok(Decision::Miss { key, manifest }) => {
                let why = planner.why(stage, &key, &manifest);
                let old = planner
                    .last_record(stage, &key)
                    .map(|record| Manifest(record.manifest));
                let text = explain(name, &why, old.as_ref(), &manifest);
                let offer = planner.offer(stage, &key, &manifest);
                let offer = offer.as_ref().map(offered).unwrap_or_default();
                console.text(&(text + &chosen(&planner, id) + &offer));
                let _ = planner.flush();
                return Ok(0);
            }
        }
    }
    let upstream = open.map_or_else(
        || "its inputs".to_owned(),
        |id| format!("`{}`", planner.stage(id).name),
    );
    match planner.undecided(id) {
        Some(chooser) => console.text(&format!(
            "{name} may run: it waits for the choice of `{}`",
            planner.stage(chooser).name
        )),
        None => console.text(&format!(
            "{name} may run: {upstream} runs first, and decides by the bytes it gives"
        )),
    }
    if let Some(upstream) = open {
        console.note(&format!(
            "`pipeline why {} '{}'` says why that runs",
            args.pipeline.file.display(),
            planner.stage(upstream).name
        ));
    }
    let _ = planner.flush();
    Ok(0)
}

/// What other stages chose for this one, a line each.
fn chosen(planner: &Planner<'_>, id: StageId) -> String {
    let line = |(chooser, axis, value): (&StageSpec, &str, &str)| {
        format!("    `{}` chose {axis} = {value}\n", chooser.name)
    };
    planner.chosen(id).into_iter().map(line).collect()
}

/// What it could go on from, and the lines of a stage that does.
fn offered(offer: &Offer) -> String {
    let mut text = format!("{}\n", offer.words());
    if let Some(action) = offer.action() {
        text.push_str(&format!("{action}\n"));
    }
    for line in &offer.lines {
        text.push_str(&format!("{line}\n"));
    }
    text
}

fn explain(name: &str, why: &Why, old: Option<&Manifest>, new: &Manifest) -> String {
    let changes = match why {
        Why::New => {
            return format!(
                "{name} will run: it has no record yet in this pipeline\n{}",
                listing(new)
            );
        }
        Why::Lost => return format!("{name} will run: its record is gone from the cache"),
        Why::Changed(changes) => changes,
    };
    let mut text = format!("{name} will run: its manifest changed\n");
    for change in changes {
        if let Some(old) = &change.old {
            text.push_str(&format!("  - {} = {}\n", change.path, shorten(old)));
        }
        if let Some(new) = &change.new {
            text.push_str(&format!("  + {} = {}\n", change.path, shorten(new)));
        }
    }
    let same: Vec<String> = old
        .into_iter()
        .flat_map(Manifest::lines)
        .filter(|(path, _)| changes.iter().all(|change| change.path != *path))
        .map(|(path, value)| format!("{path} = {}", shorten(value)))
        .collect();
    if !same.is_empty() {
        let more = same.len().saturating_sub(SAME_SHOWN);
        text.push_str(&format!(
            "    same: {}",
            same[..same.len().min(SAME_SHOWN)].join(", ")
        ));
        if more > 0 {
            text.push_str(&format!(", and {more} more"));
        }
        text.push('\n');
    }
    text
}

fn listing(manifest: &Manifest) -> String {
    manifest
        .lines()
        .map(|(path, value)| format!("  + {path} = {}\n", shorten(value)))
        .collect()
}
