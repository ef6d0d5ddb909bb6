//! `run.html`: what differs from run to run, on a page of its own. Knows nothing of results.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::chart::svg::escape;
use crate::render::html;

/// How many stages the timeline draws at most.
const TIMELINE_ROWS: usize = 60;
/// Letters of a name beside a bar.
const LONGEST_LABEL: usize = 36;

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
    /// The stages as a graph: an SVG of this program's, and in words what each needs.
    #[serde(skip)]
    pub graph: Option<(String, Vec<String>)>,
    /// The pipeline's text with what it extends, recipes, profiles and settings merged in.
    #[serde(skip)]
    pub text: Option<String>,
    /// Every configuration whose score on a test set of this run is in the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tested>,
}

/// Scores on test sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tested {
    /// How many there are.
    pub sentence: String,
    /// One a configuration.
    pub lines: Vec<TestedLine>,
    /// Configurations that are not listed.
    pub left_out: usize,
}

/// One configuration that was tested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TestedLine {
    /// Data set and split.
    pub set: String,
    /// Settings of the model that others of the set have otherwise.
    pub settings: String,
    /// A telling number, the mean over the runs.
    pub numbers: String,
    /// How many scores there are.
    pub runs: usize,
    /// Whether any of them is a part of this run.
    pub is_of_this_run: bool,
    /// Stages and pipelines that computed them.
    pub stages: String,
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
    /// What to type to have its outputs as files, and to make them once more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
    /// Floating-point operations, counted from its settings and inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flop: Option<f64>,
    /// Tokens that passed through a network, once for each pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
}

#[derive(Serialize)]
struct RunView<'a> {
    run: &'a RunSummary,
    wall: String,
    stages: Vec<StageView<'a>>,
    timeline: Option<String>,
    shown: usize,
    left_out: usize,
    graph: Option<&'a str>,
    needs: &'a [String],
    text: Option<&'a str>,
    /// Whether operations of any stage are known.
    has_work: bool,
    /// What they come to.
    work: Option<String>,
    /// On what all results were made, and for how long.
    compute: Option<String>,
}

#[derive(Serialize)]
struct StageView<'a> {
    name: &'a str,
    state: &'a str,
    tone: &'static str,
    time: String,
    because: &'a str,
    device: &'a str,
    flop: String,
    flop_per_second: String,
    tokens_per_second: String,
    key: String,
    /// Whether no line before it has the key, so that it may be the anchor.
    is_anchor: bool,
    commands: &'a [String],
}

/// The page: self-contained, no script, nothing from outside.
#[must_use]
pub fn render_run(run: &RunSummary, duration: ShowSeconds) -> String {
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
        stages: stage_views(&run.stages, duration),
        timeline: (!ran.is_empty()).then(|| timeline(&ran, duration)),
        shown: ran.len(),
        left_out: total - ran.len(),
        graph: run.graph.as_ref().map(|(svg, _)| svg.as_str()),
        needs: run.graph.as_ref().map_or(&[], |(_, needs)| needs),
        text: run.text.as_deref(),
        has_work: run.stages.iter().any(|stage| stage.flop.is_some()),
        work: work(&run.stages),
        compute: compute(&run.stages, duration),
    };
    html::run(&view).expect("the built-in template renders every run")
}

/// `1.20e15 FLOP and 3.40e7 tokens are counted in 12 stages: 4.10e14 FLOP of them in this run, the others in earlier ones.`
fn work(stages: &[StageLine]) -> Option<String> {
    let counted = stages.iter().filter(|stage| stage.flop.is_some());
    let sum = |number: fn(&StageLine) -> Option<f64>, is_here: bool| -> f64 {
        let stages = counted
            .clone()
            .filter(|one| !is_here || one.start_seconds.is_some());
        stages.filter_map(number).sum()
    };
    let count = counted.clone().count();
    (count > 0).then(|| {
        format!(
            "{} FLOP and {} tokens are counted in {count} {}; {} FLOP of them are of this run, the others of earlier ones.",
            power(sum(|stage| stage.flop, false)),
            power(sum(|stage| stage.tokens, false)),
            if count == 1 { "stage" } else { "stages" },
            power(sum(|stage| stage.flop, true)),
        )
    })
}

