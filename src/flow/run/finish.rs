//! The end of a run: its summary, its log, its reports, and the bytes nobody asked to keep.

use std::collections::BTreeSet;

use super::{Run, RunSummary, StageSummary, State};
use crate::event::{End, Event};
use crate::spec::StageId;

impl Run<'_, '_> {
    pub(super) fn finish(mut self) -> std::io::Result<RunSummary> {
        self.pool.close();
        self.place_reports();
        self.drop_unkept();
        let mut keys = Vec::new();
        for id in &self.selected {
            let stage = self.planner.stage(*id);
            let history = &self.histories[id.index()];
            let State::Over(end) = &self.states[id.index()] else {
                continue;
            };
            let counts = &mut self.summary.counts;
            match end {
                End::Executed => counts.executed += 1,
                End::Cached | End::Shared => counts.cached += 1,
                End::Failed | End::Held => counts.failed += 1,
                End::Skipped | End::Stopped => counts.skipped += 1,
            }
            let known = self.planner.known(*id);
            if let Some(known) = known {
                keys.push((stage.name.clone(), known.key));
            }
            self.summary.stages.push(StageSummary {
                stage: stage.name.clone(),
                end: *end,
                seconds: match (end, known) {
                    (End::Cached, Some(known)) => known.entry.seconds,
                    _ => history.seconds,
                },
                key: history.key.or(known.map(|known| known.key)),
                because: history.because.clone(),
                device: known
                    .map(|known| known.entry.device.clone())
                    .unwrap_or_default(),
                started_after_seconds: history.started_after,
            });
        }
        self.summary.wall_seconds = self.started.elapsed().as_secs_f64();
        let event = Event::RunFinished {
            counts: self.summary.counts,
            wall_seconds: self.summary.wall_seconds,
            reports: self.summary.reports.clone(),
            interrupted: self.summary.interrupted.clone(),
        };
        self.emit(&event);
        if self.log.finish(&keys)? {
            for id in self.selected.clone() {
                if let Some(key) = self.planner.known(id).map(|known| known.key) {
                    self.planner.note_key(self.planner.stage(id), key);
                }
            }
        }
        self.planner.flush()?;
        if self.planner.index.wants_rewrite() {
            self.planner.index.rewrite(self.planner.store)?;
        }
        // The program ends here: giving back the memory of 10,000 stages bit by bit is the longest part of a no-op's end.
        std::mem::forget(self.planner);
        Ok(self.summary)
    }

    /// Removes the bytes of outputs that were asked to be kept only until used, once every reader is done.
    fn drop_unkept(&mut self) {
        use crate::spec::Keep;
        if self.failed || self.stopping.is_some() {
            return;
        }
        let stages = &self.planner.workflow.stages;
        if stages.iter().all(|stage| {
            stage
                .outputs
                .iter()
                .all(|output| output.keep == Keep::Always)
        }) {
            return;
        }
        let (mut keep, mut drop_) = (BTreeSet::new(), BTreeSet::new());
        for (index, stage) in stages.iter().enumerate() {
            let id = StageId(u32::try_from(index).expect("stages are numbered in 32 bits"));
            let Some(known) = self.planner.known(id) else {
                continue;
            };
            for (name, content) in &known.entry.outputs {
                let policy = stage
                    .outputs
                    .iter()
                    .find(|output| output.name == *name)
                    .map(|output| output.keep);
                let parts = self.planner.store.parts(content);
                if policy.unwrap_or_default() == Keep::Always {
                    keep.extend(parts);
                } else {
                    drop_.extend(parts);
                }
            }
        }
        for digest in drop_.difference(&keep) {
            let _ = fs_err::remove_file(self.planner.store.object_path(digest));
        }
    }
}
