//! What a profile and `--set` change, told from the file as written.

use super::super::testing::{Scene, names, stage};
use crate::spec::load::Loaded;

fn lines(loaded: &Loaded, name: &str) -> Vec<String> {
    let departures = &stage(loaded, name).departures;
    let line = |one: &crate::spec::Departure| {
        format!(
            "{}: {} = {} ({})",
            one.stage, one.what, one.here, one.written
        )
    };
    departures.iter().map(line).collect()
}

const MAIN: &str = "
params: { epochs: 3, sets: [a, b], seeds: [1, 2, 3], file: ./whole.txt }
profiles:
  small: { params: { epochs: 1 } }
  fewer: { params: { seeds: [1, 9] } }
  other: { params: { sets: [a, c] } }
  cut: { params: { file: ./cut.txt } }
  same: { params: { epochs: 3 } }
stages:
  prepare: { kind: tool, needs: { raw: '${params.file}' }, with: { argv: [x] }, outputs: { out: out } }
  t:
    kind: train
    matrix: { set: '${params.sets}' }
    replicate: { seed: '${params.seeds}' }
    needs: { data: prepare }
    with: { epochs: '${params.epochs}', seed: '${replicate.seed}' }
  all: { kind: tool, needs: { models: { all: t } }, with: { argv: [y] }, outputs: { out: out } }
";

fn scene() -> Scene {
    Scene::new(&[("main.yaml", MAIN), ("whole.txt", "x"), ("cut.txt", "x")])
}

#[test]
fn without_settings_nothing_departs_and_keys_are_those_of_before() {
    let plain = scene().load(None, &[]).expect("loads");
    assert!(
        plain
            .workflow
            .stages
            .iter()
            .all(|stage| stage.departures.is_empty())
    );
    // A setting that says what the file says is none.
    let same = scene().load(Some("same"), &[]).expect("loads");
    assert!(
        same.workflow
            .stages
            .iter()
            .all(|stage| stage.departures.is_empty())
    );
    let small = scene().load(Some("small"), &[]).expect("loads");
    for (one, other) in plain.workflow.stages.iter().zip(&small.workflow.stages) {
        if one.stage != "t" {
            assert_eq!(one.lines_before, other.lines_before);
        }
        assert!(!other.lines_before.contains("depart") && !other.lines_after.contains("depart"));
    }
}

#[test]
fn a_changed_setting_is_named_with_the_value_of_the_file() {
    for loaded in [
        scene().load(Some("small"), &[]),
        scene().load(None, &["epochs=1"]),
    ] {
        let loaded = loaded.expect("loads");
        assert_eq!(lines(&loaded, "t[set=a,seed=2]"), ["t: epochs = 1 (3)"]);
        // What it reads is a matter of the plan, which hands on what is upstream.
        assert!(lines(&loaded, "prepare").is_empty() && lines(&loaded, "all").is_empty());
    }
}

#[test]
fn other_repetitions_depart_and_so_does_what_reads_fewer() {
    let loaded = scene().load(Some("fewer"), &[]).expect("loads");
    assert_eq!(names(&loaded).len(), 6);
    assert!(lines(&loaded, "t[set=a,seed=1]").is_empty());
    assert_eq!(lines(&loaded, "t[set=a,seed=9]"), ["t: seed = 9 (1, 2, 3)"]);
    assert_eq!(
        lines(&loaded, "all"),
        ["all: needs.models = 4 instances (6 instances)"]
    );
    let both = scene().load(Some("fewer"), &["epochs=1"]).expect("loads");
    assert_eq!(lines(&both, "t[set=a,seed=1]"), ["t: epochs = 1 (3)"]);
}

