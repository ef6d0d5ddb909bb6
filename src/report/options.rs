//! What a report is asked to show: titles, tables, charts, claims. Knows nothing of rows.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::equivalence::Stated;
use crate::frame::same_text;
use crate::input::text_of;
use crate::sections::options::{LedgerEntry, Published, Rank, SectionOptions};

/// Filters: column to one value or a list of values. `null` chooses rows without a value in that column.
pub type Where = BTreeMap<String, Value>;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a report shows. Everything may be left out: then there is one table a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Heading of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Introduction, Markdown; raw HTML is shown as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Tables, in order. None: one a data set, over everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableOptions>,
    /// Charts, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub charts: Vec<ChartOptions>,
    /// Whether the charts stand before the tables.
    #[serde(skip_serializing_if = "is_default")]
    pub charts_first: bool,
    /// Further parts, in order: text, tables, charts, examples, confusion, curves, choices, the ledger.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<SectionOptions>,
    /// What the paper left open, what was taken for it, and which numbers it touches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ledger: Vec<LedgerEntry>,
    /// Whether the questions of reviewers' checklists stand at the end.
    #[serde(skip_serializing_if = "is_default")]
    pub checklist: bool,
    /// Which claims of the pipeline file this report judges, by `metric`, `source` or a column of their `where`, such as `{ source: [Table 2, Table 3] }`. All unless given.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub expect: Where,
}

/// One table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TableOptions {
    /// Caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What the table shows, Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Which rows take part, such as `{ task: ner, split: [dev, test] }`; lists also set the order.
    #[serde(rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// Columns whose values make the lines of the table, such as `[dataset]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
    /// Columns whose values make the columns of the table, such as `[metric, split]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Which numbers are shown, in order; each may have a filter and columns of its own. None: all metrics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<NumberOptions>,
    /// `wide`: a grid, the reference under each number. `long`: one line a number: reproduced, reference, difference.
    #[serde(skip_serializing_if = "is_default")]
    pub layout: Layout,
    /// How numbers are written.
    #[serde(skip_serializing_if = "is_default")]
    pub format: Format,
    /// Digits after the point for `decimals` and `percent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
    /// What the claimed values are called, such as `Paper`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Names for columns and values as people write them, such as `{ bc5cdr: BC5CDR, dev: Validation }`. `all` is a number over all classes, `"null"` one without a value in another column, such as all splits together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Systems that others published, as lines beside ours.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
    /// What ours is called among `published`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Which number is first among `published` and ours.
    #[serde(skip_serializing_if = "is_default")]
    pub rank: Rank,
}

impl Options {
    /// Inputs whose files are read by a part of the page; those of all others are rows.
    pub fn section_ports(&self) -> impl Iterator<Item = &str> {
        let ports = self.sections.iter().flat_map(SectionOptions::ports);
        ports.map(String::as_str)
    }
}

/// One number, or one group of columns, of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NumberOptions {
    /// The metric's name.
    pub metric: String,
    /// A heading over its columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Filters beyond the table's.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// Columns of the table made by this number, in place of the table's `columns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Vec<String>>,
    /// How it is written, in place of the table's `format`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Digits after the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
}

/// The shape of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A grid; the reference stands under each number.
    #[default]
    Wide,
    /// One line a number: reproduced, reference, difference.
    Long,
}

/// How numbers are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Whole numbers as such, others with two digits after the point (four below 10).
    #[default]
    Auto,
    /// Rounded to a whole number, thousands apart.
    Integer,
    /// With digits after the point, two unless `decimals` says otherwise.
    Decimals,
    /// A fraction, shown times 100 with `%`; two digits unless `decimals` says otherwise.
    Percent,
}

/// One chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChartOptions {
    /// Caption.
    pub title: String,
    /// What the chart shows, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The marks.
    pub kind: Mark,
    /// The metric on the y axis.
    pub metric: String,
    /// Which rows take part.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// The column along the x axis; numbers for `lines`, names otherwise.
    pub x: String,
    /// The column whose values are told apart by colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What the y axis is called; the metric's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Where the y axis begins; bars begin at 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<f64>,
    /// How numbers are written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: Format,
    /// Digits after the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
    /// Names for columns and values as people write them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The marks of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Bars with 95 % intervals, claimed values as ticks.
    Bars,
    /// Lines with 95 % bands.
    Lines,
    /// A dot a replicate, the mean as a tick, claimed values as diamonds.
    Dots,
}

/// A number somebody stated, such as a paper: an entry of `expect:`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The metric's name.
    pub metric: String,
    /// Which rows it is about.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// The stated value, in the unit of the metric.
    pub value: f64,
    /// The margin: the largest difference that still counts as reproduced; half a unit of the value's last digit after the point unless given, 0 for whole numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// How many runs the stated value is the mean of; unless given it counts as one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Standard deviation over those runs; ours is taken for it unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sd: Option<f64>,
    /// Where it is stated, such as `Table 7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Explains a known difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Claim {
    /// Whether this claim is among those that `filter` chooses by `metric`, `source` or a column of its own filter.
    #[must_use]
    pub fn is_chosen_by(&self, filter: &Where) -> bool {
        let own = |name: &str| match name {
            "metric" => Some(self.metric.clone()),
            "source" => self.source.clone(),
            column => self.filter.get(column).map(text_of),
        };
        filter.iter().all(|(name, wanted)| {
            let own = own(name);
            let fits = |value: &Value| match (&own, value) {
                (None, value) => value.is_null(),
                (Some(own), value) => same_text(own, &text_of(value)),
            };
            match wanted {
                Value::Array(values) => values.iter().any(fits),
                value => fits(value),
            }
        })
    }

    /// What is known of the spread behind the stated value.
    #[must_use]
    pub fn stated_spread(&self) -> Stated {
        match (self.sd, self.n) {
            (Some(deviation), Some(n)) if n > 1 => Stated::Known { deviation, n },
            (_, n) => Stated::Assumed {
                n: n.unwrap_or(1).max(1),
            },
        }
    }

    /// The margin, in the unit of the metric.
    #[must_use]
    pub fn effective_tolerance(&self) -> f64 {
        self.tolerance.unwrap_or_else(|| {
            let digits = self.value.to_string();
            match digits.split_once('.') {
                Some((_, fraction)) => {
                    0.5 * 10_f64.powi(-i32::try_from(fraction.len()).unwrap_or(i32::MAX))
                }
                None => 0.0,
            }
        })
    }
}
