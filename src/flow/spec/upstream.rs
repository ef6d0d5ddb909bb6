//! What holds of a stage and of all that it was made from, and is told by the plan: what departs from the file as
//! written, and variables that the file gives no value. Records say neither: one result may be as written, and of stated
//! values, in one run and not in another. Knows no kind.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Departure, EnvVar, StageSpec};
use crate::notes::{DEPARTURES, Notes, VARIABLES};

/// A variable whose value is not that of the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Variable {
    /// The name of the stage in the file.
    pub stage: String,
    /// The variable.
    pub name: String,
    /// Whether it is secret: then no record has its value either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
}

/// What the plan tells of a stage and of all that it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upstream {
    departures: Vec<Departure>,
    variables: Vec<Variable>,
}

impl Upstream {
    /// What holds of a stage, of what it was made from and of what chose for it.
    pub fn of<'a>(stage: &StageSpec, upstream: impl Iterator<Item = &'a Self>) -> Self {
        let own = (stage.policy.env.iter()).filter(|variable| !variable.is_stated());
        let mut all = Self {
            departures: stage.departures.clone(),
            variables: own
                .map(|EnvVar { name, secret, .. }| Variable {
                    stage: stage.stage.clone(),
                    name: name.clone(),
                    secret: *secret,
                })
                .collect(),
        };
        for one in upstream {
            all.departures.extend_from_slice(&one.departures);
            all.variables.extend_from_slice(&one.variables);
        }
        all.departures.sort_unstable();
        all.departures.dedup();
        all.variables.sort_unstable();
        all.variables.dedup();
        all
    }

    /// The notes beside an item of an input of `reader`, empty for most. `choosers` are those that chose for the reader:
    /// which result it reads may hang on them.
    #[must_use]
    pub fn beside(reader: &StageSpec, producer: &Self, choosers: &[&Self]) -> Notes {
        let mut notes = Notes::new();
        let departures = Departure::beside(
            reader,
            &producer.departures,
            choosers.iter().map(|chooser| chooser.departures.as_slice()),
        );
        if !departures.is_empty() {
            notes.insert(DEPARTURES.to_owned(), json!(departures));
        }
        let mut variables = producer.variables.clone();
        variables.extend(choosers.iter().flat_map(|one| one.variables.clone()));
        variables.sort_unstable();
        variables.dedup();
        if !variables.is_empty() {
            notes.insert(VARIABLES.to_owned(), json!(variables));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    fn variable(name: &str, from_environment: bool, secret: bool) -> EnvVar {
        EnvVar {
            name: name.to_owned(),
            value: Some("x".to_owned()),
            secret,
            from_environment,
        }
    }

    #[test]
    fn variables_travel_where_the_file_gives_no_value() {
        let mut train = test_support::stage("train");
        train.policy.env = vec![
            variable("A", false, false),
            variable("B", true, false),
            variable("C", false, true),
        ];
        let train = Upstream::of(&train, [].into_iter());
        let score = test_support::stage("score");
        let score = Upstream::of(&score, [&train, &train].into_iter());
        let told = json!([{ "stage": "train", "name": "B" }, { "stage": "train", "name": "C", "secret": true }]);
        let reader = test_support::stage("table");
        assert_eq!(
            Upstream::beside(&reader, &score, &[]),
            Notes::from([(VARIABLES.to_owned(), told.clone())])
        );
        // What chose for the reader counts as what it reads does.
        let nothing = Upstream::default();
        assert_eq!(
            Upstream::beside(&reader, &nothing, &[&train])[VARIABLES],
            told
        );
        assert_eq!(Upstream::beside(&reader, &nothing, &[]), Notes::new());
    }
}
