//! What a choice was made among, with another number beside each combination. Knows no markup.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::cell::labels;
use crate::error::ReportError;
use crate::input::{Instance, text_of};
use crate::measure::{Data, Measure};
use crate::names::Names;
use crate::number::Style;
use crate::options::{Format, Options, Where};
use crate::sections::files::{Combination, Ranking, Ties, load_ranking};
use crate::sections::options::{BesideOptions, ChoiceOptions, SectionOptions};
use crate::sections::{chosen, groups};
use crate::table::Table;

/// More combinations than this are in the ranking's own file only.
const LINES: usize = 60;

/// What was chosen, and among what.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// A name for anchors, unique in the report.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What is shown, Markdown as written.
    pub doc: Option<String>,
    /// One an instance.
    pub choices: Vec<OneChoice>,
    /// Heading of the number beside; none without it.
    pub beside: Option<String>,
}

/// The choice of one instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OneChoice {
    /// Its axes; empty where there are none.
    pub name: String,
    /// Who won and by what, a sentence.
    pub rule: String,
    /// Names of the axes.
    pub axes: Vec<String>,
    /// What was compared.
    pub metric: String,
    /// Every combination, the best first.
    pub lines: Vec<ChoiceLine>,
    /// How many combinations are left out.
    pub left_out: usize,
}

/// One combination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChoiceLine {
    /// From 1; equal means share one.
    pub rank: usize,
    /// A value for each axis.
    pub values: Vec<String>,
    /// The mean as shown.
    pub mean: String,
    /// The deviation as shown.
    pub deviation: Option<String>,
    /// How many repetitions.
    pub n: usize,
    /// The number beside it.
    pub beside: Option<Beside>,
    /// Whether it was chosen.
    pub chosen: bool,
}

/// A number beside a combination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Beside {
    /// The mean as shown.
    pub mean: String,
    /// The deviation as shown.
    pub deviation: Option<String>,
    /// How many repetitions.
    pub n: usize,
    /// What has to be said of it at once, as in a table.
    pub labels: Vec<&'static str>,
}

/// How the tables of a report before a choice write what it shows too.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The report's options.
    pub options: &'a Options,
    /// Tables that are made.
    pub tables: &'a [Table],
}

impl Given<'_> {
    /// How a table writes this very number.
    fn style(&self, measure: &Measure) -> Option<Style> {
        let lines = self.tables.iter().flat_map(|table| &table.lines);
        let mut cells = lines.flat_map(|line| line.cells.iter().flatten());
        let cell = cells.find(|cell| cell.raw.rows == measure.rows)?;
        Some(cell.style)
    }

    /// Labels of a part, and under them what tables and settings of the report call metrics and axes, where they agree.
    fn labels(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let Options {
            tables, sections, ..
        } = self.options;
        let further = sections.iter().filter_map(|section| match section {
            SectionOptions::Table(table) => Some(&**table),
            _ => None,
        });
        let numbers = tables
            .iter()
            .chain(further)
            .flat_map(|table| &table.numbers);
        let numbers = numbers.filter(|number| number.filter.is_empty());
        let numbers = numbers.map(|number| (&number.metric, &number.label));
        let rows = sections.iter().flat_map(|section| match section {
            SectionOptions::Settings(settings) => settings.rows.as_slice(),
            _ => &[],
        });
        let rows = rows.map(|row| (&row.key, &row.label));
        let mut found: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for (name, label) in numbers.chain(rows) {
            if let Some(label) = label {
                found.entry(name).or_default().insert(label);
            }
        }
        let agreed = found.into_iter().filter(|(_, labels)| labels.len() == 1);
        let mut all: BTreeMap<String, String> = agreed
            .filter_map(|(name, labels)| Some((name.clone(), (*labels.first()?).clone())))
            .collect();
        all.extend(own.clone());
        all
    }
}

