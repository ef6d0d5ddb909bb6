//! The whole paper in small, from the real files: `pipelines/paper.yaml` and what extends it. Knows no numbers of models.

use std::collections::BTreeSet;

use crate::shipped::Shipped;
use crate::space::Ran;

const SMALL: [&str; 6] = [
    "--profile",
    "smoke",
    "--set",
    "seeds=[1, 2]",
    "--mirrors",
    "tests/mirrors.txt",
];

fn call(shipped: &Shipped, words: &[&str]) -> Ran {
    let arguments = [words, &SMALL[..]].concat();
    shipped.space.call(&arguments).exits(0)
}

fn run(shipped: &Shipped) -> Vec<u64> {
    let ran = call(
        shipped,
        &["run", "pipelines/paper.yaml", "--offline", "--json"],
    );
    ran.counts().to_vec()
}

/// The stages that are not cached, by the names they have in the file.
fn pending(shipped: &Shipped, file: &str) -> BTreeSet<String> {
    let rows = call(shipped, &["plan", file, "--json"]).json();
    let rows = rows.as_array().expect("rows").iter();
    rows.filter(|row| row["state"] != "cached")
        .map(|row| {
            let name = row["stage"].as_str().expect("a name");
            name.split('[').next().expect("a name").to_owned()
        })
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_paper_runs_once_and_a_changed_setting_reruns_what_hangs_on_it() {
    let Some(shipped) =
        Shipped::with_data("the_paper_runs_once_and_a_changed_setting_reruns_what_hangs_on_it")
    else {
        return;
    };
    let [total, executed, ..] = run(&shipped)[..] else {
        panic!("no counts")
    };
    assert_eq!(total, executed);
    assert_eq!(run(&shipped)[..3], [total, 0, total]);

    // Nothing of a small run on stand-in text is judged; the counts of the true files are.
    let claims = shipped.space.read("reports/paper/report/tables/claims.csv");
    let lines = |table: &str| -> Vec<&str> {
        claims
            .lines()
            .filter(|line| {
                line.contains(&format!("\"{table}\"")) || line.contains(&format!(",{table},"))
            })
            .collect()
    };
    for (table, count) in [
        ("Table 7", 9),
        ("Table 8", 6),
        ("Table 9", 15),
        ("Table 10", 6),
    ] {
        let lines = lines(table);
        assert_eq!(lines.len(), count, "{table}: {claims}");
        for line in lines {
            assert!(line.starts_with("not comparable"), "{line}");
        }
    }
    assert!(
        lines("Table 4")
            .iter()
            .filter(|line| line.starts_with("reproduced"))
            .count()
            == 10
    );
    let page = shipped.space.read("reports/paper/report/index.html");
    assert!(
        page.contains("the file says 1000000"),
        "what was shrunk stands on the page"
    );
    let example = "Occasional missense mutations";
    assert!(page.contains(example), "the paper's example of Table 6");

    // One value of Table 5.
    shipped.edit("stages/finetune-re.yaml", "5.0e-5", "4.0e-5");
    assert_eq!(
        pending(&shipped, "pipelines/paper.yaml"),
        names(&[
            "re-tuning",
            "re-dev-predictions",
            "re-dev-scores",
            "re-choice",
            "re-predictions",
            "re-scores",
            "report"
        ])
    );
    shipped.edit("stages/finetune-re.yaml", "4.0e-5", "5.0e-5");

    // The questions for later share the paper's stages.
    let all = pending(&shipped, "pipelines/two-phase.yaml");
    assert!(
        all.contains("two-phase") && all.contains("ner-tuning"),
        "{all:?}"
    );
    for made in ["pretrain", "pubmed", "corpus", "squad", "jnlpba-sentences"] {
        assert!(!all.contains(made), "{made} would be made again: {all:?}");
    }
    let plan = call(&shipped, &["plan", "pipelines/two-phase.yaml", "--json"]).json();
    let cached = |name: &str| {
        let mut rows = plan.as_array().expect("rows").iter();
        let row = rows.find(|row| row["stage"] == name);
        row.unwrap_or_else(|| panic!("no `{name}`"))["state"] == "cached"
    };
    assert!(cached("squad-tuning[encoder=pretrain,seed=1]"));
    assert!(!cached("squad-tuning[encoder=two-phase,seed=1]"));
    let ran = call(
        &shipped,
        &["run", "pipelines/two-phase.yaml", "--offline", "--json"],
    );
    assert_eq!(
        ran.counts()[3..],
        [0, 0],
        "none fails, and none is left out"
    );
    let page = shipped.space.read("reports/two-phase/report/report.md");
    let lines = |data: &str, encoder: &str| {
        let is_it = |line: &&str| line.contains(data) && line.contains(encoder);
        page.lines().filter(is_it).count()
    };
    for data in ["NCBI-disease", "BC5CDR", "JNLPBA", "ChemProt", "DDI-2013"] {
        for encoder in ["pretrain", "two-phase"] {
            assert!(lines(data, encoder) > 0, "{data}, {encoder}: {page}");
        }
    }
}

#[test]
fn the_bill_is_there_before_anything_is_done() {
    let shipped = Shipped::new();
    for file in ["paper", "vocabulary", "two-phase", "blurb"] {
        let path = format!("pipelines/{file}.yaml");
        let plan = shipped
            .space
            .call(&["plan", &path, "--on", "h200", "--json"])
            .exits(0)
            .json();
        let rows = plan.as_array().expect("rows");
        let flop = |stage: &str| {
            let row = rows.iter().find(|row| row["stage"] == stage);
            row.unwrap_or_else(|| panic!("no `{stage}`"))["flop"]
                .as_f64()
                .expect("a number")
        };
        // Spec H.1: a million steps of 256 examples of 512 positions.
        let pretraining = flop("pretrain");
        assert!((pretraining / 8.765e19 - 1.0).abs() < 2e-3, "{pretraining}");
    }
    // From released weights there is nothing to pre-train.
    let released = [
        "plan",
        "pipelines/paper.yaml",
        "--set",
        "encoder=released",
        "--json",
    ];
    let plan = shipped.space.call(&released).exits(0).json();
    let stages = plan.as_array().expect("rows").iter();
    let names: BTreeSet<&str> = stages
        .map(|row| row["stage"].as_str().expect("a name"))
        .collect();
    assert!(names.contains("released") && !names.contains("pretrain") && !names.contains("pubmed"));
}
