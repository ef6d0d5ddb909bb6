//! Parts of a page: examples, confusion, curves, choices, the ledger, published systems.

#![allow(missing_docs, reason = "a test binary has no documented interface")]

#[allow(
    dead_code,
    reason = "the paper's data tables are of the other test binary"
)]
mod fixture;

use std::collections::BTreeMap;

use fixture::Fixture;
use report::{Claim, Instance, Options, Report, ReportError};
use serde_json::{Value, json};

fn text(report: &Report, name: &str) -> String {
    String::from_utf8(report.files[name].clone()).expect("UTF-8")
}

fn build(options: Value, instances: Vec<Instance>) -> Result<Report, ReportError> {
    let options: Options = serde_json::from_value(options).expect("valid options");
    let claims: Vec<Claim> = serde_json::from_value(json!([
        {"metric": "f1", "where": {"task": "ner", "split": "test"}, "value": 90.03, "tolerance": 0.8, "source": "Table 7"},
        {"metric": "f1", "where": {"task": "re", "split": "test"}, "value": 85.0, "tolerance": 0.5}
    ]))
    .expect("valid claims");
    report::build(&options, &claims, instances, None)
}

/// An instance of two axes, the second that of repetition.
fn instance(
    fixture: &mut Fixture,
    input: &str,
    task: &str,
    seed: Option<u32>,
    lines: &[Value],
) -> Instance {
    let mut instance = fixture.instance(input, lines);
    instance.axes = vec![("task".to_owned(), task.to_owned())];
    if let Some(seed) = seed {
        instance.axes.push(("seed".to_owned(), seed.to_string()));
        instance.replicate = Some("seed".to_owned());
    }
    instance
}

/// Scores, samples, logs and a ranking of two tasks over three seeds.
fn everything(fixture: &mut Fixture) -> Vec<Instance> {
    let mut all = Vec::new();
    for (task, means) in [("ner", [90.1, 89.7, 90.4]), ("re", [79.2, 78.4, 80.1])] {
        for (seed, f1) in (1..).zip(means) {
            let rows = [
                json!({"dataset": task, "split": "test", "metric": "f1", "value": f1}),
                json!({"dataset": task, "split": "test", "metric": "f1", "class": "Drug", "value": f1 + 1.0}),
                json!({"dataset": task, "split": "test", "metric": "f1", "class": "Disease", "value": f1 - 1.0}),
            ];
            let mut scores = instance(fixture, "scores", task, Some(seed), &rows);
            if task == "re" {
                scores
                    .notes
                    .insert("stand_in".to_owned(), json!("rebuilt rows"));
            }
            all.push(scores);
            let samples = samples(task, seed);
            all.push(instance(fixture, "samples", task, Some(seed), &samples));
            let log: Vec<Value> = (0..900)
                .map(|step| {
                    json!({"step": step, "loss": 5.0 / (1.0 + f64::from(step) / 100.0) + f64::from(seed) / 10.0})
                })
                .collect();
            all.push(instance(fixture, "logs", task, Some(seed), &log));
        }
    }
    let ranking = json!({
        "metric": "f1", "dataset": null, "split": "dev", "class": null, "goal": "max", "ties": "smallest",
        "chosen": {"epochs": 3, "rate": 0.0003},
        "ranking": [
            {"rank": 1, "axes": {"epochs": 3, "rate": 0.0003}, "mean": 91.5, "sd": 0.2, "n": 3, "values": []},
            {"rank": 1, "axes": {"epochs": 5, "rate": 0.0003}, "mean": 91.5, "sd": 0.3, "n": 3, "values": []},
            {"rank": 3, "axes": {"epochs": 3, "rate": 0.001}, "mean": 88.25, "sd": null, "n": 1, "values": []}
        ]
    });
    all.push(instance(fixture, "ranking", "ner", None, &[ranking]));
    all
}

