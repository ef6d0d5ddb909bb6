//! Settings of the stages behind inputs, beside what somebody states of them. Knows no markup and no kinds.

use serde::Serialize;
use serde_json::Value;

use crate::error::ReportError;
use crate::frame::{SheetColumn, same_text};
use crate::input::{Instance, text_of};
use crate::names::Names;
use crate::sections::chosen;
use crate::sections::options::{SettingRow, SettingsOptions};

/// Different values of one cell that are shown; the others are counted.
const SHOWN: usize = 6;

/// What the stage behind an instance was set to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StageSettings {
    /// What was written: the configuration of its record.
    pub written: Value,
    /// Every setting in effect, those by default among them. What hangs on an input is a map with `as`, in words; what
    /// follows from other settings one with `is`, the value.
    pub in_effect: Value,
}

/// The table of settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// A name for anchors and files, unique in the report.
    pub slug: String,
    /// Caption.
    pub title: String,
    /// What is shown, Markdown as written.
    pub doc: Option<String>,
    /// What the stated values are called.
    pub reference: String,
    /// How the settings agree with what is stated, a sentence; none where nothing is stated.
    pub sentence: Option<String>,
    /// Headings of the columns.
    pub columns: Vec<String>,
    /// One a setting.
    pub lines: Vec<SettingLine>,
    /// Whether any value is there by default.
    pub has_defaults: bool,
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingLine {
    /// As people call it.
    pub name: String,
    /// One a column.
    pub cells: Vec<SettingCell>,
}

/// A setting in the stages of one column.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SettingCell {
    /// What it was; none where no stage has it.
    pub value: Option<String>,
    /// Whether nobody wrote it.
    pub by_default: bool,
    /// What is stated.
    pub stated: Option<String>,
    /// How the two agree.
    pub agreement: Option<Agreement>,
    /// That in words.
    pub word: Option<&'static str>,
}

/// How a setting agrees with what is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// It is the same in every stage.
    AsStated,
    /// It is another in some stage.
    Differs,
    /// No record says what it was.
    NotKnown,
}

impl Agreement {
    /// In words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AsStated => "as stated",
            Self::Differs => "differs",
            Self::NotKnown => "not known",
        }
    }
}

/// The part that `options` asks for, and the keys that no stage has.
///
/// # Errors
/// For an input that comes from no record.
pub fn build(
    files: &[Instance],
    options: &SettingsOptions,
    slug: String,
) -> Result<(Settings, Vec<String>), ReportError> {
    let names = Names(&options.labels);
    let mut columns: Vec<(String, Vec<&StageSettings>)> = Vec::new();
    for port in &options.from {
        for (_, instance) in chosen(files, port, &options.filter) {
            let settings = instance.settings.as_ref();
            let settings = settings.ok_or_else(|| ReportError::NoSettings {
                input: instance.name(),
            })?;
            let column = match options.columns.as_str() {
                "input" => port.clone(),
                axis => {
                    let own = instance.axes.iter().find(|(name, _)| name == axis);
                    own.map_or_else(String::new, |(_, value)| value.clone())
                }
            };
            match columns.iter_mut().find(|(name, _)| *name == column) {
                Some((_, members)) => members.push(settings),
                None => columns.push((column, vec![settings])),
            }
        }
    }
    let line = |row: &SettingRow| SettingLine {
        name: row.label.clone().unwrap_or_else(|| names.column(&row.key)),
        cells: columns
            .iter()
            .map(|(column, members)| cell(row, column, members))
            .collect(),
    };
    let lines: Vec<SettingLine> = options.rows.iter().map(line).collect();
    let is_unknown = |line: &SettingLine| line.cells.iter().all(|cell| cell.value.is_none());
    let unknown = (options.rows.iter().zip(&lines)).filter(|(_, line)| is_unknown(line));
    let unknown = unknown.map(|(row, _)| row.key.clone()).collect();
    let has_defaults = cells(&lines).any(|cell| cell.by_default);
    Ok((
        Settings {
            slug,
            title: options.title.clone(),
            doc: options.doc.clone(),
            reference: options.reference.clone(),
            sentence: sentence(&lines),
            has_defaults,
            columns: match columns.as_slice() {
                [_] if options.columns == "input" => vec!["Here".to_owned()],
                many => many
                    .iter()
                    .map(|(column, _)| names.value("", Some(column)))
                    .collect(),
            },
            lines,
        },
        unknown,
    ))
}

fn cells(lines: &[SettingLine]) -> impl Iterator<Item = &SettingCell> {
    lines.iter().flat_map(|line| &line.cells)
}

fn cell(row: &SettingRow, column: &str, members: &[&StageSettings]) -> SettingCell {
    let stated = match &row.stated {
        Value::Object(columns) => columns.get(column).unwrap_or(&Value::Null),
        one => one,
    };
    let mut found: Vec<&Value> = Vec::new();
    let mut is_somewhere_absent = false;
    for settings in members {
        let value = at(&settings.in_effect, &row.key);
        match value.map(|value| value.get("is").unwrap_or(value)) {
            Some(value) if !found.contains(&value) => found.push(value),
            Some(_) => {}
            None => is_somewhere_absent = true,
        }
    }
    let is_known = |value: &&Value| !value.is_object();
    let agreement = (!stated.is_null()).then(|| {
        if found
            .iter()
            .any(|one| is_known(one) && !agrees(one, stated))
        {
            Agreement::Differs
        } else if found.is_empty() || is_somewhere_absent || !found.iter().all(is_known) {
            Agreement::NotKnown
        } else {
            Agreement::AsStated
        }
    });
    let is_written = |settings: &&StageSettings| {
        let effect = at(&settings.in_effect, &row.key);
        at(&settings.written, &row.key).is_some() || effect.is_some_and(|it| it.get("is").is_some())
    };
    let mut shown: Vec<String> = found.iter().take(SHOWN).map(|value| show(value)).collect();
    if found.len() > SHOWN {
        shown.push(format!("and {} others", found.len() - SHOWN));
    }
    SettingCell {
        by_default: !found.is_empty() && !members.iter().any(is_written),
        value: (!found.is_empty()).then(|| shown.join(", ")),
        stated: (!stated.is_null()).then(|| show(stated)),
        agreement,
        word: agreement.map(Agreement::word),
    }
}

