//! The end of a run: its summary, its log, its reports. Decides nothing.

use super::{Run, RunSummary, StageSummary, State};
use crate::event::{End, Event};
use crate::store::lock::InUse;

impl Run<'_, '_> {
    pub(super) fn finish(mut self, in_use: &InUse) -> std::io::Result<RunSummary> {
        self.pool.close();
        self.place_reports();
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
        // What cannot go now can the next time: no reason for a run to fail at its very end.
        let _ = self.drop_unkept(in_use);
        if self.planner.index.wants_rewrite() {
            self.planner.index.rewrite(self.planner.store)?;
        }
        // The program ends here: giving back the memory of 10,000 stages bit by bit is the longest part of a no-op's end.
        std::mem::forget(self.planner);
        Ok(self.summary)
    }
}
