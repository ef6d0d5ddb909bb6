//! The keys of a pipeline file and of a stage, and the checks that need no cell. Knows nothing of values' meaning.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::decode::{from_node, to_json};
use super::node::{Entry, Node, Value};
use super::suggest;
use super::{check_name, name_help};
use crate::diagnostic::Diagnostic;
use crate::kind::KindEntry;

/// The keys of a pipeline file.
pub(crate) const TOP_KEYS: [&str; 7] = [
    "extends", "doc", "about", "params", "profiles", "stages", "expect",
];

/// The keys of a stage, with what each is for.
pub(crate) const STAGE_KEYS: [(&str, &str); 18] = [
    (
        "kind",
        "What the stage does; see `pipeline schema` for the kinds.",
    ),
    (
        "use",
        "A recipe file, relative to the root: kind, documentation and defaults for any key.",
    ),
    ("doc", "One line, shown in the report."),
    (
        "when",
        "The stage is there only where parameters have these values: `{ encoder: pretrain }`.",
    ),
    (
        "needs",
        "Inputs: port to source. A source is `stage`, `stage.output`, a path with a `/` (`*`, `?`, `[` match), or a map.",
    ),
    ("with", "The configuration of the kind; decides the result."),
    (
        "outputs",
        "Name to path inside the stage's folder (command), or `keep` of a built-in kind's outputs.",
    ),
    (
        "matrix",
        "Axes: one instance for each combination of values. Also `zip`, `include`, `exclude`, `from`.",
    ),
    (
        "replicate",
        "The axis of repetition, such as `{ seed: [1, 2, 3] }`; always the last one.",
    ),
    (
        "resources",
        "Speed and place only: cores, memory, gpu, time, device, micro_batch, processes.",
    ),
    ("retries", "Tries after the first."),
    (
        "env",
        "Environment variables; they enter the key unless `secret: true`.",
    ),
    (
        "environment",
        "Files in the key and commands whose output is recorded.",
    ),
    ("checkpoint", "A folder that survives kill and retry."),
    (
        "numbers",
        "Metric files the program leaves: JSON, JSON lines or CSV.",
    ),
    (
        "publish",
        "A folder, relative to the root, where the outputs are linked or copied.",
    ),
    ("protect", "Stop a run before this result is remade."),
    ("sandbox", "`strict` denies files that were not declared."),
];

/// What people write who come from other tools, and what it is called here.
const FOREIGN_KEYS: [(&str, &str); 20] = [
    ("cmd", "`with: { argv: [...] }`"),
    ("command", "`kind: command` and `with: { argv: [...] }`"),
    ("run", "`with: { script: ... }`"),
    ("shell", "`with: { script: ... }`"),
    ("script", "`with: { script: ... }`"),
    ("argv", "`with: { argv: [...] }`"),
    ("deps", "`needs:`"),
    ("depends_on", "`needs:`"),
    ("dependencies", "`needs:`"),
    ("inputs", "`needs:`"),
    ("input", "`needs:`"),
    ("outs", "`outputs:`"),
    ("output", "`outputs:`"),
    ("params", "`with:`"),
    ("parameters", "`with:`"),
    ("config", "`with:`"),
    ("foreach", "`matrix:`"),
    ("metrics", "`numbers:`"),
    ("threads", "`resources: { cores: ... }`"),
    ("type", "`kind:`"),
];

/// A stage of the file.
pub(crate) struct Template<'a> {
    pub(crate) entry: &'a Entry,
    pub(crate) kind: &'a KindEntry,
}

/// The text under a key.
pub(crate) fn text(entry: &Entry, what: &str, problems: &mut Vec<Diagnostic>) -> Option<String> {
    from_node(&entry.value, &format!("`{}` of {what}", entry.key))
        .map_err(|found| problems.extend(found))
        .ok()
}

