//! Models as folders for the Hugging Face hub, with their cards. Knows nothing of networks and of the hub.

use serde_json::Value;

use crate::finetune::number;
use crate::space::{Ran, Space, contents, names_in};

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nfever\naspirin\ncell\nwas\nseen\n";

/// Three seeds of a tiny model of tags, each judged on `test`; `TERMS` stands in the fetch, `MODEL` in the models.
const PIPELINE: &str = "\
doc: Signs and drugs.
about: { title: Signs, authors: [A. One, B. Two], year: 2026, language: en }
stages:
  files:
    kind: fetch
    with:
      TERMS
      files: { train: URLsigns.txt, test: URLtest.txt }
  data:
    kind: dataset
    needs: { train: files.train, dev: files.train, test: files.test }
    with: { name: signs, reader: conll, separator: space }
  words:
    kind: fetch
    with: { licence: MIT, url: URLvocab.txt }
  model:
    kind: finetune
    doc: Tags of signs.
    replicate: { seed: [1, 2, 3] }
    needs: { data: data, vocabulary: words }
    with:
      name: signs
      size: tiny
      sizes: { embedding: 16, hidden: 32, layers: 1, heads: 2 }
      epochs: 2
      batch: 2
      learning_rate: 1.0e-3
      max_length: 16
      seed: '${replicate.seed}'MODEL
  predict:
    kind: predict
    matrix: { from: model }
    needs: { model: model.model, data: data }
    with: { name: signs }
  score:
    kind: score
    matrix: { from: model }
    needs: { data: data, predictions: predict }
    with: { name: signs, metric: span_f1 }
  further:
    kind: finetune
    needs: { data: data, start: { stage: model, where: { seed: 1 }, output: model } }
    with: { name: further, epochs: 1, batch: 2, learning_rate: 1.0e-3, max_length: 16, seed: 9 }
  further-predict:
    kind: predict
    needs: { model: further.model, data: data }
    with: { name: further }
  further-score:
    kind: score
    needs: { data: data, predictions: further-predict }
    with: { name: further, metric: span_f1 }
";

fn space(terms: &str, model: &str) -> Space {
    let space = Space::new();
    space.write("from/vocab.txt", WORDS);
    let signs =
        "the O\nfever B-Sign\nwas O\nseen O\n\nthe O\naspirin B-Drug\nwas O\n\nthe O\ncell O\n";
    space.write("from/signs.txt", signs);
    let test = "fever B-Sign\n\nthe O\nfever B-Sign\nwas O\n\naspirin B-Drug\nseen O\n\ncell O\n";
    space.write("from/test.txt", test);
    let url = format!("file://{}/", space.path("from").display());
    let text = PIPELINE.replace("TERMS", terms).replace("URL", &url);
    space.write("p.yaml", text.replace("MODEL", model));
    space
}

fn get(space: &Space, stage: &str, more: &[&str]) -> Ran {
    let words = [
        "get",
        "p.yaml",
        stage,
        "--format",
        "huggingface",
        "--to",
        "out/electra-signs",
    ];
    space.call(&[&words, more].concat())
}

/// The front matter of a card as any reader of YAML sees it, and the rest.
fn card(space: &Space) -> (Value, String) {
    let text = space.read("out/electra-signs/README.md");
    let (front, page) = text
        .strip_prefix("---\n")
        .and_then(|text| text.split_once("\n---\n"))
        .expect("front matter");
    let front = serde_saphyr::from_str(front).expect("YAML");
    (front, page.to_owned())
}

