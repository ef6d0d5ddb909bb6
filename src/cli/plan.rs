//! `pipeline plan`: what would run, certainly or possibly, why, and what it costs.

use std::path::Path;

use flow::kind::StageKind as _;
use flow::plan::{PlanRow, PlanState, SecondsBy, plan_rows};

use super::Done;
use super::args::PlanArgs;
use super::session::Session;
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};
use crate::kinds::fetch::{Fetch, Lacking, lacking};

mod bill;
pub(super) mod devices;

/// Prints the plan.
pub(super) fn plan(args: &PlanArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let targets = session.targets(&args.selection, console)?;
    let mut forced = if args.selection.force.is_empty() {
        Vec::new()
    } else {
        session.stages(&args.selection.force, console)?
    };
    if args.selection.refresh {
        forced.extend(super::lock::unpinned(&session));
    }
    let selected = flow::run::selected(session.workflow(), &targets);
    let mut planner = session.planner()?;
    let mut rows = plan_rows(&mut planner, &selected, &forced.into_iter().collect())
        .map_err(|problems| session.failure(problems, console))?;
    // Hashes of large inputs are worth keeping even though nothing ran.
    let _ = planner.flush();
    // The reference is made to check others: what processors and GPUs reach tells nothing of it.
    let processes = |index: usize| {
        let resources = &planner.stage(selected[index]).policy.resources;
        (resources.device.as_deref() != Some("reference")).then_some(resources.processes)
    };
    let speeds = bill::expect_times(&mut rows, args.on, processes)?;
    if args.offline {
        for (row, id) in rows.iter_mut().zip(&selected) {
            let stage = planner.stage(*id);
            if row.state != PlanState::Cached && stage.kind == Fetch::NAME {
                let chooser = planner.undecided(*id);
                // What it will be is open until then, and any of them may be chosen.
                let configs: Vec<&str> = match chooser {
                    Some(_) => (stage.variants.iter())
                        .map(|variant| variant.stage.config.as_str())
                        .collect(),
                    None => vec![stage.config.as_str()],
                };
                let Lacking { online, absent } =
                    lacking(configs.into_iter(), &session.workflow().root);
                if !(online.is_empty() && absent.is_empty()) {
                    row.by_choice = chooser.map(|chooser| planner.stage(chooser).name.clone());
                }
                (row.forbidden, row.absent) = (online, absent);
            }
        }
    }
    if args.json {
        console.json(&rows);
    } else {
        console.text(&table(&rows));
        for line in offers(&rows, &args.pipeline.file) {
            console.note(&line);
        }
        console.note(&counts(&rows));
        for state in [PlanState::WillRun, PlanState::MayRun] {
            if let Some(line) = bill::total(&rows, state) {
                console.note(&line);
            }
        }
        for line in forbidden(&rows) {
            console.note(&line);
        }
        for speed in &speeds {
            console.note(&format!("speed of {speed}"));
        }
        if let Some(line) = bill::assumed(&rows, &speeds) {
            console.note(&line);
        }
    }
    Ok(0)
}

fn table(rows: &[PlanRow]) -> String {
    let mut table = Table::new([
        ("STAGE", Align::Left),
        ("STATE", Align::Left),
        ("FLOP", Align::Right),
        ("TIME", Align::Right),
        ("DISK", Align::Right),
        ("BECAUSE", Align::Left),
    ]);
    for row in rows.iter().filter(|row| row.state != PlanState::Cached) {
        let (ink, state) = match row.state {
            PlanState::WillRun => (Ink::Accent, "will run"),
            _ => (Ink::Faint, "may run"),
        };
        let flop = row.flop.map(bill::operations).unwrap_or_default();
        let mut time = row.seconds.map(format::duration).unwrap_or_default();
        if row.seconds_by == Some(SecondsBy::Speed) {
            time.insert(0, '~');
        }
        let disk = row.bytes.map(format::bytes).unwrap_or_default();
        table.row([
            Cell::new(Ink::Text, &row.stage),
            Cell::new(ink, state),
            Cell::new(Ink::Text, flop),
            Cell::new(Ink::Text, time),
            Cell::new(Ink::Text, disk),
            Cell::new(Ink::Faint, &row.because),
        ]);
    }
    if table.is_empty() {
        String::new()
    } else {
        let table = table.without_empty(&["FLOP", "DISK"]);
        table.render(Look::of_stdout(), true)
    }
}

/// What stages could go on from, a line for the instances of each.
fn offers(rows: &[PlanRow], file: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let offered: Vec<_> = rows
        .iter()
        .filter_map(|row| Some((row.stage.split('[').next()?, row, row.offer.as_ref()?)))
        .collect();
    for same in
        offered.chunk_by(|(a, _, first), (b, _, second)| a == b && first.state == second.state)
    {
        let (_, row, offer) = same[0];
        let mut line = offer.words();
        if same.len() > 1 {
            line.push_str(&format!("; and {} more instances of it", same.len() - 1));
        }
        if !offer.lines.is_empty() {
            let (file, stage) = (file.display(), &row.stage);
            line.push_str(&format!("; `pipeline why {file} '{stage}'` has the lines"));
        }
        lines.push(line);
    }
    lines
}

/// What cannot run without the network, and the way out.
fn forbidden(rows: &[PlanRow]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for row in rows {
        let begin = match &row.by_choice {
            Some(chooser) => format!(
                "`{}` may be unable to run offline, by the choice of `{chooser}`",
                row.stage
            ),
            None => format!("`{}` cannot run offline", row.stage),
        };
        if let Some((first, rest)) = row.forbidden.split_first() {
            lines.push(match rest.len() {
                0 => format!("{begin}: `{first}` is not on this machine"),
                more => format!("{begin}: `{first}` and {more} more are not on this machine"),
            });
        }
        if let Some((first, rest)) = row.absent.split_first() {
            lines.push(match rest.len() {
                0 => format!("{begin}: {first}"),
                more => format!("{begin}: {first}; and {more} more files are not there"),
            });
        }
    }
    if rows.iter().any(|row| !row.forbidden.is_empty()) {
        let help = "name copies with `--mirrors FILE` or `--mirror PREFIX=DIR`, or run without `--offline`";
        lines.push(help.to_owned());
    }
    if rows.iter().any(|row| !row.absent.is_empty()) {
        let help = "put those files there, or name other places";
        lines.push(help.to_owned());
    }
    lines
}

fn counts(rows: &[PlanRow]) -> String {
    let count = |state| rows.iter().filter(|row| row.state == state).count();
    format!(
        "{} will run, {} may run, {} cached",
        count(PlanState::WillRun),
        count(PlanState::MayRun),
        count(PlanState::Cached)
    )
}
