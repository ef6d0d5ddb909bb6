//! What fine-tuning costs before it runs. Knows no device and no time.

use engine::arena::Granularity;
use engine::config::ElectraConfig;
use engine::model::architecture::Architecture;
use engine::model::heads::HeadKind;
use engine::{cost, finetune};
use flow::cost::{Cost, Known};

use super::Finetune;
use super::run::{EVALUATED, RECENT};
use crate::kinds::facts::{self, BYTES_A_WEIGHT, BYTES_IN_CHECKPOINT, Rows};
use crate::kinds::training::room::Extent;

/// Classes of a task: more than any set of the paper has.
const USUAL_CLASSES: usize = 32;

impl Finetune {
    /// Every epoch passes over `train` forward and back, and over `dev` forward. The head is not counted: it is a
    /// thousandth of the encoder.
    pub(super) fn expected_cost(&self, known: &Known<'_>) -> Cost {
        let mut assumed = Vec::new();
        let config = self.expected_model(known, &mut assumed);
        let is_model_known = assumed.is_empty();
        let data = known.input("data");
        let asks = facts::asks(data);
        let told = self.max_length.or_else(|| asks.map(usual_length));
        let longest = told.unwrap_or_else(|| usual_length(false));
        let train = facts::split(data, "train", &mut assumed).unwrap_or_default();
        let train = Rows::of(train, longest, &mut assumed);
        // Where nothing is known of the set nothing is assumed of a part that it may not have.
        let dev = match assumed.iter().any(|words| words.contains("`train`")) {
            true => None,
            false => facts::split(data, "dev", &mut assumed),
        };
        let dev = dev.map(|split| Rows::of(split, longest, &mut assumed));
        let epochs = f64::from(self.epochs);
        let flop = |rows: Rows| rows.pieces * cost::encoder(&config, rows.length());
        let all = |pad: fn(&Rows) -> Rows| {
            let dev = dev.as_ref().map_or(0.0, |rows| flop(pad(rows)));
            epochs * (cost::TRAINING * flop(pad(&train)) + dev)
        };
        let parameters = cost::parameters(Architecture::Body, &config);
        let model = BYTES_A_WEIGHT * parameters;
        let (head, outputs) = usual_head(asks.unwrap_or(false));
        let settings = self.settings(&config, (head, outputs), 1);
        let extent = Extent {
            most: self.batch.max(EVALUATED),
            longest,
        };
        // Others may count on what is said here, so nothing is where it would be a guess.
        let is_known = is_model_known && told.is_some();
        let footprint = |tokens| {
            finetune::footprint(&settings, longest, tokens, Granularity::ACCELERATOR)
                .with_precision(self.precision)
        };
        Cost {
            device_bytes: is_known.then(|| extent.bytes_on_gpu(known.micro_batch(), &footprint)),
            flop: Some(all(|rows| *rows)),
            padded_flop: Some(all(Rows::padded)),
            tokens: Some(epochs * (train.pieces + dev.map_or(0.0, |rows| rows.pieces))),
            precision: Some(self.precision.name()),
            bytes: Some(model),
            // Checkpoints on the disk and one that is being written; each may mean a best epoch of its own.
            scratch_bytes: Some(RECENT as u64 * (BYTES_IN_CHECKPOINT * parameters + model)),
            assumed: facts::once(assumed),
            gives: [("model".to_owned(), facts::of_task_model(&config, longest))].into(),
        }
    }

    fn expected_model(&self, known: &Known<'_>, assumed: &mut Vec<String>) -> ElectraConfig {
        match self.size {
            Some(size) => {
                let entries = facts::entries(known.input("vocabulary"), assumed);
                self.sizes.apply(size.config(entries))
            }
            None => facts::model(known.input("start"), assumed),
        }
    }
}

/// Pieces of a row where nobody says.
pub(in crate::kinds) fn usual_length(asks: bool) -> usize {
    match asks {
        true => 384,
        false => 128,
    }
}

