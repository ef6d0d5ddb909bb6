//! Which reports of a bundle show texts that must not be passed on: by the parts of their pages that quote an input, and by
//! what those inputs were made from. Knows nothing of pages and reads no file.

use std::collections::{BTreeMap, BTreeSet};

use flow::content::Content;
use flow::digest::Digest;
use flow::exec::job::same_bytes;
use flow::notes::{Notes, of_output};
use flow::store::record::Record;
use serde_json::Value;

use super::bundle::{Bundle, BundleStage};
use super::export::is_numbers;
use super::lineage::lines;

/// A report that quotes what must not be passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The report's stage.
    pub(crate) report: String,
    /// Stages that brought the texts in, each once, with their terms.
    pub(crate) sources: BTreeMap<String, Vec<String>>,
}

impl Excerpt {
    /// The sources with their terms.
    pub(crate) fn told(&self) -> String {
        let told = self.sources.iter().map(|(name, terms)| match terms.len() {
            0 => format!("`{name}` (terms not stated)"),
            _ => format!("`{name}` ({})", terms.join("; ")),
        });
        told.collect::<Vec<_>>().join(", ")
    }
}

/// The reports of a bundle whose pages quote such texts, in its order.
pub(crate) fn excerpts(bundle: &Bundle, records: &BTreeMap<Digest, Record>) -> Vec<Excerpt> {
    let stages = bundle.stages.iter();
    let by_key: BTreeMap<Digest, &BundleStage> = stages.map(|entry| (entry.key, entry)).collect();
    let trail = Trail { by_key, records };
    let mut excerpts = Vec::new();
    for entry in &bundle.stages {
        let Some(config) = entry.stage.config.as_ref().filter(|_| entry.is_report()) else {
            continue;
        };
        let mut sources = BTreeMap::new();
        for input in &entry.stage.inputs {
            for item in &input.items {
                let Some(key) = item.key.filter(|_| is_restricted(&item.notes)) else {
                    continue;
                };
                if crate::kinds::report::quotes(config, &input.port, &item.axes)
                    && !trail.is_numbers(&key, &item.content)
                {
                    trail.follow(key, item.content, &mut sources);
                }
            }
        }
        if !sources.is_empty() {
            excerpts.push(Excerpt {
                report: entry.stage.name.clone(),
                sources,
            });
        }
    }
    excerpts
}

fn is_restricted(notes: &Notes) -> bool {
    notes.get("redistribute") == Some(&Value::Bool(false))
}

/// The way back from what is read to who brought it in.
struct Trail<'a> {
    by_key: BTreeMap<Digest, &'a BundleStage>,
    records: &'a BTreeMap<Digest, Record>,
}

impl Trail<'_> {
    /// Names of a record's outputs with these bytes.
    fn outputs(&self, key: &Digest, content: &Content) -> Vec<&str> {
        let outputs = self.records.get(key).into_iter().flat_map(|it| &it.outputs);
        outputs
            .filter(|(_, output)| same_bytes(output, content))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Whether what is read holds numbers alone.
    fn is_numbers(&self, key: &Digest, content: &Content) -> bool {
        let kind = self.by_key.get(key).map_or("", |entry| &entry.stage.kind);
        let outputs = self.outputs(key, content);
        outputs.iter().any(|name| is_numbers(kind, name))
    }

    /// Adds every stage upstream whose own terms forbid to pass on what was read of it.
    fn follow(&self, key: Digest, content: Content, sources: &mut BTreeMap<String, Vec<String>>) {
        let mut open = vec![(key, content)];
        let mut seen: BTreeSet<(Digest, Digest)> = BTreeSet::new();
        while let Some((key, content)) = open.pop() {
            let (Some(entry), Some(record)) = (self.by_key.get(&key), self.records.get(&key))
            else {
                continue;
            };
            if !seen.insert((key, content.digest)) {
                continue;
            }
            for name in self.outputs(&key, &content) {
                let own = of_output(&record.notes, name);
                if is_restricted(&own) {
                    let terms = lines(own.get("licence"));
                    sources.insert(entry.stage.stage.clone(), terms);
                }
            }
            let items = entry.stage.inputs.iter().flat_map(|input| &input.items);
            let items = items.filter(|item| is_restricted(&item.notes));
            open.extend(items.filter_map(|item| Some((item.key?, item.content))));
        }
    }
}
