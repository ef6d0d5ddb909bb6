//! Two values of an axis over the same repetitions: their difference and whether it is more than chance. Knows nothing of
//! how a test is computed.

use std::collections::BTreeMap;

use flow::diagnostic::Diagnostic;
use flow::spec::{Axis, suggest};
use report::frame::same_text;
use report::paired::{self, EXACT_TEST, EXACT_UP_TO, Paired, T_TEST};
use serde_json::{Value, json};

use super::columns::{Digits, Numbers, chance};
use super::mean::{absence, over_of, repetition};
use super::rows::{Row, Subject, bare};
use super::sheet::{Column, Weight, lay_out, some};
use super::{Shown, axis_json};
use crate::cli::values::Settings;
use crate::console::table::Align;
use crate::console::terminal::{Ink, Look};

/// One number of one pair of settings.
pub(super) struct Comparison<'r> {
    stage: &'r str,
    /// The axes that both sides share.
    axes: Vec<&'r Axis>,
    number: String,
    first: String,
    second: String,
    paired: Paired,
    /// Pairs left out, and why.
    left_out: Vec<String>,
    holm_t: Option<f64>,
    holm_exact: Option<f64>,
}

/// All comparisons that were asked for.
pub(super) struct Comparisons<'r> {
    axis: String,
    over: Vec<String>,
    all: Vec<Comparison<'r>>,
    /// Numbers without any difference, which are not tested.
    equal: Vec<String>,
    /// Why cells have no pair at all.
    without_pairs: Vec<String>,
}

