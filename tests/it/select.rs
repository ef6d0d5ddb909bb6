//! Sweeps whose best values later stages take: what is chosen, what then runs, what is refused. Small made-up scores.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::processes::{of_stages, signal, supervisors};
use crate::shipped::Shipped;
use crate::space::{Ran, Space, wait_until};

/// Three rates over three seeds, each with its score in a file of its own; `final` takes the best rate to other seeds.
const SWEEP: &str = "\
stages:
  tune:
    kind: command
    matrix: { rate: [1.0e-4, 3.0e-4, 1.0e-3] }
    replicate: { seed: [1, 2, 3] }
    with: { script: 'cp params.json model', params: { rate: '${matrix.rate}', seed: '${replicate.seed}' } }
    outputs: { model: model }
  score:
    kind: command
    matrix: { from: tune }
    needs: { model: tune, value: 'dev/${matrix.rate}-${replicate.seed}' }
    with:
      script: |
        echo \"{\\\"metric\\\": \\\"f1\\\", \\\"dataset\\\": \\\"toy\\\", \\\"split\\\": \\\"dev\\\", \\\"value\\\": $(cat value)}\" > rows.jsonl
        echo \"{\\\"metric\\\": \\\"seconds\\\", \\\"value\\\": 1}\" >> rows.jsonl
    numbers: rows.jsonl
  choose:
    kind: select
    needs: { scores: { all: score } }
    with: { over: [rate], metric: f1, where: { split: dev } }
  final:
    kind: command
    replicate: { seed: [11, 12, 13, 14, 15] }
    needs: { start: { stage: tune, where: { rate: '${choose.rate}', seed: 1 } } }
    with: { script: 'cat params.json start > model', params: { rate: '${choose.rate}', name: 'run at ${choose.rate}', seed: '${replicate.seed}' } }
    outputs: { model: model }
  ensemble:
    kind: command
    needs: { models: { all: tune, where: { rate: '${choose.rate}' } } }
    with: { script: 'cat models/*/* > all' }
    outputs: { all: all }
  test:
    kind: command
    matrix: { from: final }
    needs: { model: final }
    with: { script: 'echo \"{\\\"metric\\\": \\\"f1\\\", \\\"split\\\": \\\"test\\\", \\\"value\\\": 0.$(wc -c < model)}\" > rows.jsonl' }
    numbers: rows.jsonl
  table:
    kind: report
    needs: { choice: choose, test: { all: test } }
";

const RATES: [&str; 3] = ["0.0001", "0.0003", "0.001"];

fn sweep(pipeline: &str) -> Space {
    let space = Space::with(pipeline);
    for (rate, base) in RATES.iter().zip([80, 84, 82]) {
        for seed in 1..=3 {
            space.write(&format!("dev/{rate}-{seed}"), format!("{base}.{seed}\n"));
        }
    }
    space
}

/// The stages that a run carried out.
fn executed(space: &Space, more: &[&str]) -> BTreeSet<String> {
    space
        .run(&[&["--events", "events"], more].concat())
        .exits(0);
    executed_of(space)
}

