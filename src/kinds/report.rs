//! src/kinds/report.rs: sets the numbers of its inputs in tables and charts beside stated ones. Knows nothing of how pages look.

use std::collections::BTreeSet;
use std::path::PathBuf;

use flow::diagnostic::{Class, Diagnostic};
use flow::kind::{
    BindContext, ConfigProblem, InputItem, Ports, StageContext, StageError, StageKind, StageReport,
};
use flow::made_by::MadeBy;
use flow::metric::MetricRow;
use flow::notes::{Notes, SETTINGS};
use flow::spec::{Axis, METRICS};
use report::claims::Verdict;
use report::input::Departure;
use report::options::{ChartOptions, TableOptions, Where};
use report::sections::options::{LedgerEntry, SectionOptions, SettingsOptions};
use report::sections::settings::StageSettings;
use report::{Claim, INDEX_FILE, Instance, Options, ReportError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The port of a page template that replaces the built-in one.
const TEMPLATE: &str = "template";
/// The only output: a folder.
const OUTPUT: &str = "report";

/// Tables and charts of the inputs' numbers. Without `tables` there is one a data set, over everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// Heading of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    /// Introduction, Markdown; raw HTML is shown as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// Tables, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tables: Vec<TableOptions>,
    /// Charts, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    charts: Vec<ChartOptions>,
    /// Whether the charts stand before the tables.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    charts_first: bool,
    /// Further parts of the page, in order: `text`, `table`, `chart`, `samples`, `confusion`, `curves`, `choice`, `settings`, `ledger`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sections: Vec<SectionOptions>,
    /// What the paper left open, what was taken for it, and which numbers it touches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ledger: Vec<LedgerEntry>,
    /// Whether the questions of reviewers' checklists stand at the end, answered from records as far as these go.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    checklist: bool,
    /// Which claims of the pipeline file this report judges, by `metric`, `source` or a column of their `where`, such as `{ source: [Table 2, Table 3] }`. All unless given.
    #[serde(skip_serializing_if = "Where::is_empty")]
    expect: Where,
    /// `expect:` of the pipeline file; filled in by binding.
    #[serde(skip_serializing_if = "Value::is_null")]
    #[schemars(skip)]
    claims: Value,
}

impl StageKind for Report {
    const NAME: &'static str = "report";
    /// 1: first. 2: claims about numbers over repetitions are judged by a test of equivalence. 3: deviations in cells, a
    /// picture of the repetitions, a page of parts. 4: what departs is told together, claims that are not judged stay out.
    /// 5: the style of tables of settings. 6: curves of one point, whole numbers on axes, kinds of error on telephones; what
    /// a page says on paper. 7: tables that fit. 8: what no result stands behind is not comparable.
    const VERSION: u32 = 8;
    const DOC: &'static str =
        "Tables and charts of its inputs' numbers, beside what a paper states, as one page";
    const READS_RECORDS: bool = true;
    const IS_REPORT: bool = true;

    fn ports(&self) -> Ports {
        Ports {
            any_input: true,
            any_output: Some(METRICS),
            ..Ports::default().optional(TEMPLATE).outputs([OUTPUT])
        }
    }

    fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        check_filter(&self.expect, &[], &mut problems);
        for (at, table) in self.tables.iter().enumerate() {
            check_table(table, &["tables".to_owned(), at.to_string()], &mut problems);
        }
        for (at, chart) in self.charts.iter().enumerate() {
            check_chart(chart, &["charts".to_owned(), at.to_string()], &mut problems);
        }
        for (at, entry) in self.ledger.iter().enumerate() {
            let path = ["ledger".to_owned(), at.to_string()];
            check_filter(&entry.filter, &path, &mut problems);
        }
        for (at, section) in self.sections.iter().enumerate() {
            check_section(section, at, &mut problems);
        }
        problems
    }

    fn complete(&mut self, context: &BindContext<'_>) {
        self.claims = match context.claims {
            Value::Array(claims) => {
                // Only those it judges: others are no matter of this report's key.
                let is_judged = |claim: &&Value| {
                    serde_json::from_value::<Claim>((*claim).clone())
                        .map_or(true, |claim| claim.is_chosen_by(&self.expect))
                };
                let judged: Vec<Value> = claims.iter().filter(is_judged).cloned().collect();
                match judged.is_empty() {
                    true => Value::Null,
                    false => Value::Array(judged),
                }
            }
            claims => claims.clone(),
        };
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let instances = instances(stage, &self.section_ports())?;
        let template = match stage.find_input(TEMPLATE) {
            Some(path) => Some(fs_err::read_to_string(path)?),
            None => None,
        };
        let options = Options {
            title: self.title.clone(),
            text: self.text.clone(),
            tables: self.tables.clone(),
            charts: self.charts.clone(),
            charts_first: self.charts_first,
            expect: self.expect.clone(),
            sections: self.sections.clone(),
            ledger: self.ledger.clone(),
            checklist: self.checklist,
        };
        let report = report::build(&options, &self.claims()?, instances, template.as_deref())
            .map_err(|error| stage_error(&error))?;
        report
            .write(&stage.output(OUTPUT))
            .map_err(|error| stage_error(&error))?;
        Ok(StageReport {
            numbers: Verdict::ALL
                .map(|verdict| {
                    MetricRow::new(claims_number(verdict), report.counts.get(verdict) as f64)
                })
                .into(),
            warnings: report
                .warnings
                .iter()
                .map(|warning| {
                    Diagnostic::warning("report::no_rows", warning)
                        .help("compare its `where` with `tables/rows.csv` of the report")
                })
                .collect(),
            ..StageReport::default()
        })
    }
}

