//! `keep: never` and `keep: until_used`: the bytes that may go when a run is over. Knows nothing of what `cache gc` removes.
//!
//! A run takes away only what is its own to take: bytes that no other result names, that every reader in the pipeline
//! has read, and at a moment when no other run is at work. Whatever stands in the way, the bytes stay, and the next run
//! of the pipeline looks again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Run;
use crate::content::Content;
use crate::digest::Digest;
use crate::plan::{inputs_of, pipeline_id};
use crate::spec::{Keep, StageId};
use crate::store::lock::InUse;
use crate::store::record::Record;
use crate::store::survey::Survey;

/// Outputs whose bytes may go, by the names of their stages and by the keys of their results.
#[derive(Default)]
struct Unkept {
    by_stage: BTreeMap<String, BTreeSet<String>>,
    by_key: BTreeMap<Digest, BTreeSet<String>>,
    objects: BTreeSet<Digest>,
}

impl Unkept {
    /// Whether an output of a record is among them. Earlier results of the same stage are kept no longer than this one.
    fn covers(&self, record: &Record, output: &str, pipeline: &str) -> bool {
        let names = |names: Option<&BTreeSet<String>>| names.is_some_and(|n| n.contains(output));
        names(self.by_key.get(&record.key))
            || (record.pipeline == pipeline && names(self.by_stage.get(&record.stage)))
    }
}

impl Run<'_, '_> {
    /// Removes the bytes of outputs that were asked to be kept only until used, once every reader is done.
    ///
    /// # Errors
    /// When the lock of the cache or its records cannot be read.
    pub(super) fn drop_unkept(&mut self, in_use: &InUse) -> io::Result<()> {
        if self.failed || self.stopping.is_some() {
            return Ok(());
        }
        let unkept = self.unkept();
        let store = self.planner.store;
        let is_there = |digest: &&Digest| store.object_path(digest).exists();
        // A run that did nothing finds nothing, and is over without reading every record.
        if !unkept.objects.iter().any(|digest| is_there(&digest)) || !in_use.try_alone()? {
            return Ok(());
        }
        // The lock may hold on this machine only.
        if store.any_claim()?.is_some() {
            return Ok(());
        }
        let survey = Survey::take_records(store)?;
        // What cannot be read may name any of them.
        if survey.later_records > 0 || !survey.bad_records.is_empty() {
            return Ok(());
        }
        let held = self.held(&unkept, &survey);
        for digest in unkept.objects.difference(&held).filter(is_there) {
            fs_err::remove_file(store.object_path(digest))?;
        }
        Ok(())
    }

    /// The outputs of this pipeline that need not be kept any more.
    fn unkept(&self) -> Unkept {
        let mut unkept = Unkept::default();
        let stages = &self.planner.workflow.stages;
        let is_unkept = |keep| keep != Keep::Always;
        if !(stages.iter().flat_map(|stage| &stage.outputs)).any(|output| is_unkept(output.keep)) {
            return unkept;
        }
        // A reader that this run was not about, or could not decide, has yet to read.
        let mut unread: BTreeSet<(StageId, &str)> = BTreeSet::new();
        for (index, stage) in (0_u32..).zip(stages) {
            if self.planner.known(StageId(index)).is_none() {
                unread.extend(inputs_of(stage).map(|input| (input.stage, input.output.as_str())));
            }
        }
        for (index, stage) in (0_u32..).zip(stages) {
            let id = StageId(index);
            let Some(known) = self.planner.known(id) else {
                continue;
            };
            for output in stage.outputs.iter().filter(|o| is_unkept(o.keep)) {
                let waits =
                    output.keep == Keep::UntilUsed && unread.contains(&(id, output.name.as_str()));
                let Some(content) = known.entry.output(&output.name).filter(|_| !waits) else {
                    continue;
                };
                let name = || output.name.clone();
                let by_stage = unkept.by_stage.entry(stage.name.clone()).or_default();
                by_stage.insert(name());
                unkept.by_key.entry(known.key).or_default().insert(name());
                unkept.objects.extend(self.planner.store.parts(content));
            }
        }
        unkept
    }

    /// What any other result names: other outputs, other stages, and results that another pipeline takes for its own.
    fn held(&mut self, unkept: &Unkept, survey: &Survey) -> BTreeSet<Digest> {
        let pipeline = &self.planner.workflow.name;
        let id = pipeline_id(self.planner.workflow);
        let elsewhere: BTreeSet<Digest> = (self.planner.index.last_keys().into_iter())
            .filter(|((pipeline, _), _)| *pipeline != id)
            .map(|(_, key)| key)
            .collect();
        let mut held: BTreeSet<Content> = BTreeSet::new();
        for stored in survey.records.values() {
            let record = &stored.record;
            held.extend(&record.log);
            held.extend(record.outputs.iter().filter_map(|(name, content)| {
                let may_go = unkept.covers(record, name, pipeline);
                (!may_go || elsewhere.contains(&record.key)).then_some(*content)
            }));
        }
        held.iter()
            .flat_map(|content| self.planner.store.parts(content))
            .collect()
    }
}
