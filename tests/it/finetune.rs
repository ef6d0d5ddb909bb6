//! Labelled sets and plain text of every task through `finetune`, `predict` and `score`. Knows nothing of networks.

use serde_json::Value;

use crate::space::Space;

/// Sentences in which one word, out of a few that occur nowhere else, decides everything.
pub(crate) fn sentence(i: usize) -> (Vec<&'static str>, usize, usize) {
    const WORDS: [&str; 8] = ["the", "of", "was", "in", "seen", "with", "and", "cell"];
    const KEYS: [&str; 4] = ["fever", "cough", "aspirin", "heparin"];
    let n = 4 + i % 5;
    let mut words: Vec<&str> = (0..n).map(|j| WORDS[(i * 7 + j * 3 + i / 8) % 8]).collect();
    let (place, key) = (1 + (i / 3) % (n - 1), (i / 2) % 4);
    words[place] = KEYS[key];
    (words, place, key)
}

fn write(space: &Space, name: &str, line: impl Fn(usize) -> String) {
    for (split, range) in [("train", 0..600), ("dev", 600..640), ("test", 700..740)] {
        let text: String = range.map(&line).collect();
        space.write(&format!("{name}/{split}.txt"), text);
    }
}

pub(crate) const HEAD: &str = "\
stages:
  vocabulary:
    kind: vocab
    needs: { vocabulary: ./vocab.txt }
    with: { name: made }
";

pub(crate) fn stages(name: &str, reader: &str, metric: &str) -> String {
    format!(
        "  {name}-data:
    kind: dataset
    needs: {{ train: {name}/train.txt, dev: {name}/dev.txt, test: {name}/test.txt }}
    with: {{ name: {name}, {reader} }}
  {name}:
    kind: finetune
    needs: {{ data: {name}-data, vocabulary: vocabulary }}
    with:
      name: {name}
      size: tiny
      sizes: {{ embedding: 32, hidden: 64, layers: 2, heads: 2 }}
      epochs: 15
      batch: 8
      learning_rate: 1.0e-3
      layer_decay: 1
      max_length: 32
      seed: 1
  {name}-predict:
    kind: predict
    needs: {{ model: {name}.model, data: {name}-data }}
    with: {{ name: {name}, splits: [dev, test] }}
  {name}-score:
    kind: score
    needs: {{ data: {name}-data, predictions: {name}-predict }}
    with: {{ name: {name}, metric: {metric} }}
"
    )
}

/// The same stages with products in bf16.
fn in_bf16(stages: &str) -> String {
    stages
        .replace("seed: 1", "seed: 1\n      precision: bf16")
        .replace("[dev, test]", "[dev, test], precision: bf16")
}

/// A stage that predicts `text` with the model of a task.
fn notes(task: &str, text: &str, with: &str) -> String {
    format!(
        "  {task}-notes:
    kind: predict
    needs: {{ model: {task}.model, text: {text} }}
    with: {{ name: notes{with} }}
"
    )
}

pub(crate) fn lines(space: &Space, output: &str, file: &str) -> Vec<Value> {
    let to = format!("got-{output}");
    space.call(&["get", "p.yaml", output, "--to", &to]).exits(0);
    let folder = output
        .split_once('.')
        .map_or("predictions", |(_, name)| name);
    let place = space.path(&to).join(folder).join(file);
    let text = fs_err::read_to_string(place).expect("there");
    let line = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(line).collect()
}

/// What of `wanted` stands in a line.
fn fields<const N: usize>(line: &Value, wanted: [&str; N]) -> String {
    let shown = wanted.map(|name| line[name].to_string());
    shown.join(" ").replace('"', "")
}

pub(crate) fn number(space: &Space, output: &str, split: &str, metric: &str) -> f64 {
    let ran = space.call(&["path", "p.yaml", output]).exits(0);
    let text = fs_err::read_to_string(ran.stdout.trim()).expect("there");
    let row = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .find(|row| row["metric"] == metric && row["split"] == split && row["class"].is_null());
    row.expect(metric)["value"].as_f64().expect("a number")
}

