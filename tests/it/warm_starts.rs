//! A longer training that goes on from the state of a shorter one: what is the same, what is refused, and how it is offered.
//! Knows nothing of networks.

use serde_json::Value;

use crate::long_runs::{killed_when, text};
use crate::space::{Space, files_below};

const MADE: &str = "\
stages:
  vocabulary:
    kind: vocab
    needs: { text: ./text.txt }
    with: { name: made, train: { size: 60, alphabet: 30, reserved: 0 } }
  short:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: made, lengths: [24], seed: 1 }
  long:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: made, lengths: [64], seed: 1 }
";

/// A stage of kind `pretrain` over few steps.
fn pretrain(stage: &str, needs: &str, with: &str) -> String {
    format!(
        "  {stage}:
    kind: pretrain
    needs: {{ examples: short.examples-24, vocabulary: vocabulary{needs} }}
    with:
      name: made
      size: tiny
      sizes: {{ embedding: 32, hidden: 64, layers: 2 }}
      batch: 8
      learning_rate: 1.0e-3
      warmup_steps: 2
      held_out: 20
      evaluate_every: 20
      log_every: 5
      seed: 1
{}",
        with.lines()
            .map(|line| format!("      {line}\n"))
            .collect::<String>()
    )
}

fn space(stages: &[String]) -> Space {
    let space = Space::with(&format!("{MADE}{}", stages.concat()));
    space.write("text.txt", text());
    space
}

fn rewrite(space: &Space, stages: &[String]) {
    space.write("p.yaml", format!("{MADE}{}", stages.concat()));
}

/// Forty steps whose state is kept, and two hundred that go on from it.
fn extended() -> Space {
    space(&[
        pretrain("first", "", "steps: 40\nkeep_state: true"),
        pretrain("train", ", state: first", "steps: 200\nkeep_state: true"),
    ])
}