/// A head of about the size that a task's will have, before its labels are known.
pub(in crate::kinds) fn usual_head(asks: bool) -> (HeadKind, usize) {
    match asks {
        true => (HeadKind::Span, 2),
        false => (HeadKind::Tokens, USUAL_CLASSES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::config::Size;
    use flow::metric::MetricRow;
    use flow::store::Store;
    use serde_json::json;

    fn kind() -> Finetune {
        let text = r#"{"name": "set", "epochs": 3, "batch": 32, "learning_rate": 5e-5, "seed": 1}"#;
        serde_json::from_str(text).expect("a configuration")
    }

    fn row(split: &str, metric: &str, value: f64) -> MetricRow {
        MetricRow {
            split: Some(split.to_owned()),
            ..MetricRow::new(metric, value)
        }
    }

    #[test]
    fn words_of_the_set_are_counted_where_they_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let model = facts::of_model(&Size::Base.config(31_090));
        let rows = [
            row("train", "examples", 1_000.0),
            row("train", "tokens", 20_000.0),
            row("dev", "examples", 100.0),
            row("dev", "tokens", 2_000.0),
        ];
        let set = facts::of_dataset(&rows, false);
        let mut known = Known::new(&store, None);
        known.add_output("start", None, Some(&model));
        known.add_output("data", None, Some(&set));
        let cost = kind().expected_cost(&known);
        // 20 words of 1.3 pieces and two specials: 28 pieces a row.
        let token = 12.0 * (8.0 * 768.0_f64.powi(2) + 4.0 * 28.0 * 768.0 + 4.0 * 768.0 * 3072.0);
        let expected = 3.0 * 28.0 * token * (3.0 * 1_000.0 + 100.0);
        let flop = cost.flop.expect("counted");
        assert!(
            (flop / expected - 1.0).abs() < 1e-9,
            "{flop:e} {expected:e}"
        );
        assert_eq!(cost.tokens, Some(3.0 * 28.0 * 1_100.0));
        assert!(cost.padded_flop > Some(4.0 * flop), "128 pieces a row");
        assert_eq!(cost.assumed, ["1.3 pieces a word"]);
        assert_eq!(cost.bytes, Some(4 * 109_327_872));
        // 64 rows of 128 pieces: weights, gradients and moments, activations, and what comes beside a plan.
        let gib = |cost: &Cost| cost.device_bytes.expect("counted") as f64 / f64::from(1 << 30);
        assert!((3.0..9.0).contains(&gib(&cost)), "{} GiB", gib(&cost));
        let small = kind().expected_cost(&known.with_micro_batch(Some(4)));
        assert!(gib(&small) + 1.0 < gib(&cost), "{} GiB", gib(&small));
    }

    /// A set and a model that no stage made are looked into, since a GPU is shared by what is said of them.
    #[test]
    fn files_of_the_users_are_looked_into() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store")).expect("a store");
        let config = Size::Small.config(2_000);
        let place = |name: &str, file: &str, value: &serde_json::Value| {
            let place = folder.path().join(name);
            fs_err::create_dir_all(&place).expect("a folder");
            fs_err::write(place.join(file), value.to_string()).expect("written");
            place
        };
        let model = place("model", "config.json", &json!(config));
        let set = folder.path().join("set");
        let bytes = |with_set: bool| {
            let mut known = Known::new(&store, None);
            known.add_path("start", model.clone());
            if with_set {
                known.add_path("data", set.clone());
            }
            kind().expected_cost(&known).device_bytes
        };
        assert_eq!((bytes(true), bytes(false)), (None, None));
        let labels = |task: &str| json!({ "task": task, "labels": [] });
        place("set", "labels.json", &labels("tagging"));
        let tagging = bytes(true).expect("known");
        place("set", "labels.json", &labels("question_answering"));
        let asking = bytes(true).expect("known");
        assert!(asking > tagging, "{asking} {tagging}: rows of 384, not 128");
        assert_eq!(bytes(false), None);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let asks = json!({ "asks": true, "splits": {} });
        let mut known = Known::new(&store, None);
        known.add_output("data", None, Some(&asks));
        let cost = kind().expected_cost(&known);
        assert_eq!(
            cost.assumed,
            [
                "a model of the base size",
                "10000 examples in `train`",
                "rows of 384 pieces"
            ]
        );
        assert_eq!(cost.tokens, Some(3.0 * 384.0 * 10_000.0));
        assert_eq!(cost.device_bytes, None, "the model's size is assumed");
    }
}
