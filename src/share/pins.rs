//! Downloads of a bundle against the digests that their keys hold. Knows nothing of where they came from.

use std::collections::BTreeMap;

use flow::content::{Content, Form};
use flow::diagnostic::Diagnostic;
use flow::store::record::Record;

use super::gap::{Gap, add};
use super::opened::{Opened, fault};
use crate::kinds::fetch::{Pinned, pinned};

/// What came of one digest.
enum Held {
    /// The bytes are those, or the record says so of itself where the digest is its own.
    Holds,
    /// They are others.
    Fails,
    /// The bytes are not here.
    Open,
}

/// Downloads with other bytes than their keys say, and the stages whose downloads cannot be compared.
pub(super) fn look(
    opened: &Opened,
    sha256: &BTreeMap<String, String>,
) -> (Vec<Diagnostic>, Vec<Gap>) {
    let (mut faults, mut open) = (Vec::new(), Vec::new());
    for record in opened.records.values() {
        let mut missing = false;
        for pin in pinned(&record.manifest) {
            let Some(content) = of_record(opened, record, &pin) else {
                missing = true;
                continue;
            };
            for digest in &pin.digests {
                match held(opened, sha256, &content, digest) {
                    Held::Holds => {}
                    Held::Open => missing = true,
                    Held::Fails => faults.push(
                        fault(
                            "share::pin",
                            format!(
                                "the download `{}` of `{}` is not what its key says",
                                pin.name.escape_debug(),
                                record.stage
                            ),
                        )
                        .detail(format!("the key says {}", digest.escape_debug()))
                        .detail(format!("the record says {}", content.line())),
                    ),
                }
            }
        }
        if missing {
            add(
                &mut open,
                ("download", ["is not compared", "are not compared"]),
                "their bytes are not in it as they were downloaded",
                &record.stage,
                "",
            );
        }
    }
    (faults, open)
}

/// What a record says that a download became; `None` where it was unpacked or is listed nowhere.
fn of_record(opened: &Opened, record: &Record, pin: &Pinned) -> Option<Content> {
    if pin.is_unpacked {
        return None;
    }
    let content = record.outputs.get(&pin.output)?;
    match &pin.path {
        None => (content.form != Form::Tree).then_some(*content),
        Some(path) => {
            let tree = opened.tree(&content.digest)?;
            let entry = tree.entries.iter().find(|entry| entry.path == *path)?;
            entry.content
        }
    }
}

fn held(
    opened: &Opened,
    sha256: &BTreeMap<String, String>,
    content: &Content,
    digest: &str,
) -> Held {
    let found = match digest.split_once(':') {
        Some(("blake3", _)) => Some(format!("blake3:{}", content.digest)),
        Some(("sha256", _)) => {
            let place = opened.bundle.objects.get(&content.digest);
            let listed = place.and_then(|place| sha256.get(&place.path));
            listed.map(|hex| format!("sha256:{hex}"))
        }
        _ => None,
    };
    match found {
        None => Held::Open,
        Some(found) if found == digest => Held::Holds,
        Some(_) => Held::Fails,
    }
}
