//! One number: the rows that make it up, their summary over the repetitions, and what is odd about them.
//! Knows nothing of tables or pages.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::ReportError;
use crate::frame::{Condition, Frame};
use crate::input::{Departure, Instance, NUMBER_FIELDS, Typed, Variable, text_of, variables_line};
use crate::options::Where;
use crate::stats::Summary;

/// This many departures are named with their values beside a number; the head of the page names all.
const FEW_DEPARTURES: usize = 2;

/// The rows of a report and the instances they come from.
#[derive(Debug)]
pub struct Data {
    /// All rows.
    pub frame: Frame,
    /// Where they come from.
    pub instances: Vec<Instance>,
}

/// One number with what stands behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// The rows, ascending; what claims and cells are matched by.
    pub rows: Vec<usize>,
    /// Over the repetitions.
    pub summary: Summary,
    /// Each repetition's number, in the order of the instances.
    pub values: Vec<f64>,
    /// How many repetitions there should be.
    pub expected: usize,
    /// Repetitions without this number, such as `seed=3`.
    pub missing: Vec<String>,
    /// The devices it was made on and how many repetitions each made, when there is more than one.
    pub devices: Vec<(String, usize)>,
    /// What stands in for real data, one line each.
    pub stand_ins: Vec<String>,
    /// Whether the stage it comes from is repeated, be it only once.
    pub is_repeated: bool,
    /// Why results among them were accepted by hand.
    pub accepted: Vec<String>,
    /// What departs from the pipeline file as written.
    pub departures: Vec<Departure>,
    /// Variables behind it whose values the pipeline file does not state.
    pub variables: Vec<Variable>,
    /// Numbers behind it that a person typed into the pipeline file.
    pub typed: Typed,
}

impl Measure {
    /// What departs from the file as written in one line: the settings where they are few, else how many of each stage.
    #[must_use]
    pub fn departure(&self) -> Option<String> {
        if self.departures.len() <= FEW_DEPARTURES {
            let lines: Vec<String> = self.departures.iter().map(ToString::to_string).collect();
            return (!lines.is_empty()).then(|| lines.join("; "));
        }
        let mut stages: Vec<(&str, usize)> = Vec::new();
        for departure in &self.departures {
            match stages
                .iter_mut()
                .find(|(stage, _)| *stage == departure.stage)
            {
                Some((_, count)) => *count += 1,
                None => stages.push((&departure.stage, 1)),
            }
        }
        let stages: Vec<String> = stages
            .into_iter()
            .map(|(stage, count)| match count {
                1 => format!("{stage} (1 setting)"),
                count => format!("{stage} ({count} settings)"),
            })
            .collect();
        Some(stages.join(", "))
    }

    /// What has to be said of it that makes it no less comparable, one fragment each.
    #[must_use]
    pub fn asides(&self) -> Vec<String> {
        let mut asides = Vec::new();
        let Typed {
            sources,
            may,
            is_all,
            ..
        } = &self.typed;
        let listed = sources.join("; ");
        if *is_all {
            asides.push(format!(
                "computed from numbers typed into the pipeline file alone, from no result ({listed})"
            ));
        } else if !sources.is_empty() {
            asides.push(format!(
                "computed also from numbers typed into the pipeline file ({listed})"
            ));
        }
        if !may.is_empty() {
            asides.push(format!(
                "may rest on numbers typed into the pipeline file ({})",
                may.join("; ")
            ));
        }
        asides.extend(variables_line(&self.variables).map(|line| {
            format!("rests on variables whose values the pipeline file does not state ({line})")
        }));
        asides
    }
}

/// Why rows do not make one number.
#[derive(Clone, Debug, PartialEq)]
pub enum NotOne {
    /// They differ in these columns.
    Mixed(Vec<String>),
    /// An instance says it more than once.
    Twice {
        /// The instance's name.
        instance: String,
        /// How many rows.
        rows: usize,
    },
}

impl NotOne {
    /// The error for a cell of `place`.
    #[must_use]
    pub fn into_error(self, place: String) -> ReportError {
        match self {
            Self::Mixed(columns) => ReportError::Ambiguous { place, columns },
            Self::Twice { instance, rows } => ReportError::Twice {
                place,
                instance,
                rows,
            },
        }
    }
}

