//! Tests of `substitute.rs`.

use super::*;
use crate::source::SourceId;
use crate::spec::decode::to_json;
use crate::spec::yaml;

fn node(text: &str) -> Node {
    let parsed = yaml::parse(text, SourceId(0));
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.node.expect("a tree")
}

fn substituted(params: &str, text: &str) -> (String, Vec<String>) {
    let (params, text) = (node(params), node(text));
    let params = Params::new(params.entries(), 100_000);
    params.resolve_all();
    let seed = AxisValue {
        name: "seed".into(),
        node: node("7"),
        text: "7".into(),
        json: "7".into(),
        replicate: true,
    };
    let json = to_json(&params.stage_scope(&[seed]).apply(&text)).to_string();
    let problems = params.into_problems();
    (
        json,
        problems
            .iter()
            .map(|p| format!("{} / {}", p.message, p.help.as_deref().unwrap_or("")))
            .collect(),
    )
}

#[test]
fn whole_scalars_keep_their_type() {
    let (json, problems) = substituted(
        "epochs: 3\nrate: 5e-4\ntasks: [a, b]\non: true\nnested: {deep: {x: 1}}\n",
        "[\"${params.epochs}\", \"${ params.tasks }\", \"${params.on}\", \"e=${params.epochs} r=${params.rate}\", \"${params.nested.deep}\", \"${params.tasks.1}\", \"${replicate.seed}\"]",
    );
    assert_eq!(json, r#"[3,["a","b"],true,"e=3 r=0.0005",{"x":1},"b",7]"#);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn two_dollars_are_literal() {
    let (json, problems) = substituted("x: 1", "[\"$${params.x}\", \"$5 $HOME $${a}${params.x}\"]");
    assert_eq!(json, r#"["${params.x}","$5 $HOME ${a}1"]"#);
    assert!(problems.is_empty(), "{problems:?}");
}

#[test]
fn parameters_may_build_on_each_other_but_not_in_a_ring() {
    let (json, problems) = substituted("a: \"${params.b}/x\"\nb: base", "\"${params.a}\"");
    assert_eq!(json, "\"base/x\"");
    assert!(problems.is_empty());
    let (_, problems) = substituted("a: \"${params.b}\"\nb: \"${params.a}\"", "1");
    assert!(
        problems[0].starts_with("parameters refer to each other: a -> b -> a"),
        "{problems:?}"
    );
}

#[test]
fn undefined_references_say_what_was_meant() {
    let (_, problems) = substituted(
        "epochs: 3\ntasks: [a]",
        "[\"${params.epoch}\", \"${matrix.seed}\", \"${epochs}\", \"${HOME}\", \"a ${params.tasks}\", \"${params.x\"]",
    );
    let expected = [
        "undefined parameter `epoch` / did you mean `epochs`?",
        "undefined axis `seed`",
        "write `${params.epochs}`",
        "write `$${HOME}` for the text itself",
        "cannot stand inside a longer text",
        "is not closed",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:?}");
    for (problem, text) in problems.iter().zip(expected) {
        assert!(problem.contains(text), "{text} not in {problem}");
    }
}

#[test]
fn both_places_are_kept() {
    let (params, text) = (node("x: [1]"), node("a: 1\nb: \"${params.x}\""));
    let params = Params::new(params.entries(), 100_000);
    let result = params.scope().apply(&text);
    let b = &result.find("b").expect("b").value;
    assert_eq!(b.span.line, 2);
    assert_eq!(b.defined.expect("defined").line, 1);
}

#[test]
fn unfolding_is_bounded() {
    let mut params = "a0: [x, x, x, x, x, x, x, x]\n".to_owned();
    let mut texts = "t0: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".to_owned();
    for i in 1..40 {
        let one = format!("\"${{params.a{}}}\"", i - 1);
        params.push_str(&format!("a{i}: [{one}, {one}, {one}, {one}]\n"));
        let one = format!("${{params.t{}}}", i - 1);
        texts.push_str(&format!("t{i}: \"{one}{one}{one}{one}\"\n"));
    }
    for params in [params, texts] {
        let (_, problems) = substituted(&params, "1");
        assert!(
            problems.iter().any(|p| p.contains("unfold too far")),
            "{problems:?}"
        );
    }
}
