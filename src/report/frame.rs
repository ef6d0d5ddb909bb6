//! Rows as one Polars frame: filter, group, write. The only door to Polars; knows nothing of tables.

use polars::prelude::*;

use crate::error::ReportError;
use crate::input::{Instance, Row};

/// Columns every frame has; an axis of such a name fills the rows that leave it empty, and where it says something
/// else than the row it is a column `axis.NAME` as well.
const FIELDS: [&str; 5] = ["input", "dataset", "split", "metric", "class"];
/// Names of axes hold no point, so these columns meet no other.
const AXIS_PREFIX: &str = "axis.";

/// All rows of a report, the axes of their instances as columns.
#[derive(Debug)]
pub struct Frame {
    data: DataFrame,
    columns: Vec<String>,
    instances: Vec<usize>,
    values: Vec<f64>,
    /// The values that occur, a list a column.
    distinct: Vec<Vec<String>>,
}

/// Rows whose `column` has one of `values`; `None` is the absence of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// A text column.
    pub column: String,
    /// The values that pass, in the order written.
    pub values: Vec<Option<String>>,
}

/// Rows that share the values of some columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The shared values, in the order of the columns asked for.
    pub key: Vec<Option<String>>,
    /// Row numbers, ascending.
    pub rows: Vec<usize>,
}

/// One column of a sheet that is written to a file.
#[derive(Clone, Debug)]
pub enum SheetColumn {
    /// Text.
    Text(String, Vec<Option<String>>),
    /// Numbers.
    Number(String, Vec<Option<f64>>),
    /// Counts.
    Count(String, Vec<Option<u64>>),
}

impl Frame {
    /// The frame of `rows[i]`, which come from `instances[i]`.
    ///
    /// # Errors
    /// Only when Polars refuses the columns, which is a bug.
    pub fn new(instances: &[Instance], rows: &[Vec<Row>]) -> Result<Self, ReportError> {
        let flat: Vec<(usize, &Row)> = rows
            .iter()
            .enumerate()
            .flat_map(|(at, rows)| rows.iter().map(move |row| (at, row)))
            .collect();
        let names = column_names(instances, &flat);
        let numeric = |name: &str| match names.iter().any(|taken| taken == name) {
            true => format!("row {name}"),
            false => name.to_owned(),
        };
        let value_name = numeric("value");
        let count_name = numeric("n");
        let mut columns: Vec<Column> = names
            .iter()
            .map(|name| {
                let texts: Vec<Option<&str>> = flat
                    .iter()
                    .map(|&(at, row)| text_field(&instances[at], row, name))
                    .collect();
                Column::new(name.as_str().into(), texts)
            })
            .collect();
        let values: Vec<f64> = flat.iter().map(|(_, row)| row.value).collect();
        let counts: Vec<Option<u64>> = flat.iter().map(|(_, row)| row.n).collect();
        columns.push(Column::new(value_name.into(), values.clone()));
        columns.push(Column::new(count_name.into(), counts));
        let data = DataFrame::new(flat.len(), columns).map_err(polars_error)?;
        let distinct = names
            .iter()
            .map(|name| {
                let texts = data.column(name).and_then(|column| column.str()?.unique());
                let texts = texts.map_err(polars_error)?;
                Ok(texts.iter().flatten().map(str::to_owned).collect())
            })
            .collect::<Result<_, ReportError>>()?;
        Ok(Self {
            data,
            distinct,
            columns: names,
            instances: flat.iter().map(|(at, _)| *at).collect(),
            values,
        })
    }

    /// The names of the text columns: those that filters, tables and charts may name.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows that pass every condition, ascending.
    ///
    /// # Errors
    /// Only for columns the frame does not have; callers check them first.
    pub fn select(&self, conditions: &[Condition]) -> Result<Vec<usize>, ReportError> {
        let mut mask = BooleanChunked::full("pass".into(), true, self.data.height());
        for condition in conditions {
            let column = self.text(&condition.column)?;
            let mut passes = BooleanChunked::full("pass".into(), false, self.data.height());
            let at = self
                .columns
                .iter()
                .position(|name| *name == condition.column);
            let present = at.map_or(&[][..], |at| &self.distinct[at]);
            for value in &condition.values {
                match value {
                    None => passes = passes | column.is_null(),
                    Some(wanted) => {
                        for found in present.iter().filter(|found| same_text(found, wanted)) {
                            passes = passes | column.equal_missing(found.as_str());
                        }
                    }
                }
            }
            mask = mask & passes;
        }
        Ok(mask
            .iter()
            .enumerate()
            .filter(|(_, passes)| *passes == Some(true))
            .map(|(row, _)| row)
            .collect())
    }

    /// `rows` by the values of `columns`, in order of first appearance.
    ///
    /// # Errors
    /// Only for columns the frame does not have; callers check them first.
    pub fn group(&self, rows: &[usize], columns: &[String]) -> Result<Vec<Group>, ReportError> {
        if columns.is_empty() || rows.is_empty() {
            let group = |rows: &[usize]| Group {
                key: Vec::new(),
                rows: rows.to_vec(),
            };
            return Ok((!rows.is_empty())
                .then(|| group(rows))
                .into_iter()
                .collect());
        }
        let wanted: Vec<IdxSize> = rows.iter().map(|&row| row as IdxSize).collect();
        let part = self
            .data
            .take(&IdxCa::from_vec("row".into(), wanted))
            .map_err(polars_error)?;
        let grouped = part.group_by_stable(columns).map_err(polars_error)?;
        grouped
            .get_groups()
            .iter()
            .map(|indicator| {
                let members: Vec<usize> = match indicator {
                    GroupsIndicator::Idx((_, all)) => {
                        all.iter().map(|&at| rows[at as usize]).collect()
                    }
                    GroupsIndicator::Slice([start, length]) => (start..start + length)
                        .map(|at| rows[at as usize])
                        .collect(),
                };
                let key = columns
                    .iter()
                    .map(|column| Ok(self.cell(members[0], column)?.map(str::to_owned)))
                    .collect::<Result<_, ReportError>>()?;
                Ok(Group { key, rows: members })
            })
            .collect()
    }

