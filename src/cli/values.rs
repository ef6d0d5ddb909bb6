//! Values of options, read from text with messages that say what is expected. Knows nothing of options and of files.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Why a value was not understood; follows clap's "invalid value … for …:".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(String);

fn refuse<T>(text: impl Into<String>) -> Result<T, ValueError> {
    Err(ValueError(text.into()))
}

/// A time such as `1h30m`, `90s`, `2 days`.
///
/// # Errors
/// When a unit is missing or unknown.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    humantime::parse_duration(text.trim()).or_else(|_| {
        let expected = "expected a time with units, such as `90s`, `1h30m` or `2d`";
        match text.trim().parse::<f64>() {
            Ok(_) => refuse(format!("the unit is missing; {expected}")),
            Err(_) => refuse(expected),
        }
    })
}

/// A share of a number, from 0 to 1.
///
/// # Errors
/// When it is none.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a share is a number from 0 to 1, such as 0.01".to_owned())
}

/// A size such as `200GiB`, `1.5 TB`, `4096` (bytes), in bytes.
///
/// # Errors
/// When the number or the unit is not understood.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    match text.trim().parse::<bytesize::ByteSize>() {
        Ok(size) => Ok(size.as_u64()),
        Err(_) => {
            refuse("expected a size, such as `200GiB`, `1.5TB` or a number of bytes".to_owned())
        }
    }
}

/// What training stages compute on: `auto`, `cpu`, `cuda`, `cuda:N` or `reference`.
///
/// # Errors
/// When it is none of these.
pub fn parse_device(text: &str) -> Result<String, ValueError> {
    let is_numbered = |rest: &str| rest.parse::<u8>().is_ok();
    match text {
        "auto" | "cpu" | "cuda" | "reference" => Ok(text.to_owned()),
        _ if text.strip_prefix("cuda:").is_some_and(is_numbered) => Ok(text.to_owned()),
        _ => refuse("expected `auto`, `cpu`, `cuda`, `cuda:N` or `reference`"),
    }
}

/// A stage of the file: `finetune`, `finetune[task=ddi,seed=*]`, `finetune[ddi,1]`. Only the form is checked here.
///
/// # Errors
/// When it has not the form of a selector.
pub fn parse_selector(text: &str) -> Result<String, ValueError> {
    let (selector, rest) = split_selector(text)?;
    if rest.is_empty() {
        Ok(selector.to_owned())
    } else {
        refuse(format!(
            "expected a stage such as `finetune` or `finetune[task=ddi,seed=*]`; `{rest}` cannot follow it"
        ))
    }
}

/// `NAME=VALUE` of `--set`. `NAME` is a parameter, or a path inside one (`optimizer.warmup`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The parameter, with dots between levels.
    pub name: String,
    /// The value as YAML text; may be empty.
    pub value: String,
}

impl FromStr for Setting {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, value)) = text.split_once('=') else {
            return refuse("expected `NAME=VALUE`, such as `epochs=5`");
        };
        let name = name.trim();
        if !name.split('.').all(is_parameter) {
            return refuse(format!(
                "`{name}` is not a parameter's name; expected `NAME=VALUE`, such as `epochs=5`"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// `URL_PREFIX=DIR_OR_URL` of `--mirror`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What a URL must begin with.
    pub prefix: String,
    /// What stands in for it: a folder or another URL.
    pub target: String,
}

impl FromStr for Mirror {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected `URL_PREFIX=DIR_OR_URL`, such as `https://example.org/=downloads/`";
        let Some((prefix, target)) = text.split_once('=') else {
            return refuse(EXPECTED);
        };
        let (prefix, target) = (prefix.trim(), target.trim());
        if prefix.is_empty() || target.is_empty() {
            return refuse(format!("one side is empty; {EXPECTED}"));
        }
        if !prefix.contains(':') {
            return refuse(format!("`{prefix}` does not begin a URL; {EXPECTED}"));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            target: target.to_owned(),
        })
    }
}

/// `STAGE` or `STAGE.OUTPUT` of `get` and `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSelector {
    /// The stage, as a selector.
    pub stage: String,
    /// The output; `None` means the primary one.
    pub output: Option<String>,
}

impl FromStr for OutputSelector {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (stage, rest) = split_selector(text)?;
        let output = match rest.strip_prefix('.') {
            None if rest.is_empty() => None,
            Some(output) if is_name(output) => Some(output.to_owned()),
            _ => {
                return refuse(format!(
                    "expected `STAGE` or `STAGE.OUTPUT`, such as `finetune[ddi,1].model`; `{rest}` is neither"
                ));
            }
        };
        Ok(Self {
            stage: stage.to_owned(),
            output,
        })
    }
}

