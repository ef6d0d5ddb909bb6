//! Draws charts as SVG of a fixed format: no script, no fonts, coordinates with one digit. Knows nothing of rows.

use std::fmt::Write as _;

use crate::chart::scale::Scale;
use crate::chart::{Drawing, Point, Series, points};
use crate::number::Style;
use crate::options::Mark;

const WIDTH: f64 = 720.0;
const PLOT_HEIGHT: f64 = 250.0;
const RIGHT: f64 = 16.0;
/// Colours told apart by most colour-blind readers (after Okabe and Ito 2008), for light and for dark paper.
const PALETTE: [(&str, &str); 6] = [
    ("#0072b2", "#5ab4e5"),
    ("#d55e00", "#ff9b5e"),
    ("#00805e", "#3cc9a0"),
    ("#a9437c", "#e493bf"),
    ("#8a6d00", "#e0b93c"),
    ("#555d66", "#aab3bd"),
];

/// The plot's frame on the paper and its axes.
struct Paper {
    left: f64,
    top: f64,
    y: Scale,
    x: Option<Scale>,
    n_places: usize,
}

impl Paper {
    fn width(&self) -> f64 {
        WIDTH - self.left - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.top + PLOT_HEIGHT
    }

    fn y(&self, number: f64) -> f64 {
        self.bottom() - PLOT_HEIGHT * self.y.share(number).clamp(0.0, 1.0)
    }

    fn x(&self, point: &Point) -> f64 {
        match &self.x {
            Some(scale) => self.left + self.width() * scale.share(point.x),
            None => self.left + self.band() * (point.place as f64 + 0.5),
        }
    }

    fn band(&self) -> f64 {
        self.width() / self.n_places.max(1) as f64
    }
}

/// The whole SVG document.
pub(crate) fn draw(drawing: &Drawing) -> String {
    let legend = legend(drawing);
    let y = y_scale(drawing);
    let tick_style = Style {
        decimals: if drawing.style.percent {
            y.decimals.saturating_sub(2)
        } else {
            y.decimals
        },
        percent: drawing.style.percent,
    };
    let tick_width = y
        .ticks
        .iter()
        .map(|tick| text_width(&tick_style.show(*tick)))
        .fold(0.0, f64::max);
    let x = (drawing.mark == Mark::Lines).then(|| {
        let thin = drawing.thin.iter().flatten().flatten().map(|point| point.0);
        let (low, high) = range(points(&drawing.series).map(|point| point.x).chain(thin));
        Scale::around(low, high, Some(low), 6)
    });
    let paper = Paper {
        left: tick_width + 36.0,
        top: 14.0 + legend.1,
        y,
        x,
        n_places: drawing.places.len(),
    };
    let (axis, below) = x_axis(drawing, &paper);
    let height = paper.bottom() + below;
    let mut svg = String::new();
    head(&mut svg, drawing, height);
    svg.push_str(&legend.0);
    y_axis(&mut svg, drawing, &paper, tick_style);
    match drawing.mark {
        Mark::Bars => bars(&mut svg, drawing, &paper),
        Mark::Lines => lines(&mut svg, drawing, &paper),
        Mark::Dots => dots(&mut svg, drawing, &paper),
    }
    svg.push_str(&axis);
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, drawing: &Drawing, height: f64) {
    let id = &drawing.slug;
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height:.0}" role="img" aria-labelledby="{id}-title {id}-desc">
<title id="{id}-title">{}</title>
<desc id="{id}-desc">{}</desc>
<style>{}</style>"#,
        escape(&drawing.title),
        escape(&drawing.summary),
        style()
    );
}

