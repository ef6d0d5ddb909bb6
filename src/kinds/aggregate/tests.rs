//! Tests of `aggregate` without a pipeline: the arithmetic of two papers, and what is refused.

use std::path::Path;

use flow::digest::Use;
use flow::kind::{InputItem, StageInput};
use flow::metric::MetricRow;
use flow::spec::Axis;
use serde_json::{Value, json};

use super::*;

fn config(text: Value) -> Aggregate {
    let config: Aggregate = serde_json::from_value(text).expect("it decodes");
    let again = serde_json::to_value(&config).expect("it serialises");
    assert_eq!(
        serde_json::from_value::<Aggregate>(again).expect("again"),
        config
    );
    config
}

/// Instances: their axes (the last one of repetition where it is called `seed`) and their rows.
fn stage(folder: &Path, instances: &[(&[(&str, &str)], Value)]) -> StageContext {
    let items = instances.iter().enumerate().map(|(at, (axes, rows))| {
        let path = format!("{at}.jsonl");
        let lines: String = rows
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| format!("{row}\n"))
            .collect();
        fs_err::write(folder.join(&path), &lines).expect("written");
        let axis = |(name, text): &(&str, &str)| Axis {
            name: (*name).to_owned(),
            text: (*text).to_owned(),
            json: (*text).to_owned(),
            replicate: *name == "seed",
        };
        InputItem {
            path,
            axes: axes.iter().map(axis).collect(),
            digest: Use::File.digest(lines.as_bytes()),
            key: None,
            device: None,
            notes: BTreeMap::new(),
            made_by: None,
        }
    });
    let input = StageInput {
        place: PORT.to_owned(),
        items: items.collect(),
        many: true,
    };
    StageContext::in_folder(folder, BTreeMap::from([(PORT.to_owned(), input)]))
}

fn run(
    config: &Aggregate,
    instances: &[(&[(&str, &str)], Value)],
) -> Result<Vec<MetricRow>, StageError> {
    assert_eq!(config.check().len(), 0);
    let folder = tempfile::tempdir().expect("a folder");
    config
        .run(&stage(folder.path(), instances))
        .map(|done| done.numbers)
}

/// The numbers as the paper prints them.
fn printed(numbers: &[MetricRow], digits: usize) -> Vec<String> {
    let line = |row: &MetricRow| {
        let class = row.class.as_deref().unwrap_or("-");
        format!("{} {class} {:.digits$}", row.metric, row.value)
    };
    numbers.iter().map(line).collect()
}

/// Table 9 of the ELECTRAMed paper: batch, system, MRR.
const TABLE_9: [(u32, &str, f64); 15] = [
    (1, "KU-DMIS-1", 46.37),
    (1, "BJUTNLPGroup", 34.83),
    (1, "auth-qa-1", 27.78),
    (2, "KU-DMIS-5", 56.67),
    (2, "QA1", 40.33),
    (2, "transfer-learning", 32.67),
    (3, "QA1", 51.15),
    (3, "UNCC_QA_1", 51.15),
    (3, "google-gold-input", 50.23),
    (4, "KU-DMIS-1", 69.12),
    (4, "FACTOIDS", 61.03),
    (4, "UNCC_QA3", 61.03),
    (5, "KU-DMIS-5", 36.38),
    (5, "BJUTNLPGroup", 33.81),
    (5, "UNCC_QA_1", 33.05),
];
/// ELECTRAMed's own MRR by batch.
const OWN: [(&str, f64); 5] = [
    ("1", 47.95),
    ("2", 53.16),
    ("3", 46.62),
    ("4", 69.55),
    ("5", 31.42),
];

fn published() -> Vec<Value> {
    TABLE_9
        .iter()
        .map(|(batch, system, mrr)| {
            json!({"metric": "mrr", "value": mrr, "batch": batch, "system": system,
                   "dataset": "bioasq-7b", "split": "test"})
        })
        .collect()
}

fn table_10(missing: &str) -> Aggregate {
    config(json!({
        "own": {"system": "ELECTRAMed"},
        "published": published(),
        "steps": [
            {"metric": "share", "of": "mrr", "how": "share_of_best", "by": ["batch"], "hidden": true},
            {"metric": "score", "of": "share", "how": "sum", "over": ["batch"], "missing": missing}
        ],
        "fields": {"class": "system"}
    }))
}

