//! Which columns the rows of one stage have, what they are called, and how their numbers are written. Knows nothing of
//! tables and files.

use std::collections::{BTreeMap, BTreeSet};

use flow::metric::MetricRow;
use flow::results::Standing;
use report::number::Style;

use super::rows::{Row, Subject, full_name, is_meant};

/// A value of a parameter that is longer than this is a text, not a setting.
const LONGEST_SETTING: usize = 40;

/// The parts of a number's name that tell it from the other numbers of its instance, or from that of other instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Naming {
    dataset: bool,
    split: bool,
}

impl Naming {
    /// A data set or a split is left out where each instance has one only, and it is the same for all or follows one axis.
    pub(super) fn of(rows: &[&Row<'_>]) -> Self {
        let needs = |part: fn(&MetricRow) -> Option<&str>| {
            let mut ones = Vec::with_capacity(rows.len());
            for row in rows.iter().filter(|row| !row.instance.numbers.is_empty()) {
                let mut parts = row.instance.numbers.iter().map(part);
                let first = parts.next().flatten();
                if parts.any(|other| other != first) {
                    return true;
                }
                ones.push((*row, first));
            }
            let distinct: BTreeSet<Option<&str>> = ones.iter().map(|(_, one)| *one).collect();
            distinct.len() > 1 && !follows_an_axis(&ones, distinct.len())
        };
        Self {
            dataset: needs(|number| number.dataset.as_deref()),
            split: needs(|number| number.split.as_deref()),
        }
    }

    /// The number's name with the parts that are needed.
    pub(super) fn name(self, number: &MetricRow) -> String {
        full_name(&MetricRow {
            dataset: number.dataset.clone().filter(|_| self.dataset),
            split: number.split.clone().filter(|_| self.split),
            ..number.clone()
        })
    }
}

/// Whether one axis has a value of its own for each of the values.
fn follows_an_axis(ones: &[(&Row<'_>, Option<&str>)], distinct: usize) -> bool {
    let Some((first, _)) = ones.first() else {
        return false;
    };
    first.spec.axes.iter().any(|axis| {
        let mut by_value: BTreeMap<&str, Option<&str>> = BTreeMap::new();
        let is_function = ones.iter().all(|(row, one)| {
            let mut axes = row.spec.axes.iter();
            axes.find(|other| other.name == axis.name)
                .is_some_and(|axis| by_value.entry(&axis.text).or_insert(*one) == one)
        });
        is_function && by_value.len() == distinct
    })
}

/// The numbers of some rows: a column each, those over all classes first, each in order of appearance.
pub(super) struct Numbers {
    pub(super) names: Vec<String>,
    /// For each row the values by column.
    pub(super) values: Vec<BTreeMap<usize, f64>>,
    /// How many of the columns are over all classes.
    pub(super) overall: usize,
    naming: Naming,
}

impl Numbers {
    pub(super) fn of(rows: &[&Row<'_>]) -> Self {
        let naming = Naming::of(rows);
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut names = Vec::new();
        let mut is_of_class = Vec::new();
        let mut values: Vec<BTreeMap<usize, f64>> = Vec::with_capacity(rows.len());
        for row in rows {
            let mut of_row = BTreeMap::new();
            for number in &row.instance.numbers {
                let name = naming.name(number);
                let place = *places.entry(name).or_insert_with_key(|name| {
                    names.push(name.clone());
                    is_of_class.push(number.class.is_some());
                    names.len() - 1
                });
                of_row.insert(place, number.value);
            }
            values.push(of_row);
        }
        // A stable sort keeps the order of appearance within both parts.
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|at| is_of_class[*at]);
        let mut back = vec![0; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(to, from)| back[*from] = to);
        Self {
            naming,
            overall: is_of_class
                .iter()
                .filter(|is_of_class| !**is_of_class)
                .count(),
            names: order.iter().map(|at| names[*at].clone()).collect(),
            values: values
                .into_iter()
                .map(|row| {
                    row.into_iter()
                        .map(|(at, value)| (back[at], value))
                        .collect()
                })
                .collect(),
        }
    }

    /// The names of the columns that numbers of the command line mean.
    pub(super) fn asked(&self, rows: &[&Row<'_>], subjects: &[Subject]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for subject in subjects {
            let Subject::Number(selector) = subject else {
                continue;
            };
            let numbers = rows.iter().flat_map(|row| &row.instance.numbers);
            let meant = numbers.filter(|number| is_meant(number, selector));
            names.extend(meant.map(|number| self.naming.name(number)));
        }
        names
    }

    /// The values of a column, where rows have them.
    pub(super) fn column(&self, at: usize) -> Vec<Option<f64>> {
        self.values
            .iter()
            .map(|row| row.get(&at).copied())
            .collect()
    }
}

/// The parameters of the rows of one stage.
#[derive(Default)]
pub(super) struct Parameters {
    /// Label and path of those that vary and are not an axis under another name.
    pub(super) varying: Vec<(String, String)>,
    /// Label and value of those that are the same in all rows.
    pub(super) same: Vec<(String, String)>,
    /// Labels of long texts, which no column holds.
    pub(super) long: Vec<String>,
}

impl Parameters {
    pub(super) fn of(rows: &[&Row<'_>]) -> Self {
        let mut paths: Vec<&str> = Vec::new();
        let mut values: BTreeMap<&str, Vec<Option<&str>>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            for (path, value) in &row.parameters {
                let values = values.entry(path).or_insert_with(|| {
                    paths.push(path);
                    vec![None; rows.len()]
                });
                values[at] = Some(value);
            }
        }
        let mut parameters = Self::default();
        for path in &paths {
            let values = &values[path];
            let label = label(path, &paths, rows);
            let is_long = |value: &&str| value.len() > LONGEST_SETTING || value.contains('\n');
            if values.iter().flatten().any(is_long) {
                parameters.long.push(label);
            } else if is_axis(rows, values) {
                // A column of the axis says it already.
            } else if values.iter().all(|value| value == &values[0]) {
                let value = values[0].unwrap_or_default().to_owned();
                parameters.same.push((label, value));
            } else {
                parameters.varying.push((label, (*path).to_owned()));
            }
        }
        parameters
    }
}

/// The last word of a path where no other parameter and no axis ends in it, else the whole path.
fn label(path: &str, paths: &[&str], rows: &[&Row<'_>]) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    let same_end = paths
        .iter()
        .filter(|other| other.rsplit('.').next() == Some(last));
    let is_axis = rows
        .first()
        .is_some_and(|row| row.spec.axes.iter().any(|axis| axis.name == last));
    let is_index = last.bytes().all(|b| b.is_ascii_digit());
    if same_end.count() > 1 || is_axis || is_index {
        path.to_owned()
    } else {
        last.to_owned()
    }
}

/// Whether values are those of an axis in every row.
fn is_axis(rows: &[&Row<'_>], values: &[Option<&str>]) -> bool {
    let axes = rows.first().map_or(0, |row| row.spec.axes.len());
    (0..axes).any(|at| {
        rows.iter().zip(values).all(|(row, value)| {
            let axis = row
                .spec
                .axes
                .get(at)
                .map(|axis| super::rows::bare(&axis.text));
            axis.zip(*value)
                .is_some_and(|(axis, value)| report::frame::same_text(&axis, value))
        })
    })
}

/// How the numbers of a column are written: as many digits as tell them apart, never so few that all are 0.
#[derive(Clone, Copy)]
pub(super) struct Digits {
    decimals: Option<u8>,
}

impl Digits {
    pub(super) fn of(numbers: &[f64]) -> Self {
        let largest = numbers
            .iter()
            .fold(0.0_f64, |most, number| most.max(number.abs()));
        let decimals = match () {
            () if numbers.iter().all(|number| number.fract() == 0.0) => Some(0),
            () if largest >= 10.0 => Some(2),
            () if largest >= 0.1 => Some(4),
            () if largest >= 0.01 => Some(5),
            () if largest >= 0.001 => Some(6),
            () => None,
        };
        Self { decimals }
    }

    /// One digit more than the numbers themselves, as a spread or a mean of whole numbers wants.
    pub(super) fn finer(self) -> Self {
        Self {
            decimals: self
                .decimals
                .map(|decimals| if decimals == 0 { 2 } else { decimals }),
        }
    }

    pub(super) fn show(self, number: f64) -> String {
        match self.decimals {
            Some(decimals) => Style {
                decimals,
                percent: false,
            }
            .bare(number),
            None if number == 0.0 => "0".to_owned(),
            None => format!("{number:.3e}"),
        }
    }

    pub(super) fn signed(self, number: f64) -> String {
        match self.decimals {
            Some(decimals) => Style {
                decimals,
                percent: false,
            }
            .signed(number),
            None => format!("{number:+.3e}"),
        }
    }
}

/// A chance: three digits, and no more than can be read.
pub(super) fn chance(p: f64) -> String {
    if p < 0.0001 {
        format!("{p:.1e}")
    } else if p < 0.1 {
        format!("{p:.4}")
    } else {
        format!("{p:.3}")
    }
}

/// `12 cached, 1 failed`.
pub(super) fn standings<'r>(rows: impl IntoIterator<Item = &'r Row<'r>>) -> String {
    let mut counts: BTreeMap<Standing, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.instance.standing).or_default() += 1;
    }
    let counts = counts
        .into_iter()
        .map(|(standing, count)| format!("{count} {}", standing.word()));
    counts.collect::<Vec<_>>().join(", ")
}
