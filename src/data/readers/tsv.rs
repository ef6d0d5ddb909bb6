//! Readers of tables: a text with its class, a text with its labels, two texts with a number. Know nothing of quoting,
//! splits or statistics.
//!
//! | reader | columns unless given | of |
//! | --- | --- | --- |
//! | `tsv` | `sentence`, `label` | ChemProt, DDI-2013 and GAD as BLUE and BLURB ship them |
//! | `tsv_labels` | `sentence`, `labels` | HoC: `0_1,1_0,…` with `label_names`, or the labels' own names |
//! | `tsv_pairs` | `sentence1`, `sentence2`, `score` | BIOSSES, MedSTS |

use super::table::{self, Row};
use super::{Emit, Input, Options, Reader, Tally};
use crate::error::{DataError, Problem, excerpt};
use crate::example::{Classification, Example, MultiLabel, Regression, Task};

/// A text and its class.
pub(super) struct Tsv;

/// A text and any number of labels.
pub(super) struct TsvLabels;

/// Two texts and a number.
pub(super) struct TsvPairs;

impl Reader for Tsv {
    fn name(&self) -> &'static str {
        "tsv"
    }

    fn doc(&self) -> &'static str {
        "a table with a text and its class a line"
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "columns.id",
            "columns.text",
            "columns.label",
            "separator",
            "header",
            "quoting",
        ]
    }

    fn defaults(&self) -> Options {
        table::defaults("sentence", None, "label")
    }

    fn read_with(
        &self,
        mut input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let wanted = [
            ("text", &options.columns.text),
            ("label", &options.columns.label),
        ];
        let make = |row: Row<'_, 2>| {
            let [text, label] = row.fields.map(str::to_owned);
            let id = row.id;
            Ok(Example::Classification(Classification { id, text, label }))
        };
        table::each(&mut input, options, wanted, [true; 2], &make, emit)
    }
}

impl Reader for TsvLabels {
    fn name(&self) -> &'static str {
        "tsv_labels"
    }

    fn doc(&self) -> &'static str {
        "a table with a text and any number of labels a line, such as HoC"
    }

    fn task(&self) -> Task {
        Task::MultiLabel
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "columns.id",
            "columns.text",
            "columns.label",
            "separator",
            "header",
            "quoting",
            "label_separator",
            "label_names",
        ]
    }

    fn defaults(&self) -> Options {
        Options {
            label_separator: Some(",".to_owned()),
            ..table::defaults("sentence", None, "labels")
        }
    }

    fn read_with(
        &self,
        mut input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let wanted = [
            ("text", &options.columns.text),
            ("label", &options.columns.label),
        ];
        let make = |row: Row<'_, 2>| {
            let [text, labels] = row.fields;
            Ok(Example::MultiLabel(MultiLabel {
                id: row.id,
                text: text.to_owned(),
                labels: labels_of(labels, options)?,
            }))
        };
        table::each(&mut input, options, wanted, [true, false], &make, emit)
    }
}

/// The labels of a field, each once. An empty field and `NULL` have none. With `label_names` a label is its number from
/// 0, and `3_0` says that number 3 does not hold.
fn labels_of(field: &str, options: &Options) -> Result<Vec<String>, Problem> {
    let separator = options.label_separator.as_deref().unwrap_or(",");
    let mut labels: Vec<String> = Vec::new();
    for part in field.split(separator).map(str::trim) {
        if part.is_empty() || part == "NULL" {
            continue;
        }
        let label = match options.label_names.as_slice() {
            [] => Some(part),
            names => numbered(part, names)?,
        };
        if let Some(label) = label
            && !labels.iter().any(|known| known == label)
        {
            labels.push(label.to_owned());
        }
    }
    Ok(labels)
}

/// `3` or `3_1`: the name of number 3; `3_0`: none.
fn numbered<'n>(part: &str, names: &'n [String]) -> Result<Option<&'n str>, Problem> {
    let (number, holds) = match part.split_once('_') {
        Some((number, "0")) => (number, false),
        Some((number, "1")) => (number, true),
        Some(_) => ("", false),
        None => (part, true),
    };
    match number.parse().ok().and_then(|n: usize| names.get(n)) {
        Some(name) => Ok(holds.then_some(name)),
        None => Err(Problem::new(
            format!("`{}` is no label of {}", excerpt(part), names.len()),
            "write a number from 0, `3` or `3_1`, and `3_0` where it does not hold; or leave `label_names` out where labels are names",
        )),
    }
}

