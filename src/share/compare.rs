//! Two results of one stage side by side: the bytes of outputs, and the numbers. Knows nothing of how they were made.

use std::collections::BTreeMap;

use flow::content::{Content, Form};
use flow::metric::MetricRow;
use flow::spec::METRICS;
use flow::store::index::IndexEntry;
use flow::store::record::Record;

use super::workshop::{Workshop, outputs};
use crate::kinds::KINDS;
use crate::kinds::report::is_table;

/// Differences that are named.
const MOST_NAMED: usize = 5;

/// How two results compare.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Likeness {
    /// Every byte is the same.
    BitExact,
    /// Every number is the same within the tolerance; the largest difference, relative.
    MetricStable(f64),
    /// Neither; what differs.
    Unstable(Vec<String>),
}

/// Compares what was made again with what the record says. Without a tolerance every byte counts.
pub(super) fn compare(
    workshop: &Workshop<'_>,
    record: &Record,
    entry: &IndexEntry,
    tolerance: Option<f64>,
) -> Likeness {
    let made = outputs(entry);
    let mut differing = Vec::new();
    for (name, stated) in &record.outputs {
        match made.get(name.as_str()) {
            Some(found) if found.digest == stated.digest => {}
            Some(found) => differing.push((name.as_str(), *stated, Some(**found))),
            None => differing.push((name.as_str(), *stated, None)),
        }
    }
    let beside = beside(workshop, record);
    if differing.is_empty() {
        return match beside.is_empty() {
            true => Likeness::BitExact,
            false => Likeness::Unstable(beside),
        };
    }
    let numbers = differing.iter().find(|(name, ..)| *name == METRICS);
    let rows = |content: &Content| rows(&workshop.text(content)?);
    let compared = match numbers {
        Some((_, stated, Some(found))) => match (rows(stated), rows(found)) {
            (Some(stated), Some(found)) => Some(compare_rows(&stated, &found)),
            _ => None,
        },
        Some((.., None)) => None,
        // The numbers are the same to the byte.
        None if record
            .outputs
            .get(METRICS)
            .is_some_and(|numbers| numbers.bytes > 0) =>
        {
            Some(Ok((0.0, Vec::new())))
        }
        None => None,
    };
    if let (Some(Ok((largest, _))), Some(tolerance)) = (&compared, tolerance)
        && *largest <= tolerance
        && beside.is_empty()
    {
        return Likeness::MetricStable(*largest);
    }
    let mut lines = match compared {
        Some(Ok((_, lines)) | Err(lines)) => lines,
        None => Vec::new(),
    };
    lines.extend(beside);
    for (name, stated, found) in differing.iter().filter(|(name, ..)| *name != METRICS) {
        lines.extend(differing_files(workshop, name, stated, found.as_ref()));
    }
    if lines.is_empty() {
        lines.push("its numbers differ".to_owned());
    }
    let count = lines.len();
    lines.truncate(MOST_NAMED);
    if count > MOST_NAMED {
        lines.push(format!("and {} more", count - MOST_NAMED));
    }
    Likeness::Unstable(lines)
}

/// The same of a report that was made without some parts of its page: its numbers and tables, byte by byte. How many files
/// are the same.
pub(super) fn compare_tables(
    workshop: &Workshop<'_>,
    record: &Record,
    entry: &IndexEntry,
) -> Result<usize, Vec<String>> {
    let made = outputs(entry);
    let (mut same, mut lines) = (0, Vec::new());
    for (name, stated) in &record.outputs {
        let found = made.get(name.as_str()).copied();
        if name == METRICS {
            match found.is_some_and(|found| found.digest == stated.digest) {
                true => same += 1,
                false => lines.push("its numbers differ".to_owned()),
            }
            continue;
        }
        let trees = (
            workshop.tree(stated),
            found.and_then(|found| workshop.tree(found)),
        );
        let (Some(stated), Some(found)) = trees else {
            lines.push(format!("`{name}` cannot be compared"));
            continue;
        };
        let stated: BTreeMap<&str, _> = (stated.entries.iter())
            .map(|entry| (entry.path.as_str(), &entry.content))
            .collect();
        let tables = found.entries.iter().filter(|entry| is_table(&entry.path));
        for table in tables.filter(|entry| entry.content.is_some()) {
            match stated.get(table.path.as_str()) {
                Some(content) if **content == table.content => same += 1,
                Some(_) => lines.push(format!("`{name}/{}` has other bytes", table.path)),
                None => lines.push(format!("`{name}/{}` is not in the bundle", table.path)),
            }
        }
    }
    match lines.is_empty() {
        true => Ok(same),
        false => Err(lines),
    }
}