/// Who tries other values and shrinks each of them says both.
#[test]
fn an_instance_that_the_file_has_not_says_what_else_is_changed() {
    let main = "
params: { tried: [3, 5] }
profiles:
  small: { params: { tried: [1] }, stages: { t: { with: { layer_decay: 0.5 }, needs: { data: ./less.txt } } } }
  fewer: { params: { tried: [1] } }
stages:
  t: { kind: train, matrix: { epochs: '${params.tried}' }, needs: { data: ./main.yaml }, with: { epochs: '${matrix.epochs}' } }
  u: { kind: tool, matrix: { from: t }, needs: { made: t }, with: { argv: [y] }, outputs: { out: out } }
";
    let scene = Scene::new(&[("main.yaml", main), ("less.txt", "x")]);
    let loaded = scene.load(Some("fewer"), &[]).expect("loads");
    assert_eq!(lines(&loaded, "t[epochs=1]"), ["t: epochs = 1 (3, 5)"]);
    let loaded = scene.load(Some("small"), &[]).expect("loads");
    assert_eq!(
        lines(&loaded, "t[epochs=1]"),
        [
            "t: epochs = 1 (3, 5)",
            "t: layer_decay = 0.5 (its default)",
            "t: needs.data = less.txt (main.yaml)",
        ]
    );
    // Of which instance another is made follows from its axes.
    assert_eq!(lines(&loaded, "u[epochs=1]"), ["u: epochs = 1 (3, 5)"]);
}

#[test]
fn instances_and_inputs_that_the_file_has_not_depart() {
    let loaded = scene().load(Some("other"), &[]).expect("loads");
    assert!(lines(&loaded, "t[set=a,seed=1]").is_empty());
    assert_eq!(lines(&loaded, "t[set=c,seed=1]"), ["t: set = c (a, b)"]);
    let all = lines(&loaded, "all");
    assert_eq!(all, ["all: needs.models = 6 instances (as many others)"]);
    let loaded = scene().load(Some("cut"), &[]).expect("loads");
    assert_eq!(
        lines(&loaded, "prepare"),
        ["prepare: needs.raw = cut.txt (whole.txt)"]
    );
}

#[test]
fn a_file_that_loads_only_with_settings_departs_everywhere() {
    let text = "params: { epochs: many }\nstages: { t: { kind: train, needs: { data: ./main.yaml }, with: { epochs: '${params.epochs}' } } }\n";
    let loaded = Scene::new(&[("main.yaml", text)])
        .load(None, &["epochs=2"])
        .expect("loads");
    assert_eq!(
        lines(&loaded, "t"),
        ["t: settings = epochs=2 (nothing that loads without them)"]
    );
}

#[test]
fn what_was_compared_with_is_watched_too() {
    let main = "profiles: { small: { stages: { t: { use: small.yaml } } } }\nstages: { t: { use: large.yaml, needs: { data: ./main.yaml } } }\n";
    let scene = Scene::new(&[
        ("main.yaml", main),
        ("large.yaml", "kind: train\nwith: { epochs: 9 }\n"),
        ("small.yaml", "kind: train\nwith: { epochs: 1 }\n"),
    ]);
    let loaded = scene.load(Some("small"), &[]).expect("loads");
    assert_eq!(lines(&loaded, "t"), ["t: epochs = 1 (9)"]);
    let is_watched = |name: &str| loaded.read.iter().any(|(path, _)| path.ends_with(name));
    assert!(is_watched("large.yaml") && is_watched("small.yaml"));
}

#[test]
fn a_value_that_a_condition_asks_for_is_another_part_of_the_file() {
    let main = "params: { from: made, epochs: 3 }\nstages:\n  made: { kind: tool, when: { from: made }, needs: { x: ./main.yaml }, with: { argv: [a] }, outputs: { out: out } }\n  given: { kind: tool, when: { from: given }, needs: { x: ./main.yaml }, with: { argv: [b] }, outputs: { out: out } }\n  t: { kind: train, needs: { data: '${params.from}' }, with: { epochs: '${params.epochs}' } }\n";
    let scene = Scene::new(&[("main.yaml", main)]);
    let loaded = scene.load(None, &["from=given"]).expect("loads");
    assert_eq!(names(&loaded), ["given", "t"]);
    assert!(lines(&loaded, "given").is_empty() && lines(&loaded, "t").is_empty());
    let loaded = scene
        .load(None, &["from=given", "epochs=1"])
        .expect("loads");
    assert!(lines(&loaded, "given").is_empty());
    assert_eq!(lines(&loaded, "t"), ["t: epochs = 1 (3)"]);
}