fn executed_of(space: &Space) -> BTreeSet<String> {
    let events = space.lines("events");
    let events = events
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    events
        .filter(|event| event["event"] == "stage_finished" && event["end"] == "executed")
        .map(|event| event["stage"].as_str().expect("named").to_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// A file among the results.
fn result(space: &Space, output: &str) -> String {
    let path = space.call(&["path", "p.yaml", output]).exits(0);
    fs_err::read_to_string(path.stdout.trim()).expect("readable")
}

fn choice(space: &Space, stage: &str) -> Value {
    serde_json::from_str(&result(space, stage)).expect("JSON")
}

/// The row of a stage in `plan --json`: state and reason.
fn planned(space: &Space, stage: &str) -> (String, String) {
    let rows: Value =
        serde_json::from_str(&space.call(&["plan", "p.yaml", "--json"]).exits(0).stdout)
            .expect("JSON");
    let mut rows = rows.as_array().expect("rows").iter();
    let row = rows.find(|row| row["stage"] == stage).expect("a row");
    let text = |key: &str| row[key].as_str().expect("text").to_owned();
    (text("state"), text("because"))
}

#[test]
fn a_sweep_is_chosen_on_dev_and_a_flip_reruns_only_what_hangs_on_it() {
    let space = sweep(SWEEP);
    space.call(&["check", "p.yaml"]).exits(0);
    let waits = (
        "may_run".to_owned(),
        "waits for the choice of `choose`".to_owned(),
    );
    assert_eq!(planned(&space, "final[seed=11]"), waits);
    let ran = space.run(&["--json", "-j2"]).exits(0);
    assert_eq!(ran.counts(), [31, 31, 0, 0, 0]);
    assert_eq!(choice(&space, "choose"), json!({"rate": 3e-4}));
    let model = result(&space, "final[seed=11].model");
    assert!(
        model.contains("\"rate\": 0.0003") && model.contains("run at 0.0003"),
        "{model}"
    );
    assert_eq!(
        model.matches("\"rate\": 0.0003").count(),
        2,
        "its own and that of the instance it began from: {model}"
    );
    let all = result(&space, "ensemble");
    assert_eq!(
        all.matches("\"rate\": 0.0003").count(),
        3,
        "every seed of the chosen rate: {all}"
    );
    let table = result(&space, "choose.table");
    assert!(table.contains("chosen: `rate=0.0003`"), "{table}");
    assert!(
        table.contains("| 1 | 0.0003 | 84.2000 | 0.1000 | 3 | 84.1000 | 84.2000 | 84.3000 |"),
        "{table}"
    );
    let page = space.read("reports/p/latest/index.html");
    assert!(
        page.contains("rate=0.0003") && page.contains("f1 mean"),
        "the ranking is in the report"
    );
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [31, 0, 31, 0, 0]);

    // Better, but not the best: the same choice, and nothing below runs but the report, which shows the ranking.
    space.write("dev/0.0001-2", "81.9\n");
    assert_eq!(
        executed(&space, &[]),
        set(&["score[rate=0.0001,seed=2]", "choose", "table"])
    );

    // One number flips the choice: all that hangs on it runs, and nothing else.
    space.write("dev/0.0001-2", "99.9\n");
    assert_eq!(planned(&space, "test[seed=11]").0, "may_run");
    let mut expected = set(&["score[rate=0.0001,seed=2]", "choose", "ensemble", "table"]);
    for seed in 11..=15 {
        expected.insert(format!("final[seed={seed}]"));
        expected.insert(format!("test[seed={seed}]"));
    }
    assert_eq!(executed(&space, &["-j2"]), expected);
    assert_eq!(choice(&space, "choose"), json!({"rate": 1e-4}));
    assert!(result(&space, "final[seed=12].model").contains("\"rate\": 0.0001"));
    space.call(&["why", "p.yaml", "final[seed=12]"]).exits(0);
    let differs = space
        .call(&["diff", "p.yaml", "latest~1", "latest"])
        .exits(0)
        .stdout;
    assert!(
        differs.contains("choice rate") && differs.contains("config.params.rate"),
        "{differs}"
    );

    // And back: everything is there already.
    space.write("dev/0.0001-2", "81.9\n");
    assert_eq!(executed(&space, &[]), set(&[]));
    assert_eq!(choice(&space, "choose"), json!({"rate": 3e-4}));
}

#[test]
fn a_value_written_by_hand_has_the_same_key() {
    let space = sweep(SWEEP);
    space.run(&[]).exits(0);
    space.write(
        "p.yaml",
        SWEEP
            .replace("${choose.rate}", "3.0e-4")
            .replace("name: 'run at 3.0e-4'", "name: 'run at 0.0003'")
            .replace("rate: '3.0e-4'", "rate: 3.0e-4"),
    );
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [31, 0, 31, 0, 0]);
}

#[test]
fn who_asks_is_told_what_waits_and_what_was_chosen() {
    let space = sweep(SWEEP);
    let said = |arguments: &[&str]| space.call(arguments).exits(0).stdout;
    let waits = "waits for the choice of `choose`";
    assert!(
        said(&["why", "p.yaml", "final[11]"])
            .contains(&format!("final[seed=11] may run: it {waits}"))
    );
    assert!(said(&["status", "p.yaml", "final"]).contains(waits));
    assert!(said(&["graph", "p.yaml", "--format", "dot"]).contains("\"choose\" -> \"final\""));
    space.run(&["choose"]).exits(0);
    assert_eq!(
        planned(&space, "final[seed=11]"),
        ("will_run".to_owned(), "new".to_owned())
    );
    assert!(said(&["why", "p.yaml", "final[11]"]).contains("`choose` chose rate = 0.0003"));
    // Asked for by name, it brings what chooses for it.
    let other = sweep(SWEEP);
    let ran = other.run(&["final[11]", "--json"]).exits(0);
    assert_eq!(ran.counts(), [20, 20, 0, 0, 0]);
    // The bytes of the choice may go; the record holds it.
    fs_err::remove_dir_all(space.path("cache/objects-v1")).expect("removed");
    assert_eq!(planned(&space, "final[seed=11]").0, "will_run");
}