/// `mrr` of one batch and seed, among other numbers.
fn own_rows(mrr: f64) -> Value {
    json!([
        {"dataset": "bioasq-7b", "split": "test", "metric": "mrr", "value": mrr, "n": 39},
        {"dataset": "bioasq-7b", "split": "test", "metric": "lacc", "value": 60.0},
        {"dataset": "bioasq-7b", "split": "test", "metric": "mrr", "class": "factoid", "value": 1.0}
    ])
}

/// Whoever sees a share of somebody's best has to know that somebody typed it.
#[test]
fn numbers_say_what_typed_ones_they_rest_on() {
    let config = config(json!({
        "source": "Table 9",
        "own": {"system": "ours"},
        "published": [
            {"system": "theirs", "batch": 1, "metric": "mrr", "value": 40, "dataset": "bioasq-7b", "split": "test"},
            {"system": "others", "batch": 1, "metric": "mrr", "value": 30, "dataset": "bioasq-7b", "split": "test", "source": "a mail"}
        ],
        "steps": [
            {"metric": "alone", "of": "mrr", "how": "sum", "over": ["batch"]},
            {"metric": "share", "of": "mrr", "how": "share_of_best", "by": ["batch"], "hidden": true},
            {"metric": "share", "of": "share", "where": {"system": "ours"}, "how": "sum", "over": ["batch"]}
        ],
        "fields": {"class": "system"}
    }));
    let folder = tempfile::tempdir().expect("a folder");
    let stage = stage(folder.path(), &[(&[("batch", "1")], own_rows(50.0))]);
    let notes = config.run(&stage).expect("numbers").notes;
    let named = |metric: &str, class: &str, rest: Value| {
        let mut named =
            json!({"metric": metric, "class": class, "dataset": "bioasq-7b", "split": "test"});
        let rest = rest.as_object().expect("a map").clone();
        named.as_object_mut().expect("a map").extend(rest);
        named
    };
    let from = json!({"item": 0, "metric": "mrr", "dataset": "bioasq-7b", "split": "test"});
    assert_eq!(
        notes["typed"],
        json!({ "input": "scores", "rows": [from], "by_number": [
            named("alone", "ours", json!({"from": [0]})),
            named("alone", "theirs", json!({"sources": ["Table 9"]})),
            named("alone", "others", json!({"sources": ["a mail"]})),
            named("share", "ours", json!({"sources": ["Table 9", "a mail"], "from": [0]})),
        ]})
    );
}

#[test]
fn table_10_comes_from_table_9() {
    let axes: Vec<[(&str, &str); 2]> = OWN
        .iter()
        .map(|(batch, _)| [("batch", *batch), ("seed", "1")])
        .collect();
    let instances: Vec<(&[(&str, &str)], Value)> = OWN
        .iter()
        .zip(&axes)
        .map(|((_, mrr), axes)| (axes.as_slice(), own_rows(*mrr)))
        .collect();
    let total = run(&table_10("leave_out"), &instances).expect("a total");
    assert_eq!(printed(&total, 3), ["score ELECTRAMed 4.713"]);
    assert_eq!(
        (total[0].dataset.as_deref(), total[0].split.as_deref()),
        (Some("bioasq-7b"), Some("test")),
        "a number of test stays one"
    );

    // Each batch, with those of Table 10's rows whose MRR stands in Table 9.
    let mut each = table_10("allow");
    each.steps[0].hidden = false;
    each.fields.insert("dataset".to_owned(), "batch".to_owned());
    let all = run(&each, &instances).expect("shares");
    let share = |system: &str, batch: &str| {
        let is = |row: &&MetricRow| {
            row.metric == "share"
                && row.class.as_deref() == Some(system)
                && row.dataset.as_deref() == Some(batch)
        };
        format!("{:.3}", all.iter().find(is).expect("a share").value)
    };
    let own: Vec<String> = OWN
        .iter()
        .map(|(batch, _)| share("ELECTRAMed", batch))
        .collect();
    assert_eq!(own, ["1.000", "0.938", "0.911", "1.000", "0.864"]);
    assert_eq!(share("KU-DMIS-1", "1"), "0.967");
    assert_eq!(share("KU-DMIS-1", "4"), "0.994");
    assert_eq!(share("auth-qa-1", "1"), "0.579");
}

