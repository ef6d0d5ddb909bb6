//! The first thing people run: `pipelines/quickstart.yaml`. Knows nothing of how stages are run.

use crate::shipped::Shipped;

const FILE: &str = "pipelines/quickstart.yaml";

/// One seed of five, at full size: every claim is met, a list of words comes nowhere near, and again nothing is done.
#[test]
fn a_model_reads_what_a_list_cannot_know() {
    let shipped = Shipped::new();
    let run = || {
        let arguments = ["run", FILE, "--json", "--strict", "--set", "seeds=[2]"];
        shipped.space.call(&arguments).exits(0).counts()
    };
    assert_eq!(run(), [23, 23, 0, 0, 0]);
    assert_eq!(run(), [23, 0, 23, 0, 0]);
    let report = shipped.report("quickstart", "report.md");
    assert!(
        report.contains("**6 of 6 stated numbers agree**"),
        "{report}"
    );
    let page = shipped.report("quickstart", "index.html");
    assert!(!page.contains("<script"), "a page without scripts");
}

#[test]
fn a_profile_makes_it_smaller() {
    let shipped = Shipped::new();
    let arguments = ["run", FILE, "--json", "--profile", "smoke"];
    assert_eq!(
        shipped.space.call(&arguments).exits(0).counts(),
        [23, 23, 0, 0, 0]
    );
}