/// The configuration of a report without those parts of its page that read some inputs as they are, and the inputs that
/// nothing reads then; `None` where the tables need one of them, or the configuration is not a report's.
pub(crate) fn without(config: &Value, missing: &BTreeSet<String>) -> Option<(Value, Vec<String>)> {
    let mut report: Report = serde_json::from_value(config.clone()).ok()?;
    let before: BTreeSet<String> = owned(&report.section_ports());
    if missing.is_empty() || !missing.is_subset(&before) {
        return None;
    }
    // A part stands in its place: a page without any would have tables of its own accord.
    for section in &mut report.sections {
        if section.ports().iter().any(|port| missing.contains(port)) {
            *section = serde_json::from_value(serde_json::json!({ "text": "Left out." })).ok()?;
        }
    }
    let after = owned(&report.section_ports());
    let config = serde_json::to_value(&report).ok()?;
    Some((config, before.difference(&after).cloned().collect()))
}

/// Whether the page of a report with this configuration shows texts of an input's instance as they are, other than counts
/// of them.
pub(crate) fn quotes(config: &Value, port: &str, axes: &[Axis]) -> bool {
    let Ok(report) = serde_json::from_value::<Report>(config.clone()) else {
        return true;
    };
    let is_meant = |filter: &Where| {
        filter.iter().all(|(name, wanted)| {
            let own = axes.iter().find(|axis| axis.name == *name);
            let own = own.map(Axis::value);
            let is_it = |value: &Value| match (&own, value) {
                (None, value) => value.is_null(),
                (Some(own), Value::String(text)) => own == text,
                (Some(own), Value::Number(number)) => own.parse().ok() == number.as_f64(),
                (Some(own), value) => own.parse().ok() == value.as_bool() && !value.is_null(),
            };
            match wanted {
                Value::Array(values) => values.iter().any(is_it),
                value => is_it(value),
            }
        })
    };
    report.sections.iter().any(|section| match section {
        SectionOptions::Samples(samples) => samples.from == port && is_meant(&samples.filter),
        _ => false,
    })
}

fn owned(ports: &[&str]) -> BTreeSet<String> {
    ports.iter().map(|port| (*port).to_owned()).collect()
}

/// Whether a file of a report holds numbers that are made of other numbers alone.
pub(crate) fn is_table(path: &str) -> bool {
    path.starts_with("tables/")
}

