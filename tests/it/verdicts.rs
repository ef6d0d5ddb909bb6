//! Claims through a whole run: the lines at its end, `--strict`, and runs that are not as their file is written.

use serde_json::Value;

use crate::space::{Ran, Space};

/// Two seeds around 50, two steps behind each other, one parameter that reaches the number and one that does not.
const PIPELINE: &str = "\
params: { steps: 1000, spare: 1, seeds: [1, 2, 3], title: Scores }
profiles: { small: { params: { steps: 10 } } }
stages:
  train:
    kind: command
    replicate: { seed: '${params.seeds}' }
    with: { script: 'cp params.json model', params: { steps: '${params.steps}', seed: '${replicate.seed}' } }
    outputs: { model: model }
  score:
    kind: command
    replicate: { seed: '${params.seeds}' }
    needs: { model: train }
    with:
      script: |
        seed=$(sed -n 's/.*\"seed\": *\\([0-9]*\\).*/\\1/p' model)
        echo \"{\\\"metric\\\": \\\"f1\\\", \\\"value\\\": 50.$seed}\" > rows.jsonl
    numbers: rows.jsonl
  spare:
    kind: command
    with: { script: 'echo 1 > out', params: { spare: '${params.spare}' } }
    outputs: { out: out }
  total:
    kind: aggregate
    replicate: { seed: '${params.seeds}' }
    needs: { scores: { all: score } }
    with:
      published: [{ metric: f1, system: theirs, value: 40 }]
      own: { system: ours }
      steps: [{ metric: share, of: f1, how: share_of_best, by: [metric_of] }]
      groups: [{ column: metric_of, of: system, values: { f1: [ours, theirs] } }]
      fields: { class: system }
  table:
    kind: report
    needs: { scores: { all: score }, totals: { all: total } }
    with: { title: '${params.title}' }
expect:
  - { metric: f1, value: 50.2, tolerance: 0.5, n: 5, source: Table 7 }
  - { metric: share, where: { class: ours }, value: 1, tolerance: 0.1, source: Table 10 }
  - { metric: f1, where: { seed: 1 }, value: 50.1, source: Table 7 }
";

fn lines(ran: &Ran) -> Vec<&str> {
    let text = ran.stderr.as_str();
    let at = text.find("claims of table").expect("claims");
    text[at..].lines().collect()
}

fn claims(space: &Space) -> Vec<Value> {
    space
        .lines("reports/p/latest/claims.jsonl")
        .iter()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect()
}

fn words(space: &Space) -> Vec<String> {
    let verdict = |one: Value| one["verdict"].as_str().expect("a word").to_owned();
    claims(space).into_iter().map(verdict).collect()
}

#[test]
fn a_run_ends_with_a_line_per_claim() {
    let space = Space::with(PIPELINE);
    let ran = space.run(&["--strict"]).exits(0);
    assert_eq!(
        lines(&ran),
        [
            "claims of table: 2 reproduced, 1 inconclusive",
            "  reproduced: f1 (Table 7): 50.20 over 3 against 50.20 ±0.5, difference −0.21 to +0.21",
            "  reproduced: share, class ours (Table 10): 1 over 3 against 1 ±0.1, difference 0 to 0; computed also from numbers typed into the pipeline file (source not stated)",
            "  inconclusive: f1, seed 1 (Table 7): 50.10 against 50.10 ±0.05; one repetition shows no spread",
        ]
    );
    let ran = space.run(&["--json"]).exits(0);
    let summary: Value = serde_json::from_str(&ran.stdout).expect("a summary");
    let counts = &summary["reports"][0]["claims"];
    assert_eq!(
        (&counts["reproduced"], &counts["inconclusive"]),
        (&2.into(), &1.into())
    );
}

