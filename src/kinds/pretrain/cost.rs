//! What a pre-training costs before it runs. Spec H.1. Knows no device and no time.

use serde_json::{Value, json};

use engine::config::ElectraConfig;
use engine::cost;
use engine::mask::Masking;
use engine::model::architecture::Architecture;
use flow::cost::{Cost, Given, Known};

use super::{Pretrain, snapshot_name, state};
use crate::kinds::facts::{self, BYTES_A_WEIGHT, BYTES_IN_CHECKPOINT};
use crate::kinds::training::keeper::KEPT;

/// Positions of examples that nobody has packed or described. Table 1.
const USUAL_LENGTH: f64 = 512.0;

/// The examples of a phase: how long they can be, and how long they are.
struct Fill {
    longest: f64,
    mean: Option<f64>,
}

impl Fill {
    fn of(examples: Option<&Given<'_>>, assumed: &mut Vec<String>) -> Self {
        let facts = examples.map_or(&Value::Null, Given::facts);
        let longest = facts["length"].as_f64().unwrap_or_else(|| {
            assumed.push(format!("examples of {USUAL_LENGTH} positions"));
            USUAL_LENGTH
        });
        let mean = facts["mean"].as_f64();
        if mean.is_none() {
            assumed.push("no padding in the examples, which are not packed yet".to_owned());
        }
        Self { longest, mean }
    }
}

impl Pretrain {
    pub(super) fn expected_cost(&self, known: &Known<'_>) -> Cost {
        let mut assumed = Vec::new();
        let entries = facts::entries(known.input("vocabulary"), &mut assumed);
        let discriminator = self.config(entries);
        let generator = self.generator(&discriminator);
        let begun = known
            .input(state::STATE)
            .and_then(|given| given.facts()["steps"].as_u64());
        let begun = begun.unwrap_or(0).min(self.steps);
        let second_steps = self.second.as_ref().map_or(0, |second| second.steps);
        let second_batch = self.second.as_ref().and_then(|second| second.batch);
        let (mut flop, mut padded, mut tokens) = (0.0, 0.0, 0.0);
        for (i, port) in self.phase_ports().iter().enumerate() {
            let (first, end, batch) = match i {
                0 => (0, self.steps - second_steps, self.batch),
                _ => (
                    self.steps - second_steps,
                    self.steps,
                    second_batch.unwrap_or(self.batch),
                ),
            };
            let examples = (end - begun.clamp(first, end)) as f64 * batch as f64;
            let fill = Fill::of(known.input(port), &mut assumed);
            let masking = self.masking(fill.longest as usize, Vec::new());
            let networks = (&discriminator, &generator);
            let most = masking.most as f64;
            let all = example_flop(networks, fill.longest, most);
            padded += examples * all;
            let mean = fill.mean.unwrap_or(fill.longest);
            tokens += examples * mean;
            flop += examples
                * match fill.mean {
                    Some(mean) => example_flop(networks, mean, predicted(&masking, mean)),
                    None => all,
                };
        }
        let bytes = |architecture, config: &ElectraConfig| {
            BYTES_A_WEIGHT * cost::parameters(architecture, config)
        };
        let model = bytes(Architecture::PreTraining, &discriminator);
        let checkpoint =
            BYTES_IN_CHECKPOINT * cost::pretraining_parameters(&discriminator, &generator);
        let kept = if self.keep_state { checkpoint } else { 0 };
        let snapshots = self.snapshots.len() as u64 * model;
        let facts = facts::of_model(&discriminator);
        let mut gives: Vec<(String, Value)> = vec![
            ("model".to_owned(), facts.clone()),
            ("generator".to_owned(), facts::of_model(&generator)),
            (state::STATE.to_owned(), json!({ "steps": self.steps })),
        ];
        let snapshot = |step: &u64| (snapshot_name(*step), facts.clone());
        gives.extend(self.snapshots.iter().map(snapshot));
        Cost {
            // It takes as many tokens at once as a GPU has memory for.
            device_bytes: None,
            flop: Some(flop),
            padded_flop: Some(padded),
            tokens: Some(tokens),
            precision: Some(self.precision.name()),
            bytes: Some(model + bytes(Architecture::MaskedLm, &generator) + snapshots + kept),
            // Those that are kept, and one that is being written.
            scratch_bytes: Some((KEPT as u64 + 1) * checkpoint + snapshots),
            assumed: facts::once(assumed),
            gives: gives.into_iter().collect(),
        }
    }
}

