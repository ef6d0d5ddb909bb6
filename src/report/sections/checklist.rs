//! Questions that venues ask of experiments, answered from records and rows alone. Knows no markup.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::claims::{Judged, Verdict};
use crate::input::{Instance, Row};
use crate::page::Body;
use crate::sections::Part;
use crate::stats::INTERVAL_FORMULA;

/// Lines of one answer that are shown; the others are counted.
const LINES: usize = 12;

/// The questions with their answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checklist {
    /// A name for anchors.
    pub slug: String,
    /// Heading.
    pub title: String,
    /// How many have an answer.
    pub answered: usize,
    /// In order.
    pub items: Vec<Item>,
    /// What no record can tell.
    pub untold: &'static str,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// The question.
    pub question: &'static str,
    /// What the records say, a sentence each; empty where they say nothing.
    pub answers: Vec<String>,
    /// Why there is no answer, or only a part of one.
    pub missing: Option<String>,
    /// Where the evidence stands: a place on this page, or the page of the run.
    pub evidence: Option<String>,
}

/// What a checklist is answered from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    /// Producers of rows.
    pub(crate) instances: &'a [Instance],
    /// Their rows.
    pub(crate) rows: &'a [Vec<Row>],
    /// Producers of other files.
    pub(crate) files: &'a [Instance],
    /// The page so far.
    pub(crate) body: &'a Body,
    /// Claims.
    pub(crate) judged: &'a [Judged],
}

const UNTOLD: &str = "No record tells limits, risks, the use that is meant, how people were paid or asked, or what else was tried and left out of the file: these are for the authors to say.";

/// All questions.
pub(crate) fn build(evidence: Evidence<'_>) -> Checklist {
    let items = vec![
        data(evidence),
        sizes(evidence),
        runs(evidence),
        searched(evidence),
        settings(evidence),
        averages(evidence),
        tests(evidence),
        compute(evidence),
        departures(evidence),
        open_choices(evidence),
    ];
    Checklist {
        slug: "checklist".to_owned(),
        title: "Checklist for reviewers".to_owned(),
        answered: items.iter().filter(|item| !item.answers.is_empty()).count(),
        items,
        untold: UNTOLD,
    }
}

impl<'a> Evidence<'a> {
    fn all(self) -> impl Iterator<Item = &'a Instance> {
        self.instances.iter().chain(self.files)
    }
}

/// `3 inputs`.
fn inputs(count: usize) -> String {
    match count {
        1 => "1 input".to_owned(),
        count => format!("{count} inputs"),
    }
}

/// The first lines, and how many more there are.
fn bounded(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("And {more} more."));
    }
    lines
}

/// The place of the first part of some kind.
fn first(evidence: Evidence<'_>, is: impl Fn(&Part) -> bool) -> Option<String> {
    let part = evidence.body.parts.iter().find(|part| is(part));
    match part? {
        Part::Choice(choice) => Some(format!("#{}", choice.slug)),
        Part::Settings(settings) => Some(format!("#{}", settings.slug)),
        _ => None,
    }
}

fn data(evidence: Evidence<'_>) -> Item {
    let mut terms: BTreeMap<String, usize> = BTreeMap::new();
    let (mut silent, mut restricted, mut stand_ins) = (0, 0, 0);
    for instance in evidence.all() {
        let licences = instance.note("licence");
        silent += usize::from(licences.is_empty());
        for licence in licences {
            *terms.entry(licence).or_default() += 1;
        }
        let is_kept = instance.notes.get("redistribute") == Some(&serde_json::Value::Bool(false));
        restricted += usize::from(is_kept);
        stand_ins += usize::from(!instance.note("stand_in").is_empty());
    }
    let mut answers: Vec<String> = (terms.iter())
        .map(|(licence, count)| format!("{licence}: behind {}.", inputs(*count)))
        .collect();
    answers = bounded(answers);
    let all = evidence.all().count();
    if !answers.is_empty() {
        answers.push(format!(
            "{restricted} of {} rest on data that must not be passed on, {stand_ins} on stand-in data.",
            inputs(all)
        ));
    }
    Item {
        question: "Which terms is the data under, and may it be passed on?",
        missing: (silent > 0).then(|| format!("{} of {all} state no licence.", inputs(silent))),
        answers,
        evidence: Some("#sources".to_owned()),
    }
}

