//! A small picture beside a number: a dot for each repetition, the mean, the stated value. Knows nothing of tables.

use std::fmt::Write as _;

use crate::chart::svg::escape;
use crate::measure::Measure;
use crate::number::Style;

const WIDTH: f64 = 92.0;
const HEIGHT: f64 = 20.0;
/// Where dots stand that would hide each other, in the order of the repetitions.
const LANES: [f64; 5] = [0.0, -4.2, 4.2, -7.9, 7.9];
const EDGE: f64 = 6.0;

/// How far from its mean a strip reaches, so that strips of one metric can be compared: the farthest repetition of all
/// of them, and a stated value unless it is more than three times as far.
#[must_use]
pub(crate) fn reach<'a>(measures: impl Iterator<Item = (&'a Measure, Option<f64>)>) -> f64 {
    let (mut spread, mut stated) = (0.0_f64, Vec::new());
    for (measure, claim) in measures.filter(|(measure, _)| measure.values.len() > 1) {
        let mean = measure.summary.mean;
        for value in &measure.values {
            spread = spread.max((value - mean).abs());
        }
        stated.extend(claim.map(|claim| (claim - mean).abs()));
    }
    let near = stated.into_iter().filter(|far| *far <= 3.0 * spread);
    near.fold(spread, f64::max)
}

/// The picture; `None` for a single value.
#[must_use]
pub(crate) fn draw(
    measure: &Measure,
    stated: Option<f64>,
    reach: f64,
    style: Style,
) -> Option<String> {
    if measure.values.len() < 2 {
        return None;
    }
    let middle = WIDTH / 2.0;
    let place = |value: f64| {
        let share = (value - measure.summary.mean) / reach;
        match share.is_finite() {
            true => middle + (middle - EDGE) * share.clamp(-1.0, 1.0),
            false => middle,
        }
    };
    let values: Vec<String> = measure
        .values
        .iter()
        .map(|value| style.show(*value))
        .collect();
    let mut title = format!("each repetition: {}", values.join(", "));
    if let Some(stated) = stated {
        let _ = write!(title, "; stated {}", style.stated(stated));
    }
    let title = escape(&title);
    let y = HEIGHT / 2.0;
    let mut svg = format!(
        r#"<svg class="strip" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{title}"><title>{title}</title><line class="base" x1="0" x2="{WIDTH}" y1="{y}" y2="{y}"/><line class="mean" x1="{middle}" x2="{middle}" y1="1" y2="{:.0}"/>"#,
        HEIGHT - 1.0
    );
    let mut taken: Vec<(f64, f64)> = Vec::new();
    for value in &measure.values {
        let x = place(*value);
        let is_free = |lane: &&f64| {
            let hides = |(other, own): &(f64, f64)| *own == **lane && (other - x).abs() < 4.4;
            !taken.iter().any(hides)
        };
        let lane = LANES.iter().find(is_free).copied().unwrap_or_default();
        taken.push((x, lane));
        let _ = write!(svg, r#"<circle cx="{x:.1}" cy="{:.1}" r="2.1"/>"#, y + lane);
    }
    if let Some(stated) = stated {
        let x = place(stated);
        let far = (stated - measure.summary.mean).abs() > reach * 1.000_001;
        // Beyond the strip an arrow says on which side it lies.
        let path = match (far, stated < measure.summary.mean) {
            (false, _) => format!("M{:.1} {y}l4 -4l4 4l-4 4Z", x - 4.0),
            (true, true) => format!("M1 {y}l6 -4v8Z"),
            (true, false) => format!("M{:.1} {y}l-6 -4v8Z", WIDTH - 1.0),
        };
        let _ = write!(svg, r#"<path class="stated" d="{path}"/>"#);
    }
    svg.push_str("</svg>");
    Some(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Format;

    #[test]
    fn strips_of_a_metric_share_a_reach_that_a_far_claim_does_not_stretch() {
        let close = Measure::of_values(vec![90.0, 91.0, 92.0]).expect("values");
        let single = Measure::of_values(vec![10.0]).expect("a value");
        let pairs = [(&close, Some(93.0)), (&single, Some(99.0))];
        assert_eq!(reach(pairs.into_iter()), 2.0);
        assert_eq!(reach([(&close, Some(80.0))].into_iter()), 1.0);
        let style = Style::of(Format::Auto, None, &[90.0, 0.5]);
        let svg = draw(&close, Some(80.0), 1.0, style).expect("three values");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(
            svg.contains(r#"d="M1 10l6 -4v8Z""#),
            "an arrow to the left: {svg}"
        );
        assert!(svg.contains("each repetition: 90.00, 91.00, 92.00; stated 80.00"));
        assert_eq!(draw(&single, None, 1.0, style), None);
        let equal = Measure::of_values(vec![5.0, 5.0]).expect("values");
        assert!(
            !draw(&equal, Some(5.0), 0.0, style)
                .expect("two")
                .contains("NaN")
        );
    }
}
