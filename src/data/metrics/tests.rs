//! Metrics on small cases worked out by hand, and what they have in common.

use super::*;
use crate::example::{
    Answer, Classification, Document, MultiLabel, Question, Regression, Span, Tagging,
};

fn prediction(id: &str) -> Prediction {
    Prediction {
        example_id: id.to_owned(),
        ..Prediction::default()
    }
}

fn labelled(id: &str, label: &str) -> Prediction {
    Prediction {
        label: Some(label.to_owned()),
        ..prediction(id)
    }
}

fn chunk(id: &str, start: usize, end: usize, label: &str) -> Prediction {
    Prediction {
        start: Some(start),
        end: Some(end),
        ..labelled(id, label)
    }
}

fn answer(id: &str, text: &str, score: f64) -> Prediction {
    Prediction {
        text: Some(text.to_owned()),
        score: Some(score),
        ..prediction(id)
    }
}

fn group(predictions: impl IntoIterator<Item = Prediction>) -> Predictions {
    let mut all = Predictions::new();
    for one in predictions {
        all.entry(one.example_id.clone()).or_default().push(one);
    }
    all
}

fn tagging(id: &str, tags: &str) -> Example {
    let tags: Vec<String> = tags.split(' ').map(str::to_owned).collect();
    Example::Tagging(Tagging {
        id: id.to_owned(),
        tokens: (0..tags.len()).map(|i| format!("w{i}")).collect(),
        tags,
    })
}

fn run(
    metric: &str,
    examples: &[Example],
    predictions: &Predictions,
    options: &Options,
) -> Result<Outcome, String> {
    let work = Work {
        examples,
        predictions,
        golden: None,
        options,
    };
    score(find_metric(metric).expect("a metric"), &work)
        .map_err(|error| format!("{error} / {}", error.help().unwrap_or_default()))
}

#[track_caller]
fn value(outcome: &Outcome, metric: &str, class: Option<&str>) -> f64 {
    outcome
        .scores
        .iter()
        .find(|score| score.metric == metric && score.class.as_deref() == class)
        .unwrap_or_else(|| panic!("no {metric} {class:?} in {:#?}", outcome.scores))
        .value
}

