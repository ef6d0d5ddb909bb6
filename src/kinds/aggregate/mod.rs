//! Makes derived numbers of numbers, such as a score summed over batches. Knows nothing of what they mean.

use std::collections::BTreeMap;

use flow::kind::{ConfigProblem, Port, Ports, StageContext, StageError, StageKind, StageReport};
use flow::spec::METRICS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod steps;
mod table;
#[cfg(test)]
mod tests;
mod typed;

use table::Table;

/// The only input.
const PORT: &str = "scores";

/// `with:` of a stage of kind `aggregate`.
///
/// `needs` names `scores`, the instances of a stage with numbers: `{ all: score }`. With axes of its own the stage takes
/// those that agree with them, so that `replicate: { seed: … }` aggregates each seed on its own. Its numbers are those of
/// its steps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Columns and values that the numbers of the input get, such as `{ system: ours }`; published rows say their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<String, Value>,
    /// Numbers of others, each a map with `metric`, `value` and any columns, such as `{ system: KU-DMIS-1, batch: 1, metric: mrr, value: 46.37 }`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
    /// Where the published numbers stand, such as `Table 9`; each may say its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Columns made from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// What is computed, in order; a step may use the numbers of those before it.
    pub steps: Vec<Step>,
    /// Which column stands in the field `dataset` or `class` of the derived numbers, such as `{ class: system }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

/// A number somebody published.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Published {
    /// The name of the number.
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Where it stands, if not where the others do; no column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its columns: `dataset`, `split`, `class` or any other.
    #[serde(flatten)]
    pub columns: BTreeMap<String, Value>,
}

/// A column made from another: `{ column: type, of: dataset, values: { RE: [chemprot, ddi] } }`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The new column.
    pub column: String,
    /// The column it is made from.
    pub of: String,
    /// Its values, each with those of the other column that belong to it; all of them have to be there.
    pub values: BTreeMap<String, Vec<Value>>,
}

/// One computation.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The name of the derived numbers.
    pub metric: String,
    /// The name of the numbers they are made of.
    pub of: String,
    /// Which of them, by column; without `class` here or in `over`, those over all classes.
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    pub filter: BTreeMap<String, Value>,
    /// How.
    pub how: How,
    /// `mean`, `sum`, `min`, `max`: the columns that are gone afterwards; numbers that agree in all others are one group. None renames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<String>,
    /// `share_of_best`: the columns in which numbers agree that are compared, such as `[batch]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<String>,
    /// What becomes of groups without a number for each value of `over`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub missing: Missing,
    /// Whether its numbers are for later steps only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
}

/// What is made of the numbers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Each divided by the largest of its group.
    ShareOfBest,
}

/// What becomes of groups without a number for each value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The stage fails and names what is missing.
    #[default]
    Refuse,
    /// They have no derived number.
    LeaveOut,
    /// The derived number is of those that are there.
    Allow,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Fields of a number that a column may fill. Not the split: no number of a test split may come out as another.
const FILLED: [&str; 2] = ["dataset", "class"];
/// Names of columns that are none.
const RESERVED: [&str; 2] = ["metric", "value"];

impl StageKind for Aggregate {
    const NAME: &'static str = "aggregate";
    /// 1: first. 2: notes which numbers rest on published ones; `source` is no column. 3: notes what each
    /// number is made of.
    const VERSION: u32 = 3;
    const DOC: &'static str = "make derived numbers of numbers, such as sums over batches";
    const DERIVES: bool = true;

    fn ports(&self) -> Ports {
        Ports {
            inputs: vec![Port {
                name: PORT,
                // Published numbers may be all there is.
                optional: !self.published.is_empty(),
                output: Some(METRICS),
                only: None,
            }],
            agreeing: Some(PORT),
            ..Ports::default()
        }
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut add = |path: &[&str], message: String, help: &str| {
            problems.push(ConfigProblem {
                path: path.iter().map(|part| (*part).to_owned()).collect(),
                message,
                help: Some(help.to_owned()),
            });
        };
        if self.steps.is_empty() {
            add(
                &["steps"],
                "nothing is computed".to_owned(),
                "name a step, such as `{ metric: total, of: f1, how: mean, over: [dataset] }`",
            );
        } else if self.steps.iter().all(|step| step.hidden) {
            add(
                &["steps"],
                "every step is hidden, so there is no number".to_owned(),
                "take `hidden` off the last one",
            );
        }
        for (at, step) in self.steps.iter().enumerate() {
            let at = at.to_string();
            let compares = step.how == How::ShareOfBest;
            if compares && (step.by.is_empty() || !step.over.is_empty()) {
                add(
                    &["steps", &at],
                    "a share of the best is among numbers that agree in some columns".to_owned(),
                    "name them with `by`, such as `by: [batch]`, and leave `over` out",
                );
            }
            if !compares && !step.by.is_empty() {
                add(
                    &["steps", &at, "by"],
                    "`by` is of `share_of_best`".to_owned(),
                    "name what is averaged or summed over with `over`",
                );
            }
            if compares && step.missing != Missing::default() {
                add(
                    &["steps", &at, "missing"],
                    "nothing is missing where each is compared with those that are there"
                        .to_owned(),
                    "leave it out",
                );
            }
            for name in step.over.iter().chain(&step.by) {
                if RESERVED.contains(&name.as_str()) {
                    add(
                        &["steps", &at],
                        format!("`{name}` is no column"),
                        "choose numbers by name with `of`; to bring several names together rename each in a step without `over`",
                    );
                }
            }
        }
        for (field, column) in &self.fields {
            if !FILLED.contains(&field.as_str()) {
                add(
                    &["fields", field],
                    format!("`{field}` is no field that a column may fill with `{column}`"),
                    "fields are `dataset` and `class`",
                );
            }
        }
        let columns = self
            .own
            .keys()
            .map(|name| ("own", name))
            .chain(self.groups.iter().map(|group| ("groups", &group.column)));
        for (key, name) in columns {
            if RESERVED.contains(&name.as_str()) || name == "split" {
                add(
                    &[key],
                    format!("`{name}` cannot be made"),
                    "give the column another name",
                );
            }
        }
        problems
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let mut table = Table::read(self, stage)?;
        let mut numbers = Vec::new();
        let mut parts = Vec::new();
        for step in &self.steps {
            let derived = steps::carry_out(step, &table, &self.groups)?;
            if !step.hidden {
                let told = table::numbers(&derived, &step.metric, &self.fields)?;
                parts.extend(derived.iter().map(|row| row.parts.clone()));
                numbers.extend(told);
            }
            table.rows.extend(derived);
        }
        Ok(StageReport {
            notes: typed::notes(&numbers, &parts, &table.read),
            numbers,
            ..StageReport::default()
        })
    }
}
