//! What a page says on paper of where its numbers come from: an input a line, and what holds of many of them once. Knows
//! no markup; on the screen the same stands in full at each of them.

use serde::Serialize;

use crate::page::{ClaimLine, Source};

/// A text that stands once on paper, for all that have its mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Marked {
    /// The mark, such as `S3`.
    pub mark: String,
    /// The text.
    pub text: String,
}

/// What stands once on paper.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Paper {
    /// Remarks on several stated numbers.
    pub remarks: Vec<Marked>,
    /// What holds of inputs: terms, origins, what stands in for what.
    pub facts: Vec<Marked>,
    /// The device of all inputs, where they have one alone.
    pub device: Option<String>,
}

impl Paper {
    /// Marks what claims and inputs have in common.
    pub(crate) fn of(claims: &mut [ClaimLine], sources: &mut [Source]) -> Self {
        let mut paper = Self::default();
        let several = |text: &String, claims: &[ClaimLine]| {
            let having = claims.iter().filter(|claim| claim.remarks.contains(text));
            having.count() > 1
        };
        for at in 0..claims.len() {
            let remarks = claims[at].remarks.clone();
            let marks = remarks.into_iter().map(|text| {
                let is_shared = several(&text, claims);
                is_shared.then(|| mark(&mut paper.remarks, 'R', text))
            });
            claims[at].marks = marks.collect();
        }
        for source in sources.iter_mut() {
            let mut texts: Vec<String> = source.licences.clone();
            if source.restricted {
                texts.push("not to be passed on".to_owned());
            }
            let stand_ins = source.stand_ins.iter().map(|line| match line.as_str() {
                "yes" => "stand-in data".to_owned(),
                line => format!("stand-in data {line}"),
            });
            texts.extend(source.origins.iter().map(|line| format!("from {line}")));
            texts.extend(stand_ins);
            texts.extend(source.facts.iter().cloned());
            let marks = texts
                .into_iter()
                .map(|text| mark(&mut paper.facts, 'S', text));
            source.marks = marks.collect();
        }
        let mut devices = sources.iter().filter_map(|source| source.device.as_ref());
        let first = devices.next();
        if first.is_some_and(|first| devices.all(|device| device == first)) {
            paper.device = first.cloned();
        }
        paper
    }
}

/// The mark of a text, which is added where it is new.
fn mark(marked: &mut Vec<Marked>, letter: char, text: String) -> String {
    if let Some(known) = marked.iter().find(|known| known.text == text) {
        return known.mark.clone();
    }
    let mark = format!("{letter}{}", marked.len() + 1);
    marked.push(Marked {
        mark: mark.clone(),
        text,
    });
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, device: &str, licences: &[&str]) -> Source {
        Source {
            number: 1,
            name: name.to_owned(),
            key: Some("0123456789".to_owned()),
            device: Some(device.to_owned()),
            licences: licences.iter().map(|&text| text.to_owned()).collect(),
            restricted: name == "b",
            stand_ins: vec!["yes".to_owned()],
            origins: Vec::new(),
            facts: Vec::new(),
            rows: Some(1),
            marks: Vec::new(),
        }
    }

    #[test]
    fn what_holds_of_several_inputs_stands_once() {
        let mut sources = [
            source("a", "cpu", &["MIT"]),
            source("b", "cpu", &["MIT", "CC BY 4.0"]),
        ];
        let paper = Paper::of(&mut [], &mut sources);
        assert_eq!(sources[0].marks, ["S1", "S2"]);
        assert_eq!(sources[1].marks, ["S1", "S3", "S4", "S2"]);
        let texts: Vec<&str> = paper.facts.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(
            texts,
            ["MIT", "stand-in data", "CC BY 4.0", "not to be passed on"]
        );
        assert_eq!(paper.device.as_deref(), Some("cpu"));
        let mut sources = [source("a", "cpu", &[]), source("b", "cuda:0", &[])];
        assert_eq!(Paper::of(&mut [], &mut sources).device, None);
    }
}
