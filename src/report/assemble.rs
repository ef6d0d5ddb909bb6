//! From options, claims and instances to the files of a report. Knows nothing of stages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fs_err as fs;

use crate::claims::{self, Counts};
use crate::error::ReportError;
use crate::frame::{self, Frame, SheetColumn};
use crate::input::{Instance, load_rows};
use crate::measure::Data;
use crate::options::{Claim, Options};
use crate::page::{Body, ClaimLine, Page};
use crate::parts::{Parts, Slugs};
use crate::render::{html, latex, markdown};
use crate::sections::checklist::{self, Evidence};
use crate::sections::{Part, confusion, settings};
use crate::{published, sheet, verdicts};

/// Every claim with its verdict and the numbers it rests on, a JSON object a line.
pub const CLAIMS_FILE: &str = "claims.jsonl";

/// A finished report: its files by path inside its folder, a function of what [`build`] was given.
#[derive(Clone, Debug)]
pub struct Report {
    /// Bytes by path: `index.html`, `report.md`, `tables/…`, `charts/…`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How the claims came out.
    pub counts: Counts,
    /// What the user should know and that stops nothing, lower-case fragments.
    pub warnings: Vec<String>,
}

impl Report {
    /// Writes the files into `folder`, which is made if need be.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), ReportError> {
        for (name, bytes) in &self.files {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            fs::create_dir_all(parent)
                .and_then(|()| fs::write(&path, bytes))
                .map_err(|source| ReportError::Io { path, source })?;
        }
        Ok(())
    }
}

/// Reads the rows of every instance and makes the report.
///
/// # Errors
/// When rows cannot be read, options name what is not there, or the template does not render.
pub fn build(
    options: &Options,
    claims: &[Claim],
    instances: Vec<Instance>,
    template: Option<&str>,
) -> Result<Report, ReportError> {
    let ports: Vec<&str> = options.section_ports().collect();
    let known: BTreeSet<String> = instances.iter().map(|one| one.input.clone()).collect();
    let (files_of_parts, instances): (Vec<Instance>, Vec<Instance>) = instances
        .into_iter()
        .partition(|instance| ports.contains(&instance.input.as_str()));
    let rows = instances
        .iter()
        .map(|instance| load_rows(&instance.path))
        .collect::<Result<Vec<_>, _>>()?;
    let rows_of: Vec<usize> = rows.iter().map(Vec::len).collect();
    let data = Data {
        frame: Frame::new(&instances, &rows)?,
        instances,
    };
    let chosen: Vec<Claim> = claims
        .iter()
        .filter(|claim| claim.is_chosen_by(&options.expect))
        .cloned()
        .collect();
    let judged = claims::judge(&data, &chosen)?;
    let mut parts = Parts {
        data: &data,
        files: &files_of_parts,
        ports: known.into_iter().collect(),
        judged: &judged,
        options,
        slugs: Slugs::default(),
        body: Body::default(),
        warnings: Vec::new(),
    };
    parts.make()?;
    let (mut body, warnings) = (parts.body, parts.warnings);
    if options.checklist {
        let checklist = checklist::build(Evidence {
            instances: &data.instances,
            rows: &rows,
            files: &files_of_parts,
            body: &body,
            judged: &judged,
        });
        body.parts.push(Part::Checklist(checklist));
    }
    let page = Page::new(options, body, &judged, &data, &rows_of, &files_of_parts);
    Ok(Report {
        files: files(&page, &data, template)?,
        counts: page.counts,
        warnings,
    })
}

fn files(
    page: &Page,
    data: &Data,
    template: Option<&str>,
) -> Result<BTreeMap<String, Vec<u8>>, ReportError> {
    let mut files = BTreeMap::new();
    files.insert(
        "index.html".to_owned(),
        html::report(page, template)?.into_bytes(),
    );
    files.insert("report.md".to_owned(), markdown::report(page).into_bytes());
    for table in &page.tables {
        let (csv, parquet) = frame::sheet(&sheet::columns(table))?;
        files.insert(format!("tables/{}.csv", table.slug), csv);
        files.insert(format!("tables/{}.parquet", table.slug), parquet);
        files.insert(
            format!("tables/{}.tex", table.slug),
            latex::table(table).into_bytes(),
        );
        if table.has_published {
            let (csv, parquet) = frame::sheet(&published::sheet(table))?;
            files.insert(format!("tables/{}-published.csv", table.slug), csv);
            files.insert(format!("tables/{}-published.parquet", table.slug), parquet);
        }
    }
    for part in &page.parts {
        let (slug, columns) = match part {
            Part::Confusion(confusion) => (&confusion.slug, confusion::sheet(confusion)),
            Part::Settings(settings) => {
                let tex = latex::settings(settings).into_bytes();
                files.insert(format!("tables/{}.tex", settings.slug), tex);
                (&settings.slug, settings::sheet(settings))
            }
            _ => continue,
        };
        let (csv, parquet) = frame::sheet(&columns)?;
        files.insert(format!("tables/{slug}.csv"), csv);
        files.insert(format!("tables/{slug}.parquet"), parquet);
    }
    for chart in &page.charts {
        files.insert(
            format!("charts/{}.svg", chart.slug),
            chart.svg.clone().into_bytes(),
        );
    }
    files.insert("tables/rows.csv".to_owned(), data.frame.csv()?);
    files.insert("tables/rows.parquet".to_owned(), data.frame.parquet()?);
    if !page.claims.is_empty() {
        let (csv, parquet) = frame::sheet(&claim_sheet(&page.claims))?;
        files.insert("tables/claims.csv".to_owned(), csv);
        files.insert("tables/claims.parquet".to_owned(), parquet);
        files.insert(CLAIMS_FILE.to_owned(), verdicts::write(&page.claims));
    }
    Ok(files)
}

fn claim_sheet(claims: &[ClaimLine]) -> Vec<SheetColumn> {
    let text = |name: &str, get: &dyn Fn(&ClaimLine) -> Option<String>| {
        SheetColumn::Text(name.to_owned(), claims.iter().map(get).collect())
    };
    vec![
        text("verdict", &|claim| Some(claim.word.to_owned())),
        text("metric", &|claim| Some(claim.metric.clone())),
        text("where", &|claim| Some(claim.place.clone())),
        text("stated", &|claim| Some(claim.stated.clone())),
        text("tolerance", &|claim| Some(claim.tolerance.clone())),
        text("reproduced", &|claim| claim.found.clone()),
        text("repetitions", &|claim| claim.repetitions.clone()),
        text("difference", &|claim| claim.difference.clone()),
        text("interval", &|claim| claim.interval.clone()),
        text("source", &|claim| claim.source.clone()),
        text("remarks", &|claim| {
            Some(markdown::sentences(&claim.remarks))
        }),
    ]
}
