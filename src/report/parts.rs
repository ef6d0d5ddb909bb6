//! From options to the parts of a page, in order. Knows no markup and no files of a report.

use crate::chart::{self, Chart};
use crate::claims::Judged;
use crate::error::ReportError;
use crate::input::Instance;
use crate::measure::Data;
use crate::options::{ChartOptions, Options, TableOptions};
use crate::page::Body;
use crate::sections::options::{LedgerOptions, SectionOptions};
use crate::sections::{Part, choice, confusion, curves, ledger, samples, settings};
use crate::table;

/// The parts of a page while they are made.
pub(crate) struct Parts<'a> {
    pub(crate) data: &'a Data,
    /// Instances whose files parts read.
    pub(crate) files: &'a [Instance],
    /// Names of all inputs.
    pub(crate) ports: Vec<String>,
    pub(crate) judged: &'a [Judged],
    pub(crate) options: &'a Options,
    pub(crate) slugs: Slugs,
    pub(crate) body: Body,
    pub(crate) warnings: Vec<String>,
}

impl Parts<'_> {
    /// Makes all of them.
    ///
    /// # Errors
    /// When options name what is not there, and files cannot be read.
    pub(crate) fn make(&mut self) -> Result<(), ReportError> {
        let options = self.options;
        let wanted = match (options.tables.is_empty(), options.sections.is_empty()) {
            (true, true) => table::automatic(self.data)?,
            _ => options.tables.clone(),
        };
        // Names are given out in this order whatever stands first, so that files keep theirs.
        for table in &wanted {
            self.table(table)?;
        }
        let n_tables = self.body.parts.len();
        for chart in &options.charts {
            self.chart(chart)?;
        }
        if options.charts_first {
            self.body.parts.rotate_left(n_tables);
        }
        for section in &options.sections {
            self.section(section)?;
        }
        self.ledger()
    }

    fn table(&mut self, options: &TableOptions) -> Result<(), ReportError> {
        let title = options.title.as_deref().unwrap_or("numbers");
        let slug = self.slugs.unique(title);
        let table = table::build(self.data, self.judged, options, slug)?;
        if table.lines.is_empty() {
            self.warnings
                .push(format!("no row matches table `{}`", table.title));
        }
        let at = self.body.tables.len();
        self.body.tables.push(table);
        self.body.parts.push(Part::Table { at });
        Ok(())
    }

    fn chart(&mut self, options: &ChartOptions) -> Result<(), ReportError> {
        let slug = self.slugs.unique(&options.title);
        let chart = chart::build(self.data, self.judged, options, slug)?;
        if chart.is_none() {
            self.warnings
                .push(format!("no row matches chart `{}`", options.title));
        }
        self.push_chart(chart);
        Ok(())
    }

    fn push_chart(&mut self, chart: Option<Chart>) {
        if let Some(chart) = chart {
            let at = self.body.charts.len();
            self.body.charts.push(chart);
            self.body.parts.push(Part::Chart { at });
        }
    }

    fn section(&mut self, section: &SectionOptions) -> Result<(), ReportError> {
        let (data, files) = (self.data, self.files);
        let (part, title, is_empty) = match section {
            SectionOptions::Text(text) => {
                let text = text.clone();
                (Part::Text { text }, "text", false)
            }
            SectionOptions::Table(options) => return self.table(options),
            SectionOptions::Chart(options) => return self.chart(options),
            SectionOptions::Curves(options) => {
                self.check_port(section, "curves", &options.title)?;
                let slug = self.slugs.unique(&options.title);
                let chart = curves::build(files, options, slug)?;
                if chart.is_none() {
                    self.warnings.push(format!(
                        "no line of a log has `{}` and `{}`, which the curves `{}` show",
                        options.x, options.y, options.title
                    ));
                }
                self.push_chart(chart);
                return Ok(());
            }
            SectionOptions::Ledger(options) => {
                let ledger = ledger::build(data, &self.options.ledger, options)?;
                let Some((ledger, _)) = ledger else {
                    self.warnings
                        .push("there is no `ledger` to show".to_owned());
                    return Ok(());
                };
                (Part::Ledger(ledger), "ledger", false)
            }
            SectionOptions::Samples(options) => {
                self.check_port(section, "samples", &options.title)?;
                let slug = self.slugs.unique(&options.title);
                let (samples, missing) = samples::build(files, options, slug)?;
                for id in missing {
                    let title = &options.title;
                    self.warnings
                        .push(format!("no example of `{title}` is called `{id}`"));
                }
                let is_empty = samples.groups.is_empty();
                (Part::Samples(samples), options.title.as_str(), is_empty)
            }
            SectionOptions::Confusion(options) => {
                self.check_port(section, "confusion", &options.title)?;
                let slug = self.slugs.unique(&options.title);
                let confusion = confusion::build(files, options, slug)?;
                let is_empty = confusion.matrices.is_empty();
                (Part::Confusion(confusion), options.title.as_str(), is_empty)
            }
            SectionOptions::Choice(options) => {
                self.check_port(section, "choice", &options.title)?;
                let slug = self.slugs.unique(&options.title);
                let given = choice::Given {
                    options: self.options,
                    tables: &self.body.tables,
                };
                let choice = choice::build(data, files, options, &given, slug)?;
                let is_empty = choice.choices.is_empty();
                (Part::Choice(choice), options.title.as_str(), is_empty)
            }
            SectionOptions::Settings(options) => {
                self.check_port(section, "settings", &options.title)?;
                let slug = self.slugs.unique(&options.title);
                let (settings, unknown) = settings::build(files, options, slug)?;
                for key in unknown.iter().filter(|_| !settings.columns.is_empty()) {
                    let title = &options.title;
                    self.warnings
                        .push(format!("no stage of `{title}` has a setting `{key}`"));
                }
                let is_empty = settings.columns.is_empty();
                (Part::Settings(settings), options.title.as_str(), is_empty)
            }
        };
        if is_empty {
            self.warnings
                .push(format!("nothing is there to show in `{title}`"));
        }
        self.body.parts.push(part);
        Ok(())
    }

    fn check_port(
        &self,
        section: &SectionOptions,
        word: &str,
        title: &str,
    ) -> Result<(), ReportError> {
        let is_there = |port: &&String| self.ports.contains(port);
        let Some(port) = section.ports().iter().find(|port| !is_there(port)) else {
            return Ok(());
        };
        Err(ReportError::UnknownPort {
            place: format!("{word} `{title}`"),
            port: port.clone(),
            ports: self.ports.clone(),
        })
    }

    /// Marks what the ledger touches, and puts it last where no part of the page asked for it.
    fn ledger(&mut self) -> Result<(), ReportError> {
        let options = LedgerOptions::default();
        let built = ledger::build(self.data, &self.options.ledger, &options)?;
        let Some((ledger, touched)) = built else {
            return Ok(());
        };
        ledger::mark(&mut self.body.tables, &touched);
        let is_there = |part: &Part| matches!(part, Part::Ledger(_));
        if !self.body.parts.iter().any(is_there) {
            self.body.parts.push(Part::Ledger(ledger));
        }
        Ok(())
    }
}

/// Gives out names for files and anchors, each once.
#[derive(Debug)]
pub(crate) struct Slugs(Vec<String>);

impl Default for Slugs {
    fn default() -> Self {
        Self(
            [
                "rows",
                "claims",
                "sources",
                "ledger",
                "main",
                "averages",
                "checklist",
            ]
            .map(str::to_owned)
            .into(),
        )
    }
}

impl Slugs {
    /// `Table 2: NER data` as `table-2-ner-data`; numbered when taken.
    pub(crate) fn unique(&mut self, title: &str) -> String {
        let mut slug = String::new();
        for c in title.chars() {
            if c.is_ascii_alphanumeric() {
                slug.push(c.to_ascii_lowercase());
            } else if !slug.ends_with('-') && !slug.is_empty() {
                slug.push('-');
            }
        }
        slug.truncate(60);
        let base = match slug.trim_matches('-') {
            "" => "table".to_owned(),
            slug => slug.to_owned(),
        };
        let name = (1_u32..)
            .map(|number| match number {
                1 => base.clone(),
                number => format!("{base}-{number}"),
            })
            .find(|name| !self.0.contains(name))
            .expect("some number is free");
        self.0.push(name.clone());
        name
    }
}