#[test]
fn a_shrunk_run_says_so_and_changes_no_other_key() {
    let space = Space::with(PIPELINE);
    space.run(&[]).exits(0);
    let keys = |ran: Ran| -> Vec<(String, String)> {
        let rows: Vec<Value> = serde_json::from_str(&ran.exits(0).stdout).expect("rows");
        let row = |row: &Value| (row["stage"].to_string(), row["state"].to_string());
        rows.iter().map(row).collect()
    };
    // What reaches no number of a claim leaves verdicts and everything cached.
    let plan = |args: &[&str]| keys(space.call(&[&["plan", "p.yaml", "--json"], args].concat()));
    let changed = |rows: Vec<(String, String)>| -> Vec<String> {
        let runs = rows.into_iter().filter(|(_, state)| state != "\"cached\"");
        runs.map(|(stage, _)| stage).collect()
    };
    assert!(changed(plan(&[])).is_empty());
    assert_eq!(changed(plan(&["--set", "spare=2"])), ["\"spare\""]);
    space.run(&["--set", "spare=2"]).exits(0);
    assert_eq!(words(&space), ["reproduced", "reproduced", "inconclusive"]);
    // Who chooses the seeds chooses the result.
    for seeds in ["seeds=[1, 2]", "seeds=[4, 5, 6]", "seeds=[1, 2, 3, 4]"] {
        space.run(&["--set", seeds]).exits(0);
        assert_eq!(words(&space)[0], "not_comparable", "{seeds}");
    }

    let ran = space.run(&["--profile", "small"]).exits(0);
    assert_eq!(lines(&ran)[0], "claims of table: 3 not comparable");
    assert!(
        lines(&ran)[1].ends_with(
            "; not as the file is written: train: params.steps = 10 (the file says 1000)"
        ),
        "{:?}",
        lines(&ran)
    );
    let page = space.read("reports/p/latest/report.md");
    assert!(
        page.contains("- train: params.steps = 10 (the file says 1000)"),
        "{page}"
    );
    // A run that can judge nothing is no success.
    let ran = space.run(&["--profile", "small", "--strict"]).exits(1);
    assert!(
        ran.stderr.contains("no claim of this run could be judged"),
        "{}",
        ran.stderr
    );

    // The same bytes by way of the file itself: then it is as written, and only the report is made.
    let text = PIPELINE.replace("steps: 1000,", "steps: 10,");
    space.write("p.yaml", text);
    assert_eq!(changed(plan(&[])), ["\"table\""]);
    space.run(&[]).exits(0);
    assert_eq!(words(&space), ["reproduced", "reproduced", "inconclusive"]);
}

/// A number is no less reproduced where a variable comes from the environment of the run, but whoever has the file alone
/// has to know. The value stands in keys, where it comes from does not.
#[test]
fn variables_that_the_file_does_not_state_are_told_beside_claims() {
    let outputs = "outputs: { model: model }\n";
    let with_env = |variables: &str| {
        let env = format!("{outputs}    env: {{ {variables} }}\n");
        PIPELINE.replacen(outputs, &env, 1)
    };
    let space = Space::with(&with_env(
        "WIDTH: { from: environment }, TOKEN: { from: environment, secret: true }, STATED: 1",
    ));
    let run = || {
        let mut command = space.command(&["run", "p.yaml"]);
        Ran::of(
            &command
                .env("WIDTH", "3")
                .env("TOKEN", "hush")
                .output()
                .expect("it starts"),
        )
    };
    let ran = run().exits(0);
    let aside = "rests on variables whose values the pipeline file does not state (train: TOKEN (secret), WIDTH)";
    assert_eq!(
        lines(&ran)[1],
        format!(
            "  reproduced: f1 (Table 7): 50.20 over 3 against 50.20 ±0.5, difference −0.21 to +0.21; {aside}"
        )
    );
    assert_eq!(words(&space), ["reproduced", "reproduced", "inconclusive"]);
    let page = space.read("reports/p/latest/report.md");
    let footnote = aside.replacen("rests", "Rests", 1);
    assert!(page.contains(&format!("{footnote}.")), "{page}");
    assert!(!page.contains("hush"), "{page}");

    // The same values in the file: the report alone is another.
    space.write("p.yaml", with_env("WIDTH: 3, STATED: 1"));
    let rows: Value = run_plan(&space);
    let runs: Vec<&Value> = (rows.as_array().expect("rows").iter())
        .filter(|row| row["state"] != "cached")
        .map(|row| &row["stage"])
        .collect();
    assert_eq!(runs, ["table"]);
    let ran = run().exits(0);
    assert!(!ran.stderr.contains("does not state"), "{}", ran.stderr);
}

