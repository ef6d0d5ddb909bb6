//! Bundles whose author changed a result before exporting it, with digests that all agree. Others are in `sharing_hostile.rs`.

use sha2::Digest as _;

use crate::forgery::replace;
use crate::sharing::{carried, export, rungs};
use crate::space::Space;

/// Numbers of a program and their mean.
const DERIVED: &str = "\
stages:
  run:
    kind: command
    matrix: { width: [1, 2] }
    with: { script: \"echo '{\\\"metric\\\":\\\"f1\\\",\\\"split\\\":\\\"dev\\\",\\\"value\\\":0.5}' > n.jsonl; cat params.json\", params: { width: '${matrix.width}' } }
    numbers: n.jsonl
  total:
    kind: aggregate
    needs: { scores: { all: run } }
    with: { steps: [ { metric: mean, of: f1, how: mean, over: [width] } ] }
  table: { kind: report, needs: { m: total } }
";

#[test]
fn a_forged_aggregate_falls_at_the_third_rung() {
    let space = Space::with(DERIVED);
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0);
    let found = rungs(&carried(&space), &[]);
    assert_eq!(found[&3].0, "holds", "{found:?}");
    // What a program of the author's counted is named, since nothing makes it again unasked.
    assert!(
        found[&3].1.contains("numbers of a program of the author's"),
        "{found:?}"
    );
    fs_err::remove_dir_all(space.path("out")).expect("removed");
    replace(&space, "total", "metrics", |rows| {
        rows.replacen("0.5", "0.9", 1)
    });
    space.run(&[]).exits(0);
    export(&space, &[]).exits(0);
    let found = rungs(&carried(&space), &[]);
    let words: Vec<&str> = found.values().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["holds", "holds", "fails"], "{found:?}");
    assert!(
        found[&3].1.contains("`total` comes out otherwise"),
        "{found:?}"
    );
}

#[test]
fn a_pinned_download_of_other_bytes_is_refused() {
    let space = Space::new();
    space.write("d.txt", "one\ntwo\n");
    let pins = [
        format!("blake3: {}", flow::digest::Use::File.digest(b"one\ntwo\n")),
        format!(
            "sha256: {}",
            sha2::Sha256::digest(b"one\ntwo\n")
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        ),
    ];
    for pin in pins {
        let text = format!(
            "stages:\n  data: {{ kind: fetch, with: {{ manual: made here, put: d.txt, {pin} }} }}\n  count: {{ kind: command, needs: {{ data: data }}, with: {{ script: 'cp data copy' }}, outputs: {{ copy: copy }} }}\n"
        );
        space.write("p.yaml", text);
        let _ = fs_err::remove_dir_all(space.path("cache"));
        space.run(&[]).exits(0);
        replace(&space, "data", "data", |text| text.replace("two", "three"));
        space.run(&[]).exits(0);
        let _ = fs_err::remove_dir_all(space.path("out"));
        export(&space, &["--objects"]).exits(0);
        let reader = carried(&space);
        for words in [["verify", "bundle"], ["import", "bundle"]] {
            reader
                .call(&words)
                .exits(1)
                .says("share::pin")
                .says("the download `data` of `data` is not what its key says");
        }
        assert!(!reader.exists("cache"));
        // Without the bytes a digest of another sort cannot be compared, and that is said.
        fs_err::remove_dir_all(space.path("out")).expect("removed");
        export(&space, &[]).exits(0);
        let found = rungs(&carried(&space), &[]);
        match pin.starts_with("blake3") {
            true => assert_eq!(found[&1].0, "fails", "{found:?}"),
            false => assert!(
                found[&1]
                    .1
                    .contains("their bytes are not in it as they were downloaded"),
                "{found:?}"
            ),
        }
    }
}