#[track_caller]
fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn the_table_is_sorted_and_documented() {
    let names: Vec<_> = METRICS.iter().map(|metric| metric.name()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(
        METRICS
            .iter()
            .all(|metric| !metric.doc().is_empty() && !metric.tasks().is_empty())
    );
}

#[test]
fn spans_count_where_place_and_type_agree() {
    let examples = [
        tagging("1", "B-D I-D O B-C O B-D"),
        tagging("2", "O O I-D"),
        tagging("3", "O"),
    ];
    let predictions = group([
        chunk("1", 0, 2, "D"),
        chunk("1", 3, 4, "D"),
        chunk("1", 4, 6, "D"),
        chunk("2", 0, 2, "O"),
        chunk("2", 2, 3, "I-D"),
        prediction("3"),
    ]);
    let outcome = run("span_f1", &examples, &predictions, &Options::default()).expect("scored");
    // Found: 1:0-2 D, 2:2-3 D. Invented: 1:3-4 D, 1:4-6 D. Missed: 1:3-4 C, 1:5-6 D.
    close(value(&outcome, "precision", None), 50.0);
    close(value(&outcome, "recall", None), 50.0);
    close(value(&outcome, "f1", None), 50.0);
    close(value(&outcome, "f1", Some("C")), 0.0);
    close(value(&outcome, "f1", Some("D")), 400.0 / 7.0);
    close(value(&outcome, "macro_f1", None), 200.0 / 7.0);
    close(value(&outcome, "span_errors", Some("type")), 1.0);
    close(value(&outcome, "span_errors", Some("boundary")), 1.0);
    close(value(&outcome, "span_errors", Some("spurious")), 0.0);
    let first = &outcome.samples[0];
    assert_eq!(first.text, "w0 w1 w2 w3 w4 w5");
    assert_eq!(
        (
            first.gold[1].start,
            first.gold[1].text.as_deref(),
            first.gold[1].error.as_deref()
        ),
        (Some(9), Some("w3"), Some("type"))
    );
    assert!(!first.correct && outcome.samples[1].correct && outcome.samples[2].correct);
}

#[test]
fn strict_mode_knows_only_what_obeys_the_scheme() {
    let examples = [tagging("1", "I-D O B-D I-D I-C B-C")];
    let same = group([
        chunk("1", 0, 1, "I-D"),
        chunk("1", 2, 3, "B-D"),
        chunk("1", 3, 4, "I-D"),
        chunk("1", 4, 5, "I-C"),
        chunk("1", 5, 6, "B-C"),
    ]);
    let lenient = run("span_f1", &examples, &same.clone(), &Options::default()).expect("scored");
    assert_eq!(lenient.samples[0].gold.len(), 4);
    let strict = Options {
        mode: Mode::Strict,
        ..Options::default()
    };
    let strict = run("span_f1", &examples, &same, &strict).expect("scored");
    let places: Vec<_> = strict.samples[0]
        .gold
        .iter()
        .map(|mark| mark.start)
        .collect();
    assert_eq!(places, [Some(6), Some(15)]);
    close(value(&strict, "f1", None), 100.0);
}

#[test]
fn types_may_be_merged_or_left_out() {
    let examples = [tagging("1", "B-DNA O B-RNA B-protein")];
    let predictions = || group([chunk("1", 0, 1, "RNA"), chunk("1", 2, 3, "RNA")]);
    let merged = Options {
        merge_types: true,
        ..Options::default()
    };
    let outcome = run("span_f1", &examples, &predictions(), &merged).expect("scored");
    close(value(&outcome, "precision", None), 100.0);
    close(value(&outcome, "recall", None), 200.0 / 3.0);
    let only = Options {
        classes: vec!["RNA".to_owned()],
        ..Options::default()
    };
    let outcome = run("span_f1", &examples, &predictions(), &only).expect("scored");
    close(value(&outcome, "precision", None), 50.0);
    close(value(&outcome, "recall", None), 100.0);
}

#[test]
fn documents_have_spans_in_characters() {
    let document = Document {
        id: "d".to_owned(),
        text: "né Bo".to_owned(),
        spans: vec![Span {
            start: 3,
            end: 5,
            label: "X".to_owned(),
            id: None,
            concept: None,
            parts: Vec::new(),
        }],
        relations: Vec::new(),
    };
    let examples = [Example::Spans(document)];
    let outcome = run(
        "span_f1",
        &examples,
        &group([chunk("d", 3, 5, "X")]),
        &Options::default(),
    )
    .expect("scored");
    close(value(&outcome, "f1", None), 100.0);
    assert_eq!(outcome.samples[0].predicted[0].text.as_deref(), Some("Bo"));
    let error = run(
        "span_f1",
        &examples,
        &group([chunk("d", 3, 6, "X")]),
        &Options::default(),
    );
    assert_eq!(
        error.expect_err("beyond the text"),
        "a prediction for `d` is no span of its 5 characters / give `start`, `end` and `label`, counting characters from 0, `end` one past the last"
    );
}

#[test]
fn words_count_by_type_alone() {
    let examples = [tagging("1", "B-P I-P O B-I")];
    let predictions = group([chunk("1", 1, 3, "P"), chunk("1", 3, 4, "B-I")]);
    let outcome = run("word_f1", &examples, &predictions, &Options::default()).expect("scored");
    close(value(&outcome, "f1", Some("P")), 50.0);
    close(value(&outcome, "f1", Some("I")), 100.0);
    close(value(&outcome, "macro_f1", None), 75.0);
}

fn classification(id: &str, label: &str) -> Example {
    Example::Classification(Classification {
        id: id.to_owned(),
        text: "t".to_owned(),
        label: label.to_owned(),
    })
}

#[test]
fn micro_f1_pools_the_classes_that_are_not_negative() {
    let examples = ["a", "a", "b", "false", "false"].iter().enumerate();
    let examples: Vec<Example> = examples
        .map(|(i, label)| classification(&i.to_string(), label))
        .collect();
    let predictions = group(
        ["a", "b", "false", "false", "a"]
            .iter()
            .enumerate()
            .map(|(i, label)| labelled(&i.to_string(), label)),
    );
    let options = Options {
        negative: vec!["false".to_owned()],
        ..Options::default()
    };
    let outcome = run("micro_f1", &examples, &predictions, &options).expect("scored");
    // Found 1; invented: b for a, a for false; missed: a, b.
    close(value(&outcome, "precision", None), 100.0 / 3.0);
    close(value(&outcome, "recall", None), 100.0 / 3.0);
    close(value(&outcome, "accuracy", None), 40.0);
    close(value(&outcome, "confusion", Some("a -> b")), 1.0);
}

#[test]
fn answers_are_compared_as_squad_does() {
    let question = |id: &str, context: &str, answers: &[&str]| {
        Example::QuestionAnswering(Question {
            id: id.to_owned(),
            question: "?".to_owned(),
            context: context.to_owned(),
            answers: answers
                .iter()
                .map(|text| Answer {
                    text: (*text).to_owned(),
                    start: context.find(text).expect("it stands there"),
                })
                .collect(),
        })
    };
    let examples = [
        question("1", "The U.S. Army of an era", &["The U.S. Army", "an era"]),
        question("2", "red green blue", &["red green"]),
    ];
    let predictions = group([
        answer("1", "wrong", 0.1),
        answer("1", "the us  army.", 0.9),
        answer("2", "green blue", 0.5),
    ]);
    let outcome = run("exact_match", &examples, &predictions, &Options::default()).expect("scored");
    close(value(&outcome, "exact_match", None), 50.0);
    close(value(&outcome, "f1", None), 75.0);
}

#[test]
fn candidates_of_all_contexts_are_pooled_for_bioasq() {
    let question = |id: &str| {
        Example::QuestionAnswering(Question {
            id: id.to_owned(),
            question: "?".to_owned(),
            context: "c".to_owned(),
            answers: Vec::new(),
        })
    };
    let examples = [question("a_000"), question("a_001"), question("b_000")];
    let predictions = group([
        answer("a_000", "First.", 0.5),
        answer("a_000", "(right)", 0.3),
        answer("a_001", "Right", 0.3),
        answer("b_000", "a(b", 0.9),
    ]);
    let golden = Golden {
        factoids: vec![
            golden::Factoid {
                id: "a".to_owned(),
                body: "?".to_owned(),
                answers: vec![vec!["other".to_owned(), "RIGHT".to_owned()]],
            },
            golden::Factoid {
                id: "b".to_owned(),
                body: "?".to_owned(),
                answers: vec![vec!["a(b".to_owned()]],
            },
        ],
        others: 0,
    };
    let options = Options {
        id_separators: vec!["_".to_owned()],
        ..Options::default()
    };
    let work = Work {
        examples: &examples,
        predictions: &predictions,
        golden: Some(&golden),
        options: &options,
    };
    let outcome = score(&bioasq::BioAsq, &work).expect("scored");
    close(value(&outcome, "strict_accuracy", None), 50.0);
    let texts: Vec<_> = outcome.samples[0]
        .predicted
        .iter()
        .map(|mark| mark.text.as_deref())
        .collect();
    assert_eq!(texts, [Some("right"), Some("First")]);
    assert!(
        outcome.samples[1].predicted.is_empty(),
        "an open parenthesis alone is no answer"
    );
}

#[test]
fn numbers_correlate() {
    let pair = |id: &str, value: f64| {
        Example::Regression(Regression {
            id: id.to_owned(),
            texts: vec!["a".to_owned(), "b".to_owned()],
            value,
        })
    };
    let examples = [pair("1", 0.0), pair("2", 1.0), pair("3", 4.0)];
    let number = |id: &str, score: f64| Prediction {
        score: Some(score),
        ..prediction(id)
    };
    let outcome = run(
        "pearson",
        &examples,
        &group([number("1", 1.0), number("2", 2.0), number("3", 5.0)]),
        &Options::default(),
    )
    .expect("scored");
    close(value(&outcome, "pearson", None), 100.0);
    close(value(&outcome, "mean_squared_error", None), 1.0);
    let flat = run(
        "pearson",
        &examples,
        &group([number("1", 1.0), number("2", 1.0), number("3", 1.0)]),
        &Options::default(),
    );
    assert!(
        flat.expect_err("flat")
            .starts_with("3 pairs of numbers have no correlation")
    );
}

#[test]
fn documents_gather_the_labels_of_their_parts() {
    let part = |id: &str, labels: &[&str]| {
        Example::MultiLabel(MultiLabel {
            id: id.to_owned(),
            text: "t".to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        })
    };
    let examples = [part("d_1", &["x"]), part("d_2", &["y"]), part("e_1", &[])];
    let predictions = group([
        labelled("d_1", "y"),
        labelled("d_2", "z"),
        prediction("e_1"),
    ]);
    let options = Options {
        id_separators: vec!["_".to_owned()],
        ..Options::default()
    };
    let outcome = run("multi_label_f1", &examples, &predictions, &options).expect("scored");
    close(value(&outcome, "f1", None), 50.0);
    close(value(&outcome, "subset_accuracy", None), 50.0);
}

#[test]
fn what_does_not_fit_is_explained() {
    let examples = [classification("1", "a"), classification("2", "a")];
    let some = || group([labelled("1", "a")]);
    assert_eq!(
        run("accuracy", &examples, &some(), &Options::default()).expect_err("missing"),
        "1 of 2 examples have no prediction: `2` / predict them, write a line with their `example_id` alone where nothing was found, or set `missing: empty`"
    );
    let empty = Options {
        missing: Missing::Empty,
        ..Options::default()
    };
    let outcome = run("accuracy", &examples, &some(), &empty).expect("scored");
    close(value(&outcome, "accuracy", None), 50.0);
    close(value(&outcome, "missing_predictions", None), 1.0);
    assert_eq!(
        run(
            "accuracy",
            &examples,
            &group([labelled("9", "a")]),
            &Options::default()
        )
        .expect_err("a stranger"),
        "there is a prediction for `9`, which is no example of this split / score the split that was predicted"
    );
    assert_eq!(
        run("span_f1", &examples, &some(), &Options::default()).expect_err("another task"),
        "`span_f1` does not score `classification` examples / metrics that do are `accuracy`, `micro_f1`"
    );
    let tags = [tagging("1", "O O")];
    for (wrong, message) in [
        (
            chunk("1", 1, 3, "D"),
            "a prediction for `1`: 1..3 reaches beyond the 2 tokens / count tokens from 0, `end` one past the last",
        ),
        (
            labelled("1", "D"),
            "a prediction for `1`: a chunk needs `start`, `end` and `label` / give all three, or `example_id` alone where nothing was found",
        ),
    ] {
        assert_eq!(
            run("span_f1", &tags, &group([wrong]), &Options::default()).expect_err("wrong"),
            message
        );
    }
}

#[test]
fn the_official_evaluator_gives_the_same_numbers() {
    let Some(shared) = crate::testing::shared("the_official_evaluator_gives_the_same_numbers")
    else {
        return;
    };
    let file = fs_err::File::open(shared.join("../oracles/bioasq/cases.jsonl.gz"));
    let lines = std::io::BufReader::new(flate2::read::GzDecoder::new(file.expect("there")));
    let mut cases = 0;
    for line in std::io::BufRead::lines(lines) {
        let case: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        let batch = format!("qa/BioASQ-7b/7B{}_golden.json", case["batch"]);
        let golden = Golden::read(&shared.join(&batch), &batch).expect("a golden file");
        let (mut strict, mut lenient, mut reciprocal) = (0.0, 0.0, 0.0);
        for factoid in &golden.factoids {
            let candidates = case["answers"][&factoid.id].as_array();
            let texts = candidates
                .into_iter()
                .flatten()
                .filter_map(serde_json::Value::as_str);
            if let Some(rank) = bioasq::rank(texts, &factoid.answers) {
                strict += f64::from(u8::from(rank == 1));
                lenient += 1.0;
                reciprocal += 1.0 / rank as f64;
            }
        }
        let n = golden.factoids.len() as f64;
        for (name, sum) in [
            ("strict", strict),
            ("lenient", lenient),
            ("mrr", reciprocal),
        ] {
            let expected = case[name].as_f64().expect("a number");
            assert!((sum / n - expected).abs() < 1e-12, "{batch} {name}");
        }
        cases += 1;
    }
    assert_eq!(cases, 40);
}
