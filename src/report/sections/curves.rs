//! Learning curves: keys of logs along their steps, thinned, as a chart. Knows nothing of pages.

use serde_json::{Map, Value};

use crate::chart::{Chart, Drawing, Point, Series, svg};
use crate::error::ReportError;
use crate::input::Instance;
use crate::measure::Measure;
use crate::names::Names;
use crate::number::Style;
use crate::options::Mark;
use crate::sections::options::CurvesOptions;
use crate::sections::{chosen, files::load_log};

/// Points of one instance, ascending in x.
type Curve = Vec<(f64, f64)>;

/// The chart that `options` asks for; `None` when no log has both keys.
///
/// # Errors
/// When a file cannot be read.
pub fn build(
    files: &[Instance],
    options: &CurvesOptions,
    slug: String,
) -> Result<Option<Chart>, ReportError> {
    let names = Names(&options.labels);
    let most = usize::from(options.points).clamp(10, 1000);
    let mut lines: Vec<(String, Vec<Curve>)> = Vec::new();
    let mut thinned = 1;
    for (_, instance) in chosen(files, &options.from, &options.filter) {
        let curve = curve(&load_log(instance)?, options);
        if curve.is_empty() {
            continue;
        }
        thinned = thinned.max(curve.len().div_ceil(most));
        let value = options
            .series
            .as_ref()
            .and_then(|axis| instance.axes.iter().find(|(name, _)| name == axis));
        let name = value.map_or_else(String::new, |(axis, value)| names.value(axis, Some(value)));
        match lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, curves)) => curves.push(curve),
            None => lines.push((name, vec![curve])),
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let numbers: Vec<f64> = lines
        .iter()
        .flat_map(|(_, curves)| curves.iter().flatten().map(|(_, y)| *y))
        .collect();
    let style = Style::of(options.format, options.decimals, &numbers);
    let y_label = options
        .label
        .clone()
        .unwrap_or_else(|| names.column(&options.y));
    let mut summary = summary(&lines, &y_label, &names.column(&options.x), style);
    if thinned > 1 {
        summary.push_str(" Long lines are drawn thinned.");
    }
    let series = lines
        .iter()
        .map(|(name, curves)| Series {
            name: name.clone(),
            points: thin(&mean(curves), most)
                .into_iter()
                .map(|(x, y)| Point {
                    place: 0,
                    x,
                    measure: Measure::of_values(vec![y]).expect("there is a value"),
                    stated: None,
                })
                .collect(),
        })
        .collect();
    let thin_lines = lines
        .iter()
        .map(|(_, curves)| curves.iter().map(|curve| thin(curve, most)).collect())
        .collect();
    let drawing = Drawing {
        slug: slug.clone(),
        title: options.title.clone(),
        summary: summary.clone(),
        mark: Mark::Lines,
        x_label: names.column(&options.x),
        y_label,
        from: None,
        style,
        places: vec![String::new()],
        series,
        thin: thin_lines,
    };
    Ok(Some(Chart {
        slug,
        title: options.title.clone(),
        doc: options.doc.clone(),
        svg: svg::draw(&drawing),
        summary,
    }))
}

/// The points of one log: lines that have both keys, ascending in x; of several at one x the last.
fn curve(log: &[Map<String, Value>], options: &CurvesOptions) -> Curve {
    let number = |line: &Map<String, Value>, key: &str| -> Option<f64> {
        if let Some(value) = line.get(key) {
            return value.as_f64();
        }
        let mut parts = key.split('.');
        let mut value = line.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        value.as_f64()
    };
    let mut curve: Curve = log
        .iter()
        .filter_map(|line| Some((number(line, &options.x)?, number(line, &options.y)?)))
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    curve.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut clean = Curve::new();
    for point in curve {
        match clean.last_mut() {
            Some(last) if last.0.total_cmp(&point.0).is_eq() => *last = point,
            _ => clean.push(point),
        }
    }
    clean
}

/// The mean where every curve has a point, so that it never jumps because one of them ends.
fn mean(curves: &[Curve]) -> Curve {
    let Some((first, others)) = curves.split_first() else {
        return Curve::new();
    };
    first
        .iter()
        .filter_map(|&(x, y)| {
            let mut sum = y;
            for curve in others {
                let at = curve.binary_search_by(|point| point.0.total_cmp(&x)).ok()?;
                sum += curve[at].1;
            }
            Some((x, sum / curves.len() as f64))
        })
        .collect()
}

/// At most `most` points, evenly by their order, the first and the last among them.
fn thin(curve: &[(f64, f64)], most: usize) -> Curve {
    if curve.len() <= most {
        return curve.to_vec();
    }
    (0..most)
        .map(|at| curve[at * (curve.len() - 1) / (most - 1)])
        .collect()
}

/// Begin, end, and the ends between which it runs, of each line in words.
fn summary(lines: &[(String, Vec<Curve>)], y_label: &str, x_label: &str, style: Style) -> String {
    let mut sentences = Vec::new();
    for (name, curves) in lines {
        let mean = mean(curves);
        let shown = if mean.is_empty() { &curves[0] } else { &mean };
        let (Some(first), Some(last)) = (shown.first(), shown.last()) else {
            continue;
        };
        let place = Style::of(crate::options::Format::Auto, None, &[first.0, last.0]);
        let low = shown
            .iter()
            .map(|point| point.1)
            .fold(f64::INFINITY, f64::min);
        let high = shown
            .iter()
            .map(|point| point.1)
            .fold(f64::NEG_INFINITY, f64::max);
        let head = if name.is_empty() {
            y_label.to_owned()
        } else {
            format!("{y_label}, {name}")
        };
        let over = match curves.len() {
            1 => String::new(),
            n => format!(" (mean of {n})"),
        };
        sentences.push(format!(
            "{head}{over}: {} at {x_label} {}, {} at {x_label} {}; lowest {}, highest {}.",
            style.show(first.1),
            place.show(first.0),
            style.show(last.1),
            place.show(last.0),
            style.show(low),
            style.show(high),
        ));
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(values: &[Value]) -> Vec<Map<String, Value>> {
        let map = |value: &Value| value.as_object().cloned().expect("an object");
        values.iter().map(map).collect()
    }

    #[test]
    fn lines_without_a_key_are_passed_over_and_the_last_of_a_step_counts() {
        let options: CurvesOptions =
            serde_json::from_value(json!({"title": "t", "from": "p", "y": "dev.f1"}))
                .expect("options");
        let log = lines(&[
            json!({"step": 20, "dev": {"f1": 2.0}}),
            json!({"step": 10, "dev": {"f1": 1.0}}),
            json!({"step": 15, "loss": 3.0}),
            json!({"step": 20, "dev": {"f1": 2.5}}),
            json!({"step": 30, "dev": {"f1": null}}),
        ]);
        assert_eq!(curve(&log, &options), [(10.0, 1.0), (20.0, 2.5)]);
    }

    #[test]
    fn thinning_keeps_both_ends_and_the_mean_never_jumps() {
        let long: Curve = (0..1234).map(|x| (f64::from(x), 1.0)).collect();
        let short = thin(&long, 100);
        assert_eq!((short.len(), short[0].0, short[99].0), (100, 0.0, 1233.0));
        assert!(short.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let means = mean(&[
            vec![(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)],
            vec![(1.0, 3.0), (3.0, 5.0), (4.0, 9.0)],
        ]);
        assert_eq!(means, [(1.0, 2.0), (3.0, 3.0)]);
    }
}
