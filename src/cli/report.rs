//! `run.html` and `run.json` beside each report of a run: what differs from run to run.

use flow::clock;
use flow::event::End;
use flow::exec::environment::quoted;
use flow::run::RunSummary;
use report::{RunSummary as Page, RunTotals, StageLine, render_run};

use super::session::Session;
use crate::console::Console;

/// Writes both files into every report's folder.
pub(super) fn write_run_pages(session: &Session, summary: &RunSummary, console: &mut Console) {
    if summary.reports.is_empty() {
        return;
    }
    let page = page(session, summary);
    let html = render_run(&page);
    let mut json = serde_json::to_vec_pretty(&page).expect("summaries serialise");
    json.push(b'\n');
    for report in &summary.reports {
        let folder = session.workflow().root.join(&report.path);
        let written = fs_err::write(folder.join("run.html"), &html)
            .and_then(|()| fs_err::write(folder.join("run.json"), &json));
        if let Err(error) = written {
            console.note(&format!("the page of this run cannot be written: {error}"));
        }
    }
}

fn page(session: &Session, summary: &RunSummary) -> Page {
    let ended = clock::now_ns();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "nanoseconds of a run fit by far"
    )]
    let began = ended - (summary.wall_seconds * 1e9) as i128;
    let counts = summary.counts;
    Page {
        pipeline: summary.pipeline.clone(),
        run: summary.run.clone(),
        started: clock::rfc3339(began),
        ended: clock::rfc3339(ended),
        host: flow::store::record::this_machine().host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command_line: std::env::args().collect::<Vec<_>>().join(" "),
        wall_seconds: summary.wall_seconds,
        totals: RunTotals {
            total: counts.total,
            executed: counts.executed,
            cached: counts.cached,
            failed: counts.failed,
            skipped: counts.skipped,
        },
        stages: summary
            .stages
            .iter()
            .map(|stage| StageLine {
                name: stage.stage.clone(),
                state: word(stage.end).to_owned(),
                start_seconds: stage.started_after_seconds,
                seconds: (stage.end != End::Skipped).then_some(stage.seconds),
                key: stage.key.map(|key| key.to_string()),
                because: (stage.key.filter(|_| stage.end == End::Cached))
                    .and_then(|key| session.store.imported(&key))
                    .map_or_else(|| stage.because.clone(), |imported| imported.words()),
                device: (!stage.device.is_empty()).then(|| stage.device.clone()),
                command: format!(
                    "pipeline get {} {} --to out",
                    quoted(&session.workflow().file.to_string_lossy()),
                    quoted(&stage.stage)
                ),
            })
            .collect(),
        warnings: summary
            .warnings
            .iter()
            .map(|warning| warning.message.clone())
            .collect(),
        reports: vec!["index.html".to_owned()],
    }
}

fn word(end: End) -> &'static str {
    match end {
        End::Cached => "cached",
        End::Executed => "executed",
        End::Shared => "shared",
        End::Failed => "failed",
        End::Skipped => "skipped",
        End::Stopped => "stopped",
        End::Held => "held",
    }
}
