//! The ladder: what holds of a bundle, rung by rung, and what that does not prove. Writes nothing outside a temporary
//! folder; knows nothing of how it is printed.

use std::path::PathBuf;
use std::time::Instant;

use flow::amounts;
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::key::Manifest;
use flow::kind::KindEntry;
use flow::restate::Restated;
use flow::spec::METRICS;
use flow::store::record::Record;
use serde::Serialize;

use super::bundle::BundleStage;
use super::compare::{Likeness, compare, compare_tables};
use super::gap::{self, Gap};
use super::opened::{Opened, open};
use super::workshop::{Again, Reads, Reason, Workshop};
use crate::kinds::KINDS;

/// What is to be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The bundle.
    pub(crate) dir: PathBuf,
    /// How many stages are chosen at random and carried out again.
    pub(crate) random: usize,
    /// Stages that are carried out again, by name or by the name of all their instances.
    pub(crate) named: Vec<String>,
    /// What decides the choice, with the bundle's digest.
    pub(crate) seed: u64,
    /// How far numbers may differ, relative.
    pub(crate) tolerance: f64,
    /// A cache of the reader's, for inputs that the bundle does not hold.
    pub(crate) cache: Option<PathBuf>,
    /// The most bytes a bundle may have.
    pub(crate) limit_bytes: u64,
}

/// How a rung came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// All of it holds.
    Holds,
    /// Something does not.
    Fails,
    /// There was nothing that could be judged here, or not all of it.
    Partly,
    /// Not tried.
    Unjudged,
}

/// One rung.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rung {
    /// From 1.
    pub(crate) level: u8,
    /// What is looked at.
    pub(crate) what: &'static str,
    /// How it came out.
    pub(crate) verdict: Verdict,
    /// Wall seconds.
    pub(crate) seconds: f64,
    /// What was found, a line each.
    pub(crate) found: Vec<String>,
    /// What could not be looked at or is not there, by reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps: Vec<Gap>,
    /// What it does not prove.
    pub(crate) unproven: &'static str,
}

/// What holds of stages that were not carried out.
const UNJUDGED: [&str; 2] = ["cannot be judged here"; 2];

const DIGESTS: &str = "digests, and keys, inputs and outputs that agree";
const TABLES: &str = "tables of the report from the numbers";
const SCORES: &str = "scores from predictions and labels, and what follows from them";
const RERUN: &str = "stages carried out again";

/// Climbs the ladder. The first rung also as a failure, with its messages.
///
/// # Errors
/// What is no bundle, and the environment's faults.
pub(crate) fn verify(request: &Request) -> Result<(Vec<Rung>, Vec<Diagnostic>), Failure> {
    let started = Instant::now();
    let opened = match open(&request.dir, request.limit_bytes) {
        Ok(opened) => opened,
        Err(failure) if failure.class == Class::Stage => {
            let first = Rung {
                level: 1,
                what: DIGESTS,
                verdict: Verdict::Fails,
                seconds: started.elapsed().as_secs_f64(),
                found: Vec::new(),
                gaps: Vec::new(),
                unproven: "anything: the other rungs stand on this one",
            };
            let rungs = [(2, TABLES), (3, SCORES)]
                .map(|(level, what)| unjudged(level, what, "the first rung does not hold"));
            return Ok(([vec![first], rungs.into()].concat(), failure.diagnostics));
        }
        Err(failure) => return Err(failure),
    };
    let named = named(&opened, request)?;
    let mut rungs = vec![first(&opened, started)];
    let mut workshop = Workshop::new(&opened, request.cache.clone())?;
    let of = |is_meant: fn(&KindEntry) -> bool| -> Vec<&BundleStage> {
        let stages = opened.bundle.stages.iter();
        stages
            .filter(|entry| entry.known_kind().is_some_and(is_meant))
            .collect()
    };
    let reports = of(|kind| kind.is_report);
    // What a kind that nobody knows here made may be a score as well as anything else: it is not passed over.
    let mut derived = of(|kind| kind.derives);
    let strange = opened.bundle.stages.iter();
    derived.extend(strange.filter(|entry| entry.known_kind().is_none()));
    rungs.push(judge(
        &mut workshop,
        (2, TABLES),
        &reports,
        "that the numbers themselves are right",
        None,
    )?);
    let mut rung = judge(
        &mut workshop,
        (3, SCORES),
        &derived,
        "that the predictions came from the models, or the labels from the data sets",
        None,
    )?;
    rung.gaps.extend(other_numbers(&opened));
    rungs.push(rung);
    if request.random > 0 || !request.named.is_empty() {
        rungs.push(rerun(&opened, &mut workshop, named, request)?);
    }
    Ok((rungs, Vec::new()))
}

