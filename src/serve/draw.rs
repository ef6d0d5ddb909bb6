//! Drawings of the page as SVG: bars of states, the graph, grids of many stages, curves. Sizes in pixels; colours stand in
//! the style, by class. Knows no files.

use report::chart::scale::Scale;

use super::board::{Board, Group, State};
use super::curves::Curve;
use super::html::Html;
use super::http::encode;

/// Cells in a row of a grid.
pub(super) const GRID_COLUMNS: usize = 100;
const GRID_PITCH: usize = 10;
const BOX_WIDTH: f64 = 132.0;
const BOX_HEIGHT: f64 = 54.0;
const GAP_X: f64 = 26.0;
const GAP_Y: f64 = 14.0;
const EDGE: f64 = 6.0;

#[expect(clippy::cast_precision_loss, reason = "counts of stages")]
fn float(count: usize) -> f64 {
    count as f64
}

/// `12 done, 3 running`, in the order of bars.
#[must_use]
pub(super) fn sums(counts: &[usize; 8]) -> String {
    let parts = State::ALL
        .iter()
        .zip(counts)
        .filter(|(_, count)| **count > 0);
    let parts: Vec<String> = parts
        .map(|(state, count)| {
            let count = crate::console::format::count(*count as u64);
            format!("{count} {}", state.word())
        })
        .collect();
    parts.join(", ")
}

/// Rectangles side by side, `width` in all, each as wide as its state's share.
fn shares(html: &mut Html, counts: &[usize; 8], (x, y, width, height): (f64, f64, f64, f64)) {
    let total = float(counts.iter().sum::<usize>()).max(1.0);
    let mut at = x;
    for (state, count) in State::ALL.iter().zip(counts) {
        if *count == 0 {
            continue;
        }
        // One in ten thousand is seen, too.
        let share = (width * float(*count) / total).max(1.5).min(x + width - at);
        html.raw("<rect class=\"s-")
            .text(state.word())
            .raw("\" x=\"")
            .number(at);
        html.raw("\" y=\"")
            .number(y)
            .raw("\" width=\"")
            .number(share);
        html.raw("\" height=\"").number(height).raw("\"/>");
        at += share;
    }
}

/// A bar of states.
pub(super) fn bar(html: &mut Html, counts: &[usize; 8]) {
    html.raw("<svg class=\"bar\" viewBox=\"0 0 400 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"");
    html.text(&sums(counts)).raw("\">");
    shares(html, counts, (0.0, 0.0, 400.0, 8.0));
    html.raw("</svg>");
}

/// A bar of one thing's progress.
pub(super) fn progress(html: &mut Html, done: u64, total: u64) {
    html.raw("<progress max=\"")
        .text(&total.to_string())
        .raw("\" value=\"");
    html.text(&done.min(total).to_string())
        .raw("\"></progress>");
}

/// The graph of groups, left to right by depth.
pub(super) fn graph(html: &mut Html, board: &Board) {
    let groups = &board.groups;
    let mut depths: Vec<usize> = Vec::with_capacity(groups.len());
    for group in groups {
        // A stage comes after what it needs, a group's first stage therefore too; what events added needs nothing.
        let above = group
            .needs
            .iter()
            .filter_map(|need| depths.get(*need))
            .max();
        depths.push(above.map_or(0, |depth| depth + 1));
    }
    let columns = depths.iter().max().map_or(0, |depth| depth + 1);
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); columns];
    let mut heights = vec![0.0_f64; groups.len()];
    for (depth, place) in rows.iter_mut().enumerate() {
        let mut column: Vec<usize> = (0..groups.len())
            .filter(|at| depths[*at] == depth)
            .collect();
        // Near what it needs, so that lines cross little.
        let wish = |at: &usize| {
            let needs = &groups[*at].needs;
            let sum: f64 = needs
                .iter()
                .map(|need| heights.get(*need).copied().unwrap_or_default())
                .sum();
            if needs.is_empty() {
                0.0
            } else {
                sum / float(needs.len())
            }
        };
        column.sort_by(|a, b| wish(a).total_cmp(&wish(b)));
        for (row, at) in column.iter().enumerate() {
            heights[*at] = float(row) - float(column.len()) / 2.0;
        }
        *place = column;
    }
    let tallest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = float(columns) * (BOX_WIDTH + GAP_X) - GAP_X + 2.0 * EDGE;
    let height = float(tallest) * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2.0 * EDGE;
    let mut places = vec![(0.0, 0.0); groups.len()];
    for (depth, column) in rows.iter().enumerate() {
        let free = float(tallest - column.len()) * (BOX_HEIGHT + GAP_Y) / 2.0;
        for (row, at) in column.iter().enumerate() {
            let x = EDGE + float(depth) * (BOX_WIDTH + GAP_X);
            places[*at] = (x, EDGE + free + float(row) * (BOX_HEIGHT + GAP_Y));
        }
    }
    html.raw("<svg class=\"graph\" width=\"")
        .number(width)
        .raw("\" height=\"")
        .number(height);
    html.raw("\" viewBox=\"0 0 ")
        .number(width)
        .raw(" ")
        .number(height);
    html.raw(
        "\" role=\"group\" aria-label=\"Stages from left to right, each after what it needs\">",
    );
    for (to, group) in groups.iter().enumerate() {
        for from in direct_needs(groups, group) {
            edge(html, places[from], places[to], groups[from].is_made());
        }
    }
    for (at, group) in groups.iter().enumerate() {
        node(html, board, at, group, places[at]);
    }
    html.raw("</svg>");
}

