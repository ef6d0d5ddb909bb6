//! `pipeline results`: one row an instance, or statistics over repetitions; as a table, CSV, JSON or Parquet.

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::results::Standing;
use flow::spec::Axis;
use report::frame::{SheetColumn, sheet};
use serde_json::Value;

use super::Done;
use super::args::ResultsArgs;
use super::session::Session;
use crate::console::Console;
use crate::console::terminal::Look;

mod columns;
mod compare;
mod export;
mod mean;
mod rows;
mod sheet;
mod table;

pub(super) use rows::full_name;
use rows::{Filter, Row, Subject, resolve};

/// A column that was asked for.
struct Named {
    name: String,
    subject: Subject,
}

/// A table as text, and remarks about it.
struct Shown {
    text: String,
    remarks: Vec<String>,
}

/// What the command line asks of the rows, with names known.
struct Wishes<'c> {
    filters: Vec<Filter<'c>>,
    sort: Option<(Subject, bool)>,
    columns: Vec<Named>,
}

/// What is handed out.
struct Answer {
    tables: Vec<Shown>,
    json: Value,
    columns: Vec<SheetColumn>,
}

/// Prints the results of the selected stages.
pub(super) fn results(args: &ResultsArgs, console: &mut Console) -> Done {
    let session = Session::open(&args.pipeline, console)?;
    let shown = session.stages(&args.stages, console)?;
    let mut planner = session.planner()?;
    let instances = flow::results::instances(&mut planner, &shown)
        .map_err(|problems| session.failure(problems, console))?;
    let _ = planner.flush();
    let rows = rows::rows(session.workflow(), instances);
    let wishes = wishes(args, &rows)?;
    let answer = answer(args, rows, &wishes)?;
    hand_out(args, &answer, console)
}

fn wishes<'c>(args: &'c ResultsArgs, rows: &[Row<'_>]) -> Result<Wishes<'c>, Failure> {
    let mut problems = Vec::new();
    let mut take =
        |found: Result<Subject, Diagnostic>| found.map_err(|problem| problems.push(problem)).ok();
    let sort = args.sort.as_deref().and_then(|name| {
        let (name, is_turned) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name, false),
        };
        Some((take(resolve(name, rows))?, is_turned || args.descending))
    });
    let columns = args.columns.iter().filter_map(|name| {
        let subject = take(resolve(name, rows))?;
        Some(Named {
            name: name.clone(),
            subject,
        })
    });
    let columns: Vec<Named> = columns.collect();
    let mut filters = Vec::new();
    for condition in &args.conditions {
        match Filter::new(condition, rows) {
            Ok(filter) => filters.push(filter),
            Err(problem) => problems.push(problem),
        }
    }
    if let Some(over) = &args.over {
        let mut axes = rows.iter().flat_map(|row| &row.spec.axes);
        if !axes.any(|axis| axis.name == *over) {
            let names: std::collections::BTreeSet<&str> = rows
                .iter()
                .flat_map(|row| &row.spec.axes)
                .map(|axis| axis.name.as_str())
                .collect();
            let message = format!("no selected stage has an axis `{over}`");
            let help = flow::spec::suggest::help(over, names, "name a stage with axes");
            problems.push(Diagnostic::error("results::axis", message).help(help));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::input(problems));
    }
    Ok(Wishes {
        filters,
        sort,
        columns,
    })
}

