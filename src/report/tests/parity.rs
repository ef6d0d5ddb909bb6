//! Statistics against what SciPy says: `tests/parity/spread.py` asked it, and asks again on more cases.

#![allow(missing_docs, reason = "a test binary has no documented interface")]

use std::path::PathBuf;

use report::paired::{compare, holm};
use report::stats::Summary;
use serde_json::Value;

/// Equal to nine digits, or both within rounding of values around 90.
fn close(left: Option<f64>, right: &Value, what: &str, case: &Value) {
    let (left, right) = (left.expect(what), right.as_f64().expect(what));
    let room = 1e-9 * right.abs() + 1e-13;
    assert!(
        (left - right).abs() <= room,
        "{what}: {left} against {right} in {case}"
    );
}

#[test]
fn parity() {
    let folder = std::env::var_os("PIPELINE_PARITY").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")),
        PathBuf::from,
    );
    let text = fs_err::read_to_string(folder.join("statistics.jsonl")).expect("the cases");
    let (mut tests, mut corrections) = (0, 0);
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("a case");
        if let Some(ps) = case["ps"].as_array() {
            let ps: Vec<f64> = ps.iter().filter_map(Value::as_f64).collect();
            for (at, p) in holm(&ps).into_iter().enumerate() {
                close(Some(p), &case["holm"][at], "Holm", &case);
            }
            corrections += 1;
            continue;
        }
        let pairs: Vec<(f64, f64)> = serde_json::from_value(case["pairs"].clone()).expect("pairs");
        let first: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
        let summary = Summary::of(&first).expect("values");
        close(Some(summary.mean), &case["mean"], "mean", &case);
        close(summary.deviation, &case["deviation"], "deviation", &case);
        close(
            summary.half_width,
            &case["half_width"],
            "interval of a mean",
            &case,
        );
        let found = compare(&pairs).expect("pairs");
        let ends = |side: f64| found.half_width.map(|half| found.difference + side * half);
        close(
            Some(found.difference),
            &case["difference"],
            "difference",
            &case,
        );
        close(found.t, &case["t"], "t", &case);
        close(found.p_t, &case["p_t"], "p of the t-test", &case);
        close(ends(-1.0), &case["low"], "low end", &case);
        close(ends(1.0), &case["high"], "high end", &case);
        close(
            found.p_exact,
            &case["p_exact"],
            "p of the exact test",
            &case,
        );
        tests += 1;
    }
    assert!(
        tests >= 20 && corrections >= 3,
        "{tests} and {corrections} cases"
    );
}
