//! ELECTRA's own heads for every task through `finetune`, `predict` and `score`, and heads that are carried from one set
//! of questions to another. Knows nothing of networks.

use crate::finetune::{HEAD, lines, number, sentence, stages};
use crate::space::Space;

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nof\nwas\nin\nseen\nwith\nand\ncell\nfever\ncough\naspirin\nhepa\n##rin\nwhich\nsign\ndrug\n?\n.\n";

const SPLITS: [(&str, std::ops::Range<usize>); 3] =
    [("train", 0..600), ("dev", 600..640), ("test", 700..740)];

/// Files of a task, each with a first line.
fn write(space: &Space, name: &str, first: &str, line: impl Fn(usize) -> String) {
    for (split, range) in SPLITS {
        let text: String = range.map(&line).collect();
        space.write(&format!("{name}/{split}.txt"), format!("{first}{text}"));
    }
}

fn native(stages: &str) -> String {
    stages.replace("seed: 1", "seed: 1\n      head: native")
}

#[test]
fn tags_classes_labels_and_numbers_are_learned() {
    let space = Space::new();
    space.write("vocab.txt", WORDS);
    write(&space, "tags", "", |i| {
        let (words, place, key) = sentence(i);
        let tag = if key < 2 { "B-Sign" } else { "B-Drug" };
        let lines = words
            .iter()
            .enumerate()
            .map(|(j, word)| format!("{word} {}\n", if j == place { tag } else { "O" }));
        lines.collect::<String>() + "\n"
    });
    write(&space, "classes", "sentence\tlabel\n", |i| {
        let (words, _, key) = sentence(i);
        let label = ["none", "sign", "old", "new"][key];
        format!("{}\t{label}\n", words.join(" "))
    });
    write(&space, "many", "sentence\tlabels\n", |i| {
        let (words, _, key) = sentence(i);
        let labels = ["", "sign", "drug", "sign|drug"][key];
        format!("{}\t{labels}\n", words.join(" "))
    });
    write(&space, "pairs", "sentence1\tsentence2\tscore\n", |i| {
        let ((a, _, first), (b, _, second)) = (sentence(i), sentence(i * 5 + 1));
        // Both texts count, each in its own way.
        let value = [0.0, 1.0, 2.0, 3.0][first] + [0.0, 2.0, 0.0, 2.0][second];
        format!("{}\t{}\t{value:.1}\n", a.join(" "), b.join(" "))
    });
    let tasks = [
        ("tags", "reader: conll, separator: space", "span_f1", "f1"),
        ("classes", "reader: tsv", "accuracy", "accuracy"),
        (
            "many",
            "reader: tsv_labels, label_separator: \"|\"",
            "multi_label_f1",
            "f1",
        ),
        ("pairs", "reader: tsv_pairs", "pearson", "pearson"),
    ];
    let text: String = tasks
        .iter()
        .map(|(name, reader, metric, _)| native(&stages(name, reader, metric)))
        .collect();
    space.write("p.yaml", [HEAD, &text].concat());
    space.run(&[]).exits(0);
    for (name, _, _, number_name) in tasks {
        let test = number(
            &space,
            &format!("{name}-score.metrics"),
            "test",
            number_name,
        );
        assert!(test >= 85.0, "{name}: {test}");
        // `transformers` has no class for these heads: the encoder is what it loads.
        let to = format!("got-{name}");
        let output = format!("{name}.model");
        space
            .call(&["get", "p.yaml", &output, "--to", &to])
            .exits(0);
        let config = space.path(&to).join("model/config.json");
        let text = fs_err::read_to_string(config).expect("there");
        assert!(text.contains("\"ElectraModel\""), "{text}");
    }
}

/// A question names a kind of thing, and its answer is the one word of the context that is such a thing; what the other
/// question would be answered with stands there too.
fn question(i: usize) -> String {
    let (mut words, place, key) = sentence(i);
    let (asked, other) = if key < 2 {
        ("sign", ["aspirin", "heparin"][key])
    } else {
        ("drug", ["fever", "cough"][key - 2])
    };
    let answer = words[place];
    words.push("with");
    words.push(other);
    let start: usize = words[..place].iter().map(|word| word.len() + 1).sum();
    let context = words.join(" ");
    format!(
        r#"{{"title":"t{i}","paragraphs":[{{"context":"{context}","qas":[{{"id":"q{i}","question":"which {asked} ?","answers":[{{"text":"{answer}","answer_start":{start}}}]}}]}}]}}"#
    )
}

