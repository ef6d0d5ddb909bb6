//! How all claims together came out: one sentence, and counts by verdict. Knows nothing of pages.

use serde::Serialize;

use crate::claims::{Counts, Judged, Verdict};

/// The head of a page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// `Of 42 stated numbers: 31 reproduced, 3 differ.`; empty without claims.
    pub sentence: String,
    /// Counts by verdict, in the order of the verdicts; those that did not occur are left out.
    pub tally: Vec<Tally>,
}

/// How often a verdict occurred.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// The verdict.
    pub verdict: Verdict,
    /// In words.
    pub word: &'static str,
    /// In one sign, beside the word.
    pub sign: &'static str,
    /// How often.
    pub count: usize,
}

impl Outcome {
    /// Of all claims.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let count = |verdict| judged.iter().filter(|one| one.verdict == verdict).count();
        let tally = Verdict::ALL.into_iter().map(|verdict| Tally {
            verdict,
            word: verdict.word(),
            sign: verdict.sign(),
            count: count(verdict),
        });
        let sentence = format!(
            "Of {} stated numbers: {}.",
            judged.len(),
            Counts::of(judged.iter().map(|one| one.verdict)).sentence()
        );
        Self {
            sentence: if judged.is_empty() {
                String::new()
            } else {
                sentence
            },
            tally: tally
                .filter(|tally| tally.count > 0 || tally.verdict == Verdict::Reproduced)
                .collect(),
        }
    }
}
