//! The paper's data tables from the real files: `pipelines/datasets.yaml`. Knows nothing of formats.

use crate::shipped::{Shipped, golden};
use crate::space::Ran;

const FILE: &str = "pipelines/datasets.yaml";
const OFFLINE: [&str; 3] = ["--mirrors", "tests/mirrors.txt", "--offline"];

fn run(shipped: &Shipped) -> Ran {
    let arguments = [&["run", FILE, "--json"], &OFFLINE[..]].concat();
    shipped.space.call(&arguments).exits(0)
}

#[test]
fn the_papers_tables_come_out() {
    let Some(shipped) = Shipped::with_data("the_papers_tables_come_out") else {
        return;
    };
    assert_eq!(run(&shipped).counts(), [22, 22, 0, 0, 0]);
    assert_eq!(run(&shipped).counts(), [22, 0, 22, 0, 0]);
    // Without the digests of what was read: they are the files', not ours.
    golden(
        "datasets",
        &shipped.manifests(|line| {
            let (path, value) = line.split_once(" = ")?;
            let is_digest = path.starts_with("input.") && !path.ends_with(".notes");
            Some(match is_digest {
                true => path.to_owned(),
                false => format!("{path} = {value}"),
            })
        }),
    );

    let claims = shipped.report("datasets", "tables/claims.csv");
    let count = |verdict: &str| {
        claims
            .lines()
            .filter(|line| line.starts_with(verdict))
            .count()
    };
    assert_eq!(
        (
            count("reproduced"),
            count("differs"),
            count("not comparable"),
            count("missing")
        ),
        (26, 3, 25, 0),
        "{claims}"
    );
    // What rests on a stand-in is not judged, even where its number agrees.
    for line in claims.lines().filter(|line| line.starts_with("not ")) {
        assert!(line.contains("stand-in data: `../shared/data/"), "{line}");
    }
    // Every difference is explained, and is one of the true files.
    for line in claims.lines().filter(|line| line.starts_with("differs")) {
        assert!(line.contains("document_concepts"), "{line}");
        assert!(!line.ends_with(",\"\""), "without a remark: {line}");
    }
    // Splits that are the authors' own bytes are not marked for a neighbour's sake.
    for genuine in [
        "\"jnlpba, dev\"",
        "\"ddi-2013, test\"",
        "\"bioasq-7b, test5\"",
    ] {
        let lines: Vec<&str> = claims
            .lines()
            .filter(|line| line.contains(genuine))
            .collect();
        assert!(!lines.is_empty(), "{genuine}");
        assert!(
            lines.iter().all(|line| !line.contains("stand-in")),
            "{lines:?}"
        );
    }
    let text = shipped.report("datasets", "report.md");
    for line in [
        "| DDI-2013, the corpus | Training | 714 | 27,791 | 4,020 |  |",
        "| DDI-2013, the corpus | Test | 191 | 5,716 | 979 |  |",
        "| JNLPBA | Training | 2,000 [stand-in data] <sup>a</sup> |  |  | 51,301 [stand-in data] <sup>a</sup> |",
    ] {
        assert!(text.contains(line), "{line}");
    }
    let page = shipped.report("datasets", "index.html");
    assert!(
        page.contains("not to be passed on"),
        "DDI's and BioASQ's terms travel"
    );

    // The same sentences, written in another style: that stage and the report.
    shipped.edit(FILE, "      tags: as_read\n", "      tags: iobes\n");
    let why = [&["why", FILE, "bc5cdr-sentences"], &OFFLINE[..2]].concat();
    let why = shipped.space.call(&why).exits(0);
    assert!(
        why.stdout.contains("- config.tags = \"as_read\""),
        "{}",
        why.stdout
    );
    assert!(
        why.stdout.contains("+ config.tags = \"iobes\""),
        "{}",
        why.stdout
    );
    assert_eq!(run(&shipped).counts(), [22, 2, 20, 0, 0]);
}

#[test]
fn without_network_and_mirrors_it_says_what_is_missing() {
    let shipped = Shipped::new();
    shipped
        .space
        .call(&["run", FILE, "--offline"])
        .exits(3)
        .says("would need the network, which `--offline` forbids")
        .says("--mirrors");
}
