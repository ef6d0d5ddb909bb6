//! Metric files of programs to rows, and rows to `metrics.jsonl`. Knows nothing of who wrote them or what they measure.
//!
//! A file holds *rows* (`{"metric": "f1", "value": 0.9, "split": "test"}`: the fields of [`MetricRow`]) or *named numbers*
//! (`{"f1": 0.9, "loss": {"train": 0.1}}`, nested names joined by `.`). By its ending it is
//! - `.json`: one of these, or a list of them;
//! - `.jsonl`, `.ndjson`: one a line;
//! - `.csv`, `.tsv`: rows when the header has `metric` and `value`, else one column a name.
//!
//! Named numbers that come several times are a log: **the last value of each name wins**. A row that comes twice is an
//! error. Texts and booleans among named numbers are left out; null, NaN, infinity and lists are refused.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::kind::StageError;
use crate::metric::MetricRow;

/// The rows of a metric file, in the order of the file.
///
/// # Errors
/// When it is missing, is none of the forms above, or holds something that is no number; with file and line.
pub fn read_numbers(path: &Path) -> Result<Vec<MetricRow>, StageError> {
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let text = fs_err::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => StageError::new(
            "numbers::missing",
            format!("the metric file `{name}` was not written"),
        )
        .help("let the program write it into its folder, or correct `numbers`"),
        std::io::ErrorKind::InvalidData => {
            StageError::new("numbers::format", format!("`{name}` is not UTF-8"))
                .help("metric files are JSON, JSON lines or CSV in UTF-8")
        }
        _ => error.into(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut rows = Rows {
        file: &name,
        found: Vec::new(),
        places: BTreeMap::new(),
    };
    let ending = path
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    match ending.as_str() {
        "json" => {
            let value: Value =
                serde_json::from_str(text).map_err(|error| rows.explain_json(&error, text, 0))?;
            // Positions inside a JSON text are lost here: messages name the place by its names.
            rows.add_json(&value, None)?;
        }
        "jsonl" | "ndjson" => {
            for (index, line) in text
                .lines()
                .enumerate()
                .filter(|(_, line)| !line.trim().is_empty())
            {
                let value: Value = serde_json::from_str(line)
                    .map_err(|error| rows.explain_json(&error, line, index))?;
                let Value::Object(object) = &value else {
                    return Err(rows.wrong(Some(index + 1), "a line is not an object"));
                };
                rows.add_object(object, Some(index + 1))?;
            }
        }
        "csv" => rows.add_table(text, b',')?,
        "tsv" => rows.add_table(text, b'\t')?,
        _ => {
            return Err(StageError::new(
                "numbers::format",
                format!("`{name}` is no kind of metric file"),
            )
            .help("end its name in `.json`, `.jsonl`, `.csv` or `.tsv`"));
        }
    }
    Ok(rows.found)
}

/// Writes rows as JSON lines; no rows give an empty file.
///
/// # Errors
/// When a value is NaN or infinite, naming the row, or the file cannot be written.
pub fn write_metrics_jsonl(path: &Path, rows: &[MetricRow]) -> Result<(), StageError> {
    let mut bytes = Vec::new();
    for row in rows {
        if !row.value.is_finite() {
            return Err(StageError::new(
                "numbers::value",
                format!("metric `{}` is {}", row.metric, row.value),
            )
            .help("a number that does not exist is left out, not written as NaN"));
        }
        serde_json::to_writer(&mut bytes, row).expect("rows serialise");
        bytes.push(b'\n');
    }
    let mut file = fs_err::File::create(path)?;
    file.write_all(&bytes)?;
    Ok(())
}

type Identity = (Option<String>, Option<String>, String, Option<String>);

fn identity(row: &MetricRow) -> Identity {
    (
        row.dataset.clone(),
        row.split.clone(),
        row.metric.clone(),
        row.class.clone(),
    )
}

/// Rows as they are found.
struct Rows<'a> {
    file: &'a str,
    found: Vec<MetricRow>,
    /// Index in `found`, and whether it may be replaced by a later value of a log.
    places: BTreeMap<Identity, (usize, bool)>,
}