fn samples(task: &str, seed: u32) -> Vec<Value> {
    if task == "ner" {
        return vec![
            json!({"example_id": "s1", "text": "naloxone relieved <b>nausea</b>", "gold": [{"start": 0, "end": 8, "label": "Drug"}, {"start": 21, "end": 27, "label": "Disease", "error": "boundary"}],
                "predicted": [{"start": 0, "end": 8, "label": "Drug"}, {"start": 18, "end": 27, "label": "Disease"}], "correct": false}),
            json!({"example_id": "s2", "text": "no effect of aspirin", "gold": [{"start": 13, "end": 20, "label": "Drug"}],
                "predicted": [{"start": 13, "end": 20, "label": "Drug"}], "correct": true}),
            json!({"example_id": "s3", "text": "fever", "gold": [], "predicted": [{"start": 0, "end": 5, "label": "Disease", "error": "spurious"}], "correct": false}),
            json!({"example_id": "s4", "text": "nothing here", "gold": [], "predicted": [], "correct": true}),
        ];
    }
    let predicted = if seed == 1 { "none" } else { "effect" };
    vec![
        json!({"example_id": "r1", "text": "@DRUG$ with @DRUG$", "gold": [{"label": "effect"}], "predicted": [{"label": predicted, "score": 0.6}], "correct": predicted == "effect"}),
        json!({"example_id": "r2", "text": "@DRUG$ or @DRUG$", "gold": [{"label": "none"}], "predicted": [{"label": "none"}], "correct": true}),
    ]
}

fn options() -> Value {
    json!({
        "title": "Everything a page can show",
        "sections": [
            {"text": "# The tables\n\nSome *words* and <script>alert(1)</script>."},
            {"table": {"title": "Table 7", "rows": ["task"], "where": {"split": "test", "class": null}, "reference": "Paper", "numbers": [{"metric": "f1", "label": "F1"}],
                "system": "ELECTRAMed", "published": [
                    {"system": "BioBERT", "source": "Lee et al. 2020", "where": {"task": "ner"}, "f1": 89.71},
                    {"system": "SciBERT", "where": {"task": "ner"}, "f1": 90.57},
                    {"system": "BioBERT", "where": {"task": "re"}, "f1": 76.46}
                ]}},
            {"table": {"title": "By class", "rows": ["class"], "columns": ["task"], "where": {"metric": "f1", "class": ["Drug", "Disease"]}}},
            {"chart": {"title": "Every seed", "kind": "dots", "metric": "f1", "x": "task", "where": {"class": null}}},
            {"curves": {"title": "Loss", "from": "logs", "y": "loss", "series": "task"}},
            {"confusion": {"from": "samples"}},
            {"samples": {"from": "samples", "each": 1, "labels": {"ner": "Entities"}}},
            {"samples": {"title": "Table 6", "from": "samples", "where": {"task": "ner", "seed": 2}, "ids": ["s3", "s9"]}},
            {"choice": {"from": "ranking", "beside": {"metric": "f1", "where": {"split": "test", "class": null}, "label": "Test F1"}}}
        ],
        "ledger": [
            {"what": "Epochs", "chosen": "3", "why": "Chosen on **dev**.", "where": {"task": "ner"}},
            {"what": "Precision", "chosen": "f32"}
        ]
    })
}

