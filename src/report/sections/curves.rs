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
use crate::sections::{chosen, files::load_log, told_apart};

/// Points of one instance, ascending in x.
type Curve = Vec<(f64, f64)>;

/// The repetitions of one setting.
#[derive(Debug)]
struct Line {
    /// What its colour means.
    name: String,
    /// What stands at its end: what tells it from others of its colour.
    end: String,
    /// Both in words.
    told: String,
    /// One a repetition that has both keys.
    curves: Vec<Curve>,
}

impl Line {
    /// With series a colour stands for one of them, and their settings stand at the ends of lines; without, each setting has
    /// a colour.
    fn new(
        series: &str,
        axes: &[(&str, &str)],
        curves: Vec<Curve>,
        has_series: bool,
        names: Names<'_>,
    ) -> Self {
        let words = axes.iter().map(|(axis, value)| {
            format!("{} {}", names.column(axis), names.value(axis, Some(value)))
        });
        let words = words.collect::<Vec<_>>().join(", ");
        let told = [series, &words].into_iter().filter(|part| !part.is_empty());
        Self {
            name: if has_series { series } else { &words }.to_owned(),
            end: if has_series {
                words.clone()
            } else {
                String::new()
            },
            told: told.collect::<Vec<_>>().join(", "),
            curves,
        }
    }
}

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
    let instances = chosen(files, &options.from, &options.filter);
    let mut series: Vec<(String, Vec<(usize, &Instance)>)> = Vec::new();
    for (at, instance) in instances {
        let value = options
            .series
            .as_ref()
            .and_then(|axis| instance.axes.iter().find(|(name, _)| name == axis));
        let name = value.map_or_else(String::new, |(axis, value)| names.value(axis, Some(value)));
        match series.iter_mut().find(|(known, _)| *known == name) {
            Some((_, members)) => members.push((at, instance)),
            None => series.push((name, vec![(at, instance)])),
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    let mut thinned = 1;
    for (name, members) in &series {
        for (axes, members) in told_apart(members) {
            let mut curves = Vec::new();
            for instance in members {
                let curve = curve(&load_log(instance)?, options);
                if !curve.is_empty() {
                    thinned = thinned.max(curve.len().div_ceil(most));
                    curves.push(curve);
                }
            }
            if !curves.is_empty() {
                lines.push(Line::new(
                    name,
                    &axes,
                    curves,
                    options.series.is_some(),
                    names,
                ));
            }
        }
    }
    if lines.is_empty() {
        return Ok(None);
    }
    let numbers: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.curves.iter().flatten().map(|(_, y)| *y))
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
        .map(|line| Series {
            name: line.name.clone(),
            points: thin(&mean(&line.curves), most)
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
        .map(|line| line.curves.iter().map(|curve| thin(curve, most)).collect())
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
        ends: lines.iter().map(|line| line.end.clone()).collect(),
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

/// Begin, end, and the ends between which it runs, of each line in words; no more than its points have to say.
fn summary(lines: &[Line], y_label: &str, x_label: &str, style: Style) -> String {
    let mut sentences = Vec::new();
    for Line { told, curves, .. } in lines {
        let mean = mean(curves);
        let head = match told.as_str() {
            "" => y_label.to_owned(),
            told => format!("{y_label}, {told}"),
        };
        let over = match curves.len() {
            1 => String::new(),
            n => format!(" (mean of {n})"),
        };
        let (Some(first), Some(last)) = (mean.first(), mean.last()) else {
            let count = curves.len();
            sentences.push(format!(
                "{head}: {count} lines that have no {x_label} in common."
            ));
            continue;
        };
        let place = Style::of(crate::options::Format::Auto, None, &[first.0, last.0]);
        let at = |point: &(f64, f64)| {
            format!(
                "{} at {x_label} {}",
                style.show(point.1),
                place.show(point.0)
            )
        };
        let mut text = match mean.len() {
            1 => format!("{head}{over}: {}", at(first)),
            _ => format!("{head}{over}: {}, {}", at(first), at(last)),
        };
        let numbers = || mean.iter().map(|point| point.1);
        let low = numbers().fold(f64::INFINITY, f64::min);
        let high = numbers().fold(f64::NEG_INFINITY, f64::max);
        // Where it runs between its ends they are said already.
        if low < first.1.min(last.1) || high > first.1.max(last.1) {
            let (low, high) = (style.show(low), style.show(high));
            text.push_str(&format!("; lowest {low}, highest {high}"));
        }
        text.push('.');
        let ends = curves.iter().filter_map(|curve| curve.last());
        if ends.clone().any(|end| end.0 > last.0) {
            text.push_str(" The mean ends where not all go on.");
        }
        sentences.push(text);
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