impl Reader for TsvPairs {
    fn name(&self) -> &'static str {
        "tsv_pairs"
    }

    fn doc(&self) -> &'static str {
        "a table with two texts and a number a line, such as BIOSSES"
    }

    fn task(&self) -> Task {
        Task::Regression
    }

    fn options(&self) -> &'static [&'static str] {
        &[
            "columns.id",
            "columns.text",
            "columns.second_text",
            "columns.label",
            "separator",
            "header",
            "quoting",
        ]
    }

    fn defaults(&self) -> Options {
        table::defaults("sentence1", Some("sentence2"), "score")
    }

    fn read_with(
        &self,
        mut input: Input<'_>,
        options: &Options,
        emit: &mut Emit<'_>,
    ) -> Result<Tally, DataError> {
        let wanted = [
            ("text", &options.columns.text),
            ("second_text", &options.columns.second_text),
            ("label", &options.columns.label),
        ];
        let make = |row: Row<'_, 3>| {
            let [first, second, number] = row.fields;
            let value = number.trim().parse().ok().filter(|n: &f64| n.is_finite());
            let value = value.ok_or_else(|| {
                Problem::new(
                    format!("`{}` is not a number", excerpt(number)),
                    "set `columns.label` to the column that holds the number, written such as `3.6`",
                )
            })?;
            Ok(Example::Regression(Regression {
                id: row.id,
                texts: vec![first.to_owned(), second.to_owned()],
                value,
            }))
        };
        table::each(&mut input, options, wanted, [true; 3], &make, emit)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_text;
    use super::*;

    #[test]
    fn labels_are_named_or_numbered() {
        let read = |text: &str, options: &Options| -> Result<Vec<Vec<String>>, (String, String)> {
            let (examples, _) = read_text(&TsvLabels, text, options)?;
            let labels = examples.into_iter().map(|example| match example {
                Example::MultiLabel(example) => example.labels,
                other => panic!("{other:?}"),
            });
            Ok(labels.collect())
        };
        let named = "sentence\tlabels\na\tx y,z,z\nb\t\nc\tNULL\n";
        let none: Vec<String> = Vec::new();
        assert_eq!(
            read(named, &Options::default()).expect("good"),
            [
                vec!["x y".to_owned(), "z".to_owned()],
                none.clone(),
                none.clone()
            ]
        );
        let numbered = Options {
            label_names: ["immune", "growth"].map(str::to_owned).into(),
            ..Options::default()
        };
        let blue = "labels\tsentence\tindex\n0_0,1_1\ta\t1_0\n0_0,1_0\tb\t1_1\n0\tc\t1_2\n";
        assert_eq!(
            read(blue, &numbered).expect("good"),
            [vec!["growth".to_owned()], none, vec!["immune".to_owned()]]
        );
        for bad in ["2_1", "1_2", "x"] {
            let text = format!("sentence\tlabels\na\t{bad}\n");
            let (message, _) = read(&text, &numbered).expect_err("no label");
            assert_eq!(message, format!("x:2: `{bad}` is no label of 2"));
        }
    }

    #[test]
    fn pairs_have_two_texts_and_a_finite_number() {
        let text = "index\tsentence1\tsentence2\tscore\n0\ta b\tc d\t3.8\n";
        let (examples, _) = read_text(&TsvPairs, text, &Options::default()).expect("good");
        assert_eq!(
            examples,
            [Example::Regression(Regression {
                id: "train-1".to_owned(),
                texts: vec!["a b".to_owned(), "c d".to_owned()],
                value: 3.8,
            })]
        );
        for bad in ["high", "inf", "NaN"] {
            let text = format!("sentence1\tsentence2\tscore\na\tb\t{bad}\n");
            let fault = read_text(&TsvPairs, &text, &Options::default()).expect_err("no number");
            assert_eq!(fault.0, format!("x:2: `{bad}` is not a number"));
        }
        let twice = "sentence1\tscore\na\t1\n";
        let options = Options {
            columns: super::super::Columns {
                second_text: Some(super::super::Column::Index(0)),
                ..Default::default()
            },
            ..Options::default()
        };
        let fault = read_text(&TsvPairs, twice, &options).expect_err("one column twice");
        assert_eq!(
            fault.0,
            "x:1: the text and the second_text are both column 0 of 2"
        );
    }
}
