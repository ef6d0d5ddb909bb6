//! Numbers over repetitions: mean, standard deviation, n, and which repetitions are missing. Knows nothing of files.

use flow::results::Standing;
use flow::spec::Axis;
use report::stats::Summary;
use serde_json::{Value, json};

use super::columns::{Digits, Numbers, Parameters, standings};
use super::rows::{Row, Subject, bare};
use super::sheet::{Column, Weight, lay_out, some};
use super::table::{axes, remarks};
use super::{Shown, axis_json};
use crate::console::format;
use crate::console::table::Align;
use crate::console::terminal::Look;

/// Rows that differ in the axis of repetition only.
pub(super) struct Group<'r> {
    pub(super) rows: Vec<&'r Row<'r>>,
    /// The axis that is averaged over; `None` where the stage has none.
    pub(super) over: Option<String>,
}

impl<'r> Group<'r> {
    /// ` of a=1,b=2`, for remarks; empty where it has no axes of its own.
    fn name(&self) -> String {
        let axes = self.axes();
        let name: Vec<String> = axes
            .map(|axis| format!("{}={}", axis.name, bare(&axis.text)))
            .collect();
        match name.is_empty() {
            true => String::new(),
            false => format!(" of {}", name.join(",")),
        }
    }

    /// The devices that its results were made on, each once.
    fn devices(&self) -> Vec<&'r str> {
        let devices = (self.rows.iter()).filter_map(|row| row.instance.device.as_deref());
        let devices: std::collections::BTreeSet<&str> = devices.collect();
        devices.into_iter().collect()
    }

    /// The axes that its rows share.
    pub(super) fn axes(&self) -> impl Iterator<Item = &'r Axis> + '_ {
        let axes = self
            .rows
            .first()
            .map_or(&[][..], |row| row.spec.axes.as_slice());
        axes.iter()
            .filter(|axis| Some(axis.name.as_str()) != self.over.as_deref())
    }
}

/// The axis that a stage is averaged over: the one named, else its axis of repetition.
pub(super) fn over_of(row: &Row<'_>, named: Option<&str>) -> Option<String> {
    let mut axes = row.spec.axes.iter();
    axes.find(|axis| match named {
        Some(name) => axis.name == name,
        None => axis.replicate,
    })
    .map(|axis| axis.name.clone())
}

/// The rows of one stage in groups, in order of appearance.
pub(super) fn groups<'r>(rows: &[&'r Row<'r>], over: Option<&str>) -> Vec<Group<'r>> {
    let mut groups: Vec<Group<'r>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for row in rows {
        let over = over_of(row, over);
        let key: Vec<(&str, &str)> = row
            .spec
            .axes
            .iter()
            .filter(|axis| Some(&axis.name) != over.as_ref())
            .map(|axis| (axis.name.as_str(), axis.text.as_str()))
            .collect();
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Group {
                rows: Vec::new(),
                over,
            });
            groups.len() - 1
        });
        groups[place].rows.push(row);
    }
    groups
}