fn sizes(evidence: Evidence<'_>) -> Item {
    let mut most: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut silent: BTreeSet<(&str, &str)> = BTreeSet::new();
    for row in evidence.rows.iter().flatten() {
        let (Some(dataset), Some(split)) = (&row.dataset, &row.split) else {
            continue;
        };
        let place = (dataset.as_str(), split.as_str());
        match row.n {
            Some(n) => {
                let largest = most.entry(place).or_default();
                *largest = n.max(*largest);
            }
            None => {
                silent.insert(place);
            }
        }
    }
    silent.retain(|place| !most.contains_key(place));
    let answers = most
        .iter()
        .map(|((dataset, split), n)| format!("{dataset}, {split}: numbers over up to {n} items."));
    Item {
        question: "Which data sets and splits are numbers over, and how large are they?",
        answers: bounded(answers.collect()),
        missing: match (most.is_empty(), silent.len()) {
            (true, 0) => Some("No row names a data set and a split.".to_owned()),
            (_, 0) => None,
            (_, silent) => Some(format!(
                "Of {silent} {} no row says over how many items.",
                if silent == 1 { "split" } else { "splits" }
            )),
        },
        evidence: Some("#sources".to_owned()),
    }
}

fn runs(evidence: Evidence<'_>) -> Item {
    let mut repeated: BTreeMap<&str, BTreeMap<Vec<&str>, Vec<&str>>> = BTreeMap::new();
    let mut single: BTreeSet<&str> = BTreeSet::new();
    for instance in evidence.instances {
        let Some(value) = instance.replicate_value() else {
            single.insert(&instance.input);
            continue;
        };
        let axis = instance.replicate.as_deref();
        let others = instance.axes.iter();
        let others = others.filter(|(name, _)| Some(name.as_str()) != axis);
        let cell = others.map(|(_, value)| value.as_str()).collect();
        let cells = repeated.entry(&instance.input).or_default();
        cells.entry(cell).or_default().push(value);
    }
    let answers = repeated.iter().map(|(input, cells)| {
        let mut values: Vec<&str> = cells.values().flatten().copied().collect();
        values.sort_unstable_by_key(|value| (value.len(), *value));
        values.dedup();
        let counts = || cells.values().map(Vec::len);
        let (least, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        let word = if most == 1 { "run" } else { "runs" };
        let runs = match least == most {
            true => most.to_string(),
            false => format!("{least} to {most}"),
        };
        format!(
            "{input}: {runs} {word} a number, repetitions {}.",
            values.join(", ")
        )
    });
    let single: Vec<&str> = single.into_iter().collect();
    Item {
        question: "How many runs stand behind a number, and with which seeds?",
        answers: bounded(answers.collect()),
        missing: (!single.is_empty()).then(|| format!("Not repeated: {}.", single.join(", "))),
        evidence: Some("#sources".to_owned()),
    }
}

fn searched(evidence: Evidence<'_>) -> Item {
    let parts = evidence.body.parts.iter();
    let choices = parts.filter_map(|part| match part {
        Part::Choice(choice) => Some(&choice.choices),
        _ => None,
    });
    let answers: Vec<String> = choices
        .flatten()
        .map(|one| match one.name.is_empty() {
            true => one.rule.clone(),
            false => format!("{}: {}", one.name, one.rule),
        })
        .collect();
    Item {
        question: "What was searched for, among what, and by which rule was it chosen?",
        missing: answers
            .is_empty()
            .then(|| "No part of this page shows a choice.".to_owned()),
        evidence: first(evidence, |part| matches!(part, Part::Choice(_))),
        answers: bounded(answers),
    }
}

fn settings(evidence: Evidence<'_>) -> Item {
    let parts = evidence.body.parts.iter();
    let answers: Vec<String> = parts
        .filter_map(|part| match part {
            Part::Settings(settings) => Some(match &settings.sentence {
                Some(sentence) => format!("{}: {sentence}", settings.title),
                None => format!(
                    "{}: {} settings are listed.",
                    settings.title,
                    settings.lines.len()
                ),
            }),
            _ => None,
        })
        .collect();
    Item {
        question: "What were the settings?",
        missing: answers
            .is_empty()
            .then(|| "No part of this page shows settings.".to_owned()),
        answers,
        evidence: first(evidence, |part| matches!(part, Part::Settings(_))),
    }
}

fn averages(evidence: Evidence<'_>) -> Item {
    let is_repeated = evidence.instances.iter().any(|one| one.replicate.is_some());
    Item {
        question: "How are numbers averaged, and what do their intervals mean?",
        answers: match is_repeated {
            true => vec![format!(
                "Over repetitions the mean with the sample standard deviation and n; the 95 % interval is {INTERVAL_FORMULA}."
            )],
            false => Vec::new(),
        },
        missing: (!is_repeated)
            .then(|| "Nothing is repeated, so no number has a spread.".to_owned()),
        evidence: is_repeated.then(|| "#averages".to_owned()),
    }
}

fn tests(evidence: Evidence<'_>) -> Item {
    let judged = evidence.judged;
    let is_tested = |one: &&Judged| {
        one.test.is_some() && !matches!(one.verdict, Verdict::NotComparable | Verdict::Missing)
    };
    let tested = judged.iter().filter(is_tested).count();
    Item {
        question: "Which comparisons are tested, and how?",
        answers: match judged.is_empty() {
            true => Vec::new(),
            false => vec![format!(
                "{tested} of {} stated numbers are judged by a test of equivalence at 5 %, each on its own; nothing is corrected for their number.",
                judged.len()
            )],
        },
        missing: judged
            .is_empty()
            .then(|| "The file states no number to compare with.".to_owned()),
        evidence: (!judged.is_empty()).then(|| "#claims".to_owned()),
    }
}

fn compute(evidence: Evidence<'_>) -> Item {
    let mut devices: BTreeMap<&str, usize> = BTreeMap::new();
    let mut silent = 0;
    for instance in evidence.all() {
        match &instance.device {
            Some(device) => *devices.entry(device.as_str()).or_default() += 1,
            None => silent += 1,
        }
    }
    let answers = devices.iter();
    Item {
        question: "What was computed on, for how long, and with which program?",
        answers: answers
            .map(|(device, count)| format!("{device}: made {}.", inputs(*count)))
            .collect(),
        missing: Some(match silent {
            0 => "Times, operations and the program's version differ from run to run and stand on the page of the run.".to_owned(),
            silent => format!("Of {} no device is known. Times, operations and the program's version stand on the page of the run.", inputs(silent)),
        }),
        evidence: Some("run.html#compute".to_owned()),
    }
}

fn departures(evidence: Evidence<'_>) -> Item {
    let mut all: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for departure in evidence.all().flat_map(|one| &one.departures) {
        let settings = all.entry(&departure.stage).or_default();
        settings.insert(departure.setting());
    }
    let answers: Vec<String> = match all.is_empty() {
        true => vec!["No: every input was made as the file is written.".to_owned()],
        false => (all.into_iter())
            .map(|(stage, settings)| {
                let settings: Vec<String> = settings.into_iter().collect();
                format!("{stage}: {}.", settings.join(", "))
            })
            .collect(),
    };
    Item {
        question: "Does anything depart from the pipeline file as written?",
        answers: bounded(answers),
        missing: None,
        evidence: Some("run.html#text".to_owned()),
    }
}

fn open_choices(evidence: Evidence<'_>) -> Item {
    let parts = evidence.body.parts.iter();
    let count: usize = parts
        .filter_map(|part| match part {
            Part::Ledger(ledger) => Some(ledger.entries.len()),
            _ => None,
        })
        .sum();
    Item {
        question: "Which choices did the description leave open?",
        answers: match count {
            0 => Vec::new(),
            1 => vec!["1 choice is listed with its reason.".to_owned()],
            count => vec![format!("{count} choices are listed with their reasons.")],
        },
        missing: (count == 0).then(|| "The report has no ledger.".to_owned()),
        evidence: (count > 0).then(|| "#ledger".to_owned()),
    }
}
