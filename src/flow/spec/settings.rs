//! The keys of a stage beside `needs`, `with`, `outputs` and the axes: resources, environment, manners.
//! Knows nothing of what the stage computes.

use std::fmt;
use std::num::NonZeroU32;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::{Deserialize, de::value::MapAccessDeserializer};

use super::decode::{from_node, scalar_text};
use super::manifest::Lines;
use super::node::{Entry, Node, Value};
use super::paths::inside;
use super::quantity::{parse_bytes, parse_seconds};
use super::{CheckpointSpec, EnvVar, Policy, Resources};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// What these keys say.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) policy: Policy,
    /// Lines that sort before inputs: `device`, `env.…`.
    pub(crate) lines: Lines,
    /// Variables read from the environment now, whose values are in the key.
    pub(crate) environment: Vec<(String, Option<String>)>,
    /// `environment.files`.
    pub(crate) key_files: Vec<(String, Span)>,
    /// `numbers`.
    pub(crate) numbers: Vec<String>,
    /// Where `numbers` stands, if it does.
    pub(crate) numbers_span: Option<Span>,
    /// Where the checkpoint folder is named.
    pub(crate) checkpoint_span: Option<Span>,
}

/// Reads the keys from a stage's map, references substituted.
pub(crate) fn read(body: &Node, stage: &str, problems: &mut Vec<Diagnostic>) -> Settings {
    let mut reader = Reader {
        stage,
        problems,
        settings: Settings::default(),
    };
    for entry in body.entries() {
        reader.entry(entry);
    }
    reader.settings
}

#[derive(Deserialize)]
struct ResourceKeys {
    cores: Option<NonZeroU32>,
    memory: Option<Bytes>,
    gpu: Option<Gpus>,
    time: Option<Seconds>,
    device: Option<Device>,
    micro_batch: Option<NonZeroU32>,
    processes: Option<NonZeroU32>,
}

#[derive(Deserialize)]
struct EnvironmentKeys {
    #[serde(default)]
    files: Vec<String>,
    #[serde(default)]
    record: Vec<Vec<String>>,
    #[serde(default)]
    strict: bool,
}

#[derive(Deserialize)]
struct EnvKeys {
    value: Option<String>,
    from: Option<EnvSource>,
    #[serde(default)]
    secret: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EnvSource {
    Environment,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sandbox {
    Strict,
    Off,
}

#[derive(Deserialize)]
struct CheckpointKeys {
    dir: String,
    signal: Option<Signal>,
    grace: Option<Seconds>,
}

#[derive(Deserialize)]
enum Signal {
    #[serde(rename = "SIGTERM", alias = "TERM")]
    Term,
    #[serde(rename = "SIGINT", alias = "INT")]
    Int,
    #[serde(rename = "SIGUSR1", alias = "USR1")]
    User1,
    #[serde(rename = "SIGUSR2", alias = "USR2")]
    User2,
    #[serde(rename = "SIGHUP", alias = "HUP")]
    Hangup,
}

impl Signal {
    fn name(&self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
            Self::Hangup => "SIGHUP",
        }
    }
}

struct Bytes(u64);
struct Seconds(f64);
struct Device(String);
struct Gpus {
    count: u32,
    memory: u64,
}

/// Reads a number, or text that `parse` understands.
struct Amount<T>(&'static str, fn(f64) -> Option<T>, fn(&str) -> Option<T>);

impl<'de, T> Visitor<'de> for Amount<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "amounts are far below 2^53")]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<T, E> {
        (self.1)(value).ok_or_else(|| E::invalid_value(de::Unexpected::Float(value), &self.0))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        Err(E::invalid_value(de::Unexpected::Signed(value), &self.0))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.2)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be whole and in range"
        )]
        let whole = |value: f64| {
            (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as u64)
        };
        let amount = Amount("an amount such as `20GiB`, or bytes", whole, parse_bytes);
        deserializer.deserialize_any(amount).map(Self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let above_zero = |value: f64| (value > 0.0).then_some(value);
        let amount = Amount(
            "a time such as `10m` or `1h30m`, or seconds",
            above_zero,
            parse_seconds,
        );
        deserializer.deserialize_any(amount).map(Self)
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = match text.as_str() {
            "auto" | "cpu" | "cuda" | "reference" => true,
            other => other
                .strip_prefix("cuda:")
                .is_some_and(|index| index.parse::<u8>().is_ok()),
        };
        if known {
            Ok(Self(text))
        } else {
            Err(de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"`auto`, `cpu`, `cuda`, `cuda:N` or `reference`",
            ))
        }
    }
}

