//! The claims of a run's reports: a line each at its end, and what `--strict` makes of them.

use std::fmt::Write as _;

use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::event::ReportPlace;
use report::claims::{Counts, Verdict};
use report::verdicts::{self, Line};

use super::Done;
use super::session::Session;
use crate::console::Console;
use crate::kinds::report::claims_number;

/// Claims of one report that get a line each; of more, those that differ do.
const MOST_LINES: usize = 20;

/// Says how the claims of each report came out.
pub(super) fn tell(session: &Session, reports: &[ReportPlace], console: &mut Console) {
    for report in reports {
        let folder = session.workflow().root.join(&report.path);
        match verdicts::load(&folder) {
            Ok(claims) if claims.is_empty() => {}
            Ok(claims) => {
                console.set_claims(
                    &report.key,
                    &Counts::of(claims.iter().map(|one| one.verdict)),
                );
                console.note(&told(&report.stage, &claims));
            }
            Err(error) => console.note(&format!(
                "the claims of {} cannot be shown: {error}",
                report.stage
            )),
        }
    }
}

fn told(stage: &str, claims: &[Line]) -> String {
    let counts = Counts::of(claims.iter().map(|one| one.verdict));
    let mut text = format!("claims of {stage}: {}", counts.sentence());
    if claims.len() <= MOST_LINES {
        for claim in claims {
            let _ = write!(text, "\n  {}", line(claim));
        }
        return text;
    }
    let mut sources: Vec<(&str, Vec<Verdict>)> = Vec::new();
    for claim in claims {
        let source = claim.source.as_deref().unwrap_or("without a source");
        match sources.iter_mut().find(|(known, _)| *known == source) {
            Some((_, verdicts)) => verdicts.push(claim.verdict),
            None => sources.push((source, vec![claim.verdict])),
        }
    }
    for (source, verdicts) in sources {
        let _ = write!(text, "\n  {source}: {}", Counts::of(verdicts).sentence());
    }
    let differing: Vec<&Line> = claims
        .iter()
        .filter(|claim| claim.verdict == Verdict::Differs)
        .collect();
    for claim in differing.iter().take(MOST_LINES) {
        let _ = write!(text, "\n  {}", line(claim));
    }
    if let Some(more) = differing.len().checked_sub(MOST_LINES).filter(|n| *n > 0) {
        let _ = write!(text, "\n  and {more} more that differ");
    }
    text
}

/// `differs: f1, task ddi (Table 7): 79.65 over 5 against 81.50 ±0.8, difference −2.4 to −1.1`.
fn line(claim: &Line) -> String {
    let mut text = format!("{}: {}", claim.verdict.word(), claim.metric);
    if !claim.place.is_empty() {
        let _ = write!(text, ", {}", claim.place);
    }
    if let Some(source) = &claim.source {
        let _ = write!(text, " ({source})");
    }
    text.push_str(": ");
    if let Some(found) = &claim.found {
        text.push_str(found);
        if let Some(repetitions) = &claim.repetitions {
            let _ = write!(text, " over {repetitions}");
        }
        text.push_str(" against ");
    }
    let _ = write!(text, "{} {}", claim.stated, claim.margin);
    if let Some(interval) = &claim.interval {
        let _ = write!(text, ", difference {interval}");
    }
    for reason in claim.reasons.iter().chain(&claim.asides) {
        let _ = write!(text, "; {reason}");
    }
    text
}

/// `--strict`: a claim that differs or has no number fails the run, and so does a run of which no claim is comparable.
/// What else is inconclusive or not comparable says nothing against a claim, and does not.
pub(super) fn strict(session: &Session, reports: &[ReportPlace], console: &mut Console) -> Done {
    let mut unmet = Vec::new();
    if session.workflow().claims > 0 && reports.is_empty() {
        unmet.push(
            Diagnostic::error(
                "run::claims",
                "nothing in this run judged the claims of `expect`",
            )
            .help("run the `report` stage too, or add one that needs the stages with the numbers"),
        );
    }
    // Of all reports: claims that could be judged, and those that could not.
    let (mut judgeable, mut incomparable) = (0.0, 0.0);
    for report in reports {
        let Some(record) = session.store.find_record(&report.key) else {
            continue;
        };
        for verdict in Verdict::ALL {
            let name = claims_number(verdict);
            let count = super::status::number_of(&session.store, &record, name);
            match verdict {
                Verdict::NotComparable => incomparable += count,
                _ => judgeable += count,
            }
        }
        let judged = [
            (Verdict::Differs, "not met"),
            (Verdict::Missing, "without a number"),
        ];
        for (verdict, words) in judged {
            let name = claims_number(verdict);
            let count = super::status::number_of(&session.store, &record, name);
            if count > 0.0 {
                unmet.push(
                    Diagnostic::error(
                        "run::claims",
                        format!(
                            "{count} of the claims in `{}` {} {words}",
                            report.stage,
                            if count > 1.0 { "are" } else { "is" },
                        ),
                    )
                    .help(format!("open `{}/index.html` to see which", report.path)),
                );
            }
        }
    }
    if judgeable == 0.0 && incomparable > 0.0 {
        unmet.push(
            Diagnostic::error(
                "run::claims",
                "no claim of this run could be judged: none of their numbers is comparable",
            )
            .help("run the file as it is written, on the original data; the lines above name what departs"),
        );
    }
    if unmet.is_empty() {
        return Ok(0);
    }
    Ok(console.fail(&Failure {
        class: Class::Stage,
        diagnostics: unmet,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(verdict: &str, metric: &str, source: &str) -> Line {
        serde_json::from_value(serde_json::json!({
            "verdict": verdict, "metric": metric, "place": "bc5cdr, test", "source": source,
            "stated": "90.03", "margin": "±0.8", "found": "90.00", "repetitions": "5",
            "interval": "−0.46 to +0.40", "value": 90.03, "tolerance": 0.8,
        }))
        .expect("a line")
    }

    #[test]
    fn few_claims_have_a_line_each() {
        let mut missing = claim("missing", "recall", "Table 7");
        missing.found = None;
        missing.repetitions = None;
        missing.interval = None;
        missing.reasons = vec!["no such number".to_owned()];
        let text = told("table", &[claim("reproduced", "f1", "Table 7"), missing]);
        insta::assert_snapshot!(text, @r"
        claims of table: 1 reproduced, 1 missing
          reproduced: f1, bc5cdr, test (Table 7): 90.00 over 5 against 90.03 ±0.8, difference −0.46 to +0.40
          missing: recall, bc5cdr, test (Table 7): 90.03 ±0.8; no such number
        ");
    }

    #[test]
    fn many_claims_are_counted_by_source_and_those_that_differ_named() {
        let mut claims: Vec<Line> = (0..30)
            .map(|at| claim("reproduced", &format!("f{at}"), "Table 2"))
            .collect();
        claims.push(claim("differs", "rows", "Table 3"));
        claims.push(claim("inconclusive", "f1", "Table 3"));
        let text = told("table", &claims);
        insta::assert_snapshot!(text, @r"
        claims of table: 30 reproduced, 1 differs, 1 inconclusive
          Table 2: 30 reproduced
          Table 3: 1 differs, 1 inconclusive
          differs: rows, bc5cdr, test (Table 3): 90.00 over 5 against 90.03 ±0.8, difference −0.46 to +0.40
        ");
        claims.extend((0..25).map(|_| claim("differs", "n", "Table 4")));
        assert!(told("table", &claims).ends_with("and 6 more that differ"));
    }
}
