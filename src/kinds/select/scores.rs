//! The numbers that decide: one row of each instance, found, counted and looked at. Knows nothing of ranks.

use std::collections::BTreeSet;

use flow::key::axes_text;
use flow::kind::{InputItem, StageContext, StageError, StageInput};
use flow::metric::MetricRow;
use flow::spec::Axis;
use flow::spec::suggest;

use data::divide::is_test_split;

use super::{PORT, Select};

/// One instance.
pub(super) struct Score {
    /// The values of `over`, in its order.
    pub(super) values: Vec<Axis>,
    /// The values averaged over.
    pub(super) repetition: Vec<Axis>,
    /// The number; `None` where the instance has none of that name.
    pub(super) value: Option<f64>,
}

/// The number of every instance.
pub(super) struct Scores {
    /// In the order of the matrix.
    pub(super) all: Vec<Score>,
    /// The data set, where all rows are of one.
    pub(super) dataset: Option<String>,
    /// The split of all rows.
    pub(super) split: Option<String>,
}

impl Scores {
    /// Reads the rows of the metric.
    ///
    /// # Errors
    /// No such rows, several of one instance, rows of a split of test, or of different splits.
    pub(super) fn read(
        select: &Select,
        stage: &StageContext,
        input: &StageInput,
    ) -> Result<Self, StageError> {
        let mut all = Vec::with_capacity(input.items.len());
        let mut found: Vec<(MetricRow, &InputItem)> = Vec::new();
        let mut others = Vec::new();
        for item in &input.items {
            let rows = read_rows(stage, item)?;
            let (mut fitting, rest): (Vec<_>, Vec<_>) =
                rows.into_iter().partition(|row| select.fits(row));
            others.extend(rest);
            if let Some(row) = fitting.iter().find(|row| is_of_test(row)) {
                return Err(of_test(row, item));
            }
            if fitting.len() > 1 {
                return Err(several(&fitting, item));
            }
            let row = fitting.pop();
            let value = row.as_ref().map(|row| row.value);
            found.extend(row.map(|row| (row, item)));
            let named = |names: &[String]| -> Vec<Axis> {
                let find = |name: &String| item.axes.iter().find(|axis| axis.name == *name);
                names.iter().filter_map(find).cloned().collect()
            };
            let repetition = match &select.mean_over {
                Some(names) => named(names),
                None => item
                    .axes
                    .iter()
                    .filter(|axis| axis.replicate && !select.over.contains(&axis.name))
                    .cloned()
                    .collect(),
            };
            all.push(Score {
                values: named(&select.over),
                repetition,
                value,
            });
        }
        let Some((first, _)) = found.first() else {
            return Err(select.none(&others));
        };
        if let Some((other, item)) = found.iter().find(|(row, _)| row.split != first.split) {
            return Err(StageError::new(
                "select::splits",
                format!(
                    "numbers of {} and of {} cannot be compared",
                    split_words(first.split.as_deref()),
                    split_words(other.split.as_deref())
                ),
            )
            .detail(format!("the second is of `{}`", name(item)))
            .help("take one of them: `where: { split: dev }`"));
        }
        let is_one_set = found.iter().all(|(row, _)| row.dataset == first.dataset);
        Ok(Self {
            all,
            dataset: first.dataset.clone().filter(|_| is_one_set),
            split: first.split.clone(),
        })
    }
}

impl Select {
    fn fits(&self, row: &MetricRow) -> bool {
        let admits =
            |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        row.metric == self.metric
            && admits(&self.filter.dataset, &row.dataset)
            && admits(&self.filter.split, &row.split)
            && row.class == self.filter.class
    }

    /// No row fits: says what there is.
    fn none(&self, others: &[MetricRow]) -> StageError {
        let of_metric: Vec<&MetricRow> = others
            .iter()
            .filter(|row| row.metric == self.metric)
            .collect();
        if of_metric.is_empty() {
            let names: BTreeSet<&str> = others.iter().map(|row| row.metric.as_str()).collect();
            return StageError::new(
                "select::no_rows",
                format!("no number is called `{}`", self.metric),
            )
            .help(suggest::help(
                &self.metric,
                names,
                "the stages of `scores` leave no numbers",
            ));
        }
        let there: BTreeSet<String> = of_metric.iter().map(|row| words(row)).collect();
        let mut failure = StageError::new(
            "select::no_rows",
            format!("no number `{}` fits `where`", self.metric),
        );
        for words in there.iter().take(6) {
            failure = failure.detail(format!("there is one of {words}"));
        }
        let help = if self.filter.class.is_none() && of_metric.iter().all(|row| row.class.is_some())
        {
            "all are of a class: say which with `where: { class: … }`"
        } else {
            "compare `dataset`, `split` and `class` under `where`"
        };
        failure.help(help)
    }
}

fn read_rows(stage: &StageContext, item: &InputItem) -> Result<Vec<MetricRow>, StageError> {
    let path = stage.folder.join(&item.path);
    let wrong = |why: String| {
        StageError::new(
            "select::not_rows",
            format!("`{PORT}` of `{}` is no file of numbers: {why}", name(item)),
        )
        .help("name the stage alone: `scores: { all: STAGE }` reads its numbers")
    };
    if path.is_dir() {
        return Err(wrong("it is a folder".to_owned()));
    }
    let text = fs_err::read_to_string(&path)?;
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(|error| wrong(error.to_string())))
        .collect()
}

fn is_of_test(row: &MetricRow) -> bool {
    row.split.as_deref().is_some_and(is_test_split)
}

fn of_test(row: &MetricRow, item: &InputItem) -> StageError {
    let split = row.split.as_deref().unwrap_or_default();
    StageError::new(
        "select::test_split",
        format!("a number of the split `{split}` must not choose"),
    )
    .detail(format!(
        "`{}` = {} of {}, from `{}`",
        row.metric,
        row.value,
        words(row),
        name(item)
    ))
    .help("choose on the development split: score it too, and say `where: { split: dev }`")
}

fn several(rows: &[MetricRow], item: &InputItem) -> StageError {
    let mut failure = StageError::new(
        "select::several_rows",
        format!(
            "{} numbers `{}` of `{}` fit",
            rows.len(),
            rows[0].metric,
            name(item)
        ),
    );
    for row in rows.iter().take(6) {
        failure = failure.detail(format!("{} of {}", row.value, words(row)));
    }
    let differs = |part: fn(&MetricRow) -> &Option<String>| {
        rows.iter().any(|row| part(row) != part(&rows[0]))
    };
    let by = if differs(|row| &row.split) {
        "say which with `where: { split: dev }`"
    } else if differs(|row| &row.dataset) {
        "say which with `where: { dataset: … }`"
    } else {
        "they differ in nothing; let the stage write one"
    };
    failure.help(by)
}

fn split_words(split: Option<&str>) -> String {
    split.map_or_else(
        || "no split".to_owned(),
        |split| format!("the split `{split}`"),
    )
}

/// Data set, split and class of a row.
fn words(row: &MetricRow) -> String {
    let dataset = row.dataset.as_ref().map(|dataset| format!("`{dataset}`"));
    let class = row.class.as_ref().map(|class| format!("class `{class}`"));
    let parts = [dataset, Some(split_words(row.split.as_deref())), class];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn name(item: &InputItem) -> String {
    format!("{PORT}[{}]", axes_text(&item.axes))
}
