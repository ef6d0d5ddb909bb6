//! Records and objects of a bundle into a cache. What is there already stays; nothing of a bundle is run. Knows nothing of
//! how it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use flow::amounts;
use flow::clock;
use flow::content::{Content, Form};
use flow::diagnostic::{Class, Diagnostic, Failure};
use flow::digest::Digest;
use flow::exec::job::entry_of;
use flow::store::index::append_record;
use flow::store::record::{Imported, Record};
use flow::store::{Store, StoreError};

use super::opened::Opened;

/// Bytes that are left free on a disk that is written to.
pub(super) const SPARE_BYTES: u64 = 64 << 20;

/// What an import will do.
#[derive(Debug)]
pub(crate) struct Intent<'a> {
    opened: &'a Opened,
    /// Records that are new here.
    fresh: Vec<&'a Record>,
    /// Records that are here with the same outputs.
    pub(crate) known: usize,
    /// Records that are here with other outputs: the one of the bundle and the one here.
    conflicts: Vec<(&'a Record, Record)>,
    /// Objects that are not here, with their places.
    objects: BTreeMap<Digest, Content>,
    /// Bytes of those.
    pub(crate) bytes: u64,
}

/// What an import did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Records that are hits from now on.
    pub(crate) records: usize,
    /// Objects that were copied.
    pub(crate) objects: usize,
    /// A message for each record that was not taken.
    pub(crate) conflicts: Vec<Diagnostic>,
}

impl<'a> Intent<'a> {
    /// Looks at what is there and at what would come. Writes nothing.
    ///
    /// # Errors
    /// Where the disk has no room for it.
    pub(crate) fn new(opened: &'a Opened, store: &Store) -> Result<Self, Failure> {
        let mut intent = Self {
            opened,
            fresh: Vec::new(),
            known: 0,
            conflicts: Vec::new(),
            objects: BTreeMap::new(),
            bytes: 0,
        };
        for record in opened.records.values() {
            match store.find_record(&record.key) {
                None => intent.fresh.push(record),
                Some(here) if is_same(&here, record) => intent.known += 1,
                Some(here) => intent.conflicts.push((record, here)),
            }
        }
        let refused: BTreeSet<Digest> = intent
            .conflicts
            .iter()
            .map(|(record, _)| record.key)
            .collect();
        for record in opened
            .records
            .values()
            .filter(|record| !refused.contains(&record.key))
        {
            for content in record.outputs.values().chain(&record.log) {
                intent.want(content, store);
            }
        }
        intent.bytes = intent.objects.values().map(|content| content.bytes).sum();
        let free = free_bytes(store.dir());
        if intent.bytes.saturating_add(SPARE_BYTES) > free {
            let message = format!(
                "the bundle brings {}, and the disk of the cache has {} free",
                amounts::bytes(intent.bytes),
                amounts::bytes(free)
            );
            let diagnostic = Diagnostic::error("share::no_room", message)
                .help("free some space, or name a cache elsewhere with `--cache`");
            return Err(Failure::one(Class::Environment, diagnostic));
        }
        Ok(intent)
    }

    fn want(&mut self, content: &Content, store: &Store) {
        let Some(place) = self.opened.bundle.objects.get(&content.digest) else {
            return;
        };
        if content.form == Form::Tree {
            let parts = self.opened.tree(&content.digest).unwrap_or_default();
            for part in parts.entries.iter().filter_map(|entry| entry.content) {
                self.want(&part, store);
            }
        }
        let file = Content {
            form: content.form,
            digest: content.digest,
            bytes: place.bytes,
        };
        if !store.object_path(&content.digest).exists() {
            self.objects.insert(content.digest, file);
        }
    }

    /// How many records are new.
    pub(crate) fn records(&self) -> usize {
        self.fresh.len()
    }

