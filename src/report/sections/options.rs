//! What the parts of a page other than numbers are asked to show. Knows nothing of files.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::options::{ChartOptions, Format, TableOptions, Where};

/// One part of the page, in the order written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SectionOptions {
    /// Markdown; raw HTML is shown as text.
    Text(String),
    /// A table of numbers.
    Table(Box<TableOptions>),
    /// A chart of numbers.
    Chart(Box<ChartOptions>),
    /// Chosen examples with what is right and what was predicted.
    Samples(SamplesOptions),
    /// What was taken for what: class against class, or spans by kind of error.
    Confusion(ConfusionOptions),
    /// Numbers of a log along its steps.
    Curves(CurvesOptions),
    /// What a stage of kind `select` weighed, and what it chose.
    Choice(ChoiceOptions),
    /// Settings of stages, as they really were, beside what the paper states.
    Settings(SettingsOptions),
    /// The table of `ledger`; without this part it stands after the others.
    Ledger(LedgerOptions),
}

impl SectionOptions {
    /// The inputs whose files or records this part reads; none where it shows numbers or text.
    #[must_use]
    pub fn ports(&self) -> &[String] {
        match self {
            Self::Samples(options) => std::slice::from_ref(&options.from),
            Self::Confusion(options) => std::slice::from_ref(&options.from),
            Self::Curves(options) => std::slice::from_ref(&options.from),
            Self::Choice(options) => std::slice::from_ref(&options.from),
            Self::Settings(options) => &options.from,
            Self::Text(_) | Self::Table(_) | Self::Chart(_) | Self::Ledger(_) => &[],
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Examples to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplesOptions {
    /// Caption.
    #[serde(default = "samples_title", skip_serializing_if = "is_samples_title")]
    pub title: String,
    /// What is shown, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The input that holds them: `samples` of a stage of kind `score`.
    pub from: String,
    /// Which instances are looked at, by their axes. Of an axis of repetition the first value unless given.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// Examples by their ids, in this order. Without it some of each kind of error are taken, always the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// How many of each kind of error, and of those without one; at most 20.
    #[serde(default = "two", skip_serializing_if = "is_two")]
    pub each: u8,
    /// How many characters of a text are shown at most, from 80 to 4,000; longer ones are cut around what matters.
    #[serde(default = "five_hundred", skip_serializing_if = "is_five_hundred")]
    pub characters: u16,
    /// Names for values and types as people write them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn samples_title() -> String {
    "Examples".to_owned()
}

fn is_samples_title(title: &str) -> bool {
    title == samples_title()
}

fn two() -> u8 {
    2
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde calls"
)]
fn is_two(each: &u8) -> bool {
    *each == two()
}

fn five_hundred() -> u16 {
    500
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde calls"
)]
fn is_five_hundred(characters: &u16) -> bool {
    *characters == five_hundred()
}

/// What was taken for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfusionOptions {
    /// Caption.
    #[serde(
        default = "confusion_title",
        skip_serializing_if = "is_confusion_title"
    )]
    pub title: String,
    /// What is shown, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The input that holds the samples: `samples` of a stage of kind `score`. Over an axis of repetition means are shown.
    pub from: String,
    /// Which instances take part, by their axes.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// Names for values and classes as people write them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn confusion_title() -> String {
    "What was taken for what".to_owned()
}

fn is_confusion_title(title: &str) -> bool {
    title == confusion_title()
}

/// Numbers of logs along their steps: a thin line an instance, a thick one for the mean over the repetitions of each setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurvesOptions {
    /// Caption.
    pub title: String,
    /// What is shown, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The input that holds the logs, JSON lines: `log` of a stage of kind `pretrain` or `finetune`, or your own.
    pub from: String,
    /// Which instances take part, by their axes.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// The key along the x axis.
    #[serde(default = "step", skip_serializing_if = "is_step")]
    pub x: String,
    /// The key on the y axis; `dev.f1` is the key `f1` inside `dev`. Lines of the log without it are passed over.
    pub y: String,
    /// The axis whose values are told apart by colour; what else differs stands at the ends of lines. Without it each setting has a colour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<String>,
    /// What the y axis is called; the key unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How many points of a line are drawn at most, from 10 to 1,000; more are thinned, always the same way.
    #[serde(default = "two_hundred", skip_serializing_if = "is_two_hundred")]
    pub points: u16,
    /// How numbers are written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: Format,
    /// Digits after the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
    /// Names for keys and values as people write them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn step() -> String {
    "step".to_owned()
}

fn is_step(x: &str) -> bool {
    x == "step"
}

fn two_hundred() -> u16 {
    200
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde calls"
)]
fn is_two_hundred(points: &u16) -> bool {
    *points == two_hundred()
}

/// What a choice was made among.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceOptions {
    /// Caption.
    #[serde(default = "choice_title", skip_serializing_if = "is_choice_title")]
    pub title: String,
    /// What is shown, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// The input that holds the ranking: `ranking` of a stage of kind `select`.
    pub from: String,
    /// Which instances are shown, by their axes.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// A number beside those that chose, such as the same metric on the test split: it stands beside each combination that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<BesideOptions>,
    /// Names for axes and values as people write them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

fn choice_title() -> String {
    "What was chosen, and among what".to_owned()
}

fn is_choice_title(title: &str) -> bool {
    title == choice_title()
}

/// A number beside a combination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BesideOptions {
    /// The metric's name.
    pub metric: String,
    /// Which rows are meant; an axis of the choice is added where the rows have it, else they belong to what was chosen.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// A heading; the metric's name unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// Settings of stages beside what is stated of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsOptions {
    /// Caption.
    pub title: String,
    /// What is shown, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// Inputs that are outputs of the stages that are meant, other than their numbers, such as `log` of `finetune`.
    pub from: Vec<String>,
    /// Which instances are looked at, by their axes.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// What makes a column: `input`, each of `from`, or an axis.
    #[serde(default = "input", skip_serializing_if = "is_input")]
    pub columns: String,
    /// The settings, in order.
    pub rows: Vec<SettingRow>,
    /// What the stated values are called.
    #[serde(default = "paper", skip_serializing_if = "is_paper")]
    pub reference: String,
    /// Names for settings and columns as people write them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// One setting of a table of such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingRow {
    /// The key under `with:`, such as `learning_rate` or `sizes.layers`, or one that the kind has in any case, such as `adam_beta1`.
    pub key: String,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What is stated: one value, or one a column, by the input's or the axis's value. `1/3` is a number too.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub stated: Value,
}

fn input() -> String {
    "input".to_owned()
}

fn is_input(columns: &str) -> bool {
    columns == "input"
}

fn paper() -> String {
    "Paper".to_owned()
}

fn is_paper(reference: &str) -> bool {
    reference == "Paper"
}

/// Where the ledger stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerOptions {
    /// Caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is shown, Markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
}

/// A choice that the paper left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// What was open, such as `Epochs of fine-tuning`.
    pub what: String,
    /// What was taken, Markdown.
    pub chosen: String,
    /// Why, Markdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Which numbers it touches, by columns of the rows (`metric` among them); all unless given.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
}

/// A system that somebody published, as a line of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// Its name.
    pub system: String,
    /// Where its numbers stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The lines of the table it stands among, by the columns in `rows`; all unless given.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: Where,
    /// Its numbers by the metric's name, or where a metric has several columns by the value over the column.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// Which number is first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// The highest.
    #[default]
    Highest,
    /// The lowest, as for losses and errors.
    Lowest,
    /// There is no order.
    None,
}