/// Why a row has not got a number, in a word.
pub(super) fn absence(row: &Row<'_>, is_kept: bool) -> &'static str {
    match row.instance.standing {
        _ if !is_kept => "left out by --where",
        Standing::Cached if row.instance.numbers_gone => "numbers gone",
        Standing::Cached => "without it",
        standing => standing.word(),
    }
}

/// `seed=3`, or the instance's name where there is no axis of repetition.
pub(super) fn repetition(row: &Row<'_>, over: Option<&str>) -> String {
    let mut axes = row.spec.axes.iter();
    match axes.find(|axis| Some(axis.name.as_str()) == over) {
        Some(axis) => format!("{}={}", axis.name, bare(&axis.text)),
        None => row.spec.name.clone(),
    }
}

/// One number of one group.
pub(super) struct Mean {
    /// `None` where no repetition has it.
    pub(super) summary: Option<Summary>,
    /// Repetitions without it, and why.
    pub(super) missing: Vec<(String, &'static str)>,
}

/// The groups of a stage with their means, number by number.
pub(super) struct Means<'r> {
    pub(super) groups: Vec<Group<'r>>,
    pub(super) names: Vec<String>,
    overall: usize,
    /// By group and number.
    pub(super) means: Vec<Vec<Mean>>,
    asked: Vec<usize>,
}

impl<'r> Means<'r> {
    /// `kept` says which rows count. With `only`, numbers that it does not mean are left out.
    pub(super) fn of(
        rows: &[&'r Row<'r>],
        kept: &dyn Fn(&Row<'_>) -> bool,
        over: Option<&str>,
        first: &[Subject],
        only: &[Subject],
    ) -> Self {
        let numbers = Numbers::of(rows);
        let places: std::collections::BTreeMap<_, usize> = rows
            .iter()
            .enumerate()
            .map(|(at, row)| (row.instance.id, at))
            .collect();
        let groups = groups(rows, over);
        let wanted = numbers.asked(rows, only);
        let is_wanted = |at: &usize| only.is_empty() || wanted.contains(&numbers.names[*at]);
        let mut columns: Vec<usize> = (0..numbers.names.len()).filter(is_wanted).collect();
        let asked = numbers.asked(rows, first);
        columns.sort_by_key(|at| !asked.contains(&numbers.names[*at]));
        let mean = |group: &Group<'r>, at: usize| {
            let mut values = Vec::new();
            let mut missing = Vec::new();
            for row in &group.rows {
                let is_kept = kept(row);
                let value = places
                    .get(&row.instance.id)
                    .and_then(|place| numbers.values[*place].get(&at));
                match value.filter(|_| is_kept) {
                    Some(value) => values.push(*value),
                    None => missing.push((
                        repetition(row, group.over.as_deref()),
                        absence(row, is_kept),
                    )),
                }
            }
            Mean {
                summary: Summary::of(&values),
                missing,
            }
        };
        let means = groups
            .iter()
            .map(|group| columns.iter().map(|at| mean(group, *at)).collect())
            .collect();
        let asked = columns
            .iter()
            .enumerate()
            .filter(|(_, at)| asked.contains(&numbers.names[**at]));
        let asked = asked.map(|(place, _)| place).collect();
        Self {
            overall: columns.iter().filter(|at| **at < numbers.overall).count(),
            names: columns
                .iter()
                .map(|at| numbers.names[*at].clone())
                .collect(),
            groups,
            means,
            asked,
        }
    }

    /// Sorts the groups by the mean of the number that was asked for first; those without it come last.
    pub(super) fn sort(&mut self, descending: bool) {
        let Some(&at) = self.asked.first() else {
            return;
        };
        let groups = std::mem::take(&mut self.groups);
        let means = std::mem::take(&mut self.means);
        let mut both: Vec<_> = groups.into_iter().zip(means).collect();
        let value = |means: &[Mean]| means[at].summary.map(|summary| summary.mean);
        both.sort_by(|(_, a), (_, b)| match (value(a), value(b)) {
            (Some(a), Some(b)) if descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        (self.groups, self.means) = both.into_iter().unzip();
    }

    /// The table of a stage, and remarks about it.
    pub(super) fn table(&self, look: Look) -> Option<Shown> {
        let firsts: Vec<&Row<'_>> = self.groups.iter().map(|group| group.rows[0]).collect();
        let stage = firsts.first()?;
        let over = self.groups[0].over.as_deref();
        let everyone: Vec<&Row<'_>> = self
            .groups
            .iter()
            .flat_map(|group| group.rows.iter().copied())
            .collect();
        let what = over.map_or_else(
            || "without repetition".to_owned(),
            |over| format!("means over {over}"),
        );
        let heading = format!(
            "{} ({}), {what}: {}",
            stage.spec.stage,
            stage.spec.kind,
            standings(everyone.iter().copied())
        );
        let mut parameters = Parameters::of(&everyone);
        parameters.varying.retain(|(_, path)| {
            let subject = Subject::Parameter(path.clone());
            let is_shared = |group: &Group<'_>| {
                let first = subject.value(group.rows[0]);
                group.rows.iter().all(|row| subject.value(row) == first)
            };
            self.groups.iter().all(is_shared)
        });
        let mut columns = axes(&firsts, over);
        for (label, path) in &parameters.varying {
            let subject = Subject::Parameter(path.clone());
            let cells = firsts.iter().map(|row| {
                subject
                    .value(row)
                    .map(|value| value.text())
                    .unwrap_or_default()
            });
            columns.push(Column::new(
                label,
                Align::Left,
                Weight::Setting,
                cells.collect(),
            ));
        }
        let ns: Vec<String> = self
            .means
            .iter()
            .zip(&self.groups)
            .map(|(means, group)| count(means, group))
            .collect();
        columns.push(Column::new("N", Align::Right, Weight::Must, ns));
        for (at, name) in self.names.iter().enumerate() {
            let weight = if at == 0 {
                Weight::First
            } else {
                Weight::Number
            };
            columns.push(Column::new(name, Align::Right, weight, self.cells(at)));
        }
        let (text, left_out) = lay_out(&columns, firsts.len(), look);
        let mut said = remarks(&everyone, &parameters);
        if !self.names.is_empty() {
            said.insert(0, "mean ± sample standard deviation".to_owned());
        }
        said.extend(self.missing());
        said.extend(self.mixed());
        if !left_out.is_empty() {
            said.push(format!(
                "without room: {}; `--columns` says which to show, `--csv` has all",
                some(&left_out, 12)
            ));
        }
        Some(Shown {
            text: format!("{heading}\n{text}"),
            remarks: said,
        })
    }

    fn cells(&self, at: usize) -> Vec<String> {
        let summaries: Vec<Summary> = self
            .means
            .iter()
            .filter_map(|means| means[at].summary)
            .collect();
        let digits = Digits::of(
            &summaries
                .iter()
                .map(|summary| summary.mean)
                .collect::<Vec<_>>(),
        );
        // Counts that never differ stay whole.
        let is_spread = summaries
            .iter()
            .any(|summary| summary.deviation.is_some_and(|deviation| deviation > 0.0));
        let digits = if is_spread { digits.finer() } else { digits };
        let cell = |(means, group): (&Vec<Mean>, &Group<'_>)| {
            let Some(summary) = means[at].summary else {
                return String::new();
            };
            let mut text = digits.show(summary.mean);
            if let Some(deviation) = summary.deviation {
                text.push_str(&format!(" ± {}", digits.show(deviation)));
            }
            // The column `n` is about all numbers; one that has fewer says so.
            if count(means, group).contains('-') {
                text.push_str(&format!(" ({})", summary.n));
            }
            text
        };
        self.means.iter().zip(&self.groups).map(cell).collect()
    }

    /// A remark a group whose numbers over all classes miss repetitions.
    fn missing(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for (means, group) in self.means.iter().zip(&self.groups) {
            let mut missing: Vec<String> = Vec::new();
            let of_all = means.iter().take(self.overall.max(1));
            for (name, why) in of_all.flat_map(|mean| &mean.missing) {
                let text = format!("{name} ({why})");
                if !missing.contains(&text) {
                    missing.push(text);
                }
            }
            if missing.is_empty() {
                continue;
            }
            let name = group.name();
            remarks.push(format!("missing{name}: {}", some(&missing, 8)));
        }
        if remarks.len() > 10 {
            let more = remarks.len() - 10;
            remarks.truncate(10);
            remarks.push(format!(
                "and {} with something missing; `--json` has all",
                format::counted(more, "more row")
            ));
        }
        remarks
    }

    /// A remark a group whose repetitions were made on different devices: they differ by rounding, too.
    fn mixed(&self) -> Vec<String> {
        let mut remarks: Vec<String> = Vec::new();
        for group in &self.groups {
            let devices = group.devices();
            if devices.len() > 1 {
                let (name, devices) = (group.name(), devices.join(", "));
                remarks.push(format!("made on different devices{name}: {devices}"));
            }
        }
        if remarks.len() > 10 {
            let more = remarks.len() - 10;
            remarks.truncate(10);
            remarks.push(format!(
                "and {} made on different devices; `--json` has all",
                format::counted(more, "more row")
            ));
        }
        remarks
    }

    /// An object a group and number, for files.
    pub(super) fn json(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        for (means, group) in self.means.iter().zip(&self.groups) {
            for (name, mean) in self.names.iter().zip(means) {
                let Mean { summary, missing } = mean;
                let of = |get: fn(&Summary) -> f64| summary.as_ref().map(get);
                let missing: Vec<Value> = missing
                    .iter()
                    .map(|(name, why)| json!({ "repetition": name, "because": why }))
                    .collect();
                let axes: serde_json::Map<String, Value> = group.axes().map(axis_json).collect();
                lines.push(json!({
                    "stage": group.rows[0].spec.stage, "axes": axes, "over": group.over, "number": name,
                    "mean": of(|summary| summary.mean), "standard_deviation": summary.and_then(|summary| summary.deviation),
                    "n": summary.map_or(0, |summary| summary.n),
                    "expected_n": group.rows.len(), "min": of(|summary| summary.min), "max": of(|summary| summary.max),
                    "interval_half_width": summary.and_then(|summary| summary.half_width),
                    "devices": group.devices().join(", "), "missing": missing,
                }));
            }
        }
        lines
    }
}

/// `5`, `4 of 5`, or `3-5 of 5` where numbers differ in it.
fn count(means: &[Mean], group: &Group<'_>) -> String {
    let expected = group.rows.len();
    let ns = || {
        means
            .iter()
            .map(|mean| mean.summary.map_or(0, |summary| summary.n))
    };
    match (ns().min(), ns().max()) {
        (Some(least), Some(most)) if least != most => format!("{least}-{most} of {expected}"),
        (Some(n), _) if n == expected => n.to_string(),
        (Some(n), _) => format!("{n} of {expected}"),
        _ => format!("0 of {expected}"),
    }
}
