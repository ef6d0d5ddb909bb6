//! Everything a page shows, as plain data: what the built-in templates and those of users see. Knows no markup.

use serde::Serialize;

use crate::cell::{Cell, show_reference};
use crate::chart::Chart;
use crate::claims::{Counts, Judged, Test, Verdict};
use crate::equivalence::EQUIVALENCE_FORMULA;
use crate::input::{Departure, Instance, variables_line};
use crate::measure::{Data, Measure};
use crate::number::Style;
use crate::options::{Format, Options};
use crate::outcome::Outcome;
use crate::paper::Paper;
use crate::sections::Part;
use crate::stats::INTERVAL_FORMULA;
use crate::table::Table;

/// The data of a report page.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Heading.
    pub title: String,
    /// Introduction, Markdown as written.
    pub text: Option<String>,
    /// Tables in order.
    pub tables: Vec<Table>,
    /// Charts in order.
    pub charts: Vec<Chart>,
    /// Whether the charts stand before the tables.
    pub charts_first: bool,
    /// Everything between head and claims, in order; tables and charts by their place above.
    pub parts: Vec<Part>,
    /// What a list of contents names.
    pub contents: Vec<Entry>,
    /// How the claims came out, in a sentence and in counts.
    pub outcome: Outcome,
    /// Whether any number stands for several repetitions with a picture of each.
    pub has_strips: bool,
    /// Whether any number is ranked among published systems.
    pub has_ranks: bool,
    /// Every claim, in the order stated.
    pub claims: Vec<ClaimLine>,
    /// How the claims came out.
    pub counts: Counts,
    /// Where rows and other files come from.
    pub sources: Vec<Source>,
    /// Results that rest on stand-in data.
    pub stand_ins: usize,
    /// How many rows were read.
    pub rows: usize,
    /// Whether anything is over repetitions, so that the formula has to be stated.
    pub has_repetitions: bool,
    /// How intervals are made.
    pub interval_formula: &'static str,
    /// How claims about numbers over repetitions are judged.
    pub equivalence_formula: &'static str,
    /// What many tests at once mean; none without a test.
    pub multiplicity: Option<Multiplicity>,
    /// What stands once on paper, where the screen has it at each number and input.
    pub paper: Paper,
    /// What departs from the pipeline file as written, by stage.
    pub departures: Vec<Departed>,
}

/// What many tests at once mean for those who read the verdicts.
#[derive(Clone, Debug, Serialize)]
pub struct Multiplicity {
    /// How many claims were judged by a test.
    pub tested: usize,
    /// How many of them came out as reproduced.
    pub reproduced: usize,
    /// How many false `reproduced` 5 % a test allows on average, were every difference at its margin: `0.40`.
    pub allowed: String,
    /// All of it in words.
    pub sentence: String,
}

impl Multiplicity {
    fn of(judged: &[Judged]) -> Option<Self> {
        let is_tested = |one: &&Judged| {
            one.test.is_some() && !matches!(one.verdict, Verdict::NotComparable | Verdict::Missing)
        };
        let tested = judged.iter().filter(is_tested);
        let reproduced = tested
            .clone()
            .filter(|one| one.verdict == Verdict::Reproduced)
            .count();
        let tested = tested.count();
        let twentieths = Style {
            decimals: 2,
            percent: false,
        };
        let allowed = twentieths.show(tested as f64 * 0.05);
        (tested > 0).then(|| Self {
            sentence: format!(
                "{tested} of {} claims {} judged by a test, each on its own, and {reproduced} came out as reproduced; a test calls a difference at its margin reproduced in up to 5 % of cases, so of as many tests up to {allowed} may be false on average. Nothing is corrected for their number.",
                judged.len(),
                if tested == 1 { "was" } else { "were" },
            ),
            tested,
            reproduced,
            allowed,
        })
    }
}

/// A stage that is not as the pipeline file is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Departed {
    /// The stage.
    pub stage: String,
    /// Its settings, each once.
    pub settings: Vec<Departure>,
}

/// What departs anywhere, each once, stages in order of first appearance. Instances of a stage that have another value of
/// one setting are told together, and so are stages that depart alike.
fn departures(instances: &[Instance]) -> Vec<Departed> {
    let mut stages: Vec<Departed> = Vec::new();
    for departure in instances.iter().flat_map(|one| &one.departures) {
        let at = stages.iter().position(|one| one.stage == departure.stage);
        let at = at.unwrap_or_else(|| {
            stages.push(Departed {
                stage: departure.stage.clone(),
                settings: Vec::new(),
            });
            stages.len() - 1
        });
        let settings = &mut stages[at].settings;
        let alike =
            |one: &&mut Departure| one.what == departure.what && one.written == departure.written;
        match settings.iter_mut().find(alike) {
            Some(one) if one.here.split(", ").any(|here| here == departure.here) => {}
            Some(one) => one.here = format!("{}, {}", one.here, departure.here),
            None => settings.push(departure.clone()),
        }
    }
    let settings_of = |stage: &Departed| -> Vec<String> {
        stage.settings.iter().map(Departure::setting).collect()
    };
    let mut together: Vec<Departed> = Vec::new();
    for stage in stages {
        match together
            .iter_mut()
            .find(|one| settings_of(one) == settings_of(&stage))
        {
            Some(one) => one.stage = format!("{}, {}", one.stage, stage.stage),
            None => together.push(stage),
        }
    }
    together
}

