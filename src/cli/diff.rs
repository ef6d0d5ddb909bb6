//! `pipeline diff`: parameters and metrics of two runs, side by side.

use std::collections::{BTreeMap, BTreeSet};

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::key::{Manifest, shorten};
use flow::plan::pipeline_id;
use flow::run::{RunLine, read_runs};
use flow::store::Store;

use super::Done;
use super::args::DiffArgs;
use super::session::Session;
use super::status::rows_of;
use super::values::RunSelector;
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};

/// Prints what differs between two runs of a pipeline.
pub(super) fn diff(args: &DiffArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let id = pipeline_id(session.workflow());
    let runs: Vec<RunLine> = read_runs(&session.store)
        .map_err(|error| {
            let diagnostic = Diagnostic::error("run::cache", "the runs cannot be read")
                .detail(error.to_string());
            Failure::one(Class::Environment, diagnostic)
        })?
        .into_iter()
        .filter(|run| run.pipeline == id)
        .collect();
    let (left, right) = (find(&runs, &args.left)?, find(&runs, &args.right)?);
    let stages: BTreeSet<&String> = left.keys.keys().chain(right.keys.keys()).collect();
    let mut table = Table::new([
        ("STAGE", Align::Left),
        ("WHAT", Align::Left),
        (left.run.as_str(), Align::Right),
        (right.run.as_str(), Align::Right),
        ("DIFFERENCE", Align::Right),
    ]);
    let mut same = 0;
    for stage in stages {
        if left.keys.get(stage) == right.keys.get(stage) {
            same += 1;
            continue;
        }
        let (a, b) = (
            facts(&session.store, left, stage),
            facts(&session.store, right, stage),
        );
        let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (old, new) = (a.get(name), b.get(name));
            if old == new {
                continue;
            }
            let difference = match (old, new) {
                (Some(Fact::Number(old)), Some(Fact::Number(new))) => {
                    format!("{:+}", rounded(new - old))
                }
                _ => String::new(),
            };
            let shown = |fact: Option<&Fact>| fact.map_or_else(|| "-".to_owned(), Fact::text);
            table.row([
                Cell::new(Ink::Text, stage),
                Cell::new(Ink::Text, name),
                Cell::new(Ink::Text, shown(old)),
                Cell::new(Ink::Text, shown(new)),
                Cell::new(Ink::Faint, difference),
            ]);
        }
    }
    if !table.is_empty() {
        console.text(&table.render(Look::of_stdout(), true));
    }
    console.note(&format!(
        "{} the same in both runs",
        format::counted(same, "stage")
    ));
    Ok(0)
}

#[derive(PartialEq)]
enum Fact {
    Text(String),
    Number(f64),
}

impl Fact {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => shorten(text),
            Self::Number(number) => rounded(*number).to_string(),
        }
    }
}

/// A difference to nine digits, so that `0.1 + 0.2` does not show its tail.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

fn facts(store: &Store, run: &RunLine, stage: &str) -> BTreeMap<String, Fact> {
    let mut facts = BTreeMap::new();
    let Some(record) = run.keys.get(stage).and_then(|key| store.find_record(key)) else {
        return facts;
    };
    for (path, value) in Manifest(record.manifest.clone()).lines() {
        facts.insert(path.to_owned(), Fact::Text(value.to_owned()));
    }
    for (axis, value) in &record.choice {
        facts.insert(format!("choice {axis}"), Fact::Text(value.clone()));
    }
    for row in rows_of(store, &record) {
        let parts = [
            row.dataset.as_deref(),
            row.split.as_deref(),
            Some(row.metric.as_str()),
            row.class.as_deref(),
        ];
        let name = parts.into_iter().flatten().collect::<Vec<_>>().join(" ");
        facts.insert(format!("number {name}"), Fact::Number(row.value));
    }
    facts
}

fn find<'a>(runs: &'a [RunLine], selector: &RunSelector) -> Result<&'a RunLine, Failure> {
    let refuse = |message: String| {
        let last: Vec<&str> = runs
            .iter()
            .rev()
            .take(5)
            .map(|run| run.run.as_str())
            .collect();
        let help = if last.is_empty() {
            "this pipeline has not run yet".to_owned()
        } else {
            format!("the last runs are {}", last.join(", "))
        };
        Failure::one(
            Class::Input,
            Diagnostic::error("cli::no_run", message).help(help),
        )
    };
    match selector {
        RunSelector::Latest(back) => {
            let index = runs.len().checked_sub(*back as usize + 1);
            index.and_then(|index| runs.get(index)).ok_or_else(|| {
                refuse(format!(
                    "there are {} only",
                    format::counted(runs.len(), "run")
                ))
            })
        }
        RunSelector::Id(id) => {
            let found: Vec<&RunLine> = runs
                .iter()
                .filter(|run| run.run.starts_with(id.as_str()))
                .collect();
            match found.as_slice() {
                [one] => Ok(one),
                [] => Err(refuse(format!("there is no run `{id}`"))),
                many => Err(refuse(format!("`{id}` begins {} runs", many.len()))),
            }
        }
    }
}