/// The style sheet, the same in every chart, so that charts in one page agree.
fn style() -> String {
    let mut light = String::from("--ink:#1c2430;--faint:#5a6472;--rule:#d9dee5;--paper:#fff;");
    let mut dark = String::from("--ink:#e6e9ee;--faint:#a3adba;--rule:#3a434f;--paper:#14181e;");
    for (at, (on_light, on_dark)) in PALETTE.iter().enumerate() {
        let _ = write!(light, "--c{at}:{on_light};");
        let _ = write!(dark, "--c{at}:{on_dark};");
    }
    format!(
        ".chart{{{light}font:12px system-ui,-apple-system,'Segoe UI',sans-serif}}\
         @media (prefers-color-scheme:dark){{.chart{{{dark}}}}}\
         @media print{{.chart{{{light}}}}}\
         .chart text{{fill:var(--ink)}}.chart .soft{{fill:var(--faint)}}\
         .chart .rule{{stroke:var(--rule);stroke-width:1}}.chart .axis{{stroke:var(--faint);stroke-width:1}}\
         .chart .whisker{{stroke:var(--ink);stroke-width:1.4;fill:none}}\
         .chart .stated{{fill:var(--paper);stroke:var(--ink);stroke-width:1.6}}"
    )
}

fn y_scale(drawing: &Drawing) -> Scale {
    // Shares of a whole do not pass 100 %, even where the interval of their mean does: it is cut off there.
    let largest = points(&drawing.series)
        .map(|point| point.measure.summary.max.max(point.stated.unwrap_or(0.0)))
        .fold(0.0, f64::max);
    let ceiling = match drawing.style.percent && largest <= 1.0 {
        true => 1.0,
        false => f64::INFINITY,
    };
    let numbers = points(&drawing.series).flat_map(|point| {
        let (low, high) = point.interval();
        [
            low,
            high.min(ceiling),
            point.measure.summary.min,
            point.measure.summary.max,
            point.stated.unwrap_or(point.measure.summary.mean),
        ]
    });
    let thin = drawing.thin.iter().flatten().flatten().map(|point| point.1);
    let (low, high) = range(numbers.chain(thin));
    Scale::around(low, high, drawing.from, 5)
}

fn y_axis(svg: &mut String, drawing: &Drawing, paper: &Paper, style: Style) {
    for tick in &paper.y.ticks {
        let y = paper.y(*tick);
        let _ = writeln!(
            svg,
            r#"<line class="rule" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="soft" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            paper.left,
            WIDTH - RIGHT,
            paper.left - 7.0,
            y + 4.0,
            escape(&style.show(*tick))
        );
    }
    let middle = paper.top + PLOT_HEIGHT / 2.0;
    let _ = writeln!(
        svg,
        r#"<text class="soft" transform="translate(13 {middle:.1}) rotate(-90)" text-anchor="middle">{}</text>"#,
        escape(&drawing.y_label)
    );
}

/// The x axis and the room it takes under the plot.
fn x_axis(drawing: &Drawing, paper: &Paper) -> (String, f64) {
    let mut svg = String::new();
    let bottom = paper.bottom();
    let _ = writeln!(
        svg,
        r#"<line class="axis" x1="{:.1}" x2="{:.1}" y1="{bottom:.1}" y2="{bottom:.1}"/>"#,
        paper.left,
        WIDTH - RIGHT
    );
    let mut room = 22.0;
    if let Some(scale) = &paper.x {
        let style = Style {
            decimals: scale.decimals,
            percent: false,
        };
        // Few points are named one by one, else round numbers mark the way.
        let mut ticks: Vec<(f64, &str)> = points(&drawing.series)
            .map(|point| (point.x, drawing.places[point.place].as_str()))
            .collect();
        let are_curves = !drawing.thin.is_empty();
        ticks.sort_by(|left, right| left.0.total_cmp(&right.0));
        ticks.dedup();
        // Of what is counted, such as epochs, nothing lies between.
        let is_counted = are_curves && points(&drawing.series).all(|point| point.x.fract() == 0.0);
        let (kept, style) = match is_counted {
            true => (
                (scale.ticks.iter().copied())
                    .filter(|tick| tick.fract() == 0.0)
                    .collect(),
                Style {
                    decimals: 0,
                    ..style
                },
            ),
            false => (scale.ticks.clone(), style),
        };
        let rounded: Vec<String> = kept.iter().map(|tick| style.show(*tick)).collect();
        if are_curves || ticks.len() > 8 {
            let names = rounded.iter().map(String::as_str);
            ticks = kept.iter().copied().zip(names).collect();
        }
        for (tick, name) in ticks {
            let x = paper.left + paper.width() * scale.share(tick);
            let _ = writeln!(
                svg,
                r#"<text class="soft" x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                bottom + 18.0,
                escape(name)
            );
        }
    } else {
        let widest = drawing
            .places
            .iter()
            .map(|place| text_width(place))
            .fold(0.0, f64::max);
        let is_tilted = widest > paper.band() - 6.0;
        for (at, place) in drawing.places.iter().enumerate() {
            let x = paper.left + paper.band() * (at as f64 + 0.5);
            let text = escape(&shorten(place, 28));
            let _ = if is_tilted {
                writeln!(
                    svg,
                    r#"<text transform="translate({x:.1} {:.1}) rotate(-32)" text-anchor="end">{text}</text>"#,
                    bottom + 15.0
                )
            } else {
                writeln!(
                    svg,
                    r#"<text x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
                    bottom + 18.0
                )
            };
        }
        if is_tilted {
            room = 22.0 + widest.min(28.0 * 6.6) * 0.53;
        }
    }
    room += 20.0;
    let _ = writeln!(
        svg,
        r#"<text class="soft" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        paper.left + paper.width() / 2.0,
        bottom + room - 4.0,
        escape(&drawing.x_label)
    );
    (svg, room + 4.0)
}