impl<'r> Comparisons<'r> {
    /// Compares the first value of the axis with each of the others, in every cell of the other axes.
    pub(super) fn of(
        stages: &[Vec<&'r Row<'r>>],
        kept: &dyn Fn(&Row<'_>) -> bool,
        settings: &Settings,
        over: Option<&str>,
        only: &[Subject],
    ) -> Result<Self, Diagnostic> {
        let axis = settings.axis.as_str();
        let having: Vec<&Vec<&Row<'_>>> =
            stages.iter().filter(|rows| has_axis(rows, axis)).collect();
        if having.is_empty() {
            let names = stages
                .iter()
                .flatten()
                .flat_map(|row| &row.spec.axes)
                .map(|axis| axis.name.as_str());
            let names: std::collections::BTreeSet<&str> = names.collect();
            let message = format!("no selected stage has an axis `{axis}`");
            return Err(
                Diagnostic::error("results::axis", message).help(suggest::help(
                    axis,
                    names,
                    "name a stage with axes",
                )),
            );
        }
        let mut found = Self {
            axis: axis.to_owned(),
            over: Vec::new(),
            all: Vec::new(),
            equal: Vec::new(),
            without_pairs: Vec::new(),
        };
        let mut unpaired = None;
        for rows in having {
            let Some(pairs_by) = over_of(rows[0], over).filter(|over| over != axis) else {
                unpaired = Some(rows[0].spec.stage.clone());
                continue;
            };
            let values = values(rows, settings)?;
            if !found.over.contains(&pairs_by) {
                found.over.push(pairs_by.clone());
            }
            found.add(rows, kept, &values, &pairs_by, only);
        }
        if let (Some(stage), true) = (unpaired, found.over.is_empty()) {
            let message = format!("`{stage}` has no axis besides `{axis}` to pair by");
            return Err(Diagnostic::error("results::pairs", message).help(
                "repeat it with `replicate: { seed: [1, 2, 3] }`, or name an axis with `--over`",
            ));
        }
        found.correct();
        Ok(found)
    }

    fn add(
        &mut self,
        rows: &[&'r Row<'r>],
        kept: &dyn Fn(&Row<'_>) -> bool,
        values: &[String],
        over: &str,
        only: &[Subject],
    ) {
        let numbers = Numbers::of(rows);
        let wanted = numbers.asked(rows, only);
        // Without a word about it, numbers of single classes are not tested: there may be hundreds.
        let columns: Vec<usize> = (0..numbers.names.len())
            .filter(|at| match only {
                [] => *at < numbers.overall,
                _ => wanted.contains(&numbers.names[*at]),
            })
            .collect();
        let mut cells: Vec<Cell<'r>> = Vec::new();
        let mut places: BTreeMap<Vec<(&str, &str)>, usize> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let axes: Vec<&Axis> = row
                .spec
                .axes
                .iter()
                .filter(|axis| axis.name != self.axis && axis.name != over)
                .collect();
            let key = axes
                .iter()
                .map(|axis| (axis.name.as_str(), axis.text.as_str()))
                .collect();
            let place = *places.entry(key).or_insert_with(|| {
                cells.push(Cell {
                    axes,
                    rows: BTreeMap::new(),
                });
                cells.len() - 1
            });
            let text = |name: &str| {
                row.spec
                    .axes
                    .iter()
                    .find(|axis| axis.name == name)
                    .map(|axis| bare(&axis.text).into_owned())
            };
            if let (Some(value), Some(over)) = (text(&self.axis), text(over)) {
                cells[place].rows.insert((value, over), at);
            }
        }
        for cell in &cells {
            for second in &values[1..] {
                for at in &columns {
                    self.compare(rows, kept, &numbers, cell, (&values[0], second), over, *at);
                }
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one cell of a table of tests, called once"
    )]
    fn compare(
        &mut self,
        rows: &[&'r Row<'r>],
        kept: &dyn Fn(&Row<'_>) -> bool,
        numbers: &Numbers,
        cell: &Cell<'r>,
        (first, second): (&str, &str),
        over: &str,
        at: usize,
    ) {
        let mut pairs = Vec::new();
        let mut left_out = Vec::new();
        let mut overs: Vec<&str> = Vec::new();
        let sided = cell
            .rows
            .iter()
            .filter(|((value, _), _)| value == first || value == second);
        let mut in_order: Vec<(usize, &str)> = sided
            .map(|((_, over), row)| (*row, over.as_str()))
            .collect();
        in_order.sort_unstable();
        for (_, over) in in_order {
            if !overs.contains(&over) {
                overs.push(over);
            }
        }
        for repeat in overs {
            let side = |value: &str| -> Result<f64, String> {
                let place = cell.rows.get(&(value.to_owned(), repeat.to_owned()));
                let Some(place) = place else {
                    return Err(format!(
                        "{over}={repeat} ({}={value} is not in the file or not selected)",
                        self.axis
                    ));
                };
                let row = rows[*place];
                let value_there = numbers.values[*place].get(&at).filter(|_| kept(row));
                value_there.copied().ok_or_else(|| {
                    let why = absence(row, kept(row));
                    format!(
                        "{} ({}={value} {why})",
                        repetition(row, Some(over)),
                        self.axis
                    )
                })
            };
            match (side(first), side(second)) {
                (Ok(first), Ok(second)) => pairs.push((first, second)),
                (Err(why), _) | (_, Err(why)) => left_out.push(why),
            }
        }
        let number = numbers.names[at].clone();
        let Some(paired) = paired::compare(&pairs) else {
            let cell: Vec<String> = cell
                .axes
                .iter()
                .map(|axis| format!("{}={}", axis.name, bare(&axis.text)))
                .collect();
            let place = if cell.is_empty() {
                String::new()
            } else {
                format!(" of {}", cell.join(","))
            };
            let line = format!(
                "no pair{place} for {second} against {first}: {}",
                some(&left_out, 4)
            );
            if !self.without_pairs.contains(&line) {
                self.without_pairs.push(line);
            }
            return;
        };
        if paired.difference == 0.0 && paired.deviation.is_none_or(|deviation| deviation == 0.0) {
            if !self.equal.contains(&number) {
                self.equal.push(number);
            }
            return;
        }
        self.all.push(Comparison {
            stage: &rows[0].spec.stage,
            axes: cell.axes.clone(),
            number,
            first: first.to_owned(),
            second: second.to_owned(),
            paired,
            left_out,
            holm_t: None,
            holm_exact: None,
        });
    }

    /// Corrects the chances for how many tests there are; each kind of test is a family of its own.
    fn correct(&mut self) {
        let t: Vec<f64> = self.all.iter().filter_map(|one| one.paired.p_t).collect();
        let exact: Vec<f64> = self
            .all
            .iter()
            .filter_map(|one| one.paired.p_exact)
            .collect();
        let (mut t, mut exact) = (
            paired::holm(&t).into_iter(),
            paired::holm(&exact).into_iter(),
        );
        for one in &mut self.all {
            one.holm_t = one.paired.p_t.and_then(|_| t.next());
            one.holm_exact = one.paired.p_exact.and_then(|_| exact.next());
        }
    }

    /// A table, and remarks about it.
    pub(super) fn table(&self, look: Look) -> Shown {
        let mut columns = Vec::new();
        let cell =
            |get: &dyn Fn(&Comparison<'_>) -> String| self.all.iter().map(get).collect::<Vec<_>>();
        let mut text = |heading: &str, align, weight, cells: Vec<String>| {
            let cells = cells.into_iter().map(|cell| (Ink::Text, cell)).collect();
            columns.push(Column::inked(heading, align, weight, cells));
        };
        let distinct = |get: &dyn Fn(&Comparison<'_>) -> String| {
            cell(get)
                .into_iter()
                .collect::<std::collections::BTreeSet<_>>()
                .len()
                > 1
        };
        if distinct(&|one| one.stage.to_owned()) {
            text(
                "stage",
                Align::Left,
                Weight::Must,
                cell(&|one| one.stage.to_owned()),
            );
        }
        let axes: Vec<String> = self.axis_names();
        for axis in &axes {
            let of = |one: &Comparison<'_>| {
                let mut axes = one.axes.iter();
                axes.find(|found| found.name == *axis)
                    .map(|axis| bare(&axis.text).into_owned())
                    .unwrap_or_default()
            };
            text(axis, Align::Left, Weight::Must, cell(&of));
        }
        text(
            "number",
            Align::Left,
            Weight::First,
            cell(&|one| one.number.clone()),
        );
        let has_many = distinct(&|one| one.second.clone());
        let first = self.all.first().map_or("", |one| one.first.as_str());
        let second = self.all.first().map_or("", |one| one.second.as_str());
        if has_many {
            text(
                &self.axis,
                Align::Right,
                Weight::First,
                cell(&|one| one.second.clone()),
            );
        }
        let digits =
            |one: &Comparison<'_>| Digits::of(&[one.paired.first, one.paired.second]).finer();
        text(
            first,
            Align::Right,
            Weight::First,
            cell(&|one| digits(one).show(one.paired.first)),
        );
        let heading = if has_many { "other" } else { second };
        text(
            heading,
            Align::Right,
            Weight::First,
            cell(&|one| digits(one).show(one.paired.second)),
        );
        text(
            "difference [95 %]",
            Align::Left,
            Weight::First,
            cell(&|one| difference(one, digits(one))),
        );
        text(
            "N",
            Align::Right,
            Weight::First,
            cell(&|one| match one.left_out.len() {
                0 => one.paired.n.to_string(),
                out => format!("{} of {}", one.paired.n, one.paired.n + out),
            }),
        );
        let p = |p: Option<f64>| p.map_or_else(|| "-".to_owned(), chance);
        let has_many_tests = self.all.len() > 1;
        let mut test = |heading, cells: Vec<String>, corrected: Vec<String>| {
            text(heading, Align::Right, Weight::First, cells);
            if has_many_tests {
                text("Holm", Align::Right, Weight::Setting, corrected);
            }
        };
        test(
            "p (t)",
            cell(&|one| p(one.paired.p_t)),
            cell(&|one| p(one.holm_t)),
        );
        test(
            "p (exact)",
            cell(&|one| p(one.paired.p_exact)),
            cell(&|one| p(one.holm_exact)),
        );
        let (body, left_out) = lay_out(&columns, self.all.len(), look);
        let against = if has_many {
            "the other values".to_owned()
        } else {
            second.to_owned()
        };
        let heading = match self.all.is_empty() {
            true => format!("{}: nothing to test", self.axis),
            false => format!(
                "{}: {against} minus {first}, paired by {}",
                self.axis,
                self.over.join(", ")
            ),
        };
        let mut remarks = self.remarks();
        if !left_out.is_empty() {
            remarks.push(format!(
                "without room: {}; `--json` has all",
                some(&left_out, 12)
            ));
        }
        Shown {
            text: if self.all.is_empty() {
                heading
            } else {
                format!("{heading}\n{body}")
            },
            remarks,
        }
    }

    fn axis_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for axis in self.all.iter().flat_map(|one| &one.axes) {
            if !names.contains(&axis.name) {
                names.push(axis.name.clone());
            }
        }
        names
    }

    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if !self.all.is_empty() {
            remarks.push(format!("p (t): {T_TEST}; p (exact): {EXACT_TEST}"));
            let is_missing = self.all.iter().any(|one| one.paired.p_t.is_none());
            if is_missing {
                remarks.push(
                    "no t-test where there is one pair, or the differences are all the same"
                        .to_owned(),
                );
            }
            let mut smallest: BTreeMap<usize, Option<f64>> = BTreeMap::new();
            for one in &self.all {
                smallest.insert(one.paired.n, one.paired.smallest_exact);
            }
            let reachable = smallest.iter().map(|(n, smallest)| match smallest {
                Some(p) => format!("{} with n = {n}", chance(*p)),
                None => format!("none with n = {n}, above {EXACT_UP_TO} pairs"),
            });
            remarks.push(format!(
                "the smallest exact p there can be: {}",
                reachable.collect::<Vec<_>>().join(", ")
            ));
        }
        if self.all.len() > 1 {
            let tests = self.all.len();
            remarks.push(format!(
                "{tests} comparisons were made: `Holm` is the p beside it, corrected for them (Holm 1979)"
            ));
        }
        let mut out: Vec<String> = Vec::new();
        for one in &self.all {
            for line in &one.left_out {
                let cell: Vec<String> = one
                    .axes
                    .iter()
                    .map(|axis| format!("{}={}", axis.name, bare(&axis.text)))
                    .collect();
                let line = if cell.is_empty() {
                    line.clone()
                } else {
                    format!("{} {line}", cell.join(","))
                };
                if !out.contains(&line) {
                    out.push(line);
                }
            }
        }
        if !out.is_empty() {
            remarks.push(format!("pairs left out: {}", some(&out, 8)));
        }
        remarks.extend(self.without_pairs.iter().take(8).cloned());
        if !self.equal.is_empty() {
            remarks.push(format!(
                "equal in every pair of a cell, and not tested there: {}",
                some(&self.equal, 12)
            ));
        }
        remarks
    }

    /// Everything, for programs.
    pub(super) fn json(&self) -> Value {
        let lines: Vec<Value> = self
            .all
            .iter()
            .map(|one| {
                let paired = &one.paired;
                let axes: serde_json::Map<String, Value> = one.axes.iter().map(|axis| axis_json(axis)).collect();
                let end = |sign: f64| paired.half_width.map(|half| paired.difference + sign * half);
                json!({
                    "stage": one.stage, "axes": axes, "number": one.number, "first": one.first, "second": one.second,
                    "first_mean": paired.first, "second_mean": paired.second, "difference": paired.difference,
                    "low": end(-1.0), "high": end(1.0), "standard_deviation": paired.deviation, "n": paired.n,
                    "t": paired.t, "p_t": paired.p_t, "p_exact": paired.p_exact,
                    "smallest_p_exact": paired.smallest_exact, "holm_t": one.holm_t, "holm_exact": one.holm_exact,
                    "left_out": one.left_out,
                })
            })
            .collect();
        json!({
            "axis": self.axis, "paired_by": self.over, "tests": self.all.len(),
            "methods": { "t": T_TEST, "exact": EXACT_TEST, "correction": "Holm 1979" },
            "comparisons": lines, "equal": self.equal, "without_pairs": self.without_pairs,
        })
    }
}

/// The rows of one cell by value of the compared axis and of the one that pairs.
struct Cell<'r> {
    axes: Vec<&'r Axis>,
    rows: BTreeMap<(String, String), usize>,
}