impl Report {
    /// Inputs that parts of the page read as they are, each once.
    fn section_ports(&self) -> Vec<&str> {
        let ports = self.sections.iter().flat_map(SectionOptions::ports);
        let mut ports: Vec<&str> = ports.map(String::as_str).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn claims(&self) -> Result<Vec<Claim>, StageError> {
        if self.claims.is_null() {
            return Ok(Vec::new());
        }
        serde_json::from_value(self.claims.clone()).map_err(|error| {
            let mut failure = StageError::new(
                "report::bad_claim",
                format!("an entry of `expect` is not a claim: {error}"),
            )
            .help("claims are `{metric, where, value, tolerance, n, sd, source, note}`; `metric` and `value` are required");
            failure.class = Class::Input;
            failure
        })
    }
}

fn check_table(table: &TableOptions, path: &[String], problems: &mut Vec<ConfigProblem>) {
    check_filter(&table.filter, path, problems);
    for (at, number) in table.numbers.iter().enumerate() {
        let path = [path, &["numbers".to_owned(), at.to_string()]].concat();
        check_filter(&number.filter, &path, problems);
    }
    for (at, published) in table.published.iter().enumerate() {
        let path = [path, &["published".to_owned(), at.to_string()]].concat();
        check_filter(&published.filter, &path, problems);
        if published.values.is_empty() {
            problems.push(ConfigProblem {
                path,
                message: format!("`{}` has no number", published.system),
                help: Some("write one a column, such as `f1: 89.71`".to_owned()),
            });
        }
    }
}

fn check_chart(chart: &ChartOptions, path: &[String], problems: &mut Vec<ConfigProblem>) {
    check_filter(&chart.filter, path, problems);
    if chart.from.is_some_and(|from| !from.is_finite()) {
        problems.push(ConfigProblem {
            path: [path, &["from".to_owned()]].concat(),
            message: "the axis must begin at a number".to_owned(),
            help: None,
        });
    }
}

fn check_section(section: &SectionOptions, at: usize, problems: &mut Vec<ConfigProblem>) {
    let path = |word: &str| ["sections".to_owned(), at.to_string(), word.to_owned()];
    let mut range = |word: &str, key: &str, value: u16, from: u16, to: u16| {
        if !(from..=to).contains(&value) {
            problems.push(ConfigProblem {
                path: [&path(word)[..], &[key.to_owned()]].concat(),
                message: format!("`{key}` is {value}"),
                help: Some(format!("write a number from {from} to {to}")),
            });
        }
    };
    match section {
        SectionOptions::Samples(samples) => {
            range("samples", "each", u16::from(samples.each), 1, 20);
            range("samples", "characters", samples.characters, 80, 4000);
        }
        SectionOptions::Curves(curves) => range("curves", "points", curves.points, 10, 1000),
        _ => {}
    }
    match section {
        SectionOptions::Text(_) | SectionOptions::Ledger(_) => {}
        SectionOptions::Table(table) => check_table(table, &path("table"), problems),
        SectionOptions::Chart(chart) => check_chart(chart, &path("chart"), problems),
        SectionOptions::Samples(one) => check_filter(&one.filter, &path("samples"), problems),
        SectionOptions::Confusion(one) => check_filter(&one.filter, &path("confusion"), problems),
        SectionOptions::Curves(one) => check_filter(&one.filter, &path("curves"), problems),
        SectionOptions::Settings(one) => {
            check_filter(&one.filter, &path("settings"), problems);
            check_settings(one, &path("settings"), problems);
        }
        SectionOptions::Choice(one) => {
            check_filter(&one.filter, &path("choice"), problems);
            if let Some(beside) = &one.beside {
                let path = [&path("choice")[..], &["beside".to_owned()]].concat();
                check_filter(&beside.filter, &path, problems);
            }
        }
    }
}

fn check_settings(one: &SettingsOptions, path: &[String], problems: &mut Vec<ConfigProblem>) {
    for (name, is_empty) in [("from", one.from.is_empty()), ("rows", one.rows.is_empty())] {
        if is_empty {
            problems.push(ConfigProblem {
                path: [path, &[name.to_owned()]].concat(),
                message: format!("`{name}` is empty"),
                help: Some(
                    "write `from: [INPUT]` and `rows: [{ key: learning_rate, stated: 5e-5 }]`"
                        .to_owned(),
                ),
            });
        }
    }
    for (at, row) in one.rows.iter().enumerate() {
        let is_deep = |value: &Value| value.is_object() || value.is_array();
        let is_wrong = match &row.stated {
            Value::Object(columns) => columns.values().any(is_deep),
            one => is_deep(one),
        };
        if is_wrong {
            let inner = ["rows".to_owned(), at.to_string(), "stated".to_owned()];
            problems.push(ConfigProblem {
                path: [path, &inner].concat(),
                message: format!("what is stated of `{}` is no single value", row.key),
                help: Some("write `stated: VALUE` or `stated: { COLUMN: VALUE }`".to_owned()),
            });
        }
    }
}

/// The number of a report's record that says how many claims came out like this.
#[must_use]
pub fn claims_number(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reproduced => "claims_reproduced",
        Verdict::Differs => "claims_differing",
        Verdict::Inconclusive => "claims_inconclusive",
        Verdict::Missing => "claims_missing",
        Verdict::NotComparable => "claims_not_comparable",
    }
}

