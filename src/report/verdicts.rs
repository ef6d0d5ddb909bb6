//! Claims and how they came out as lines of JSON, for programs and the end of a run. Knows nothing of how they are judged.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::claims::Verdict;
use crate::error::ReportError;
use crate::input::load_lines;
use crate::measure::Measure;
use crate::page::ClaimLine;

/// A line of `claims.jsonl`. Texts are as shown; numbers are in the unit of the metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// How it came out.
    pub verdict: Verdict,
    /// The metric.
    pub metric: String,
    /// Which number: `bc5cdr, test, class protein`.
    pub place: String,
    /// Where it is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The stated value as shown.
    pub stated: String,
    /// The margin as shown, `±0.8` or `exact`.
    pub margin: String,
    /// The reproduced value as shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Its repetitions as shown, `5` or `4 of 5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetitions: Option<String>,
    /// The 90 % interval of the difference as shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Why it is neither reproduced nor differs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What has to be said of the number that makes it no less comparable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asides: Vec<String>,
    /// The stated value.
    pub value: f64,
    /// The margin.
    pub tolerance: f64,
    /// The mean of the repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Their standard deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Half the 90 % interval of the difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_width: Option<f64>,
}

impl Line {
    fn of(claim: &ClaimLine) -> Self {
        let judged = &claim.raw;
        let summary = judged.measure.as_ref().map(|measure| &measure.summary);
        Self {
            verdict: claim.verdict,
            metric: claim.metric.clone(),
            place: claim.place.clone(),
            source: claim.source.clone(),
            stated: claim.stated.clone(),
            margin: claim.tolerance.clone(),
            found: claim.found.clone(),
            repetitions: claim.repetitions.clone(),
            interval: claim.interval.clone(),
            reasons: judged.reasons.clone(),
            asides: (judged.measure.as_ref()).map_or_else(Vec::new, Measure::asides),
            value: judged.claim.value,
            tolerance: judged.claim.effective_tolerance(),
            mean: summary.map(|summary| summary.mean),
            deviation: summary.and_then(|summary| summary.deviation),
            n: summary.map(|summary| summary.n),
            half_width: judged.test.map(|test| test.interval.half_width),
        }
    }
}

/// The bytes of the file.
pub(crate) fn write(claims: &[ClaimLine]) -> Vec<u8> {
    let mut text = String::new();
    for claim in claims {
        let line = serde_json::to_string(&Line::of(claim)).expect("texts and finite numbers");
        text.push_str(&line);
        text.push('\n');
    }
    text.into_bytes()
}

/// The claims of a finished report; none where it judged none.
///
/// # Errors
/// When the file is there and cannot be read.
pub fn load(folder: &Path) -> Result<Vec<Line>, ReportError> {
    let path = folder.join(crate::CLAIMS_FILE);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    load_lines(&path, "a judged claim")
}