impl<'de> Deserialize<'de> for Gpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Keys {
            #[serde(default = "one")]
            count: u32,
            memory: Option<Bytes>,
        }
        fn one() -> u32 {
            1
        }
        impl<'de> Visitor<'de> for Forms {
            type Value = Gpus;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of GPUs, or `{ count: 1, memory: 20GiB }`")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Gpus, E> {
                let count = u32::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))?;
                Ok(Gpus { count, memory: 0 })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Gpus, A::Error> {
                let keys = Keys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Gpus {
                    count: keys.count,
                    memory: keys.memory.map_or(0, |bytes| bytes.0),
                })
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

struct Reader<'a> {
    stage: &'a str,
    problems: &'a mut Vec<Diagnostic>,
    settings: Settings,
}

impl Reader<'_> {
    fn entry(&mut self, entry: &Entry) {
        match entry.key.as_str() {
            "resources" => self.resources(entry),
            "env" => self.env(entry),
            "environment" => self.environment(entry),
            "checkpoint" => self.checkpoint(entry),
            "numbers" => self.numbers(entry),
            "retries" => {
                if let Some(retries) = self.typed(entry) {
                    self.settings.policy.retries = retries;
                }
            }
            "protect" => {
                if let Some(protect) = self.typed(entry) {
                    self.settings.policy.protect = protect;
                }
            }
            "sandbox" => {
                if let Some(sandbox) = self.typed::<Sandbox>(entry) {
                    self.settings.policy.sandbox = matches!(sandbox, Sandbox::Strict);
                }
            }
            "publish" => {
                if let Some(path) = self.typed::<String>(entry) {
                    let path = self.inside(&path, "publish", entry.value.span);
                    self.settings.policy.publish = path;
                }
            }
            _ => {}
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, entry: &Entry) -> Option<T> {
        let what = format!("`{}` of stage `{}`", entry.key, self.stage);
        match from_node(&entry.value, &what) {
            Ok(value) => Some(value),
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
        }
    }

    fn inside(&mut self, path: &str, key: &str, span: Span) -> Option<String> {
        match inside(path) {
            Ok(path) => Some(path),
            Err(why) => {
                let folder = if key == "publish" {
                    "the pipeline's root"
                } else {
                    "the stage's folder"
                };
                self.problems.push(
                    Diagnostic::error(
                        "spec::path",
                        format!(
                            "`{path}` cannot be `{key}` of stage `{}`: {why}",
                            self.stage
                        ),
                    )
                    .at(span, "")
                    .help(format!("write a relative path that stays inside {folder}")),
                );
                None
            }
        }
    }

    fn resources(&mut self, entry: &Entry) {
        let Some(keys) = self.typed::<ResourceKeys>(entry) else {
            return;
        };
        self.settings.policy.resources = Resources {
            cores: keys.cores.map_or(1, NonZeroU32::get),
            memory_bytes: keys.memory.map_or(0, |bytes| bytes.0),
            gpus: keys.gpu.as_ref().map_or(0, |gpus| gpus.count),
            gpu_memory_bytes: keys.gpu.map_or(0, |gpus| gpus.memory),
            time_seconds: keys.time.map(|seconds| seconds.0),
            device: keys.device.map(|device| device.0),
            micro_batch: keys.micro_batch.map(NonZeroU32::get),
            processes: keys.processes.map_or(1, NonZeroU32::get),
        };
    }

    fn env(&mut self, entry: &Entry) {
        if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
            self.problems.push(
                Diagnostic::error(
                    "spec::wrong_type",
                    format!(
                        "`env` of stage `{}` is {}, not a map",
                        self.stage,
                        entry.value.type_name()
                    ),
                )
                .at(entry.value.span, "")
                .help("write `env: { NAME: value }`"),
            );
        }
        for variable in entry.value.entries() {
            self.variable(variable);
        }
        self.settings.policy.env.sort_by(|a, b| a.name.cmp(&b.name));
    }

    fn variable(&mut self, variable: &Entry) {
        let name = &variable.key;
        let plain = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !plain {
            self.problems.push(
                Diagnostic::error("spec::env", format!("`{name}` cannot name a variable"))
                    .at(variable.key_span, "")
                    .help("variables are letters, digits and `_`, and do not begin with a digit"),
            );
            return;
        }
        if let Some(text) = scalar_text(&variable.value.value) {
            self.settings.lines.text(format!("env.{name}"), &text);
            self.settings.policy.env.push(EnvVar {
                name: name.clone(),
                value: Some(text),
                secret: false,
                from_environment: false,
            });
            return;
        }
        let what = format!("`env.{name}` of stage `{}`", self.stage);
        let keys: EnvKeys = match from_node(&variable.value, &what) {
            Ok(keys) => keys,
            Err(problems) => {
                self.problems.extend(problems);
                return;
            }
        };
        let from_environment = keys.from.is_some();
        let value = match (keys.value, keys.from) {
            (Some(value), None) => Some(value),
            (None, Some(EnvSource::Environment)) if keys.secret => None,
            (None, Some(EnvSource::Environment)) => {
                let value = match std::env::var(name) {
                    Ok(value) => Some(value),
                    Err(std::env::VarError::NotPresent) => None,
                    Err(std::env::VarError::NotUnicode(_)) => {
                        self.problems.push(
                            Diagnostic::error(
                                "spec::env",
                                format!("the variable `{name}` of this environment is not UTF-8"),
                            )
                            .at(variable.key_span, "")
                            .help("set it to text, or give its value here"),
                        );
                        None
                    }
                };
                self.settings
                    .environment
                    .push((name.clone(), value.clone()));
                value
            }
            _ => {
                self.problems.push(
                    Diagnostic::error("spec::env", format!("{what} has no value, or two"))
                        .at(variable.key_span, "")
                        .help("write `{ value: … }` or `{ from: environment }`, with `secret: true` for what must stay out of the record"),
                );
                return;
            }
        };
        if !keys.secret {
            match &value {
                Some(value) => self.settings.lines.text(format!("env.{name}"), value),
                None => self.settings.lines.push(format!("env.{name}"), "null"),
            }
        }
        self.settings.policy.env.push(EnvVar {
            name: name.clone(),
            value,
            secret: keys.secret,
            from_environment,
        });
    }

    fn environment(&mut self, entry: &Entry) {
        let Some(keys) = self.typed::<EnvironmentKeys>(entry) else {
            return;
        };
        for (index, file) in keys.files.into_iter().enumerate() {
            let span = entry
                .value
                .find("files")
                .and_then(|files| match &files.value.value {
                    Value::Sequence(items) => items.get(index).map(|item| item.span),
                    _ => None,
                })
                .unwrap_or(entry.value.span);
            self.settings.key_files.push((file, span));
        }
        if keys.record.iter().any(Vec::is_empty) {
            self.problems.push(
                Diagnostic::error(
                    "spec::environment",
                    format!(
                        "`environment.record` of stage `{}` has an empty command",
                        self.stage
                    ),
                )
                .at(entry.value.span, "")
                .help("write commands as lists: `record: [[python, --version]]`"),
            );
        }
        self.settings.policy.record = keys.record;
        self.settings.policy.record_strict = keys.strict;
    }

    fn checkpoint(&mut self, entry: &Entry) {
        let keys = if entry.value.as_str().is_some() {
            self.typed::<String>(entry).map(|dir| CheckpointKeys {
                dir,
                signal: None,
                grace: None,
            })
        } else {
            self.typed::<CheckpointKeys>(entry)
        };
        let Some(keys) = keys else { return };
        let span = entry
            .value
            .find("dir")
            .map_or(entry.value.span, |dir| dir.value.span);
        let Some(dir) = self.inside(&keys.dir, "checkpoint", span) else {
            return;
        };
        self.settings.checkpoint_span = Some(span);
        self.settings.policy.checkpoint = Some(CheckpointSpec {
            dir,
            signal: keys
                .signal
                .map_or("SIGTERM", |signal| signal.name())
                .to_owned(),
            grace_seconds: keys.grace.map_or(30.0, |seconds| seconds.0),
        });
    }

    fn numbers(&mut self, entry: &Entry) {
        let files = if entry.value.as_str().is_some() {
            self.typed::<String>(entry).map(|file| vec![file])
        } else {
            self.typed::<Vec<String>>(entry)
        };
        self.settings.numbers_span = Some(entry.key_span);
        for file in files.unwrap_or_default() {
            if let Some(file) = self.inside(&file, "numbers", entry.value.span) {
                self.settings.numbers.push(file);
            }
        }
    }
}