/// Filters hold single values and lists of such.
fn check_filter(filter: &Where, path: &[String], problems: &mut Vec<ConfigProblem>) {
    for (column, value) in filter {
        let is_deep = |value: &Value| value.is_object() || value.is_array();
        let is_wrong = match value {
            Value::Array(items) => items.iter().any(is_deep),
            one => is_deep(one),
        };
        if is_wrong {
            problems.push(ConfigProblem {
                path: match path {
                    [] => vec!["expect".to_owned(), column.clone()],
                    path => [path, &["where".to_owned(), column.clone()]].concat(),
                },
                message: format!(
                    "the filter on `{column}` is neither a value nor a list of values"
                ),
                help: Some(format!(
                    "write `{column}: VALUE` or `{column}: [VALUE, VALUE]`"
                )),
            });
        }
    }
}

/// Every producer of rows among the inputs, ports in order of their names, instances in the order of the matrix.
///
/// Those of `as_they_are` are no rows: a part of the page reads their files.
fn instances(stage: &StageContext, as_they_are: &[&str]) -> Result<Vec<Instance>, StageError> {
    let mut instances = Vec::new();
    for (port, input) in stage.inputs.iter().filter(|(port, _)| *port != TEMPLATE) {
        for item in &input.items {
            let path = stage.folder.join(&item.path);
            if path.join(INDEX_FILE).is_file() {
                let listed =
                    report::load_index(port, &path).map_err(|error| stage_error(&error))?;
                instances.extend(listed);
            } else {
                let path = match as_they_are.contains(&port.as_str()) {
                    true => path,
                    false => rows_file(port, path)?,
                };
                instances.push(instance(port, item, path));
            }
        }
    }
    settle(&mut instances);
    if instances.is_empty() {
        return Err(
            StageError::new("report::no_input", "the report has no numbers to show")
                .help("name at least one stage under `needs`, such as `needs: { scores: score }`"),
        );
    }
    Ok(instances)
}

/// Gives to each input what of the report itself departs there. It comes with every result that is read, and holds for a
/// person's own files as well.
fn settle(instances: &mut [Instance]) {
    let mut own: Vec<Departure> = Vec::new();
    let made = || instances.iter().filter(|one| one.key.is_some());
    for departure in made().flat_map(|one| &one.departures) {
        let is_everywhere = || made().all(|one| one.departures.contains(departure));
        if !own.contains(departure) && is_everywhere() {
            own.push(departure.clone());
        }
    }
    for instance in instances {
        if instance.key.is_none() {
            instance.departures = own.clone();
        }
        let input = instance.input.clone();
        let is_here = |one: &Departure| one.port.as_ref().is_none_or(|port| *port == input);
        instance.departures.retain(is_here);
        for departure in &mut instance.departures {
            departure.port = None;
        }
    }
}

/// The file of rows: the input itself, or what `command` calls it in a folder.
fn rows_file(port: &str, path: PathBuf) -> Result<PathBuf, StageError> {
    if path.is_dir() {
        let inside = path.join("metrics.jsonl");
        if !inside.is_file() {
            return Err(StageError::new(
                "report::not_rows",
                format!("input `{port}` is a folder without `metrics.jsonl` or `{INDEX_FILE}`"),
            )
            .help(format!(
                "name the stage alone or its `{METRICS}` output, such as `{port}: STAGE.{METRICS}`"
            )));
        }
        return Ok(inside);
    }
    Ok(path)
}

fn instance(port: &str, item: &InputItem, path: PathBuf) -> Instance {
    Instance {
        input: port.to_owned(),
        path,
        axes: item
            .axes
            .iter()
            .map(|axis| (axis.name.clone(), axis.value()))
            .collect(),
        replicate: item
            .axes
            .iter()
            .find(|axis| axis.replicate)
            .map(|axis| axis.name.clone()),
        key: item.key.map(|key| key.to_string()),
        device: item.device.clone(),
        departures: report::input::departures(&item.notes),
        notes: item.notes.clone(),
        settings: item
            .made_by
            .as_ref()
            .map(|made| settings(made, &item.notes)),
    }
}