/// The last rung: stages that were named, and so many others of those that no rung makes again unasked.
fn rerun<'a>(
    opened: &'a Opened,
    workshop: &mut Workshop<'_>,
    mut chosen: Vec<&'a BundleStage>,
    request: &Request,
) -> Result<Rung, Failure> {
    let (can, cannot) = choose(opened, workshop, &chosen, request);
    let count = can.len();
    chosen.extend(can);
    let unproven =
        "anything of stages that were not carried out again, or of where their inputs came from";
    let mut rung = judge(workshop, (4, RERUN), &chosen, unproven, Some(request))?;
    if chosen.is_empty() {
        rung.found = vec!["no stage was carried out again".to_owned()];
    }
    if count < request.random && !cannot.is_empty() {
        rung.found.push(format!(
            "{} of the {} asked for: the inputs of the others that the rungs before do not make again are not here; ask for a bundle that was exported with `--objects`, or name a cache that holds them with `--cache DIR`",
            match count {
                0 => "none".to_owned(),
                count => count.to_string(),
            },
            stages(request.random)
        ));
        if rung.verdict == Verdict::Holds {
            rung.verdict = Verdict::Partly;
        }
        rung.gaps.extend(cannot);
    }
    Ok(rung)
}

/// `1 stage gives`, `2 stages give`.
fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", stages(count), if count == 1 { one } else { many })
}

fn stages(count: usize) -> String {
    match count {
        1 => "1 stage".to_owned(),
        count => format!("{count} stages"),
    }
}

fn unjudged(level: u8, what: &'static str, why: &str) -> Rung {
    Rung {
        level,
        what,
        verdict: Verdict::Unjudged,
        seconds: 0.0,
        found: vec![why.to_owned()],
        gaps: Vec::new(),
        unproven: "anything",
    }
}

fn first(opened: &Opened, started: Instant) -> Rung {
    let mut found = vec![format!(
        "{} files with {}, {} records of {}; bundle {}",
        opened.files.len(),
        amounts::bytes(opened.bytes),
        opened.records.len(),
        stages(opened.bundle.stages.len()),
        opened.id.short()
    )];
    found.extend(opened.doubts.iter().chain(&opened.unproven).cloned());
    let mut gaps = Vec::new();
    for out in &opened.bundle.left_out {
        let (what, name) = match out.output.as_str() {
            "" => ("author's file", out.what.clone()),
            output => ("output", format!("{}.{output}", out.what)),
        };
        let holds = ["is not in it", "are not in it"];
        let detail = match out.count {
            0 | 1 => amounts::bytes(out.bytes),
            count => format!("{count} instances, {}", amounts::bytes(out.bytes)),
        };
        gap::add(&mut gaps, (what, holds), out.why.words(), &name, detail);
    }
    gaps.extend(opened.gaps.iter().cloned());
    Rung {
        level: 1,
        what: DIGESTS,
        verdict: match opened.doubts.is_empty() {
            true => Verdict::Holds,
            false => Verdict::Partly,
        },
        seconds: started.elapsed().as_secs_f64(),
        found,
        gaps,
        unproven: "who made it, or that anything of it was ever run",
    }
}

/// Stages that gave numbers and that no rung makes again unasked, by kind.
fn other_numbers(opened: &Opened) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for entry in &opened.bundle.stages {
        let is_judged = entry
            .known_kind()
            .is_none_or(|kind| kind.derives || kind.is_report);
        let numbers = opened.records[&entry.key].outputs.get(METRICS);
        if is_judged || numbers.is_none_or(|numbers| numbers.bytes == 0) {
            continue;
        }
        let why = match entry.stage.kind.as_str() {
            "command" => "numbers of a program of the author's".to_owned(),
            kind => format!("numbers of the kind `{kind}`"),
        };
        let holds = [
            "is judged by `--rerun` alone",
            "are judged by `--rerun` alone",
        ];
        gap::add(&mut gaps, ("stage", holds), why, &entry.stage.name, "");
    }
    gaps
}

