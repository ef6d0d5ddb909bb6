//! Columns of line formats: how they are named, counted and separated. Knows nothing of what they hold.

use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Problem, listed, nearest};

/// A column by name, or by index: from 0, or from the end as -1, -2 ….
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// From 0; -1 is the last.
    Index(i64),
    /// As the header has it.
    Name(String),
}

impl Columns {
    /// Every column with its name behind `columns.`.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &Option<Column>); 5] {
        [
            ("token", &self.token),
            ("id", &self.id),
            ("text", &self.text),
            ("second_text", &self.second_text),
            ("label", &self.label),
        ]
    }

    /// The columns that `choose` makes of each of these and its counterpart.
    pub(super) fn zip(
        &self,
        other: &Self,
        choose: impl Fn(&Option<Column>, &Option<Column>) -> Option<Column>,
    ) -> Self {
        Self {
            token: choose(&self.token, &other.token),
            id: choose(&self.id, &other.id),
            text: choose(&self.text, &other.text),
            second_text: choose(&self.second_text, &other.second_text),
            label: choose(&self.label, &other.label),
        }
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnVisitor;
        impl Visitor<'_> for ColumnVisitor {
            type Value = Column;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column's name, or its index from 0 (-1 is the last)")
            }
            fn visit_i64<E: de::Error>(self, index: i64) -> Result<Column, E> {
                Ok(Column::Index(index))
            }
            fn visit_u64<E: de::Error>(self, index: u64) -> Result<Column, E> {
                i64::try_from(index)
                    .map(Column::Index)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(index), &self))
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Column, E> {
                Ok(Column::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(ColumnVisitor)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(f, "{index}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Which column holds what; what a reader does not use must not be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Columns {
    /// `conll`: the token; column 0 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Column>,
    /// Tables: the id; without it examples are numbered `SPLIT-1`, `SPLIT-2` ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Column>,
    /// Tables: the text; `sentence` unless given, for `tsv_pairs` `sentence1` (without a header it must be).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Column>,
    /// `tsv_pairs`: the second text; `sentence2` unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_text: Option<Column>,
    /// `conll`: the tag, the last column unless given; tables: the class, labels or number, `label`, `labels` and `score`
    /// unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Column>,
}

/// What stands between columns: `whitespace` (any run of spaces and tabs), `tab`, `space`, or any other text as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Separator {
    /// Any run of spaces and tabs.
    Whitespace,
    /// This text, exactly.
    Text(String),
}

impl TryFrom<String> for Separator {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "whitespace" => Ok(Self::Whitespace),
            "tab" => Ok(Self::Text("\t".to_owned())),
            "space" => Ok(Self::Text(" ".to_owned())),
            "" => Err("a separator needs at least one character".to_owned()),
            other if other.contains(['\n', '\r', '"']) => {
                Err("a separator holds no line end and no `\"`".to_owned())
            }
            _ => Ok(Self::Text(text)),
        }
    }
}

impl From<Separator> for String {
    fn from(separator: Separator) -> Self {
        match separator {
            Separator::Whitespace => "whitespace".to_owned(),
            Separator::Text(text) => match text.as_str() {
                "\t" => "tab".to_owned(),
                " " => "space".to_owned(),
                _ => text,
            },
        }
    }
}

impl Separator {
    /// Puts the byte ranges of the fields of `line` into `fields`, replacing what is there.
    pub(super) fn split(&self, line: &str, fields: &mut Vec<Range<usize>>) {
        fields.clear();
        match self {
            Self::Whitespace => {
                let mut start = None;
                for (at, byte) in line.bytes().enumerate() {
                    let blank = byte == b' ' || byte == b'\t';
                    match start {
                        None if !blank => start = Some(at),
                        Some(from) if blank => {
                            fields.push(from..at);
                            start = None;
                        }
                        _ => {}
                    }
                }
                if let Some(from) = start {
                    fields.push(from..line.len());
                }
            }
            Self::Text(text) => {
                let mut from = 0;
                for (at, found) in line.match_indices(text.as_str()) {
                    fields.push(from..at);
                    from = at + found.len();
                }
                fields.push(from..line.len());
            }
        }
    }
}

