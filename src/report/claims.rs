//! Stated numbers against reproduced ones. Knows nothing of tables.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::equivalence::{self, Interval, Outcome, Settled, Stated};
use crate::error::ReportError;
use crate::input::text_of;
use crate::measure::{Data, Measure, NotOne};
use crate::options::Claim;

/// How a claim came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The difference is shown to be within the margin.
    Reproduced,
    /// It is shown to be beyond it.
    Differs,
    /// The repetitions there are show neither.
    Inconclusive,
    /// There is no such number, or more than one.
    Missing,
    /// The number was made from other data or with other settings than the claim is about, or no result stands behind it.
    NotComparable,
}

impl Verdict {
    /// All of them, in the order they are counted.
    pub const ALL: [Self; 5] = [
        Self::Reproduced,
        Self::Differs,
        Self::Inconclusive,
        Self::Missing,
        Self::NotComparable,
    ];

    /// For people: the one vocabulary of pages, tables and the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::Differs => "differs",
            Self::Inconclusive => "inconclusive",
            Self::Missing => "missing",
            Self::NotComparable => "not comparable",
        }
    }

    /// One sign, for narrow places; the word stands beside it where there is room.
    #[must_use]
    pub fn sign(self) -> &'static str {
        match self {
            Self::Reproduced => "✓",
            Self::Differs => "≠",
            Self::Inconclusive => "?",
            Self::Missing => "–",
            Self::NotComparable => "∅",
        }
    }
}

/// The equivalence test of a claim about a number over repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Test {
    /// The 90 % interval of reproduced minus stated.
    pub interval: Interval,
    /// What was known, or assumed, of the spread behind the stated number.
    pub stated: Stated,
    /// What would settle it; none where it is settled.
    pub settled: Option<Settled>,
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
    /// The test, where the number is over two or more repetitions.
    pub test: Option<Test>,
    /// Why it came out neither as reproduced nor as differing, one fragment each.
    pub reasons: Vec<String>,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// [`Verdict::Reproduced`].
    pub reproduced: usize,
    /// [`Verdict::Differs`].
    pub differs: usize,
    /// [`Verdict::Inconclusive`].
    pub inconclusive: usize,
    /// [`Verdict::Missing`].
    pub missing: usize,
    /// [`Verdict::NotComparable`].
    pub not_comparable: usize,
}

impl Counts {
    /// The counts of `verdicts`.
    #[must_use]
    pub fn of(verdicts: impl IntoIterator<Item = Verdict>) -> Self {
        let mut counts = Self::default();
        for verdict in verdicts {
            *match verdict {
                Verdict::Reproduced => &mut counts.reproduced,
                Verdict::Differs => &mut counts.differs,
                Verdict::Inconclusive => &mut counts.inconclusive,
                Verdict::Missing => &mut counts.missing,
                Verdict::NotComparable => &mut counts.not_comparable,
            } += 1;
        }
        counts
    }

