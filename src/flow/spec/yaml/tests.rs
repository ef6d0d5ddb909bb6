//! Tests of `yaml.rs`.

use super::*;

fn good(text: &str) -> Node {
    let parsed = parse(text, SourceId(0));
    assert!(
        parsed.problems.is_empty(),
        "{text:?}: {:?}",
        parsed.problems
    );
    parsed.node.expect("a tree")
}

fn value(text: &str) -> Value {
    good(&format!("a: {text}\n"))
        .find("a")
        .expect("entry")
        .value
        .value
        .clone()
}

fn first_message(text: &str) -> String {
    let parsed = parse(text, SourceId(0));
    let problem = parsed.problems.first().expect("a problem");
    let place = problem.labels.first().expect("a place").span;
    format!("{}:{} {}", place.line, place.column, problem.message)
}

#[test]
fn places_count_lines_from_one_columns_in_characters_and_offsets_in_bytes() {
    let text = "é: x\nstages:\n  größe: { b: 'c d', e: [1, 2] }\n";
    let node = good(text);
    let stages = node.find("stages").expect("stages");
    assert_eq!((stages.key_span.line, stages.key_span.column), (2, 1));
    assert_eq!(stages.key_span.offset, 6);
    assert_eq!(stages.key_span.len, 6);
    let size = stages.value.find("größe").expect("größe");
    assert_eq!((size.key_span.line, size.key_span.column), (3, 3));
    assert_eq!(size.key_span.len, 7);
    let b = size.value.find("b").expect("b");
    let shown = |span: Span| &text[span.offset as usize..span.offset as usize + span.len as usize];
    assert_eq!(shown(b.value.span), "'c d'");
    assert_eq!((b.value.span.line, b.value.span.column), (3, 15));
    assert_eq!(shown(size.value.span), "{ b: 'c d', e: [1, 2] }");
    assert_eq!(shown(size.value.find("e").expect("e").value.span), "[1, 2]");
    assert_eq!(shown(stages.value.span), "größe");
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, expected) in [
        ("no", Value::String("no".into())),
        ("yes", Value::String("yes".into())),
        ("true", Value::Bool(true)),
        ("~", Value::Null),
        ("", Value::Null),
        ("12", Value::Int(12)),
        ("-3", Value::Int(-3)),
        ("0x1F", Value::Int(31)),
        ("0o17", Value::Int(15)),
        ("1e-4", Value::Float(1e-4)),
        ("0.0001", Value::Float(1e-4)),
        (".5", Value::Float(0.5)),
        ("1.", Value::Float(1.0)),
        ("1_000", Value::String("1_000".into())),
        ("08", Value::String("08".into())),
        ("010", Value::String("010".into())),
        ("1.2.3", Value::String("1.2.3".into())),
        ("'12'", Value::String("12".into())),
        ("!!str 12", Value::String("12".into())),
        ("2026-11-21", Value::String("2026-11-21".into())),
        ("e5", Value::String("e5".into())),
        (".", Value::String(".".into())),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn numbers_that_cannot_be_compared_are_refused_with_a_place() {
    for text in [
        ".nan",
        ".inf",
        "-.inf",
        "-0",
        "-0.0",
        "1e999",
        "99999999999999999999",
    ] {
        let message = first_message(&format!("a:\n  b: {text}\n"));
        assert!(message.starts_with("2:6 "), "{message}");
    }
    assert_eq!(value("'-0'"), Value::String("-0".into()));
}

#[test]
fn every_duplicate_key_is_reported() {
    let parsed = parse("a: 1\nb: {x: 1, x: 2}\na: 3\na: 4\n", SourceId(0));
    assert_eq!(parsed.problems.len(), 3);
    assert!(
        parsed
            .problems
            .iter()
            .all(|p| p.code == "spec::duplicate_key" && p.labels.len() == 2)
    );
    let node = parsed.node.expect("a tree");
    assert_eq!(node.find("a").expect("a").value.value, Value::Int(1));
}

#[test]
fn merge_keys_give_way_to_own_keys_and_keep_both_places() {
    let node = good("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  x: 3\n");
    let used = &node.find("use").expect("use").value;
    assert_eq!(used.find("x").expect("x").value.value, Value::Int(3));
    let y = &used.find("y").expect("y").value;
    assert_eq!(y.value, Value::Int(2));
    assert_eq!(y.span.line, 3);
    assert_eq!(y.defined.expect("defined").line, 1);
    assert!(first_message("a: {<<: 3}\n").contains("merges a map"));
}

#[test]
fn aliases_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        let row = [previous.as_str(); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    assert!(first_message(&text).contains("unfold too far"));
    assert!(first_message("a: &a [*a]\n").contains("inside what it names"));
    let deep = format!("a: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(!parse(&deep, SourceId(0)).problems.is_empty());
}

#[test]
fn syntax_problems_have_a_place() {
    assert!(first_message("a: [1, 2\nb: 3\n").contains("not YAML"));
    let parsed = parse("a:\n\tb: 1\n", SourceId(0));
    let help = parsed.problems[0].help.clone().expect("help");
    assert!(help.contains("tabs"), "{help}");
    assert!(first_message("a: 1\n---\nb: 2\n").contains("second document"));
    assert!(first_message("? [a]\n: 1\n").contains("a key is"));
    assert!(first_message("a: !python x\n").contains("unknown tag"));
    assert!(first_message("a: *nowhere\n").contains("not YAML"));
}

#[test]
fn a_settings_value_has_places_inside_the_setting() {
    let parsed = parse_from("params.x=[1, two]", 9, SourceId(3));
    let node = parsed.node.expect("a tree");
    let Value::Sequence(items) = &node.value else {
        panic!("a list: {node:?}");
    };
    assert_eq!((items[1].span.offset, items[1].span.column), (13, 14));
    assert_eq!(items[1].span.source, SourceId(3));
}

#[test]
fn ten_thousand_stages_fit_the_budget() {
    let mut text = "stages:\n".to_owned();
    for i in 0..10_000 {
        text.push_str(&format!(
            "  s{i}:\n    kind: command\n    needs: {{ text: data/in.txt }}\n    with: {{ argv: [sh, -c, \"wc < text > out\"] }}\n    outputs: {{ out: out }}\n"
        ));
    }
    let node = good(&text);
    assert_eq!(
        node.find("stages").expect("stages").value.entries().len(),
        10_000
    );
}

#[test]
fn an_empty_text_is_nothing() {
    assert_eq!(good("").value, Value::Null);
    assert_eq!(good("# only a remark\n").value, Value::Null);
    assert_eq!(good("\u{feff}a: 1\n").entries().len(), 1);
}
