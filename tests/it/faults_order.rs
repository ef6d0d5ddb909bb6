//! Random graphs through the real runner: each stage once, after what it needs; cached then; early cut-off.

use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::space::Space;

/// For each stage the earlier ones it needs.
fn graphs() -> impl Strategy<Value = Vec<Vec<usize>>> {
    (1..14_usize).prop_flat_map(|count| {
        (0..count)
            .map(|i| proptest::collection::btree_set(0..i.max(1), 0..=3.min(i)))
            .collect::<Vec<_>>()
            .prop_map(|needs| {
                needs
                    .into_iter()
                    .map(|set| set.into_iter().collect())
                    .collect()
            })
    })
}

/// Stages that log their start and end, and whose output is their number and the digest of what they got.
fn pipeline(space: &Space, graph: &[Vec<usize>], remark: &str) -> String {
    let log = space.path("log");
    let log = log.display();
    let mut text = String::from("stages:\n");
    for (i, needs) in graph.iter().enumerate().rev() {
        let ports: Vec<String> = needs.iter().map(|j| format!("in{j}: s{j}")).collect();
        let read: Vec<String> = needs.iter().map(|j| format!("in{j}")).collect();
        let remark = if i == 0 { remark } else { "" };
        let _ = write!(
            text,
            "  s{i}:\n    kind: command\n    needs: {{ {} }}\n    with:\n      script: |\n        # {remark}\n        echo + {i} >> {log}\n        cat {} /dev/null > out\n        echo {i} >> out\n        echo - {i} >> {log}\n    outputs: {{ out: out }}\n",
            ports.join(", "),
            read.join(" ")
        );
    }
    text
}

/// What each stage's output must be.
fn expected(graph: &[Vec<usize>]) -> Vec<String> {
    let mut outputs: Vec<String> = Vec::new();
    for (i, needs) in graph.iter().enumerate() {
        let mut text: String = needs.iter().map(|j| outputs[*j].as_str()).collect();
        let _ = writeln!(text, "{i}");
        outputs.push(text);
    }
    outputs
}

#[test]
fn any_graph_runs_each_stage_once_in_order_and_then_not_at_all() {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    let config = Config {
        cases: cases.unwrap_or(12),
        failure_persistence: None,
        max_shrink_iters: 30,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&graphs(), |graph| {
            let space = Space::new();
            let count = graph.len() as u64;
            space.write("p.yaml", pipeline(&space, &graph, "first"));
            let ran = space.run(&["-j", "4", "--json"]).exits(0);
            prop_assert_eq!(ran.counts(), [count, count, 0, 0, 0]);
            let log = space.lines("log");
            prop_assert_eq!(log.len(), 2 * graph.len());
            let at = |line: String| log.iter().position(|there| *there == line).expect("it ran");
            for (i, needs) in graph.iter().enumerate() {
                for j in needs {
                    prop_assert!(
                        at(format!("- {j}")) < at(format!("+ {i}")),
                        "{} before {}",
                        j,
                        i
                    );
                }
            }
            let outputs = expected(&graph);
            for (i, text) in outputs.iter().enumerate() {
                let record = &space.records()[&format!("s{i}")];
                let digest = record["outputs"]["out"]["digest"]
                    .as_str()
                    .expect("a digest");
                let hash = blake3::hash(text.as_bytes()).to_string();
                prop_assert_eq!(digest, hash);
            }
            let ran = space.run(&["--json"]).exits(0);
            prop_assert_eq!(ran.counts(), [count, 0, count, 0, 0]);
            // A remark in the first stage's script: its bytes stay, so nothing below runs.
            space.write("p.yaml", pipeline(&space, &graph, "second"));
            let ran = space.run(&["--json"]).exits(0);
            prop_assert_eq!(ran.counts(), [count, 1, count - 1, 0, 0]);
            prop_assert_eq!(space.work(), [""; 0]);
            Ok(())
        })
        .expect("every graph");
}
