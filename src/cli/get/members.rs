//! The instances that differ from one in the axis of repetition, and every number that is about one of them alone.
//! Knows nothing of cards but their rows.

use std::collections::{BTreeMap, BTreeSet};

use flow::metric::MetricRow;
use flow::plan::Planner;
use flow::spec::{Axis, METRICS, Origin, StageId, StageSpec, Workflow};
use report::card::{Member, Score};

/// Kinds whose outputs are models of their own: what is measured of those is not about this one.
pub(super) const MODELS: [&str; 3] = ["checkpoint", "pretrain", "finetune"];

/// A stage and its repetitions.
pub(super) struct Members {
    /// In the order of the axis; the stage alone where it has no repetitions.
    pub(super) ids: Vec<StageId>,
    /// What measures each of them.
    measuring: Vec<Vec<StageId>>,
}

fn fixed(stage: &StageSpec) -> impl Iterator<Item = &Axis> {
    stage.axes.iter().filter(|axis| !axis.replicate)
}

impl Members {
    /// The members of a stage, and the stages that read the output of one of them alone, through any number of others.
    pub(super) fn of(workflow: &Workflow, id: StageId, output: &str) -> Self {
        let stage = &workflow.stages[id.index()];
        let all = || (0_u32..).map(StageId).zip(&workflow.stages);
        let is_member = |other: &StageSpec| {
            other.stage == stage.stage
                && (other.name == stage.name
                    || other.axes.last().is_some_and(|axis| axis.replicate)
                        && fixed(other).eq(fixed(stage)))
        };
        let ids: Vec<StageId> = all()
            .filter(|(_, other)| is_member(other))
            .map(|(id, _)| id)
            .collect();
        let mut reached: Vec<BTreeSet<StageId>> = ids
            .iter()
            .map(|member| readers(workflow, *member, output))
            .collect();
        // What reads two members is about neither.
        let mut times: BTreeMap<StageId, usize> = BTreeMap::new();
        for id in reached.iter().flatten() {
            *times.entry(*id).or_default() += 1;
        }
        for readers in &mut reached {
            readers.retain(|id| times[id] == 1);
        }
        let measures = |id: &StageId| {
            let kind = &workflow.stages[id.index()].kind;
            ["score", "command"].contains(&kind.as_str())
        };
        let measuring = reached
            .into_iter()
            .map(|readers| readers.into_iter().filter(measures).collect())
            .collect();
        Self { ids, measuring }
    }

    /// Everything that has to be looked at.
    pub(super) fn all(&self) -> Vec<StageId> {
        let measuring = self.measuring.iter().flatten();
        self.ids.iter().chain(measuring).copied().collect()
    }

    /// The members as a card lists them.
    pub(super) fn listed(&self, planner: &Planner<'_>, this: StageId) -> Vec<Member> {
        let member = |id: &StageId| {
            let stage = planner.stage(*id);
            let known = planner.known(*id);
            Member {
                name: match stage.axes.last().filter(|axis| axis.replicate) {
                    Some(axis) => format!("{}={}", axis.name, axis.text),
                    None => "value".to_owned(),
                },
                key: known.map(|known| known.key.to_string()),
                device: known
                    .and_then(|known| planner.store.find_record(&known.key))
                    .map(|record| record.device),
                is_this: *id == this,
            }
        };
        self.ids.iter().map(member).collect()
    }

    /// Numbers over all classes: first those of stages that measure, then those of the training itself. Several
    /// repetitions of a measurement are one number of their member, the mean.
    pub(super) fn scores(&self, planner: &Planner<'_>) -> Vec<Score> {
        let mut found: Vec<(Score, Vec<Vec<f64>>)> = Vec::new();
        for own in [false, true] {
            for (at, (member, measuring)) in self.ids.iter().zip(&self.measuring).enumerate() {
                let stages = if own {
                    std::slice::from_ref(member)
                } else {
                    measuring.as_slice()
                };
                for id in stages {
                    let stage = planner.stage(*id);
                    if stage.kind == "checkpoint" {
                        // How many tensors there are says nothing of how good they are.
                        continue;
                    }
                    let axes = other_axes(stage, planner.stage(*member));
                    for row in rows(planner, *id) {
                        let score = Score {
                            stage: stage.stage.clone(),
                            axes: axes.clone(),
                            dataset: row.dataset,
                            split: row.split,
                            metric: row.metric,
                            values: Vec::new(),
                            items: row.n,
                        };
                        self.add(&mut found, score, at, row.value);
                    }
                }
            }
        }
        let mean =
            |values: &Vec<f64>| report::stats::Summary::of(values).map(|summary| summary.mean);
        let finish = |(mut score, values): (Score, Vec<Vec<f64>>)| {
            score.values = values.iter().map(mean).collect();
            score
        };
        found.into_iter().map(finish).collect()
    }

    fn add(&self, found: &mut Vec<(Score, Vec<Vec<f64>>)>, score: Score, at: usize, value: f64) {
        let items = score.items;
        let same = |(known, _): &&mut (Score, Vec<Vec<f64>>)| {
            let what = |score: &Score| {
                let Score {
                    stage,
                    axes,
                    dataset,
                    split,
                    metric,
                    ..
                } = score.clone();
                (stage, axes, dataset, split, metric)
            };
            what(known) == what(&score)
        };
        if let Some((known, values)) = found.iter_mut().find(same) {
            if known.items != items {
                known.items = None;
            }
            values[at].push(value);
            return;
        }
        let mut values = vec![Vec::new(); self.ids.len()];
        values[at].push(value);
        found.push((score, values));
    }
}

/// Axes of a stage that say more than which member it is about.
fn other_axes(stage: &StageSpec, member: &StageSpec) -> String {
    let axes = fixed(stage).filter(|axis| !member.axes.iter().any(|own| own.name == axis.name));
    let axes = axes.map(|axis| format!("{}={}", axis.name, axis.text));
    axes.collect::<Vec<_>>().join(",")
}

/// The stages that read an output of a stage, or what was made of it, as long as that is no other model.
fn readers(workflow: &Workflow, id: StageId, output: &str) -> BTreeSet<StageId> {
    let mut found = BTreeSet::new();
    for (at, stage) in (0_u32..).map(StageId).zip(&workflow.stages) {
        let reads = |origin: &Origin| match origin {
            Origin::Stage(from) => {
                from.stage == id && from.output == output || found.contains(&from.stage)
            }
            _ => false,
        };
        let is_model = MODELS.contains(&stage.kind.as_str());
        if !is_model && stage.inputs.iter().any(|input| reads(&input.origin)) {
            found.insert(at);
        }
    }
    found
}

/// The numbers of a stage over all classes; none where they are not known or their bytes are gone or damaged.
fn rows(planner: &Planner<'_>, id: StageId) -> Vec<MetricRow> {
    let text = planner.known(id).and_then(|known| {
        let content = known.entry.output(METRICS)?;
        planner.store.verify(content).ok()?;
        fs_err::read_to_string(planner.store.object_path(&content.digest)).ok()
    });
    let text = text.unwrap_or_default();
    let rows = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    rows.filter(|row: &MetricRow| row.class.is_none()).collect()
}