#[test]
fn every_part_in_order() {
    let mut fixture = Fixture::new();
    let instances = everything(&mut fixture);
    let report = build(options(), instances).expect("a report");
    report
        .write(&std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("parts"))
        .expect("files");
    assert_eq!(
        report.warnings,
        ["no example of `Table 6` is called `s9`"],
        "what is not there is said"
    );
    insta::assert_snapshot!("parts_markdown", text(&report, "report.md"));
    insta::assert_snapshot!("parts_latex", text(&report, "tables/table-7.tex"));
    insta::assert_snapshot!(
        "parts_published",
        text(&report, "tables/table-7-published.csv")
    );
    insta::assert_snapshot!(
        "parts_confusion",
        text(&report, "tables/what-was-taken-for-what.csv")
    );
    let page = text(&report, "index.html");
    assert!(
        !page.contains("<script") && !page.contains("<b>nausea"),
        "text stays text"
    );
    assert!(page.contains("2nd of 3") && !page.contains("1st of"));
    // What rests on stand-in data is not ranked.
    assert_eq!(page.matches("2nd of 3").count(), 1);
    let order: Vec<usize> = [
        "The tables</h2>",
        "id=\"table-7\"",
        "id=\"by-class\"",
        "id=\"every-seed\"",
        "id=\"loss\"",
        "id=\"what-was-taken-for-what\"",
        "id=\"examples\"",
        "id=\"table-6\"",
        "id=\"what-was-chosen-and-among-what\"",
        "id=\"ledger\"",
        "id=\"claims\"",
    ]
    .iter()
    .map(|part| page.find(part).unwrap_or_else(|| panic!("no `{part}`")))
    .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn headings_go_down_one_by_one_and_every_anchor_is_there_once() {
    let mut fixture = Fixture::new();
    let instances = everything(&mut fixture);
    let page = text(
        &build(options(), instances).expect("a report"),
        "index.html",
    );
    let mut last = 0;
    for (at, _) in page.match_indices("<h") {
        let Some(level) = page[at + 2..].chars().next().and_then(|c| c.to_digit(10)) else {
            continue;
        };
        assert!(level <= last + 1, "h{level} after h{last}");
        assert!(level > 1 || last == 0, "one heading of the first level");
        last = level;
    }
    let mut ids: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, _) in page.match_indices(" id=\"") {
        let id = page[at + 5..].split('"').next().expect("an end");
        *ids.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = ids.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for (at, _) in page.match_indices("href=\"#") {
        let target = page[at + 7..].split('"').next().expect("an end");
        assert!(ids.contains_key(target), "`#{target}` leads nowhere");
    }
}

#[test]
fn the_ledger_marks_the_numbers_it_touches_and_no_others() {
    let mut fixture = Fixture::new();
    let instances = everything(&mut fixture);
    let page = text(
        &build(options(), instances).expect("a report"),
        "index.html",
    );
    let table = page.split("id=\"table-7\"").nth(1).expect("the table");
    let table = table.split("</section>").next().expect("its end");
    assert_eq!(table.matches("#ledger-1\"").count(), 1, "{table}");
    assert_eq!(table.matches("#ledger-2\"").count(), 0, "all is no mark");
    assert!(table.contains("stand-in data"), "in the cell itself");
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let files = || {
        let mut fixture = Fixture::new();
        let instances = everything(&mut fixture);
        build(options(), instances).expect("a report").files
    };
    let (first, second) = (files(), files());
    let differing: Vec<&String> = first
        .keys()
        .filter(|name| first.get(*name) != second.get(*name))
        .collect();
    assert!(differing.is_empty(), "{differing:?}");
    let loss = String::from_utf8(first["charts/loss.svg"].clone()).expect("UTF-8");
    let longest = loss.lines().map(|line| line.matches('L').count()).max();
    assert!(longest <= Some(200), "thinned: {longest:?}");
}

/// Curves of one point are seen, and nothing is marked between two epochs.
#[test]
fn short_curves_are_seen_and_epochs_are_whole() {
    let mut fixture = Fixture::new();
    let svg = |fixture: &mut Fixture, epochs: u32| {
        let scores = [json!({"metric": "f1", "split": "test", "value": 90.0})];
        let scores = instance(fixture, "scores", "ner", None, &scores);
        let log: Vec<Value> = (1..=epochs)
            .map(|epoch| json!({"epoch": epoch, "dev": 3.0 + f64::from(epoch)}))
            .collect();
        let log = instance(fixture, "logs", "ner", None, &log);
        let options = json!({"tables": [], "charts": [], "sections": [{"curves": {"title": "Dev", "from": "logs", "x": "epoch", "y": "dev"}}]});
        let report = build(options, vec![scores, log]).expect("builds");
        text(&report, "charts/dev.svg")
    };
    let one = svg(&mut fixture, 1);
    assert_eq!(one.matches("<circle").count(), 1, "{one}");
    let two = svg(&mut fixture, 2);
    assert_eq!(two.matches("<circle").count(), 0, "{two}");
    assert!(
        two.contains(">1<") && two.contains(">2<") && !two.contains(">1."),
        "{two}"
    );
}

#[test]
fn what_is_not_there_is_refused_with_the_next_action() {
    let mut fixture = Fixture::new();
    let mut refused = |options: Value| {
        let instances = everything(&mut fixture);
        let error = build(options, instances).expect_err("refused");
        format!("{error} / {}", error.help().expect("help"))
    };
    assert_eq!(
        refused(
            json!({"sections": [{"confusion": {"from": "samples"}}, {"curves": {"title": "Loss", "from": "logs", "y": "loss"}}, {"choice": {"from": "ranking"}}, {"samples": {"from": "answers"}}]})
        ),
        "samples `Examples` reads the input `answers`, which the stage does not need / add `answers` to `needs`, such as `answers: { all: STAGE, output: OUTPUT }`; it has `logs`, `ranking`, `samples`, `scores`"
    );
    let table = |published: Value| {
        json!({"sections": [{"samples": {"from": "samples"}}, {"curves": {"title": "Loss", "from": "logs", "y": "loss"}}, {"choice": {"from": "ranking"}},
            {"table": {"title": "T", "rows": ["task"], "where": {"class": null}, "numbers": [{"metric": "f1"}], "published": [published]}}]})
    };
    assert_eq!(
        refused(table(json!({"system": "X", "f2": 1.0}))),
        "table `T`: `X` has a number for `f2`, which is no column / columns are `f1`"
    );
    assert_eq!(
        refused(table(
            json!({"system": "X", "where": {"task": "qa"}, "f1": 1.0})
        )),
        "table `T`: no line is one where `X` stands / its `where` may name `task`, with values of a line of the table"
    );
}

#[test]
fn a_checklist_answers_from_evidence_alone() {
    let mut fixture = Fixture::new();
    let mut instances = everything(&mut fixture);
    for instance in instances.iter_mut().filter(|one| one.input == "scores") {
        instance.device = Some("cpu".to_owned());
        let terms = json!("a licence <of> its own");
        instance.notes.insert("licence".to_owned(), terms);
    }
    let mut with = options();
    with["checklist"] = json!(true);
    let report = build(with, instances).expect("a report");
    let text = text(&report, "report.md");
    let at = text.find("## Checklist for reviewers").expect("a part");
    let has = |line: &str| assert!(text[at..].contains(line), "{line} in {}", &text[at..]);
    has("  - a licence &lt;of&gt; its own: behind 6 inputs.");
    has("13 inputs of 19 state no licence.");
    has("  - scores: 3 runs a number, repetitions 1, 2, 3.");
    has("among 3 combinations: epochs 3, rate 0.0003.");
    has("  - cpu: made 6 inputs.");
    has("No part of this page shows settings.");
    has("  - not answered");
    has("2 choices are listed with their reasons.");
    let page = String::from_utf8(report.files["index.html"].clone()).expect("UTF-8");
    assert!(page.contains("a licence &lt;of&gt; its own"));
}

/// A mean is over the repetitions of one setting, as long as these are, and its words say no number twice.
#[test]
fn curves_of_different_settings_are_never_averaged() {
    let mut fixture = Fixture::new();
    let mut all = Vec::new();
    let scores = [json!({"metric": "f1", "split": "test", "value": 90.0})];
    all.push(instance(&mut fixture, "scores", "ner", None, &scores));
    for (task, epochs, seed) in [
        ("ner", 2, 1),
        ("ner", 2, 2),
        ("ner", 4, 1),
        ("ner", 4, 2),
        ("re", 1, 1),
    ] {
        let log: Vec<Value> = (1..=epochs)
            .map(|epoch| json!({"epoch": epoch, "dev": 10.0 * f64::from(epochs) + f64::from(epoch + seed) + 0.25}))
            .collect();
        let mut log = instance(&mut fixture, "logs", task, Some(seed as u32), &log);
        log.axes
            .insert(1, ("epochs".to_owned(), epochs.to_string()));
        all.push(log);
    }
    let page = |more: Value| {
        let mut curves =
            json!({"title": "Dev", "from": "logs", "x": "epoch", "y": "dev", "label": "F1"});
        for (key, value) in more.as_object().expect("options") {
            curves[key] = value.clone();
        }
        let options = json!({"tables": [], "charts": [], "sections": [{"curves": curves}]});
        let report = build(options, all.clone()).expect("builds");
        (text(&report, "report.md"), text(&report, "charts/dev.svg"))
    };
    let (words, svg) = page(json!({"series": "task"}));
    for line in [
        "F1, ner, epochs 2 (mean of 2): 22.75 at epoch 1, 23.75 at epoch 2.",
        "F1, ner, epochs 4 (mean of 2): 42.75 at epoch 1, 45.75 at epoch 4.",
        "F1, re: 12.25 at epoch 1.",
    ] {
        assert!(words.contains(line), "{line}\n{words}");
    }
    assert_eq!(svg.matches("stroke-width:2.2").count(), 3, "{svg}");
    assert_eq!(svg.matches(">ner<").count(), 1, "once in the legend: {svg}");
    assert!(svg.contains("font-weight:600\">epochs 4</text>"), "{svg}");
    assert!(!svg.contains("var(--c2)\">"), "a colour a task: {svg}");
    let (_, alone) = page(json!({"where": {"task": "ner"}}));
    for name in [">epochs 2<", ">epochs 4<"] {
        assert!(alone.contains(name), "{name} in the legend: {alone}");
    }
}

/// The same number has one look: digits and labels of the table it stands in, and metrics are called as there.
#[test]
fn a_choice_writes_numbers_and_names_as_the_tables_do() {
    let mut fixture = Fixture::new();
    let ranking = json!({
        "metric": "f1", "dataset": null, "split": "dev", "class": null, "goal": "max", "chosen": {"epochs": 3},
        "ranking": [{"rank": 1, "axes": {"epochs": 3}, "mean": 2.5, "sd": 0.2, "n": 1, "values": []}]
    });
    let rows = [json!({"dataset": "ner", "split": "test", "metric": "f1", "value": 2.4087})];
    let mut scores = instance(&mut fixture, "scores", "ner", None, &rows);
    scores
        .notes
        .insert("stand_in".to_owned(), json!("rebuilt rows"));
    let all = vec![
        scores,
        instance(&mut fixture, "ranking", "ner", None, &[ranking]),
    ];
    let options = json!({"sections": [
        {"table": {"title": "Table 7", "rows": ["task"], "format": "decimals", "numbers": [{"metric": "f1", "label": "F1"}]}},
        {"settings": {"title": "Set", "from": ["ranking"], "where": {"task": "none"}, "rows": [{"key": "epochs", "label": "Epochs"}]}},
        {"choice": {"title": "Chosen", "from": "ranking", "beside": {"metric": "f1", "where": {"split": "test"}, "label": "F1 on test"}}}
    ]});
    let report = build(options, all).expect("builds");
    let words = text(&report, "report.md");
    for line in [
        "| Epochs | Rank | F1 | n | F1 on test |",
        "| 3 | **1, chosen** | 2.50 ± 0.20 | 1 | 2.41 [stand-in data] |",
    ] {
        assert!(words.contains(line), "{line}\n{words}");
    }
    let page = text(&report, "index.html");
    let part = page.split("id=\"chosen\"").nth(1).expect("the choice");
    let part = part.split("</section>").next().expect("its end");
    assert!(
        part.contains("stand-in data") && part.contains("class=\"chosen\""),
        "{part}"
    );
    assert!(
        !part.contains("reproduced"),
        "a choice is no verdict: {part}"
    );
}
