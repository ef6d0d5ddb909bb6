//! One stage on the page: how far it is, why it runs, its error, curves, numbers and the end of its log. Reads only.

use flow::metric::MetricRow;

use super::board::{Cell, State};
use super::draw;
use super::html::Html;
use super::state::Live;
use crate::console::format;

/// Curves shown of a stage.
const MOST_CURVES: usize = 12;
/// Numbers shown of a stage.
const MOST_NUMBERS: usize = 60;

/// How far a stage at work is: bar, share, speed, time left, remark.
pub(super) fn pace(html: &mut Html, cell: &mut Cell, now: f64) {
    let elapsed = cell.began.map_or(0.0, |began| (now - began).max(0.0));
    if cell.state == State::Pausing {
        html.raw("<p>Waits ").text(&cell.waits).raw("</p>");
        return;
    }
    let left = cell.seconds_left(now, None);
    let total = cell.progress.as_ref().and_then(|progress| progress.total);
    let Some(progress) = &cell.progress else {
        html.raw("<p class=\"numbers\">")
            .text(&format::clock(elapsed));
        match cell.past_seconds {
            Some(past) if past >= elapsed => html.raw(" of about ").text(&format::duration(past)),
            Some(past) => html
                .raw(", ")
                .text(&format::duration(past))
                .raw(" last time"),
            None => html.raw(" so far"),
        };
        html.raw("</p>");
        return;
    };
    let done = format::amount(progress.done, &progress.unit);
    let unit = if progress.unit == "B" {
        ""
    } else {
        progress.unit.as_str()
    };
    if let Some(total) = total.filter(|total| *total > 0) {
        draw::progress(html, progress.done, total);
        let percent = u128::from(progress.done.min(total)) * 100 / u128::from(total);
        html.raw("<p class=\"numbers\"><b>")
            .text(&percent.to_string())
            .raw(" %</b>");
        if let Some(left) = left {
            html.raw(" · about <b>")
                .text(&format::clock(left))
                .raw("</b> left");
        }
        html.raw(" · ")
            .text(&format::clock(elapsed))
            .raw(" so far</p><p class=\"numbers soft\">");
        html.text(&done)
            .raw(" of ")
            .text(&format::amount(total, &progress.unit))
            .raw(" ")
            .text(unit);
    } else {
        html.raw("<p class=\"numbers soft\">")
            .text(&done)
            .raw(" ")
            .text(unit)
            .raw(" · ");
        html.text(&format::clock(elapsed)).raw(" so far");
    }
    if let Some(rate) = cell.pace.rate() {
        html.raw(" · ").text(&format::rate(rate, &progress.unit));
    }
    if !progress.text.is_empty() {
        html.raw(" · ").text(&format::clean_line(&progress.text));
    }
    html.raw("</p>");
}

/// The stage that the address names; a word where there is none of that name.
pub(super) fn stage(live: &mut Live, chosen: Option<usize>, name: Option<&str>) -> Option<Html> {
    let mut html = Html::new();
    let Some(at) = chosen else {
        let name = name?;
        html.raw("<div class=\"card\"><p>There is no stage ")
            .text(name);
        html.raw(" in this pipeline. <a href=\"?\">All stages</a></p></div>");
        return Some(html);
    };
    let now = Live::now();
    let cell = &mut live.board.cells[at];
    html.raw("<div class=\"card\"><h2>")
        .name(&cell.name)
        .raw(" <span class=\"badge s-")
        .text(cell.state.word());
    html.raw("\">").text(cell.state.word()).raw("</span></h2>");
    if matches!(cell.state, State::Running | State::Pausing) {
        pace(&mut html, cell, now);
    }
    let cell = &live.board.cells[at];
    if let Some(error) = &cell.error {
        html.raw("<p class=\"lost\">")
            .text(&error.message)
            .raw("</p>");
        for detail in &error.details {
            html.raw("<p>").text(detail).raw("</p>");
        }
        if let Some(help) = &error.help {
            html.raw("<p class=\"soft\">").text(help).raw("</p>");
        }
    }
    html.raw("<dl>");
    let seconds = cell.seconds.map(format::duration);
    let past = (cell.seconds.is_none())
        .then(|| cell.past_seconds.map(format::duration))
        .flatten();
    let attempt = (cell.attempt > 1).then(|| cell.attempt.to_string());
    for (word, value) in [
        ("kind", Some(cell.kind.clone())),
        ("ran because", Some(cell.because.clone())),
        ("took", seconds),
        ("took before", past),
        ("try", attempt),
        ("key", cell.key.map(|key| key.to_string())),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            html.raw("<dt>")
                .raw(word)
                .raw("</dt><dd>")
                .text(&value)
                .raw("</dd>");
        }
    }
    html.raw("</dl>");
    curves(&mut html, live, at);
    let numbers = live.numbers(at);
    if !numbers.is_empty() {
        table(&mut html, &numbers);
    }
    if let Some(log) = live.log(at).filter(|log| !log.text.trim().is_empty()) {
        html.raw("<h3>What it printed</h3>");
        if log.before > 0 {
            html.raw("<p class=\"soft small\">The end; ")
                .text(&format::bytes(log.before));
            html.raw(" before it: <code>pipeline log</code> prints all.</p>");
        }
        html.raw("<pre tabindex=\"0\" role=\"region\" aria-label=\"What the stage printed\">");
        html.text(&log.text).raw("</pre>");
    }
    html.raw("<p><a href=\"?\">Close</a></p></div>");
    Some(html)
}

fn curves(html: &mut Html, live: &mut Live, at: usize) {
    let curves = live.curves(at);
    let shown = curves.in_order();
    if shown.is_empty() {
        return;
    }
    html.raw("<div class=\"curves\">");
    for (group, name, curve) in shown.iter().take(MOST_CURVES) {
        draw::curve(html, &format!("{group}: {}", name.replace('_', " ")), curve);
    }
    html.raw("</div>");
}

fn table(html: &mut Html, rows: &[MetricRow]) {
    html.raw("<h3>Numbers</h3><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Metric</th><th scope=\"col\">Data</th><th scope=\"col\">Class</th><th scope=\"col\" class=\"number\">Value</th></tr></thead><tbody>");
    // Sums over all classes first.
    let mut rows: Vec<&MetricRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.class.is_some());
    for row in rows.iter().take(MOST_NUMBERS) {
        let data: Vec<&str> = [&row.dataset, &row.split]
            .into_iter()
            .filter_map(|text| text.as_deref())
            .collect();
        html.raw("<tr><th scope=\"row\">")
            .text(&row.metric)
            .raw("</th><td>")
            .text(&data.join(" "));
        html.raw("</td><td>")
            .text(row.class.as_deref().unwrap_or_default());
        html.raw("</td><td class=\"number\">")
            .text(&draw::short(row.value))
            .raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
    if rows.len() > MOST_NUMBERS {
        html.raw("<p class=\"soft small\">and ")
            .text(&format::count((rows.len() - MOST_NUMBERS) as u64))
            .raw(" more</p>");
    }
}