fn log(space: &Space, stage: &str) -> Vec<Value> {
    let ran = space
        .call(&["path", "p.yaml", &format!("{stage}.log")])
        .exits(0);
    let text = fs_err::read_to_string(ran.stdout.trim()).expect("there");
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn of(lines: &[Value], event: &str, name: &str) -> Vec<Value> {
    let lines = lines.iter().filter(|line| line["event"] == event);
    lines.map(|line| line[name].clone()).collect()
}

fn steps(lines: &[Value], event: &str) -> Vec<u64> {
    let found = of(lines, event, "step").into_iter();
    found.map(|step| step.as_u64().expect("a number")).collect()
}

fn outputs(space: &Space, stage: &str) -> Value {
    space.records()[stage]["outputs"].clone()
}

#[test]
fn steps_of_the_state_are_not_repeated_and_the_bits_are_the_same_however_it_came_there() {
    let straight = extended();
    straight.run(&[]).exits(0);
    let lines = log(&straight, "train");
    let expected: Vec<u64> = (40..200).step_by(5).collect();
    assert_eq!(steps(&lines, "step"), expected);
    assert_eq!(
        steps(&lines, "evaluation"),
        (60..=200).step_by(20).collect::<Vec<u64>>()
    );
    // The rate is that of all steps: 1e-3 (1 - t / 200) after the warm-up.
    for (step, rate) in steps(&lines, "step")
        .iter()
        .zip(of(&lines, "step", "learning_rate"))
    {
        let rate = rate.as_f64().expect("a number");
        assert!((rate - 1e-3 * (1.0 - *step as f64 / 200.0)).abs() < 1e-12);
    }
    straight
        .call(&["log", "p.yaml", "train"])
        .exits(0)
        .stdout
        .contains("the first 40 of 200 updates are those of `state`")
        .then_some(())
        .expect("the log says where it began");
    let record = &straight.records()["train"];
    let manifest = record["manifest"].as_str().expect("text");
    let state = &outputs(&straight, "first")["state"];
    let digest = state["digest"].as_str().expect("a digest");
    assert!(manifest.contains(&format!("input.state = tree {digest}")));

    // Data, masks and dropout of each step are those of one training of 200: only the rate has been another one.
    let whole = space(&[pretrain("train", "", "steps: 200")]);
    whole.run(&[]).exits(0);
    let all = log(&whole, "train");
    let tokens = of(&all, "step", "tokens");
    assert_eq!(of(&lines, "step", "tokens"), tokens[8..]);
    assert_ne!(of(&lines, "step", "loss"), of(&all, "step", "loss")[8..]);

    // Again, on another number of threads; and killed on the way, where its own checkpoint counts, not the state.
    let again = extended();
    let text = again.read("p.yaml");
    again.write("p.yaml", format!("{text}    resources: {{ cores: 2 }}\n"));
    again.run(&[]).exits(0);
    assert_eq!(outputs(&again, "train"), outputs(&straight, "train"));
    let make = || {
        let space = extended();
        space.run(&["first"]).exits(0);
        space
    };
    let killed = killed_when(make, |kept| kept.iter().any(|step| *step > 40));
    killed.run(&[]).exits(0);
    let attempts = &killed.records()["train"]["attempts"];
    assert_eq!(attempts[1]["resumed"], true, "{attempts}");
    assert_eq!(outputs(&killed, "train"), outputs(&straight, "train"));
    assert!(killed.objects() == straight.objects());
}

#[test]
fn a_second_phase_is_gone_on_in_or_begun() {
    let (again, more) = (
        "second: { steps: 20, batch: 4 }",
        "second: { steps: 40, batch: 4 }",
    );
    let stages = |steps: u64, with: &str, state: &str| {
        let needs = format!(", second: long.examples-64{state}");
        pretrain("train", &needs, &format!("steps: {steps}\n{with}"))
    };
    let two = pretrain(
        "first",
        ", second: long.examples-64",
        &format!("steps: 40\nkeep_state: true\n{again}"),
    );
    let one = pretrain("first", "", "steps: 40\nkeep_state: true");
    // The first phase ends at 20 in both; and a state of the first phase alone goes on into a second.
    for (first, steps, second) in [(&two, 60, more), (&one, 80, again)] {
        let parts = space(&[first.clone(), stages(steps, second, ", state: first")]);
        parts.run(&[]).exits(0);
        let whole = space(&[stages(steps, second, "")]);
        whole.run(&[]).exits(0);
        let (lines, all) = (log(&parts, "train"), log(&whole, "train"));
        assert_eq!(steps_of(&lines)[0], 40);
        let tokens = of(&all, "step", "tokens");
        assert_eq!(of(&lines, "step", "tokens"), tokens[8..]);
    }
    // What had another place for the border has read other examples by then.
    let both = |second: &str| [two.clone(), stages(60, second, ", state: first")];
    let space = space(&both(again));
    (space.run(&[]).exits(1))
        .says("the second phase of `state` began after 20 updates, here it begins after 40")
        .says("`second: { steps: 40 }`");
    rewrite(&space, &both("second: { steps: 40 }"));
    (space.run(&[]).exits(1))
        .says("`state` is of another training")
        .says("`second.batch`: 4 in the state, 8 here");
    rewrite(
        &space,
        &[
            two.clone(),
            pretrain("train", ", state: first", "steps: 60"),
        ],
    );
    (space.run(&[]).exits(1)).says("began after 20 updates, here there is none");
    rewrite(
        &space,
        &[one, stages(60, "second: { steps: 30 }", ", state: first")],
    );
    (space.run(&[]).exits(1))
        .says("the second phase begins after 30 updates, and `state` stands at 40")
        .says("`second.steps` is at most 20 here");
}

fn steps_of(lines: &[Value]) -> Vec<u64> {
    steps(lines, "step")
}

#[test]
fn a_state_of_another_training_is_refused_with_what_differs() {
    let first = pretrain("first", "", "steps: 4\nkeep_state: true\nsnapshots: [2]");
    let space = space(&[]);
    let refused = |needs: &str, with: &str| {
        let state = format!(", state: first{needs}");
        rewrite(&space, &[first.clone(), pretrain("train", &state, with)]);
        space.run(&[]).exits(1)
    };
    refused("", "steps: 4").says("`state` stands at 4 updates, and `steps` is 4");
    refused("", "steps: 8\nsnapshots: [2, 6]")
        .says("`snapshots` asks for 2, and `state` stands at 4 updates already");
    refused("", "steps: 8\ndropout: 0.2\nweight_decay: 0.1")
        .says("`state` is of another training")
        .says("`dropout`: its default in the state, 0.2 here")
        .says("`weight_decay`: its default in the state, 0.1 here")
        .says("only `name`, `steps`, `warmup_steps`");
    refused(", start: first", "steps: 8").says("`state` and `start` are both given");
    let other = |from: &str, to: &str| {
        let train = pretrain("train", ", state: first", "steps: 8");
        assert!(train.contains(from));
        rewrite(&space, &[first.clone(), train.replace(from, to)]);
        space.run(&[]).exits(1)
    };
    other("seed: 1", "seed: 2").says("`seed`: 1 in the state, 2 here");
    other("layers: 2", "layers: 3").says(r#""layers":2} in the state, "#);
    other("short.examples-24", "long.examples-64").says("the input `examples` is another one");
    // What is no state, and one that is damaged.
    let model = space.call(&["get", "p.yaml", "first.model", "--to", "made"]);
    model.exits(0);
    other("state: first", "state: ./made/model").says("`state` is no state of a pre-training");
    let got = space.call(&["get", "p.yaml", "first.state", "--to", "got"]);
    got.exits(0);
    let weights = space.path("got/kept-state/first_moments.safetensors");
    let mut bytes = fs_err::read(&weights).expect("readable");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs_err::remove_file(&weights).expect("removed");
    fs_err::write(&weights, bytes).expect("written");
    other("state: first", "state: ./got/kept-state")
        .says("`state` cannot be read")
        .says("`first_moments.safetensors` does not match its checksum");
    // A stage without one has no such output, which is said before anything runs.
    let train = pretrain("train", ", state: first", "steps: 8");
    rewrite(&space, &[first.replace("keep_state: true", ""), train]);
    (space.call(&["check", "p.yaml"]).exits(2))
        .says("stage `first` leaves no output `state`")
        .says("set `keep_state: true` in its `with:`");
}

#[test]
fn what_may_differ_does_and_the_reference_goes_on_from_the_engines_state() {
    let first = pretrain("first", "", "steps: 10\nkeep_state: true");
    let change = |stage: String| {
        stage
            .replace("name: made", "name: other")
            .replace("learning_rate: 1.0e-3", "learning_rate: 5.0e-4")
            .replace("warmup_steps: 2", "warmup_steps: 12")
            .replace("evaluate_every: 20", "evaluate_every: 4")
            .replace("log_every: 5", "log_every: 1")
    };
    let longer = |name: &str| {
        let with = "steps: 20\nsnapshots: [15]";
        change(pretrain(name, ", state: first", with))
    };
    let reference = format!(
        "{}    resources: {{ device: reference }}\n",
        longer("reference")
    );
    let space = space(&[first, longer("train"), reference]);
    space.run(&[]).exits(0);
    assert!(space.records()["train"]["outputs"]["snapshot-15"].is_object());
    let (engine, other) = (log(&space, "train"), log(&space, "reference"));
    assert_eq!(steps(&engine, "step"), (10..20).collect::<Vec<u64>>());
    assert_eq!(engine.len(), other.len());
    for (ours, theirs) in engine.iter().zip(&other) {
        for (name, value) in ours.as_object().expect("an object") {
            let Some(value) = value.as_f64() else {
                continue;
            };
            let other = theirs[name].as_f64().expect("a number");
            let apart = (value - other).abs() / value.abs().max(1.0);
            assert!(apart < 1e-4, "{name}: {ours} {theirs}");
        }
    }
}

#[test]
fn more_steps_offer_what_can_be_gone_on_from() {
    let first = |with: &str| pretrain("train", "", with);
    let reader = "  after:
    kind: command
    needs: { model: train.model }
    with: { argv: [cp, model/config.json, out] }
    outputs: { out: out }
";
    let file = |with: &str| [first(with), reader.to_owned()];
    let space = space(&file("steps: 40\nkeep_state: true\nsnapshots: [20]"));
    space.run(&[]).exits(0);
    rewrite(
        &space,
        &file("steps: 80\nkeep_state: true\nsnapshots: [20, 60]"),
    );
    let need_not =
        "`train` need not begin anew: it can go on where its last result ends, at steps 40";
    (space.call(&["plan", "p.yaml"]).exits(0))
        .says(need_not)
        .says("`pipeline why p.yaml 'train'` has the lines");
    let rows = space.call(&["plan", "p.yaml", "--json"]).exits(0).stdout;
    let rows: Value = serde_json::from_str(&rows).expect("JSON");
    let row = |stage: &str| {
        let rows = rows.as_array().expect("a list").iter();
        rows.clone().find(|row| row["stage"] == stage).cloned()
    };
    let offer = &row("train").expect("a row")["offer"];
    assert_eq!(
        [&offer["key"], &offer["from"], &offer["to"], &offer["state"]],
        [
            &"steps".into(),
            &40.into(),
            &80.into(),
            &Value::from("kept")
        ]
    );
    assert!(row("after").expect("a row").get("offer").is_none());
    (space.run(&["--confirm-over", "0s"]).exits(2))
        .says("`train` would be remade, and it was costly")
        .says(need_not)
        .says("to go on from it: `pipeline why FILE 'train'` has the lines");

    // The lines as they are, below the stage as it was: one stage runs, and goes on.
    let why = space.call(&["why", "p.yaml", "train"]).exits(0).stdout;
    let sentence =
        "leave `train` at `steps: 40`, add this stage, and let what reads `train` read `train-80`:";
    let (_, lines) = why.split_once(sentence).expect("what to do");
    let old = file("steps: 40\nkeep_state: true\nsnapshots: [20]").concat();
    let moved = old.replace("train.model", "train-80.model");
    space.write("p.yaml", format!("{MADE}{moved}{}", &lines[1..]));
    let counts = space.run(&["--json"]).exits(0).counts();
    // And what reads the model, which is another one now.
    assert_eq!(counts, [6, 2, 4, 0, 0]);
    assert_eq!(steps(&log(&space, "train-80"), "step")[0], 40);
    let made = outputs(&space, "train-80");
    assert!(made["snapshot-60"].is_object() && made["snapshot-20"].is_null());

    // Anything else that changed, or fewer steps, is another training.
    for other in [
        file("steps: 80\nkeep_state: true\ndropout: 0.2"),
        file("steps: 30\nkeep_state: true"),
    ] {
        rewrite(&space, &other);
        space
            .call(&["plan", "p.yaml"])
            .exits(0)
            .says_not("go on where");
    }

    // Without its bytes it is told why not.
    rewrite(&space, &file("steps: 80\nkeep_state: true"));
    let digest = outputs(&space, "train")["state"]["digest"].clone();
    let digest = digest.as_str().expect("a digest");
    let object = format!("cache/objects-v1/{}/{}", &digest[..2], &digest[2..]);
    fs_err::remove_file(space.path(&object)).expect("removed");
    let why = space.call(&["why", "p.yaml", "train"]).exits(0).stdout;
    assert!(why.contains("is not in the cache any more"), "{why}");
    assert!(!why.contains("leave `train`"), "{why}");
}

#[test]
fn a_result_without_a_state_says_what_would_have_kept_it_and_instances_are_told_together() {
    let file = |steps: u64, with: &str| {
        let stage = pretrain("train", "", &format!("steps: {steps}{with}"));
        let replicate = "kind: pretrain\n    replicate: { seed: [1, 2] }";
        let stage = stage.replace("kind: pretrain", replicate);
        [stage.replace("seed: 1\n", "seed: ${replicate.seed}\n")]
    };
    let space = space(&file(4, ""));
    space.run(&[]).exits(0);
    rewrite(&space, &file(12, ""));
    let would =
        "could have gone on at steps 4 if its last result had been made with `keep_state: true`";
    (space.call(&["plan", "p.yaml"]).exits(0))
        .says(&format!("`train[seed=1]` {would}"))
        .says("and 1 more instances of it")
        .says_not("has the lines");
    // Turning it on now is too late for what is there, and is said no other way.
    rewrite(&space, &file(12, "\nkeep_state: true"));
    let why = space.call(&["why", "p.yaml", "train[1]"]).exits(0).stdout;
    assert!(why.contains(would), "{why}");

    space.run(&[]).exits(0);
    rewrite(&space, &file(20, "\nkeep_state: true"));
    let why = space.call(&["why", "p.yaml", "train[2]"]).exits(0).stdout;
    // References stay references: only what differs is written down.
    let lines = "  train-20:   # the rest as in `train`
    needs: { state: train.state }
    with: { steps: 20 }
";
    assert!(why.contains(lines), "{why}");
    let old = file(12, "\nkeep_state: true").concat();
    let new = old
        .replace("  train:", "  train-20:")
        .replace("vocabulary }", "vocabulary, state: train.state }")
        .replace("steps: 12", "steps: 20");
    rewrite(&space, &[old, new]);
    let counts = space.run(&["--json"]).exits(0).counts();
    assert_eq!(counts, [7, 2, 5, 0, 0]);
}

#[test]
fn a_state_is_let_go_of_once_it_was_used() {
    let first = pretrain("first", "", "steps: 4\nkeep_state: true");
    let first = format!("{first}    outputs: {{ state: {{ keep: until_used }} }}\n");
    let space = space(&[first, pretrain("train", ", state: first", "steps: 8")]);
    space.run(&["first"]).exits(0);
    let is_there = || {
        let digest = outputs(&space, "first")["state"]["digest"].clone();
        let digest = digest.as_str().expect("a digest").to_owned();
        let objects = files_below(&space.path("cache/objects-v1"));
        objects.iter().any(|path| path.ends_with(&digest[2..]))
    };
    assert!(is_there(), "`train` has yet to read it");
    space.run(&[]).exits(0);
    assert!(!is_there());
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [5, 0, 5, 0, 0]);
}
