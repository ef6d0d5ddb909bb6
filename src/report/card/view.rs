//! What the template of a card sees: the card with its numbers as people read them. Computes no scores of its own.

use serde::Serialize;

use super::{Card, Score, pipeline_tag};
use crate::number::Style;
use crate::options::Format;

/// Scores by which members are compared, larger being better, the first that there is.
const LEADING: [&str; 8] = [
    "f1",
    "accuracy",
    "exact_match",
    "pearson",
    "mrr",
    "strict_accuracy",
    "disc_auc",
    "masked_lm_accuracy",
];

/// The data of the template.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    card: &'a Card,
    licence: &'static str,
    /// The class of `transformers` that picks the class by itself.
    auto_class: &'static str,
    pipeline_tag: Option<&'static str>,
    /// Values of the members are in `Line::values`, in the order of the card's members.
    scores: Vec<Line>,
    training: Vec<Line>,
    /// Members that were made.
    made: usize,
    /// Names of members without a record.
    not_made: Vec<&'a str>,
    this: &'a str,
    standing: Option<Standing>,
    stand_ins: Vec<&'a str>,
    restricted: Vec<&'a str>,
    has_spread: bool,
    /// The axis that members differ in.
    axis: &'a str,
}

#[derive(Debug, Serialize)]
struct Line {
    from: String,
    dataset: String,
    split: String,
    metric: String,
    items: String,
    values: Vec<String>,
    mean: String,
    deviation: String,
    /// `5`, or `4 of 5`.
    n: String,
}

/// Where the member of the folder stands among all.
#[derive(Debug, Serialize)]
struct Standing {
    metric: String,
    split: String,
    dataset: String,
    place: usize,
    of: usize,
    ties: usize,
}

impl<'a> View<'a> {
    pub(super) fn of(card: &'a Card) -> Self {
        let (training, scores): (Vec<&Score>, Vec<&Score>) = card
            .scores
            .iter()
            .partition(|score| score.split.as_deref() == Some("train"));
        let lines = |scores: &[&Score]| scores.iter().filter_map(|score| line(score)).collect();
        let texts = |of: fn(&super::Source) -> &Vec<String>| {
            let mut all: Vec<&str> = Vec::new();
            for text in card.sources.iter().flat_map(of) {
                if !all.contains(&text.as_str()) {
                    all.push(text);
                }
            }
            all
        };
        let sources = card.sources.iter();
        Self {
            card,
            licence: card.licence(),
            auto_class: auto_class(&card.model.class),
            pipeline_tag: pipeline_tag(&card.model),
            scores: lines(&scores),
            training: lines(&training),
            made: card.members.iter().filter(|one| one.key.is_some()).count(),
            not_made: names(card, |member| member.key.is_none()),
            this: names(card, |member| member.is_this)
                .first()
                .copied()
                .unwrap_or_default(),
            standing: standing(card),
            stand_ins: texts(|source| &source.stand_ins),
            restricted: sources
                .filter(|source| source.is_restricted)
                .map(|source| source.name.as_str())
                .collect(),
            has_spread: card.members.len() > 1,
            axis: (card.members.first())
                .and_then(|member| Some(member.name.split_once('=')?.0))
                .unwrap_or_default(),
        }
    }
}

fn names(card: &Card, is_meant: fn(&super::Member) -> bool) -> Vec<&str> {
    let members = card.members.iter().filter(|member| is_meant(member));
    members.map(|member| member.name.as_str()).collect()
}

fn line(score: &Score) -> Option<Line> {
    let summary = score.summary()?;
    let mut numbers: Vec<f64> = score.values.iter().flatten().copied().collect();
    numbers.push(summary.mean);
    let style = Style::of(Format::Auto, None, &numbers);
    let from = match score.axes.as_str() {
        "" => score.stage.clone(),
        axes => format!("{}[{axes}]", score.stage),
    };
    let members = score.values.len();
    Some(Line {
        from,
        dataset: score.dataset.clone().unwrap_or_default(),
        split: score.split.clone().unwrap_or_default(),
        metric: score.metric.clone(),
        items: score.items.map_or_else(String::new, |n| n.to_string()),
        values: score
            .values
            .iter()
            .map(|value| value.map_or_else(|| "–".to_owned(), |value| style.show(value)))
            .collect(),
        mean: style.show(summary.mean),
        deviation: summary
            .deviation
            .map_or_else(|| "–".to_owned(), |deviation| style.show(deviation)),
        n: match summary.n {
            n if n == members => n.to_string(),
            n => format!("{n} of {members}"),
        },
    })
}

/// By the leading score, of `test` where there is one.
fn standing(card: &Card) -> Option<Standing> {
    let this = card.members.iter().position(|member| member.is_this)?;
    let rank = |score: &&Score| {
        let place = LEADING.iter().position(|name| *name == score.metric);
        (score.split.as_deref() != Some("test"), place)
    };
    let score = card
        .scores
        .iter()
        .filter(|score| LEADING.contains(&score.metric.as_str()))
        .filter(|score| score.split.as_deref() != Some("train"))
        .min_by_key(rank)?;
    let own = score.values[this]?;
    let all: Vec<f64> = score.values.iter().flatten().copied().collect();
    (all.len() > 1).then(|| Standing {
        metric: score.metric.clone(),
        split: score.split.clone().unwrap_or_default(),
        dataset: score.dataset.clone().unwrap_or_default(),
        place: 1 + all.iter().filter(|value| **value > own).count(),
        of: all.len(),
        ties: all.iter().filter(|value| **value == own).count() - 1,
    })
}

fn auto_class(class: &str) -> &'static str {
    match class {
        "ElectraForTokenClassification" => "AutoModelForTokenClassification",
        "ElectraForSequenceClassification" => "AutoModelForSequenceClassification",
        "ElectraForQuestionAnswering" => "AutoModelForQuestionAnswering",
        "ElectraForMaskedLM" => "AutoModelForMaskedLM",
        "ElectraForPreTraining" => "AutoModelForPreTraining",
        _ => "AutoModel",
    }
}