fn has_axis(rows: &[&Row<'_>], axis: &str) -> bool {
    rows.first()
        .is_some_and(|row| row.spec.axes.iter().any(|found| found.name == axis))
}

/// `+1.67 [1.24, 2.11]`.
fn difference(one: &Comparison<'_>, digits: Digits) -> String {
    let difference = digits.signed(one.paired.difference);
    let Some(half) = one.paired.half_width else {
        return difference;
    };
    let end = |sign: f64| digits.show(one.paired.difference + sign * half);
    format!("{difference} [{}, {}]", end(-1.0), end(1.0))
}

/// The values to compare as the file writes them.
fn values(rows: &[&Row<'_>], settings: &Settings) -> Result<Vec<String>, Diagnostic> {
    let mut known: Vec<String> = Vec::new();
    for row in rows {
        let mut axes = row.spec.axes.iter();
        let Some(axis) = axes.find(|axis| axis.name == settings.axis) else {
            continue;
        };
        let text = bare(&axis.text).into_owned();
        if !known.contains(&text) {
            known.push(text);
        }
    }
    let refuse = |message: String, word: &str| {
        let names = known.iter().map(String::as_str);
        Err(
            Diagnostic::error("results::axis", message).help(suggest::help(
                word,
                names,
                "it has no values",
            )),
        )
    };
    if settings.values.is_empty() {
        return match known.len() {
            0 | 1 => refuse(
                format!("the axis `{}` has one value only", settings.axis),
                "",
            ),
            _ => Ok(known),
        };
    }
    let mut values = Vec::new();
    for wanted in &settings.values {
        match known.iter().find(|value| same_text(value, wanted)) {
            Some(value) => values.push(value.clone()),
            None => {
                return refuse(
                    format!("the axis `{}` has no value `{wanted}`", settings.axis),
                    wanted,
                );
            }
        }
    }
    Ok(values)
}
