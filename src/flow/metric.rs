//! Metric rows: the one form in which every stage's numbers travel. Knows nothing of what they measure.

use serde::{Deserialize, Serialize};

/// One number. A line of `metrics.jsonl`; axis columns are added by fan-in, never by the kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricRow {
    /// What was measured, such as `ncbi-disease`; empty when there is no data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// `train`, `dev`, `test` or another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The name of the number, such as `f1` or `sentences`.
    pub metric: String,
    /// The class it is for; `None` over all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The number; never NaN or infinite.
    pub value: f64,
    /// How many items it is over, where that means something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

impl MetricRow {
    /// A number without a data set, split or class.
    #[must_use]
    pub fn new(metric: impl Into<String>, value: f64) -> Self {
        Self {
            dataset: None,
            split: None,
            metric: metric.into(),
            class: None,
            value,
            n: None,
        }
    }
}
