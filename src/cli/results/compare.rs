//! Two values of an axis over the same repetitions: their difference and whether it is more than chance. Knows nothing of
//! how a test is computed.

use std::collections::BTreeMap;

use flow::diagnostic::Diagnostic;
use flow::spec::{Axis, suggest};
use report::frame::same_text;
use report::paired::{self, Paired};

use super::columns::Numbers;
use super::mean::{absence, over_of, repetition};
use super::rows::{Row, Subject, bare};
use super::sheet::some;
use crate::cli::values::Settings;

mod show;

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

impl Comparison<'_> {
    /// One pair tells nothing, whatever its values are.
    fn is_testable(&self) -> bool {
        self.paired.n > 1
    }
}

/// All comparisons that were asked for.
pub(super) struct Comparisons<'r> {
    axis: String,
    over: Vec<String>,
    /// Those with a line of their own.
    all: Vec<Comparison<'r>>,
    /// Those without a difference in any pair: they have no line, and count in the correction.
    equal: Vec<Comparison<'r>>,
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
        let is_equal =
            paired.difference == 0.0 && paired.deviation.is_none_or(|deviation| deviation == 0.0);
        let place = if is_equal {
            &mut self.equal
        } else {
            &mut self.all
        };
        place.push(Comparison {
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

    /// Corrects the chances for how many comparisons were made; each kind of test is a family of its own. Nothing that
    /// the values say takes a comparison out of a family: those without a difference count, and those without a p.
    fn correct(&mut self) {
        let mut family: Vec<&mut Comparison<'_>> = self
            .all
            .iter_mut()
            .chain(&mut self.equal)
            .filter(|one| one.is_testable())
            .collect();
        let t: Vec<Option<f64>> = family.iter().map(|one| one.paired.p_t).collect();
        let exact: Vec<Option<f64>> = family.iter().map(|one| one.paired.p_exact).collect();
        let corrected = paired::holm_of_all(&t)
            .into_iter()
            .zip(paired::holm_of_all(&exact));
        for (one, (t, exact)) in family.iter_mut().zip(corrected) {
            one.holm_t = t;
            one.holm_exact = exact;
        }
    }

    /// How many comparisons the correction is for.
    fn tests(&self) -> usize {
        self.every().filter(|one| one.is_testable()).count()
    }

    fn every(&self) -> impl Iterator<Item = &Comparison<'r>> {
        self.all.iter().chain(&self.equal)
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
