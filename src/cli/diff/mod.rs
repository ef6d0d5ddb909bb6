//! `pipeline diff`: two runs side by side, only what differs: parameters, numbers, times, places, notes.

use std::collections::BTreeSet;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::plan::pipeline_id;
use flow::run::{RunLine, read_runs};
use flow::select::means_name;
use flow::store::Store;
use serde_json::{Value, json};

use super::Done;
use super::args::DiffArgs;
use super::session::Session;
use super::values::RunSelector;
use crate::console::table::{Align, Cell, Table};
use crate::console::terminal::{Ink, Look};
use crate::console::{Console, format};

mod facts;
mod pairs;

use facts::{About, Fact, Facts};
use pairs::{Pairs, pair};

/// A line of the answer.
struct Difference {
    /// As shown: `tune[rate=0.1->0.3]`; `None` of the run as a whole.
    stage: Option<(String, String, String)>,
    about: About,
    what: String,
    left: Option<Fact>,
    right: Option<Fact>,
}

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
    let (lefts, rights) = (chosen(left, &args.stages), chosen(right, &args.stages));
    if !args.stages.is_empty() && lefts.is_empty() && rights.is_empty() {
        return Err(no_stage(args, [left, right]));
    }
    let pairs = pair(&lefts, &rights);
    let mut differences = Vec::new();
    if args.stages.is_empty() {
        let words = left.facts.arguments.iter().zip(&right.facts.arguments);
        let known = words.take_while(|(left, right)| left == right).count();
        let (old, new) = (facts::of_run(left, known), facts::of_run(right, known));
        compare(&old, &new, None, &mut differences);
    }
    let same = compare_stages(&session.store, (left, right), &pairs, &mut differences);
    if args.json {
        console.json(&as_json(left, right, &differences, &pairs, same));
        return Ok(0);
    }
    let table = table(left, right, &differences);
    if !table.is_empty() {
        console.text(&table.render(Look::of_stdout(), true));
    }
    for (run, only) in [(left, &pairs.left), (right, &pairs.right)] {
        if !only.is_empty() {
            let more = only.len().saturating_sub(5);
            let names = only.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            console.note(&format!("only in {}: {names}{more}", run.run));
        }
    }
    console.note(&format!(
        "{} the same in both runs",
        format::counted(same, "stage")
    ));
    Ok(0)
}

fn chosen<'r>(run: &'r RunLine, selectors: &[String]) -> Vec<&'r str> {
    let is_meant = |name: &&str| {
        selectors.is_empty() || selectors.iter().any(|selector| means_name(selector, name))
    };
    run.keys
        .keys()
        .map(String::as_str)
        .filter(is_meant)
        .collect()
}

fn no_stage(args: &DiffArgs, runs: [&RunLine; 2]) -> Failure {
    let names = runs.into_iter().flat_map(|run| run.keys.keys());
    let stages: BTreeSet<&str> = names
        .map(|name| name.split('[').next().unwrap_or(name))
        .collect();
    let wanted = args.stages.join("`, `");
    let word = args.stages[0].split('[').next().unwrap_or_default();
    let help = if stages.contains(word) {
        "`pipeline results FILE` shows the values of its axes".to_owned()
    } else {
        flow::spec::suggest::help(word, stages, "neither run reached a stage")
    };
    let message = format!("neither run reached a stage `{wanted}`");
    Failure::one(
        Class::Input,
        Diagnostic::error("cli::no_stage", message).help(help),
    )
}

/// Adds what differs between paired stages; how many are the same.
fn compare_stages(
    store: &Store,
    (left, right): (&RunLine, &RunLine),
    pairs: &Pairs<'_>,
    differences: &mut Vec<Difference>,
) -> usize {
    let mut same = 0;
    for (shown, a, b) in &pairs.both {
        if left.keys.get(*a) == right.keys.get(*b) {
            same += 1;
            continue;
        }
        let stage = (shown.clone(), (*a).to_owned(), (*b).to_owned());
        let (old, new) = (
            facts::of_stage(store, left, a),
            facts::of_stage(store, right, b),
        );
        compare(&old, &new, Some(&stage), differences);
    }
    same
}

fn compare(
    old: &Facts,
    new: &Facts,
    stage: Option<&(String, String, String)>,
    differences: &mut Vec<Difference>,
) {
    let names: BTreeSet<&(About, String)> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (left, right) = (old.get(name), new.get(name));
        if left != right {
            differences.push(Difference {
                stage: stage.cloned(),
                about: name.0,
                what: name.1.clone(),
                left: left.cloned(),
                right: right.cloned(),
            });
        }
    }
}

fn table(left: &RunLine, right: &RunLine, differences: &[Difference]) -> Table {
    let mut table = Table::new([
        ("STAGE", Align::Left),
        ("WHAT", Align::Left),
        (left.run.as_str(), Align::Right),
        (right.run.as_str(), Align::Right),
        ("DIFFERENCE", Align::Right),
    ]);
    for one in differences {
        let shown = |fact: &Option<Fact>| fact.as_ref().map_or_else(|| "-".to_owned(), Fact::text);
        let difference = one.left.as_ref().zip(one.right.as_ref());
        let difference = difference.and_then(|(old, new)| Fact::difference(old, new));
        let stage = one
            .stage
            .as_ref()
            .map_or("(the run)", |(shown, ..)| shown.as_str());
        table.row([
            Cell::new(Ink::Text, stage),
            Cell::new(Ink::Text, &one.what),
            Cell::new(Ink::Text, shown(&one.left)),
            Cell::new(Ink::Text, shown(&one.right)),
            Cell::new(
                Ink::Faint,
                difference.map(|(shown, _)| shown).unwrap_or_default(),
            ),
        ]);
    }
    table
}

fn as_json(
    left: &RunLine,
    right: &RunLine,
    differences: &[Difference],
    pairs: &Pairs<'_>,
    same: usize,
) -> Value {
    let run = |run: &RunLine| {
        json!({
            "run": run.run, "begun": run.begun, "host": run.facts.host, "program": run.facts.program,
            "arguments": run.facts.arguments, "wall_s": run.facts.wall_seconds,
        })
    };
    let lines: Vec<Value> = differences
        .iter()
        .map(|one| {
            let name = |get: fn(&(String, String, String)) -> &String| one.stage.as_ref().map(get);
            let both = one.left.as_ref().zip(one.right.as_ref());
            json!({
                "left_stage": name(|stage| &stage.1), "right_stage": name(|stage| &stage.2),
                "about": one.about.word(), "what": one.what,
                "left": one.left.as_ref().map(Fact::json), "right": one.right.as_ref().map(Fact::json),
                "difference": both.and_then(|(old, new)| Fact::difference(old, new)).map(|(_, difference)| difference),
            })
        })
        .collect();
    json!({
        "left": run(left), "right": run(right), "differences": lines,
        "only_left": pairs.left, "only_right": pairs.right, "same": same,
    })
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
