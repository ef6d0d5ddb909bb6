//! Property tests of expansion, graphs and manifest lines. Knows the kinds of the tests beside it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::fuzz_load;
use super::load::{Loaded, load_text};
use super::testing::{KINDS, good};
use crate::graph::{downstream, needed, upstream};

fn load_good(text: &str) -> Loaded {
    match load_text(text, KINDS) {
        Ok(loaded) => loaded,
        Err(failure) => panic!("{text}\n{:#?}", failure.failure.diagnostics),
    }
}

/// `needs` of stage `i` among all others, and a shuffled order of writing.
fn graphs(acyclic: bool) -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<usize>)> {
    (2_usize..12).prop_flat_map(move |n| {
        let needs: Vec<_> = (0..n)
            .map(|i| {
                let others: Vec<usize> = if acyclic {
                    (0..i).collect()
                } else {
                    (0..n).collect()
                };
                let most = others.len().min(3);
                subsequence(others, 0..=most)
            })
            .collect();
        (needs, Just((0..n).collect::<Vec<_>>()).prop_shuffle())
    })
}

fn written(needs: &[Vec<usize>], order: &[usize]) -> String {
    let mut text = "stages:\n".to_owned();
    for i in order {
        let ports: Vec<String> = needs[*i].iter().map(|j| format!("p{j}: s{j}")).collect();
        text.push_str(&format!(
            "  s{i}: {{kind: tool, needs: {{{}}}, outputs: {{o: o}}}}\n",
            ports.join(", ")
        ));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_respects_every_need((needs, order) in graphs(true)) {
        let loaded = load_good(&written(&needs, &order));
        prop_assert_eq!(loaded.workflow.stages.len(), needs.len());
        for (at, stage) in loaded.workflow.stages.iter().enumerate() {
            let wanted: BTreeSet<String> = needs[stage.name[1..].parse::<usize>().expect("a number")]
                .iter()
                .map(|j| format!("s{j}"))
                .collect();
            let mut found = BTreeSet::new();
            for source in stage.inputs.iter().flat_map(needed) {
                prop_assert!(source.index() < at);
                found.insert(loaded.workflow.stages[source.index()].name.clone());
            }
            prop_assert_eq!(found, wanted);
        }
        for id in (0_u32..).take(needs.len()).map(super::StageId) {
            for above in upstream(&loaded.workflow, &[id]) {
                prop_assert!(downstream(&loaded.workflow, &[above]).contains(&id));
            }
        }
    }

    #[test]
    fn a_reported_cycle_is_a_cycle((needs, order) in graphs(false)) {
        let text = written(&needs, &order);
        match load_text(&text, KINDS) {
            Ok(loaded) => {
                for (at, stage) in loaded.workflow.stages.iter().enumerate() {
                    prop_assert!(stage.inputs.iter().flat_map(needed).all(|s| s.index() < at));
                }
            }
            Err(failure) => {
                for problem in failure.failure.diagnostics {
                    prop_assert_eq!(problem.code.as_str(), "spec::cycle");
                    let path = problem.message.rsplit(": ").next().expect("a path").to_owned();
                    let path: Vec<usize> = path
                        .split(" -> ")
                        .map(|name| name[1..].parse().expect("a number"))
                        .collect();
                    prop_assert_eq!(path.first(), path.last());
                    prop_assert_eq!(path.len(), problem.labels.len() + 1);
                    for (step, label) in path.windows(2).zip(&problem.labels) {
                        prop_assert!(needs[step[0]].contains(&step[1]));
                        let covered = &text[label.span.offset as usize..][..label.span.len as usize];
                        prop_assert_eq!(covered, format!("s{}", step[1]));
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_instances_share_a_name(
        axes in prop::collection::btree_map("[a-c]", prop::collection::vec("[a-z0-9 ,=\\[\\]\"é-]{0,4}", 1..4), 0..4),
        numbers in prop::collection::vec(-3_i64..4, 0..4),
    ) {
        let mut text = "stages:\n  s:\n    kind: tool\n    matrix:\n      zz: [0]\n".to_owned();
        for (name, values) in &axes {
            text.push_str(&format!("      {name}: {}\n", serde_json::to_string(values).expect("JSON")));
        }
        if !numbers.is_empty() {
            text.push_str(&format!("    replicate: {{n: {numbers:?}}}\n"));
        }
        let distinct = axes.values().all(|v| v.iter().collect::<BTreeSet<_>>().len() == v.len())
            && numbers.iter().collect::<BTreeSet<_>>().len() == numbers.len();
        match load_text(&text, KINDS) {
            Ok(loaded) => {
                let names: BTreeSet<&str> = loaded.workflow.stages.iter().map(|s| s.name.as_str()).collect();
                prop_assert_eq!(names.len(), loaded.workflow.stages.len());
                let product = axes.values().map(Vec::len).product::<usize>() * numbers.len().max(1);
                prop_assert_eq!(names.len(), product);
                prop_assert!(distinct);
            }
            Err(_) => prop_assert!(!distinct, "{}", text),
        }
        fuzz_load(&text.replace("tool", "command"));
    }

    #[test]
    fn the_order_of_maps_does_not_reach_the_lines(
        params in prop::collection::btree_map("[a-z]{1,3}", -9_i64..9, 1..6),
        env in prop::collection::btree_map("[A-Z]{1,3}", "[a-z]{0,3}", 0..4),
        seed in any::<u64>(),
    ) {
        let lines = |reverse: bool| {
            let mut parts: Vec<String> = params.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            let mut vars: Vec<String> = env.iter().map(|(k, v)| format!("{k}: '{v}'")).collect();
            let mut keys = vec!["with", "env", "kind"];
            if reverse {
                parts.rotate_left(usize::try_from(seed % 5).expect("small") % params.len());
                vars.reverse();
                keys.reverse();
            }
            let mut text = "stages:\n  s:\n".to_owned();
            for key in keys {
                text.push_str(&match key {
                    "with" => format!("    with: {{params: {{{}}}}}\n", parts.join(", ")),
                    "env" => format!("    env: {{{}}}\n", vars.join(", ")),
                    _ => "    kind: tool\n".to_owned(),
                });
            }
            let stage = load_good(&text).workflow.stages.remove(0);
            (stage.lines_before, stage.lines_after)
        };
        prop_assert_eq!(lines(false), lines(true));
    }

    #[test]
    fn every_changed_field_changes_the_lines(epochs in 1_u32..5, decay in 1_u32..9, seed in prop::option::of(0_u64..3),
                                             other in (1_u32..5, 1_u32..9, prop::option::of(0_u64..3))) {
        let lines = |epochs: u32, decay: u32, seed: Option<u64>| {
            let seed = seed.map_or_else(String::new, |seed| format!(", seed: {seed}"));
            let text = format!("stages: {{t: {{kind: train, needs: {{data: ./d}}, with: {{epochs: {epochs}, layer_decay: 0.{decay}{seed}}}}}}}\n");
            load_good(&text).workflow.stages.remove(0).lines_before
        };
        let same = (epochs, decay, seed) == other;
        prop_assert_eq!(lines(epochs, decay, seed) == lines(other.0, other.1, other.2), same);
        prop_assert_eq!(lines(epochs, 8, seed).contains("layer_decay"), false);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(?s).{0,200}") {
        fuzz_load(&text);
    }

    #[test]
    fn no_damage_to_a_pipeline_makes_it_panic(
        damage in prop::collection::vec((0.0_f64..1.0, 0_usize..12, "[a-z0-9:{}\\[\\]\"'$&*|>!%@#,. \n\t-]{0,6}"), 1..6),
    ) {
        let mut text: Vec<char> = STARTER.chars().collect();
        for (place, cut, insert) in damage {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place in a short text")]
            let at = (place * text.len() as f64) as usize;
            let end = (at + cut).min(text.len());
            text.splice(at..end, insert.chars());
        }
        fuzz_load(&text.into_iter().collect::<String>());
    }
}

const STARTER: &str = "doc: d\nparams: &p { epochs: 3, tasks: [a, b], deep: {x: [1, {y: 2}]} }\nprofiles: { smoke: { params: { epochs: 1 } } }\nstages:\n  count:\n    kind: command\n    needs: { text: data/a.txt, all: ./x/*.txt }\n    with: { argv: [sh, -c, \"wc ${params.epochs}\"], rate: 5.0e-4, shape: {nested: {depth: 3}} }\n    outputs: { lines: lines.txt, more: {path: m, keep: never} }\n    resources: { cores: 1, time: 10m, gpu: {count: 1, memory: 4GiB} }\n  tune:\n    kind: command\n    matrix: { task: \"${params.tasks}\", zip: {u: [1, 2], v: [x, y]}, exclude: [{u: 1, task: a}] }\n    replicate: { seed: [1, 2, 3] }\n    needs: { model: count.lines }\n    with: { script: \"${x}\", count: \"${replicate.seed}\", params: {<<: *p, t: \"t-${matrix.task}\"} }\n    outputs: { o: out }\n    env: { A: 1, B: {from: environment}, C: {value: x, secret: true} }\n    checkpoint: { dir: ck, signal: USR1, grace: 1m }\n  score: { kind: command, matrix: {from: tune}, needs: {m: tune}, outputs: {s: s}, numbers: [n.json] }\n  table: { kind: command, needs: { s: { all: score, where: { seed: [1, 2], task: b } }, one: {stage: tune, where: {task: b, u: 2, v: y, seed: 1}, output: o, as: in/one} }, publish: results }\n  choose: { kind: pick, matrix: {task: [a, b]}, needs: { scores: { all: score } }, with: { over: [u, v] } }\n  final: { kind: command, matrix: {task: [a, b]}, needs: { best: {stage: tune, output: o, where: {u: \"${choose.u}\", v: \"${choose.v}\", seed: 1}} }, with: { argv: [\"${choose.u}\", \"at ${choose.v}\"] }, outputs: { o: o } }\nexpect:\n  - { metric: f1, where: { task: a }, value: 90.03, tolerance: 0.8 }\n";

#[test]
fn the_starter_of_the_damage_test_is_whole() {
    let text = STARTER
        .replace("command", "tool")
        .replace("rate: 5.0e-4, shape: {nested: {depth: 3}}", "")
        .replace("count: \"${replicate.seed}\", ", "");
    let loaded = load_good(&text);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for stage in &loaded.workflow.stages {
        *counts.entry(&stage.stage).or_default() += 1;
    }
    let counts: Vec<(&str, usize)> = counts.into_iter().collect();
    assert_eq!(
        counts,
        [
            ("choose", 2),
            ("count", 1),
            ("final", 2),
            ("score", 9),
            ("table", 1),
            ("tune", 9)
        ]
    );
    fuzz_load(STARTER);
}

#[test]
fn ten_thousand_stages_load() {
    let mut text = "stages:\n".to_owned();
    for i in 0..10_000 {
        text.push_str(&format!("  s{i}:\n    kind: tool\n    needs: {{ text: data/in.txt }}\n    with: {{ argv: [sh, -c, \"wc < text > out\"] }}\n    outputs: {{ out: out }}\n"));
    }
    assert_eq!(good(&text).workflow.stages.len(), 10_000);
}
