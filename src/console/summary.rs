//! The end of a run: the closing lines for people and the summary for scripts. Knows nothing of terminals.

use flow::diagnostic::Diagnostic;
use flow::event::{Counts, Event, Observer, Progress, ReportPlace};
use flow::source::Sources;
use serde::Serialize;

use super::board::Board;
use super::diagnostic::render;
use super::format;
use super::terminal::{Ink, Look};

/// Errors repeated in full at the end; of further ones, the message.
const FULL_FAILURES: usize = 10;

/// `run --json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RunSummary {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Id of the run.
    pub run: String,
    /// Sums over the selected stages.
    pub stages: Counts,
    /// Wall seconds, to the millisecond.
    pub wall_s: f64,
    /// Reports of the run.
    pub reports: Vec<Placed>,
}

/// A report of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// Where it lies.
    #[serde(flatten)]
    pub place: ReportPlace,
    /// How many of its claims came out how, by verdict; none where it judged none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<serde_json::Value>,
}

impl Observer for RunSummary {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { run, pipeline, .. } => {
                self.run.clone_from(run);
                self.pipeline.clone_from(pipeline);
            }
            Event::RunFinished {
                counts,
                wall_seconds,
                reports,
                ..
            } => {
                self.stages = *counts;
                self.wall_s = (wall_seconds * 1000.0).round() / 1000.0;
                let placed = |place: &ReportPlace| Placed {
                    place: place.clone(),
                    claims: None,
                };
                self.reports = reports.iter().map(placed).collect();
            }
            _ => {}
        }
    }
}

/// Everything a person reads after the last stage: errors that scrolled away, reports, the closing line.
pub(super) fn closing(board: &Board, finished: &Event, sources: &Sources, look: Look) -> String {
    let Event::RunFinished {
        counts,
        wall_seconds,
        reports,
        interrupted,
    } = finished
    else {
        return String::new();
    };
    let mut text = repeated_failures(board, sources, look);
    for report in reports {
        text.push_str(&format!("report of {}: {}\n", report.stage, report.path));
    }
    if let Some(signal) = interrupted {
        let stop = interruption(board, *counts, *wall_seconds, signal);
        text.push_str(&render(&stop, sources, look));
        return text;
    }
    let (word, ink) = if counts.failed > 0 {
        ("failed", Ink::Bad)
    } else if counts.skipped > 0 {
        ("incomplete", Ink::Warning)
    } else {
        ("done", Ink::Good)
    };
    text.push_str(&format!(
        "{} {} in {}\n",
        look.paint(ink, &format!("{word}:")),
        sums(*counts),
        format::duration(*wall_seconds)
    ));
    text
}

/// `12 stages, 3 executed, 9 cached`, and failed and skipped where there are any.
#[must_use]
pub fn sums(counts: Counts) -> String {
    let mut text = format!(
        "{}, {} executed, {} cached",
        format::counted(counts.total, "stage"),
        format::count(counts.executed as u64),
        format::count(counts.cached as u64)
    );
    for (number, word) in [(counts.failed, "failed"), (counts.skipped, "skipped")] {
        if number > 0 {
            text.push_str(&format!(", {} {word}", format::count(number as u64)));
        }
    }
    text
}

/// `step 41,000 of 100,000`, `12 MiB`.
pub(super) fn reached(progress: &Progress) -> String {
    let unit = match progress.unit.as_str() {
        "" | "B" => String::new(),
        unit => format!("{unit} "),
    };
    let done = format::amount(progress.done, &progress.unit);
    match progress.total {
        Some(total) => format!("{unit}{done} of {}", format::amount(total, &progress.unit)),
        None => format!("{unit}{done}"),
    }
}

fn repeated_failures(board: &Board, sources: &Sources, look: Look) -> String {
    let buried: Vec<&Diagnostic> = board
        .failures
        .iter()
        .filter(|failure| failure.buried)
        .map(|failure| &failure.diagnostic)
        .collect();
    if buried.is_empty() {
        return String::new();
    }
    let mut text = format!("\nwhat failed, once more ({}):\n\n", buried.len());
    for diagnostic in buried.iter().take(FULL_FAILURES) {
        text.push_str(&render(diagnostic, sources, look));
        text.push('\n');
    }
    for diagnostic in buried.iter().skip(FULL_FAILURES) {
        text.push_str(&format!(
            "{}: {}\n",
            diagnostic.code,
            format::clean_line(&diagnostic.message)
        ));
    }
    if buried.len() > FULL_FAILURES {
        text.push_str("`pipeline log FILE STAGE` shows what each of them printed\n\n");
    }
    text
}

fn interruption(board: &Board, counts: Counts, seconds: f64, signal: &str) -> Diagnostic {
    let mut message = format!(
        "interrupted by {signal} after {}; {} of {} done",
        format::duration(seconds),
        format::count((counts.executed + counts.cached) as u64),
        format::counted(counts.total, "stage"),
    );
    for (number, word) in [(board.stopped.len(), "stopped"), (counts.failed, "failed")] {
        if number > 0 {
            message.push_str(&format!(", {number} {word}"));
        }
    }
    let mut diagnostic =
        Diagnostic::error("run::killed", message).help("run the same command to go on from there");
    for stopped in board.stopped.iter().take(FULL_FAILURES) {
        diagnostic = match &stopped.progress {
            Some(progress) => diagnostic.detail(format!(
                "`{}` was stopped at {}",
                stopped.stage,
                reached(progress)
            )),
            None => diagnostic.detail(format!("`{}` was stopped", stopped.stage)),
        };
    }
    diagnostic
}

#[cfg(test)]
mod tests {
    use flow::digest::Use;

    use super::*;

    #[test]
    fn the_json_form_is_a_contract() {
        let mut summary = RunSummary::default();
        summary.event(&Event::RunStarted {
            run: "20261121T011900Z-4f2a".into(),
            pipeline: "datasets".into(),
            stages: 12,
        });
        summary.event(&Event::RunFinished {
            counts: Counts {
                total: 12,
                executed: 3,
                cached: 9,
                failed: 0,
                skipped: 0,
            },
            wall_seconds: 4.200_499,
            reports: vec![ReportPlace {
                stage: "table".into(),
                path: "reports/datasets/af1349b9f5".into(),
                key: Use::File.digest(b""),
            }],
            interrupted: None,
        });
        let json = serde_json::to_string_pretty(&summary).expect("serialises");
        insta::assert_snapshot!(json, @r#"
        {
          "pipeline": "datasets",
          "run": "20261121T011900Z-4f2a",
          "stages": {
            "total": 12,
            "executed": 3,
            "cached": 9,
            "failed": 0,
            "skipped": 0
          },
          "wall_s": 4.2,
          "reports": [
            {
              "stage": "table",
              "path": "reports/datasets/af1349b9f5",
              "key": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
            }
          ]
        }
        "#);
    }

    #[test]
    fn sums_name_failures_only_where_there_are_some() {
        let mut counts = Counts {
            total: 1,
            cached: 1,
            ..Counts::default()
        };
        assert_eq!(sums(counts), "1 stage, 0 executed, 1 cached");
        counts.total = 12_000;
        counts.failed = 2;
        counts.skipped = 11_997;
        assert_eq!(
            sums(counts),
            "12,000 stages, 0 executed, 1 cached, 2 failed, 11,997 skipped"
        );
    }
}