    /// The text of a cell.
    ///
    /// # Errors
    /// Only for a column the frame does not have.
    pub fn cell(&self, row: usize, column: &str) -> Result<Option<&str>, ReportError> {
        Ok(self.text(column)?.get(row))
    }

    /// The number in a row.
    #[must_use]
    pub fn value(&self, row: usize) -> f64 {
        self.values[row]
    }

    /// The index of the instance a row comes from.
    #[must_use]
    pub fn instance(&self, row: usize) -> usize {
        self.instances[row]
    }

    /// How many rows there are.
    #[must_use]
    pub fn height(&self) -> usize {
        self.data.height()
    }

    /// The rows as CSV, with a header.
    ///
    /// # Errors
    /// Only when Polars refuses, which is a bug.
    pub fn csv(&self) -> Result<Vec<u8>, ReportError> {
        csv(&mut self.data.clone())
    }

    /// The rows as Parquet.
    ///
    /// # Errors
    /// Only when Polars refuses, which is a bug.
    pub fn parquet(&self) -> Result<Vec<u8>, ReportError> {
        parquet(&mut self.data.clone())
    }

    fn text(&self, column: &str) -> Result<&StringChunked, ReportError> {
        self.data
            .column(column)
            .and_then(|column| column.str())
            .map_err(polars_error)
    }
}

/// A sheet as CSV and as Parquet.
///
/// # Errors
/// When the columns differ in length, which is a bug.
pub fn sheet(columns: &[SheetColumn]) -> Result<(Vec<u8>, Vec<u8>), ReportError> {
    let columns: Vec<Column> = columns
        .iter()
        .map(|column| match column {
            SheetColumn::Text(name, cells) => Column::new(name.as_str().into(), cells),
            SheetColumn::Number(name, cells) => Column::new(name.as_str().into(), cells),
            SheetColumn::Count(name, cells) => Column::new(name.as_str().into(), cells),
        })
        .collect();
    let mut data = DataFrame::new_infer_height(columns).map_err(polars_error)?;
    Ok((csv(&mut data)?, parquet(&mut data)?))
}

/// What a Parquet file holds, as CSV, whoever wrote it and however it is compressed inside.
///
/// # Errors
/// When it cannot be read here.
pub fn parquet_to_csv(bytes: &[u8]) -> Result<Vec<u8>, ReportError> {
    let mut data = ParquetReader::new(std::io::Cursor::new(bytes))
        .finish()
        .map_err(polars_error)?;
    csv(&mut data)
}

/// Whether two texts mean one value: equal, or equal as numbers (`1` and `1.0`).
#[must_use]
pub fn same_text(left: &str, right: &str) -> bool {
    left == right
        || matches!((left.parse::<f64>(), right.parse::<f64>()), (Ok(left), Ok(right)) if left == right)
}

/// The text columns: the input, the axes in order of first appearance, what rows say themselves.
fn column_names(instances: &[Instance], rows: &[(usize, &Row)]) -> Vec<String> {
    let mut names: Vec<String> = vec!["input".to_owned()];
    for (name, _) in instances.iter().flat_map(|instance| &instance.axes) {
        if !names.contains(name) && !FIELDS.contains(&name.as_str()) {
            names.push(name.clone());
        }
    }
    for name in FIELDS {
        let differs = |&(at, row): &(usize, &Row)| {
            let axis = axis_of(&instances[at], name);
            axis.is_some() && axis != text_field(&instances[at], row, name)
        };
        if rows.iter().any(differs) {
            names.push(format!("{AXIS_PREFIX}{name}"));
        }
    }
    names.extend(FIELDS[1..].iter().map(|&name| name.to_owned()));
    names
}

fn text_field<'a>(instance: &'a Instance, row: &'a Row, name: &str) -> Option<&'a str> {
    if let Some(axis) = name.strip_prefix(AXIS_PREFIX) {
        return axis_of(instance, axis);
    }
    let stated = match name {
        "dataset" => row.dataset.as_deref(),
        "split" => row.split.as_deref(),
        "metric" => Some(row.metric.as_str()),
        "class" => row.class.as_deref(),
        _ => None,
    };
    let port = || (name == "input").then_some(instance.input.as_str());
    stated.or_else(|| axis_of(instance, name)).or_else(port)
}

fn axis_of<'a>(instance: &'a Instance, name: &str) -> Option<&'a str> {
    let mut axes = instance.axes.iter();
    axes.find(|(axis, _)| axis == name)
        .map(|(_, value)| value.as_str())
}

fn csv(data: &mut DataFrame) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    CsvWriter::new(&mut bytes)
        .finish(data)
        .map_err(polars_error)?;
    Ok(bytes)
}

fn parquet(data: &mut DataFrame) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Uncompressed)
        .set_parallel(false)
        .finish(data)
        .map_err(polars_error)?;
    Ok(bytes)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn polars_error(error: PolarsError) -> ReportError {
    ReportError::Frame(error.to_string())
}
