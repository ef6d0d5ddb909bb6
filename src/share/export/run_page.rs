//! `run.html` beside a report of a bundle, from its records: what the links of the report lead to. The page that a run wrote
//! names hosts and a command line, and nobody could hold it against anything; this one follows from what is here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use flow::amounts;
use flow::digest::Digest;
use flow::store::record::Record;

use super::super::bundle::{Bundle, RECORDS};
use super::metadata::uri;
use super::{file_of, folder_of};

/// The name by which reports know it.
pub(crate) const RUN_PAGE: &str = "run.html";
const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #8886}:target{background:#fc06}";

/// The pages of a bundle, by their paths in it: one beside each report.
pub(crate) fn run_pages(
    bundle: &Bundle,
    records: &BTreeMap<Digest, Record>,
) -> BTreeMap<String, Vec<u8>> {
    let reports = bundle.stages.iter().filter(|entry| entry.is_report());
    let mut pages = BTreeMap::new();
    for entry in reports {
        // Its only folder is the report: numbers are a file.
        let Some(output) = entry.stage.outputs.first() else {
            continue;
        };
        let made = records
            .get(&entry.key)
            .and_then(|record| record.outputs.get(&output.name));
        if made.is_some_and(|made| bundle.objects.contains_key(&made.digest)) {
            let name = file_of(&entry.stage.outputs, &output.name);
            let path = format!("{}/{name}/{RUN_PAGE}", folder_of(&entry.stage));
            let up = "../".repeat(path.matches('/').count());
            pages.insert(path, page(bundle, records, &up).into_bytes());
        }
    }
    pages
}

/// One page; `up` leads from it to the bundle.
fn page(bundle: &Bundle, records: &BTreeMap<Digest, Record>, up: &str) -> String {
    let title = escaped(&bundle.pipeline);
    let file = escaped(&bundle.file);
    let mut seen = BTreeSet::new();
    let mut rows = String::new();
    let mut seconds = 0.0;
    for entry in &bundle.stages {
        let Some(record) = records.get(&entry.key) else {
            continue;
        };
        let short = entry.key.short();
        // Stages with one key have one record, and a mark is there once.
        let mark = match seen.insert(entry.key) {
            true => {
                seconds += record.seconds;
                format!(" id=\"key-{short}\"")
            }
            false => String::new(),
        };
        let _ = writeln!(
            rows,
            "<tr{mark}><td>{}</td><td>{}</td><td><a href=\"{up}{RECORDS}/{}.json\"><code>{short}</code></a></td><td>{}</td><td>{}</td></tr>",
            escaped(&entry.stage.name),
            escaped(&entry.stage.kind),
            entry.key,
            escaped(&record.device),
            amounts::duration(record.seconds),
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} · records</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}: the records behind the report</h1>\n\
         <p>The page of the author's run, with its hosts and its command line, was left out of this folder. This page says what the records here say.</p>\n\
         <p><a href=\"index.html\">The report</a> · <a href=\"{up}README.md\">What this folder is</a></p>\n\
         <h2 id=\"text\">The pipeline's text</h2>\n<p><a href=\"{up}{}\"><code>{file}</code></a> is the pipeline as one file.</p>\n\
         <h2 id=\"compute\">Time and devices</h2>\n<p>The {} records were made in {} of work on the author's machines, a stage after the other.</p>\n\
         <table>\n<thead><tr><th>Stage</th><th>Kind</th><th>Record</th><th>Device</th><th>Time</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</main>\n</body>\n</html>\n",
        uri(&bundle.file),
        seen.len(),
        amounts::duration(seconds),
    )
}

/// A text between tags or in an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
