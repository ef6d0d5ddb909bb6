//! How all claims together came out: one sentence, and counts by verdict. Knows nothing of pages.

use serde::Serialize;

use crate::claims::{Judged, Verdict};

/// The head of a page.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// `31 of 42 stated numbers reproduced, 3 differ.`; empty without claims.
    pub sentence: String,
    /// Counts by verdict, in the order of the verdicts; those that did not occur are left out.
    pub tally: Vec<Tally>,
}

/// How often a verdict occurred.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// The verdict.
    pub verdict: Verdict,
    /// In lower case.
    pub word: String,
    /// A mark beside the word.
    pub mark: &'static str,
    /// How often.
    pub count: usize,
}

/// A verdict in lower case, for sentences and cells.
#[must_use]
pub fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "agrees".to_owned(),
        other => other.word().to_lowercase(),
    }
}

/// A mark that stands beside the word, never alone: shapes that differ without colour.
#[must_use]
pub fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Differs => "≠",
        Verdict::Missing => "–",
    }
}

/// Every verdict, best first.
const VERDICTS: [Verdict; 3] = [Verdict::Pass, Verdict::Differs, Verdict::Missing];

impl Outcome {
    /// Of all claims.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let tally: Vec<Tally> = VERDICTS
            .into_iter()
            .map(|verdict| Tally {
                verdict,
                word: word(verdict),
                mark: mark(verdict),
                count: judged.iter().filter(|one| one.verdict == verdict).count(),
            })
            .filter(|tally| tally.count > 0 || tally.verdict == VERDICTS[0])
            .collect();
        Self {
            sentence: sentence(&tally, judged.len()),
            tally,
        }
    }
}

fn sentence(tally: &[Tally], total: usize) -> String {
    let Some((first, others)) = tally.split_first().filter(|_| total > 0) else {
        return String::new();
    };
    let verb = |tally: &Tally| match (tally.word.as_str(), tally.count) {
        ("agrees", 1) => "agrees".to_owned(),
        ("agrees", _) => "agree".to_owned(),
        ("differs", 1) => "differs".to_owned(),
        ("differs", _) => "differ".to_owned(),
        ("missing", 1) => "is missing".to_owned(),
        ("missing", _) => "are missing".to_owned(),
        (word @ ("inconclusive" | "not comparable"), 1) => format!("is {word}"),
        (word @ ("inconclusive" | "not comparable"), _) => format!("are {word}"),
        (word, _) => word.to_owned(),
    };
    let subject = match total {
        1 => "stated number",
        _ => "stated numbers",
    };
    let mut text = format!("{} of {total} {subject} {}", first.count, verb(first));
    for one in others {
        text.push_str(&format!(", {} {}", one.count, verb(one)));
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_counts_each_verdict() {
        let tally = |verdict, count| Tally {
            verdict,
            word: word(verdict),
            mark: mark(verdict),
            count,
        };
        let all = [
            tally(Verdict::Pass, 31),
            tally(Verdict::Differs, 1),
            tally(Verdict::Missing, 2),
        ];
        assert_eq!(
            sentence(&all, 34),
            "31 of 34 stated numbers agree, 1 differs, 2 are missing."
        );
        assert_eq!(sentence(&all[..1], 0), "");
    }
}
