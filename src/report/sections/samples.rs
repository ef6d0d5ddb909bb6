//! Examples to look at: which ones, how much of each text, and where its marks stand. Knows no markup.
//!
//! The choice is a rule, never a taste: by kind of error, in the order of the file.

use serde::Serialize;

use crate::error::ReportError;
use crate::input::Instance;
use crate::names::Names;
use crate::sections::files::{Form, Mark, Sample, form, load_samples};
use crate::sections::options::SamplesOptions;
use crate::sections::{chosen, groups};

/// How many candidates of an answer are shown.
const ANSWERS: usize = 5;
/// Characters kept before what matters where a text is cut.
const BEFORE: usize = 60;

/// Examples to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Samples {
    /// A name for anchors, unique in the report.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What is shown, Markdown as written.
    pub doc: Option<String>,
    /// One an instance.
    pub groups: Vec<SampleGroup>,
    /// How they were chosen, a sentence.
    pub rule: String,
}

/// Examples of one instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleGroup {
    /// Its axes; empty where there are none.
    pub name: String,
    /// The instance, such as `seed=1`; empty without repetitions.
    pub repetition: String,
    /// How many examples there are.
    pub total: usize,
    /// Of these, how many are right.
    pub right: usize,
    /// The chosen ones.
    pub samples: Vec<Shown>,
}

/// One example as shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Kinds of error in words; `correct` where there is none.
    pub errors: Vec<String>,
    /// Whether it is right.
    pub correct: bool,
    /// The question, where there is one.
    pub question: Option<String>,
    /// The text with what is right.
    pub gold: Vec<Piece>,
    /// The text with what was predicted; empty where it marks the same, or marks nothing that stands in it.
    pub predicted: Vec<Piece>,
    /// Labels or answers that are right.
    pub right: Vec<String>,
    /// Labels or answers that were predicted, the best first.
    pub answers: Vec<String>,
}

/// A stretch of a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Piece {
    /// Its words.
    pub text: String,
    /// The type; none for text between marks.
    pub label: Option<String>,
    /// What is wrong with it, in words.
    pub error: Option<String>,
}

/// The part that `options` asks for, with the ids that were asked for and not found.
///
/// # Errors
/// When a file cannot be read.
pub fn build(
    files: &[Instance],
    options: &SamplesOptions,
    slug: String,
) -> Result<(Samples, Vec<String>), ReportError> {
    let names = Names(&options.labels);
    let instances = chosen(files, &options.from, &options.filter);
    let mut missing: Vec<String> = options.ids.clone();
    let mut shown_groups = Vec::new();
    for (name, members) in groups(&instances, names) {
        let Some(instance) = members.first() else {
            continue;
        };
        let all = load_samples(instance)?;
        let kind = form(&all);
        let picked = pick(&all, options, kind);
        missing.retain(|id| !all.iter().any(|sample| sample.example_id == *id));
        if picked.is_empty() {
            continue;
        }
        let most = usize::from(options.characters).clamp(80, 4000);
        shown_groups.push(SampleGroup {
            name,
            repetition: match (&instance.replicate, instance.replicate_value()) {
                (Some(axis), Some(value)) => format!("{axis}={value}"),
                _ => String::new(),
            },
            total: all.len(),
            right: all.iter().filter(|sample| sample.correct).count(),
            samples: picked
                .into_iter()
                .map(|sample| show(sample, kind, most, names))
                .collect(),
        });
    }
    let each = options.each.min(20);
    let rule = if options.ids.is_empty() {
        format!(
            "The first {each} of each kind of error and of those without one, in the order of the data."
        )
    } else {
        "Chosen by their ids.".to_owned()
    };
    let samples = Samples {
        slug,
        title: options.title.clone(),
        doc: options.doc.clone(),
        groups: shown_groups,
        rule,
    };
    Ok((samples, missing))
}

/// Those named, else the first few of each kind of error, errors first.
fn pick<'a>(all: &'a [Sample], options: &SamplesOptions, kind: Option<Form>) -> Vec<&'a Sample> {
    if !options.ids.is_empty() {
        let find = |id: &String| all.iter().find(|sample| sample.example_id == *id);
        return options.ids.iter().filter_map(find).collect();
    }
    let each = usize::from(options.each.min(20));
    let mut kinds: Vec<(String, usize)> = Vec::new();
    let mut picked: Vec<(usize, &Sample)> = Vec::new();
    for (at, sample) in all.iter().enumerate() {
        // Texts without any mark tell nothing.
        if sample.gold.is_empty() && sample.predicted.is_empty() {
            continue;
        }
        let errors = errors(sample, kind);
        let key = errors.first().cloned().unwrap_or_default();
        let place = match kinds.iter().position(|(known, _)| *known == key) {
            Some(place) => place,
            None => {
                // A data set of many classes has more pairs of them than anybody reads.
                if kinds.len() >= 12 {
                    continue;
                }
                kinds.push((key, 0));
                kinds.len() - 1
            }
        };
        if kinds[place].1 < each {
            kinds[place].1 += 1;
            picked.push((at, sample));
        }
    }
    picked.sort_by_key(|(at, sample)| (sample.correct, *at));
    picked.into_iter().map(|(_, sample)| sample).collect()
}

/// Kinds of error in a sample, in words, each once; none where it is right.
fn errors(sample: &Sample, kind: Option<Form>) -> Vec<String> {
    if sample.correct {
        return Vec::new();
    }
    let mut errors: Vec<String> = Vec::new();
    match kind {
        Some(Form::Spans) => {
            for mark in sample.gold.iter().chain(&sample.predicted) {
                let Some(error) = &mark.error else { continue };
                let word = error_word(error);
                if !errors.contains(&word) {
                    errors.push(word);
                }
            }
        }
        Some(Form::Classes) => {
            let label = |marks: &[Mark]| {
                marks
                    .first()
                    .and_then(|mark| mark.label.clone())
                    .unwrap_or_else(|| "nothing".to_owned())
            };
            errors.push(format!(
                "{} taken for {}",
                label(&sample.gold),
                label(&sample.predicted)
            ));
        }
        Some(Form::Answers) | None => {}
    }
    if errors.is_empty() {
        errors.push("wrong".to_owned());
    }
    errors
}