#[test]
fn table_10_from_its_own_shares() {
    // All five rows as printed: shares by batch, and their sums.
    let rows = [
        (
            "BioASQ Baseline",
            [0.323, 0.241, 0.258, 0.364, 0.238],
            "1.424",
        ),
        ("auth-qa-1", [0.579, 0.541, 0.669, 0.536, 0.412], "2.737"),
        ("KU-DMIS-1", [0.967, 0.771, 0.924, 0.994, 0.886], "4.542"),
        ("LabZhu_FDU", [0.120, 0.441, 0.775, 0.699, 0.615], "2.650"),
        ("ELECTRAMed", [1.000, 0.938, 0.911, 1.000, 0.864], "4.713"),
    ];
    let published: Vec<Value> = rows
        .iter()
        .flat_map(|(system, shares, _)| {
            (1..).zip(shares).map(move |(batch, share)| {
                json!({"metric": "share", "value": share, "system": system, "batch": batch})
            })
        })
        .collect();
    let total = config(json!({
        "published": published,
        "steps": [{"metric": "score", "of": "share", "how": "sum", "over": ["batch"]}],
        "fields": {"class": "system"}
    }));
    let totals = run(&total, &[(&[], json!([]))]).expect("totals");
    let wanted: Vec<String> = rows
        .iter()
        .map(|(system, _, sum)| format!("score {system} {sum}"))
        .collect();
    assert_eq!(printed(&totals, 3), wanted);
}

/// PubMedBERT's column of BLURB, Table 6 of its paper.
fn blurb(gad: f64) -> Vec<(&'static str, &'static str, &'static str, f64)> {
    vec![
        ("bc5-chem", "ner", "f1", 93.33),
        ("bc5-disease", "ner", "f1", 85.62),
        ("ncbi-disease", "ner", "f1", 87.82),
        ("bc2gm", "ner", "f1", 84.52),
        ("jnlpba", "ner", "f1", 79.10),
        ("ebm-pico", "pico", "f1", 73.38),
        ("chemprot", "re", "f1", 77.24),
        ("ddi", "re", "f1", 82.36),
        ("gad", "re", "f1", gad),
        ("biosses", "similarity", "pearson", 92.30),
        ("hoc", "documents", "f1", 82.32),
        ("pubmedqa", "qa", "accuracy", 55.84),
        ("bioasq-7b", "qa", "accuracy", 87.56),
    ]
}

fn blurb_config() -> Aggregate {
    let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (dataset, task, _, _) in blurb(0.0) {
        types.entry(task).or_default().push(dataset);
    }
    config(json!({
        "groups": [{"column": "task", "of": "dataset", "values": types}],
        "steps": [
            {"metric": "number", "of": "f1", "how": "mean", "where": {"split": "test"}, "hidden": true},
            {"metric": "number", "of": "pearson", "how": "mean", "hidden": true},
            {"metric": "number", "of": "accuracy", "how": "mean", "hidden": true},
            {"metric": "by task", "of": "number", "how": "mean", "over": ["dataset"]},
            {"metric": "blurb", "of": "by task", "how": "mean", "over": ["task"]}
        ],
        "fields": {"class": "task"}
    }))
}

fn blurb_rows(gad: f64) -> Value {
    let row = |(dataset, _, metric, value)| json!({"dataset": dataset, "split": "test", "metric": metric, "value": value});
    Value::Array(blurb(gad).into_iter().map(row).collect())
}

#[test]
fn blurb_comes_from_its_column() {
    let score = |gad| {
        let numbers = run(&blurb_config(), &[(&[("seed", "1")], blurb_rows(gad))]).expect("scores");
        printed(&numbers, 2)
    };
    let first = score(83.96);
    assert_eq!(first.last().expect("the score"), "blurb - 81.16");
    assert!(first.contains(&"by task ner 86.08".to_owned()), "{first:?}");
    assert_eq!(score(82.34).last().expect("the score"), "blurb - 81.07");
}

