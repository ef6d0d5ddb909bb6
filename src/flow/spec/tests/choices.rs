//! Tests of references to choices: what they may come to, what they must fit, what they mean in a cell.

use crate::spec::testing::{bad, expect_all, good, names, origin, stage};
use crate::spec::{Origin, StageSpec, Variant};

/// A sweep whose choice `final` takes; `more` is added to the end.
fn sweep(rates: &str, over: &str, last: &str, more: &str) -> String {
    let mean_over = if over.contains("epochs") {
        "[seed]"
    } else {
        "[epochs, seed]"
    };
    format!(
        "stages:\n  data: {{kind: tool, outputs: {{data: d}}}}\n  tune:\n    kind: train\n    matrix: {{ rate: {rates}, epochs: [1, 2] }}\n    replicate: {{ seed: [1, 2] }}\n    needs: {{ data: data }}\n    with: {{ epochs: 1 }}\n  choose: {{ kind: pick, needs: {{ scores: {{ all: tune }} }}, with: {{ over: {over}, mean_over: {mean_over} }} }}\n  final:\n    kind: train\n    needs: {{ data: data }}\n    with: {last}\n{more}"
    )
}

fn values(stage: &StageSpec) -> Vec<Vec<String>> {
    let texts = |variant: &Variant| variant.values.clone();
    stage.variants.iter().map(texts).collect()
}

#[test]
fn a_stage_is_bound_under_every_choice() {
    let text = sweep(
        "[0.1, 0.5]",
        "[rate, epochs]",
        "{ epochs: '${choose.epochs}', layer_decay: '${choose.rate}' }",
        "",
    );
    let loaded = good(&text);
    let last = stage(&loaded, "final");
    assert_eq!(
        values(last),
        [["1", "0.1"], ["2", "0.1"], ["1", "0.5"], ["2", "0.5"]]
    );
    let lines: Vec<&str> = last
        .variants
        .iter()
        .map(|v| v.stage.lines_before.as_str())
        .collect();
    assert_eq!(lines[0], "config.epochs = 1\nconfig.layer_decay = 0.1\n");
    assert_eq!(lines[3], "config.epochs = 2\nconfig.layer_decay = 0.5\n");
    assert!(
        last.config.is_empty() && last.lines_before.is_empty(),
        "nothing is decided yet"
    );
    assert_eq!(names(&loaded).last(), Some(&"final"));
    assert_eq!(stage(&loaded, "choose").chooses, ["rate", "epochs"]);
    // A value written by hand gives the same lines, so that the key does not tell who chose it.
    let by_hand = good(&sweep(
        "[0.1]",
        "[rate]",
        "{ epochs: 2, layer_decay: 0.5 }",
        "",
    ));
    let by_hand = stage(&by_hand, "final");
    assert_eq!(
        (by_hand.lines_before.as_str(), by_hand.lines_after.as_str()),
        (lines[3], last.variants[3].stage.lines_after.as_str())
    );
}

#[test]
fn only_combinations_that_exist_are_possible() {
    let text = "stages:\n  tune: {kind: tool, with: {argv: [x]}, matrix: {zip: {rate: [1, 2, 3], epochs: [7, 8, 9]}}, outputs: {o: o}}\n  choose: {kind: pick, needs: {scores: {all: tune, where: {rate: [1, 2]}}}, with: {over: [rate, epochs]}}\n  final: {kind: tool, with: {argv: ['r${choose.rate}', 'e${choose.epochs}']}, outputs: {o: o}}\n";
    let loaded = good(text);
    assert_eq!(values(stage(&loaded, "final")), [["1", "7"], ["2", "8"]]);
}