/// Predictions of an example of `length` tokens, which need not be whole: a mean.
fn predicted(masking: &Masking, length: f64) -> f64 {
    (masking.share * length).clamp(1.0, masking.most as f64)
}

/// Operations of an update for one example of `length` tokens of which `predicted` are predicted. Spec H.1.
fn example_flop(networks: (&ElectraConfig, &ElectraConfig), length: f64, predicted: f64) -> f64 {
    let (discriminator, generator) = networks;
    let token = cost::discriminator(discriminator, length)
        + cost::generator(generator, length, predicted / length);
    cost::TRAINING * token * length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Pretrain {
        serde_json::from_str(text).expect("a configuration")
    }

    const BASE: &str = r#"{"name": "base", "size": "base", "steps": 1000000, "batch": 256,
        "learning_rate": 2e-4, "warmup_steps": 10000, "seed": 1"#;

    fn cost_of(text: &str, packed: &[(&str, Value)], steps: Option<u64>) -> Cost {
        let folder = tempfile::tempdir().expect("a folder");
        let store = flow::store::Store::open(folder.path()).expect("a store");
        let mut known = Known::new(&store, None);
        let entries = facts::of_vocabulary(Some(31_090));
        known.add_output("vocabulary", None, Some(&entries));
        let state = json!({ "steps": steps });
        if steps.is_some() {
            known.add_output("state", None, Some(&state));
        }
        for (port, facts) in packed {
            known.add_output(port, None, Some(facts));
        }
        kind(text).expected_cost(&known)
    }

    fn is_about(found: Option<f64>, expected: f64) {
        let found = found.expect("counted");
        assert!(
            (found / expected - 1.0).abs() < 1e-3,
            "{found:e}, not {expected:e}"
        );
    }

    #[test]
    fn the_papers_training_costs_what_the_specification_says() {
        let cost = cost_of(
            &format!("{BASE}}}"),
            &[("examples", json!({"length": 512}))],
            None,
        );
        is_about(cost.flop, 8.765e19);
        is_about(cost.padded_flop, 8.765e19);
        is_about(cost.tokens, 1.311e11);
        assert_eq!(
            cost.assumed,
            ["no padding in the examples, which are not packed yet"]
        );
        // Spec C.4: the discriminator with its head, the generator on its own; three checkpoints of 12 bytes each.
        let (discriminator, generator) = (109_327_872 + 591_361, 34_177_394);
        assert_eq!(cost.bytes, Some(4 * (discriminator + generator)));
        assert_eq!(cost.scratch_bytes, Some(3 * 12 * 119_823_219));
    }

    #[test]
    fn only_real_tokens_are_computed_where_the_fill_is_known() {
        // Spec H.2: about 2.7e19 at 165 real tokens of 512.
        let facts = json!({"length": 512, "mean": 165.0});
        let cost = cost_of(&format!("{BASE}}}"), &[("examples", facts)], None);
        let flop = cost.flop.expect("counted");
        assert!((2.5e19..2.8e19).contains(&flop), "{flop:e}");
        is_about(cost.padded_flop, 8.765e19);
        is_about(cost.tokens, 256e6 * 165.0);
        assert!(cost.assumed.is_empty(), "{:?}", cost.assumed);
    }

    #[test]
    fn phases_states_and_snapshots_are_counted() {
        let text = format!(
            r#"{BASE}, "second": {{"steps": 100000, "batch": 128}}, "snapshots": [5, 10], "keep_state": true}}"#
        );
        let packed = [
            ("examples", json!({"length": 128, "mean": 128.0})),
            ("second", json!({"length": 512, "mean": 512.0})),
        ];
        let cost = cost_of(&text, &packed, None);
        let (short, long) = (611.3e6 * 256.0 * 128.0, 8.765e13 / 2.0);
        is_about(cost.padded_flop, 900e3 * short + 100e3 * long);
        let model = 4 * (109_327_872 + 591_361);
        assert_eq!(
            cost.bytes,
            Some(3 * model + 4 * 34_177_394 + 12 * 119_823_219)
        );
        assert!(cost.gives.contains_key("snapshot-10"));
        // What is left of it.
        let rest = cost_of(&text, &packed, Some(950_000));
        is_about(rest.padded_flop, 50e3 * long);
        assert_eq!(cost.gives["state"]["steps"], 1_000_000);
    }
}
