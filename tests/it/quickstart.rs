//! The first thing people run: `pipelines/quickstart.yaml`. Knows nothing of how stages are run.

use crate::shipped::Shipped;

const FILE: &str = "pipelines/quickstart.yaml";

/// One seed of five, at full size: each model is right nine times of ten, a list of words comes nowhere near, and again
/// nothing is done. Another choice of seeds is no evidence for a claim; the list's numbers have no seeds.
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
    let outcome = "**Of 6 stated numbers: 3 reproduced, 3 not comparable.**";
    assert!(report.contains(outcome), "{report}");
    let claims = shipped.report("quickstart", "claims.jsonl");
    let mut found: Vec<(String, f64)> = Vec::new();
    for line in claims.lines() {
        let claim: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let source = claim["source"].as_str().expect("a source").to_owned();
        found.push((source, claim["mean"].as_f64().expect("a number")));
    }
    assert_eq!(found.len(), 6, "{claims}");
    for (source, value) in found {
        match source.as_str() {
            "A model reads" => assert!(value >= 90.0, "{claims}"),
            _ => assert!(value <= 50.0, "{claims}"),
        }
    }
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
