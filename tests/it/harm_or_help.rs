//! An experiment by commands alone: `pipelines/harm-or-help.yaml`. Knows nothing of how stages are run.

use crate::shipped::{Shipped, golden};

const FILE: &str = "pipelines/harm-or-help.yaml";

#[test]
fn it_runs_once_and_reruns_what_changed() {
    let shipped = Shipped::new();
    let space = &shipped.space;
    let run = |more: &[&str]| {
        let arguments = [&["run", FILE, "--json"], more].concat();
        space.call(&arguments).exits(0)
    };
    assert_eq!(run(&["--strict"]).counts(), [54, 54, 0, 0, 0]);
    assert_eq!(run(&[]).counts(), [54, 0, 54, 0, 0]);
    golden(
        "harm-or-help",
        &shipped.manifests(|line| Some(line.to_owned())),
    );

    // Means over seeds, with their spread, and every claim met.
    let report = shipped.report("harm-or-help", "report.md");
    assert!(
        report.contains("**Of 4 stated numbers: 4 reproduced.**"),
        "{report}"
    );
    assert!(report.contains("| Words and pairs | 70.7 % ± "), "{report}");
    let rows = shipped.report("harm-or-help", "tables/rows.csv");
    assert_eq!(
        rows.lines()
            .filter(|line| line.contains("accuracy"))
            .count(),
        50
    );
    let page = shipped.report("harm-or-help", "index.html");
    assert!(
        page.contains("<svg") && !page.contains("<script"),
        "a page without scripts"
    );

    // One more seed: five new trainings a kind of features, and who reads them.
    assert_eq!(
        run(&["--set", "seeds=[1, 2, 3, 4, 5, 6]"]).counts(),
        [64, 12, 52, 0, 0]
    );
    // A change of the list that changes no sentence goes no further than the stage that makes them.
    let terms = space.read("examples/harm-or-help/terms.tsv");
    space.write(
        "examples/harm-or-help/terms.tsv",
        terms.replace("drug\t", "drug\t\t"),
    );
    assert_eq!(run(&[]).counts(), [54, 1, 53, 0, 0]);
}

#[test]
fn a_profile_makes_it_smaller() {
    let shipped = Shipped::new();
    let arguments = ["run", FILE, "--json", "--profile", "smoke"];
    assert_eq!(
        shipped.space.call(&arguments).exits(0).counts(),
        [12, 12, 0, 0, 0]
    );
}