/// The part that `options` asks for.
///
/// # Errors
/// When a file cannot be read, and where rows beside a combination are not one number.
pub fn build(
    data: &Data,
    files: &[Instance],
    options: &ChoiceOptions,
    given: &Given<'_>,
    slug: String,
) -> Result<Choice, ReportError> {
    let labels = given.labels(&options.labels);
    let names = Names(&labels);
    let mut choices = Vec::new();
    let instances = chosen(files, &options.from, &options.filter);
    for (name, members) in groups(&instances, names) {
        for instance in members {
            let ranking = load_ranking(instance)?;
            let choice = one(data, instance, &ranking, options, given, names)?;
            choices.push(OneChoice {
                name: name.clone(),
                ..choice
            });
        }
    }
    Ok(Choice {
        slug,
        title: options.title.clone(),
        doc: options.doc.clone(),
        choices,
        beside: options.beside.as_ref().map(|beside| {
            beside
                .label
                .clone()
                .unwrap_or_else(|| names.column(&beside.metric))
        }),
    })
}

fn one(
    data: &Data,
    instance: &Instance,
    ranking: &Ranking,
    options: &ChoiceOptions,
    given: &Given<'_>,
    names: Names<'_>,
) -> Result<OneChoice, ReportError> {
    let is_chosen = |one: &Combination| one.axes == ranking.chosen;
    let mut measures: Vec<Option<Measure>> = vec![None; ranking.ranking.len()];
    if let Some(beside) = &options.beside {
        for (measure, combination) in measures.iter_mut().zip(&ranking.ranking) {
            *measure = measure_beside(
                data,
                instance,
                combination,
                is_chosen(combination),
                beside,
                &options.title,
            )?;
        }
    }
    let beside_means: Vec<f64> = measures
        .iter()
        .flatten()
        .map(|measure| measure.summary.mean)
        .collect();
    let known = measures.iter().flatten().find_map(|one| given.style(one));
    let beside_style = known.unwrap_or_else(|| Style::of(Format::Auto, None, &beside_means));
    let means: Vec<f64> = ranking.ranking.iter().map(|one| one.mean).collect();
    let is_alike = |beside: &&BesideOptions| beside.metric == ranking.metric;
    let style = known
        .filter(|_| options.beside.as_ref().filter(is_alike).is_some())
        .unwrap_or_else(|| Style::of(Format::Auto, None, &means));
    let text = |value: &Value| names.value("", Some(&text_of(value)));
    let all = ranking.ranking.len();
    let lines: Vec<ChoiceLine> = ranking
        .ranking
        .iter()
        .zip(measures)
        .enumerate()
        .filter(|(at, (one, measure))| *at < LINES || is_chosen(one) || measure.is_some())
        .map(|(_, (one, measure))| ChoiceLine {
            rank: one.rank,
            values: one.axes.values().map(text).collect(),
            mean: style.show(one.mean),
            deviation: one.sd.map(|sd| style.bare(sd)),
            n: one.n,
            beside: measure.map(|measure| Beside {
                mean: beside_style.show(measure.summary.mean),
                deviation: measure.summary.deviation.map(|sd| beside_style.bare(sd)),
                n: measure.summary.n,
                labels: labels(&measure),
            }),
            chosen: is_chosen(one),
        })
        .collect();
    Ok(OneChoice {
        name: String::new(),
        rule: rule(ranking, names),
        axes: ranking
            .chosen
            .keys()
            .map(|axis| names.column(axis))
            .collect(),
        metric: names.column(&ranking.metric),
        left_out: all - lines.len(),
        lines,
    })
}

/// `The highest mean f1 on dev, over 6 combinations: rate 0.0003, epochs 2. 2 combinations have it; …`
fn rule(ranking: &Ranking, names: Names<'_>) -> String {
    let which = if ranking.goal == "min" {
        "lowest"
    } else {
        "highest"
    };
    let mut text = format!("The {which} mean {}", names.column(&ranking.metric));
    if let Some(dataset) = &ranking.dataset {
        text.push_str(&format!(" of {}", names.value("dataset", Some(dataset))));
    }
    if let Some(split) = &ranking.split {
        text.push_str(&format!(" on {}", names.value("split", Some(split))));
    }
    let values: Vec<String> = ranking
        .chosen
        .iter()
        .map(|(axis, value)| format!("{} {}", names.column(axis), text_of(value)))
        .collect();
    text.push_str(&format!(
        ", among {} combinations: {}.",
        ranking.ranking.len(),
        values.join(", ")
    ));
    let tied: Vec<&Combination> = (ranking.ranking.iter())
        .filter(|one| one.rank == 1)
        .collect();
    if tied.len() > 1 {
        let rule = tie(ranking, &tied, names);
        text.push_str(&format!(" {} combinations have it; {rule}.", tied.len()));
    }
    text
}