impl Rows<'_> {
    fn wrong(&self, line: Option<usize>, why: &str) -> StageError {
        let place = line.map_or_else(
            || self.file.to_owned(),
            |line| format!("{}:{line}", self.file),
        );
        StageError::new("numbers::format", format!("`{place}`: {why}"))
            .help("write named numbers, such as `{\"f1\": 0.9}`, or rows, such as `{\"metric\": \"f1\", \"value\": 0.9}`")
    }

    fn not_a_number(&self, line: Option<usize>, name: &str, what: &str) -> StageError {
        let mut error = self.wrong(line, &format!("`{name}` is {what}"));
        error.diagnostic.code = "numbers::value".to_owned();
        error.help("a number that does not exist is left out; if it should exist, the program went wrong before")
    }

    fn explain_json(
        &self,
        error: &serde_json::Error,
        text: &str,
        lines_before: usize,
    ) -> StageError {
        let line = lines_before + error.line().max(1);
        let at = text
            .lines()
            .nth(error.line().max(1) - 1)
            .unwrap_or_default();
        // The column stands on or before the first character that is no JSON.
        let tail: String = at.chars().skip(error.column().saturating_sub(2)).collect();
        let tail = tail.trim_start_matches([' ', ':', ',', '[', '-']);
        for word in ["NaN", "Infinity", "nan", "inf"] {
            if tail.starts_with(word) {
                return self.not_a_number(
                    Some(line),
                    "a value",
                    if word.starts_with(['N', 'n']) {
                        "NaN"
                    } else {
                        "infinite"
                    },
                );
            }
        }
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        self.wrong(
            Some(line),
            &format!("not JSON: {text} in column {}", error.column()),
        )
    }

    fn add_json(&mut self, value: &Value, line: Option<usize>) -> Result<(), StageError> {
        match value {
            Value::Object(object) => self.add_object(object, line),
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    let Value::Object(object) = value else {
                        return Err(
                            self.wrong(line, &format!("item {index} of the list is not an object"))
                        );
                    };
                    self.add_object(object, line)?;
                }
                Ok(())
            }
            _ => Err(self.wrong(line, "neither an object nor a list of objects")),
        }
    }

    fn add_object(
        &mut self,
        object: &Map<String, Value>,
        line: Option<usize>,
    ) -> Result<(), StageError> {
        if object.get("metric").is_some_and(Value::is_string) && object.contains_key("value") {
            if !object["value"].is_number() {
                let name = object["metric"].as_str().unwrap_or_default();
                return Err(self.not_a_number(line, name, type_name(&object["value"])));
            }
            let row: MetricRow = serde_json::from_value(Value::Object(object.clone()))
                .map_err(|error| self.wrong(line, &error.to_string()))?;
            return self.add_row(row, line);
        }
        self.add_named("", object, line)
    }

    fn add_named(
        &mut self,
        prefix: &str,
        object: &Map<String, Value>,
        line: Option<usize>,
    ) -> Result<(), StageError> {
        for (key, value) in object {
            let name = if prefix.is_empty() {
                key.clone()
            } else {
                format!("{prefix}.{key}")
            };
            match value {
                Value::Number(number) => {
                    let number = number.as_f64().filter(|number| number.is_finite());
                    let number =
                        number.ok_or_else(|| self.not_a_number(line, &name, "infinite"))?;
                    self.add_last(name, number, line)?;
                }
                Value::Object(inner) => self.add_named(&name, inner, line)?,
                Value::String(text) if special(text).is_some() => {
                    return Err(self.not_a_number(line, &name, special(text).expect("just seen")));
                }
                Value::String(_) | Value::Bool(_) => {}
                other => return Err(self.not_a_number(line, &name, type_name(other))),
            }
        }
        Ok(())
    }

    fn add_row(&mut self, row: MetricRow, line: Option<usize>) -> Result<(), StageError> {
        let key = identity(&row);
        if self.places.contains_key(&key) {
            return Err(self
                .wrong(line, &format!("metric `{}` has two rows of the same data set, split and class", row.metric))
                .help("give the rows a `split`, `class` or `dataset` that tells them apart; of a training log write the last row only"));
        }
        self.places.insert(key, (self.found.len(), false));
        self.found.push(row);
        Ok(())
    }

    /// A named number: a later one replaces it.
    fn add_last(
        &mut self,
        name: String,
        value: f64,
        line: Option<usize>,
    ) -> Result<(), StageError> {
        let row = MetricRow::new(name, value);
        match self.places.get(&identity(&row)) {
            Some((index, true)) => self.found[*index] = row,
            Some((_, false)) => return self.add_row(row, line),
            None => {
                self.places.insert(identity(&row), (self.found.len(), true));
                self.found.push(row);
            }
        }
        Ok(())
    }

    fn add_table(&mut self, text: &str, delimiter: u8) -> Result<(), StageError> {
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .from_reader(text.as_bytes());
        let header: Vec<String> = match reader.headers() {
            Ok(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
            Err(error) => return Err(self.wrong(Some(1), &error.to_string())),
        };
        if header.iter().all(String::is_empty) {
            return Err(self.wrong(None, "there is no header"));
        }
        let is_rows =
            header.iter().any(|name| name == "metric") && header.iter().any(|name| name == "value");
        let unknown = header.iter().find(|name| {
            !["dataset", "split", "metric", "class", "value", "n"].contains(&name.as_str())
        });
        if let (true, Some(unknown)) = (is_rows, unknown) {
            return Err(self
                .wrong(Some(1), &format!("column `{unknown}` is not known"))
                .help("rows have `metric`, `value` and, if you like, `dataset`, `split`, `class`, `n`; axes are added by the pipeline"));
        }
        for record in reader.records() {
            let record = record.map_err(|error| {
                let line = error
                    .position()
                    .map(|at| usize::try_from(at.line()).unwrap_or_default());
                self.wrong(line, "a row has another number of fields than the header")
            })?;
            let line = record
                .position()
                .map(|at| usize::try_from(at.line()).unwrap_or_default());
            let cells = header
                .iter()
                .map(String::as_str)
                .zip(record.iter().map(str::trim));
            if is_rows {
                let row = self.row_of(cells, line)?;
                self.add_row(row, line)?;
                continue;
            }
            for (name, cell) in cells.filter(|(_, cell)| !cell.is_empty()) {
                match cell.parse::<f64>() {
                    Ok(value) if value.is_finite() => {
                        self.add_last(name.to_owned(), value, line)?;
                    }
                    Ok(value) => {
                        return Err(self.not_a_number(
                            line,
                            name,
                            if value.is_nan() { "NaN" } else { "infinite" },
                        ));
                    }
                    // A column of text, such as the name of a model.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    fn row_of<'c>(
        &self,
        cells: impl Iterator<Item = (&'c str, &'c str)>,
        line: Option<usize>,
    ) -> Result<MetricRow, StageError> {
        let mut row = MetricRow::new("", f64::NAN);
        for (column, cell) in cells {
            let text = (!cell.is_empty()).then(|| cell.to_owned());
            match column {
                "metric" => row.metric = text.unwrap_or_default(),
                "dataset" => row.dataset = text,
                "split" => row.split = text,
                "class" => row.class = text,
                "n" => {
                    let count = |text: String| {
                        text.parse().map_err(|_| {
                            self.not_a_number(line, "n", &format!("`{text}`, not a whole number"))
                        })
                    };
                    row.n = text.map(count).transpose()?;
                }
                _ => {
                    row.value = cell.parse().map_err(|_| {
                        self.not_a_number(line, "value", &format!("`{cell}`, not a number"))
                    })?;
                }
            }
        }
        if row.metric.is_empty() {
            return Err(self.wrong(line, "the metric has no name"));
        }
        if !row.value.is_finite() {
            return Err(self.not_a_number(
                line,
                &row.metric,
                if row.value.is_nan() {
                    "NaN"
                } else {
                    "infinite"
                },
            ));
        }
        Ok(row)
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean, not a number",
        Value::Number(_) => "a number",
        Value::String(text) => special(text).unwrap_or("a text, not a number"),
        Value::Array(_) => "a list, not a number",
        Value::Object(_) => "an object, not a number",
    }
}

/// A text that some writers use for what JSON cannot say.
fn special(text: &str) -> Option<&'static str> {
    let number = text.trim().parse::<f64>().ok()?;
    if number.is_nan() {
        Some("NaN")
    } else if number.is_infinite() {
        Some("infinite")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Vec<MetricRow>, StageError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs_err::write(&path, text).expect("written");
        read_numbers(&path)
    }

    fn named(name: &str, text: &str) -> Vec<(String, f64)> {
        let rows = read(name, text).expect("it reads");
        rows.into_iter()
            .map(|row| (row.metric, row.value))
            .collect()
    }

    fn message(name: &str, text: &str) -> String {
        let error = read(name, text).expect_err("it must fail");
        assert!(error.diagnostic.help.is_some());
        error.diagnostic.message
    }

    fn pair(name: &str, value: f64) -> (String, f64) {
        (name.to_owned(), value)
    }

    #[test]
    fn named_numbers_nest_and_texts_are_left_out() {
        let text = "\u{feff}{\"f1\": 0.9, \"loss\": {\"train\": 1, \"dev\": {\"a\": -2e-3}}, \"model\": \"bert\", \"done\": true}";
        assert_eq!(
            named("m.json", text),
            [
                pair("f1", 0.9),
                pair("loss.train", 1.0),
                pair("loss.dev.a", -0.002)
            ]
        );
    }

    #[test]
    fn rows_keep_their_columns() {
        let row = MetricRow {
            dataset: Some("bc5cdr".to_owned()),
            split: Some("test".to_owned()),
            class: None,
            n: Some(12),
            ..MetricRow::new("f1", 0.5)
        };
        let json = r#"{"dataset": "bc5cdr", "split": "test", "metric": "f1", "class": null, "value": 0.5, "n": 12}"#;
        for (name, text) in [
            ("m.json", json.to_owned()),
            ("m.json", format!("[{json}]")),
            ("m.jsonl", format!("{json}\n\n")),
            (
                "m.csv",
                "metric,value,split,dataset,n,class\nf1,0.5,test,bc5cdr,12,\n".to_owned(),
            ),
            (
                "m.tsv",
                "metric\tvalue\tsplit\tdataset\tn\nf1\t0.5\ttest\tbc5cdr\t12\r\n".to_owned(),
            ),
        ] {
            assert_eq!(
                read(name, &text).expect("it reads"),
                std::slice::from_ref(&row),
                "{name} {text}"
            );
        }
    }

    #[test]
    fn of_a_log_the_last_value_wins() {
        let log = "{\"step\": 1, \"loss\": 2.5}\n{\"step\": 2, \"loss\": 1.5, \"f1\": 0.1}\n{\"step\": 3}\n";
        assert_eq!(
            named("log.jsonl", log),
            [pair("step", 3.0), pair("loss", 1.5), pair("f1", 0.1)]
        );
        let table = "step,loss,f1,note\n1,2.5,,a\n2,1.5,0.1,b\n3,,,c\n";
        assert_eq!(
            named("log.csv", table),
            [pair("step", 3.0), pair("loss", 1.5), pair("f1", 0.1)]
        );
        let list = "[{\"loss\": 2}, {\"loss\": 1}]";
        assert_eq!(named("log.json", list), [pair("loss", 1.0)]);
    }

    #[test]
    fn what_is_no_number_is_refused_with_its_line() {
        let cases = [
            (
                "m.json",
                "{\n  \"loss\": NaN\n}",
                "`m.json:2`: `a value` is NaN",
            ),
            (
                "m.json",
                "{\"a\": -Infinity}",
                "`m.json:1`: `a value` is infinite",
            ),
            (
                "m.json",
                "{\"a\": {\"b\": null}}",
                "`m.json`: `a.b` is null",
            ),
            ("m.json", "{\"a\": \"nan\"}", "`m.json`: `a` is NaN"),
            (
                "m.json",
                "{\"a\": [1]}",
                "`m.json`: `a` is a list, not a number",
            ),
            (
                "m.json",
                "3",
                "`m.json`: neither an object nor a list of objects",
            ),
            (
                "m.json",
                "{\"a\": 1",
                "`m.json:1`: not JSON: EOF while parsing an object in column 7",
            ),
            (
                "m.jsonl",
                "{\"a\": 1}\n\n{\"a\": NaN}\n",
                "`m.jsonl:3`: `a value` is NaN",
            ),
            (
                "m.jsonl",
                "{\"a\": 1}\n[1]\n",
                "`m.jsonl:2`: a line is not an object",
            ),
            (
                "m.jsonl",
                "{\"metric\": \"f1\", \"value\": null}\n",
                "`m.jsonl:1`: `f1` is null",
            ),
            (
                "m.jsonl",
                "{\"metric\": \"f1\", \"value\": 1, \"seed\": 2}\n",
                "`m.jsonl:1`: unknown field `seed`, expected one of `dataset`, `split`, `metric`, `class`, `value`, `n`",
            ),
            (
                "m.jsonl",
                "{\"metric\": \"f1\", \"value\": 1}\n{\"metric\": \"f1\", \"value\": 1}\n",
                "`m.jsonl:2`: metric `f1` has two rows of the same data set, split and class",
            ),
            ("m.csv", "loss\n1\nnan\n", "`m.csv:3`: `loss` is NaN"),
            (
                "m.csv",
                "metric,value\nf1,inf\n",
                "`m.csv:2`: `f1` is infinite",
            ),
            (
                "m.csv",
                "metric,value\nf1,x\n",
                "`m.csv:2`: `value` is `x`, not a number",
            ),
            (
                "m.csv",
                "metric,value,seed\nf1,1,2\n",
                "`m.csv:1`: column `seed` is not known",
            ),
            (
                "m.csv",
                "a,b\n1\n",
                "`m.csv:2`: a row has another number of fields than the header",
            ),
            ("m.csv", "", "`m.csv`: there is no header"),
            ("m.txt", "", "`m.txt` is no kind of metric file"),
        ];
        for (name, text, expected) in cases {
            assert_eq!(message(name, text), expected, "{name} {text}");
        }
        let error = read_numbers(Path::new("/no/such/m.json")).expect_err("absent");
        assert_eq!(
            error.diagnostic.message,
            "the metric file `m.json` was not written"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics.jsonl");
        let rows = vec![
            MetricRow::new("a", 0.1),
            MetricRow {
                split: Some("dev".to_owned()),
                ..MetricRow::new("a", 1e300)
            },
        ];
        write_metrics_jsonl(&path, &rows).expect("written");
        assert_eq!(
            fs_err::read_to_string(&path).expect("there"),
            "{\"metric\":\"a\",\"value\":0.1}\n{\"split\":\"dev\",\"metric\":\"a\",\"value\":1e+300}\n"
        );
        assert_eq!(read_numbers(&path).expect("it reads"), rows);
        let error = write_metrics_jsonl(&path, &[MetricRow::new("a", f64::NAN)]).expect_err("NaN");
        assert_eq!(error.diagnostic.message, "metric `a` is NaN");
    }
}
