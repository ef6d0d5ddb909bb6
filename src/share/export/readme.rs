//! The page of a bundle for people: what it is, three checks and their time, what is missing. Knows nothing of files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flow::amounts;
use flow::digest::Digest;
use flow::store::record::Record;
use report::card::Source;

use super::super::bundle::{Bundle, BundleStage, LeftOut, Why, authors};
use super::super::excerpts::excerpts;
use super::folder_of;
use crate::kinds::KINDS;

/// Bytes that are hashed in a second, with two digests, on a slow machine.
const BYTES_A_SECOND: f64 = 150e6;
/// Seconds that carrying out a stage again takes at least.
const SECONDS_A_STAGE: f64 = 0.1;
/// Stages that the third check carries out again.
const RERUN: usize = 3;
/// Lines of what is left out.
const MOST_LEFT_OUT: usize = 60;

/// What the pages of a bundle are made from.
pub(super) struct Facts<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) records: &'a BTreeMap<Digest, Record>,
    pub(super) doc: Option<&'a str>,
    pub(super) lineage: &'a [Source],
}

/// The page.
pub(super) fn text(facts: &Facts<'_>, bytes: u64) -> String {
    let bundle = facts.bundle;
    let mut text = format!("# {}\n\n", bundle.title());
    if let Some(doc) = facts.doc {
        let _ = writeln!(text, "{doc}\n");
    }
    let people: Vec<String> = authors(&bundle.about)
        .into_iter()
        .map(|author| match author.orcid {
            Some(orcid) => format!("{} (https://orcid.org/{orcid})", author.name),
            None => author.name,
        })
        .collect();
    if !people.is_empty() {
        let _ = writeln!(text, "By {}.\n", people.join(", "));
    }
    let _ = writeln!(
        text,
        "Results of the pipeline `{}`: {} stages, each with its record, written by {}.",
        bundle.pipeline,
        bundle.stages.len(),
        bundle.program
    );
    if bundle.anonymous {
        text.push_str("People and machines were left out, and the folder was searched for them.\n");
    }
    text.push('\n');
    reports(&mut text, facts);
    checks(&mut text, facts, bytes);
    content(&mut text, bundle);
    if let Some(words) = bundle.settings.mirrored() {
        let _ = writeln!(text, "Of note: {words}.\n");
    }
    terms(&mut text, facts);
    quoted(&mut text, facts);
    left_out(&mut text, &bundle.left_out);
    text
}

fn reports(text: &mut String, facts: &Facts<'_>) {
    let is_report = |kind: &str| {
        KINDS
            .iter()
            .any(|known| known.name == kind && known.is_report)
    };
    let stages = facts
        .bundle
        .stages
        .iter()
        .filter(|entry| is_report(&entry.stage.kind));
    let lines: Vec<String> = stages
        .flat_map(|entry| {
            let folder = folder_of(&entry.stage);
            let outputs = entry.stage.outputs.iter().take(1);
            outputs
                .map(move |output| format!("{folder}/{}/index.html", output.path))
                .collect::<Vec<_>>()
        })
        .collect();
    if lines.is_empty() {
        return;
    }
    text.push_str("Open in a browser, no network is needed:\n\n");
    for line in lines {
        let _ = writeln!(text, "- [`{line}`]({})", line.replace(' ', "%20"));
    }
    text.push('\n');
}

fn checks(text: &mut String, facts: &Facts<'_>, bytes: u64) {
    let judged = |kind: &str| {
        kind == "score"
            || KINDS
                .iter()
                .any(|known| known.name == kind && known.is_report)
    };
    let seconds = |entry: &BundleStage| facts.records[&entry.key].seconds.max(SECONDS_A_STAGE);
    let stages = &facts.bundle.stages;
    let hashing = 1.0 + bytes as f64 / BYTES_A_SECOND;
    let ladder: f64 = stages
        .iter()
        .filter(|entry| judged(&entry.stage.kind))
        .map(seconds)
        .sum::<f64>()
        + 2.0 * hashing;
    let rerun = stages.iter().filter(|entry| entry.is_for_rerun());
    let mut all: Vec<f64> = rerun.map(seconds).collect();
    all.sort_by(f64::total_cmp);
    let mean = all.iter().sum::<f64>() / all.len().max(1) as f64;
    let longest: f64 = all.iter().rev().take(RERUN).sum();
    let about = |seconds: f64| amounts::duration(seconds.ceil());
    let _ = write!(
        text,
        "## Three checks\n\n\
         In this folder. Times are estimates from the author's machine.\n\n\
         1. The bytes are those that were packed, about {}, without this program:\n\n\
         \x20  ```sh\n   sha256sum --quiet -c SHA256SUMS\n   ```\n\n\
         2. Keys, inputs and outputs agree; the tables follow from the numbers, and the scores from predictions and labels, about {}:\n\n\
         \x20  ```sh\n   pipeline verify .\n   ```\n\n\
         3. Stages come out the same here, about {} for {RERUN} of them, at most {}:\n\n\
         \x20  ```sh\n   pipeline verify . --rerun {RERUN}\n   ```\n\n\
         \x20  A stage whose inputs are not here needs them from a cache of yours, with `--cache DIR`.\n\n\
         Each line of the output says what it does not prove. To go on from these results, copy `pipeline/` to a place of your own and take the records over, with which a run executes nothing:\n\n\
         ```sh\n\
         cp -r pipeline ../mine\n\
         pipeline import . --cache ../mine/cache\n\
         pipeline run ../mine/{}.yaml{}\n\
         ```\n\n",
        about(hashing),
        about(ladder),
        about(ladder + mean * RERUN as f64),
        about(ladder + longest),
        facts.bundle.pipeline,
        facts.bundle.settings.words("../mine/"),
    );
}