impl Column {
    /// Its index among columns of these names (`None` without a header), `n_columns` in all.
    pub(super) fn resolve(
        &self,
        what: &str,
        names: Option<&[String]>,
        n_columns: usize,
    ) -> Result<usize, Problem> {
        match self {
            Self::Index(index) => {
                let place = if *index < 0 {
                    index + i64::try_from(n_columns).expect("few columns")
                } else {
                    *index
                };
                usize::try_from(place)
                    .ok()
                    .filter(|place| *place < n_columns)
                    .ok_or_else(|| {
                        Problem::new(
                            format!("there is no column {index} for the {what}: the line has {n_columns}"),
                            format!("set `columns.{what}` or `separator`; indices start at 0"),
                        )
                    })
            }
            Self::Name(name) => {
                let Some(names) = names else {
                    return Err(Problem::new(
                        format!(
                            "the {what} column `{name}` has a name, but the file has no header"
                        ),
                        "set `header: true`, or give the column's index",
                    ));
                };
                names.iter().position(|known| known == name).ok_or_else(|| {
                    let known = || names.iter().map(String::as_str);
                    Problem::new(
                        format!("the header has no column `{name}` for the {what}"),
                        match nearest(name, known()) {
                            Some(near) => format!("did you mean `{near}`? set `columns.{what}`"),
                            None => format!("set `columns.{what}` to one of {}", listed(known())),
                        },
                    )
                })
            }
        }
    }
}

/// Where the `N` columns that a reader uses are; found in the header or the first line, the same in every line.
pub(super) struct Layout<const N: usize> {
    columns: [usize; N],
    n_columns: usize,
}

impl<const N: usize> Layout<N> {
    /// Finds the columns wanted, each with the name that `columns.NAME` has; all are given or have a default.
    pub(super) fn find(
        wanted: [(&str, &Option<Column>); N],
        names: Option<&[String]>,
        n_columns: usize,
    ) -> Result<Self, Problem> {
        let n_columns = names.map_or(n_columns, <[String]>::len);
        let mut columns = [0; N];
        for (i, (what, column)) in wanted.iter().enumerate() {
            let column = column.as_ref().expect("it is given or has a default");
            columns[i] = column.resolve(what, names, n_columns)?;
            if let Some(j) = columns[..i].iter().position(|other| *other == columns[i]) {
                return Err(Problem::new(
                    format!(
                        "the {} and the {what} are both column {} of {n_columns}",
                        wanted[j].0, columns[i]
                    ),
                    format!(
                        "set `separator` to what stands between columns, or `columns.{}` and `columns.{what}`",
                        wanted[j].0
                    ),
                ));
            }
        }
        Ok(Self { columns, n_columns })
    }

    /// Whether a line has as many columns as it should.
    pub(super) fn check(&self, found: usize) -> Result<(), Problem> {
        if found == self.n_columns {
            return Ok(());
        }
        Err(Problem::new(
            format!("expected {} columns, found {found}", self.n_columns),
            "repair the line, or set `separator` to what stands between columns",
        ))
    }

    /// The place in what was wanted of a column.
    pub(super) fn role(&self, column: usize) -> Option<usize> {
        self.columns.iter().position(|one| *one == column)
    }

    /// The columns of a line that was checked, in the order they were asked for.
    pub(super) fn of<'f, T>(&self, fields: &'f [T]) -> [&'f T; N] {
        self.columns.map(|column| &fields[column])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_split_as_they_say() {
        let split = |separator: &str, line: &str| {
            let separator = Separator::try_from(separator.to_owned()).expect("a separator");
            let mut fields = Vec::new();
            separator.split(line, &mut fields);
            fields
                .iter()
                .map(|range| line[range.clone()].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(split("whitespace", " a \t b\u{a0}c "), ["a", "b\u{a0}c"]);
        assert_eq!(split("space", "a  b"), ["a", "", "b"]);
        assert_eq!(split("tab", "a b\tc"), ["a b", "c"]);
        assert_eq!(split("||", "a||b|c"), ["a", "b|c"]);
        assert!(Separator::try_from(String::new()).is_err());
        let tab = Separator::try_from("\t".to_owned()).expect("a tab");
        assert_eq!(serde_json::to_string(&tab).expect("text"), "\"tab\"");
    }

    #[test]
    fn columns_are_found_by_name_and_from_both_ends() {
        let names = ["index".to_owned(), "sentence".to_owned()];
        let find = |column: Column| column.resolve("text", Some(&names), 2).map_err(|p| p.help);
        assert_eq!(find(Column::Index(-1)), Ok(1));
        assert_eq!(find(Column::Name("sentence".to_owned())), Ok(1));
        assert_eq!(
            find(Column::Name("sentense".to_owned())),
            Err("did you mean `sentence`? set `columns.text`".to_owned())
        );
        assert!(find(Column::Index(-3)).is_err() && find(Column::Index(2)).is_err());
        let column: Column = serde_json::from_str("-1").expect("an index");
        assert_eq!(column, Column::Index(-1));
        assert!(serde_json::from_str::<Column>("true").is_err());
    }
}
