//! Settings that are in effect, beyond those that somebody wrote: for reports. Knows no kind.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The settings of one stage while they are gathered.
#[derive(Debug)]
pub(super) struct InEffect(Map<String, Value>);

impl InEffect {
    /// Those that stand in a configuration.
    pub(super) fn of(config: &Value) -> Self {
        Self(config.as_object().cloned().unwrap_or_default())
    }

    /// A setting, where nobody wrote it.
    pub(super) fn default<T: Serialize>(&mut self, name: &str, value: T) {
        if !self.0.contains_key(name) {
            let value = serde_json::to_value(value).expect("settings serialise");
            self.0.insert(name.to_owned(), value);
        }
    }

    /// A setting in simpler words than those it is written in.
    pub(super) fn set<T: Serialize>(&mut self, name: &str, value: T) {
        self.0.remove(name);
        self.default(name, value);
    }

    /// What follows from settings that are written, as the width from the size.
    pub(super) fn follows<T: Serialize>(&mut self, name: &str, value: T) {
        let value = serde_json::to_value(value).expect("settings serialise");
        self.default(name, json!({ "is": value }));
    }

    /// A setting that follows an input where nobody wrote it: how, in words.
    pub(super) fn inherited(&mut self, name: &str, words: &str) {
        self.default(name, json!({ "as": words }));
    }

    /// What a setting is by now.
    pub(super) fn get(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Adam as the engine has it, and the learning rate after its warm-up.
    pub(super) fn adam(&mut self, betas: (f64, f64), epsilon: f32, clip: Option<f32>) {
        self.default("adam_beta1", betas.0);
        self.default("adam_beta2", betas.1);
        self.default("adam_epsilon", decimal(epsilon));
        self.default("clip", clip.map(decimal));
        self.default("learning_rate_decay", "linear");
    }

    /// All of them.
    pub(super) fn finish(self) -> Value {
        Value::Object(self.0)
    }
}

/// The number that was written, not the one that single precision made of it.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::super::KINDS;
    use super::*;

    fn shown(kind: &str, config: &Value) -> Value {
        let entry = KINDS.iter().find(|entry| entry.name == kind);
        (entry.expect("a kind").in_effect)(config).expect("a configuration")
    }

    #[test]
    fn what_is_left_out_is_shown_as_the_program_has_it() {
        let given =
            json!({"name": "x", "epochs": 2, "batch": 32, "learning_rate": 5e-5, "seed": 1});
        let all = shown("finetune", &given);
        assert_eq!(all["learning_rate"], 5e-5);
        assert_eq!(all["layer_decay"], 0.8, "Table 5 and ELECTRA's own");
        assert_eq!(all["adam_epsilon"], 1e-6);
        assert_eq!(all["clip"], 1.0);
        assert!(all["dropout"]["as"].is_string(), "the model's");
        assert_eq!(all["attention_dropout"], all["dropout"]);
        let mut other = given;
        other["method"] = json!("hf");
        other["dropout"] = json!(0.2);
        let all = shown("finetune", &other);
        assert_eq!(all["layer_decay"], 1.0);
        assert_eq!(all["clip"], Value::Null);
        assert_eq!(all["attention_dropout"], 0.2);

        let given = json!({"name": "x", "size": "base", "steps": 10, "batch": 2, "learning_rate": 2e-4, "warmup_steps": 1, "seed": 1});
        let all = shown("pretrain", &given);
        for (name, value) in [
            ("layers", 12),
            ("hidden", 768),
            ("feed_forward", 3072),
            ("heads", 12),
            ("head_size", 64),
            ("embedding", 768),
        ] {
            assert_eq!(all[name]["is"], value, "{name} of Table 1");
        }
        assert_eq!(all["dropout"], 0.1);
        assert_eq!(
            shown("score", &json!({"name": "x", "metric": "span_f1"}))["metric"],
            "span_f1"
        );
    }
}
