//! What the stages of a plan will cost, asked of their kinds in order, so that each knows what the ones before say of
//! their outputs. Knows no kind by name and no device.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Planner;
use crate::cost::{Cost, Known};
use crate::graph;
use crate::spec::{Origin, OutputRef, StageId, StageSpec};

/// Costs by stage, those of kinds that can say.
type Costs = BTreeMap<StageId, Cost>;

impl Planner<'_> {
    /// Whether a kind can say what its stages cost.
    pub(super) fn knows_costs(&self, kind: &str) -> bool {
        self.kinds
            .iter()
            .any(|entry| entry.name == kind && entry.cost.is_some())
    }

    /// What stages cost, cached ones too, since others read what is known of them. `selected` is in order.
    #[must_use]
    pub fn costs(&self, selected: &[StageId]) -> BTreeMap<StageId, Cost> {
        let mut costs = Costs::new();
        for id in selected {
            let stage = self.stage(*id);
            if !self.knows_costs(&stage.kind) {
                continue;
            }
            // Until a choice is known a stage has no configuration of its own.
            let cost = match stage.variants.as_slice() {
                [] => self.cost(*id, stage, &costs),
                variants => {
                    let all = variants.iter();
                    let all = all.filter_map(|variant| self.cost(*id, &variant.stage, &costs));
                    let all: Vec<Cost> = all.collect();
                    let device_bytes = all.iter().map(|cost| cost.device_bytes).max();
                    all.into_iter()
                        .max_by(|a, b| a.flop.unwrap_or(0.0).total_cmp(&b.flop.unwrap_or(0.0)))
                        .map(|mut dearest| {
                            let words = format!("the dearest of {} choices", variants.len());
                            dearest.assumed.push(words);
                            dearest.device_bytes = device_bytes.flatten();
                            dearest
                        })
                }
            };
            costs.extend(cost.map(|cost| (*id, cost)));
        }
        costs
    }

    /// Bytes of a GPU's memory that a stage will take, by what is known of it and of what it reads; `None` where its kind
    /// does not say, or says that it fills one.
    #[must_use]
    pub fn device_bytes(&self, id: StageId) -> Option<u64> {
        let read = graph::upstream(self.workflow, &[id]);
        self.costs(&read).remove(&id)?.device_bytes
    }

    fn cost(&self, id: StageId, stage: &StageSpec, costs: &Costs) -> Option<Cost> {
        let entry = self.kinds.iter().find(|entry| entry.name == stage.kind)?;
        let result = self.known(id).map(|known| &known.entry);
        let resources = &stage.policy.resources;
        let mut known = Known::new(self.store, result).with_micro_batch(resources.micro_batch);
        for input in &stage.inputs {
            match &input.origin {
                Origin::Path(path) => known.add_path(&input.port, self.workflow.root.join(path)),
                Origin::Stage(output) => self.add(&mut known, &input.port, output, costs),
                Origin::Many(outputs) => {
                    for output in outputs {
                        self.add(&mut known, &input.port, output, costs);
                    }
                }
                // Files that no one kind knows by themselves.
                Origin::Glob(_) | Origin::KeyOnly(_) | Origin::Put(_) => {}
            }
        }
        (entry.cost?)(&stage.config, &known)
    }

    fn add<'k>(
        &'k self,
        known: &mut Known<'k>,
        port: &'k str,
        output: &OutputRef,
        costs: &'k Costs,
    ) {
        let maker = self.known(output.stage);
        let content = maker.and_then(|maker| maker.entry.output(&output.output));
        let facts: Option<&Value> = costs
            .get(&output.stage)
            .and_then(|cost| cost.gives.get(&output.output));
        known.add_output(port, content.copied(), facts);
    }
}
