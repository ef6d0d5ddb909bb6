//! The arithmetic of one step: which numbers, in which groups, made into what. Knows no files.

use std::collections::{BTreeMap, BTreeSet};

use data::divide::is_test_split;
use flow::kind::StageError;
use flow::spec::suggest;
use serde_json::Value;

use super::table::{Row, Table, text_of};
use super::typed::Parts;
use super::{Group, How, Missing, Step};

/// What marks a number of which at least one part is of a test split, where the split itself is gone.
const TEST: &str = "test";

/// The derived numbers of a step, in the order in which their groups first appear.
///
/// # Errors
/// No such numbers, a column that one of them lacks, one said twice, and what is missing.
pub(super) fn carry_out(
    step: &Step,
    table: &Table,
    groups: &[Group],
) -> Result<Vec<Row>, StageError> {
    let rows = chosen(step, table)?;
    for row in &rows {
        for name in step.over.iter().chain(&step.by) {
            if !row.columns.contains_key(name) {
                let known: BTreeSet<&str> = row.columns.keys().map(String::as_str).collect();
                return Err(StageError::new(
                    "aggregate::column",
                    format!("a number `{}` of {} has no `{name}`", step.of, row.place()),
                )
                .help(suggest::help(
                    name,
                    known,
                    "it has no columns at all; choose others with `where`",
                )));
            }
        }
    }
    match step.how {
        How::ShareOfBest => shares(step, &rows),
        How::Mean | How::Sum | How::Min | How::Max => reduced(step, &rows, groups),
    }
}

fn chosen<'a>(step: &Step, table: &'a Table) -> Result<Vec<&'a Row>, StageError> {
    let of_name: Vec<&Row> = table
        .rows
        .iter()
        .filter(|row| row.metric == step.of)
        .collect();
    if of_name.is_empty() {
        let names: BTreeSet<&str> = table.rows.iter().map(|row| row.metric.as_str()).collect();
        return Err(StageError::new(
            "aggregate::no_rows",
            format!("no number is called `{}`", step.of),
        )
        .help(suggest::help(
            &step.of,
            names,
            "the stages of `scores` leave no numbers",
        )));
    }
    let names_class = step.filter.contains_key("class")
        || step.over.iter().chain(&step.by).any(|name| name == "class");
    let fits = |row: &&Row| {
        let is_over_all = names_class || !row.columns.contains_key("class");
        is_over_all
            && step.filter.iter().all(|(name, wanted)| {
                let has = row.columns.get(name);
                let is = |value: &Value| match value {
                    Value::Null => has.is_none(),
                    value => has == Some(&text_of(value)),
                };
                match wanted {
                    Value::Array(values) => values.iter().any(is),
                    one => is(one),
                }
            })
    };
    let places: Vec<String> = of_name.iter().take(6).map(|row| row.place()).collect();
    let rows: Vec<&Row> = of_name.into_iter().filter(fits).collect();
    if rows.is_empty() {
        let mut failure = StageError::new(
            "aggregate::no_rows",
            format!("no number `{}` fits `where`", step.of),
        );
        for place in places {
            failure = failure.detail(format!("there is one of {place}"));
        }
        return Err(failure.help(
            "compare the columns under `where`; without `class` there, only numbers over all classes are meant",
        ));
    }
    Ok(rows)
}

/// Each number divided by the largest that agrees with it in `by`; the largest has to be above zero.
fn shares(step: &Step, rows: &[&Row]) -> Result<Vec<Row>, StageError> {
    let key = |row: &Row| -> Vec<String> {
        step.by
            .iter()
            .map(|name| row.columns[name].clone())
            .collect()
    };
    let mut best: BTreeMap<Vec<String>, f64> = BTreeMap::new();
    let mut compared: BTreeMap<Vec<String>, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let most = best.entry(key(row)).or_insert(f64::NEG_INFINITY);
        *most = most.max(row.value);
        compared.entry(key(row)).or_default().push(row);
    }
    // Which is the best hangs on all of them.
    let parts: BTreeMap<Vec<String>, Parts> = (compared.into_iter())
        .map(|(key, rows)| (key, Parts::of(&rows)))
        .collect();
    let mut seen = BTreeSet::new();
    rows.iter()
        .map(|row| {
            if !seen.insert(&row.columns) {
                return Err(twice(step, row));
            }
            let best = best[&key(row)];
            if best <= 0.0 {
                return Err(StageError::new(
                    "aggregate::share",
                    format!(
                        "the best `{}` where {} is {best}, of which there is no share",
                        step.of,
                        row.place()
                    ),
                )
                .help("choose numbers that are above zero with `where`"));
            }
            Ok(Row {
                metric: step.metric.clone(),
                columns: row.columns.clone(),
                value: row.value / best,
                parts: parts[&key(row)].clone(),
            })
        })
        .collect()
}

