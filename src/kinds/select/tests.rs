//! Tests of `select` without a pipeline: what is refused, what is averaged, who wins.

use std::collections::BTreeMap;
use std::path::Path;

use flow::digest::Use;
use flow::kind::{InputItem, StageInput};
use flow::spec::Axis;
use serde_json::{Value, json};

use super::*;

fn config(text: Value) -> Select {
    serde_json::from_value(text).expect("it decodes")
}

fn axis(name: &str, json: &str, replicate: bool) -> Axis {
    Axis {
        name: name.to_owned(),
        text: json.trim_matches('"').to_owned(),
        json: json.to_owned(),
        replicate,
    }
}

/// Instances by learning rate, epochs and seed, each with the lines of its numbers.
fn stage(folder: &Path, instances: &[(&str, &str, u32, &str)]) -> StageContext {
    let items = instances
        .iter()
        .enumerate()
        .map(|(at, (rate, epochs, seed, rows))| {
            let path = format!("{at}.jsonl");
            fs_err::write(folder.join(&path), rows).expect("written");
            InputItem {
                path,
                axes: vec![
                    axis("rate", rate, false),
                    axis("epochs", epochs, false),
                    axis("seed", &seed.to_string(), true),
                ],
                digest: Use::File.digest(rows.as_bytes()),
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

fn dev(value: f64) -> String {
    json!({"dataset": "toy", "split": "dev", "metric": "f1", "value": value, "n": 10}).to_string()
}

fn run(
    config: &Select,
    instances: &[(&str, &str, u32, &str)],
) -> Result<(StageReport, Value), StageError> {
    let folder = tempfile::tempdir().expect("a folder");
    let report = config.run(&stage(folder.path(), instances))?;
    let text = fs_err::read_to_string(folder.path().join("ranking.json")).expect("written");
    let choice = fs_err::read_to_string(folder.path().join("choice.json")).expect("written");
    let ranking: Value = serde_json::from_str(&text).expect("JSON");
    let choice: Value = serde_json::from_str(&choice).expect("JSON");
    assert_eq!(ranking["chosen"], choice);
    Ok((report, ranking))
}

fn refusal(config: &Select, instances: &[(&str, &str, u32, &str)]) -> String {
    let error = run(config, instances).expect_err("refused").diagnostic;
    let help = error.help.expect("help");
    format!(
        "{} {} / {} / {help}",
        error.code,
        error.message,
        error.details.join("; ")
    )
}

#[test]
fn the_largest_mean_wins_and_the_ranking_is_whole() {
    let (low, high, middle) = (dev(80.0), dev(90.0), dev(84.0));
    let instances = [
        ("1e-4", "3", 1, low.as_str()),
        ("1e-4", "3", 2, &high),
        ("0.001", "3", 1, &middle),
        ("0.001", "3", 2, &middle),
    ];
    let config = config(json!({"over": ["rate", "epochs"], "metric": "f1"}));
    assert!(config.check().is_empty());
    let (report, ranking) = run(&config, &instances).expect("it chooses");
    assert_eq!(ranking["chosen"], json!({"rate": 1e-4, "epochs": 3}));
    assert_eq!(report.choice["rate"], "1e-4");
    let first = &ranking["ranking"][0];
    assert_eq!(first["mean"], 85.0);
    // √((25 + 25) / 1), by hand.
    assert!((first["sd"].as_f64().expect("a number") - 50.0_f64.sqrt()).abs() < 1e-12);
    assert_eq!(
        first["values"][1],
        json!({"axes": {"seed": 2}, "value": 90.0})
    );
    assert_eq!(ranking["ranking"][1]["rank"], 2);
    let number = |metric: &str, class: Option<&str>| {
        let row = report
            .numbers
            .iter()
            .find(|row| row.metric == metric && row.class.as_deref() == class);
        let row = row.expect("a row");
        assert_eq!(
            (row.dataset.as_deref(), row.split.as_deref()),
            (Some("toy"), Some("dev"))
        );
        row.value
    };
    assert_eq!(number("f1_mean", Some("rate=0.001,epochs=3")), 84.0);
    assert_eq!(number("rank", Some("rate=1e-4,epochs=3")), 1.0);
    assert_eq!(number("chosen_rate", None), 1e-4);
    assert!(report.warnings.is_empty());
    let small = self::config(json!({"over": ["rate", "epochs"], "metric": "f1", "goal": "min"}));
    let (report, _) = run(&small, &instances).expect("it chooses");
    assert_eq!(report.choice["rate"], "0.001");
}

#[test]
fn ties_are_settled_as_asked_and_the_order_of_seeds_is_none() {
    // The two sums differ in the last bit unless they are added in one order.
    let (a, b, c) = (dev(0.1), dev(0.2), dev(0.3));
    let instances = [
        ("2", "9", 1, a.as_str()),
        ("2", "9", 2, &b),
        ("2", "9", 3, &c),
        ("10", "1", 1, &c),
        ("10", "1", 2, &b),
        ("10", "1", 3, &a),
    ];
    let chosen = |over: Value, ties: &str| {
        let config = config(json!({"over": over, "metric": "f1", "ties": ties}));
        let (report, ranking) = run(&config, &instances).expect("it chooses");
        assert_eq!(
            ranking["ranking"][1]["rank"], 1,
            "equal means have equal ranks"
        );
        assert_eq!(ranking["ties"], ties);
        report.choice["rate"].clone()
    };
    assert_eq!(chosen(json!(["rate", "epochs"]), "first"), "2");
    assert_eq!(
        chosen(json!(["rate", "epochs"]), "smallest"),
        "2",
        "numbers, not texts"
    );
    assert_eq!(chosen(json!(["rate", "epochs"]), "largest"), "10");
    // 0.15 and 0.15 against 0.1 and 0.2: the means differ in the last bit.
    let (half, low, high) = (dev(0.15), dev(0.1), dev(0.2));
    let instances = [
        ("1", "1", 1, half.as_str()),
        ("1", "1", 2, &half),
        ("2", "1", 1, &low),
        ("2", "1", 2, &high),
    ];
    let rule = json!({"over": ["rate", "epochs"], "metric": "f1", "ties": "smallest"});
    let (report, _) = run(&config(rule), &instances).expect("it chooses");
    assert_eq!(report.choice["rate"], "1");
    assert_eq!(
        chosen(json!(["epochs", "rate"]), "smallest"),
        "10",
        "fewer epochs decide"
    );
}

/// A seed that is chosen is none to average over.
#[test]
fn the_axis_of_repetition_may_be_chosen_too() {
    let (low, high) = (dev(0.1), dev(0.2));
    let instances = [("1", "1", 1, low.as_str()), ("1", "1", 2, &high)];
    let rule = json!({"over": ["rate", "epochs", "seed"], "metric": "f1"});
    let (report, _) = run(&config(rule), &instances).expect("it chooses");
    assert_eq!(report.choice["seed"], "2");
}

#[test]
fn gaps_are_refused_or_allowed() {
    let (low, high) = (dev(80.0), dev(90.0));
    let instances = [
        ("1", "3", 1, low.as_str()),
        ("1", "3", 2, &low),
        ("2", "3", 1, &high),
        ("2", "3", 2, ""),
        ("3", "3", 1, ""),
        ("3", "3", 2, ""),
    ];
    let config =
        |missing: &str| config(json!({"over": ["rate"], "metric": "f1", "missing": missing}));
    let said = refusal(&config("refuse"), &instances);
    assert!(
        said.starts_with("select::missing 3 numbers `f1` are missing"),
        "{said}"
    );
    assert!(said.contains("`rate=2` has no `f1` for seed=2"), "{said}");
    let (report, ranking) = run(&config("allow"), &instances).expect("it chooses");
    assert_eq!(report.choice["rate"], "2");
    assert_eq!(
        ranking["ranking"].as_array().map(Vec::len),
        Some(2),
        "one has nothing"
    );
    assert_eq!(ranking["ranking"][0]["n"], 1);
    assert_eq!(ranking["ranking"][0]["sd"], Value::Null);
    assert_eq!(report.warnings[0].code, "select::missing");
    // An instance that is not there at all is as missing as one without the number.
    let said = refusal(&config("refuse"), &instances[..3]);
    assert!(
        said.contains("1 number `f1` is missing") && said.contains("`rate=2`"),
        "{said}"
    );
}

#[test]
fn rows_that_must_not_choose_are_refused() {
    let row = |more: Value| {
        let mut row = json!({"metric": "f1", "value": 88.1});
        let entries = more.as_object().expect("a map").clone();
        row.as_object_mut().expect("a map").extend(entries);
        row.to_string()
    };
    let plain = config(json!({"over": ["rate"], "metric": "f1"}));
    let on_dev = config(json!({"over": ["rate"], "metric": "f1", "where": {"split": "dev"}}));
    let test = row(json!({"split": "test", "dataset": "toy"}));
    let said = refusal(&plain, &[("1", "3", 1, &test)]);
    assert!(
        said.starts_with("select::test_split a number of the split `test` must not choose"),
        "{said}"
    );
    assert!(
        said.contains(
            "`f1` = 88.1 of `toy`, the split `test`, from `scores[rate=1,epochs=3,seed=1]`"
        ),
        "{said}"
    );
    let both = format!("{}\n{test}\n", dev(80.0));
    assert!(refusal(&plain, &[("1", "3", 1, &both)]).starts_with("select::test_split"));
    run(&on_dev, &[("1", "3", 1, &both)]).expect("those of test do not choose");

    let twice = format!(
        "{}\n{}",
        dev(80.0),
        row(json!({"split": "train", "dataset": "toy"}))
    );
    let said = refusal(&plain, &[("1", "3", 1, &twice)]);
    assert!(
        said.contains("2 numbers `f1` of `scores[rate=1,epochs=3,seed=1]` fit"),
        "{said}"
    );
    assert!(said.contains("where: { split: dev }"), "{said}");
    let sets = format!(
        "{}\n{}",
        dev(80.0),
        row(json!({"split": "dev", "dataset": "other"}))
    );
    assert!(refusal(&plain, &[("1", "3", 1, &sets)]).contains("where: { dataset: … }"));

    let classes = row(json!({"split": "dev", "class": "Disease"}));
    let said = refusal(&plain, &[("1", "3", 1, &classes)]);
    assert!(
        said.contains("no number `f1` fits `where`") && said.contains("all are of a class"),
        "{said}"
    );
    let said = refusal(
        &config(json!({"over": ["rate"], "metric": "f2"})),
        &[("1", "3", 1, &dev(1.0))],
    );
    assert!(
        said.contains("no number is called `f2`") && said.contains("did you mean `f1`?"),
        "{said}"
    );
    let train = row(json!({"split": "train"}));
    let said = refusal(&plain, &[("1", "3", 1, &dev(1.0)), ("2", "3", 1, &train)]);
    assert!(
        said.starts_with("select::splits numbers of the split `dev` and of the split `train`"),
        "{said}"
    );
    let said = refusal(&plain, &[("1", "3", 1, "f1,0.9")]);
    assert!(said.starts_with("select::not_rows"), "{said}");
    let (report, _) = run(&plain, &[("1", "3", 1, &row(json!({})))]).expect("it chooses");
    assert_eq!(report.warnings[0].code, "select::no_split");
}

#[test]
fn misuse_is_explained() {
    let problems = |text| -> Vec<String> {
        let problems = config(text).check().into_iter();
        problems
            .map(|one| {
                format!(
                    "{}: {} / {}",
                    one.path.join("."),
                    one.message,
                    one.help.expect("help")
                )
            })
            .collect()
    };
    let found = problems(json!({"over": [], "metric": "eval_loss", "where": {"split": "test-2"}}));
    assert!(found[0].contains("over: nothing is chosen"), "{found:?}");
    assert!(found[1].contains("goal: min"), "{found:?}");
    assert!(
        found[2].starts_with("where.split: `test-2` is a split of test"),
        "{found:?}"
    );
    let found = problems(json!({"over": ["a", "seed"], "mean_over": ["seed"], "metric": "f1"}));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("mean_over.0: the axis `seed` stands twice"),
        "{found:?}"
    );
    assert!(problems(json!({"over": ["a"], "metric": "eval_loss", "goal": "min"})).is_empty());
    assert_eq!(
        config(json!({"over": ["a"], "metric": "f1", "ties": "first", "missing": "refuse"}))
            .manifest_config(),
        json!({"over": ["a"], "metric": "f1"})
    );
}