fn run_plan(space: &Space) -> Value {
    let plan = space.call(&["plan", "p.yaml", "--json"]).exits(0);
    serde_json::from_str(&plan.stdout).expect("rows")
}

/// Numbers that somebody typed say so as far as they reach, each by itself, also by way of a stage that never saw them, and
/// where only their source changes.
#[test]
fn typed_numbers_are_marked_wherever_they_come_to() {
    let text = |source: &str| {
        format!(
            "stages:
  score: {{ kind: command, with: {{ script: \"echo '{{\\\"f1\\\": 50}}' > n.json\" }}, numbers: n.json }}
  means:
    kind: aggregate
    needs: {{ scores: score }}
    with:
      source: {source}
      own: {{ system: ours }}
      published: [{{ metric: f1, system: theirs, value: 40 }}]
      steps: [{{ metric: f1, of: f1, how: mean }}]
      fields: {{ class: system }}
  best:
    kind: aggregate
    needs: {{ scores: means }}
    with:
      steps:
        - {{ metric: best, of: f1, where: {{ class: [ours, theirs] }}, how: max, over: [class] }}
        - {{ metric: own, of: f1, where: {{ class: ours }}, how: max, over: [class] }}
        - {{ metric: other, of: f1, where: {{ class: theirs }}, how: max, over: [class] }}
  others:
    kind: aggregate
    needs: {{ scores: means }}
    with: {{ steps: [{{ metric: alone, of: f1, where: {{ class: theirs }}, how: max, over: [class] }}] }}
  blurred: {{ kind: command, needs: {{ n: means.metrics }}, with: {{ script: \"echo '{{\\\"blur\\\": 50}}' > n.json\" }}, numbers: n.json }}
  silent: {{ kind: command, needs: {{ n: others.metrics }}, with: {{ script: \"echo '{{\\\"last\\\": 40}}' > n.json\" }}, numbers: n.json }}
  table: {{ kind: report, needs: {{ means: means, best: best, blurred: blurred, silent: silent }} }}
expect:
  - {{ metric: best, value: 50, tolerance: 1 }}
  - {{ metric: own, value: 50, tolerance: 1 }}
  - {{ metric: other, value: 40, tolerance: 1 }}
  - {{ metric: blur, value: 50, tolerance: 1 }}
  - {{ metric: last, value: 40, tolerance: 1 }}
"
        )
    };
    let space = Space::with(&text("Table 9"));
    let told = |ran: &Ran, source: &str| {
        let also = format!("computed also from numbers typed into the pipeline file ({source})");
        let may = format!("may rest on numbers typed into the pipeline file ({source})");
        let alone = format!(
            "computed from numbers typed into the pipeline file alone, from no result ({source})"
        );
        let lines = lines(ran);
        let line = |metric: &str| {
            let mut all = lines.iter();
            let found = all.find(|line| line.contains(&format!(": {metric}")));
            *found.unwrap_or_else(|| panic!("{lines:?}"))
        };
        assert!(line("best").starts_with("  reproduced:"), "{lines:?}");
        assert!(line("best").ends_with(&format!("; {also}")), "{lines:?}");
        assert!(line("own").starts_with("  reproduced:"), "{lines:?}");
        assert!(!line("own").contains("typed"), "{lines:?}");
        for metric in ["other", "last"] {
            assert!(line(metric).starts_with("  not comparable:"), "{lines:?}");
            assert!(
                line(metric).contains("no result stands behind it"),
                "{lines:?}"
            );
            assert!(line(metric).ends_with(&alone), "{lines:?}");
        }
        assert!(line("blur").starts_with("  not comparable:"), "{lines:?}");
        assert!(line("blur").ends_with(&may), "{lines:?}");
    };
    let ran = space.run(&[]).exits(0);
    told(&ran, "Table 9");
    let page = space.read("reports/p/latest/report.md");
    // `theirs`, what it alone is made into by an aggregate, and by a command.
    assert_eq!(page.matches("[typed]").count(), 3, "{page}");
    // The second aggregates read the same bytes and do not run again; what they rest on is told all the same.
    space.write("p.yaml", text("Table 8"));
    let ran = space.run(&[]).exits(0);
    assert!(
        ran.stderr.contains("2 executed, 5 cached"),
        "{}",
        ran.stderr
    );
    told(&ran, "Table 8");
}

const SETTINGS: &str = "\
params: { rate: 5e-5 }
stages:
  train:
    kind: command
    matrix: { task: [ner, qa] }
    replicate: { seed: [1, 2] }
    with: { script: 'echo 1 > log', params: { task: '${matrix.task}', rate: '${params.rate}', seed: '${replicate.seed}', inner: { size: 3 } } }
    outputs: { log: log }
  table:
    kind: report
    needs: { logs: { all: train, output: log } }
    with:
      sections:
        - settings:
            title: Settings
            from: [logs]
            columns: task
            rows:
              - { key: params.rate, label: Rate, stated: { ner: 5e-5, qa: 3e-5 } }
              - { key: params.inner.size, label: Size, stated: 3 }
              - { key: params.seed, label: Seeds }
              - { key: params.none, label: None, stated: 1 }
";

/// What really was used stands in the records, and a change of it reaches the report.
#[test]
fn settings_of_records_stand_beside_what_is_stated() {
    let space = Space::with(SETTINGS);
    let ran = space.run(&["table"]).exits(0);
    assert!(
        ran.stderr
            .contains("no stage of `Settings` has a setting `params.none`"),
        "{}",
        ran.stderr
    );
    let lines = |space: &Space| -> Vec<String> {
        let text = space.read("reports/p/latest/report.md");
        let at = text.find("## Settings").expect("a part");
        let lines = text[at..].lines().skip(2);
        lines.take(8).map(str::to_owned).collect()
    };
    assert_eq!(
        lines(&space),
        [
            "3 of 6 stated settings are as stated, 1 differs, 2 are not known.",
            "",
            "| Setting | ner | qa |",
            "| --- | ---: | ---: |",
            "| Rate | 5e-5 (Paper 5e-5, as stated) | 5e-5 (Paper 3e-5, differs) |",
            "| Size | 3 (Paper 3, as stated) | 3 (Paper 3, as stated) |",
            "| Seeds | 1, 2 | 1, 2 |",
            "| None | – (Paper 1, not known) | – (Paper 1, not known) |",
        ]
    );
    space.run(&["table", "--set", "rate=3e-5"]).exits(0);
    assert_eq!(
        lines(&space)[4],
        "| Rate | 3e-5 (Paper 5e-5, differs) | 3e-5 (Paper 3e-5, as stated) |"
    );
    let page = space.read("reports/p/latest/index.html");
    assert!(
        page.contains("</span> differs</span>"),
        "a word, not a colour alone"
    );
}

/// What a report is asked for and what it reads are its settings as much as those of stages before it.
#[test]
fn a_report_departs_by_its_own_claims_and_inputs() {
    let text = "
params: { pick: 1, margin: 0.01, extra: data/none.jsonl }
profiles:
  forged: { stages: { table: { needs: { more: ./data/forged.jsonl } } } }
stages:
  score:
    kind: command
    matrix: { e: [1, 2] }
    with: { argv: [sh, -c, 'echo \"{\\\"f1\\\": 0.$0}\" > s.json', \"${matrix.e}\"] }
    numbers: s.json
  table:
    kind: report
    needs: { scores: { all: score, where: { e: \"${params.pick}\" } }, more: ./data/own.jsonl }
expect:
  - { metric: f1, value: 0.2, tolerance: \"${params.margin}\" }
  - { metric: other, value: 5, tolerance: 0.1 }
";
    let space = Space::with(text);
    let row = |value: &str| format!("{{\"metric\": \"other\", \"value\": {value}}}\n");
    space.write("data/own.jsonl", row("1"));
    space.write("data/forged.jsonl", row("5"));
    space.run(&[]).exits(0);
    assert_eq!(words(&space), ["differs", "differs"]);
    space.run(&["--set", "pick=2"]).exits(0);
    assert_eq!(words(&space)[0], "not_comparable");
    space.run(&["--set", "margin=1"]).exits(0);
    assert_eq!(words(&space)[0], "not_comparable");
    space.run(&["--profile", "forged"]).exits(0);
    assert_eq!(words(&space)[1], "not_comparable");
}