#[test]
fn a_choice_can_pick_instances() {
    let more = "  best: {kind: tool, with: {argv: [x]}, needs: {one: {stage: tune, output: model, where: {rate: '${choose.rate}', epochs: 1, seed: 1}}, all: {all: tune, output: log, where: {rate: '${choose.rate}'}}}, outputs: {o: o}}\n";
    let loaded = good(&sweep(
        "[0.1, 0.5]",
        "[rate, epochs]",
        "{ epochs: 1 }",
        more,
    ));
    let best = stage(&loaded, "best");
    assert_eq!(values(best), [["0.1"], ["0.5"]]);
    let found: Vec<&Origin> = best
        .variants
        .iter()
        .flat_map(|v| &v.stage.inputs)
        .map(|i| &i.origin)
        .collect();
    let name = |id: crate::spec::StageId| loaded.workflow.stages[id.index()].name.as_str();
    let mut picked = Vec::new();
    for one in found {
        match one {
            Origin::Stage(one) => picked.push(name(one.stage).to_owned()),
            Origin::Many(all) => picked.push(all.len().to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        picked,
        [
            "4",
            "tune[rate=0.1,epochs=1,seed=1]",
            "4",
            "tune[rate=0.5,epochs=1,seed=1]"
        ]
    );
    // Until the choice is known it stands for all of them.
    assert_eq!(best.inputs.len(), 4);
}

#[test]
fn choices_are_grouped_and_joined_by_name() {
    let text = "stages:\n  tune: {kind: tool, with: {argv: [x]}, matrix: {task: [a, b], rate: [1, 2]}, replicate: {seed: [1, 2]}, outputs: {o: o}}\n  choose: {kind: pick, matrix: {task: [a, b]}, needs: {scores: {all: tune}}, with: {over: [rate]}}\n  final: {kind: tool, matrix: {task: [b, a]}, with: {argv: ['${choose.rate}']}, outputs: {o: o}}\n";
    let loaded = good(text);
    assert_eq!(origin(&loaded, "choose[task=a]", "scores").len(), 4);
    let last = stage(&loaded, "final[task=b]");
    let chooser = &loaded.workflow.stages[last.choices[0].stage.index()];
    assert_eq!(chooser.name, "choose[task=b]");
    let found = bad(&text.replace("matrix: {task: [b, a]}, ", ""));
    expect_all(
        &found,
        &[
            "`${choose.rate}` could be the choice of any instance of `choose` / give `final` the axis too: `matrix: { task: […] }`",
        ],
    );
    let found = bad(&text.replace("task: [b, a]", "task: [b, c]"));
    expect_all(
        &found,
        &["`${choose.rate}` is the choice of no instance / compare the axes"],
    );
    let found = bad(&text.replace("matrix: {task: [a, b]}, needs", "needs"));
    expect_all(
        &found,
        &[
            "stage `choose` does not say what becomes of the axis `task` of `tune` / name it in `over` or `mean_over`, give `choose` the axis",
        ],
    );
    good(
        &text
            .replace("matrix: {task: [a, b]}, needs", "needs")
            .replace("over: [rate]", "over: [rate], mean_over: [task, seed]"),
    );
}

#[test]
fn a_choice_may_hang_on_another_wherever_they_stand() {
    let text = "stages:\n  last: {kind: tool, with: {argv: ['${second.epochs}', '${first.rate}']}, outputs: {o: o}}\n  second: {kind: pick, needs: {scores: {all: tune, where: {rate: '${first.rate}'}}}, with: {over: [epochs]}}\n  first: {kind: pick, needs: {scores: {all: tune, where: {epochs: 1}}}, with: {over: [rate]}}\n  tune: {kind: tool, with: {argv: [x]}, matrix: {rate: [1, 2], epochs: [1, 2]}, outputs: {o: o}}\n";
    let loaded = good(text);
    assert_eq!(names(&loaded)[5..], ["second", "last"]);
    let second = stage(&loaded, "second");
    assert_eq!(values(second), [["1"], ["2"]]);
    assert_eq!(second.variants[1].stage.inputs.len(), 1);
    assert_eq!(values(stage(&loaded, "last")).len(), 4);
    let ring = text.replace("where: {epochs: 1}", "where: {epochs: '${second.epochs}'}");
    let found = bad(&ring);
    assert!(
        found[0].contains("spec::cycle stages form a cycle: "),
        "{found:?}"
    );
    assert_eq!(found.len(), 1, "{found:?}");
    let own = text.replace("where: {epochs: 1}", "where: {epochs: '${first.rate}'}");
    assert!(
        bad(&own)[0].contains("stages form a cycle: first -> first"),
        "{:?}",
        bad(&own)
    );
    // A stage that the choice itself is made of cannot take it.
    let found = bad(
        "stages:\n  tune: {kind: tool, with: {argv: ['${choose.rate}']}, matrix: {rate: [1, 2]}, outputs: {o: o}}\n  choose: {kind: pick, needs: {scores: {all: tune}}, with: {over: [rate]}}\n",
    );
    expect_all(&found, &["stages form a cycle: "]);
}

#[test]
fn what_does_not_fit_is_said_at_its_place() {
    let found = bad(&sweep(
        "[0.1, fast]",
        "[rate]",
        "{ epochs: 1, layer_decay: '${choose.rate}' }",
        "",
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("main.yaml:13") && found[0].contains("layer_decay"),
        "{found:?}"
    );
    let found = bad(&sweep(
        "[0.1]",
        "[rate]",
        "{ epochs: '${choose.rates}', layer: 1 }",
        "",
    ));
    expect_all(
        &found,
        &[
            "`${choose.rates}` refers to an axis that `choose` does not choose / did you mean `rate`?",
            "unknown key `layer`",
        ],
    );
    let found = bad(&sweep(
        "[0.1]",
        "[rte]",
        "{ epochs: 1, layer_decay: '${choose.rate}' }",
        "",
    ));
    expect_all(
        &found,
        &[
            "`over` of stage `choose` names `rte`, which is no axis of `tune` / did you mean `rate`?",
        ],
    );
    let found = bad(&sweep("[0.1]", "[rate]", "{ epochs: '${choose}' }", ""));
    expect_all(
        &found,
        &["`${choose}` names no axis / write `${choose.rate}`"],
    );
    let found = bad(&sweep("[0.1]", "[rate]", "{ epochs: '${tune.rate}' }", ""));
    expect_all(
        &found,
        &[
            "`${tune.rate}` is not a reference / `tune` chooses nothing that can be referred to; stages of kind `pick` do",
        ],
    );
    let found = bad(&sweep(
        "[0.1]",
        "[rate]",
        "{ epochs: 1 }",
        "    publish: 'out/${choose.rate}'\n",
    ));
    expect_all(
        &found,
        &["`${choose.rate}` cannot stand here / a choice can be used in `with`, `env` and `needs`"],
    );
    let found = bad(&format!(
        "params: {{ r: '${{choose.rate}}' }}\n{}",
        sweep("[0.1]", "[rate]", "{ epochs: 1 }", "")
    ));
    expect_all(&found, &["`${choose.rate}` cannot stand here"]);
    let found = bad(&sweep("[0.1]", "[rate]", "{ epochs: 1 }", "").replace(
        "{ all: tune }",
        "{ stage: tune, where: { rate: 0.1, epochs: 1, seed: 1 } }",
    ));
    expect_all(
        &found,
        &[
            "input `scores` of stage `choose` is not a choice of several / take every instance of a stage: `scores: { all: STAGE }`",
        ],
    );
    let many: Vec<String> = (0..40).map(|one| one.to_string()).collect();
    let more = format!(
        "  b: {{kind: tool, with: {{argv: [x]}}, matrix: {{k: [{}]}}, outputs: {{o: o}}}}\n  other: {{ kind: pick, needs: {{ scores: {{ all: b }} }}, with: {{ over: [k] }} }}\n",
        many.join(", ")
    );
    let found = bad(&sweep(
        &format!("[{}]", many.join(", ")),
        "[rate]",
        "{ epochs: 1, seed: '${choose.rate}', layer_decay: '${other.k}' }",
        &more,
    ));
    assert!(
        found[0].contains("more than 1000 different stages of `final`"),
        "{found:?}"
    );
}

#[test]
fn a_long_row_of_choices_loads() {
    const LONG: usize = 2000;
    let mut text =
        "stages:\n  t: {kind: tool, with: {argv: [x]}, matrix: {k: [1, 2]}, outputs: {o: o}}\n"
            .to_owned();
    for at in 0..LONG {
        let filter = if at + 1 < LONG {
            format!(", where: {{k: '${{c{}.k}}'}}", at + 1)
        } else {
            String::new()
        };
        text.push_str(&format!(
            "  c{at}: {{kind: pick, needs: {{scores: {{all: t{filter}}}}}, with: {{over: [k]}}}}\n"
        ));
    }
    let loaded = good(&text);
    assert_eq!(names(&loaded).last(), Some(&"c0"));
    assert_eq!(values(stage(&loaded, "c0")), [["1"], ["2"]]);
}
