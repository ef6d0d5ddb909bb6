//! Names as people write them in place of those of columns and values. Knows nothing of tables.

use std::collections::BTreeMap;

/// `labels` of a table or chart.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a>(pub &'a BTreeMap<String, String>);

impl Names<'_> {
    /// A column's or a metric's name: the label, or the name with spaces.
    #[must_use]
    pub fn column(self, name: &str) -> String {
        self.0
            .get(name)
            .cloned()
            .unwrap_or_else(|| name.replace('_', " "))
    }

    /// A value of a column; `None` is `all` for classes and a dash elsewhere, unless `all` or `null` have a label.
    #[must_use]
    pub fn value(self, column: &str, value: Option<&str>) -> String {
        match value {
            None if column == "class" => self
                .0
                .get("all")
                .cloned()
                .unwrap_or_else(|| "all".to_owned()),
            None => self
                .0
                .get("null")
                .cloned()
                .unwrap_or_else(|| "–".to_owned()),
            Some(value) if column == "metric" => self.column(value),
            Some(value) => self
                .0
                .get(value)
                .cloned()
                .unwrap_or_else(|| value.to_owned()),
        }
    }

    /// A heading as given, unless it has a label of its own.
    #[must_use]
    pub fn heading(self, label: &str) -> String {
        self.0
            .get(label)
            .cloned()
            .unwrap_or_else(|| label.to_owned())
    }
}