/// A cell of the card's table of scores.
fn cells(page: &str, begins: &str) -> Vec<String> {
    let line = page.lines().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no {begins:?} in {page}"));
    line.trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

#[test]
fn a_card_states_terms_scores_of_all_members_and_which_one_it_is() {
    let space = space("licence: CC BY-SA 4.0", "");
    space.run(&[]).exits(0);
    get(&space, "model", &[])
        .exits(2)
        .says("`model` means 3 stages");
    get(&space, "model[2]", &[]).exits(0);
    let files = [
        "README.md",
        "config.json",
        "model.safetensors",
        "reading.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ];
    assert_eq!(names_in(&space.path("out/electra-signs")), files);
    let (front, page) = card(&space);
    assert_eq!(front["license"], "cc-by-sa-4.0", "stricter than MIT");
    assert_eq!(front["library_name"], "transformers");
    assert_eq!(front["pipeline_tag"], "token-classification");
    assert_eq!(front["language"][0], "en");
    assert_eq!(front["datasets"][0], "signs");
    assert!(front.get("base_model").is_none() && front.get("license_link").is_none());
    let index = &front["model-index"][0];
    assert_eq!(index["name"], "electra-signs");

    // The mean and the spread are those of the records, number by number.
    let test = |seed: u32| number(&space, &format!("score[{seed}].metrics"), "test", "f1");
    let values = [1, 2, 3].map(test);
    let mean = values.iter().sum::<f64>() / 3.0;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let results = index["results"].as_array().expect("results");
    let of = |split: &str| {
        let is_it = |result: &&Value| result["dataset"]["split"] == split;
        results.iter().find(is_it).expect("a result")["metrics"]
            .as_array()
            .expect("metrics")
    };
    let f1 = of("test")
        .iter()
        .find(|metric| metric["type"] == "f1")
        .expect("F1");
    assert!(
        (f1["value"].as_f64().expect("a number") - mean).abs() < 1e-9,
        "{f1}"
    );
    assert_eq!(f1["name"], "f1 (mean of 3)");
    let dev = [1, 2, 3].map(|seed| number(&space, &format!("model[{seed}].metrics"), "dev", "f1"));
    let stated = of("dev")[0]["value"].as_f64().expect("a number");
    assert!((stated - dev.iter().sum::<f64>() / 3.0).abs() < 1e-9);
    let row = cells(&page, "| score | signs | test | f1 |");
    for (cell, value) in row[4..]
        .iter()
        .zip(values.iter().chain([&mean, &(squares / 2.0).sqrt()]))
    {
        let shown: f64 = cell.replace(',', "").parse().expect("a number");
        assert!((shown - value).abs() <= 0.5, "{cell} against {value}");
    }
    assert_eq!(row[9], "3");
    // What a model that began from this one is worth says nothing of this one.
    assert!(!page.contains("further"), "{page}");

    let place = 1 + values.iter().filter(|value| **value > values[1]).count();
    let records = space.records();
    let made = records
        .values()
        .find(|record| record["stage"] == "model[seed=2]")
        .expect("a record");
    for text in [
        "one of 3 members, **seed=2**",
        &format!("it is in place {place} of 3"),
        made["key"].as_str().expect("a key"),
        made["manifest"].as_str().expect("a manifest"),
        "| files | data | CC BY-SA 4.0 |",
        "| words | model | MIT |",
        "A. One, B. Two. 2026. Signs.",
        "AutoModelForTokenClassification.from_pretrained",
        "The epoch was chosen on `dev`",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    assert!(
        !page.contains(&space.root().display().to_string()),
        "no folder of this machine: {page}"
    );

    // The weights are those of the cache, and a second time refuses to write over them.
    space
        .call(&["get", "p.yaml", "model[2].model", "--to", "plain"])
        .exits(0);
    for name in ["model.safetensors", "config.json", "vocab.txt"] {
        let read = |folder: &str| fs_err::read(space.path(folder).join(name)).expect("there");
        assert_eq!(read("out/electra-signs"), read("plain/model"), "{name}");
    }
    let before = contents(&space.path("out"));
    get(&space, "model[1]", &[])
        .exits(2)
        .says("is there already");
    assert_eq!(contents(&space.path("out")), before);
}

#[test]
fn a_member_without_a_result_is_told() {
    let space = space("licence: MIT", "");
    space
        .run(&["score[1]", "score[3]", "further-score"])
        .exits(0);
    get(&space, "model[2]", &[])
        .exits(2)
        .says("has no result yet");
    get(&space, "model[3]", &[]).exits(0);
    let (front, page) = card(&space);
    assert_eq!(front["license"], "mit");
    assert!(
        page.contains("seed=2 was not made, so that 2 of 3 count."),
        "{page}"
    );
    assert_eq!(cells(&page, "| score | signs | test | f1 |")[9], "2 of 3");
    fs_err::remove_dir_all(space.path("out")).expect("removed");
    get(&space, "further", &[]).exits(0);
    let (front, page) = card(&space);
    assert!(page.contains("which began from `model[seed=1]`"), "{page}");
    assert!(page.contains("n = 1"), "{page}");
    let results = front["model-index"][0]["results"]
        .as_array()
        .expect("results");
    assert!(
        results
            .iter()
            .all(|result| result["dataset"]["name"] == "further")
    );
}

#[test]
fn terms_that_forbid_it_are_kept_and_what_is_no_model_is_refused() {
    let space = space("licence: for members only\n      redistribute: false", "");
    space.run(&["score[1]"]).exits(0);
    let refused = get(&space, "model[1]", &[]).exits(2);
    refused
        .says("cli::restricted")
        .says("`files`: for members only");
    assert!(!space.exists("out/electra-signs"));
    for (stage, says) in [
        (
            "score[1]",
            "`score[seed=1]` is no model: its kind is `score`",
        ),
        ("model[1].log", "its models are `model`"),
        ("model[1].modle", "its models are `model`"),
    ] {
        get(&space, stage, &[])
            .exits(2)
            .says("cli::no_model")
            .says(says);
    }
    get(&space, "model[1]", &["--include-restricted"]).exits(0);
    let (front, page) = card(&space);
    assert_eq!(front["license"], "other");
    assert_eq!(front["license_link"], "LICENSE.md");
    assert!(
        page.contains("> **Not to be passed on.** The terms of files forbid"),
        "{page}"
    );
    let terms = space.read("out/electra-signs/LICENSE.md");
    assert!(
        terms.contains("- files: for members only; must not be passed on\n- words: MIT\n"),
        "{terms}"
    );
    let words = [
        "get",
        "p.yaml",
        "model[1]",
        "--to",
        "x",
        "--include-restricted",
    ];
    space.call(&words).exits(2).says("--format");
}

#[test]
fn a_native_head_is_documented_and_a_damaged_one_leaves_nothing() {
    let space = space("licence: MIT", "\n      head: native");
    space.run(&["score[1]"]).exits(0);
    get(&space, "model[1]", &[]).exits(0);
    let (front, page) = card(&space);
    assert_eq!(front["pipeline_tag"], "feature-extraction");
    assert_eq!(
        front["model-index"][0]["results"][0]["task"]["type"],
        "token-classification"
    );
    for text in [
        "`transformers` loads the encoder",
        "| `classifier.weight` | (3, 32) |",
        "| `classifier.bias` | (3) |",
        "all pieces are in segment 1",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    // Bytes of the last file that are no longer those that were recorded.
    fs_err::remove_dir_all(space.path("out")).expect("removed");
    let objects = space.objects();
    let (path, _) = objects
        .iter()
        .find(|(_, bytes)| {
            bytes.starts_with(b"{\n  \"labels\"") || bytes.windows(9).any(|at| at == b"max_lengt")
        })
        .expect("`reading.json`");
    let path = space.path("cache/objects-v1").join(path);
    fs_err::remove_file(&path).expect("removed");
    fs_err::write(path, "{}").expect("written");
    let failed = get(&space, "model[1]", &[]);
    assert_ne!(failed.code, Some(0));
    assert_eq!(
        names_in(&space.path("out")),
        [""; 0],
        "nothing half-written"
    );
}

const PRETRAINED: &str = "\
stages:
  vocabulary: { kind: vocab, needs: { vocabulary: ./vocab.txt }, with: { name: v } }
  examples:
    kind: pack
    needs: { text: ./text.txt, vocabulary: vocabulary }
    with: { name: e, lengths: [16], seed: 1 }
  pretrain:
    kind: pretrain
    needs: { examples: examples.examples-16, vocabulary: vocabulary }
    with:
      name: tiny
      size: tiny
      sizes: { embedding: 16, hidden: 32, layers: 1, heads: 2 }
      steps: 3
      batch: 2
      learning_rate: 1.0e-3
      warmup_steps: 1
      held_out: 4
      seed: 1
  copy:
    kind: checkpoint
    needs: { weights: pretrain.model }
    with: { name: copy }
";

#[test]
fn both_networks_of_pretraining_and_released_weights_are_handed_out() {
    let space = Space::new();
    space.write("vocab.txt", WORDS);
    space.write(
        "text.txt",
        "the fever was seen\nthe cell was seen\n\n".repeat(20),
    );
    space.write("p.yaml", PRETRAINED);
    space.run(&[]).exits(0);
    for (output, tag, text) in [
        ("pretrain", None, "The discriminator of an ELECTRA model"),
        (
            "pretrain.generator",
            Some("fill-mask"),
            "AutoModelForMaskedLM.from_pretrained",
        ),
        ("copy", None, "which began from `pretrain`"),
    ] {
        get(&space, output, &[]).exits(0);
        let (front, page) = card(&space);
        assert_eq!(
            front.get("pipeline_tag").and_then(Value::as_str),
            tag,
            "{output}"
        );
        assert_eq!(front["license"], "unknown", "{output}");
        assert!(page.contains(text), "no {text:?} in {page}");
        assert!(
            page.contains("| vocab.txt | vocabulary | not stated |"),
            "{page}"
        );
        fs_err::remove_dir_all(space.path("out")).expect("removed");
    }
}
