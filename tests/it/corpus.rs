//! Corpora from the real files: `pipelines/corpus.yaml`. Knows nothing of formats.

use crate::shipped::Shipped;
use crate::space::Ran;

const FILE: &str = "pipelines/corpus.yaml";
const OFFLINE: [&str; 3] = ["--mirrors", "tests/mirrors.txt", "--offline"];

fn run(shipped: &Shipped) -> Ran {
    let arguments = [&["run", FILE, "--json"], &OFFLINE[..]].concat();
    shipped.space.call(&arguments).exits(0)
}

#[test]
fn corpora_of_every_form_come_out() {
    let Some(shipped) = Shipped::with_data("corpora_of_every_form_come_out") else {
        return;
    };
    let [total, executed, cached, failed, skipped] = run(&shipped).counts();
    assert_eq!((executed, cached, failed, skipped), (total, 0, 0, 0));
    assert_eq!(run(&shipped).counts(), [total, 0, total, 0, 0]);
    // The data's own README counts documents and sentences of the texts.
    let report = shipped.report("corpus", "report.md");
    for row in [
        "| medline-2014 | 161 | ",
        "| pubmed-2026 | 27 | ",
        "| ncbi-disease | 587 [stand-in data] <sup>a</sup> | 5,609 [stand-in data] <sup>a</sup> | ",
        "| jnlpba | 1,717 [stand-in data] <sup>b</sup> | 15,939 [stand-in data] <sup>b</sup> | ",
        "| ohsumed | 7,368 [stand-in data] <sup>c</sup> | 64,025 [stand-in data] <sup>c</sup> | ",
        "| evidence | 3,410 [stand-in data] <sup>d</sup> | 45,389 [stand-in data] <sup>d</sup> | ",
    ] {
        assert!(report.contains(row), "`{row}` in\n{report}");
    }
    // From text to packed examples: 13,082 documents but those with a sentence of the test set, each at least one.
    let number = |start: &str| {
        let row = report.lines().find_map(|line| line.strip_prefix(start));
        let cell = row.expect(start).split('|').next().expect("a cell");
        let digits: String = cell
            .chars()
            .take_while(|c| *c != '<')
            .filter(char::is_ascii_digit)
            .collect();
        digits.parse::<u64>().expect("a number")
    };
    assert!(number("| 512 |") >= 13_000, "{report}");
    assert!(number("| 128 |") > number("| 512 |"), "{report}");
    // One text in three forms is one corpus.
    let held = |form: &str| {
        let start = format!("| {form} | 587 ");
        let row = report.lines().find_map(|line| line.strip_prefix(&start));
        row.expect("a row").to_owned()
    };
    assert_eq!(held("lines"), held("paragraphs"));
    assert_eq!(held("json\\_lines"), held("paragraphs"));
}