/// `The results here took 3 h 05 m of stages on cpu and 10 s on cuda:0, whenever they were made.`
fn compute(stages: &[StageLine], duration: ShowSeconds) -> Option<String> {
    let mut devices: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    let made = ["executed", "cached", "shared"];
    for stage in stages
        .iter()
        .filter(|one| made.contains(&one.state.as_str()))
    {
        let device = stage
            .device
            .as_deref()
            .unwrap_or("a device that is not known");
        *devices.entry(device).or_default() += stage.seconds.unwrap_or(0.0);
    }
    let parts: Vec<String> = (devices.iter())
        .map(|(device, seconds)| format!("{} on {device}", duration(*seconds)))
        .collect();
    let parts = parts.join(" and ");
    (!devices.is_empty())
        .then(|| format!("The results here took {parts} in all, whenever they were made."))
}

/// `8.77e19`; 0 as it is.
fn power(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    format!("{value:.2e}")
}

/// So many a second, where time was measured that tells anything.
fn rate(number: Option<f64>, seconds: Option<f64>) -> Option<f64> {
    let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
    Some(number? / seconds)
}

fn stage_views(stages: &[StageLine], duration: ShowSeconds) -> Vec<StageView<'_>> {
    let mut known = std::collections::BTreeSet::new();
    let mut views: Vec<StageView<'_>> = stages
        .iter()
        .map(|stage| stage_view(stage, duration))
        .collect();
    for view in &mut views {
        // Stages that are alike share a key, and an anchor may be there once only.
        view.is_anchor = !view.key.is_empty() && known.insert(view.key.clone());
    }
    views
}

fn stage_view(stage: &StageLine, duration: ShowSeconds) -> StageView<'_> {
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
        flop: stage.flop.map(power).unwrap_or_default(),
        flop_per_second: rate(stage.flop, stage.seconds)
            .map(power)
            .unwrap_or_default(),
        tokens_per_second: rate(stage.tokens, stage.seconds)
            .map(|rate| format!("{rate:.0}"))
            .unwrap_or_default(),
        commands: &stage.commands,
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

/// A stage's name as it stands beside a bar: values of axes without their names, since what tells instances apart stands
/// last, and cut in the middle.
fn label(name: &str) -> String {
    let short = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
        Some((stage, axes)) => {
            let values = axes
                .split(',')
                .map(|axis| axis.split_once('=').map_or(axis, |axis| axis.1));
            format!("{stage}[{}]", values.collect::<Vec<_>>().join(", "))
        }
        None => name.to_owned(),
    };
    let letters: Vec<char> = short.chars().collect();
    if letters.len() <= LONGEST_LABEL {
        return short;
    }
    let begin = letters.iter().take(LONGEST_LABEL / 2 - 1);
    let end = letters.iter().skip(letters.len() - LONGEST_LABEL / 2);
    begin.chain(&['…']).chain(end).collect()
}

/// Bars from start to end, one a stage.
fn timeline(ran: &[(&StageLine, f64, f64)], duration: ShowSeconds) -> String {
    const WIDTH: f64 = 900.0;
    const ROW: f64 = 22.0;
    let names = ran
        .iter()
        .map(|(stage, ..)| label(&stage.name).chars().count())
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
        let name = label(&stage.name);
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

/// How seconds are written: rooms do not see each other, and times read the same in all of them.
pub type ShowSeconds = fn(f64) -> String;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_tell_instances_apart() {
        assert_eq!(label("pack"), "pack");
        assert_eq!(
            label("re-tuning[task=chemprot,epochs=1,seed=4]"),
            "re-tuning[chemprot, 1, 4]"
        );
        let long = label("ner-dev-predictions[task=ncbi-disease,epochs=10,seed=4]");
        assert_eq!(long, "ner-dev-predictio…bi-disease, 10, 4]");
        assert_eq!(long.chars().count(), LONGEST_LABEL);
    }
}
