//! Tests of `decode.rs`.

use std::fmt;

use serde::Deserialize;

use super::*;
use crate::source::SourceId;
use crate::spec::yaml;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Fast,
    Exact,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Columns {
    token: u32,
    label: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Config {
    epochs: u32,
    learning_rate: f64,
    mode: Mode,
    #[serde(default)]
    columns: Option<Columns>,
    #[serde(default)]
    argv: Vec<String>,
    #[serde(default)]
    share: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "format", rename_all = "snake_case", deny_unknown_fields)]
enum Tagged {
    Conll { column: u32 },
    Squad,
}

fn node(text: &str) -> Node {
    let parsed = yaml::parse(text, SourceId(0));
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.node.expect("a tree")
}

fn problems<T: DeserializeOwned + fmt::Debug>(text: &str) -> Vec<String> {
    let found = from_node::<T>(&node(text), "stage `s`").expect_err("problems");
    found
        .iter()
        .map(|p| {
            let place = p.labels[0].span;
            format!(
                "{}:{} {} / {}",
                place.line,
                place.column,
                p.message,
                p.help.as_deref().unwrap_or("-")
            )
        })
        .collect()
}

#[test]
fn decodes_what_is_right() {
    let config: Config = from_node(
        &node("epochs: 3\nlearning_rate: 1\nmode: fast\nargv: [a]\n"),
        "x",
    )
    .expect("decodes");
    assert_eq!(config.epochs, 3);
    assert!((config.learning_rate - 1.0).abs() < f64::EPSILON);
    let config: Config = from_node(
        &node("epochs: 1e3\nlearning_rate: 5e-4\nmode: exact\ncolumns: {token: 0, label: 1}"),
        "x",
    )
    .expect("decodes");
    assert_eq!(config.epochs, 1000);
    assert_eq!(config.columns, Some(Columns { token: 0, label: 1 }));
}

#[test]
fn reports_everything_at_once() {
    let found = problems::<Config>(
        "epochs: ten\nlearning_rte: 5\nmode: fsat\ncolumns: {token: x, lable: 1}\nargv: [a, 5]\nshare: yes\nbanana: 1\n",
    );
    let expected = [
        "2:1 unknown key `learning_rte` in stage `s` / did you mean `learning_rate`?",
        "7:1 unknown key `banana` in stage `s` / the keys are",
        "1:9 `epochs` of stage `s` is a string, not a whole number",
        "3:7 `fsat` is no choice for `mode` of stage `s` / did you mean `fast`?",
        "4:19 unknown key `lable` in `columns` of stage `s` / did you mean `label`?",
        "4:18 `columns.token` of stage `s` is a string",
        "`label` is missing in `columns` of stage `s`",
        "5:11 `argv[1]` of stage `s` is a whole number, not a string / quote it: `\"5\"`",
        "6:8 `share` of stage `s` is a string, not a boolean / write `true`",
        "`learning_rate` is missing in stage `s`",
    ];
    for text in expected {
        let text = text.replace("4:19", "4:21");
        assert!(
            found.iter().any(|f| f.contains(&text)),
            "{text} not in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_value_out_of_range_says_the_range() {
    let found = problems::<Columns>("token: -1\nlabel: 1.5\n");
    assert!(
        found[0].contains("write a whole number from 0 to 4294967295"),
        "{found:?}"
    );
    assert!(
        found[1].contains("is a number, not a whole number"),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn grouped_digits_and_leading_zeros_say_what_to_write() {
    let found = problems::<Columns>("token: 1_000\nlabel: 08\n");
    assert!(found[0].contains("write `1000`"), "{found:?}");
    assert!(found[1].contains("write `8`"), "{found:?}");
}

#[test]
fn a_tagged_enum_keeps_its_unknown_keys_placed() {
    let found = problems::<Tagged>("format: conll\ncolum: 3\n");
    assert!(found[0].starts_with("2:1 unknown key `colum`"), "{found:?}");
    let found = problems::<Tagged>("format: conl\n");
    assert!(found[0].contains("did you mean `conll`?"), "{found:?}");
    let good: Tagged = from_node(&node("format: squad"), "x").expect("decodes");
    assert_eq!(good, Tagged::Squad);
}

#[test]
fn substituted_numbers_become_text_where_text_is_wanted() {
    let mut tree = node("[1, 0.50, x]");
    assert!(from_node::<Vec<String>>(&tree, "x").is_err());
    let Value::Sequence(items) = &mut tree.value else {
        panic!("a list");
    };
    for item in items {
        item.defined = Some(item.span);
    }
    assert_eq!(
        from_node::<Vec<String>>(&tree, "x").expect("decodes"),
        ["1", "0.5", "x"]
    );
}

#[test]
fn both_places_are_shown() {
    let mut tree = node("token: x\nlabel: 1\n");
    let Value::Map(entries) = &mut tree.value else {
        panic!("a map");
    };
    entries[0].value.defined = Some(entries[1].key_span);
    let found = from_node::<Columns>(&tree, "x").expect_err("problems");
    assert_eq!(found[0].labels.len(), 2);
    assert_eq!(found[0].labels[1].text, "defined here");
}