/// What a record's configuration amounts to, and what the stage noted of settings that hang on its inputs. Of another
/// version of the kind only what was written is known.
fn settings(made: &MadeBy, notes: &Notes) -> StageSettings {
    let kind = (super::KINDS.iter())
        .find(|entry| entry.name == made.kind && entry.version == made.version);
    let in_effect = kind.and_then(|entry| (entry.in_effect)(&made.config));
    let mut in_effect = in_effect.unwrap_or_else(|| made.config.clone());
    if let (Some(Value::Object(noted)), Value::Object(known)) =
        (notes.get(SETTINGS), &mut in_effect)
    {
        for (name, value) in noted {
            let is_open = known
                .get(name)
                .is_none_or(|known| known.get("as").is_some());
            if is_open {
                known.insert(name.clone(), serde_json::json!({ "is": value }));
            }
        }
    }
    StageSettings {
        in_effect,
        written: made.config.clone(),
    }
}

fn stage_error(error: &ReportError) -> StageError {
    let mut failure = StageError::new(error.code(), error.to_string());
    failure.diagnostic.help = error.help();
    failure.diagnostic.details = error.details();
    match error {
        ReportError::Io { source, .. } => {
            failure.diagnostic.details.push(source.to_string());
            failure.environment()
        }
        ReportError::Frame(_) => failure.bug(),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flow::digest::Use;
    use flow::kind::StageInput;
    use flow::spec::Axis;

    use super::*;

    fn item(path: &str, seed: u32) -> InputItem {
        InputItem {
            path: path.to_owned(),
            axes: vec![Axis {
                name: "seed".to_owned(),
                text: seed.to_string(),
                json: seed.to_string(),
                replicate: true,
            }],
            digest: Use::File.digest(path.as_bytes()),
            key: Some(Use::Manifest.digest(path.as_bytes())),
            device: Some("cpu".to_owned()),
            notes: BTreeMap::new(),
            made_by: None,
        }
    }

    #[test]
    fn a_minimal_stage_judges_the_claims_of_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        for seed in [1, 2] {
            fs_err::write(
                folder.path().join(format!("{seed}.jsonl")),
                format!("{{\"metric\":\"f1\",\"dataset\":\"ddi\",\"split\":\"test\",\"value\":9{seed}}}\n"),
            )
            .expect("a fixture");
        }
        let mut kind: Report = serde_json::from_str("{}").expect("an empty configuration");
        let claims = serde_json::json!([
            { "metric": "f1", "where": { "dataset": "ddi" }, "value": 91.3, "tolerance": 0.5 },
            { "metric": "f1", "where": { "seed": 1 }, "value": 92 },
            { "metric": "recall", "value": 1 },
        ]);
        kind.complete(&BindContext {
            root: folder.path(),
            stage: "table",
            mirrors: &[],
            locked: None,
            claims: &claims,
        });
        let again: Report = serde_json::from_value(kind.manifest_config()).expect("claims travel");
        assert_eq!(again, kind);
        let inputs = BTreeMap::from([(
            "scores".to_owned(),
            StageInput {
                place: "scores".to_owned(),
                items: vec![item("1.jsonl", 1), item("2.jsonl", 2)],
                many: true,
            },
        )]);
        let done = kind
            .run(&StageContext::in_folder(folder.path(), inputs))
            .expect("a report");
        let counts: Vec<f64> = done.numbers.iter().map(|row| row.value).collect();
        // One stated run against two seeds half a point apart settles nothing, and a single seed never does.
        assert_eq!(counts, [0.0, 0.0, 2.0, 1.0, 0.0]);
        let page = fs_err::read_to_string(folder.path().join("report/index.html")).expect("a page");
        assert!(page.contains("91.50"), "the mean of 91 and 92");
    }

    #[test]
    fn defaults_leave_no_line_in_the_manifest() {
        let kind = Report::default();
        assert_eq!(kind.manifest_config(), serde_json::json!({}));
        assert_eq!(kind.ports().any_output, Some(METRICS));
    }

    #[test]
    fn mistakes_name_the_next_action() {
        let folder = tempfile::tempdir().expect("a folder");
        let nothing = Report::default()
            .run(&StageContext::in_folder(folder.path(), BTreeMap::new()))
            .expect_err("no input");
        assert_eq!(nothing.diagnostic.code, "report::no_input");
        assert!(nothing.diagnostic.help.is_some());
        let deep: Report = serde_json::from_value(serde_json::json!({
            "tables": [{ "where": { "split": { "not": "train" } } }]
        }))
        .expect("decodes");
        assert_eq!(deep.check()[0].path, ["tables", "0", "where", "split"]);
    }
}