impl fmt::Display for OutputSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.output {
            Some(output) => write!(f, "{}.{output}", self.stage),
            None => f.write_str(&self.stage),
        }
    }
}

/// A run: `latest`, `latest~N`, or an id or its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSelector {
    /// The one so many runs before the last; 0 is the last.
    Latest(u32),
    /// An id such as `20261121T011900Z-4f2a`, or enough of its beginning.
    Id(String),
}

impl FromStr for RunSelector {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected `latest`, `latest~1` or a run's id, such as `20261121T011900Z-4f2a`";
        if let Some(back) = text.strip_prefix("latest") {
            return match back.strip_prefix('~').map(str::parse) {
                None if back.is_empty() => Ok(Self::Latest(0)),
                Some(Ok(number)) => Ok(Self::Latest(number)),
                _ => refuse(EXPECTED),
            };
        }
        let fits = text.starts_with(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if fits {
            Ok(Self::Id(text.to_owned()))
        } else {
            refuse(EXPECTED)
        }
    }
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `=`, as text or as numbers.
    Equal,
    /// `!=`.
    NotEqual,
    /// `<`.
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    More,
    /// `>=`.
    AtLeast,
}

/// `NAME=VALUE` of `--where`, with `!=`, `<`, `<=`, `>` or `>=` in place of `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// An axis, a parameter, a number or a field.
    pub name: String,
    /// How.
    pub comparison: Comparison,
    /// With what; a number where the order is asked for.
    pub value: String,
}

impl FromStr for Condition {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected `NAME=VALUE`, such as `task=ddi` or `f1>=0.9`";
        const SIGNS: [(&str, Comparison); 6] = [
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Less),
            (">", Comparison::More),
            ("=", Comparison::Equal),
        ];
        // The class of a number may hold any sign: `f1[a=b]>0.5`.
        let mut depth = 0_usize;
        for (at, c) in text.char_indices() {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let sign = SIGNS.iter().find(|(sign, _)| text[at..].starts_with(sign));
            let Some((sign, comparison)) = sign.filter(|_| depth == 0) else {
                continue;
            };
            let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
            if name.is_empty() {
                return refuse(format!("the name is missing; {EXPECTED}"));
            }
            let is_order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
            if is_order && value.parse::<f64>().is_err() {
                return refuse(format!("`{sign}` compares numbers, and `{value}` is none"));
            }
            return Ok(Self {
                name: name.to_owned(),
                comparison: *comparison,
                value: value.to_owned(),
            });
        }
        refuse(EXPECTED)
    }
}

/// `AXIS` or `AXIS=VALUE,VALUE…` of `--compare`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The axis.
    pub axis: String,
    /// Its values, the first one being what the others are compared with; none means all of them.
    pub values: Vec<String>,
}

impl FromStr for Settings {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected `AXIS=VALUE,VALUE`, such as `rate=1e-4,3e-4`, or `AXIS`";
        let (axis, values) = match text.split_once('=') {
            None => (text, Vec::new()),
            Some((axis, values)) => (
                axis,
                values
                    .split(',')
                    .map(|value| value.trim().to_owned())
                    .collect(),
            ),
        };
        if !is_name(axis.trim()) || values.len() == 1 || values.iter().any(String::is_empty) {
            return refuse(EXPECTED);
        }
        if (1..values.len()).any(|at| values[..at].contains(&values[at])) {
            return refuse(format!("a value stands there twice; {EXPECTED}"));
        }
        Ok(Self {
            axis: axis.trim().to_owned(),
            values,
        })
    }
}