/// What a choice will ask for is not known yet, but what any choice would is.
#[test]
fn a_plan_offline_looks_at_all_that_may_be_chosen() {
    let late = "  late: { kind: fetch, with: { url: 'https://data.invalid/${choose.rate}' } }\n  near: { kind: fetch, with: { url: 'file:///nowhere/${choose.rate}' } }\n";
    let space = sweep(&format!("{SWEEP}{late}"));
    let plan = |more: &[&str]| {
        let args = [&["plan", "p.yaml", "--offline"], more].concat();
        space.call(&args).exits(0).stderr
    };
    let shown = plan(&[]);
    let says = |shown: &str, line: &str| assert!(shown.contains(line), "{line}: {shown}");
    let open = |stage: &str| {
        format!("`{stage}` may be unable to run offline, by the choice of `choose`: ")
    };
    says(
        &shown,
        &format!(
            "{}`https://data.invalid/0.0001` and 2 more are not on this machine",
            open("late")
        ),
    );
    says(
        &shown,
        &format!(
            "{}`file:///nowhere/0.0001` is no file here; and 2 more files are not there",
            open("near")
        ),
    );
    space.write("copies/0.0001", "here");
    space.write("copies/0.001", "here");
    let mirror = ["--mirror", "https://data.invalid/=copies/"];
    let shown = plan(&mirror);
    says(
        &shown,
        &format!(
            "{}the mirror has no file for `https://data.invalid/0.0003` (looked for",
            open("late")
        ),
    );
    space.run(&["choose"]).exits(0);
    // The best by its mean.
    let chosen = "0.0003";
    let shown = plan(&mirror);
    says(
        &shown,
        &format!(
            "`late` cannot run offline: the mirror has no file for `https://data.invalid/{chosen}` (looked for"
        ),
    );
    space.write(&format!("copies/{chosen}"), "here");
    assert!(!plan(&mirror).contains("`late` cannot run"));
}

#[test]
fn a_test_split_is_refused() {
    let space = sweep(
        &SWEEP
            .replace("\\\"dev\\\"", "\\\"test\\\"")
            .replace(", where: { split: dev }", ""),
    );
    space
        .run(&["choose"])
        .exits(1)
        .says("a number of the split `test` must not choose")
        .says("`f1` = 80.1 of `toy`, the split `test`, from `scores[rate=0.0001,seed=1]`")
        .says("choose on the development split");
    space.write("p.yaml", SWEEP.replace("split: dev }", "split: test }"));
    space
        .call(&["check", "p.yaml"])
        .exits(2)
        .says("`where.split` of stage `choose`: `test` is a split of test, which must not choose");
}

#[test]
fn missing_replicates_are_refused_and_allowed() {
    // One instance leaves no f1, as a model that failed to learn may.
    let gap = SWEEP.replace(
        "        echo \"{\\\"metric\\\": \\\"f1\\\"",
        "        [ \"$(cat value)\" = none ] || echo \"{\\\"metric\\\": \\\"f1\\\"",
    );
    let space = sweep(&gap.replace("> rows.jsonl\n        echo", ">> rows.jsonl\n        echo"));
    space.write("dev/0.0003-2", "none\n");
    space
        .run(&["choose", "-j2"])
        .exits(1)
        .says("1 number `f1` is missing")
        .says("`rate=0.0003` has no `f1` for seed=2")
        .says("`missing: allow`");
    let text = space
        .read("p.yaml")
        .replace("metric: f1, where", "metric: f1, missing: allow, where");
    space.write("p.yaml", text);
    space
        .run(&["choose"])
        .exits(0)
        .says("`rate=0.0003` has no `f1` for seed=2");
    assert!(
        result(&space, "choose.table")
            .contains("| 1 | 0.0003 | 84.2000 | 0.1414 | 2 | 84.1000 | - | 84.3000 |"),
        "{}",
        result(&space, "choose.table")
    );

    // A combination whose seeds were never planned is as incomplete.
    let text = SWEEP.replace("matrix: { rate: [1.0e-4, 3.0e-4, 1.0e-3] }\n    replicate: { seed: [1, 2, 3] }", "matrix: { rate: [1.0e-4, 3.0e-4, 1.0e-3], seed: [1, 2, 3], exclude: [{ rate: 1.0e-3, seed: 3 }] }").replace("over: [rate]", "over: [rate], mean_over: [seed]").replace("${replicate.seed}' } }\n    outputs: { model: model }\n  score", "${matrix.seed}' } }\n    outputs: { model: model }\n  score").replacen("-${replicate.seed}", "-${matrix.seed}", 1);
    let space = sweep(&text);
    space
        .run(&["choose", "-j2"])
        .exits(1)
        .says("`rate=0.001` has no `f1` for seed=3");
}

