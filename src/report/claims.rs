//! Stated numbers against reproduced ones. Knows nothing of tables.

use serde::Serialize;
use serde_json::Value;

use crate::error::ReportError;
use crate::input::text_of;
use crate::measure::{Data, Measure, NotOne};
use crate::options::Claim;

/// How a claim came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The difference is within the tolerance.
    Pass,
    /// It is not.
    Differs,
    /// There is no such number, or more than one.
    Missing,
}

impl Verdict {
    /// In capitals, for tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Differs => "DIFFERS",
            Self::Missing => "MISSING",
        }
    }
}

/// A claim with what was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The claim.
    pub claim: Claim,
    /// How it came out.
    pub verdict: Verdict,
    /// The number it is about, if there is exactly one.
    pub measure: Option<Measure>,
    /// Why there is none.
    pub reason: Option<String>,
}

impl Judged {
    /// Reproduced minus stated.
    #[must_use]
    pub fn difference(&self) -> Option<f64> {
        self.measure
            .as_ref()
            .map(|measure| measure.summary.mean - self.claim.value)
    }

    /// Which number, for people: `bc5cdr, test, class protein, task ner`; data set and split stand bare.
    #[must_use]
    pub fn place(&self) -> String {
        let part = |column: &str| -> Option<String> {
            let values: Vec<String> = match self.claim.filter.get(column)? {
                // Over all classes is what a number without a class means anyway.
                Value::Null if column == "class" => return None,
                Value::Null => return Some(format!("without {column}")),
                Value::Array(items) => items.iter().map(text_of).collect(),
                one => vec![text_of(one)],
            };
            let values = values.join(" or ");
            Some(match column {
                "dataset" | "split" => values,
                column => format!("{column} {values}"),
            })
        };
        let first = ["dataset", "split", "class"];
        let others = self.claim.filter.keys().map(String::as_str);
        first
            .into_iter()
            .chain(others.filter(|column| !first.contains(column)))
            .filter_map(part)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// How many claims came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Within tolerance.
    pub passed: usize,
    /// Outside of it.
    pub differing: usize,
    /// Without a number.
    pub missing: usize,
}

impl Counts {
    /// The counts of `judged`.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let count = |verdict| judged.iter().filter(|one| one.verdict == verdict).count();
        Self {
            passed: count(Verdict::Pass),
            differing: count(Verdict::Differs),
            missing: count(Verdict::Missing),
        }
    }
}

/// Every claim against the rows, in the order stated.
///
/// # Errors
/// Only when the frame refuses.
pub fn judge(data: &Data, claims: &[Claim]) -> Result<Vec<Judged>, ReportError> {
    claims.iter().map(|claim| judge_one(data, claim)).collect()
}

fn judge_one(data: &Data, claim: &Claim) -> Result<Judged, ReportError> {
    let missing = |reason: String| Judged {
        claim: claim.clone(),
        verdict: Verdict::Missing,
        measure: None,
        reason: Some(reason),
    };
    let mut filter = claim.filter.clone();
    filter.insert("metric".to_owned(), Value::String(claim.metric.clone()));
    let conditions = match data.conditions(&filter, "the claim") {
        Ok(conditions) => conditions,
        Err(ReportError::UnknownColumn { column, near, .. }) => {
            let hint = near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
            return Ok(missing(format!("no row has a column `{column}`{hint}")));
        }
        Err(error) => return Err(error),
    };
    let named: Vec<String> = filter.keys().cloned().collect();
    let rows = data.frame.select(&conditions)?;
    Ok(match data.measure(&rows, &named)? {
        Ok(None) => missing("no such number".to_owned()),
        Err(NotOne::Mixed(columns)) => missing(format!(
            "{} numbers match; they differ in {}",
            rows.len(),
            columns.join(", ")
        )),
        Err(NotOne::Twice { instance, rows }) => {
            missing(format!("{instance} states it {rows} times"))
        }
        Ok(Some(measure)) => {
            let difference = (measure.summary.mean - claim.value).abs();
            // A difference at the very edge must not fail by the rounding of binary fractions.
            let slack = 1e-9 * claim.value.abs().max(1.0);
            let agrees = difference <= claim.effective_tolerance() + slack;
            Judged {
                claim: claim.clone(),
                verdict: if agrees {
                    Verdict::Pass
                } else {
                    Verdict::Differs
                },
                measure: Some(measure),
                reason: None,
            }
        }
    })
}