#[test]
fn a_missing_data_set_is_named() {
    let mut rows = blurb_rows(82.34);
    let list = rows.as_array_mut().expect("rows");
    list.retain(|row| row["dataset"] != "gad");
    let failure = run(&blurb_config(), &[(&[], rows.clone())]).expect_err("no GAD");
    assert_eq!(failure.diagnostic.code, "aggregate::missing");
    assert_eq!(failure.diagnostic.details, ["there is none for gad"]);
    assert!(failure.diagnostic.help.is_some());
    // A whole task, too.
    let list = rows.as_array_mut().expect("rows");
    list.retain(|row| row["dataset"] != "biosses");
    let mut lenient = blurb_config();
    lenient.steps.remove(1);
    lenient.steps[2].missing = Missing::Allow;
    let failure = run(&lenient, &[(&[], rows.clone())]).expect_err("no task");
    assert_eq!(failure.diagnostic.details, ["there is none for similarity"]);
    // Left out where that is said.
    lenient.steps[2].missing = Missing::LeaveOut;
    lenient.steps[3].missing = Missing::Allow;
    let some = run(&lenient, &[(&[], rows)]).expect("scores");
    assert!(some.iter().all(|row| row.class.as_deref() != Some("re")));
}

#[test]
fn misuse_names_the_next_action() {
    let problems = |text: Value| -> Vec<String> {
        let config: Aggregate = serde_json::from_value(text).expect("it decodes");
        let found = config.check();
        assert!(found.iter().all(|problem| problem.help.is_some()));
        found
            .iter()
            .map(|problem| format!("{}: {}", problem.path.join("."), problem.message))
            .collect()
    };
    let step = json!({"metric": "a", "of": "b", "how": "mean"});
    assert_eq!(
        problems(json!({"steps": []})),
        ["steps: nothing is computed"]
    );
    assert_eq!(
        problems(json!({"steps": [{"metric": "a", "of": "b", "how": "share_of_best"}]})),
        ["steps.0: a share of the best is among numbers that agree in some columns"]
    );
    assert_eq!(
        problems(json!({"steps": [{"metric": "a", "of": "b", "how": "sum", "by": ["x"]}]})),
        ["steps.0.by: `by` is of `share_of_best`"]
    );
    assert_eq!(
        problems(json!({"steps": [step], "fields": {"split": "x"}, "own": {"split": "dev"}})),
        [
            "fields.split: `split` is no field that a column may fill with `x`",
            "own: `split` cannot be made"
        ]
    );
    let code = |config: Value, instances: &[(&[(&str, &str)], Value)]| {
        let failure = run(
            &serde_json::from_value(config).expect("it decodes"),
            instances,
        )
        .expect_err("refused");
        assert!(failure.diagnostic.help.is_some());
        failure.diagnostic.code
    };
    let rows = json!([{"dataset": "a", "metric": "f1", "value": 1.0}]);
    let mean = |of: &str, over: &str| json!({"steps": [{"metric": "m", "of": of, "how": "mean", "over": [over]}]});
    assert_eq!(
        code(mean("f2", "dataset"), &[(&[], rows.clone())]),
        "aggregate::no_rows"
    );
    assert_eq!(
        code(mean("f1", "datset"), &[(&[], rows.clone())]),
        "aggregate::column"
    );
    let seeds: [(&[(&str, &str)], Value); 2] = [
        (&[("seed", "1")], rows.clone()),
        (&[("seed", "2")], rows.clone()),
    ];
    assert_eq!(
        code(mean("f1", "dataset"), &seeds),
        "aggregate::repetitions"
    );
    let twice: [(&[(&str, &str)], Value); 2] = [(&[], rows.clone()), (&[], rows)];
    assert_eq!(code(mean("f1", "dataset"), &twice), "aggregate::twice");
}

#[test]
fn what_rests_on_a_test_split_stays_of_test() {
    let rows = json!([
        {"dataset": "a", "split": "dev", "metric": "f1", "value": 1.0},
        {"dataset": "a", "split": "test", "metric": "f1", "value": 3.0}
    ]);
    let both =
        config(json!({"steps": [{"metric": "m", "of": "f1", "how": "mean", "over": ["split"]}]}));
    let numbers = run(&both, &[(&[], rows)]).expect("a mean");
    assert_eq!(numbers[0].value, 2.0);
    assert_eq!(numbers[0].split.as_deref(), Some("test"));
}