/// What a group needs and none of its other needs does: lines that follow from others only hide these.
fn direct_needs(groups: &[Group], group: &Group) -> Vec<usize> {
    let mut above = vec![false; groups.len()];
    let mut open: Vec<usize> = Vec::new();
    for need in &group.needs {
        open.extend(&groups[*need].needs);
    }
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut above[at], true) {
            open.extend(&groups[at].needs);
        }
    }
    let needs = group.needs.iter().copied();
    needs.filter(|need| !above[*need]).collect()
}

fn edge(html: &mut Html, from: (f64, f64), to: (f64, f64), is_made: bool) {
    let (x1, y1) = (from.0 + BOX_WIDTH, from.1 + BOX_HEIGHT / 2.0);
    let (x2, y2) = (to.0, to.1 + BOX_HEIGHT / 2.0);
    let bend = (GAP_X * 0.6).max((x2 - x1) * 0.4);
    html.raw("<path class=\"edge")
        .raw(if is_made { " made" } else { "" })
        .raw("\" d=\"M");
    html.number(x1)
        .raw(" ")
        .number(y1)
        .raw(" C")
        .number(x1 + bend)
        .raw(" ")
        .number(y1)
        .raw(" ");
    html.number(x2 - bend)
        .raw(" ")
        .number(y2)
        .raw(" ")
        .number(x2)
        .raw(" ")
        .number(y2)
        .raw("\"/>");
}

impl Group {
    /// Whether all its stages have a result.
    #[must_use]
    pub(super) fn is_made(&self) -> bool {
        self.cells.len() == self.made()
    }

    /// How many have.
    #[must_use]
    pub(super) fn made(&self) -> usize {
        let counts = State::ALL.iter().zip(self.counts);
        counts
            .filter(|(state, _)| state.is_made())
            .map(|(_, count)| count)
            .sum()
    }

    /// The state that decides how it looks as a whole.
    #[must_use]
    pub(super) fn state(&self) -> State {
        let there = |state: &State| {
            State::ALL
                .iter()
                .zip(self.counts)
                .any(|(other, count)| other == state && count > 0)
        };
        let order = [
            State::Failed,
            State::Running,
            State::Pausing,
            State::Stopped,
            State::Skipped,
            State::Left,
            State::Done,
        ];
        order.into_iter().find(there).unwrap_or(State::Cached)
    }
}

