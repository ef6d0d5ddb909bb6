//! `run.html`: what differs from run to run, on a page of its own. Knows nothing of results.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::chart::svg::escape;
use crate::render::html;

/// How many stages the timeline draws at most.
const TIMELINE_ROWS: usize = 60;

/// A finished or interrupted run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Run id.
    pub run: String,
    /// When it began, as shown.
    pub started: String,
    /// When it ended, as shown.
    pub ended: String,
    /// Machine.
    pub host: String,
    /// Program version.
    pub version: String,
    /// The command that started it.
    pub command_line: String,
    /// Wall seconds.
    pub wall_seconds: f64,
    /// Sums over the stages.
    pub totals: RunTotals,
    /// Stages in the order they are to be listed.
    pub stages: Vec<StageLine>,
    /// What was said aloud.
    pub warnings: Vec<String>,
    /// Reports of this run, as paths relative to this page.
    pub reports: Vec<String>,
}

/// Sums over the selected stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTotals {
    /// All.
    pub total: usize,
    /// Ran in this run.
    pub executed: usize,
    /// Had a record.
    pub cached: usize,
    /// Failed.
    pub failed: usize,
    /// Not reached.
    pub skipped: usize,
}

/// One stage of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageLine {
    /// Display name.
    pub name: String,
    /// `cached`, `executed`, `failed`, `skipped` …
    pub state: String,
    /// Seconds from the run's begin to its start; `None` if it did not run.
    pub start_seconds: Option<f64>,
    /// How long it ran.
    pub seconds: Option<f64>,
    /// Key, 64 hex digits.
    pub key: Option<String>,
    /// Why it ran.
    pub because: String,
    /// The device its record states.
    pub device: Option<String>,
    /// What to type to have its outputs as files.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
}

#[derive(Serialize)]
struct RunView<'a> {
    run: &'a RunSummary,
    wall: String,
    stages: Vec<StageView<'a>>,
    timeline: Option<String>,
    shown: usize,
    left_out: usize,
}

#[derive(Serialize)]
struct StageView<'a> {
    name: &'a str,
    state: &'a str,
    tone: &'static str,
    time: String,
    because: &'a str,
    device: &'a str,
    key: String,
    /// Whether no line before it has the key, so that it may be the anchor.
    is_anchor: bool,
    command: &'a str,
}

/// The page: self-contained, no script, nothing from outside.
#[must_use]
pub fn render_run(run: &RunSummary) -> String {
    let mut ran: Vec<(&StageLine, f64, f64)> = run
        .stages
        .iter()
        .filter_map(|stage| Some((stage, stage.start_seconds?, stage.seconds?)))
        .collect();
    let total = ran.len();
    if total > TIMELINE_ROWS {
        ran.sort_by(|left, right| right.2.total_cmp(&left.2));
        ran.truncate(TIMELINE_ROWS);
    }
    ran.sort_by(|left, right| {
        left.1
            .total_cmp(&right.1)
            .then_with(|| left.0.name.cmp(&right.0.name))
    });
    let view = RunView {
        run,
        wall: duration(run.wall_seconds),
        stages: stage_views(&run.stages),
        timeline: (!ran.is_empty()).then(|| timeline(&ran)),
        shown: ran.len(),
        left_out: total - ran.len(),
    };
    html::run(&view).expect("the built-in template renders every run")
}

fn stage_views(stages: &[StageLine]) -> Vec<StageView<'_>> {
    let mut known = std::collections::BTreeSet::new();
    let mut views: Vec<StageView<'_>> = stages.iter().map(stage_view).collect();
    for view in &mut views {
        // Stages that are alike share a key, and an anchor may be there once only.
        view.is_anchor = !view.key.is_empty() && known.insert(view.key.clone());
    }
    views
}

fn stage_view(stage: &StageLine) -> StageView<'_> {
    StageView {
        name: &stage.name,
        state: &stage.state,
        tone: tone(&stage.state),
        time: stage.seconds.map(duration).unwrap_or_default(),
        because: &stage.because,
        device: stage.device.as_deref().unwrap_or_default(),
        key: stage
            .key
            .as_deref()
            .map(|key| key.chars().take(10).collect())
            .unwrap_or_default(),
        is_anchor: false,
        command: &stage.command,
    }
}

fn tone(state: &str) -> &'static str {
    match state {
        "executed" => "pass",
        "failed" => "differs",
        "skipped" | "held" | "stopped" => "missing",
        _ => "",
    }
}

/// Bars from start to end, one a stage.
fn timeline(ran: &[(&StageLine, f64, f64)]) -> String {
    const WIDTH: f64 = 900.0;
    const ROW: f64 = 22.0;
    let names = ran
        .iter()
        .map(|(stage, ..)| stage.name.chars().count().min(36))
        .max()
        .unwrap_or(0) as f64
        * 6.9
        + 14.0;
    let end = ran
        .iter()
        .fold(0.0_f64, |end, (_, start, seconds)| end.max(start + seconds))
        .max(1e-3);
    let room = WIDTH - names - 92.0;
    let height = ran.len() as f64 * ROW + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-labelledby=\"timeline-title\" style=\"font:12px system-ui,sans-serif;max-width:none\">\n<title id=\"timeline-title\">When each stage ran, over {}</title>\n",
        duration(end)
    );
    for share in [0.0, 0.5, 1.0] {
        let x = names + room * share;
        let _ = writeln!(
            svg,
            r#"<line x1="{x:.1}" x2="{x:.1}" y1="0" y2="{:.1}" style="stroke:var(--rule)"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" style="fill:var(--faint)">{}</text>"#,
            height - 20.0,
            height - 5.0,
            duration(end * share)
        );
    }
    for (at, (stage, start, seconds)) in ran.iter().enumerate() {
        let y = at as f64 * ROW;
        let x = names + room * start / end;
        let width = (room * seconds / end).max(2.0);
        let color = match tone(&stage.state) {
            "differs" => "var(--bad)",
            "missing" => "var(--gone)",
            _ => "var(--link)",
        };
        let name: String = if stage.name.chars().count() > 36 {
            stage.name.chars().take(35).chain(['…']).collect()
        } else {
            stage.name.clone()
        };
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="end" style="fill:var(--ink)">{}</text><rect x="{x:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" rx="2" style="fill:{color}"><title>{}: {}, {}</title></rect><text x="{:.1}" y="{:.1}" style="fill:var(--faint)">{}</text>"#,
            names - 10.0,
            y + 15.0,
            escape(&name),
            y + 4.0,
            ROW - 8.0,
            escape(&stage.name),
            escape(&stage.state),
            duration(*seconds),
            x + width + 5.0,
            y + 15.0,
            duration(*seconds)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// `0.4 s`, `12 s`, `3 min 05 s`, `2 h 14 min`.
fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..10 => format!("{:.1} s", seconds.max(0.0)),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let shown = [0.0, 0.44, 12.4, 185.0, 8050.0].map(duration);
        assert_eq!(
            shown,
            ["0.0 s", "0.4 s", "12 s", "3 min 05 s", "2 h 14 min"]
        );
    }
}