/// One number for each group of those that agree in all columns but `over`.
fn reduced(step: &Step, rows: &[&Row], groups: &[Group]) -> Result<Vec<Row>, StageError> {
    let mut found: Vec<(BTreeMap<String, String>, Vec<&Row>)> = Vec::new();
    for row in rows {
        let mut rest = row.columns.clone();
        rest.retain(|name, _| !step.over.contains(name));
        match found.iter_mut().find(|(known, _)| *known == rest) {
            Some((_, members)) => members.push(row),
            None => found.push((rest, vec![row])),
        }
    }
    let mut derived = Vec::new();
    for (rest, members) in found {
        let mut cells = BTreeSet::new();
        if let Some(row) = members.iter().find(|row| !cells.insert(cell(step, row))) {
            return Err(twice(step, row));
        }
        let lacking: Vec<String> = expected(step, &rest, rows, groups)
            .into_iter()
            .filter(|wanted| !cells.contains(wanted))
            .map(|wanted| wanted.join(", "))
            .collect();
        if !lacking.is_empty() {
            match step.missing {
                Missing::Refuse => return Err(incomplete(step, &rest, &lacking)),
                Missing::LeaveOut => continue,
                Missing::Allow => {}
            }
        }
        let mut columns = rest;
        // A number that rests on a test split says so, or a later `select` would choose by it.
        let is_of_test = |row: &&Row| {
            row.columns
                .get("split")
                .is_some_and(|split| is_test_split(split))
        };
        if step.over.iter().any(|name| name == "split") && members.iter().any(is_of_test) {
            columns.insert("split".to_owned(), TEST.to_owned());
        }
        let values: Vec<f64> = members.iter().map(|row| row.value).collect();
        derived.push(Row {
            metric: step.metric.clone(),
            columns,
            value: combined(step.how, &values),
            parts: Parts::of(&members),
        });
    }
    Ok(derived)
}

fn combined(how: How, values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    match how {
        How::Mean => sum / values.len() as f64,
        How::Sum => sum,
        How::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        How::Max | How::ShareOfBest => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

fn cell(step: &Step, row: &Row) -> Vec<String> {
    step.over
        .iter()
        .map(|name| row.columns[name].clone())
        .collect()
}

/// The cells of a group: where `groups` says which values of a column belong to it those, else what occurs in any group.
fn expected(
    step: &Step,
    rest: &BTreeMap<String, String>,
    rows: &[&Row],
    groups: &[Group],
) -> BTreeSet<Vec<String>> {
    let declared = |name: &String| {
        groups.iter().find_map(|group| {
            let value = rest.get(&group.column).filter(|_| group.of == *name)?;
            group.members(value)
        })
    };
    let known: Vec<Option<Vec<String>>> = step.over.iter().map(declared).collect();
    if let [Some(members)] = known.as_slice() {
        return members.iter().map(|value| vec![value.clone()]).collect();
    }
    // All values of a column that is itself a group belong to its column too.
    if let [name] = step.over.as_slice()
        && let Some(group) = groups.iter().find(|group| group.column == *name)
    {
        return group
            .values
            .keys()
            .map(|value| vec![value.clone()])
            .collect();
    }
    let fits = |cell: &Vec<String>| {
        let parts = known.iter().zip(cell);
        parts
            .clone()
            .all(|(known, value)| known.as_ref().is_none_or(|known| known.contains(value)))
    };
    rows.iter()
        .map(|row| cell(step, row))
        .filter(fits)
        .collect()
}

fn incomplete(step: &Step, rest: &BTreeMap<String, String>, lacking: &[String]) -> StageError {
    let place = Row {
        metric: String::new(),
        columns: rest.clone(),
        value: 0.0,
        parts: Parts::default(),
    };
    let of = match rest.is_empty() {
        true => String::new(),
        false => format!(" of {}", place.place()),
    };
    let mut failure = StageError::new(
        "aggregate::missing",
        format!(
            "`{}`{of} lacks numbers `{}` for {} of `{}`",
            step.metric,
            step.of,
            lacking.len(),
            step.over.join(", ")
        ),
    );
    for cell in lacking.iter().take(10) {
        failure = failure.detail(format!("there is none for {cell}"));
    }
    failure.help("add them, or say what becomes of such groups with `missing: leave_out` or `missing: allow`")
}

fn twice(step: &Step, row: &Row) -> StageError {
    StageError::new(
        "aggregate::twice",
        format!("there are two numbers `{}` of {}", step.of, row.place()),
    )
    .help("choose one with `where`, such as `where: { split: test }`")
}
