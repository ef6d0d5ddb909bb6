//! A real corpus through the kinds `vocab` and `pack`. Knows nothing of tokenization.

use crate::space::{Space, skip};

const PIPELINE: &str = "\
stages:
  vocabulary:
    kind: vocab
    needs: { vocabulary: data/scivocab.txt, text: data/text.txt.gz }
    with: { name: scivocab }
  pack:
    kind: pack
    needs: { text: data/text.txt.gz, vocabulary: vocabulary }
    with: { name: abstracts, lengths: [128, 512], seed: 1 }
";

#[test]
fn a_compressed_corpus_becomes_examples_once() {
    let data = std::env::var_os("PIPELINE_SHARED_DATA").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        std::path::PathBuf::from,
    );
    let read = |path: &str| fs_err::read(data.join(path));
    let (Ok(text), Ok(vocabulary)) = (
        read("corpus/ncbi-disease-train-abstracts.txt.gz"),
        read("vocab/scivocab.txt"),
    ) else {
        skip("a_compressed_corpus_becomes_examples_once: no real data; set PIPELINE_SHARED_DATA");
        return;
    };
    let space = Space::with(PIPELINE);
    space.write("data/text.txt.gz", text);
    space.write("data/scivocab.txt", &vocabulary);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 2, 0, 0, 0]);
    assert_eq!(space.run(&["--json"]).exits(0).counts(), [2, 0, 2, 0, 0]);
    let path = |output: &str| {
        let ran = space.call(&["path", "p.yaml", output]).exits(0);
        std::path::PathBuf::from(ran.stdout.trim())
    };
    // The vocabulary comes out as it came in, its empty line included.
    assert_eq!(fs_err::read(path("vocabulary")).expect("there"), vocabulary);
    let numbers = fs_err::read_to_string(path("pack.metrics")).expect("there");
    let number = |start: &str| {
        let line = numbers.lines().find(|line| line.contains(start));
        let row: serde_json::Value = serde_json::from_str(line.expect(start)).expect("JSON");
        row["value"].as_f64().expect("a number")
    };
    // The data's own README counts 587 documents of 5,609 sentences.
    assert_eq!(number("\"documents\""), 587.0);
    assert_eq!(number("\"lines\""), 5609.0);
    let pieces = number("\"pieces\"");
    let of = |metric: &str, length: &str| number(&format!("\"{metric}\",\"class\":\"{length}\""));
    for length in ["128", "512"] {
        let frames = of("examples", length) * 2.0 + of("examples_with_two_segments", length);
        let kept = of("tokens", length) - frames;
        assert_eq!(kept + of("dropped_pieces", length), pieces);
    }
    assert!(of("examples", "128") > of("examples", "512"));
    assert!(of("examples", "512") >= 587.0);
}