#[test]
fn ties_go_where_they_are_sent() {
    let space = sweep(SWEEP);
    for seed in 1..=3 {
        // The same three numbers in another order: means are equal to the last bit.
        space.write(&format!("dev/0.0001-{seed}"), format!("0.{seed}\n"));
        space.write(&format!("dev/0.0003-{seed}"), format!("0.{}\n", 4 - seed));
        space.write(&format!("dev/0.001-{seed}"), "0.1\n");
    }
    let chosen = |ties: &str| {
        space.write(
            "p.yaml",
            SWEEP.replace(
                "metric: f1, where",
                &format!("metric: f1, ties: {ties}, where"),
            ),
        );
        space.run(&["choose", "-j2"]).exits(0);
        choice(&space, "choose")["rate"].as_f64().expect("a number")
    };
    assert_eq!(
        [chosen("first"), chosen("smallest"), chosen("largest")],
        [1e-4, 1e-4, 3e-4]
    );
}

#[test]
fn what_the_grid_cannot_give_is_refused_at_check() {
    let wrong = |from: &str, to: &str| -> Ran {
        let text = SWEEP.replacen(from, to, 1);
        assert_ne!(text, SWEEP);
        sweep(&text).call(&["check", "p.yaml"]).exits(2)
    };
    wrong("run at ${choose.rate}", "run at ${choose.rte}")
        .says("`${choose.rte}` refers to an axis that `choose` does not choose")
        .says("did you mean `rate`?");
    // Every value the axis may come to is bound: one that is no number is refused before anything runs.
    let more = "  more:\n    kind: finetune\n    needs: { data: data/x, vocabulary: data/y }\n    with: { name: x, size: tiny, epochs: 1, learning_rate: '${choose.rate}', seed: 1 }\n";
    let text = format!("{SWEEP}{more}").replace("3.0e-4", "quick");
    sweep(&text)
        .call(&["check", "p.yaml"])
        .exits(2)
        .says("`learning_rate` of stage `more` is a string, not a number")
        .says("defined here");
    wrong("seed: 1 } } }\n    with", "seed: 9 } } }\n    with")
        .says("the axis `seed` of stage `tune` has no value `9`");
    wrong("over: [rate]", "over: [seed]")
        .says("does not say what becomes of the axis `rate` of `score`");
}

#[test]
fn each_task_has_its_choice() {
    let pipeline = "\
stages:
  score:
    kind: command
    matrix: { task: [a, b], rate: [1, 2] }
    replicate: { seed: [1, 2] }
    needs: { value: './${matrix.task}${matrix.rate}' }
    with: { script: 'echo \"{\\\"metric\\\": \\\"loss\\\", \\\"split\\\": \\\"dev\\\", \\\"value\\\": $(cat value)}\" > rows.jsonl', params: { seed: '${replicate.seed}' } }
    numbers: rows.jsonl
  choose:
    kind: select
    matrix: { task: [a, b] }
    needs: { scores: { all: score } }
    with: { over: [rate], metric: loss, goal: min }
  final:
    kind: command
    matrix: { from: choose }
    with: { argv: [sh, -c, 'echo ${matrix.task} ${choose.rate} > out'] }
    outputs: { out: out }
";
    let space = Space::with(pipeline);
    for (file, value) in [("a1", "3"), ("a2", "2"), ("b1", "1.5"), ("b2", "2.5")] {
        space.write(file, value);
    }
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [12, 12, 0, 0, 0]);
    assert_eq!(result(&space, "final[a].out"), "a 2\n");
    assert_eq!(result(&space, "final[b].out"), "b 1\n");
    // What one task scores does not touch the other's choice.
    space.write("a1", "0.5");
    assert_eq!(
        executed(&space, &[]),
        set(&[
            "score[task=a,rate=1,seed=1]",
            "score[task=a,rate=1,seed=2]",
            "choose[task=a]",
            "final[task=a]"
        ])
    );
}

