//! Comparisons as a table with remarks, and for programs. Knows nothing of how they were made.

use std::collections::BTreeMap;

use report::paired::{EXACT_TEST, EXACT_UP_TO, T_TEST};
use serde_json::{Value, json};

use super::{Comparison, Comparisons};
use crate::cli::results::columns::{Digits, chance};
use crate::cli::results::rows::bare;
use crate::cli::results::sheet::{Column, Weight, lay_out, some};
use crate::cli::results::{Shown, axis_json};
use crate::console::table::Align;
use crate::console::terminal::{Ink, Look};

impl Comparisons<'_> {
    /// Pairs left out of any comparison, those that came out equal too.
    fn left_out(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for one in self.every() {
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
        out
    }

    /// The numbers that are equal in every pair of a cell.
    fn equal_numbers(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for one in &self.equal {
            if !names.contains(&one.number) {
                names.push(one.number.clone());
            }
        }
        names
    }

    /// A table, and remarks about it.
    pub(in crate::cli::results) fn table(&self, look: Look) -> Shown {
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
        let has_many_tests = self.tests() > 1;
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
        remarks.extend(self.correction());
        let out = self.left_out();
        if !out.is_empty() {
            remarks.push(format!("pairs left out: {}", some(&out, 8)));
        }
        remarks.extend(self.without_pairs.iter().take(8).cloned());
        let equal = self.equal_numbers();
        if !equal.is_empty() {
            remarks.push(format!(
                "equal in every pair of a cell, without a line there: {}",
                some(&equal, 12)
            ));
        }
        remarks
    }

    /// What the columns `Holm` are corrected for.
    fn correction(&self) -> Vec<String> {
        let tests = self.tests();
        let mut remarks = Vec::new();
        if self.all.is_empty() || tests < 2 {
            return remarks;
        }
        let equal = self.equal.iter().filter(|one| one.is_testable()).count();
        let (among, many) = match equal {
            0 => (String::new(), "them".to_owned()),
            equal => (
                format!(", {equal} of them equal in every pair (p = 1)"),
                format!("all {tests}"),
            ),
        };
        remarks.push(format!(
            "{tests} comparisons were made{among}: `Holm` is the p beside it, corrected for {many} (Holm 1979)"
        ));
        let mut tested = self.all.iter().filter(|one| one.is_testable());
        if tested.any(|one| one.paired.p_t.is_none() || one.paired.p_exact.is_none()) {
            remarks.push("a p that is missing counts as 1 in the correction".to_owned());
        }
        if self.every().any(|one| !one.is_testable()) {
            remarks.push("comparisons of one pair are not among them".to_owned());
        }
        remarks
    }

    /// Everything, for programs.
    pub(in crate::cli::results) fn json(&self) -> Value {
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
            "axis": self.axis, "paired_by": self.over, "tests": self.tests(),
            "methods": { "t": T_TEST, "exact": EXACT_TEST, "correction": "Holm 1979" },
            "comparisons": lines, "equal": self.equal_numbers(), "left_out": self.left_out(),
            "without_pairs": self.without_pairs,
        })
    }
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