/// What `score` calls an error, as people read it.
#[must_use]
pub(crate) fn error_word(error: &str) -> String {
    match error {
        "boundary" => "wrong boundary",
        "type" => "wrong type",
        "boundary_and_type" => "wrong boundary and type",
        other => other,
    }
    .to_owned()
}

fn show(sample: &Sample, kind: Option<Form>, most: usize, names: Names<'_>) -> Shown {
    let text: Vec<char> = sample.text.chars().collect();
    let window = window(sample, text.len(), most);
    let gold = pieces(&text, &sample.gold, window, names);
    let has_spans = sample.predicted.iter().any(|mark| mark.span().is_some());
    let predicted = if has_spans {
        pieces(&text, &sample.predicted, window, names)
    } else {
        Vec::new()
    };
    let same = predicted == gold;
    let words = |marks: &[Mark]| -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for mark in marks {
            let word = match kind {
                Some(Form::Answers) => mark.text.clone(),
                Some(Form::Classes) => mark
                    .label
                    .as_deref()
                    .map(|label| names.value("class", Some(label))),
                Some(Form::Spans) | None => None,
            };
            let Some(word) = word.filter(|word| !words.contains(word)) else {
                continue;
            };
            if words.len() < ANSWERS {
                words.push(word);
            }
        }
        words
    };
    Shown {
        id: sample.example_id.clone(),
        errors: errors(sample, kind),
        correct: sample.correct,
        question: sample.question.clone(),
        gold,
        predicted: if same { Vec::new() } else { predicted },
        right: words(&sample.gold),
        answers: words(&sample.predicted),
    }
}

/// The characters that are shown: all, or a stretch around the first thing that is wrong, else the first mark.
fn window(sample: &Sample, length: usize, most: usize) -> (usize, usize) {
    if length <= most {
        return (0, length);
    }
    let marks = || sample.gold.iter().chain(&sample.predicted);
    let wrong = marks().filter(|mark| mark.error.is_some());
    let first = wrong
        .filter_map(Mark::span)
        .min()
        .or_else(|| marks().filter_map(Mark::span).min());
    let from = first.map_or(0, |(start, _)| start.saturating_sub(BEFORE));
    let from = from.min(length - most);
    (from, from + most)
}

/// The text of a window cut at its marks. Marks that overlap an earlier one, or the window's edge, are left out.
fn pieces(
    text: &[char],
    marks: &[Mark],
    (from, to): (usize, usize),
    names: Names<'_>,
) -> Vec<Piece> {
    let mut spans: Vec<(usize, usize, &Mark)> = marks
        .iter()
        .filter_map(|mark| mark.span().map(|(start, end)| (start, end, mark)))
        .collect();
    spans.sort_by_key(|(start, end, _)| (*start, *end));
    let string = |from: usize, to: usize| text[from..to].iter().collect::<String>();
    let plain = |text: String| Piece {
        text,
        label: None,
        error: None,
    };
    let mut pieces = Vec::new();
    let mut at = from;
    if from > 0 {
        pieces.push(plain("… ".to_owned()));
    }
    for (start, end, mark) in spans {
        if start < at || end > to {
            continue;
        }
        if start > at {
            pieces.push(plain(string(at, start)));
        }
        pieces.push(Piece {
            text: string(start, end),
            label: Some(mark.label.as_deref().map_or_else(
                || "answer".to_owned(),
                |label| names.value("class", Some(label)),
            )),
            error: mark.error.as_deref().map(error_word),
        });
        at = end;
    }
    if at < to {
        pieces.push(plain(string(at, to)));
    }
    if to < text.len() {
        pieces.push(plain(" …".to_owned()));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn mark(start: usize, end: usize, label: &str, error: Option<&str>) -> Mark {
        Mark {
            start: Some(start),
            end: Some(end),
            label: Some(label.to_owned()),
            error: error.map(str::to_owned),
            ..Mark::default()
        }
    }

    #[test]
    fn texts_are_cut_at_marks_and_by_characters() {
        let labels = BTreeMap::new();
        let text: Vec<char> = "é fever ä aspirin.".chars().collect();
        let marks = [
            mark(10, 17, "Drug", None),
            mark(2, 7, "Sign", Some("boundary")),
            mark(4, 12, "Overlap", None),
            mark(17, 99, "Beyond", None),
        ];
        let cut = pieces(&text, &marks, (0, text.len()), Names(&labels));
        let joined: String = cut.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(joined, "é fever ä aspirin.");
        let marked: Vec<_> = cut
            .iter()
            .filter_map(|piece| Some((piece.label.as_deref()?, piece.text.as_str())))
            .collect();
        assert_eq!(marked, [("Sign", "fever"), ("Drug", "aspirin")]);
        assert_eq!(cut[1].error.as_deref(), Some("wrong boundary"));
    }

    #[test]
    fn a_long_text_is_cut_around_what_is_wrong() {
        let sample = Sample {
            text: "x".repeat(1000),
            gold: vec![mark(10, 12, "A", None), mark(700, 705, "A", Some("missed"))],
            ..Sample::default()
        };
        assert_eq!(window(&sample, 1000, 100), (640, 740));
        assert_eq!(window(&sample, 1000, 400), (600, 1000));
        assert_eq!(window(&sample, 1000, 4000), (0, 1000));
    }
}
