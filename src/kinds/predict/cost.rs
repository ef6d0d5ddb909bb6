//! What prediction costs before it runs. Knows no device and no time.

use engine::arena::Granularity;
use engine::{cost, finetune};
use flow::cost::{Cost, Known};

use super::{Predict, run};
use crate::kinds::facts::{self, BYTES_A_PIECE, Rows};
use crate::kinds::finetune::cost::{usual_head, usual_length};
use crate::kinds::training::room::Extent;

impl Predict {
    /// Forward over the splits that are predicted, or over all text. The head is not counted.
    pub(super) fn expected_cost(&self, known: &Known<'_>) -> Cost {
        let mut assumed = Vec::new();
        let config = facts::model(known.input("model"), &mut assumed);
        let is_model_known = assumed.is_empty();
        let data = known.input("data");
        let asks = facts::asks(data).unwrap_or(false);
        let told = facts::row_length(known.input("model"));
        let longest = told.unwrap_or_else(|| usual_length(asks));
        let mut rows: Vec<Rows> = Vec::new();
        if known.inputs("text").is_empty() {
            for name in &self.splits {
                let split = facts::split(data, name, &mut assumed);
                rows.extend(split.map(|split| Rows::of(split, longest, &mut assumed)));
            }
        } else if let Some(bytes) = facts::text_bytes(known, "text") {
            assumed.push(format!("{BYTES_A_PIECE} bytes of text a piece"));
            assumed.push(format!("rows of {longest} pieces"));
            let pieces = bytes as f64 / BYTES_A_PIECE;
            let longest = longest as f64;
            let count = (pieces / longest).ceil();
            rows.push(Rows {
                count,
                pieces,
                longest,
            });
        } else {
            // How much text there is decides everything.
            return Cost::default();
        }
        let (head, outputs) = usual_head(asks);
        let settings = run::settings(config.clone(), head, outputs);
        let extent = Extent {
            most: run::EXAMPLES,
            longest,
        };
        let footprint = |tokens| {
            finetune::prediction_footprint(&settings, longest, tokens, Granularity::ACCELERATOR)
                .with_precision(self.precision)
        };
        let flop = |rows: &Rows| rows.pieces * cost::encoder(&config, rows.length());
        Cost {
            flop: Some(rows.iter().map(flop).sum()),
            padded_flop: Some(rows.iter().map(|rows| flop(&rows.padded())).sum()),
            tokens: Some(rows.iter().map(|rows| rows.pieces).sum()),
            precision: Some(self.precision.name()),
            device_bytes: (is_model_known && told.is_some())
                .then(|| extent.bytes_on_gpu(known.micro_batch(), &footprint)),
            assumed: facts::once(assumed),
            ..Cost::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow::store::Store;

    #[test]
    fn text_is_counted_by_its_bytes_and_data_by_its_splits() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let kind: Predict = serde_json::from_str(r#"{"name": "set"}"#).expect("a configuration");
        let mut known = Known::new(&store, None);
        let path = folder.path().join("text.txt");
        known.add_path("text", path.clone());
        assert_eq!(kind.expected_cost(&known), Cost::default());
        fs_err::write(&path, [b'a'; 6_400]).expect("written");
        let cost = kind.expected_cost(&known);
        assert_eq!(cost.tokens, Some(1_280.0));
        assert_eq!(cost.flop, cost.padded_flop);
        let known = Known::new(&store, None);
        let cost = kind.expected_cost(&known);
        assert_eq!(cost.tokens, Some(10_000.0 * 128.0));
        assert!(cost.assumed.iter().any(|words| words.contains("`test`")));
    }
}