    /// How many of one verdict.
    #[must_use]
    pub fn get(self, verdict: Verdict) -> usize {
        match verdict {
            Verdict::Reproduced => self.reproduced,
            Verdict::Differs => self.differs,
            Verdict::Inconclusive => self.inconclusive,
            Verdict::Missing => self.missing,
            Verdict::NotComparable => self.not_comparable,
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(self) -> usize {
        Verdict::ALL.map(|verdict| self.get(verdict)).iter().sum()
    }

    /// `3 reproduced, 1 differs`: those that are not none, in the order of [`Verdict::ALL`].
    #[must_use]
    pub fn sentence(self) -> String {
        let parts: Vec<String> = Verdict::ALL
            .into_iter()
            .filter(|verdict| self.get(*verdict) > 0)
            .map(|verdict| match (verdict, self.get(verdict)) {
                (Verdict::Differs, count) if count > 1 => format!("{count} differ"),
                (verdict, count) => format!("{count} {}", verdict.word()),
            })
            .collect();
        parts.join(", ")
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
        test: None,
        reasons: vec![reason],
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
        Ok(Some(measure)) => compare(claim, measure),
    })
}

/// A claim against the one number it is about.
fn compare(claim: &Claim, measure: Measure) -> Judged {
    let test = equivalence(claim, &measure);
    let mut reasons = incomparable(&measure);
    let verdict = if reasons.is_empty() {
        let (verdict, why) = weigh(claim, &measure, test.as_ref());
        reasons = why;
        verdict
    } else {
        Verdict::NotComparable
    };
    Judged {
        claim: claim.clone(),
        verdict,
        // What would settle it is of interest only where more repetitions would.
        test: test.map(|test| Test {
            settled: test.settled.filter(|_| verdict == Verdict::Inconclusive),
            ..test
        }),
        measure: Some(measure),
        reasons,
    }
}

/// A difference at the very edge must not fail by the rounding of binary fractions.
fn slack(claim: &Claim) -> f64 {
    // Relative to what is compared, so that it stays small beside a small number and its margin.
    1e-9 * claim.value.abs().max(claim.effective_tolerance())
}

fn equivalence(claim: &Claim, measure: &Measure) -> Option<Test> {
    if !measure.is_repeated {
        return None;
    }
    let stated = claim.stated_spread();
    let interval = equivalence::interval(&measure.summary, claim.value, stated)?;
    let (margin, slack) = (claim.effective_tolerance(), slack(claim));
    let is_open = interval.outcome(margin, slack) == Outcome::Open;
    Some(Test {
        interval,
        stated,
        settled: is_open.then(|| interval.settled_by(&measure.summary, stated, margin, slack)),
    })
}

/// Why a number says nothing about what was stated.
fn incomparable(measure: &Measure) -> Vec<String> {
    let mut reasons: Vec<String> = measure
        .stand_ins
        .iter()
        .map(|line| match line.as_str() {
            "yes" => "rests on stand-in data".to_owned(),
            line => format!("rests on stand-in data: {line}"),
        })
        .collect();
    // Somebody's word that a result is that of another key is no evidence of it.
    let accepted = (measure.accepted.iter()).map(|line| format!("accepted by hand: {line}"));
    reasons.extend(accepted);
    reasons.extend(
        measure
            .departure()
            .map(|line| format!("not as the file is written: {line}")),
    );
    // What somebody typed agrees with what somebody stated without anything having been computed.
    if measure.typed.is_all {
        reasons.push("no result stands behind it".to_owned());
    } else if measure.typed.is_open {
        reasons.push("it is not known to rest on any result".to_owned());
    }
    reasons
}

fn weigh(claim: &Claim, measure: &Measure, test: Option<&Test>) -> (Verdict, Vec<String>) {
    let mut reasons = Vec::new();
    let (margin, slack) = (claim.effective_tolerance(), slack(claim));
    let outcome = match test {
        Some(test) => test.interval.outcome(margin, slack),
        None if measure.is_repeated => {
            reasons.push("one repetition shows no spread".to_owned());
            Outcome::Open
        }
        None if claim.n.is_some() || claim.sd.is_some() => {
            reasons.push(
                "the stated number is one over runs, and the stage of this one is not repeated"
                    .to_owned(),
            );
            Outcome::Open
        }
        None if (measure.summary.mean - claim.value).abs() <= margin + slack => Outcome::Inside,
        None => Outcome::Outside,
    };
    // Which repetitions are missing may itself be a result, so the others alone settle nothing.
    if !measure.missing.is_empty() {
        reasons.push(format!(
            "{} of {} repetitions: without {}",
            measure.summary.n,
            measure.expected,
            measure.missing.join(", ")
        ));
    }
    if let Some(settled) = test.and_then(|test| test.settled) {
        reasons.push(why_open(claim, measure, settled));
    }
    let verdict = match outcome {
        _ if !measure.missing.is_empty() => Verdict::Inconclusive,
        Outcome::Inside => Verdict::Reproduced,
        Outcome::Outside => Verdict::Differs,
        Outcome::Open => Verdict::Inconclusive,
    };
    (verdict, reasons)
}

fn why_open(claim: &Claim, measure: &Measure, settled: Settled) -> String {
    match settled {
        Settled::By(n) => format!("{n} repetitions with this mean and spread would settle it"),
        Settled::ByMore => format!(
            "more than {} repetitions with this mean and spread would be needed to settle it",
            equivalence::MOST_REPETITIONS
        ),
        Settled::Never => {
            let difference = (measure.summary.mean - claim.value).abs();
            let is_edge = (difference - claim.effective_tolerance()).abs() <= slack(claim);
            let why = match (is_edge, claim.sd, claim.n) {
                (true, ..) => "the difference is the margin itself",
                (false, Some(_), _) => "the stated number is itself too uncertain for this margin",
                (false, None, Some(_)) => {
                    "with this spread a mean over so few runs as stated is itself too uncertain for this margin"
                }
                (false, None, None) => {
                    "with this spread one run, as which the stated number counts without `n`, is itself too uncertain for this margin"
                }
            };
            format!("no number of repetitions with this mean and spread would settle it: {why}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Departure;
    use crate::stats::Summary;
    use proptest::prelude::*;

    fn measure(values: &[f64], is_repeated: bool) -> Measure {
        Measure {
            rows: (0..values.len()).collect(),
            summary: Summary::of(values).expect("values"),
            values: values.to_vec(),
            expected: values.len(),
            missing: Vec::new(),
            devices: Vec::new(),
            stand_ins: Vec::new(),
            accepted: Vec::new(),
            is_repeated,
            departures: Vec::new(),
            variables: Vec::new(),
            typed: crate::input::Typed::default(),
        }
    }

    fn claim(value: f64, tolerance: f64, n: Option<usize>, sd: Option<f64>) -> Claim {
        let claim = serde_json::json!({"metric": "f1", "value": value, "tolerance": tolerance, "n": n, "sd": sd});
        serde_json::from_value(claim).expect("a claim")
    }

    /// The example of docs/reports.md: mean 90, s² = 0.1.
    const SEEDS: [f64; 5] = [89.6, 90.0, 90.4, 89.8, 90.2];

    #[test]
    fn nothing_weak_is_reproduced() {
        let five = claim(90.03, 0.8, Some(5), None);
        let whole = compare(&five, measure(&SEEDS, true));
        assert_eq!(
            (whole.verdict, whole.reasons.len()),
            (Verdict::Reproduced, 0)
        );

        let one = compare(&five, measure(&[90.03], true));
        assert_eq!(one.verdict, Verdict::Inconclusive);
        assert_eq!(one.reasons, ["one repetition shows no spread"]);

        let mut part = measure(&SEEDS, true);
        part.missing = vec!["seed=6".to_owned()];
        part.expected = 6;
        let part = compare(&five, part);
        assert_eq!(part.verdict, Verdict::Inconclusive);
        assert_eq!(part.reasons, ["5 of 6 repetitions: without seed=6"]);

        let mut stand_in = measure(&SEEDS, true);
        stand_in.stand_ins = vec!["yes".to_owned()];
        assert_eq!(compare(&five, stand_in).verdict, Verdict::NotComparable);

        let mut accepted = measure(&SEEDS, true);
        accepted.accepted = vec!["same model".to_owned()];
        let accepted = compare(&five, accepted);
        assert_eq!(accepted.verdict, Verdict::NotComparable);
        assert_eq!(accepted.reasons, ["accepted by hand: same model"]);

        for count in [1, 3] {
            let mut shrunk = measure(&SEEDS, true);
            let departure = |at: usize| Departure {
                stage: "pretrain".to_owned(),
                what: format!("steps{at}"),
                here: "500".to_owned(),
                written: "1000000".to_owned(),
                port: None,
            };
            shrunk.departures = (0..count).map(departure).collect();
            let shrunk = compare(&five, shrunk);
            assert_eq!(shrunk.verdict, Verdict::NotComparable);
            let reason = match count {
                1 => "pretrain: steps0 = 500 (the file says 1000000)",
                _ => "pretrain (3 settings)",
            };
            assert_eq!(
                shrunk.reasons,
                [format!("not as the file is written: {reason}")]
            );
        }

        // A single number against one over runs; against one that says nothing of runs it is compared as it is.
        let alone = compare(&five, measure(&[90.03], false));
        assert_eq!(alone.verdict, Verdict::Inconclusive);
        let count = compare(&claim(6881.0, 0.0, None, None), measure(&[6881.0], false));
        assert_eq!(count.verdict, Verdict::Reproduced);
        let count = compare(&claim(6892.0, 0.0, None, None), measure(&[6881.0], false));
        assert_eq!((count.verdict, count.test), (Verdict::Differs, None));
    }

    #[test]
    fn by_hand() {
        let verdict = |tolerance, n, sd| {
            let judged = compare(&claim(90.03, tolerance, n, sd), measure(&SEEDS, true));
            (judged.verdict, judged.reasons.join("; "))
        };
        assert_eq!(verdict(0.8, None, None).0, Verdict::Reproduced);
        assert_eq!(
            verdict(0.4, Some(5), None),
            (
                Verdict::Inconclusive,
                "7 repetitions with this mean and spread would settle it".to_owned()
            )
        );
        assert_eq!(
            verdict(0.4, None, None),
            (
                Verdict::Inconclusive,
                "no number of repetitions with this mean and spread would settle it: with this spread one run, as which the stated number counts without `n`, is itself too uncertain for this margin".to_owned()
            )
        );
        assert!(
            verdict(0.03, Some(5), None)
                .1
                .ends_with("the difference is the margin itself")
        );
        assert!(
            verdict(0.1, Some(2), Some(0.3))
                .1
                .ends_with("too uncertain for this margin")
        );
        // 2.132 · 0.2 = 0.43 below the difference of 0.97.
        let away = compare(&claim(90.97, 0.5, Some(5), None), measure(&SEEDS, true));
        assert_eq!(away.verdict, Verdict::Differs);
    }

    proptest! {
        /// Residuals scaled up around the same mean: no verdict becomes `reproduced`, none becomes `differs`.
        #[test]
        fn more_noise_improves_no_verdict(
            residuals in prop::collection::vec(-1.0_f64..1.0, 1..8), shift in -2.0_f64..2.0, tolerance in 0.0_f64..2.0,
            more in 1.0_f64..20.0, n in prop::option::of(1_usize..8), sd in prop::option::of(0.0_f64..2.0),
        ) {
            // With each residual its opposite, so that scaling leaves the mean where it is.
            let values = |factor: f64| -> Vec<f64> {
                residuals.iter().flat_map(|r| [50.0 + shift + r * factor, 50.0 + shift - r * factor]).collect()
            };
            let claim = claim(50.0, tolerance, n, sd);
            let calm = compare(&claim, measure(&values(1.0), true)).verdict;
            let loud = compare(&claim, measure(&values(more), true)).verdict;
            prop_assert!(loud == calm || loud == Verdict::Inconclusive, "{calm:?} to {loud:?}");
        }
    }
}