/// Which rule broke a tie: `of these the one with the smallest epochs was taken`.
fn tie(ranking: &Ranking, tied: &[&Combination], names: Names<'_>) -> String {
    let which = match ranking.ties {
        None => return "the rule for ties chose".to_owned(),
        Some(Ties::First) => return "the one that comes first in the matrix was taken".to_owned(),
        Some(Ties::Smallest) => "smallest",
        Some(Ties::Largest) => "largest",
    };
    // In the order in which they decide; one that all have alike decides nothing.
    let axes: Vec<String> = (ranking.chosen.iter())
        .filter(|(axis, value)| tied.iter().any(|one| one.axes.get(*axis) != Some(*value)))
        .map(|(axis, _)| names.column(axis))
        .collect();
    format!(
        "of these the one with the {which} {} was taken",
        axes.join(", then ")
    )
}

/// The number beside a combination. Rows that have the choice's axes are those of their combination; rows without any
/// of them were made with what was chosen.
fn measure_beside(
    data: &Data,
    instance: &Instance,
    combination: &Combination,
    is_chosen: bool,
    beside: &BesideOptions,
    title: &str,
) -> Result<Option<Measure>, ReportError> {
    let place = format!("choice `{title}`");
    let mut filter: Where = beside.filter.clone();
    filter.insert("metric".to_owned(), Value::String(beside.metric.clone()));
    let has = |column: &str| data.frame.columns().iter().any(|known| known == column);
    for (axis, value) in &instance.axes {
        if has(axis) && instance.replicate.as_ref() != Some(axis) {
            filter
                .entry(axis.clone())
                .or_insert_with(|| Value::String(value.clone()));
        }
    }
    let rows = data.frame.select(&data.conditions(&filter, &place)?)?;
    let mut is_of_axes = false;
    for (axis, value) in &combination.axes {
        if !has(axis) {
            continue;
        }
        let mut varies = false;
        for &row in &rows {
            varies |= data.frame.cell(row, axis)?.is_some();
        }
        if varies {
            is_of_axes = true;
            filter.insert(axis.clone(), value.clone());
        }
    }
    if !is_of_axes && !is_chosen {
        return Ok(None);
    }
    let rows = data.frame.select(&data.conditions(&filter, &place)?)?;
    let named: Vec<String> = filter.keys().cloned().collect();
    data.measure(&rows, &named)?
        .map_err(|not_one| not_one.into_error(place))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_rule_that_broke_a_tie_is_named_with_the_axes_that_it_looked_at() {
        let told = |ties: Value, others: &[Value]| {
            let chosen = json!({"rate": 0.1, "epochs": 3, "size": "small"});
            let all = std::iter::once(&chosen).chain(others);
            let cells: Vec<Value> = all
                .map(|axes| json!({"rank": 1, "axes": axes, "mean": 90.0, "n": 3}))
                .collect();
            let mut ranking =
                json!({"metric": "f1", "goal": "max", "chosen": chosen, "ranking": cells});
            if !ties.is_null() {
                ranking["ties"] = ties;
            }
            let ranking: Ranking = serde_json::from_value(ranking).expect("a ranking");
            let labels = BTreeMap::from([("rate".to_owned(), "learning rate".to_owned())]);
            let text = rule(&ranking, Names(&labels));
            let (_, rule) = text.rsplit_once(": ").expect("what was chosen");
            rule.split_once(". ").map(|(_, rule)| rule.to_owned())
        };
        let epochs = json!({"rate": 0.1, "epochs": 5, "size": "small"});
        let both = json!({"rate": 0.3, "epochs": 5, "size": "small"});
        assert_eq!(told(json!("smallest"), &[]), None, "there is no tie");
        for (ties, others, words) in [
            (
                json!("smallest"),
                vec![epochs.clone()],
                "2 combinations have it; of these the one with the smallest epochs was taken.",
            ),
            (
                json!("largest"),
                vec![epochs.clone(), both],
                "3 combinations have it; of these the one with the largest learning rate, then epochs was taken.",
            ),
            (
                json!("first"),
                vec![epochs.clone()],
                "2 combinations have it; the one that comes first in the matrix was taken.",
            ),
            (
                Value::Null,
                vec![epochs],
                "2 combinations have it; the rule for ties chose.",
            ),
        ] {
            assert_eq!(told(ties, &others).as_deref(), Some(words));
        }
    }
}