#[test]
fn questions_are_learned_by_either_head_and_go_on_with_another_set() {
    let space = Space::new();
    space.write("vocab.txt", WORDS);
    for (split, range) in SPLITS {
        let all: Vec<String> = range.map(question).collect();
        let text = format!(r#"{{"version":"1.1","data":[{}]}}"#, all.join(","));
        space.write(&format!("asked/{split}.txt"), text);
    }
    let asked = stages("asked", "reader: squad", "exact_match");
    let further = "  further:
    kind: finetune
    needs: { data: asked-data, start: asked.model }
    with: { name: further, epochs: 1, batch: 8, learning_rate: 1.0e-6, max_length: 32, seed: 2 }
";
    for (head, is_native) in [("hf", false), ("native", true)] {
        let tasks = [&asked, further].concat();
        let tasks = match is_native {
            true => native(&tasks).replace("seed: 2", "seed: 2, head: native"),
            false => tasks,
        };
        space.write("p.yaml", [HEAD, &tasks].concat());
        space.run(&[]).exits(0);
        let test = number(&space, "asked-score.metrics", "test", "exact_match");
        assert!(test >= 90.0, "{head}: {test}");
        // With the head carried along nothing is unlearned at a rate next to nothing.
        let before = number(&space, "asked.metrics", "dev", "f1");
        let after = number(&space, "further.metrics", "dev", "f1");
        assert!((before - after).abs() < 5.0, "{head}: {before} to {after}");
    }
    let said = lines(&space, "asked-predict", "test.jsonl");
    for part in said.chunk_by(|a, b| a["example_id"] == b["example_id"]) {
        let sum: f64 = part.iter().filter_map(|line| line["score"].as_f64()).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
    assert_eq!(
        said.chunk_by(|a, b| a["example_id"] == b["example_id"])
            .count(),
        40
    );
}

/// As many classes of other names are other classes: their head begins anew, and that is said; of the same names it is
/// kept.
#[test]
fn a_head_goes_on_only_with_classes_of_the_same_names() {
    let space = Space::new();
    space.write("vocab.txt", WORDS);
    for (name, labels) in [
        ("first", ["none", "sign", "old", "new"]),
        ("again", ["none", "sign", "old", "new"]),
        ("other", ["a", "b", "c", "d"]),
    ] {
        write(&space, name, "sentence\tlabel\n", |i| {
            let (words, _, key) = sentence(i);
            format!("{}\t{}\n", words.join(" "), labels[key])
        });
    }
    let reader = "reader: tsv";
    let mut text = [HEAD, &native(&stages("first", reader, "accuracy"))].concat();
    for name in ["again", "other"] {
        text += &format!(
            "  {name}-data:
    kind: dataset
    needs: {{ train: {name}/train.txt, dev: {name}/dev.txt }}
    with: {{ name: {name}, {reader} }}
  {name}:
    kind: finetune
    needs: {{ data: {name}-data, start: first.model }}
    with: {{ name: {name}, epochs: 1, batch: 8, learning_rate: 1.0e-7, max_length: 32, seed: 2, head: native }}
"
        );
    }
    space.write("p.yaml", text);
    let ran = space.run(&[]).exits(0);
    let said = ran
        .stderr
        .matches("the head of `start` is for other classes");
    assert_eq!(said.count(), 1, "{}", ran.stderr);
    let dev = |name: &str| number(&space, &format!("{name}.metrics"), "dev", "accuracy");
    assert!(dev("first") >= 85.0, "{}", dev("first"));
    assert!(
        (dev("again") - dev("first")).abs() < 5.0,
        "{}",
        dev("again")
    );
    assert!(dev("other") < 60.0, "{}", dev("other"));
}
