//! `pipeline results` and `pipeline diff`: what they say of finished, failed, running and missing instances.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::processes::{signal, supervisors};
use crate::space::{Space, wait_until};

/// Two rates over four seeds. The numbers are made up; seed 3 of rate 2 fails.
const SWEEP: &str = r#"
params: { bonus: 0 }
stages:
  read:
    kind: command
    with: { argv: [sh, -c, "echo text > text"] }
    outputs: { text: text }
  tune:
    kind: command
    matrix: { rate: [1, 2] }
    replicate: { seed: [1, 2, 3, 4] }
    needs: { text: read }
    with:
      script: |
        rate=$(sed -n 's/.*"rate": *\([0-9]*\).*/\1/p' params.json)
        seed=$(sed -n 's/.*"seed": *\([0-9]*\).*/\1/p' params.json)
        [ "$rate$seed" = 23 ] && exit 1
        for split in dev test; do
          echo "{\"dataset\": \"ddi\", \"split\": \"$split\", \"metric\": \"f1\", \"value\": 9$seed.$rate}"
        done > scores.jsonl
        echo '{"dataset": "ddi", "split": "test", "metric": "f1", "class": "effect", "value": 0.5}' >> scores.jsonl
        echo '{"dataset": "ddi", "split": "test", "metric": "examples", "value": 10}' >> scores.jsonl
      params: { rate: "${matrix.rate}", seed: "${replicate.seed}", epochs: 3 }
    outputs: { scores: scores.jsonl }
    numbers: scores.jsonl
"#;

fn sweep() -> Space {
    let space = Space::with(SWEEP);
    space.run(&["-k"]).exits(1);
    space
}

fn results(space: &Space, more: &[&str]) -> String {
    space
        .call(&[&["results", "p.yaml"], more].concat())
        .exits(0)
        .stdout
}

