//! The pipeline file of a bundle held against its records, and README, RO-Crate and the pages beside reports against both. What the author says of
//! the bundle, such as who wrote it, switches no comparison off: it decides only whether a difference is a fault.

use std::collections::{BTreeMap, BTreeSet};

use flow::diagnostic::{Diagnostic, Failure};
use flow::digest::Use;
use serde_json::Value;

use super::bundle::{Bundle, CRATE, README, RESOLVED};
use super::opened::{Opened, fault, refuse};
use super::{agreement, export};

/// What came of it where nothing is refused.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What nobody compares, a line each.
    pub(super) unproven: Vec<String>,
    /// What is otherwise than this program has it, and may be so honestly, a line each.
    pub(super) doubts: Vec<String>,
}

/// Compares them.
///
/// # Errors
/// What is otherwise and cannot be so honestly.
pub(super) fn look(
    opened: &Opened,
    found: &BTreeMap<String, u64>,
    sha256: &BTreeMap<String, String>,
) -> Result<Looked, Failure> {
    let bundle = &opened.bundle;
    let mut looked = Looked::default();
    if found.keys().any(|path| path.starts_with("original/")) {
        let line = "not compared: `original/`, the texts as the author says they were";
        looked.unproven.push(line.to_owned());
    }
    if found.contains_key(RESOLVED) {
        let line = format!("not compared: `{RESOLVED}`, which is there to be read");
        looked.unproven.push(line);
    }
    let judge = Judge {
        bundle,
        is_foreign: bundle.program != export::PROGRAM,
    };
    let mut faults = Vec::new();
    let workflow = match agreement::pipeline(&opened.root, bundle) {
        Ok(workflow) => Some(workflow),
        Err(failure) => {
            let first = failure.failure.diagnostics.first();
            let why = first.map_or("", |first| first.message.as_str());
            let why: String = why.escape_debug().take(500).collect();
            let message = format!("`{}` is no pipeline that stands alone", bundle.file);
            let all = bundle.stages.iter().map(|entry| &entry.stage.name);
            if all.eq(&bundle.unlike) {
                // What export says of a file that nobody can read alone.
                looked.doubts.push(format!("{message}, as its author says"));
            } else {
                judge.differs(message, Some(why), &mut faults, &mut looked);
            }
            None
        }
    };
    let mut lineage = None;
    if let Some(workflow) = &workflow {
        let is: BTreeSet<String> = agreement::unlike(workflow, bundle, &opened.records)
            .into_iter()
            .collect();
        let stated: BTreeSet<String> = bundle.unlike.iter().cloned().collect();
        for name in is.difference(&stated) {
            let message = format!("`{}` has another `{name}` than the records", bundle.file);
            judge.differs(message, None, &mut faults, &mut looked);
        }
        for name in stated.difference(&is) {
            let message = format!(
                "`bundle.json` says that `{}` has another `{name}` than the records, and it has the same",
                bundle.file
            );
            judge.differs(message, None, &mut faults, &mut looked);
        }
        let mut known = is.intersection(&stated);
        if let Some(first) = known.next() {
            let more = match known.count() {
                0 => String::new(),
                more => format!(" and {more} more stages"),
            };
            looked.doubts.push(format!(
                "not compared: `{first}`{more} of `{}` with the records, since its author says that as one file the pipeline has them otherwise",
                bundle.file
            ));
        }
        if is.is_empty() && stated.is_empty() {
            let sources = agreement::sources(workflow, bundle, &opened.records)
                .map_err(|error| super::workshop::trouble(&error))?;
            lineage = Some(sources);
        }
    }
    refuse(std::mem::take(&mut faults))?;
    let lineage = lineage.unwrap_or_else(|| agreement::sources_of_records(bundle, &opened.records));
    let doc = workflow
        .as_ref()
        .and_then(|workflow| workflow.doc.as_deref());
    for (path, expected) in export::pages(bundle, &opened.records, doc, &lineage, found, sha256) {
        if opened.files.get(&path) != Some(&Use::File.digest(&expected)) {
            let message = format!("`{path}` is not what follows from the records");
            judge.differs(message, None, &mut faults, &mut looked);
        }
    }
    faults.extend(misstated(opened, found, sha256));
    refuse(faults)?;
    Ok(looked)
}

/// Who decides what a difference is.
struct Judge<'a> {
    bundle: &'a Bundle,
    /// Whether another version says that it wrote the bundle: what it writes may be otherwise.
    is_foreign: bool,
}

impl Judge<'_> {
    fn differs(
        &self,
        message: String,
        detail: Option<String>,
        faults: &mut Vec<Diagnostic>,
        looked: &mut Looked,
    ) {
        if self.is_foreign {
            looked.doubts.push(format!(
                "{message}; it says that {} wrote it, and this is {}",
                self.bundle.program,
                export::PROGRAM
            ));
            return;
        }
        let pages = [README, CRATE].map(|page| format!("`{page}`"));
        let is_page = pages.iter().any(|page| message.starts_with(page))
            || message.contains(&format!("/{}` is not what", export::RUN_PAGE));
        let code = if is_page {
            "share::pages"
        } else {
            "share::pipeline"
        };
        let mut diagnostic = fault(code, message);
        diagnostic.details.extend(detail);
        faults.push(diagnostic);
    }
}

/// Files that the RO-Crate gives other sizes or digests than they have: whoever wrote it, those are no matter of taste.
fn misstated(
    opened: &Opened,
    found: &BTreeMap<String, u64>,
    sha256: &BTreeMap<String, String>,
) -> Vec<Diagnostic> {
    let no_crate = || vec![fault("share::pages", format!("`{CRATE}` is no RO-Crate"))];
    let Ok(bytes) = fs_err::read(opened.root.join(CRATE)) else {
        return no_crate();
    };
    let Ok(document) = serde_json::from_slice::<Value>(&bytes) else {
        return no_crate();
    };
    let Some(graph) = document["@graph"].as_array() else {
        return no_crate();
    };
    let paths: BTreeMap<String, &String> =
        found.keys().map(|path| (export::uri(path), path)).collect();
    let mut faults = Vec::new();
    for entity in graph {
        let Some(path) = entity["@id"].as_str().and_then(|id| paths.get(id)) else {
            continue;
        };
        let size = found[*path].to_string();
        let has_size = entity["contentSize"]
            .as_str()
            .is_none_or(|text| text == size);
        let digest = sha256.get(*path).map(String::as_str);
        let has_digest = entity["sha256"]
            .as_str()
            .is_none_or(|hex| Some(hex) == digest);
        if !(has_size && has_digest) {
            let message = format!("`{CRATE}` gives `{path}` another size or digest than it has");
            faults.push(fault("share::pages", message));
        }
    }
    faults
}