/// Checks the top of the document.
pub(crate) fn check_top(document: &Node, problems: &mut Vec<Diagnostic>) {
    if !matches!(document.value, Value::Map(_)) {
        problems.push(
            Diagnostic::error(
                "spec::wrong_type",
                format!("the pipeline is {}, not a map", document.type_name()),
            )
            .at(document.span, "")
            .help("begin with `stages:`; `pipeline init` writes a commented example"),
        );
        return;
    }
    for entry in document.entries() {
        let map = matches!(entry.value.value, Value::Map(_) | Value::Null);
        match entry.key.as_str() {
            key if !TOP_KEYS.contains(&key) => {
                let help = if STAGE_KEYS.iter().any(|(known, _)| *known == key) {
                    format!("`{key}` belongs inside a stage, under `stages:`")
                } else {
                    suggest::help(key, TOP_KEYS, "remove it")
                };
                problems.push(
                    Diagnostic::error(
                        "spec::unknown_key",
                        format!("unknown key `{key}` in the pipeline"),
                    )
                    .at(entry.key_span, "not a key of a pipeline")
                    .help(help),
                );
            }
            key @ ("params" | "profiles" | "stages") if !map => problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!("`{key}` is {}, not a map", entry.value.type_name()),
                )
                .at(entry.value.span, "")
                .help(format!("write `{key}: {{ name: … }}`")),
            ),
            _ => {}
        }
    }
    let empty = document
        .find("stages")
        .is_none_or(|stages| stages.value.value == Value::Null);
    if empty {
        problems.push(
            Diagnostic::error("spec::no_stages", "the pipeline has no stages")
                .at(document.span, "")
                .help("add them under `stages:`; `pipeline init` writes a commented example"),
        );
    }
}

/// The form of a claim; it is only checked here, and who judges claims reads them from JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "of most only whether it decodes is of interest")]
struct Claim {
    metric: String,
    #[serde(default, rename = "where")]
    filter: BTreeMap<String, serde_json::Value>,
    value: f64,
    tolerance: Option<f64>,
    n: Option<u64>,
    sd: Option<f64>,
    source: Option<String>,
    note: Option<String>,
}

/// `expect:` as JSON, every claim of it sound in form.
pub(crate) fn claims_json(
    claims: Value,
    document: &Node,
    problems: &mut Vec<Diagnostic>,
) -> serde_json::Value {
    let items = match claims {
        Value::Sequence(items) => items,
        Value::Null => Vec::new(),
        // By groups, which files that extend each other add to.
        Value::Map(groups)
            if (groups.iter())
                .all(|group| matches!(group.value.value, Value::Sequence(_) | Value::Null)) =>
        {
            (groups.iter())
                .flat_map(|group| match &group.value.value {
                    Value::Sequence(items) => &items[..],
                    _ => &[],
                })
                .cloned()
                .collect()
        }
        _ => {
            if let Some(expect) = document.find("expect") {
                problems.push(
                    Diagnostic::error(
                        "spec::wrong_type",
                        match expect.value.value {
                            Value::Map(_) => "not every entry of `expect` is a list".to_owned(),
                            _ => format!("`expect` is {}, not a list", expect.value.type_name()),
                        },
                    )
                    .at(expect.value.span, "")
                    .help("write `expect: [{ metric: f1, value: 90.03 }]`, or such lists by name: `expect: { table-7: [...] }`"),
                );
            }
            Vec::new()
        }
    };
    for item in &items {
        if !matches!(item.value, Value::Map(_)) {
            problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!("a claim is {}, not a map", item.type_name()),
                )
                .at(item.span, "")
                .help("write `{ metric: f1, value: 90.03 }`"),
            );
        }
        if matches!(item.value, Value::Map(_)) {
            match from_node::<Claim>(item, "a claim") {
                Ok(claim) => problems.extend(check_claim(&claim, item)),
                Err(found) => problems.extend(found),
            }
        }
    }
    items.iter().map(to_json).collect()
}