impl Measure {
    /// A number of these values alone, behind which no rows stand; `None` without values.
    #[must_use]
    pub fn of_values(values: Vec<f64>) -> Option<Self> {
        Some(Self {
            rows: Vec::new(),
            summary: Summary::of(&values)?,
            expected: values.len(),
            values,
            missing: Vec::new(),
            devices: Vec::new(),
            stand_ins: Vec::new(),
            accepted: Vec::new(),
            departures: Vec::new(),
            variables: Vec::new(),
            typed: Typed::default(),
            is_repeated: false,
        })
    }
}

impl Data {
    /// The conditions of a filter.
    ///
    /// # Errors
    /// For a column that no row has.
    pub fn conditions(&self, filter: &Where, place: &str) -> Result<Vec<Condition>, ReportError> {
        filter
            .iter()
            .map(|(column, value)| {
                self.check_column(column, place)?;
                let text = |value: &Value| (!value.is_null()).then(|| text_of(value));
                let values = match value {
                    Value::Array(items) => items.iter().map(text).collect(),
                    one => vec![text(one)],
                };
                Ok(Condition {
                    column: column.clone(),
                    values,
                })
            })
            .collect()
    }

    /// Whether the frame has a text column of this name.
    ///
    /// # Errors
    /// When it has not, with the nearest name.
    pub fn check_column(&self, column: &str, place: &str) -> Result<(), ReportError> {
        let columns = self.frame.columns();
        if columns.iter().any(|known| known == column) {
            return Ok(());
        }
        let near = columns
            .iter()
            .map(|known| (strsim::osa_distance(known, column), known))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, known)| known.clone());
        Err(ReportError::UnknownColumn {
            place: place.to_owned(),
            column: column.to_owned(),
            near,
            columns: columns.to_vec(),
        })
    }

    /// The number that `rows` make. `named` are the columns the asker has pinned or spread out; where `class` is not
    /// among them, the rows over all classes are meant if there are any. `None` without rows.
    ///
    /// # Errors
    /// Outer: the frame refuses. Inner: the rows are not one number.
    pub fn measure(
        &self,
        rows: &[usize],
        named: &[String],
    ) -> Result<Result<Option<Measure>, NotOne>, ReportError> {
        let is_named = |column: &str| named.iter().any(|name| name == column);
        let mut rows = rows.to_vec();
        if !is_named("class") {
            let mut overall = Vec::new();
            for &row in &rows {
                if self.frame.cell(row, "class")?.is_none() {
                    overall.push(row);
                }
            }
            if !overall.is_empty() {
                rows = overall;
            }
        }
        if rows.is_empty() {
            return Ok(Ok(None));
        }
        let mixed = self.mixed_columns(&rows)?;
        if !mixed.is_empty() {
            return Ok(Err(NotOne::Mixed(mixed)));
        }
        if let Some(twice) = self.find_twice(&rows) {
            return Ok(Err(twice));
        }
        let values: Vec<f64> = rows.iter().map(|&row| self.frame.value(row)).collect();
        let summary = Summary::of(&values).expect("there are rows");
        let missing = self.missing_replicates(&rows, named);
        Ok(Ok(Some(Measure {
            expected: rows.len() + missing.len(),
            devices: self.devices(&rows),
            stand_ins: self.stand_ins(&rows)?,
            accepted: self.accepted(&rows),
            is_repeated: rows
                .iter()
                .any(|&row| self.instance_of(row).replicate.is_some()),
            departures: self.departures(&rows),
            variables: self.variables(&rows),
            typed: self.typed(&rows)?,
            rows,
            summary,
            values,
            missing,
        })))
    }

    /// Columns, the axis of repetition aside, in which the rows differ.
    fn mixed_columns(&self, rows: &[usize]) -> Result<Vec<String>, ReportError> {
        let mut mixed = Vec::new();
        for column in self.frame.columns() {
            let repeats =
                |row: usize| self.instance_of(row).replicate.as_deref() == Some(column.as_str());
            let first = self.frame.cell(rows[0], column)?;
            for &row in rows {
                if !(repeats(row) && repeats(rows[0])) && self.frame.cell(row, column)? != first {
                    mixed.push(column.clone());
                    break;
                }
            }
        }
        Ok(mixed)
    }

    /// An instance that appears in more than one of `rows`.
    fn find_twice(&self, rows: &[usize]) -> Option<NotOne> {
        let mut seen: BTreeMap<Option<&str>, usize> = BTreeMap::new();
        for &row in rows {
            *seen
                .entry(self.instance_of(row).replicate_value())
                .or_default() += 1;
        }
        let (replicate, count) = seen.into_iter().find(|(_, count)| *count > 1)?;
        let row = rows
            .iter()
            .find(|row| self.instance_of(**row).replicate_value() == replicate)?;
        Some(NotOne::Twice {
            instance: self.instance_of(*row).name(),
            rows: count,
        })
    }

    /// Values of the axis of repetition that other instances of the same input have and these rows have not.
    fn missing_replicates(&self, rows: &[usize], named: &[String]) -> Vec<String> {
        let first = self.instance_of(rows[0]);
        let Some(axis) = first.replicate.as_deref() else {
            return Vec::new();
        };
        if named.iter().any(|name| name == axis) {
            return Vec::new();
        }
        let mut missing: Vec<String> = Vec::new();
        for instance in &self.instances {
            let same_input = instance.input == first.input;
            let Some(value) = instance.replicate_value().filter(|_| same_input) else {
                continue;
            };
            let found = rows
                .iter()
                .any(|&row| self.instance_of(row).replicate_value() == Some(value));
            let text = format!("{axis}={value}");
            if !found && !missing.contains(&text) {
                missing.push(text);
            }
        }
        missing
    }

    fn devices(&self, rows: &[usize]) -> Vec<(String, usize)> {
        let mut devices: Vec<(String, usize)> = Vec::new();
        for &row in rows {
            let device = self.instance_of(row).device.as_deref().unwrap_or("unknown");
            match devices.iter_mut().find(|(name, _)| name == device) {
                Some((_, count)) => *count += 1,
                None => devices.push((device.to_owned(), 1)),
            }
        }
        if devices.len() > 1 {
            devices
        } else {
            Vec::new()
        }
    }

    fn stand_ins(&self, rows: &[usize]) -> Result<Vec<String>, ReportError> {
        let mut lines: Vec<String> = Vec::new();
        for &row in rows {
            let split = self.frame.cell(row, "split")?;
            let class = self.frame.cell(row, "class")?;
            for line in self.instance_of(row).stand_ins(split, class) {
                if !lines.contains(&line) {
                    lines.push(line);
                }
            }
        }
        Ok(lines)
    }

    fn accepted(&self, rows: &[usize]) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in (rows.iter()).flat_map(|&row| self.instance_of(row).note("accepted")) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    fn departures(&self, rows: &[usize]) -> Vec<Departure> {
        let mut all: Vec<Departure> = Vec::new();
        let found = rows.iter().map(|&row| &self.instance_of(row).departures);
        for departure in found.flatten() {
            if !all.contains(departure) {
                all.push(departure.clone());
            }
        }
        all
    }

    fn typed(&self, rows: &[usize]) -> Result<Typed, ReportError> {
        let mut all = Typed {
            is_all: true,
            ..Typed::default()
        };
        let mut has_no_result = true;
        for &row in rows {
            let mut fields = [None; 4];
            for (field, name) in fields.iter_mut().zip(NUMBER_FIELDS) {
                *field = self.frame.cell(row, name)?;
            }
            let one = self.instance_of(row).typed(fields);
            all.is_all &= one.is_all;
            has_no_result &= one.is_all || one.is_open;
            for (known, new) in [(&mut all.sources, one.sources), (&mut all.may, one.may)] {
                for source in new {
                    if !known.contains(&source) {
                        known.push(source);
                    }
                }
            }
        }
        all.may.retain(|source| !all.sources.contains(source));
        all.is_open = has_no_result && !all.is_all;
        Ok(all)
    }

    fn variables(&self, rows: &[usize]) -> Vec<Variable> {
        let all = rows.iter().map(|&row| self.instance_of(row).variables());
        let mut all: Vec<Variable> = all.flatten().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn instance_of(&self, row: usize) -> &Instance {
        &self.instances[self.frame.instance(row)]
    }
}