    /// How many objects would be copied.
    pub(crate) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// Copies objects, then writes records.
    ///
    /// # Errors
    /// Where the disk refuses, or a file of the bundle changed meanwhile. Records that were written stay.
    pub(crate) fn carry_out(self, store: &Store) -> Result<Outcome, Failure> {
        let trouble = |error: std::io::Error| {
            let diagnostic = Diagnostic::error("share::import", "the cache cannot be written")
                .detail(error.to_string())
                .help("check that it may be written, and that the disk has space; what was taken over stays");
            Failure::one(Class::Environment, diagnostic)
        };
        for (digest, content) in &self.objects {
            if content.form == Form::Tree {
                let tree = self
                    .opened
                    .tree(digest)
                    .ok_or_else(|| changed(self.opened, digest))?;
                store.put_tree(&tree).map_err(trouble)?;
                continue;
            }
            let path = self
                .opened
                .object(digest)
                .ok_or_else(|| changed(self.opened, digest))?;
            store.adopt(&path, content).map_err(|error| match error {
                StoreError::Io(error) => trouble(error),
                StoreError::Corrupt { .. } | StoreError::Missing { .. } => {
                    changed(self.opened, digest)
                }
            })?;
        }
        let files = self
            .objects
            .values()
            .filter(|content| content.form != Form::Tree);
        store.sync_large(files).map_err(trouble)?;
        let imported = Imported {
            bundle: self.opened.id,
            title: self.opened.bundle.title(),
            by: self.opened.bundle.authors(),
            date: clock::rfc3339(clock::now_ns()),
        };
        if !self.fresh.is_empty() {
            store.mark_imports().map_err(trouble)?;
        }
        for record in &self.fresh {
            let mut record = (*record).clone();
            record.imported = Some(imported.clone());
            let written = store
                .write_record(&record)
                .and_then(|()| append_record(store.dir(), &record.key, &entry_of(&record)));
            written.map_err(trouble)?;
        }
        let mut conflicts = Vec::new();
        for (theirs, here) in &self.conflicts {
            let aside = store.dir().join("quarantine").join(format!(
                "imported-{}-{}.json",
                theirs.key.short(),
                self.opened.id.short()
            ));
            let text = serde_json::to_vec(theirs).expect("records serialise");
            store.write_whole(&aside, &text).map_err(trouble)?;
            conflicts.push(conflict(theirs, here, &aside));
        }
        Ok(Outcome {
            records: self.fresh.len(),
            objects: self.objects.len(),
            conflicts,
        })
    }
}

fn is_same(here: &Record, theirs: &Record) -> bool {
    let digests = |record: &Record| -> Vec<(String, Digest)> {
        let outputs = record.outputs.iter();
        outputs
            .map(|(name, content)| (name.clone(), content.digest))
            .collect()
    };
    digests(here) == digests(theirs)
}

fn conflict(theirs: &Record, here: &Record, aside: &Path) -> Diagnostic {
    let mut diagnostic = Diagnostic::warning(
        "share::conflict",
        format!(
            "`{}` has a result here already, and the bundle has another for the same key",
            theirs.stage
        ),
    );
    for (name, content) in &theirs.outputs {
        let ours = here.outputs.get(name).map(|content| content.digest);
        if ours != Some(content.digest) {
            let ours = ours.map_or_else(|| "nothing".to_owned(), |digest| digest.short());
            diagnostic = diagnostic.detail(format!(
                "`{name}` is {ours} here, {} in the bundle",
                content.digest.short()
            ));
        }
    }
    diagnostic
        .detail(format!(
            "the record of the bundle is kept aside: {}",
            aside.display()
        ))
        .help("`pipeline verify DIR --rerun STAGE` says which of both comes out on this machine")
}

fn changed(opened: &Opened, digest: &Digest) -> Failure {
    let path = opened
        .bundle
        .objects
        .get(digest)
        .map_or("", |place| &place.path);
    let diagnostic = Diagnostic::error(
        "share::changed",
        format!("`{path}` changed while it was copied"),
    )
    .help("let nobody write to the bundle, and import again");
    Failure::one(Class::Environment, diagnostic)
}

/// Bytes that the disk of a folder has left.
pub(super) fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}
