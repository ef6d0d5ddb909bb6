//! `pipeline status`: where each stage stands, without starting anything.

use flow::metric::MetricRow;
use flow::plan::Decision;
use flow::results::Standing;
use flow::spec::METRICS;
use flow::store::Store;
use flow::store::record::Record;
use serde::Serialize;

use super::Done;
use super::args::StatusArgs;
use super::session::Session;
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};

/// Where a stage stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It has a record.
    Cached,
    /// It has none under its present key.
    Outdated,
    /// Somebody is making it.
    Running,
    /// Its last attempt under this key failed.
    Failed,
}

#[derive(Serialize)]
struct Row {
    stage: String,
    state: State,
    key: Option<String>,
    seconds: Option<f64>,
    because: String,
}

/// Prints the state of the selected stages.
pub(super) fn status(args: &StatusArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let shown = session.stages(&args.stages, console)?;
    let mut planner = session.planner()?;
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for id in flow::graph::upstream(session.workflow(), &shown) {
        let stage = planner.stage(id);
        let row = |state, key: Option<flow::digest::Digest>, seconds, because: String| Row {
            stage: stage.name.clone(),
            state,
            key: key.map(|key| key.to_string()),
            seconds,
            because,
        };
        let row = match planner.decide(id) {
            Err(problem) => {
                problems.push(problem);
                continue;
            }
            Ok(Decision::Hit(known)) => row(
                State::Cached,
                Some(known.key),
                Some(known.entry.seconds),
                (session.store.imported(&known.key))
                    .map(|imported| imported.words())
                    .unwrap_or_default(),
            ),
            Ok(Decision::Open) => {
                let because = match planner.undecided(id) {
                    Some(chooser) => {
                        format!("waits for the choice of `{}`", planner.stage(chooser).name)
                    }
                    None => "depends on a stage that is outdated".to_owned(),
                };
                row(State::Outdated, None, None, because)
            }
            Ok(Decision::Miss { key, manifest }) => {
                let because = planner.why(stage, &key, &manifest).words();
                let (state, because) = state_of(&session.store, &key, because);
                row(state, Some(key), None, because)
            }
        };
        if shown.contains(&id) {
            rows.push(row);
        }
    }
    let _ = planner.flush();
    if !problems.is_empty() {
        return Err(session.failure(problems, console));
    }
    if args.json {
        console.json(&rows);
        return Ok(0);
    }
    let mut table = Table::new([
        ("STAGE", Align::Left),
        ("STATE", Align::Left),
        ("TIME", Align::Right),
        ("BECAUSE", Align::Left),
    ]);
    for row in &rows {
        let (ink, state) = match row.state {
            State::Cached => (Ink::Good, "cached"),
            State::Outdated => (Ink::Accent, "outdated"),
            State::Running => (Ink::Accent, "running"),
            State::Failed => (Ink::Bad, "failed"),
        };
        let time = row.seconds.map(format::duration).unwrap_or_default();
        table.row([
            Cell::new(Ink::Text, &row.stage),
            Cell::new(ink, state),
            Cell::new(Ink::Text, time),
            Cell::new(Ink::Faint, &row.because),
        ]);
    }
    console.text(&table.render(Look::of_stdout(), true));
    Ok(0)
}

/// What the key's work folder says of a stage without a record. Nothing is made for a key nobody worked on.
fn state_of(store: &Store, key: &flow::digest::Digest, because: String) -> (State, String) {
    let Some((standing, why, _)) = flow::results::by_attempts(store, key) else {
        return (State::Outdated, because);
    };
    let state = match standing {
        Standing::Running => State::Running,
        Standing::Failed => State::Failed,
        Standing::Cached | Standing::Waiting | Standing::Outdated => State::Outdated,
    };
    (state, why)
}

/// The sum of a record's numbers of one name, 0 where it has none.
pub(super) fn number_of(store: &Store, record: &Record, metric: &str) -> f64 {
    rows_of(store, record)
        .iter()
        .filter(|row| row.metric == metric)
        .map(|row| row.value)
        .sum()
}

/// The metric rows of a record; none where their object is gone.
pub(super) fn rows_of(store: &Store, record: &Record) -> Vec<MetricRow> {
    let content = record.outputs.get(METRICS);
    content
        .and_then(|content| flow::results::read_metrics(store, &content.digest))
        .unwrap_or_default()
}
