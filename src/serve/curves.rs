//! What a training wrote to look at while it runs (`live.jsonl`): read as it grows, kept small. Knows no stages.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use flow::run::watch::Tail;
use serde_json::{Map, Value};

/// Points kept of a curve; when there are more, neighbours become their mean.
const MOST_POINTS: usize = 2000;
/// Curves kept of a training.
const MOST_CURVES: usize = 60;
/// Bytes of the file read at one look: some 300,000 lines.
const MOST_BYTES: u64 = 64 << 20;
/// Not worth a curve: counters and times.
const NOT_DRAWN: [&str; 6] = ["step", "seconds", "epoch", "steps", "tokens", "time"];

/// One number over the steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Steps and values; steps grow.
    pub points: Vec<(f64, f64)>,
    /// The last value as it was written.
    pub last: Option<(f64, f64)>,
    /// How many neighbours a point is the mean of.
    stride: usize,
    /// Those that will become the next point: their number and sums.
    open: (usize, f64, f64),
}

impl Curve {
    fn add(&mut self, step: f64, value: f64) {
        self.last = Some((step, value));
        let stride = self.stride.max(1);
        self.open = (self.open.0 + 1, self.open.1 + step, self.open.2 + value);
        if self.open.0 < stride {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a small count")]
        let count = self.open.0 as f64;
        self.points.push((self.open.1 / count, self.open.2 / count));
        self.open = (0, 0.0, 0.0);
        if self.points.len() >= MOST_POINTS {
            let halves = self.points.chunks(2).map(|pair| {
                #[expect(clippy::cast_precision_loss, reason = "one or two")]
                let count = pair.len() as f64;
                let sum = pair
                    .iter()
                    .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
                (sum.0 / count, sum.1 / count)
            });
            self.points = halves.collect();
            self.stride = stride * 2;
        }
    }

    /// Forgets what came after a step: the training went on from there once more.
    fn back_to(&mut self, step: f64) {
        self.points.retain(|(at, _)| *at <= step);
        self.open = (0, 0.0, 0.0);
        if self.last.is_some_and(|(at, _)| at > step) {
            self.last = self.points.last().copied();
        }
    }
}

/// The curves of one training.
#[derive(Debug)]
pub struct Curves {
    tail: Tail,
    curves: BTreeMap<(String, String), Curve>,
}

/// What is looked at first, by its name in the log.
const FIRST: [&str; 8] = [
    "loss",
    "dev",
    "masked_lm_loss",
    "disc_loss",
    "disc_auc",
    "mlm_accuracy",
    "rtd_accuracy",
    "tokens_per_second",
];

impl Curves {
    /// Of a file that need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            tail: Tail::new(path),
            curves: BTreeMap::new(),
        }
    }

    /// Takes what is new, so much of it at once as does not keep others waiting; the rest at the next look.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn refresh(&mut self) -> io::Result<()> {
        self.refresh_by(MOST_BYTES)
    }

    fn refresh_by(&mut self, most_bytes: u64) -> io::Result<()> {
        let Self { tail, curves } = self;
        tail.read_some(most_bytes, |found| match found {
            None => curves.clear(),
            // A line at a time: a file may be larger than what is kept of it by far.
            Some(line) => {
                if let Ok(line) = serde_json::from_slice(line) {
                    take(curves, &line);
                }
            }
        })
    }
    /// The curves with at least two points, those people look at first in front: group, name, curve.
    #[must_use]
    pub fn in_order(&self) -> Vec<(&str, &str, &Curve)> {
        let mut curves: Vec<(&str, &str, &Curve)> = (self.curves.iter())
            .filter(|(_, curve)| curve.points.len() > 1)
            .map(|((group, name), curve)| (group.as_str(), name.as_str(), curve))
            .collect();
        let rank = |name: &str| {
            FIRST
                .iter()
                .position(|first| *first == name)
                .unwrap_or(FIRST.len())
        };
        curves.sort_by_key(|(_, name, _)| rank(name));
        curves
    }
}

/// Adds what a line says.
fn take(curves: &mut BTreeMap<(String, String), Curve>, line: &Map<String, Value>) {
    let (Some(event), Some(step)) = (
        line.get("event").and_then(Value::as_str),
        line.get("step").and_then(Value::as_f64),
    ) else {
        return;
    };
    if event == "start" {
        for curve in curves.values_mut() {
            curve.back_to(step);
        }
        return;
    }
    for (name, value) in line {
        let Some(value) = value.as_f64().filter(|value| value.is_finite()) else {
            continue;
        };
        if NOT_DRAWN.contains(&name.as_str()) {
            continue;
        }
        let key = (event.to_owned(), name.clone());
        if curves.len() < MOST_CURVES || curves.contains_key(&key) {
            curves.entry(key).or_default().add(step, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_grow_go_back_and_stay_small() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("live.jsonl");
        let mut curves = Curves::new(path.clone());
        curves.refresh().expect("not there yet");
        let mut text = String::from("{\"event\":\"start\",\"step\":0}\n");
        for step in 1..=10_000 {
            text += &format!(
                "{{\"event\":\"train\",\"step\":{step},\"learning_rate\":0.1,\"loss\":{step},\"tokens\":5}}\n"
            );
        }
        fs_err::write(&path, format!("{text}{{\"event\":\"tra")).expect("written");
        curves.refresh().expect("read");
        let shown = curves.in_order();
        assert_eq!(
            shown.iter().map(|(_, name, _)| *name).collect::<Vec<_>>(),
            ["loss", "learning_rate"]
        );
        let loss = shown[0].2;
        assert!(loss.points.len() < MOST_POINTS, "{}", loss.points.len());
        assert!(
            loss.points
                .iter()
                .all(|(step, value)| (step - value).abs() < 1e-9)
        );
        assert_eq!(loss.last, Some((10_000.0, 10_000.0)));
        let mut slow = Curves::new(path.clone());
        for look in 1..=3 {
            slow.refresh_by(text.len() as u64 / 3 + 1).expect("read");
            let seen = slow.in_order()[0].2.last.expect("a point").0;
            assert!(
                (seen - 10_000.0 * f64::from(look) / 3.0).abs() < 200.0,
                "{seen}"
            );
        }
        assert_eq!(slow.in_order()[0].2, loss);
        let again =
            "{\"event\":\"start\",\"step\":5000}\n{\"event\":\"train\",\"step\":5001,\"loss\":1}\n";
        let whole = "{\"event\":\"train\",\"step\":10001,\"loss\":7}\n";
        fs_err::write(&path, format!("{text}{whole}{again}")).expect("written");
        curves.refresh().expect("read");
        let loss = curves.in_order()[0].2.clone();
        assert_eq!(loss.last, Some((5001.0, 1.0)));
        assert!(loss.points.iter().all(|(step, _)| *step <= 5001.0));
        fs_err::write(
            &path,
            "{\"event\":\"train\",\"step\":1,\"loss\":null}\n[1]\n\n",
        )
        .expect("written");
        curves.refresh().expect("read");
        assert!(curves.in_order().is_empty());
    }
}