fn bars(svg: &mut String, drawing: &Drawing, paper: &Paper) {
    let n_series = drawing.series.len().max(1) as f64;
    let slot = (paper.band() * 0.76 / n_series).min(64.0);
    let base = paper.y(0.0_f64.clamp(paper.y.from, paper.y.to));
    for (at, series) in drawing.series.iter().enumerate() {
        for point in &series.points {
            let center = paper.x(point) + slot * (at as f64 + 0.5 - n_series / 2.0);
            let y = paper.y(point.measure.summary.mean);
            let width = slot * 0.86;
            let _ = writeln!(
                svg,
                r#"<rect x="{:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" rx="1.5" style="fill:var(--c{})"><title>{}</title></rect>"#,
                center - width / 2.0,
                y.min(base),
                (base - y).abs().max(0.5),
                at % PALETTE.len(),
                escape(&tip(drawing, series, point))
            );
            whisker(svg, paper, center, point);
            if let Some(stated) = point.stated {
                let y = paper.y(stated);
                let half = width / 2.0 + 2.0;
                let _ = writeln!(
                    svg,
                    r#"<rect class="stated" x="{:.1}" y="{:.1}" width="{:.1}" height="3.6" rx="1.8"/>"#,
                    center - half,
                    y - 1.8,
                    half * 2.0
                );
            }
        }
    }
}

/// A thin line an instance, a thick one for their mean.
fn curves(svg: &mut String, drawing: &Drawing, paper: &Paper) {
    let x = |x: f64| {
        let share = paper.x.as_ref().map_or(0.0, |scale| scale.share(x));
        paper.left + paper.width() * share
    };
    let path = |points: &[(f64, f64)]| -> String {
        let places = points.iter();
        let places = places.map(|point| format!("{:.1} {:.1}", x(point.0), paper.y(point.1)));
        format!("M{}", places.collect::<Vec<_>>().join("L"))
    };
    for (at, (series, thin)) in drawing.series.iter().zip(&drawing.thin).enumerate() {
        let color = color(drawing, at);
        let alone = thin.len() == 1;
        // A line of one point has no length.
        let dot = |points: &[(f64, f64)], radius: f64| match points {
            [one] => format!(
                r#"<circle cx="{:.1}" cy="{:.1}" r="{radius}" style="fill:var(--c{color})"/>"#,
                x(one.0),
                paper.y(one.1)
            ),
            _ => String::new(),
        };
        for curve in thin.iter().filter(|_| !alone) {
            svg.push_str(&dot(curve, 2.0));
            let _ = writeln!(
                svg,
                r#"<path d="{}" style="fill:none;stroke:var(--c{color});stroke-width:1;opacity:.45"/>"#,
                path(curve)
            );
        }
        let mean = series.points.iter();
        let mean: Vec<(f64, f64)> = mean
            .map(|point| (point.x, point.measure.summary.mean))
            .collect();
        if !mean.is_empty() {
            svg.push_str(&dot(&mean, 3.5));
            let _ = writeln!(
                svg,
                r#"<path d="{}" style="fill:none;stroke:var(--c{color});stroke-width:2.2;stroke-linejoin:round"/>"#,
                path(&mean)
            );
        }
        let end = drawing.ends.get(at).filter(|end| !end.is_empty());
        if let (Some(end), Some(last)) = (end, mean.last()) {
            let (x, y) = (x(last.0), paper.y(last.1));
            // Where the paper ends it stands before the line's end instead of after it.
            let (place, anchor) = match x + 5.0 + text_width(end) > WIDTH {
                true => (x - 5.0, "end"),
                false => (x + 5.0, "start"),
            };
            let _ = writeln!(
                svg,
                r#"<text x="{place:.1}" y="{:.1}" text-anchor="{anchor}" style="fill:var(--c{color});font-weight:600">{}</text>"#,
                y - 5.0,
                escape(end)
            );
        }
    }
}

