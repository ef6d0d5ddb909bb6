//! A ranking as files: the choice, JSON, and a table for people. Knows nothing of how it came about.

use std::fmt::Write as _;

use flow::key::axes_text;
use flow::spec::Axis;
use serde_json::{Map, Value, json};

use super::Select;
use super::rank::Ranking;
use super::scores::Scores;

/// The typed value of an axis.
fn value(axis: &Axis) -> Value {
    // Axes are written as JSON by whoever expands the pipeline.
    serde_json::from_str(&axis.json).unwrap_or_else(|_| Value::String(axis.text.clone()))
}

fn map(axes: &[Axis]) -> Value {
    let entries = axes.iter().map(|axis| (axis.name.clone(), value(axis)));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn line(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("JSON values serialise");
    text.push('\n');
    text
}

/// `{"learning_rate": 0.0001}`: each axis with its value.
pub(super) fn choice(ranking: &Ranking) -> String {
    line(&map(&ranking.best().values))
}

/// What chose, and every combination from best to worst with the number of each repetition.
pub(super) fn json(select: &Select, scores: &Scores, ranking: &Ranking) -> String {
    let cells: Vec<Value> = ranking
        .cells
        .iter()
        .map(|cell| {
            let numbers: Vec<Value> = ranking
                .repetitions
                .iter()
                .zip(&cell.numbers)
                .map(|(repetition, number)| json!({"axes": map(repetition), "value": number}))
                .collect();
            json!({
                "rank": cell.rank,
                "axes": map(&cell.values),
                "mean": cell.summary.mean,
                "sd": cell.summary.deviation,
                "n": cell.summary.n,
                "values": numbers,
            })
        })
        .collect();
    line(&json!({
        "metric": select.metric,
        "dataset": scores.dataset,
        "split": scores.split,
        "class": select.filter.class,
        "goal": if select.is_max() { "max" } else { "min" },
        "ties": select.ties,
        "chosen": map(&ranking.best().values),
        "ranking": cells,
    }))
}

/// The same as a Markdown table.
pub(super) fn markdown(select: &Select, scores: &Scores, ranking: &Ranking) -> String {
    let named = |word: &str, name: Option<&String>| name.map(|name| format!(" {word} `{name}`"));
    let mut text = format!("`{}`", select.metric);
    for part in [
        named("of", scores.dataset.as_ref()),
        named("on", scores.split.as_ref()),
        named("for", select.filter.class.as_ref()),
    ] {
        text.push_str(&part.unwrap_or_default());
    }
    let order = if select.is_max() {
        "largest"
    } else {
        "smallest"
    };
    let _ = write!(
        text,
        ", {order} first; chosen: `{}`.\n\n",
        ranking.best().name()
    );
    let mut head = vec!["rank".to_owned()];
    head.extend(ranking.best().values.iter().map(|axis| axis.name.clone()));
    head.extend(["mean", "sd", "n"].map(str::to_owned));
    let repetitions = ranking.repetitions.iter().filter(|one| !one.is_empty());
    head.extend(repetitions.map(|one| axes_text(one)));
    let shows_each = head.len() > ranking.best().values.len() + 4;
    row(&mut text, &head);
    row(&mut text, &vec!["---".to_owned(); head.len()]);
    for cell in &ranking.cells {
        let mut columns = vec![cell.rank.to_string()];
        columns.extend(cell.values.iter().map(|axis| axis.text.clone()));
        columns.push(number(Some(cell.summary.mean)));
        columns.push(number(cell.summary.deviation));
        columns.push(cell.summary.n.to_string());
        if shows_each {
            columns.extend(cell.numbers.iter().map(|one| number(*one)));
        }
        row(&mut text, &columns);
    }
    text
}

fn row(text: &mut String, columns: &[String]) {
    let columns: Vec<String> = columns.iter().map(|one| one.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {} |", columns.join(" | "));
}

/// Four decimals, as many as tell runs apart; nothing for a gap.
fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}