fn node(html: &mut Html, board: &Board, at: usize, group: &Group, (x, y): (f64, f64)) {
    let state = group.state();
    html.raw("<a href=\"");
    match group.cells.as_slice() {
        [one] => html
            .raw("?stage=")
            .text(&encode(&board.cells[*one].name))
            .raw("#stage"),
        _ => html.raw("#group-").text(&at.to_string()),
    };
    html.raw("\"><g class=\"node s-")
        .text(state.word())
        .raw("\"><title>");
    html.text(&format!("{}: {}", group.name, sums(&group.counts)))
        .raw("</title>");
    html.raw("<rect class=\"box\" x=\"")
        .number(x)
        .raw("\" y=\"")
        .number(y);
    html.raw("\" width=\"")
        .number(BOX_WIDTH)
        .raw("\" height=\"")
        .number(BOX_HEIGHT)
        .raw("\" rx=\"6\"/>");
    html.raw("<text class=\"name\" x=\"")
        .number(x + 9.0)
        .raw("\" y=\"")
        .number(y + 20.0)
        .raw("\">");
    html.text(&crate::console::format::elide_middle(&group.name, 15, "…"))
        .raw("</text>");
    html.raw("<text class=\"soft\" x=\"")
        .number(x + 9.0)
        .raw("\" y=\"")
        .number(y + 37.0)
        .raw("\">");
    let say = match group.cells.len() {
        1 => state.word().to_owned(),
        all => {
            let (made, all) = (group.made() as u64, all as u64);
            let count = crate::console::format::count;
            let failed = group
                .counts
                .iter()
                .zip(State::ALL)
                .find(|(_, state)| *state == State::Failed);
            match failed.map_or(0, |(count, _)| *count) {
                0 => format!("{} of {}", count(made), count(all)),
                failed => format!("{failed} failed of {}", count(all)),
            }
        }
    };
    html.text(&say).raw("</text>");
    shares(
        html,
        &group.counts,
        (x + 9.0, y + BOX_HEIGHT - 11.0, BOX_WIDTH - 18.0, 4.0),
    );
    html.raw("</g></a>");
}

/// Many stages as squares, a row of [`GRID_COLUMNS`] after the other. Equal neighbours are one rectangle under a lattice, so
/// that what is sent grows with what happens and not with how many there are.
pub(super) fn grid(html: &mut Html, board: &Board, at: usize) {
    let group = &board.groups[at];
    let count = group.cells.len();
    let (columns, rows) = (count.min(GRID_COLUMNS), count.div_ceil(GRID_COLUMNS));
    let (width, height) = (float(columns * GRID_PITCH), float(rows * GRID_PITCH));
    html.raw("<svg class=\"grid\" viewBox=\"0 0 ")
        .number(width)
        .raw(" ")
        .number(height);
    html.raw("\" width=\"")
        .number(width)
        .raw("\" data-group=\"")
        .text(&at.to_string());
    html.raw("\" data-columns=\"")
        .text(&columns.to_string())
        .raw("\" data-count=\"")
        .text(&count.to_string());
    html.raw("\" role=\"img\" aria-label=\"").text(&format!(
        "{}: {}",
        group.name,
        sums(&group.counts)
    ));
    html.raw("\">");
    for state in State::ALL {
        let mut path = Html::new();
        for (row, cells) in group.cells.chunks(columns.max(1)).enumerate() {
            let mut column = 0;
            for run in cells.chunk_by(|a, b| board.cells[*a].state == board.cells[*b].state) {
                if board.cells[run[0]].state == state {
                    path.raw("M")
                        .number(float(column * GRID_PITCH))
                        .raw(" ")
                        .number(float(row * GRID_PITCH));
                    path.raw("h")
                        .number(float(run.len() * GRID_PITCH))
                        .raw("v")
                        .number(float(GRID_PITCH));
                    path.raw("H").number(float(column * GRID_PITCH)).raw("z");
                }
                column += run.len();
            }
        }
        if !path.as_str().is_empty() {
            html.raw("<path class=\"s-")
                .text(state.word())
                .raw("\" d=\"")
                .html(&path)
                .raw("\"/>");
        }
    }
    html.raw("<path class=\"lattice\" d=\"");
    for column in 0..=columns {
        html.raw("M")
            .number(float(column * GRID_PITCH))
            .raw(" 0V")
            .number(height);
    }
    for row in 0..=rows {
        html.raw("M0 ")
            .number(float(row * GRID_PITCH))
            .raw("H")
            .number(width);
    }
    html.raw("\"/></svg>");
}