/// Carries stages out again and holds what comes against the bundle. With a request numbers may differ a little.
fn judge(
    workshop: &mut Workshop<'_>,
    (level, what): (u8, &'static str),
    chosen: &[&BundleStage],
    unproven: &'static str,
    request: Option<&Request>,
) -> Result<Rung, Failure> {
    let started = Instant::now();
    if chosen.is_empty() {
        return Ok(unjudged(level, what, "the bundle has no such stage"));
    }
    let (mut same, mut part, mut failed, mut open) = (0, 0, 0, 0);
    // What the rungs before make in any case and comes out once more proves nothing more.
    let mut repeated = Vec::new();
    let mut found = Vec::new();
    let mut gaps = Vec::new();
    for entry in chosen {
        let record = workshop.record(entry);
        let manifest = Manifest(record.manifest.clone());
        let config = entry.stage.config.as_ref();
        let score = |port: &str, path: &str| {
            config.is_none_or(|config| crate::kinds::score::reads(config, port, path))
        };
        let everything = |_: &str, _: &str| true;
        let reads: Reads<'_> = match entry.stage.kind.as_str() {
            "score" => &score,
            _ => &everything,
        };
        let name = &entry.stage.name;
        let tolerance = request.map(|request| request.tolerance);
        match workshop.again(&entry.stage, &manifest, reads)? {
            Again::Cannot(Reason { why, detail }) => {
                open += 1;
                match tables_alone(workshop, &entry.stage, &record, &manifest)? {
                    None => gap::add(&mut gaps, ("stage", UNJUDGED), why, name, detail),
                    Some(Ok(line)) => {
                        part += 1;
                        found.push(format!("`{name}`: {line}"));
                    }
                    Some(Err(lines)) => {
                        failed += 1;
                        found.push(format!(
                            "`{name}` comes out otherwise: {}",
                            lines.join("; ")
                        ));
                    }
                }
            }
            Again::Failed(diagnostic) => {
                failed += 1;
                found.push(format!("`{name}` failed: {}", diagnostic.message));
            }
            Again::Made(made) => match (compare(workshop, &record, &made, tolerance), request) {
                (Likeness::BitExact | Likeness::MetricStable(_), Some(_))
                    if entry
                        .known_kind()
                        .is_some_and(|kind| kind.is_report || kind.derives) =>
                {
                    repeated.push(format!("`{name}`"));
                }
                (Likeness::BitExact, None) => same += 1,
                (Likeness::BitExact, Some(_)) => {
                    same += 1;
                    found.push(format!("`{name}`: bit-exact"));
                }
                (Likeness::MetricStable(largest), request) => {
                    same += 1;
                    let allowed = request.map_or(0.0, |request| request.tolerance);
                    found.push(format!(
                        "`{name}`: metric-stable, numbers differ by at most {largest:.2e} (allowed {allowed:.0e})"
                    ));
                }
                (Likeness::Unstable(lines), request) => {
                    failed += 1;
                    let word = if request.is_some() {
                        ": unstable"
                    } else {
                        " comes out otherwise"
                    };
                    found.push(format!("`{name}`{word}: {}", lines.join("; ")));
                    if record.program != super::export::PROGRAM {
                        found.push(format!(
                            "  it was made by {}, and this is {}",
                            record.program,
                            super::export::PROGRAM
                        ));
                    }
                }
            },
        }
    }
    if request.is_none() && same > 0 {
        let line = match same == chosen.len() {
            true => format!("{} out with the same bytes", counted(same, "comes", "come")),
            false => format!(
                "{same} of {} come out with the same bytes",
                stages(chosen.len())
            ),
        };
        found.insert(0, line);
    }
    if !repeated.is_empty() {
        found.push(format!(
            "not counted, since the rungs before make the same again: {}",
            repeated.join(", ")
        ));
    }
    if let Some(request) = request.filter(|request| request.random > 0) {
        found.insert(
            0,
            format!("chosen with seed {} from the bundle's digest", request.seed),
        );
    }
    Ok(Rung {
        level,
        what,
        verdict: match (failed, open, same + part) {
            (1.., ..) => Verdict::Fails,
            (0, _, 0) => Verdict::Unjudged,
            (0, 0, _) => Verdict::Holds,
            _ => Verdict::Partly,
        },
        seconds: started.elapsed().as_secs_f64(),
        found,
        gaps,
        unproven,
    })
}