#[test]
fn every_task_is_learned_and_dev_tells_what_was_predicted() {
    let space = Space::new();
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nin\nseen\nwith\nand\ncell\nfever\ncough\naspirin\nhepa\n##rin\n.\n";
    space.write("vocab.txt", words);
    write(&space, "tags", |i| {
        let (words, place, key) = sentence(i);
        let tag = if key < 2 { "B-Sign" } else { "B-Drug" };
        let lines = words
            .iter()
            .enumerate()
            .map(|(j, word)| format!("{word} {}\n", if j == place { tag } else { "O" }));
        lines.collect::<String>() + ". O\n\n"
    });
    write(&space, "classes", |i| {
        let (words, _, key) = sentence(i);
        let label = ["none", "sign", "old", "new"][key];
        let header = if [0, 600, 700].contains(&i) {
            "sentence\tlabel\n"
        } else {
            ""
        };
        format!("{header}{}\t{label}\n", words.join(" "))
    });
    // Characters of several bytes before what is found, several sentences a line, and a line without a chunk.
    let text =
        "β the fever was seen. In the cell heparin was seen.\n\nthe of was in\nThe cough seen.\n";
    space.write("notes.txt", text);
    space.write("more/one.jsonl", "{\"id\":\"a\",\"text\":\"the cough was seen\",\"year\":2019}\n{\"text\":\"of heparin in the cell\"}\n");
    space.write("more/two.jsonl", "{\"text\":\"the fever seen with\"}\n");
    let right = "{\"task\":\"spans\",\"id\":\"text-1\",\"text\":\"β the fever was seen. In the cell heparin was seen.\",\"spans\":[{\"start\":6,\"end\":11,\"label\":\"Sign\"},{\"start\":34,\"end\":41,\"label\":\"Drug\"}]}
{\"task\":\"spans\",\"id\":\"text-3\",\"text\":\"the of was in\",\"spans\":[]}
{\"task\":\"spans\",\"id\":\"text-4\",\"text\":\"The cough seen.\",\"spans\":[{\"start\":4,\"end\":9,\"label\":\"Sign\"}]}
";
    space.write("right.jsonl", right);
    let judged = "  notes-score:
    kind: score
    needs: { data: ./right.jsonl, predictions: tags-notes.predictions }
    with: { name: notes, metric: span_f1, split: text }
";
    let pipeline = [
        HEAD,
        &stages("tags", "reader: conll, separator: space", "span_f1"),
        &in_bf16(&stages("classes", "reader: tsv", "accuracy")),
        &notes("tags", "./notes.txt", ", probabilities: true"),
        &notes(
            "classes",
            "./more",
            ", format: json_lines, probabilities: true",
        ),
        judged,
    ]
    .concat();
    space.write("p.yaml", pipeline);
    space.run(&[]).exits(0);
    plain_text_is_judged_as_examples_are(&space);
    for (name, metric) in [("tags", "f1"), ("classes", "accuracy")] {
        let test = number(&space, &format!("{name}-score.metrics"), "test", metric);
        assert!(test >= 90.0, "{name}: {test}");
        // The score on dev by which the epoch was chosen is that of the predictions of the model that was kept.
        let chosen = number(&space, &format!("{name}.metrics"), "dev", metric);
        let text = fs_err::read_to_string(space.path("p.yaml")).expect("there");
        let dev = text.replace(
            &format!("with: {{ name: {name}, metric: "),
            &format!("with: {{ name: {name}, split: dev, metric: "),
        );
        space.write("p.yaml", dev);
        space.run(&[]).exits(0);
        let again = number(&space, &format!("{name}-score.metrics"), "dev", metric);
        assert_eq!(chosen, again, "{name}");
    }
    assert_eq!(space.run(&["--json"]).exits(0).counts()[1], 0);
}

/// Without labels and in running text, characters and all, the models of above say what they should.
fn plain_text_is_judged_as_examples_are(space: &Space) {
    let found = lines(space, "tags-notes", "text.jsonl");
    let shown: Vec<String> = found
        .iter()
        .map(|line| fields(line, ["example_id", "start", "end", "label", "text"]))
        .collect();
    let wanted = [
        "text-1 6 11 Sign fever",
        "text-1 34 41 Drug heparin",
        "text-3 null null null null",
        "text-4 4 9 Sign cough",
    ];
    assert_eq!(shown, wanted);
    assert!(
        found
            .iter()
            .all(|line| line["score"].is_null() || line["score"].as_f64() > Some(0.5))
    );
    // Scored like any other predictions, against spans in characters.
    let right = number(space, "notes-score.metrics", "text", "f1");
    assert_eq!(right, 100.0);
    // Each tag of each token, of which full stops are some.
    let all = lines(space, "tags-notes.probabilities", "text.jsonl");
    assert_eq!(all.len(), 3 * (13 + 4 + 4));
    let fever: Vec<&Value> = all
        .iter()
        .filter(|line| line["example_id"] == "text-1" && line["start"] == 6)
        .collect();
    let sum: f64 = fever
        .iter()
        .map(|line| line["score"].as_f64().expect("one"))
        .sum();
    assert!(fever.iter().all(|line| line["end"] == 11) && (sum - 1.0).abs() < 1e-9);
    let classes = lines(space, "classes-notes", "text.jsonl");
    let shown: Vec<String> = classes
        .iter()
        .map(|line| fields(line, ["example_id", "label"]))
        .collect();
    assert_eq!(shown, ["a sign", "one-2 new", "two-1 none"]);
    let all = lines(space, "classes-notes.probabilities", "text.jsonl");
    for (said, all) in classes.iter().zip(all.chunks(4)) {
        let score = |line: &Value| line["score"].as_f64().expect("one");
        assert!((all.iter().map(score).sum::<f64>() - 1.0).abs() < 1e-9);
        let of = all.iter().find(|line| line["label"] == said["label"]);
        assert_eq!(of.map(score), Some(score(said)));
        assert!(all.iter().all(|line| score(line) <= score(said)));
    }
}

/// A folder as a `dataset` stage makes it.
fn canonical(space: &Space, task: &str, labels: &str, line: impl Fn(usize) -> String) {
    let set = format!("{{\"task\":\"{task}\",\"labels\":{labels}}}\n");
    space.write(&format!("{task}/labels.json"), set);
    for (split, range) in [("train", 0..600), ("dev", 600..640), ("test", 700..740)] {
        let line = |i| {
            format!(
                "{{\"task\":\"{task}\",\"id\":\"{split}-{i}\",{}}}\n",
                line(i)
            )
        };
        let text: String = range.map(line).collect();
        space.write(&format!("{task}/{split}.jsonl"), text);
    }
}

/// A pair of texts with a number (as STS-B), a text with any number of labels (as HoC), and a question with a context.
#[test]
fn numbers_many_labels_and_answers_are_learned() {
    let space = Space::new();
    let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nin\nseen\nwith\nand\ncell\nfever\ncough\naspirin\nhepa\n##rin\n.\n?\nwhat\n";
    space.write("vocab.txt", words);
    canonical(&space, "regression", "[]", |i| {
        let (first, _, key) = sentence(i);
        let (second, _, other) = sentence(i * 3 + 1);
        let value = [0.0, 1.0, 2.0, 3.0][key] + [2.0, 0.0, 1.0, 0.5][other];
        let texts = [first.join(" "), second.join(" ")];
        format!(
            "\"texts\":[\"{}\",\"{}\"],\"value\":{value}",
            texts[0], texts[1]
        )
    });
    let labels = r#"["cool","hot","new"]"#;
    canonical(&space, "multi_label", labels, |i| {
        let (words, _, key) = sentence(i);
        let labels = [r#""hot""#, "", r#""hot","new""#, r#""cool""#][key];
        format!("\"text\":\"{}\",\"labels\":[{labels}]", words.join(" "))
    });
    canonical(&space, "question_answering", "[]", |i| {
        let (words, place, _) = sentence(i);
        let start = words[..place]
            .iter()
            .map(|word| word.len() + 1)
            .sum::<usize>();
        let answer = words[place];
        format!(
            "\"question\":\"what was seen ?\",\"context\":\"{}\",\"answers\":[{{\"text\":\"{answer}\",\"start\":{start}}}]",
            words.join(" ")
        )
    });
    space.write("questions.jsonl", "{\"id\":\"q\",\"question\":\"what was seen ?\",\"context\":\"β in the cell heparin was seen with .\"}\n");
    let stages = [
        ("regression", "pearson"),
        ("multi_label", "multi_label_f1"),
        ("question_answering", "exact_match"),
    ]
    .map(|(task, metric)| {
        stages(task, "reader: conll", metric)
            .split_once(&format!("  {task}:\n"))
            .map(|(_, rest)| format!("  {task}:\n{rest}"))
            .expect("a stage of the name")
            .replace(&format!("data: {task}-data"), &format!("data: ./{task}/"))
            // Narrow networks do not begin to learn from values as small as wide ones begin with.
            .replace("heads: 2 }", "heads: 2, initializer_range: 0.05 }")
    });
    let asked = notes(
        "question_answering",
        "./questions.jsonl",
        ", format: json_lines",
    );
    space.write("p.yaml", [HEAD, &stages.concat(), &asked].concat());
    space.run(&[]).exits(0);
    for (task, metric) in [
        ("regression", "pearson"),
        ("multi_label", "f1"),
        ("question_answering", "exact_match"),
    ] {
        let test = number(&space, &format!("{task}-score.metrics"), "test", metric);
        assert!(test >= 90.0, "{task}: {test}");
    }
    let answers = lines(&space, "question_answering-notes", "text.jsonl");
    let best = fields(&answers[0], ["example_id", "start", "end", "text"]);
    assert_eq!(best, "q 14 21 heparin");
    let sum: f64 = answers
        .iter()
        .map(|line| line["score"].as_f64().expect("one"))
        .sum();
    assert!((sum - 1.0).abs() < 1e-9);
}

/// A model of pairs knows nothing of single texts, nor the other way round; nor is there one of both.
#[test]
fn a_model_of_pairs_is_not_asked_about_single_texts() {
    let space = Space::new();
    space.write(
        "vocab.txt",
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nin\nseen\nwith\nand\ncell\n",
    );
    for (split, n) in [("train", 8), ("dev", 2), ("test", 2)] {
        let first = |i: usize| format!("the cell{}", " of".repeat(i));
        let pairs = (0..n).map(|i| format!("{}\twas seen\t{i}\n", first(i)));
        let table = format!("sentence1\tsentence2\tscore\n{}", pairs.collect::<String>());
        space.write(&format!("pairs/{split}.txt"), table);
        // As a command may make it.
        for (name, odd) in [("singles", "\"of\""), ("mixed", "\"the\",\"cell\"")] {
            let line = |i| {
                let texts = if i == 7 {
                    odd.to_owned()
                } else {
                    format!("\"{}\"", first(i))
                };
                format!(
                    "{{\"task\":\"regression\",\"id\":\"{split}-{i}\",\"texts\":[{texts}],\"value\":{i}}}\n"
                )
            };
            let text: String = (0..n).map(line).collect();
            space.write(&format!("{name}/{split}.jsonl"), text);
        }
    }
    for (folder, texts) in [("mixed", ""), ("singles", ",\"texts\":1")] {
        let labels = format!("{{\"task\":\"regression\",\"labels\":[]{texts}}}\n");
        space.write(&format!("{folder}/labels.json"), labels);
    }
    space.write("single.txt", "\nthe cell was seen\n");
    space.write("pair.jsonl", "{\"texts\":[\"the\",\"cell\"]}\n");
    let set = |name: &str| {
        stages(name, "reader: tsv_pairs", "pearson")
            .replace("epochs: 15", "epochs: 1")
            .replace("hidden: 64", "hidden: 32")
    };
    let singles = set("singles").replace("data: singles-data", "data: ./singles/");
    let (_, singles) = singles.split_once("  singles:\n").expect("the stage");
    let mixed = set("mixed").replace("data: mixed-data", "data: ./mixed/");
    let (_, mixed) = mixed.split_once("  mixed:\n").expect("the stage");
    let asked = [
        notes("pairs", "./single.txt", ""),
        notes("singles", "./pair.jsonl", ", format: json_lines"),
    ]
    .concat();
    let others = "  pairs-others:
    kind: predict
    needs: { model: pairs.model, data: ./singles/ }
    with: { name: others }
";
    let text = format!(
        "{HEAD}{}  singles:\n{singles}  mixed:\n{mixed}{asked}{others}",
        set("pairs")
    );
    space.write("p.yaml", text);
    space.run(&["pairs", "singles"]).exits(0);
    for (stage, words) in [
        (
            "pairs-notes",
            "the example `text-2` has one text, and the model reads two texts",
        ),
        (
            "pairs-others",
            "the example `test-0` has one text, and the model reads two texts",
        ),
        (
            "singles-notes",
            "the example `text-1` has two texts, and the model reads one text",
        ),
        (
            "mixed",
            "the example `train-7` has two texts, and those before it have one text",
        ),
    ] {
        space
            .run(&[stage])
            .exits(1)
            .says(words)
            .says("`format: json_lines`");
    }
}

#[test]
fn without_a_size_a_model_to_begin_from_is_asked_for() {
    let space = Space::new();
    space.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\n");
    write(&space, "classes", |i| {
        let header = if [0, 600, 700].contains(&i) {
            "sentence\tlabel\n"
        } else {
            ""
        };
        format!("{header}the\tx\n")
    });
    let text = [HEAD, &stages("classes", "reader: tsv", "accuracy")].concat();
    let bare = text.replace("      size: tiny\n", "");
    space.write("p.yaml", bare);
    // Before any work, at its place.
    space.call(&["check", "p.yaml"]).exits(2).says("start");
}

/// The reference fine-tunes and predicts through the same stages under keys of its own, to nearly the same numbers.
#[test]
fn the_reference_learns_and_predicts_the_same() {
    let space = Space::new();
    space.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nin\nseen\nwith\nand\ncell\nfever\ncough\naspirin\nhepa\n##rin\n");
    for (split, range) in [("train", 0..24), ("dev", 600..608), ("test", 700..708)] {
        let line = |i: usize| {
            let (words, _, key) = sentence(i);
            format!(
                "{}\t{}\n",
                words.join(" "),
                ["none", "sign", "old", "new"][key]
            )
        };
        let text: String = range.map(line).collect();
        space.write(
            &format!("few/{split}.txt"),
            format!("sentence\tlabel\n{text}"),
        );
    }
    let few = stages("few", "reader: tsv", "accuracy").replace("epochs: 15", "epochs: 2");
    let few = few.replace(
        "splits: [dev, test]",
        "splits: [dev, test], probabilities: true",
    );
    space.write("p.yaml", [HEAD, &few].concat());
    let probabilities = |device: &str| -> Vec<f64> {
        let wanted = "few-predict.probabilities";
        let words = ["get", "p.yaml", wanted, "--device", device, "--to", device];
        space.call(&words).exits(0);
        let place = space.path(device).join("probabilities/test.jsonl");
        let text = fs_err::read_to_string(place).expect("there");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines
            .map(|line: Value| line["score"].as_f64().expect("a number"))
            .collect()
    };
    space.run(&[]).exits(0);
    let engine = probabilities("cpu");
    let ran = space.run(&["--json", "--device", "reference"]).exits(0);
    let summary: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    // The vocabulary and the data are the same; the model and what was predicted with it are the reference's.
    assert_eq!(summary["stages"]["executed"], 3, "{}", ran.stdout);
    let reference = probabilities("reference");
    assert_eq!(engine.len(), reference.len());
    assert!(!engine.is_empty());
    for (a, b) in engine.iter().zip(&reference) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}
