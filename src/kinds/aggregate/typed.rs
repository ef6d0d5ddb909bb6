//! Of what numbers are made: rows of the input, and numbers that a person typed. Computes nothing, and knows nothing of
//! what the rows rest on, which travels beside.

use std::collections::BTreeSet;

use flow::metric::MetricRow;
use flow::notes::{InputRow, MadeNumber, MadeOf, Notes, NumberName, TYPED};
use serde_json::json;

use super::PORT;
use super::table::Row;

/// What stands for a source that nobody stated.
const UNSTATED: &str = "source not stated";

/// What a number is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parts {
    /// Where typed numbers stand that it is made of.
    sources: BTreeSet<String>,
    /// Rows of the input that it is made of, by their place among all.
    from: BTreeSet<usize>,
}

impl Parts {
    /// Of a number that was itself typed.
    pub(super) fn typed(source: Option<&str>) -> Self {
        let source = source.map_or(UNSTATED, str::trim);
        Self {
            sources: [source.to_owned()].into(),
            from: BTreeSet::new(),
        }
    }

    /// Of a row of the input.
    pub(super) fn row(at: usize) -> Self {
        Self {
            sources: BTreeSet::new(),
            from: [at].into(),
        }
    }

    /// Of a number that is made of these.
    pub(super) fn of(rows: &[&Row]) -> Self {
        let sources = rows.iter().flat_map(|row| row.parts.sources.clone());
        let from = rows.iter().flat_map(|row| row.parts.from.clone());
        Self {
            sources: sources.collect(),
            from: from.collect(),
        }
    }
}

/// What names a number.
pub(super) fn name(number: &MetricRow) -> NumberName {
    NumberName {
        metric: number.metric.clone(),
        dataset: number.dataset.clone(),
        split: number.split.clone(),
        class: number.class.clone(),
    }
}

/// The notes of a stage with these numbers, each made of as many parts; `rows` are those of the input.
pub(super) fn notes(numbers: &[MetricRow], parts: &[Parts], rows: &[InputRow]) -> Notes {
    let used: BTreeSet<usize> = parts.iter().flat_map(|one| one.from.clone()).collect();
    let used: Vec<usize> = used.into_iter().collect();
    let place = |at: &usize| used.binary_search(at).expect("it is used");
    let made = |(number, parts): (&MetricRow, &Parts)| MadeNumber {
        name: name(number),
        sources: parts.sources.clone(),
        from: parts.from.iter().map(place).collect(),
    };
    let made_of = MadeOf {
        input: PORT.to_owned(),
        rows: used.iter().map(|at| rows[*at].clone()).collect(),
        by_number: numbers.iter().zip(parts).map(made).collect(),
    };
    Notes::from([(TYPED.to_owned(), json!(made_of))])
}