/// What a record says beside its outputs and later stages go by: the choice, and of kinds whose result is nothing but a
/// function of their inputs the notes. Others may note what they met, such as where a file came from.
fn beside(workshop: &Workshop<'_>, record: &Record) -> Vec<String> {
    let Some(made) = workshop.made(&record.key) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if made.choice != record.choice {
        let told = |record: &Record| {
            let choice = record.choice.iter();
            let parts: Vec<String> = choice
                .map(|(axis, value)| format!("{axis}={value}"))
                .collect();
            parts.join(", ")
        };
        lines.push(format!(
            "it chooses `{}` in the bundle, `{}` here",
            told(record),
            told(&made)
        ));
    }
    let kind = made
        .manifest
        .lines()
        .find_map(|line| line.strip_prefix("kind = "));
    let kind = kind.and_then(|line| line.split(' ').next());
    let derives = KINDS
        .iter()
        .any(|known| Some(known.name) == kind && known.derives);
    if derives && made.notes != record.notes {
        lines.push("it notes other facts".to_owned());
    }
    lines
}

fn differing_files(
    workshop: &Workshop<'_>,
    name: &str,
    stated: &Content,
    found: Option<&Content>,
) -> Vec<String> {
    let whole = vec![format!("`{name}` has other bytes")];
    let Some(found) = found else {
        return vec![format!("`{name}` was not made")];
    };
    if (stated.form, found.form) != (Form::Tree, Form::Tree) {
        return whole;
    }
    let (Some(stated), Some(found)) = (workshop.tree(stated), workshop.tree(found)) else {
        return whole;
    };
    let map = |tree: &flow::content::Tree| -> BTreeMap<String, Option<Content>> {
        tree.entries
            .iter()
            .map(|entry| (entry.path.clone(), entry.content))
            .collect()
    };
    let (stated, found) = (map(&stated), map(&found));
    let mut lines = Vec::new();
    for (path, content) in &stated {
        match found.get(path) {
            Some(other) if other == content => {}
            Some(_) => lines.push(format!("`{name}/{path}` has other bytes")),
            None => lines.push(format!("`{name}/{path}` was not made again")),
        }
    }
    let more = found.keys().filter(|path| !stated.contains_key(*path));
    lines.extend(more.map(|path| format!("`{name}/{path}` was made and is not in the bundle")));
    lines
}

fn rows(text: &str) -> Option<Vec<MetricRow>> {
    text.lines()
        .map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn identity(row: &MetricRow) -> (Option<&str>, Option<&str>, &str, Option<&str>) {
    (
        row.dataset.as_deref(),
        row.split.as_deref(),
        &row.metric,
        row.class.as_deref(),
    )
}

/// The largest relative difference, and a line for each number that is another; an error where the rows are of other
/// things, or over another number of items.
fn compare_rows(
    stated: &[MetricRow],
    found: &[MetricRow],
) -> Result<(f64, Vec<String>), Vec<String>> {
    let (mut largest, mut lines, mut other) = (0.0_f64, Vec::new(), Vec::new());
    for at in 0..stated.len().max(found.len()) {
        let (Some(left), Some(right)) = (stated.get(at), found.get(at)) else {
            other.push(format!(
                "the bundle has {} numbers, and there are {}",
                stated.len(),
                found.len()
            ));
            break;
        };
        if identity(left) != identity(right) || left.n != right.n {
            other.push(format!("number {} is `{}` in the bundle, and `{}` over other items or of another thing here", at + 1, left.metric, right.metric));
            continue;
        }
        #[expect(clippy::float_cmp, reason = "the same bits or not")]
        if left.value != right.value {
            let scale = left.value.abs().max(right.value.abs());
            largest = largest.max((left.value - right.value).abs() / scale);
            lines.push(format!(
                "`{}` is {} in the bundle, {} here",
                name(left),
                left.value,
                right.value
            ));
        }
    }
    if other.is_empty() {
        Ok((largest, lines))
    } else {
        Err(other)
    }
}

fn name(row: &MetricRow) -> String {
    let parts = [
        row.dataset.as_deref(),
        row.split.as_deref(),
        Some(row.metric.as_str()),
    ];
    let name: Vec<&str> = parts.into_iter().flatten().collect();
    match &row.class {
        Some(class) => format!("{}[{class}]", name.join("/")),
        None => name.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(metric: &str, value: f64, n: u64) -> MetricRow {
        MetricRow {
            n: Some(n),
            ..MetricRow::new(metric, value)
        }
    }

    #[test]
    fn numbers_are_close_where_they_are_of_the_same_things() {
        let stated = [row("f1", 80.0, 5), row("recall", 0.0, 5)];
        let near = [row("f1", 80.8, 5), row("recall", 0.0, 5)];
        let (largest, lines) = compare_rows(&stated, &near).expect("comparable");
        assert!((largest - 0.8 / 80.8).abs() < 1e-12, "{largest}");
        assert_eq!(lines, ["`f1` is 80 in the bundle, 80.8 here"]);
        for other in [
            vec![row("f1", 80.0, 5)],
            vec![row("f1", 80.0, 6), row("recall", 0.0, 5)],
            vec![row("recall", 0.0, 5), row("f1", 80.0, 5)],
        ] {
            assert!(compare_rows(&stated, &other).is_err());
        }
        // Zero against anything is no small difference.
        let (largest, _) =
            compare_rows(&[row("f1", 0.0, 1)], &[row("f1", 1e-9, 1)]).expect("comparable");
        assert!((largest - 1.0).abs() < 1e-12);
    }
}