/// What is wrong with a claim whose form is right: a spread is one over runs, and nothing is below zero.
fn check_claim(claim: &Claim, item: &Node) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut wrong = |key: &str, message: String, help: &str| {
        let span = item.find(key).map_or(item.span, |entry| entry.value.span);
        found.push(
            Diagnostic::error("spec::claim", message)
                .at(span, "")
                .help(help),
        );
    };
    for (key, value) in [("tolerance", claim.tolerance), ("sd", claim.sd)] {
        if let Some(value) = value
            && !(value.is_finite() && value >= 0.0)
        {
            wrong(
                key,
                format!("`{key}` of a claim is {value}"),
                "write a number from 0 up, in the unit of the metric",
            );
        }
    }
    if claim.n == Some(0) {
        wrong(
            "n",
            "a stated number is over at least one run".to_owned(),
            "write how many runs it is the mean of, or leave `n` out",
        );
    } else if claim.sd.is_some() && claim.n.is_none_or(|n| n < 2) {
        wrong(
            "sd",
            "a standard deviation without the two runs or more that it is over".to_owned(),
            "say how many with `n`, such as `n: 5`, or leave `sd` out",
        );
    }
    found
}

/// Checks what does not depend on the cell: name, keys, kind.
pub(crate) fn template<'a>(
    entry: &'a Entry,
    kinds: &'a [KindEntry],
    problems: &mut Vec<Diagnostic>,
) -> Option<Template<'a>> {
    let stage = &entry.key;
    if !check_name(stage) {
        problems.push(
            Diagnostic::error("spec::name", format!("`{stage}` cannot name a stage"))
                .at(entry.key_span, "")
                .help(name_help(stage)),
        );
    }
    if !matches!(entry.value.value, Value::Map(_)) {
        problems.push(
            Diagnostic::error(
                "spec::wrong_type",
                format!("stage `{stage}` is {}, not a map", entry.value.type_name()),
            )
            .at(
                if entry.value.value == Value::Null {
                    entry.key_span
                } else {
                    entry.value.span
                },
                "",
            )
            .help("give it a `kind`"),
        );
        return None;
    }
    let kind = kind_of(entry, kinds, problems);
    for key in entry.value.entries() {
        if !STAGE_KEYS.iter().any(|(known, _)| *known == key.key) {
            problems.push(
                Diagnostic::error(
                    "spec::unknown_key",
                    format!("unknown key `{}` in stage `{stage}`", key.key),
                )
                .at(key.key_span, "not a key of a stage")
                .help(stage_key_help(key, kind)),
            );
        }
    }
    kind.map(|kind| Template { entry, kind })
}

fn stage_key_help(key: &Entry, kind: Option<&KindEntry>) -> String {
    let configured = kind.is_some_and(|kind| {
        (kind.schema)()
            .pointer("/properties")
            .is_some_and(|properties| properties.get(&key.key).is_some())
    });
    if configured {
        return format!("`{}` belongs under `with:`", key.key);
    }
    if let Some((_, here)) = FOREIGN_KEYS.iter().find(|(foreign, _)| *foreign == key.key) {
        return format!("write {here}");
    }
    suggest::help(
        &key.key,
        STAGE_KEYS.iter().map(|(key, _)| *key),
        "remove it",
    )
}

fn kind_of<'a>(
    entry: &Entry,
    kinds: &'a [KindEntry],
    problems: &mut Vec<Diagnostic>,
) -> Option<&'a KindEntry> {
    let stage = &entry.key;
    let Some(kind) = entry.value.find("kind") else {
        // A recipe that could not be read has been reported where it is read.
        if entry.value.find("use").is_none() {
            problems.push(
                Diagnostic::error("spec::missing_key", format!("stage `{stage}` has no kind"))
                    .at(entry.key_span, "has neither `kind` nor `use`")
                    .help("add `kind: command`, or `use: stages/RECIPE.yaml`"),
            );
        }
        return None;
    };
    let name: String = text(kind, &format!("stage `{stage}`"), problems)?;
    let found = kinds.iter().find(|known| known.name == name);
    if found.is_none() {
        let names = kinds.iter().map(|kind| kind.name);
        problems.push(
            Diagnostic::error(
                "spec::unknown_kind",
                format!("unknown kind `{name}` in stage `{stage}`"),
            )
            .at(kind.value.span, "no kind of this name")
            .help(suggest::help(&name, names, "there are no kinds")),
        );
    }
    found
}