/// Cuts `name` or `name[…]` off the front.
fn split_selector(text: &str) -> Result<(&str, &str), ValueError> {
    let name_end = text.find(['[', '.']).unwrap_or(text.len());
    let name = &text[..name_end];
    if !is_name(name) {
        return refuse(format!(
            "`{name}` is not a stage's name (`[a-z][a-z0-9_-]*`); expected a stage such as `finetune` or `'finetune[task=ddi,seed=*]'`"
        ));
    }
    if !text[name_end..].starts_with('[') {
        return Ok((name, &text[name_end..]));
    }
    match text.find(']') {
        Some(close) if close > name_end + 1 => Ok((&text[..=close], &text[close + 1..])),
        Some(_) => refuse(format!(
            "the brackets are empty; `{name}` alone selects all its instances"
        )),
        None => refuse("`]` is missing; put the selector in quotes for the shell"),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

fn is_parameter(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<T: fmt::Debug>(result: Result<T, ValueError>) -> String {
        result.expect_err("must be refused").to_string()
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration(" 90s "), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2d"), Ok(Duration::from_secs(172_800)));
        assert!(message(parse_duration("90")).starts_with("the unit is missing"));
        assert!(message(parse_duration("soon")).starts_with("expected a time"));
        assert!(parse_duration("-5s").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("200GiB"), Ok(200 << 30));
        assert_eq!(parse_size("1.5 TB"), Ok(1_500_000_000_000));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("-1").is_err());
        assert!(parse_size("much").is_err());
    }

    #[test]
    fn settings_keep_the_value_as_it_is() {
        let setting: Setting = "optimizer.name=a=b".parse().expect("parses");
        assert_eq!(
            (setting.name.as_str(), setting.value.as_str()),
            ("optimizer.name", "a=b")
        );
        assert!("epochs".parse::<Setting>().is_err());
        assert!("=5".parse::<Setting>().is_err());
        assert!("a..b=5".parse::<Setting>().is_err());
    }

    #[test]
    fn mirrors() {
        let mirror: Mirror = "https://example.org/=../shared/data/"
            .parse()
            .expect("parses");
        assert_eq!(mirror.prefix, "https://example.org/");
        assert_eq!(mirror.target, "../shared/data/");
        assert!(message("downloads".parse::<Mirror>()).starts_with("expected"));
        assert!(message("https://x/=".parse::<Mirror>()).starts_with("one side"));
        assert!(message("x=y".parse::<Mirror>()).contains("does not begin a URL"));
    }

    #[test]
    fn selectors() {
        for good in [
            "read",
            "finetune[task=ddi,seed=*]",
            "finetune[ddi,1]",
            "a-b_c[x=1.5]",
        ] {
            assert_eq!(parse_selector(good).as_deref(), Ok(good));
        }
        assert!(message(parse_selector("finetune[ddi")).contains("`]` is missing"));
        assert!(message(parse_selector("finetune[]")).contains("empty"));
        assert!(message(parse_selector("Finetune")).contains("not a stage's name"));
        assert!(message(parse_selector("read.text")).contains("cannot follow"));
        let place: OutputSelector = "finetune[lr=0.1].model".parse().expect("parses");
        assert_eq!(place.stage, "finetune[lr=0.1]");
        assert_eq!(place.output.as_deref(), Some("model"));
        assert_eq!(place.to_string(), "finetune[lr=0.1].model");
        assert!("read.".parse::<OutputSelector>().is_err());
    }

    #[test]
    fn conditions() {
        let parsed = |text: &str| {
            let condition: Condition = text.parse().expect("parses");
            (condition.name, condition.comparison, condition.value)
        };
        let expected =
            |name: &str, comparison, value: &str| (name.to_owned(), comparison, value.to_owned());
        assert_eq!(
            parsed("task=a=b"),
            expected("task", Comparison::Equal, "a=b")
        );
        assert_eq!(
            parsed("dev/f1 >= 0.9"),
            expected("dev/f1", Comparison::AtLeast, "0.9")
        );
        assert_eq!(
            parsed("f1[a<b]<1e-3"),
            expected("f1[a<b]", Comparison::Less, "1e-3")
        );
        assert_eq!(parsed("task!="), expected("task", Comparison::NotEqual, ""));
        assert!(message("f1".parse::<Condition>()).starts_with("expected"));
        assert!(message("=1".parse::<Condition>()).starts_with("the name is missing"));
        assert!(message("f1>much".parse::<Condition>()).contains("compares numbers"));
        let settings: Settings = "rate=1e-4, 3e-4".parse().expect("parses");
        assert_eq!(settings.values, ["1e-4", "3e-4"]);
        assert!(
            "rate"
                .parse::<Settings>()
                .expect("parses")
                .values
                .is_empty()
        );
        assert!("rate=1".parse::<Settings>().is_err());
        assert!("rate=1,".parse::<Settings>().is_err());
        assert!(message("rate=1,1".parse::<Settings>()).contains("twice"));
    }

    #[test]
    fn runs() {
        assert_eq!("latest".parse(), Ok(RunSelector::Latest(0)));
        assert_eq!("latest~2".parse(), Ok(RunSelector::Latest(2)));
        assert_eq!(
            "20261121T011900Z-4f2a".parse(),
            Ok(RunSelector::Id("20261121T011900Z-4f2a".to_owned()))
        );
        assert!("latest~".parse::<RunSelector>().is_err());
        assert!("../x".parse::<RunSelector>().is_err());
    }
}
