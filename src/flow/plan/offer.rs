//! What a stage could go on from that is about to begin anew because a number grew. Offers only; knows no kind by name.

use serde::Serialize;
use serde_json::Value;

use super::Planner;
use crate::digest::Digest;
use crate::key::{Change, Manifest};
use crate::kind::Extends;
use crate::spec::{Keep, Origin, Policy, StageSpec};
use crate::store::record::Record;

/// A way to a result that does not begin anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// The key of the configuration that grew, such as `steps`.
    pub key: String,
    /// Its value in the last result: where a stage could go on.
    pub from: u64,
    /// Its value now.
    pub to: u64,
    /// Whether it can be gone on from, and if not, why.
    pub state: OfferState,
    /// The lines of a stage that does; empty where it cannot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
    /// What to set for another time.
    #[serde(skip)]
    keep: String,
    #[serde(skip)]
    stage: String,
    #[serde(skip)]
    longer: String,
}

/// What became of the state at the end of the last result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferState {
    /// It is in the cache.
    Kept,
    /// It was an output, and its bytes are gone.
    Gone,
    /// It was not asked for.
    NotKept,
}

impl Offer {
    /// In one sentence.
    #[must_use]
    pub fn words(&self) -> String {
        let Self {
            key, from, stage, ..
        } = self;
        match self.state {
            OfferState::Kept => {
                format!(
                    "`{stage}` need not begin anew: it can go on where its last result ends, at {key} {from}"
                )
            }
            OfferState::Gone => format!(
                "`{stage}` could have gone on at {key} {from}, but the state of its last result is not in the cache any more"
            ),
            OfferState::NotKept => format!(
                "`{stage}` could have gone on at {key} {from} if its last result had been made with `{}: true`",
                self.keep
            ),
        }
    }

    /// What to do with [`Offer::lines`]; `None` where there are none.
    #[must_use]
    pub fn action(&self) -> Option<String> {
        let Self {
            key, from, stage, ..
        } = self;
        (self.state == OfferState::Kept).then(|| {
            format!(
                "leave `{stage}` at `{key}: {from}`, add this stage, and let what reads `{stage}` read `{}`:",
                self.longer
            )
        })
    }
}

impl Planner<'_> {
    /// What a stage that is about to run could go on from: its last result, where that differs by a smaller number only.
    /// `None` where its kind knows no such thing, or anything else differs.
    pub fn offer(&mut self, stage: &StageSpec, key: &Digest, manifest: &Manifest) -> Option<Offer> {
        let entry = self.kinds.iter().find(|entry| entry.name == stage.kind)?;
        let extends = entry.extends?;
        let record = self.last_record(stage, key)?;
        // What was accepted in place of another result stands at a number of its own.
        if record.accepted.is_some() {
            return None;
        }
        let changes = manifest.changes_from(&Manifest(record.manifest.clone()));
        let (from, to) = grown(&changes, &extends)?;
        let state = self.state_of(&record, &extends);
        let longer = format!("{}-{to}", stage.stage);
        let lines = match state {
            OfferState::Kept => {
                let config = (entry.go_on)(&stage.config, from)?;
                self.lines(stage, &extends, &longer, &config)
            }
            OfferState::Gone | OfferState::NotKept => Vec::new(),
        };
        Some(Offer {
            key: extends.key.to_owned(),
            from,
            to,
            state,
            lines,
            keep: extends.keep.to_owned(),
            stage: stage.name.clone(),
            longer,
        })
    }

    fn state_of(&self, record: &Record, extends: &Extends) -> OfferState {
        match record.outputs.get(extends.output) {
            None => OfferState::NotKept,
            Some(content) if self.store.has(content) => OfferState::Kept,
            Some(_) => OfferState::Gone,
        }
    }

    /// The stage that goes on, as it is to be written. One with axes or choices is told by what differs: its values stand in
    /// the file as references.
    fn lines(
        &self,
        stage: &StageSpec,
        extends: &Extends,
        longer: &str,
        config: &Value,
    ) -> Vec<String> {
        let state = format!("{}: {}.{}", extends.port, stage.stage, extends.output);
        let written = (self.workflow.stages.iter()).find(|written| written.name == stage.name);
        let is_plain = written.is_some_and(|it| it.axes.is_empty() && it.choices.is_empty());
        let needs = is_plain.then(|| self.needs(stage, extends)).flatten();
        let (Some(mut needs), Value::Object(config)) = (needs, config) else {
            let value = &config[extends.key];
            return vec![
                format!("  {longer}:   # the rest as in `{}`", stage.stage),
                format!("    needs: {{ {state} }}"),
                format!("    with: {{ {}: {value} }}", extends.key),
            ];
        };
        needs.push(state);
        let has_more = stage.policy != Policy::default();
        let more = match has_more || stage.outputs.iter().any(|it| it.keep != Keep::Always) {
            true => format!(
                "   # what else `{}` has, such as `resources`, as there",
                stage.stage
            ),
            false => String::new(),
        };
        let mut lines = vec![
            format!("  {longer}:{more}"),
            format!("    kind: {}", stage.kind),
            format!("    needs: {{ {} }}", needs.join(", ")),
            "    with:".to_owned(),
        ];
        // JSON is YAML.
        lines.extend((config.iter()).map(|(key, value)| format!("      {key}: {value}")));
        lines
    }

    /// Its inputs as `needs` has them, but for the one that takes the state; `None` where that is not plain.
    fn needs(&self, stage: &StageSpec, extends: &Extends) -> Option<Vec<String>> {
        let inputs = stage.inputs.iter();
        let inputs = inputs.filter(|input| input.port != extends.port);
        inputs
            .map(|input| {
                let port = &input.port;
                let source = match &input.origin {
                    _ if input.place != *port => return None,
                    Origin::Path(path) if path.starts_with('/') => json(path),
                    Origin::Path(path) => json(&format!("./{path}")),
                    Origin::Stage(output) => {
                        let producer = self.stage(output.stage);
                        if !producer.axes.is_empty() {
                            return None;
                        }
                        format!("{}.{}", producer.name, output.output)
                    }
                    Origin::Glob(_) | Origin::Many(_) | Origin::KeyOnly(_) | Origin::Put(_) => {
                        return None;
                    }
                };
                Some(format!("{port}: {source}"))
            })
            .collect()
    }
}