/// A value inside nested settings: `sizes.layers`; a key that itself holds points is found whole.
fn at<'a>(settings: &'a Value, key: &str) -> Option<&'a Value> {
    let get = |key: &str| match settings {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        settings => settings.get(key),
    };
    if let Some(value) = get(key) {
        return Some(value);
    }
    let (outer, inner) = key.split_once('.')?;
    at(get(outer)?, inner)
}

/// Whether a setting is what is stated: numbers as numbers, `1/3` to four digits, else the same text.
fn agrees(value: &Value, stated: &Value) -> bool {
    let close = |left: f64, right: f64, share: f64| {
        (left - right).abs() <= share * left.abs().max(right.abs())
    };
    let fraction = || {
        let (over, under) = stated.as_str()?.split_once('/')?;
        let (over, under): (f64, f64) = (over.trim().parse().ok()?, under.trim().parse().ok()?);
        (under != 0.0).then_some(over / under)
    };
    match (value.as_f64(), stated.as_f64(), fraction()) {
        (Some(value), Some(stated), _) => close(value, stated, 1e-9),
        (Some(value), None, Some(stated)) => close(value, stated, 1e-4),
        _ => same_text(&text_of(value), &text_of(stated)),
    }
}

/// A value for people: `5e-5` and not `0.00005`; what follows an input in its words.
fn show(value: &Value) -> String {
    match value {
        Value::Object(map) => match map.get("as") {
            Some(words) => text_of(words),
            None => value.to_string(),
        },
        Value::Number(number) if !number.is_u64() && !number.is_i64() => match number.as_f64() {
            Some(value) if value != 0.0 && value.abs() < 1e-2 => format!("{value:e}"),
            Some(value) => value.to_string(),
            None => number.to_string(),
        },
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(", "),
        Value::Null => "none".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        one => text_of(one),
    }
}

/// `38 of 40 stated settings are as stated, 1 differs, 1 is not known.`
fn sentence(lines: &[SettingLine]) -> Option<String> {
    let count = |wanted: Agreement| {
        let is = |cell: &&SettingCell| cell.agreement == Some(wanted);
        cells(lines).filter(is).count()
    };
    let [same, other, unknown] =
        [Agreement::AsStated, Agreement::Differs, Agreement::NotKnown].map(count);
    let all = same + other + unknown;
    if all == 0 {
        return None;
    }
    let mut text = format!("{same} of {all} stated settings are as stated");
    if other > 0 {
        let verb = if other == 1 { "differs" } else { "differ" };
        text.push_str(&format!(", {other} {verb}"));
    }
    if unknown > 0 {
        let verb = if unknown == 1 { "is" } else { "are" };
        text.push_str(&format!(", {unknown} {verb} not known"));
    }
    text.push('.');
    Some(text)
}

/// The table as columns for a file: one line a cell.
#[must_use]
pub fn sheet(part: &Settings) -> Vec<SheetColumn> {
    let mut texts: [Vec<Option<String>>; 6] = Default::default();
    for line in &part.lines {
        for (cell, column) in line.cells.iter().zip(&part.columns) {
            let by_default = if cell.by_default { "yes" } else { "no" };
            let values = [
                Some(line.name.clone()),
                Some(column.clone()),
                cell.value.clone(),
                Some(by_default.to_owned()),
                cell.stated.clone(),
                cell.word.map(str::to_owned),
            ];
            for (texts, value) in texts.iter_mut().zip(values) {
                texts.push(value);
            }
        }
    }
    let names = [
        "setting",
        "stage",
        "used",
        "by_default",
        "stated",
        "agreement",
    ];
    (names.into_iter().zip(texts))
        .map(|(name, texts)| SheetColumn::Text(name.to_owned(), texts))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_agree_as_numbers_and_fractions_to_four_digits() {
        for (value, stated) in [
            (json!(5e-5), json!(0.00005)),
            (json!(32), json!(32.0)),
            (json!(0.33333), json!("1/3")),
            (json!("linear"), json!("linear")),
            (json!(0), json!(0.0)),
        ] {
            assert!(agrees(&value, &stated), "{value} {stated}");
        }
        for (value, stated) in [
            (json!(5.1e-5), json!(5e-5)),
            (json!(0.3331), json!("1/3")),
            (json!(3), json!("1/0")),
            (json!("linear"), json!("cosine")),
            (json!(null), json!(1)),
        ] {
            assert!(!agrees(&value, &stated), "{value} {stated}");
        }
    }

    #[test]
    fn values_are_written_as_in_papers() {
        let shown = [
            json!(5e-5),
            json!(0.001),
            json!(0.1),
            json!(1_000_000),
            json!(true),
            json!({"as": "the model's"}),
        ];
        let shown: Vec<String> = shown.iter().map(show).collect();
        assert_eq!(
            shown,
            ["5e-5", "1e-3", "0.1", "1000000", "yes", "the model's"]
        );
        assert_eq!(at(&json!({"a": {"b": [1, 2]}}), "a.b.1"), Some(&json!(2)));
        assert_eq!(at(&json!({"a.b": 3}), "a.b"), Some(&json!(3)));
        assert_eq!(at(&json!({"a": 3}), "a.b"), None);
    }
}