/// The colour of a series: lines of one name share that of the first.
fn color(drawing: &Drawing, at: usize) -> usize {
    let mut names: Vec<&str> = Vec::new();
    for series in &drawing.series[..at] {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    let name = &drawing.series[at].name;
    let place = names.iter().position(|known| known == name);
    place.unwrap_or(names.len()) % PALETTE.len()
}

fn lines(svg: &mut String, drawing: &Drawing, paper: &Paper) {
    if !drawing.thin.is_empty() {
        return curves(svg, drawing, paper);
    }
    for (at, series) in drawing.series.iter().enumerate() {
        let color = at % PALETTE.len();
        let path = |ends: &mut dyn Iterator<Item = (f64, f64)>| -> String {
            let places: Vec<String> = ends.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
            format!("M{}", places.join("L"))
        };
        let upper = series
            .points
            .iter()
            .map(|point| (paper.x(point), paper.y(point.interval().1)));
        let lower = series
            .points
            .iter()
            .rev()
            .map(|point| (paper.x(point), paper.y(point.interval().0)));
        if series
            .points
            .iter()
            .any(|point| point.measure.summary.n > 1)
        {
            let _ = writeln!(
                svg,
                r#"<path d="{}Z" style="fill:var(--c{color});opacity:.18"/>"#,
                path(&mut upper.chain(lower))
            );
        }
        let mut middle = series
            .points
            .iter()
            .map(|point| (paper.x(point), paper.y(point.measure.summary.mean)));
        let _ = writeln!(
            svg,
            r#"<path d="{}" style="fill:none;stroke:var(--c{color});stroke-width:2"/>"#,
            path(&mut middle)
        );
        for point in &series.points {
            let _ = writeln!(
                svg,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3" style="fill:var(--c{color})"><title>{}</title></circle>"#,
                paper.x(point),
                paper.y(point.measure.summary.mean),
                escape(&tip(drawing, series, point))
            );
            stated_diamond(svg, paper, paper.x(point), point);
        }
    }
}

fn dots(svg: &mut String, drawing: &Drawing, paper: &Paper) {
    let n_series = drawing.series.len().max(1) as f64;
    let slot = (paper.band() * 0.76 / n_series).min(64.0);
    for (at, series) in drawing.series.iter().enumerate() {
        for point in &series.points {
            let center = paper.x(point) + slot * (at as f64 + 0.5 - n_series / 2.0);
            let n_values = point.measure.values.len();
            whisker(svg, paper, center, point);
            for (order, value) in point.measure.values.iter().enumerate() {
                let spread = (slot * 0.6).min(9.0 * n_values as f64);
                let x = center + spread * ((order as f64 + 0.5) / n_values as f64 - 0.5);
                let _ = writeln!(
                    svg,
                    r#"<circle cx="{x:.1}" cy="{:.1}" r="3.4" style="fill:var(--c{});opacity:.8"/>"#,
                    paper.y(*value),
                    at % PALETTE.len()
                );
            }
            let y = paper.y(point.measure.summary.mean);
            let _ = writeln!(
                svg,
                r#"<line class="whisker" x1="{:.1}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"><title>{}</title></line>"#,
                center - slot * 0.34,
                center + slot * 0.34,
                escape(&tip(drawing, series, point))
            );
            stated_diamond(svg, paper, center + slot * 0.34 + 9.0, point);
        }
    }
}

fn whisker(svg: &mut String, paper: &Paper, x: f64, point: &Point) {
    if point.measure.summary.n < 2 {
        return;
    }
    let (low, high) = point.interval();
    let (low, high) = (paper.y(low), paper.y(high));
    let _ = writeln!(
        svg,
        r#"<path class="whisker" d="M{:.1} {high:.1}H{:.1}M{x:.1} {high:.1}V{low:.1}M{:.1} {low:.1}H{:.1}"/>"#,
        x - 4.0,
        x + 4.0,
        x - 4.0,
        x + 4.0
    );
}

fn stated_diamond(svg: &mut String, paper: &Paper, x: f64, point: &Point) {
    if let Some(stated) = point.stated {
        let y = paper.y(stated);
        let _ = writeln!(
            svg,
            r#"<path class="stated" d="M{:.1} {y:.1}l5 -5l5 5l-5 5Z"/>"#,
            x - 5.0
        );
    }
}

fn tip(drawing: &Drawing, series: &Series, point: &Point) -> String {
    let mut text = drawing.places[point.place].clone();
    if !series.name.is_empty() {
        text.push_str(&format!(", {}", series.name));
    }
    text.push_str(&format!(
        ": {}",
        drawing.style.show(point.measure.summary.mean)
    ));
    text
}

/// The legend and its height; empty for one unnamed series without stated values.
fn legend(drawing: &Drawing) -> (String, f64) {
    let mut entries: Vec<(String, String)> = drawing
        .series
        .iter()
        .enumerate()
        .filter(|(at, series)| {
            let is_known = |one: &Series| one.name == series.name;
            !series.name.is_empty() && !drawing.series[..*at].iter().any(is_known)
        })
        .map(|(at, series)| {
            let color = color(drawing, at);
            (
                series.name.clone(),
                format!(
                    r#"<rect width="11" height="11" y="-10" rx="2" style="fill:var(--c{color})"/>"#
                ),
            )
        })
        .collect();
    if points(&drawing.series).any(|point| point.stated.is_some()) {
        let mark = if drawing.mark == Mark::Bars {
            r#"<rect class="stated" width="13" height="3.6" y="-6" rx="1.8"/>"#
        } else {
            r#"<path class="stated" d="M1 -4.5l5 -5l5 5l-5 5Z"/>"#
        };
        entries.push(("stated value".to_owned(), mark.to_owned()));
    }
    if points(&drawing.series).any(|point| point.measure.summary.n > 1) {
        let mark = if drawing.mark == Mark::Lines {
            r#"<rect width="13" height="11" y="-10" style="fill:var(--c0);opacity:.25"/>"#
        } else {
            r#"<path class="whisker" d="M2 -10H10M6 -10V0M2 0H10"/>"#
        };
        entries.push(("95 % interval".to_owned(), mark.to_owned()));
    }
    let mut svg = String::new();
    let (mut x, mut y) = (12.0, 16.0);
    for (name, mark) in &entries {
        let name = shorten(name, 40);
        let width = text_width(&name) + 36.0;
        if x + width > WIDTH && x > 12.0 {
            (x, y) = (12.0, y + 19.0);
        }
        let _ = writeln!(
            svg,
            r#"<g transform="translate({x:.1} {y:.1})">{mark}<text x="18">{}</text></g>"#,
            escape(&name)
        );
        x += width;
    }
    let height = if entries.is_empty() { 0.0 } else { y + 4.0 };
    (svg, height)
}

/// Pixels a text takes at 12 px in a common sans-serif face, about.
fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.6
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

fn range(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), number| {
        (low.min(number), high.max(number))
    })
}

/// Text as XML character data or attribute value; control characters that XML refuses are dropped.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(' '),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}