/// A curve with its scale, and its last value in words.
pub(super) fn curve(html: &mut Html, title: &str, curve: &Curve) {
    const WIDTH: f64 = 340.0;
    const HEIGHT: f64 = 150.0;
    let (left, right, top, bottom) = (54.0, WIDTH - 12.0, 8.0, HEIGHT - 20.0);
    let steps = (
        curve.points.first().map_or(0.0, |point| point.0),
        curve.points.last().map_or(1.0, |point| point.0),
    );
    let range = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
            (low.min(number), high.max(number))
        })
    };
    // The first steps of a training lie far above all that follow: they must not press it flat.
    let settled = curve.points.len() / 10;
    let all = range(&mut curve.points.iter().map(|point| point.1));
    let later = range(&mut curve.points[settled..].iter().map(|point| point.1));
    let (low, high) = if all.1 - all.0 > 4.0 * (later.1 - later.0) && curve.points.len() > 20 {
        let room = 0.25 * (later.1 - later.0);
        ((later.0 - room).max(all.0), (later.1 + room).min(all.1))
    } else {
        all
    };
    let scale = Scale::around(low, high, None, 4);
    let across = Scale::around(steps.0, steps.1, None, 4);
    let x = |step: f64| left + (right - left) * (step - steps.0) / (steps.1 - steps.0).max(1e-9);
    let y =
        |value: f64| (bottom - (bottom - top) * scale.share(value)).clamp(top - 4.0, bottom + 4.0);
    let last = curve
        .last
        .map_or_else(String::new, |(_, value)| short(value));
    html.raw("<figure class=\"curve\"><figcaption>")
        .text(title)
        .raw(" <b>")
        .text(&last)
        .raw("</b></figcaption>");
    html.raw("<svg viewBox=\"0 0 340 150\" role=\"img\" aria-label=\"");
    let first = curve
        .points
        .first()
        .map_or_else(String::new, |(_, value)| short(*value));
    html.text(&format!(
        "{title} from {first} to {last} over the steps {} to {}",
        short(steps.0),
        short(steps.1)
    ));
    html.raw("\">");
    for tick in &scale.ticks {
        html.raw("<path class=\"rule\" d=\"M")
            .number(left)
            .raw(" ")
            .number(y(*tick))
            .raw("H")
            .number(right)
            .raw("\"/>");
        html.raw("<text class=\"tick\" text-anchor=\"end\" x=\"")
            .number(left - 6.0)
            .raw("\" y=\"")
            .number(y(*tick) + 4.0);
        html.raw("\">").text(&short(*tick)).raw("</text>");
    }
    for tick in across
        .ticks
        .iter()
        .filter(|tick| **tick >= steps.0 && **tick <= steps.1)
    {
        html.raw("<text class=\"tick\" text-anchor=\"middle\" x=\"")
            .number(x(*tick).clamp(left + 6.0, right - 8.0));
        html.raw("\" y=\"")
            .number(HEIGHT - 4.0)
            .raw("\">")
            .text(&short(*tick))
            .raw("</text>");
    }
    html.raw("<path class=\"line\" d=\"");
    // More points than pixels tell nothing.
    let every = curve.points.len().div_ceil(300).max(1);
    for (at, points) in curve.points.chunks(every).enumerate() {
        let count = float(points.len());
        let sum = points
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        html.raw(if at == 0 { "M" } else { "L" })
            .number(x(sum.0 / count))
            .raw(" ")
            .number(y(sum.1 / count));
    }
    html.raw("\"/></svg></figure>");
}

/// A number in few characters: `12,345`, `3.14`, `0.0012`, `1.2e-7`.
#[must_use]
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 || (size > 0.0 && size < 1e-4) {
        return format!("{value:.1e}");
    }
    if size >= 1000.0 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below 1e15"
        )]
        let whole = size.round() as u64;
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", crate::console::format::count(whole));
    }
    let decimals = match size {
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_short() {
        let shown = [
            0.0, 1.0, 0.25, 3.141_49, 41.256, 12_345.6, 0.00005, -2_500.0, 1e20,
        ]
        .map(short);
        assert_eq!(
            shown,
            [
                "0", "1", "0.25", "3.141", "41.26", "12,346", "5.0e-5", "-2,500", "1.0e20"
            ]
        );
    }
}