/// Texts as they were written name people, so an anonymous bundle has none of them.
fn content(text: &mut String, bundle: &Bundle) {
    let settings = &bundle.settings;
    let is_resolved = !settings.profiles.is_empty() || !settings.set.is_empty();
    let rows = [
        (
            true,
            "`reports/`, `results/`",
            "outputs of stages, by stage and axes; `metrics.jsonl` are numbers",
        ),
        (
            true,
            "`records/`",
            "what each key produced, where and when; the manifest in it is what the key is the digest of",
        ),
        (
            true,
            "`pipeline/`",
            "the pipeline as one file, as it was written, its lock, and files of the author's that stages read",
        ),
        (
            is_resolved,
            "`resolved.yaml`",
            "the same with the profiles and settings of this run, to be read",
        ),
        (
            !bundle.anonymous,
            "`original/`",
            "the texts as they were written",
        ),
        (
            true,
            "`bundle.json`, `trees/`",
            "the stages for `pipeline verify`, and listings of outputs that are folders",
        ),
        (
            true,
            "`ro-crate-metadata.json`",
            "all of it for programs, as an RO-Crate",
        ),
        (true, "`B3SUMS`, `SHA256SUMS`", "digests of every file"),
    ];
    text.push_str("## What is here\n\n| place | holds |\n| --- | --- |\n");
    for (_, place, what) in rows.iter().filter(|(is_here, ..)| *is_here) {
        let _ = writeln!(text, "| {place} | {what} |");
    }
    text.push('\n');
}

fn terms(text: &mut String, facts: &Facts<'_>) {
    text.push_str("## Terms\n\n");
    match facts.bundle.about["licence"].as_str() {
        Some(licence) => {
            let _ = writeln!(text, "The author's own work: {licence}.");
        }
        None => text.push_str("The author states no terms for what is their own.\n"),
    }
    if let Some(citation) = facts.bundle.about["citation"].as_str() {
        let _ = writeln!(
            text,
            "\nTo cite:\n\n```\n{}\n```",
            citation.trim().replace("```", "'''")
        );
    }
    if facts.lineage.is_empty() {
        text.push('\n');
        return;
    }
    text.push_str("\n| source | terms |\n| --- | --- |\n");
    for source in facts.lineage {
        let mut terms = match source.licences.as_slice() {
            [] => "not stated".to_owned(),
            licences => licences.join("; "),
        };
        if source.is_restricted {
            terms.push_str("; must not be passed on");
        }
        for stand_in in &source.stand_ins {
            terms.push_str(&format!("; stand-in: {stand_in}"));
        }
        let _ = writeln!(text, "| {} | {} |", cell(&source.name), cell(&terms));
    }
    text.push('\n');
}

/// What of the folder must not be handed on as it is, though it lies here.
fn quoted(text: &mut String, facts: &Facts<'_>) {
    for excerpt in excerpts(facts.bundle, facts.records) {
        let _ = writeln!(
            text,
            "The page of `{}` shows texts of {}, which must not be passed on: hand its `index.html` and `report.md` on only with leave.\n",
            excerpt.report,
            excerpt.told()
        );
    }
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn left_out(text: &mut String, all: &[LeftOut]) {
    if all.is_empty() {
        return;
    }
    text.push_str("## What is not here\n\nRecords hold the digests of all of it. A run makes again what it needs.\n\n| what | why | size |\n| --- | --- | --- |\n");
    // What somebody may look for in vain comes first.
    let mut sorted: Vec<&LeftOut> = all.iter().collect();
    sorted.sort_by_key(|one| one.why != Why::Restricted);
    for one in sorted.iter().take(MOST_LEFT_OUT) {
        let output = match one.output.as_str() {
            "" => String::new(),
            output => format!(".{output}"),
        };
        let count = match one.count {
            1 => String::new(),
            count => format!(" ({count} instances)"),
        };
        let terms = match one.terms.as_slice() {
            [] => String::new(),
            terms => format!(": {}", terms.join("; ")),
        };
        let _ = writeln!(
            text,
            "| `{}{output}`{count} | {}{} | {} |",
            cell(&one.what),
            one.why.words(),
            cell(&terms),
            amounts::bytes(one.bytes)
        );
    }
    if all.len() > MOST_LEFT_OUT {
        let _ = writeln!(
            text,
            "\nAnd {} more, in `bundle.json`.",
            all.len() - MOST_LEFT_OUT
        );
    }
}
