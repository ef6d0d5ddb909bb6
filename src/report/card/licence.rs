//! Licences as people write them to the identifiers of the Hugging Face hub, and what holds of several together.
//! Knows nothing of stages; gives no advice at law.

/// A licence that the hub has a name for, with what it asks of whoever passes the work on.
struct Known {
    /// The hub's identifier.
    id: &'static str,
    /// Other ways to write it, as [`plain`] leaves them.
    names: &'static [&'static str],
    asks: u8,
}

const NAMING: u8 = 1;
const NON_COMMERCIAL: u8 = 2;
const SHARE_ALIKE: u8 = 4;
const NO_CHANGES: u8 = 8;
/// Has terms of its own that no other licence of the list contains.
const ALONE: u8 = 16;

const fn known(id: &'static str, names: &'static [&'static str], asks: u8) -> Known {
    Known { id, names, asks }
}

const LICENCES: &[Known] = &[
    known("cc0-1.0", &["cc0", "cc0 1.0 universal", "public domain"], 0),
    known("pddl", &["pddl 1.0"], 0),
    known("unlicense", &["the unlicense"], 0),
    known("mit", &["mit licence"], NAMING),
    known("isc", &["isc licence"], NAMING),
    known("bsd-2-clause", &[], NAMING),
    known("bsd-3-clause", &[], NAMING),
    known("apache-2.0", &["apache licence 2.0", "apache 2"], NAMING),
    known("cc-by-3.0", &[], NAMING),
    known("cc-by-4.0", &[], NAMING),
    known("odc-by", &["odc by 1.0"], NAMING),
    known("cc-by-sa-3.0", &[], NAMING | SHARE_ALIKE),
    known("cc-by-sa-4.0", &[], NAMING | SHARE_ALIKE),
    known("odbl", &["odbl 1.0"], NAMING | SHARE_ALIKE | ALONE),
    known("cc-by-nc-3.0", &[], NAMING | NON_COMMERCIAL),
    known("cc-by-nc-4.0", &[], NAMING | NON_COMMERCIAL),
    known(
        "cc-by-nc-sa-3.0",
        &[],
        NAMING | NON_COMMERCIAL | SHARE_ALIKE,
    ),
    known(
        "cc-by-nc-sa-4.0",
        &[],
        NAMING | NON_COMMERCIAL | SHARE_ALIKE,
    ),
    known("cc-by-nd-4.0", &[], NAMING | NO_CHANGES),
    known("cc-by-nc-nd-3.0", &[], NAMING | NON_COMMERCIAL | NO_CHANGES),
    known("cc-by-nc-nd-4.0", &[], NAMING | NON_COMMERCIAL | NO_CHANGES),
    known("lgpl-3.0", &[], NAMING | SHARE_ALIKE | ALONE),
    known("mpl-2.0", &[], NAMING | SHARE_ALIKE | ALONE),
    known("gpl-2.0", &[], NAMING | SHARE_ALIKE | ALONE),
    known("gpl-3.0", &[], NAMING | SHARE_ALIKE | ALONE),
    known("agpl-3.0", &[], NAMING | SHARE_ALIKE | ALONE),
];

/// The licence of something that was made from all of these; `None` is a source that states none.
///
/// A licence stands for all when it is one of theirs and asks for everything that the others ask for. Where none does,
/// or one of them is not known here or not stated, it is `other`; where nothing at all is stated, `unknown`.
pub(super) fn of_all<'a>(stated: impl IntoIterator<Item = Option<&'a str>>) -> &'static str {
    let stated: Vec<Option<&str>> = stated.into_iter().collect();
    if stated.iter().all(Option::is_none) {
        return "unknown";
    }
    let found: Option<Vec<&Known>> = stated.into_iter().map(|text| find(text?)).collect();
    let Some(found) = found else { return "other" };
    let covers = |one: &Known, other: &Known| {
        // What must stay under its own licence cannot go under another, be it a stricter one.
        let fits = other.asks & (SHARE_ALIKE | NO_CHANGES | ALONE) == 0;
        one.id == other.id || fits && one.asks & other.asks == other.asks
    };
    let strictest = |one: &&&Known| found.iter().all(|other| covers(one, other));
    found.iter().find(strictest).map_or("other", |one| one.id)
}

/// A licence as somebody wrote it, where that says no more than which it is.
fn find(text: &str) -> Option<&'static Known> {
    let text = plain(text);
    LICENCES
        .iter()
        .find(|known| plain(known.id) == text || known.names.contains(&text.as_str()))
}

/// Lower-case words with single spaces, `license` spelt as here, a leading `the` and a closing `international` left out.
fn plain(text: &str) -> String {
    let text = text.to_lowercase().replace("license", "licence");
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '-' | '_' | ',' | '(' | ')'));
    let words = words.filter(|word| !matches!(*word, "" | "the" | "version" | "international"));
    let text = words.collect::<Vec<_>>().join(" ");
    text.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(text: &str) -> Option<&'static str> {
        find(text).map(|known| known.id)
    }

    #[test]
    fn names_of_people_are_those_of_the_hub() {
        for (written, id) in [
            ("MIT", "mit"),
            ("The MIT License", "mit"),
            ("CC BY-SA 4.0", "cc-by-sa-4.0"),
            ("cc_by_nc_4.0", "cc-by-nc-4.0"),
            ("Apache License, Version 2.0", "apache-2.0"),
            ("Apache-2.0", "apache-2.0"),
            ("CC BY 4.0 International", "cc-by-4.0"),
            ("public domain", "cc0-1.0"),
        ] {
            assert_eq!(id_of(written), Some(id), "{written}");
        }
        // More than a licence, or less.
        for written in [
            "SQuAD, CC BY-SA 4.0",
            "CC BY-NC",
            "see the corpora",
            "",
            "non-MIT",
        ] {
            assert_eq!(id_of(written), None, "{written}");
        }
    }

    #[test]
    fn each_licence_of_the_table_is_found_by_its_own_name() {
        for known in LICENCES {
            assert_eq!(id_of(known.id), Some(known.id));
            for name in known.names {
                assert_eq!(id_of(name), Some(known.id), "{name}");
            }
        }
    }

    #[test]
    fn the_most_restrictive_stands_for_all_and_what_does_not_go_together_is_other() {
        let all = |texts: &[&str]| of_all(texts.iter().map(|text| Some(*text)));
        assert_eq!(all(&["MIT"]), "mit");
        assert_eq!(all(&["MIT", "CC BY-NC 4.0", "CC0"]), "cc-by-nc-4.0");
        assert_eq!(all(&["Apache-2.0", "CC BY-SA 4.0"]), "cc-by-sa-4.0");
        assert_eq!(all(&["CC BY-SA 4.0", "CC BY-SA 4.0"]), "cc-by-sa-4.0");
        assert_eq!(all(&["MIT", "GPL-3.0"]), "gpl-3.0");
        for several in [
            &["CC BY-SA 4.0", "CC BY-NC 4.0"][..],
            // A stricter licence does not take in what must stay under its own.
            &["CC BY-SA 4.0", "CC BY-NC-SA 4.0"],
            &["CC BY-SA 3.0", "CC BY-SA 4.0"],
            &["CC BY-ND 4.0", "CC BY-NC-ND 4.0"],
            &["GPL-3.0", "CC BY-SA 4.0"],
            &["MIT", "NLM terms"],
        ] {
            assert_eq!(all(several), "other", "{several:?}");
        }
        assert_eq!(of_all([Some("MIT"), None]), "other");
        assert_eq!(of_all([None, None]), "unknown");
        assert_eq!(of_all([]), "unknown");
    }
}
