//! Charts: rows of the frame to series of points, then to SVG. Knows nothing of pages.

pub mod scale;
pub(crate) mod svg;

use serde::Serialize;
use serde_json::Value;

use crate::claims::Judged;
use crate::error::ReportError;
use crate::measure::{Data, Measure};
use crate::names::Names;
use crate::number::Style;
use crate::options::{ChartOptions, Mark};

/// A chart ready to stand in a page.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// A name for files and anchors, unique in the report.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What it shows, Markdown as written.
    pub doc: Option<String>,
    /// A whole SVG document without scripts; colours follow the reader's light or dark setting.
    pub svg: String,
    /// The numbers in words, for those who do not see the marks.
    pub summary: String,
}

/// What an SVG is drawn from.
#[derive(Clone, Debug)]
pub(crate) struct Drawing {
    pub(crate) slug: String,
    pub(crate) title: String,
    pub(crate) summary: String,
    pub(crate) mark: Mark,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    pub(crate) from: Option<f64>,
    pub(crate) style: Style,
    /// Names along x, in order.
    pub(crate) places: Vec<String>,
    pub(crate) series: Vec<Series>,
    /// Thin lines behind each series, as points; lines with them have no dots and no band.
    pub(crate) thin: Vec<Vec<Vec<(f64, f64)>>>,
    /// What stands at the end of each series' line; none where the legend says all.
    pub(crate) ends: Vec<String>,
}

/// Points of one colour.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

/// One number of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Index into the places.
    pub(crate) place: usize,
    /// The number along x; only for lines.
    pub(crate) x: f64,
    pub(crate) measure: Measure,
    /// The stated value, if there is one.
    pub(crate) stated: Option<f64>,
}

impl Point {
    /// The ends of the 95 % interval; the mean twice for one value.
    pub(crate) fn interval(&self) -> (f64, f64) {
        let half_width = self.measure.summary.half_width.unwrap_or(0.0);
        let mean = self.measure.summary.mean;
        (mean - half_width, mean + half_width)
    }
}

/// The chart that `options` asks for; `None` when no row matches.
///
/// # Errors
/// For unknown columns, points whose rows are not one number, and lines over names.
pub fn build(
    data: &Data,
    judged: &[Judged],
    options: &ChartOptions,
    slug: String,
) -> Result<Option<Chart>, ReportError> {
    let place = format!("chart `{}`", options.title);
    let mut by = vec![options.x.clone()];
    by.extend(options.series.clone());
    for column in &by {
        data.check_column(column, &place)?;
    }
    let mut filter = options.filter.clone();
    filter.insert("metric".to_owned(), Value::String(options.metric.clone()));
    let rows = data.frame.select(&data.conditions(&filter, &place)?)?;
    let named: Vec<String> = filter.keys().cloned().chain(by.clone()).collect();
    let names = Names(&options.labels);
    let mut places: Vec<(String, f64)> = Vec::new();
    let mut series: Vec<Series> = Vec::new();
    for group in data.frame.group(&rows, &by)? {
        let measure = data.measure(&group.rows, &named)?.map_err(|not_one| {
            let key: Vec<&str> = group.key.iter().flatten().map(String::as_str).collect();
            not_one.into_error(format!("{place}, point `{}`", key.join(", ")))
        })?;
        let Some(measure) = measure else { continue };
        let raw = group.key[0].clone().unwrap_or_default();
        let x = match raw.parse::<f64>() {
            Ok(x) if x.is_finite() => x,
            _ if options.mark_needs_numbers() => {
                return Err(ReportError::NotNumeric {
                    chart: options.title.clone(),
                    column: options.x.clone(),
                    value: raw,
                });
            }
            _ => 0.0,
        };
        let label = names.value(&options.x, group.key[0].as_deref());
        let at = match places.iter().position(|(known, _)| *known == label) {
            Some(at) => at,
            None => {
                places.push((label, x));
                places.len() - 1
            }
        };
        let name = match (&options.series, group.key.get(1)) {
            (Some(column), Some(value)) => names.value(column, value.as_deref()),
            _ => String::new(),
        };
        let stated = judged
            .iter()
            .find(|judged| {
                judged
                    .measure
                    .as_ref()
                    .is_some_and(|found| found.rows == measure.rows)
            })
            .map(|judged| judged.claim.value);
        let point = Point {
            place: at,
            x,
            measure,
            stated,
        };
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series {
                name,
                points: vec![point],
            }),
        }
    }
    if series.is_empty() {
        return Ok(None);
    }
    if options.mark_needs_numbers() {
        for one in &mut series {
            one.points.sort_by(|left, right| left.x.total_cmp(&right.x));
        }
    }
    let means: Vec<f64> = points(&series)
        .map(|point| point.measure.summary.mean)
        .collect();
    let mut drawing = Drawing {
        slug: slug.clone(),
        title: options.title.clone(),
        summary: String::new(),
        mark: options.kind,
        x_label: names.column(&options.x),
        y_label: options
            .label
            .clone()
            .unwrap_or_else(|| names.column(&options.metric)),
        from: options.from.or((options.kind == Mark::Bars
            && means.iter().all(|mean| *mean >= 0.0))
        .then_some(0.0)),
        style: Style::of(options.format, options.decimals, &means),
        places: places.into_iter().map(|(label, _)| label).collect(),
        series,
        thin: Vec::new(),
        ends: Vec::new(),
    };
    drawing.summary = summary(&drawing);
    Ok(Some(Chart {
        slug,
        title: options.title.clone(),
        doc: options.doc.clone(),
        svg: svg::draw(&drawing),
        summary: drawing.summary,
    }))
}

impl ChartOptions {
    fn mark_needs_numbers(&self) -> bool {
        self.kind == Mark::Lines
    }
}

pub(crate) fn points(series: &[Series]) -> impl Iterator<Item = &Point> {
    series.iter().flat_map(|series| &series.points)
}

/// Every number of the chart in words.
fn summary(drawing: &Drawing) -> String {
    let mut sentences = Vec::new();
    for series in &drawing.series {
        let numbers: Vec<String> = series
            .points
            .iter()
            .map(|point| {
                let mut text = format!(
                    "{} {}",
                    drawing.places[point.place],
                    drawing.style.show(point.measure.summary.mean)
                );
                if let Some(deviation) = point.measure.summary.deviation {
                    text.push_str(&format!(" ± {}", drawing.style.bare(deviation)));
                }
                if let Some(stated) = point.stated {
                    text.push_str(&format!(" (stated {})", drawing.style.stated(stated)));
                }
                text
            })
            .collect();
        let head = if series.name.is_empty() {
            drawing.y_label.clone()
        } else {
            format!("{}, {}", drawing.y_label, series.name)
        };
        sentences.push(format!("{head}: {}.", numbers.join("; ")));
    }
    let is_spread = |point: &Point| point.measure.summary.deviation.is_some();
    if points(&drawing.series).any(is_spread) {
        sentences.push(
            "After ± stands the standard deviation over the repetitions; drawn is the 95 % interval."
                .to_owned(),
        );
    }
    sentences.join(" ")
}