/// A line of the contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The anchor.
    pub slug: String,
    /// The heading.
    pub title: String,
}

/// One claim as shown.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimLine {
    /// The metric.
    pub metric: String,
    /// Which number: `bc5cdr, test, class protein`.
    pub place: String,
    /// The stated value.
    pub stated: String,
    /// The margin.
    pub tolerance: String,
    /// The reproduced value.
    pub found: Option<String>,
    /// `4 of 5`, or the count of repetitions; none for a single value.
    pub repetitions: Option<String>,
    /// Reproduced minus stated.
    pub difference: Option<String>,
    /// The 90 % interval of the difference, where the number is over repetitions.
    pub interval: Option<String>,
    /// How it came out.
    pub verdict: Verdict,
    /// The verdict in one sign.
    pub sign: &'static str,
    /// The verdict in words.
    pub word: &'static str,
    /// Where it is stated.
    pub source: Option<String>,
    /// Why it is neither reproduced nor differs, and what explains the difference; one sentence each.
    pub remarks: Vec<String>,
    /// The mark of each remark that stands once on paper.
    pub marks: Vec<Option<String>>,
    /// What it was judged by.
    #[serde(skip)]
    pub raw: Judged,
}

/// Where rows come from.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Its line, from 1; cells name it.
    pub number: usize,
    /// `input[axis=value]`.
    pub name: String,
    /// The record's key, 10 hex digits; none for files.
    pub key: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// Licences of it and of what it was made from.
    pub licences: Vec<String>,
    /// Whether it must not be passed on.
    pub restricted: bool,
    /// What stands in for real data.
    pub stand_ins: Vec<String>,
    /// Where the data came from.
    pub origins: Vec<String>,
    /// Further facts, `name: value`.
    pub facts: Vec<String>,
    /// How many rows it gave; none where a part of the page reads it as it is.
    pub rows: Option<usize>,
    /// Marks of what is said of it on paper.
    pub marks: Vec<String>,
}

impl ClaimLine {
    fn of(judged: &Judged) -> Self {
        let measure = judged.measure.as_ref();
        let mut numbers = vec![judged.claim.value];
        numbers.extend(measure.map(|measure| measure.summary.mean));
        let style = Style::of(Format::Auto, None, &numbers);
        let shown = show_reference(style, judged);
        let mut remarks = judged.reasons.clone();
        remarks.extend(judged.claim.note.clone());
        remarks.extend(measure.into_iter().flat_map(Measure::asides));
        let has_no_width = |test: &Test| test.interval.half_width == 0.0;
        if let Some(measure) = measure
            && judged.test.as_ref().is_some_and(has_no_width)
        {
            remarks.push(format!(
                "all {} repetitions gave the same number",
                measure.summary.n
            ));
        }
        Self {
            metric: judged.claim.metric.clone(),
            place: judged.place(),
            stated: style.stated(judged.claim.value),
            tolerance: shown.tolerance,
            found: measure.map(|measure| style.show(measure.summary.mean)),
            repetitions: measure.and_then(|measure| {
                match (measure.missing.is_empty(), measure.summary.n) {
                    (true, 1) => None,
                    (true, n) => Some(n.to_string()),
                    (false, n) => Some(format!("{n} of {}", measure.expected)),
                }
            }),
            difference: measure.map(|_| shown.difference),
            interval: shown.interval,
            verdict: judged.verdict,
            sign: judged.verdict.sign(),
            word: judged.verdict.word(),
            source: judged.claim.source.clone(),
            remarks,
            marks: Vec::new(),
            raw: judged.clone(),
        }
    }
}

impl Source {
    fn of(number: usize, instance: &Instance, rows: Option<usize>) -> Self {
        let known = [
            "departures",
            "licence",
            "numbers_by_input",
            "origin",
            "redistribute",
            "settings",
            "stand_in",
            "typed",
            "variables",
        ];
        let typed = instance.typed_sources();
        let typed = (!typed.is_empty()).then(|| format!("typed numbers: {}", typed.join("; ")));
        let variables = variables_line(&instance.variables());
        let variables = variables.map(|line| format!("variables not of the file: {line}"));
        let facts = instance
            .notes
            .keys()
            .filter(|name| !known.contains(&name.as_str()))
            .flat_map(|name| {
                let lines = instance.note(name).into_iter();
                lines.map(move |line| format!("{name}: {line}"))
            })
            .chain(typed)
            .chain(variables)
            .collect();
        Self {
            number,
            name: instance.name(),
            key: instance
                .key
                .as_ref()
                .map(|key| key.chars().take(10).collect()),
            device: instance.device.clone(),
            licences: instance.note("licence"),
            restricted: mentions_false(instance.notes.get("redistribute")),
            stand_ins: instance.stand_ins(None, None),
            origins: instance.note("origin"),
            facts,
            rows,
            marks: Vec::new(),
        }
    }
}