#[test]
fn killed_between_the_choice_and_what_waits_for_it_a_run_goes_on() {
    let space = sweep(&SWEEP.replace("script: 'cat params.json start > model'", "script: 'touch STARTED; [ -e GO ] || exec tail -f /dev/null; cat params.json start > model'"));
    let text = space.read("p.yaml");
    let place = |name: &str| space.path(name).display().to_string();
    space.write(
        "p.yaml",
        text.replace("STARTED", &place("started"))
            .replace("GO", &place("go")),
    );
    let mut runner = space
        .command(&["run", "p.yaml", "-j2"])
        .spawn()
        .expect("it starts");
    wait_until("what waits begins", || space.exists("started"));
    let pid = i32::try_from(runner.id()).expect("a process number");
    let targets = [supervisors(pid), vec![pid], of_stages(space.root())].concat();
    for target in targets {
        signal(target, Signal::KILL);
    }
    runner.wait().expect("it ends");
    space.write("go", "");
    let ran = executed(&space, &["-j2"]);
    assert!(
        !ran.contains("choose") && !ran.iter().any(|stage| stage.starts_with("score")),
        "{ran:?}"
    );
    assert_eq!(
        ran.iter()
            .filter(|stage| stage.starts_with("final"))
            .count(),
        5,
        "{ran:?}"
    );
    assert!(result(&space, "final[seed=15].model").contains("\"rate\": 0.0003"));
}

#[test]
fn a_kept_choice_that_is_no_value_any_more_is_explained() {
    let space = sweep(SWEEP);
    space.run(&[]).exits(0);
    // The best rate leaves the grid; its old choice is kept by hand.
    space.write(
        "p.yaml",
        SWEEP.replace("1.0e-4, 3.0e-4, 1.0e-3", "1.0e-4, 1.0e-3"),
    );
    space
        .run(&["--keep-old", "choose"])
        .says("`choose` chose rate = 0.0003")
        .says("make it again with `--force 'choose'`")
        .exits(2);
    space.run(&[]).exits(0);
    assert_eq!(choice(&space, "choose"), json!({"rate": 1e-3}));
    // A record that is gone takes its choice along, whatever the index remembers.
    let records = crate::space::files_below(&space.path("cache/records-v1"));
    for path in records
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
    {
        if fs_err::read_to_string(path)
            .expect("readable")
            .contains("\"choice\"")
        {
            fs_err::remove_file(path).expect("removed");
        }
    }
    assert_eq!(executed(&space, &[]), set(&["choose"]));
}

#[test]
fn the_shipped_sweep_chooses_on_real_data() {
    let Some(shipped) = Shipped::with_data("the shipped sweep") else {
        return;
    };
    let file = "pipelines/sweep.yaml";
    let run = |more: &[&str]| {
        let fixed = [
            "run",
            file,
            "--profile",
            "smoke",
            "--mirrors",
            "tests/mirrors.txt",
            "--offline",
            "--json",
        ];
        shipped.space.call(&[&fixed, more].concat()).exits(0)
    };
    assert_eq!(run(&["-j2"]).counts(), [15, 15, 0, 0, 0]);
    let records = shipped.space.records();
    let chosen = records["choose"]["choice"]["rate"]
        .as_str()
        .expect("a choice");
    assert!(["0.0006", "0.002"].contains(&chosen), "{chosen}");
    let manifest = records["final[seed=11]"]["manifest"]
        .as_str()
        .expect("a text");
    assert!(
        manifest.contains(&format!("config.learning_rate = {chosen}\n")),
        "{manifest}"
    );
    let page = shipped.report("sweep", "report.md");
    assert!(
        page.contains("## The choice") && page.contains("| ncbi-disease |"),
        "{page}"
    );
    assert_eq!(run(&[]).counts(), [15, 0, 15, 0, 0]);
}

/// A choice among nothing is a message at `check`, also where somebody refers to it.
#[test]
fn a_choice_among_nothing_is_said() {
    let space = Space::with(
        "stages:
  score:
    kind: command
    matrix: { lr: [1, 2], task: [a] }
    replicate: { seed: [1] }
    with: { script: 'echo x > m' }
    outputs: { o: m }
    numbers: m.jsonl
  choose: { kind: select, matrix: { task: [a, b] }, needs: { scores: { all: score } }, with: { over: [lr], metric: f1 } }
  final: { kind: command, matrix: { task: [a, b] }, with: { argv: [sh, -c, 'echo ${choose.lr} > out'] }, outputs: { o: out } }
",
    );
    let ran = space.call(&["check", "p.yaml"]).exits(2);
    assert_eq!(
        ran.stderr.matches("spec::no_instance").count(),
        1,
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.matches('×').count(), 1, "{}", ran.stderr);
}