fn answer(
    args: &ResultsArgs,
    mut rows: Vec<Row<'_>>,
    wishes: &Wishes<'_>,
) -> Result<Answer, Failure> {
    // Conditions on the plan say which instances there should be, the others which of them count.
    rows.retain(|row| {
        wishes
            .filters
            .iter()
            .filter(|filter| filter.subject.is_planned())
            .all(|filter| filter.passes(row))
    });
    let kept = |row: &Row<'_>| wishes.filters.iter().all(|filter| filter.passes(row));
    if let Some((subject, descending)) = &wishes.sort {
        rows::sort(&mut rows, subject, *descending);
    }
    let mut stages: Vec<Vec<&Row<'_>>> = Vec::new();
    let mut by_id: Vec<&Row<'_>> = rows.iter().collect();
    by_id.sort_by_key(|row| row.instance.id);
    let mut order: Vec<&str> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for row in by_id {
        places.entry(row.spec.stage.as_str()).or_insert_with(|| {
            order.push(&row.spec.stage);
            order.len() - 1
        });
    }
    stages.resize_with(order.len(), Vec::new);
    for row in &rows {
        stages[places[row.spec.stage.as_str()]].push(row);
    }
    if args.stages.is_empty() {
        stages.retain(|rows| may_have_numbers(rows));
    }
    let look = Look::of_stdout();
    let numbers_only = |subject: &Subject| matches!(subject, Subject::Number(_));
    let named: Vec<Subject> = wishes
        .columns
        .iter()
        .map(|named| named.subject.clone())
        .filter(numbers_only)
        .collect();
    let first: Vec<Subject> = wishes
        .sort
        .iter()
        .map(|(subject, _)| subject)
        .chain(&named)
        .chain(wishes.filters.iter().map(|filter| &filter.subject))
        .cloned()
        .collect();
    if let Some(settings) = &args.compare {
        let found =
            compare::Comparisons::of(&stages, &kept, settings, args.over.as_deref(), &named);
        let found = found.map_err(|problem| Failure::input(vec![problem]))?;
        let json = found.json();
        let lines = json["comparisons"].as_array().cloned().unwrap_or_default();
        return Ok(Answer {
            tables: vec![found.table(look)],
            columns: export::tidy(&lines),
            json,
        });
    }
    if args.mean || args.over.is_some() {
        let mut tables = Vec::new();
        let mut lines = Vec::new();
        for rows in &stages {
            let mut means = mean::Means::of(rows, &kept, args.over.as_deref(), &first, &named);
            if let Some((Subject::Number(_), descending)) = &wishes.sort {
                means.sort(*descending);
            }
            let is_asked = named.is_empty() || !means.names.is_empty();
            tables.extend(is_asked.then(|| means.table(look)).flatten());
            lines.extend(means.json());
        }
        return Ok(Answer {
            tables,
            columns: export::tidy(&lines),
            json: Value::Array(lines),
        });
    }
    let mut tables = Vec::new();
    for rows in &mut stages {
        rows.retain(|row| kept(row));
        tables.extend(table::table(rows, &wishes.columns, &first, look));
    }
    let all: Vec<&Row<'_>> = match &wishes.sort {
        // Sorted as one list, whatever their stage.
        Some(_) => {
            let chosen: std::collections::BTreeSet<_> =
                stages.iter().flatten().map(|row| row.instance.id).collect();
            rows.iter()
                .filter(|row| chosen.contains(&row.instance.id))
                .collect()
        }
        None => stages.iter().flatten().copied().collect(),
    };
    let wants_files = args.csv || args.parquet.is_some();
    Ok(Answer {
        tables,
        columns: if wants_files {
            export::wide(&all, &wishes.columns)
        } else {
            Vec::new()
        },
        json: if args.json {
            all.iter().map(|row| export::row_json(row)).collect()
        } else {
            Value::Null
        },
    })
}

/// Whether a stage has numbers, or may come to have some.
fn may_have_numbers(rows: &[&Row<'_>]) -> bool {
    rows.iter().any(|row| {
        let instance = &row.instance;
        instance.standing != Standing::Cached
            || !instance.numbers.is_empty()
            || instance.numbers_gone
    })
}

fn hand_out(args: &ResultsArgs, answer: &Answer, console: &mut Console) -> Done {
    let files = || {
        sheet(&answer.columns).map_err(|error| {
            let diagnostic =
                Diagnostic::error("results::columns", "the columns cannot be put together")
                    .detail(error.to_string());
            Failure::one(Class::Bug, diagnostic)
        })
    };
    if let Some(path) = &args.parquet {
        let (_, parquet) = files()?;
        fs_err::write(path, parquet).map_err(|error| {
            let message = format!("`{}` cannot be written", path.display());
            let diagnostic = Diagnostic::error("results::write", message)
                .detail(error.to_string())
                .help("name a file in a folder that exists and can be written");
            Failure::one(Class::Environment, diagnostic)
        })?;
    }
    if args.json {
        console.json(&answer.json);
        return Ok(0);
    }
    if args.csv {
        console.printed(&files()?.0);
        return Ok(0);
    }
    if args.parquet.is_some() {
        return Ok(0);
    }
    for (at, shown) in answer.tables.iter().enumerate() {
        console.text(&format!(
            "{}{}",
            if at == 0 { "" } else { "\n" },
            shown.text
        ));
        for remark in &shown.remarks {
            console.note(&format!("  {remark}"));
        }
    }
    if answer.tables.is_empty() {
        console.note(if args.conditions.is_empty() {
            "no stage has numbers"
        } else {
            "no instance passes `--where`"
        });
    }
    Ok(0)
}

/// An axis as a field of an object, numbers as numbers.
fn axis_json(axis: &Axis) -> (String, Value) {
    let value = serde_json::from_str(&axis.json).unwrap_or_else(|_| axis.text.clone().into());
    (axis.name.clone(), value)
}