/// Whether a note, or one of several joined from upstream, is `false`.
fn mentions_false(note: Option<&serde_json::Value>) -> bool {
    match note {
        Some(serde_json::Value::Bool(allowed)) => !allowed,
        Some(serde_json::Value::Array(items)) => {
            items.iter().any(|item| mentions_false(Some(item)))
        }
        _ => false,
    }
}

impl Page {
    /// The page of finished parts. `rows_of[i]` is how many rows instance `i` gave; `files` are read by parts.
    #[must_use]
    pub fn new(
        options: &Options,
        body: Body,
        judged: &[Judged],
        data: &Data,
        rows_of: &[usize],
        files: &[Instance],
    ) -> Self {
        let Body {
            mut tables,
            charts,
            parts,
        } = body;
        let given = data.instances.iter().zip(rows_of);
        let given = given.map(|(instance, rows)| (instance, Some(*rows)));
        let mut sources: Vec<Source> = (1..)
            .zip(given.chain(files.iter().map(|instance| (instance, None))))
            .map(|(number, (instance, rows))| Source::of(number, instance, rows))
            .collect();
        for cell in cells_mut(&mut tables) {
            let rows = cell.raw.rows.iter();
            let mut sources: Vec<usize> = rows.map(|row| data.frame.instance(*row) + 1).collect();
            sources.dedup();
            cell.sources = sources;
        }
        let any = |is: &dyn Fn(&Cell) -> bool| {
            let lines = tables.iter().flat_map(|table| &table.lines);
            lines.flat_map(|line| line.cells.iter().flatten()).any(is)
        };
        let mut claims: Vec<ClaimLine> = judged.iter().map(ClaimLine::of).collect();
        let paper = Paper::of(&mut claims, &mut sources);
        Self {
            title: options
                .title
                .clone()
                .unwrap_or_else(|| "Results".to_owned()),
            text: options.text.clone(),
            has_strips: any(&|cell| cell.strip.is_some()),
            has_ranks: any(&|cell| cell.rank.is_some()),
            outcome: Outcome::of(judged),
            contents: contents(&parts, &tables, &charts, !judged.is_empty()),
            parts,
            has_repetitions: tables.iter().any(|table| table.has_repetitions)
                || !charts.is_empty() && data.instances.iter().any(|one| one.replicate.is_some()),
            tables,
            charts,
            charts_first: options.charts_first,
            claims,
            paper,
            counts: Counts::of(judged.iter().map(|one| one.verdict)),
            multiplicity: Multiplicity::of(judged),
            departures: departures(&data.instances),
            stand_ins: sources
                .iter()
                .filter(|source| !source.stand_ins.is_empty())
                .count(),
            sources,
            rows: data.frame.height(),
            interval_formula: INTERVAL_FORMULA,
            equivalence_formula: EQUIVALENCE_FORMULA,
        }
    }
}

/// The parts of a page between head and claims.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// Tables in order.
    pub tables: Vec<Table>,
    /// Charts in order.
    pub charts: Vec<Chart>,
    /// Everything in order.
    pub parts: Vec<Part>,
}

/// Every number of the tables.
fn cells_mut(tables: &mut [Table]) -> impl Iterator<Item = &mut Cell> {
    let lines = tables.iter_mut().flat_map(|table| &mut table.lines);
    lines.flat_map(|line| line.cells.iter_mut().flatten())
}

/// Every heading that can be gone to; text has none of ours.
fn contents(parts: &[Part], tables: &[Table], charts: &[Chart], has_claims: bool) -> Vec<Entry> {
    let named = parts.iter().filter_map(|part| match part {
        Part::Text { .. } => None,
        Part::Table { at } => Some((tables[*at].slug.as_str(), tables[*at].title.as_str())),
        Part::Chart { at } => Some((&charts[*at].slug, &charts[*at].title)),
        Part::Samples(samples) => Some((&samples.slug, &samples.title)),
        Part::Confusion(confusion) => Some((&confusion.slug, &confusion.title)),
        Part::Choice(choice) => Some((&choice.slug, &choice.title)),
        Part::Ledger(ledger) => Some((&ledger.slug, &ledger.title)),
        Part::Settings(settings) => Some((&settings.slug, &settings.title)),
        Part::Checklist(checklist) => Some((&checklist.slug, &checklist.title)),
    });
    named
        .chain(has_claims.then_some(("claims", "Stated numbers")))
        .chain([("sources", "Where the numbers come from")])
        .map(|(slug, title)| Entry {
            slug: slug.to_owned(),
            title: title.to_owned(),
        })
        .collect()
}