/// Of a report whose page reads what is not here: its tables, made without those parts. `None` where that cannot be done.
fn tables_alone(
    workshop: &mut Workshop<'_>,
    stage: &Restated,
    record: &Record,
    manifest: &Manifest,
) -> Result<Option<Result<String, Vec<String>>>, Failure> {
    let missing = workshop.missing(stage);
    let is_report = KINDS
        .iter()
        .any(|kind| kind.name == stage.kind && kind.is_report);
    let Some((config, unread)) = (stage.config.as_ref())
        .filter(|_| is_report)
        .and_then(|config| crate::kinds::report::without(config, &missing))
    else {
        return Ok(None);
    };
    let mut part = stage.clone();
    part.config = Some(config);
    part.inputs.retain(|input| !unread.contains(&input.port));
    Ok(match workshop.again(&part, manifest, &|_, _| true)? {
        Again::Cannot(_) => None,
        Again::Failed(diagnostic) => Some(Err(vec![diagnostic.message])),
        Again::Made(made) => Some(compare_tables(workshop, record, &made).map(|files| {
            let missing: Vec<String> = missing.iter().map(|port| format!("`{port}`")).collect();
            format!(
                "its numbers and tables come out with the same bytes ({files} files); what its page shows of {} cannot be judged here",
                missing.join(", ")
            )
        })),
    })
}

/// The stages that were named.
fn named<'a>(opened: &'a Opened, request: &Request) -> Result<Vec<&'a BundleStage>, Failure> {
    let all = &opened.bundle.stages;
    let mut chosen: Vec<&BundleStage> = Vec::new();
    for name in &request.named {
        let before = chosen.len();
        let meant = all
            .iter()
            .filter(|entry| flow::select::means_name(name, &entry.stage.name));
        let meant: Vec<&BundleStage> = meant
            .filter(|entry| {
                !chosen
                    .iter()
                    .any(|known| known.stage.name == entry.stage.name)
            })
            .collect();
        chosen.extend(meant);
        if chosen.len() == before {
            let names = all.iter().map(|entry| entry.stage.stage.as_str());
            let diagnostic = Diagnostic::error(
                "share::no_stage",
                format!("the bundle has no stage `{name}`"),
            )
            .help(flow::spec::suggest::help(name, names, "it has no stages"));
            return Err(Failure::one(Class::Input, diagnostic));
        }
    }
    Ok(chosen)
}

/// So many stages as are asked for, of those that no rung before makes again and whose inputs are here; and those whose
/// inputs are not. What fetches is not chosen, only named.
fn choose<'a>(
    opened: &'a Opened,
    workshop: &Workshop<'_>,
    named: &[&BundleStage],
    request: &Request,
) -> (Vec<&'a BundleStage>, Vec<Gap>) {
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for entry in opened.bundle.stages.iter().filter(|_| request.random > 0) {
        let stage = &entry.stage;
        let is_named = named.iter().any(|known| known.stage.name == stage.name);
        if is_named || !entry.is_for_rerun() || stage.config.is_none() {
            continue;
        }
        let missing = workshop.missing(stage);
        if missing.is_empty() {
            can.push(entry);
            continue;
        }
        let ports = missing.iter().map(|port| format!("`{port}`"));
        let detail = format!("its input {}", ports.collect::<Vec<_>>().join(", "));
        let why = "an input is neither in the bundle nor in a cache here";
        let holds = ["could not be chosen"; 2];
        gap::add(&mut cannot, ("stage", holds), why, &stage.name, detail);
    }
    // The order of digests of seed, bundle and key is as good as dice, and the same everywhere.
    can.sort_by_cached_key(|entry| {
        let text = format!("{} {} {}", request.seed, opened.id, entry.key);
        flow::digest::Use::File.digest(text.as_bytes())
    });
    can.truncate(request.random);
    (can, cannot)
}
