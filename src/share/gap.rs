//! What of a bundle was not looked at, or is not there, gathered by its reason. Knows nothing of bundles.

use serde::Serialize;

/// Names that stand in the line of a reason, as examples.
const EXAMPLES: usize = 2;

/// Things of which the same holds for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Gap {
    /// What one of them is, such as `stage`.
    pub(crate) what: &'static str,
    /// What holds of one and of several.
    #[serde(skip)]
    pub(crate) holds: [&'static str; 2],
    /// Why; the same for all.
    pub(crate) why: String,
    /// All of them.
    pub(crate) of: Vec<Missed>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missed {
    /// Its name.
    pub(crate) name: String,
    /// What is to be said of it alone, such as the input that is not there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

impl Gap {
    /// How many, and why.
    pub(crate) fn heading(&self) -> String {
        let count = self.of.len();
        let (plural, holds) = match count {
            1 => ("", self.holds[0]),
            _ => ("s", self.holds[1]),
        };
        format!("{count} {}{plural} {holds}: {}", self.what, self.why)
    }

    /// One line: how many, why, and two examples.
    pub(crate) fn line(&self) -> String {
        let examples = self.of.iter().take(EXAMPLES);
        let names: Vec<String> = examples.map(|one| format!("`{}`", one.name)).collect();
        let more = match self.is_cut() {
            true => format!(" and {} more", self.of.len() - EXAMPLES),
            false => String::new(),
        };
        format!("{}: {}{more}", self.heading(), names.join(", "))
    }

    /// Whether the line does not name all.
    pub(crate) fn is_cut(&self) -> bool {
        self.of.len() > EXAMPLES
    }

    /// A line for each.
    pub(crate) fn all(&self) -> impl Iterator<Item = String> + '_ {
        self.of.iter().map(|missed| match missed.detail.as_str() {
            "" => format!("`{}`", missed.name),
            detail => format!("`{}`: {detail}", missed.name),
        })
    }
}

/// Adds one of whom it holds to those with the same reason.
pub(super) fn add(
    gaps: &mut Vec<Gap>,
    (what, holds): (&'static str, [&'static str; 2]),
    why: impl Into<String>,
    name: &str,
    detail: impl Into<String>,
) {
    let why = why.into();
    let missed = Missed {
        name: name.to_owned(),
        detail: detail.into(),
    };
    let is_same = |gap: &&mut Gap| gap.what == what && gap.holds == holds && gap.why == why;
    match gaps.iter_mut().find(is_same) {
        Some(gap) => gap.of.push(missed),
        None => gaps.push(Gap {
            what,
            holds,
            why,
            of: vec![missed],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNJUDGED: (&str, [&str; 2]) =
        ("stage", ["cannot be judged here", "cannot be judged here"]);

    #[test]
    fn a_reason_is_one_line_with_two_examples_and_names_all_on_request() {
        let mut gaps = Vec::new();
        for at in 1..=4 {
            add(
                &mut gaps,
                UNJUDGED,
                "an input is not here",
                &format!("score[{at}]"),
                format!("`model[{at}]`"),
            );
        }
        add(&mut gaps, UNJUDGED, "its kind is not known", "odd", "");
        let lines: Vec<String> = gaps.iter().map(Gap::line).collect();
        assert_eq!(
            lines,
            [
                "4 stages cannot be judged here: an input is not here: `score[1]`, `score[2]` and 2 more",
                "1 stage cannot be judged here: its kind is not known: `odd`",
            ]
        );
        let all: Vec<String> = gaps.iter().flat_map(Gap::all).collect();
        assert_eq!(all.len(), 5);
        assert_eq!(all[3], "`score[4]`: `model[4]`");
        assert_eq!(all[4], "`odd`");
    }
}
