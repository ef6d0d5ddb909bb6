//! Which numbers rest on numbers that a person typed, and where those stand. Computes nothing, and knows nothing of what
//! inputs rest on, which travels beside.

use std::collections::BTreeSet;

use flow::metric::MetricRow;
use flow::notes::{BY_NUMBER, Notes, TYPED};
use serde_json::{Value, json};

use super::table::Row;

/// What stands for a source that nobody stated.
const UNSTATED: &str = "source not stated";

/// What typed numbers a number rests on; on none where no source is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Typed {
    /// Where they stand.
    sources: BTreeSet<String>,
    /// Whether it rests on nothing else.
    is_all: bool,
}

impl Typed {
    /// Of a number that was itself typed.
    pub(super) fn itself(source: Option<&str>) -> Self {
        let source = source.map_or(UNSTATED, str::trim);
        Self {
            sources: [source.to_owned()].into(),
            is_all: true,
        }
    }

    /// Of a number that is made of these.
    pub(super) fn of(rows: &[&Row]) -> Self {
        let sources = rows.iter().flat_map(|row| row.typed.sources.clone());
        Self {
            sources: sources.collect(),
            is_all: !rows.is_empty() && rows.iter().all(|row| row.typed.is_all),
        }
    }
}

/// The notes of a stage with these numbers, of which each rests on as many typed ones.
pub(super) fn notes(numbers: &[MetricRow], typed: &[Typed]) -> Notes {
    let resting = numbers.iter().zip(typed);
    let resting = resting.filter(|(_, typed)| !typed.sources.is_empty());
    let named: Vec<Value> = resting
        .map(|(number, typed)| {
            let mut named = json!({
                "metric": number.metric, "all": typed.is_all, "sources": typed.sources,
            });
            let fields = [
                ("dataset", &number.dataset),
                ("split", &number.split),
                ("class", &number.class),
            ];
            for (name, value) in fields {
                if let Some(value) = value {
                    named[name] = json!(value);
                }
            }
            named
        })
        .collect();
    match named.is_empty() {
        true => Notes::new(),
        false => Notes::from([(TYPED.to_owned(), json!({ BY_NUMBER: named }))]),
    }
}