fn json(space: &Space, more: &[&str]) -> Value {
    let text = results(space, &[more, &["--json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// Cells of the lines below the two headings of the only table.
fn cells(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().skip(2);
    lines
        .map(|line| line.split_whitespace().collect())
        .collect()
}

fn states(space: &Space) -> Vec<(String, String)> {
    let rows = json(space, &[]);
    let rows = rows.as_array().expect("rows").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    rows.map(|row| (text(&row["instance"]), text(&row["state"])))
        .collect()
}

#[test]
fn a_row_an_instance_with_axes_numbers_and_state() {
    let space = sweep();
    let ran = space.call(&["results", "p.yaml"]).exits(0);
    assert!(
        ran.stdout
            .starts_with("tune (command): 7 cached, 1 failed\n"),
        "{}",
        ran.stdout
    );
    let heading = ran.stdout.lines().nth(1).expect("a heading");
    let heading: Vec<&str> = heading.split_whitespace().collect();
    assert_eq!(
        heading,
        [
            "rate",
            "seed",
            "dev/f1",
            "test/f1",
            "test/examples",
            "test/f1[effect]",
            "STATE",
            "TIME"
        ]
    );
    let rows = cells(&ran.stdout);
    assert_eq!(rows.len(), 8);
    assert_eq!(
        rows[0][..7],
        ["1", "1", "91.10", "91.10", "10", "0.5000", "cached"]
    );
    assert_eq!(rows[6], ["2", "3", "failed"]);
    ran.says("the same in all: epochs=3").says_not("seed=");
    // A stage whose numbers nobody can wait for is shown when it is named.
    assert!(results(&space, &["read"]).starts_with("read (command): 1 cached\n"));

    space.write("p.yaml", SWEEP.replace("epochs: 3", "epochs: 4"));
    let rows = json(&space, &["tune[rate=1,seed=2]"]);
    assert_eq!(rows[0]["state"], "outdated");
    assert_eq!(rows[0]["because"], "config.params.epochs: 3 -> 4");
    assert_eq!(rows[0]["parameters"]["params"]["epochs"], 4);
    assert_eq!(
        (rows[0]["axes"]["seed"].as_u64(), &rows[0]["numbers"]),
        (Some(2), &Value::Array(vec![]))
    );
}

#[test]
fn rows_are_chosen_sorted_and_cut_to_columns() {
    let space = sweep();
    let chosen = |more: &[&str]| {
        let text = results(&space, &[more, &["--columns", "rate,seed"]].concat());
        let rows = cells(&text).into_iter();
        rows.map(|row| row.concat()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(chosen(&["--where", "dev/f1>=93"]), "13 14 24");
    assert_eq!(
        chosen(&["--where", "test/f1<92", "--where", "rate!=1"]),
        "21"
    );
    assert_eq!(
        chosen(&["--where", "rate=2.0", "--where", "state=cached"]),
        "21 22 24"
    );
    assert_eq!(
        chosen(&[
            "--where",
            "epochs=3",
            "--where",
            "ddi/test/f1[effect]=0.5",
            "--where",
            "seed=1"
        ]),
        "11 21"
    );
    assert_eq!(
        chosen(&["--where", "rate=2", "--sort", "-dev/f1"]),
        "24 22 21 23"
    );
    assert_eq!(
        chosen(&["--where", "rate=2", "--sort", "dev/f1", "--descending"]),
        "24 22 21 23"
    );
    assert_eq!(chosen(&["tune[rate=1]", "--sort", "-seed"]), "14 13 12 11");
    space
        .call(&["results", "p.yaml", "--where", "rate=7"])
        .exits(0)
        .says("no instance passes");
    for (arguments, message) in [
        (
            ["--where", "f1>90"],
            "write one of `ddi/dev/f1` and `ddi/test/f1`",
        ),
        (["--where", "rat=1"], "did you mean `rate`?"),
        (["--where", "rate>fast"], "compares numbers"),
        (
            ["--sort", "f2"],
            "no row has an axis, a parameter or a number `f2`",
        ),
        (["--over", "sed"], "did you mean `seed`?"),
        (
            ["--compare", "rate=1,5"],
            "the axis `rate` has no value `5`",
        ),
        (["--compare", "lr"], "no selected stage has an axis `lr`"),
        (["--compare", "seed"], "no axis besides `seed` to pair by"),
    ] {
        space
            .call(&[&["results", "p.yaml"][..], &arguments[..]].concat())
            .exits(2)
            .says(message);
    }
}

#[test]
fn means_show_what_is_missing_and_why() {
    let space = sweep();
    let ran = space
        .call(&["results", "p.yaml", "--mean", "--columns", "test/f1"])
        .exits(0);
    // 91.1 … 94.1: mean 92.6, s = √(5/3) = 1.29. Without seed 3: 91.2, 92.2, 94.2, mean 92.53, s = 1.53.
    let rows = cells(&ran.stdout);
    assert_eq!(rows[0], ["1", "4", "92.60", "±", "1.29"]);
    assert_eq!(rows[1], ["2", "3", "of", "4", "92.53", "±", "1.53"]);
    ran.says("missing of rate=2: seed=3 (failed)");
    let lines = json(
        &space,
        &["--mean", "--where", "test/f1<94", "--columns", "test/f1"],
    );
    assert_eq!(lines[0]["n"], 3);
    assert_eq!(
        lines[0]["expected_n"], 4,
        "what a number lets through is no smaller plan"
    );
    assert_eq!(lines[0]["missing"][0]["because"], "left out by --where");
    let over = json(&space, &["--over", "rate", "--columns", "dev/f1"]);
    assert_eq!(
        (over[0]["axes"]["seed"].as_u64(), over[0]["n"].as_u64()),
        (Some(1), Some(2))
    );
    // A stage none of whose repetitions has a number is there, with nothing in it.
    space.write("p.yaml", SWEEP.replace("epochs: 3", "epochs: 4"));
    let ran = space.call(&["results", "p.yaml", "--mean"]).exits(0);
    assert_eq!(cells(&ran.stdout)[0], ["1", "0", "of", "4"]);
}

#[test]
fn means_over_several_devices_are_told() {
    let space = sweep();
    let told = "made on different devices of rate=1: ";
    let ran = space.call(&["results", "p.yaml", "--mean"]).exits(0);
    ran.says_not("made on different devices");
    // One seed of one rate was made elsewhere; the index is forgotten, so that records tell.
    let record = crate::space::files_below(&space.path("cache/records-v1"))
        .into_iter()
        .find(|path| {
            fs_err::read_to_string(path).is_ok_and(|text| {
                path.extension().is_some_and(|e| e == "json")
                    && text.contains("tune[rate=1,seed=2]")
            })
        })
        .expect("a record");
    let text = fs_err::read_to_string(&record).expect("readable");
    let other = text.replace(r#""device":"cpu""#, r#""device":"cuda:0""#);
    assert_ne!(other, text);
    fs_err::write(&record, other).expect("written");
    fs_err::remove_file(space.path("cache/records-v1/index")).expect("removed");
    let ran = space.call(&["results", "p.yaml", "--mean"]).exits(0);
    let ran = ran.says(&format!("{told}cpu, cuda:0"));
    ran.says_not("different devices of rate=2");
    let lines = json(&space, &["--mean"]);
    assert_eq!(lines[0]["devices"], "cpu, cuda:0");
}

#[test]
fn two_settings_are_compared_over_the_same_seeds() {
    let space = sweep();
    let ran = space
        .call(&[
            "results",
            "p.yaml",
            "--compare",
            "rate=1,2",
            "--columns",
            "test/f1",
        ])
        .exits(0);
    assert!(
        ran.stdout.starts_with("rate: 2 minus 1, paired by seed\n"),
        "{}",
        ran.stdout
    );
    // Each seed gains 0.1: no spread for a t-test, and 2 of 8 choices of signs.
    let rows = cells(&ran.stdout);
    assert_eq!(
        rows[0][..4],
        ["test/f1", "92.43", "92.53", "+0.10"],
        "{rows:?}"
    );
    assert!(ran.stdout.contains("3 of 4"), "{}", ran.stdout);
    ran.says("exact sign-flip permutation test")
        .says("the smallest exact p there can be: 0.250 with n = 3")
        .says("pairs left out: seed=3 (rate=2 failed)")
        .says("no t-test where there is one pair, or the differences are all the same");
    let found = json(&space, &["--compare", "rate"]);
    // `test/examples` is equal in every pair, and counts.
    assert_eq!(found["tests"], 3);
    assert_eq!(found["equal"], serde_json::json!(["test/examples"]));
    let first = &found["comparisons"][0];
    assert_eq!(
        (first["p_exact"].as_f64(), first["holm_exact"].as_f64()),
        (Some(0.25), Some(0.75))
    );
    assert_eq!(
        (&first["p_t"], first["n"].as_u64()),
        (&Value::Null, Some(3))
    );
    assert_eq!(first["left_out"][0], "seed=3 (rate=2 failed)");
}

/// Two rates on three tasks over six seeds: `f1` differs for task `a` only, `same` nowhere, `shift` by 1 everywhere.
const FAMILY: &str = r#"
stages:
  tune:
    kind: command
    matrix: { lr: [1, 2], task: [a, b, c] }
    replicate: { seed: [1, 2, 3, 4, 5, 6] }
    with:
      script: |
        lr=$(sed -n 's/.*"lr": *\([0-9]*\).*/\1/p' params.json)
        seed=$(sed -n 's/.*"seed": *\([0-9]*\).*/\1/p' params.json)
        f1=$((80 + seed))
        grep -q '"task": *"a"' params.json && f1=$((80 + lr * seed))
        echo "{\"f1\": $f1, \"same\": 10, \"shift\": $((seed + lr))}" > scores.json
      params: { lr: "${matrix.lr}", task: "${matrix.task}", seed: "${replicate.seed}" }
    outputs: { scores: scores.json }
    numbers: scores.json
"#;

#[test]
fn comparisons_without_a_difference_or_a_t_test_count_in_the_correction() {
    let space = Space::with(FAMILY);
    space.run(&[]).exits(0);
    let compare = |columns| ["--compare", "lr", "--columns", columns];
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    };

    // Five of six are equal, and the smallest p is still one of six.
    let found = json(&space, &compare("f1,same"));
    assert_eq!(found["tests"], 6);
    assert_eq!(found["equal"], serde_json::json!(["same", "f1"]));
    let only = &found["comparisons"][0];
    assert_eq!(found["comparisons"].as_array().map(Vec::len), Some(1));
    near(&only["p_exact"], 0.03125);
    near(&only["holm_exact"], 6.0 * 0.03125);
    near(&only["holm_t"], 6.0 * only["p_t"].as_f64().expect("p"));
    let ran = space.call(&[&["results", "p.yaml"][..], &compare("f1,same")].concat());
    let ran = ran.exits(0);
    assert!(ran.stdout.contains("0.188"), "{}", ran.stdout);
    ran.says("6 comparisons were made, 5 of them equal in every pair")
        .says("corrected for all 6");

    // Differences that are all 1 have no t, and count all the same.
    let found = json(&space, &compare("f1,shift"));
    assert_eq!(found["tests"], 6);
    for one in found["comparisons"].as_array().expect("comparisons") {
        near(&one["holm_exact"], 6.0 * 0.03125);
        match one["number"].as_str() {
            Some("f1") => near(&one["holm_t"], 6.0 * one["p_t"].as_f64().expect("p")),
            _ => assert_eq!((&one["p_t"], &one["holm_t"]), (&Value::Null, &Value::Null)),
        }
    }
    space
        .call(&[&["results", "p.yaml"][..], &compare("f1,shift")].concat())
        .exits(0)
        .says("a p that is missing counts as 1");
}

#[test]
fn pairs_left_out_are_told_of_comparisons_that_came_out_equal() {
    let space = sweep();
    let compare = ["--compare", "rate", "--columns", "test/examples"];
    let ran = space.call(&[&["results", "p.yaml"][..], &compare].concat());
    ran.exits(0)
        .says("equal in every pair")
        .says("pairs left out: seed=3 (rate=2 failed)");
    let found = json(&space, &compare);
    assert_eq!(found["tests"], 1);
    assert_eq!(
        found["left_out"],
        serde_json::json!(["seed=3 (rate=2 failed)"])
    );
}

#[test]
fn files_hold_every_column() {
    let space = sweep();
    let csv = results(&space, &["--csv", "--sort", "-dev/f1"]);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(
        lines[0],
        "stage,instance,kind,rate,seed,with.params.epochs,with.params.rate,with.params.seed,dev/f1,test/f1,test/f1[effect],test/examples,state,seconds,device,because,key"
    );
    assert!(
        lines[1].starts_with(
            "tune,\"tune[rate=2,seed=4]\",command,2,4,3,2,4,94.2,94.2,0.5,10.0,cached,"
        )
    );
    assert!(
        lines[8].starts_with("tune,\"tune[rate=2,seed=3]\",command,2,3,3,2,3,,,,,failed,,,failed ")
    );
    let means = results(&space, &["--mean", "--csv", "--columns", "dev/f1"]);
    assert!(
        means
            .lines()
            .nth(2)
            .is_some_and(|line| line.starts_with("tune,2,seed,dev/f1,92.53")
                && line.ends_with(",seed=3 failed")),
        "{means}"
    );
    assert_eq!(results(&space, &["--parquet", "all.parquet"]), "");
    let bytes = fs_err::read(space.path("all.parquet")).expect("written");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    space
        .call(&["results", "p.yaml", "--parquet", "no/such/folder.parquet"])
        .exits(3)
        .says("name a file in a folder that exists");
}

/// Each seed waits until the test opens `gate.SEED` for writing.
const GATES: &str = r#"
stages:
  slow:
    kind: command
    replicate: { seed: [1, 2, 3] }
    env: { SEED: "${replicate.seed}", HERE: { from: environment } }
    with: { script: 'cat "$HERE/gate.$SEED"; echo "{\"f1\": $SEED}" > f1.json' }
    outputs: { f1: f1.json }
    numbers: f1.json
"#;

fn gates() -> (Space, impl Fn(&Space, &[&str]) -> std::process::Command) {
    let space = Space::with(GATES);
    for seed in 1..=3 {
        let gate = space.path(&format!("gate.{seed}"));
        let made = std::process::Command::new("mkfifo")
            .arg(gate)
            .status()
            .expect("mkfifo starts");
        assert!(made.success());
    }
    let command = |space: &Space, arguments: &[&str]| {
        let mut command = space.command(arguments);
        command
            .env("HERE", space.root())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    (space, command)
}

fn states_in(space: &Space) -> String {
    let ran = space
        .command(&["results", "p.yaml", "--json"])
        .env("HERE", space.root())
        .output()
        .expect("starts");
    let rows: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| row["state"].as_str().expect("a state"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn a_run_at_work_is_seen_and_not_disturbed() {
    let (space, command) = gates();
    let mut run = command(&space, &["run", "p.yaml", "-j", "1"])
        .spawn()
        .expect("starts");
    wait_until("the first seed runs", || {
        states_in(&space) == "running waiting waiting"
    });
    // Opening waits for the stage, which then reads to the end.
    fs_err::write(space.path("gate.1"), "").expect("the stage reads");
    wait_until("the second seed runs", || {
        states_in(&space) == "cached running waiting"
    });
    let ran = space
        .command(&["results", "p.yaml", "--mean"])
        .env("HERE", space.root())
        .output()
        .expect("starts");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        text.contains("means over seed: 1 cached, 1 running, 1 waiting"),
        "{text}"
    );
    assert!(text.contains("1 of 3"), "{text}");
    for seed in 2..=3 {
        fs_err::write(space.path(&format!("gate.{seed}")), "").expect("the stage reads");
    }
    assert!(run.wait().expect("ends").success());
    assert_eq!(states_in(&space), "cached cached cached");
}

#[test]
fn what_a_run_will_not_come_to_does_not_wait_and_a_killed_one_does_not_run() {
    let (space, command) = gates();
    let mut run = command(&space, &["run", "p.yaml", "slow[2]"])
        .spawn()
        .expect("starts");
    wait_until("the second seed runs", || {
        states_in(&space) == "outdated running outdated"
    });
    let runner = i32::try_from(run.id()).expect("a process number");
    let supervisors = supervisors(runner);
    assert!(!supervisors.is_empty());
    for process in supervisors.iter().copied().chain([runner]) {
        signal(process, Signal::KILL);
    }
    run.wait().expect("ends");
    wait_until("nobody is at work", || {
        states_in(&space) == "outdated outdated outdated"
    });
    // What the supervisor could not stop any more reads to its end.
    let gate = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open(space.path("gate.2"));
    drop(gate);
}

#[test]
fn two_runs_side_by_side() {
    let space = sweep();
    space.write(
        "p.yaml",
        SWEEP
            .replace("rate: [1, 2]", "rate: [1, 5]")
            .replace("echo text", "echo other text"),
    );
    space.run(&["-k"]).exits(0);
    let diff = |more: &[&str]| {
        let ran = space.call(&[&["diff", "p.yaml", "latest~1", "latest", "--json"], more].concat());
        serde_json::from_str::<Value>(&ran.exits(0).stdout).expect("JSON")
    };
    let all = diff(&[]);
    let of = |stage: &str, what: &str| {
        let lines = all["differences"].as_array().expect("lines").iter();
        let mut lines = lines.filter(|line| line["left_stage"] == stage && line["what"] == what);
        lines.next().cloned().unwrap_or_default()
    };
    let paired = of("tune[rate=2,seed=1]", "number ddi/test/f1");
    assert_eq!(paired["right_stage"], "tune[rate=5,seed=1]");
    let difference = paired["difference"].as_f64().expect("a number");
    assert!((difference - 0.3).abs() < 1e-9, "{paired}");
    assert_eq!(
        of("tune[rate=1,seed=1]", "number ddi/test/f1"),
        Value::Null,
        "only what differs"
    );
    assert_eq!(
        of("tune[rate=2,seed=2]", "config.params.rate")["right"],
        "5"
    );
    assert_eq!(of("read", "time")["about"], "time");
    assert!(
        all["differences"]
            .as_array()
            .expect("lines")
            .iter()
            .any(|line| line["what"] == "wall time")
    );
    let one = diff(&["tune[seed=4]"]);
    let stages = one["differences"].as_array().expect("lines").iter();
    assert!(
        stages.clone().count() > 0
            && stages.clone().all(|line| line["left_stage"]
                .as_str()
                .is_some_and(|name| name.ends_with("seed=4]")))
    );
    space
        .call(&["diff", "p.yaml", "latest~1", "latest", "tun"])
        .exits(2)
        .says("did you mean `tune`?");
    let text = space
        .call(&["diff", "p.yaml", "latest~1", "latest", "tune[seed=1]"])
        .exits(0)
        .stdout;
    assert!(text.contains("rate=2->5"), "{text}");
    assert_eq!(states(&space).len(), 8);
}
