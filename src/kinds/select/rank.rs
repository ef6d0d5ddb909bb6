//! From numbers to a ranking: means over repetitions, ties, gaps. Knows nothing of rows and files.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use flow::key::axes_text;
use flow::kind::StageError;
use flow::spec::Axis;
use report::stats::Summary;

use super::scores::{Score, Scores};
use super::{Missing, Select, Ties};

/// How many gaps a message names.
const GAPS_SHOWN: usize = 6;

/// One combination of values.
pub(super) struct Cell {
    /// A value for each axis chosen over.
    pub(super) values: Vec<Axis>,
    /// Mean and sample deviation over the repetitions that are there.
    pub(super) summary: Summary,
    /// 1 is the best; equal means have equal ranks, whoever was taken.
    pub(super) rank: usize,
    /// Its numbers, in the order of [`Ranking::repetitions`].
    pub(super) numbers: Vec<Option<f64>>,
}

impl Cell {
    /// `learning_rate=0.0001,epochs=3`.
    pub(super) fn name(&self) -> String {
        axes_text(&self.values)
    }
}

/// Combinations from best to worst; the first is chosen.
pub(super) struct Ranking {
    pub(super) cells: Vec<Cell>,
    /// The repetitions there are of any combination.
    pub(super) repetitions: Vec<Vec<Axis>>,
    /// Combinations and what they lack, in words.
    pub(super) gaps: Vec<String>,
}

impl Ranking {
    /// # Errors
    /// Gaps, unless they are allowed.
    pub(super) fn of(select: &Select, scores: &Scores) -> Result<Self, StageError> {
        let texts =
            |axes: &[Axis]| -> Vec<String> { axes.iter().map(|a| a.text.clone()).collect() };
        let mut repetitions: Vec<Vec<Axis>> = Vec::new();
        let mut combinations: Vec<Vec<Axis>> = Vec::new();
        let (mut seen, mut met) = (BTreeSet::new(), BTreeSet::new());
        for score in &scores.all {
            if seen.insert(texts(&score.repetition)) {
                repetitions.push(score.repetition.clone());
            }
            if met.insert(texts(&score.values)) {
                combinations.push(score.values.clone());
            }
        }
        let mut gaps = Vec::new();
        let mut cells = Vec::new();
        for values in combinations {
            let own: Vec<&Score> = (scores.all.iter())
                .filter(|score| texts(&score.values) == texts(&values))
                .collect();
            let numbers: Vec<Option<f64>> = repetitions
                .iter()
                .map(|repetition| {
                    let here = own
                        .iter()
                        .find(|one| texts(&one.repetition) == texts(repetition));
                    here.and_then(|score| score.value)
                })
                .collect();
            for (repetition, number) in repetitions.iter().zip(&numbers) {
                if number.is_none() {
                    let what = match repetition.as_slice() {
                        [] => String::new(),
                        axes => format!(" for {}", axes_text(axes)),
                    };
                    let name = axes_text(&values);
                    gaps.push(format!("`{name}` has no `{}`{what}", select.metric));
                }
            }
            // In order of size, so that the mean does not hang on the order of repetitions, and ties are ties.
            let mut present: Vec<f64> = numbers.iter().copied().flatten().collect();
            present.sort_by(f64::total_cmp);
            if let Some(summary) = Summary::of(&present) {
                cells.push(Cell {
                    values,
                    summary,
                    rank: 0,
                    numbers,
                });
            }
        }
        if !gaps.is_empty() && select.missing == Missing::Refuse {
            return Err(refused(select, &gaps));
        }
        let better = |a: &Cell, b: &Cell| {
            let order = compared(a.summary.mean).total_cmp(&compared(b.summary.mean));
            if select.is_max() {
                order.reverse()
            } else {
                order
            }
        };
        // Stable: what is equal in all stays in the order of the matrix.
        cells.sort_by(|a, b| better(a, b).then_with(|| tie(select.ties, a, b)));
        for at in 0..cells.len() {
            cells[at].rank = match at.checked_sub(1) {
                Some(above) if better(&cells[above], &cells[at]).is_eq() => cells[above].rank,
                _ => at + 1,
            };
        }
        Ok(Self {
            cells,
            repetitions,
            gaps,
        })
    }

    /// What is chosen.
    pub(super) fn best(&self) -> &Cell {
        self.cells
            .first()
            .expect("there is a number, or reading would have failed")
    }
}

/// A mean as it is compared, to twelve digits: what adding up leaves in the last ones is no reason to choose.
fn compared(mean: f64) -> f64 {
    format!("{mean:.11e}").parse().unwrap_or(mean)
}

fn tie(ties: Ties, a: &Cell, b: &Cell) -> Ordering {
    let order = || {
        let pairs = a.values.iter().zip(&b.values);
        pairs
            .map(|(a, b)| by_size(a, b))
            .find(|order| order.is_ne())
    };
    match ties {
        Ties::First => Ordering::Equal,
        Ties::Smallest => order().unwrap_or(Ordering::Equal),
        Ties::Largest => order().unwrap_or(Ordering::Equal).reverse(),
    }
}

/// Numbers by size, before anything else; the rest by its text.
fn by_size(a: &Axis, b: &Axis) -> Ordering {
    match (a.json.parse::<f64>(), b.json.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.text.cmp(&b.text),
    }
}

fn refused(select: &Select, gaps: &[String]) -> StageError {
    let count = match gaps.len() {
        1 => format!("1 number `{}` is", select.metric),
        many => format!("{many} numbers `{}` are", select.metric),
    };
    let mut failure = StageError::new(
        "select::missing",
        format!("{count} missing: means over different repetitions are no fair choice"),
    );
    failure.diagnostic.details = shown(gaps);
    failure.help("let the stages behind them leave the number, exclude the combination, or write `missing: allow`")
}

/// Gaps as lines of a message.
pub(super) fn shown(gaps: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = gaps.iter().take(GAPS_SHOWN).cloned().collect();
    if gaps.len() > GAPS_SHOWN {
        lines.push(format!("and {} more", gaps.len() - GAPS_SHOWN));
    }
    lines
}