fn json(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// The number before and after, where it grew and nothing changed beside it but what may.
fn grown(changes: &[Change], extends: &Extends) -> Option<(u64, u64)> {
    let mut found = None;
    // Which outputs there are follows from the configuration.
    for change in (changes.iter()).filter(|change| !change.path.starts_with("output.")) {
        let path = change.path.strip_prefix("config.")?;
        let key = path.split('.').next().unwrap_or(path);
        if key == extends.key {
            let number = |value: &Option<String>| value.as_ref()?.parse::<u64>().ok();
            let (old, new) = (number(&change.old)?, number(&change.new)?);
            found = (old < new).then_some((old, new));
            found?;
        } else if !extends.may_change.contains(&key) {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENDS: Extends = Extends {
        key: "steps",
        may_change: &["steps", "rate", "snapshots", "keep"],
        keep: "keep",
        output: "state",
        port: "state",
    };

    fn of(before: &str, after: &str) -> Option<(u64, u64)> {
        let manifest = |text: &str| Manifest(text.replace("; ", "\n"));
        grown(&manifest(after).changes_from(&manifest(before)), &EXTENDS)
    }

    #[test]
    fn only_a_number_that_grew_and_what_may_change_with_it_is_offered() {
        let first = "config.seed = 1; config.steps = 40; input.x = file a";
        let with = |more: &str| of(first, &format!("{more}; input.x = file a"));
        assert_eq!(with("config.seed = 1; config.steps = 80"), Some((40, 80)));
        assert_eq!(with("config.seed = 1; config.steps = 30"), None);
        assert_eq!(with("config.seed = 2; config.steps = 80"), None);
        assert_eq!(with("config.seed = 1; config.steps = \"80\""), None);
        assert_eq!(with("config.seed = 1; config.steps = 40"), None);
        let more =
            "config.keep = true; config.rate = 0.1; config.seed = 1; config.snapshots.0 = 60";
        assert_eq!(with(&format!("{more}; config.steps = 80")), Some((40, 80)));
        let outputs =
            "config.seed = 1; config.steps = 80; input.x = file a; output.snapshot-60 = \"s\"";
        assert_eq!(of(first, outputs), Some((40, 80)));
        // What may change alone is no reason to go on.
        assert_eq!(with(&format!("{more}; config.steps = 40")), None);
        let other = "config.seed = 1; config.steps = 80; input.x = file b";
        assert_eq!(of(first, other), None);
        assert_eq!(of(first, "config.seed = 1; config.steps = 80"), None);
    }
}
