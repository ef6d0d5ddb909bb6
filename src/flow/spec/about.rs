//! `about:` of a pipeline file: who made the experiment, how to cite it, under which terms. Decides no result.
//!
//! Other keys are welcome and kept; those that other programs read have a form, which is checked here.

use super::node::{Entry, Node, Value};
use crate::diagnostic::Diagnostic;

/// Keys whose value is one text (or a number, such as a year).
const TEXTS: [&str; 8] = [
    "title", "licence", "citation", "doi", "url", "year", "abstract", "language",
];
/// What a map among the authors may say.
const AUTHOR_KEYS: [&str; 5] = ["name", "orcid", "affiliation", "email", "url"];

/// Checks what is known of the form of `about:`.
pub(crate) fn check(about: &Entry, problems: &mut Vec<Diagnostic>) {
    if !matches!(about.value.value, Value::Map(_)) {
        problems.push(
            Diagnostic::error(
                "spec::about",
                format!("`about` is {}, not a map", about.value.type_name()),
            )
            .at(about.value.span, "")
            .help("write `about: { title: …, authors: [{ name: …, orcid: … }], licence: … }`"),
        );
        return;
    }
    for entry in about.value.entries() {
        let is_list = matches!(entry.value.value, Value::Sequence(_));
        match entry.key.as_str() {
            "license" => problems.push(
                Diagnostic::error(
                    "spec::about",
                    "`license` of `about` is called `licence` here",
                )
                .at(entry.key_span, "")
                .help("write `licence`, as `fetch` has it"),
            ),
            // Several languages are one list.
            "language" if is_list => {}
            "authors" => authors(entry, problems),
            key if TEXTS.contains(&key)
                && (is_list || matches!(entry.value.value, Value::Map(_) | Value::Null)) =>
            {
                problems.push(
                    Diagnostic::error(
                        "spec::about",
                        format!(
                            "`{key}` of `about` is {}, not a text",
                            entry.value.type_name()
                        ),
                    )
                    .at(entry.value.span, "")
                    .help(format!("write `{key}: …`")),
                );
            }
            _ => {}
        }
    }
}

fn authors(entry: &Entry, problems: &mut Vec<Diagnostic>) {
    let one = std::slice::from_ref(&entry.value);
    let authors = match &entry.value.value {
        Value::Sequence(items) => items.as_slice(),
        Value::String(_) => one,
        _ => {
            problems.push(
                Diagnostic::error(
                    "spec::about",
                    format!("`authors` is {}, not a list", entry.value.type_name()),
                )
                .at(entry.value.span, "")
                .help("write `authors: [A. One, { name: B. Two, orcid: 0000-0002-1825-0097 }]`"),
            );
            return;
        }
    };
    for author in authors {
        match &author.value {
            Value::String(_) => {}
            Value::Map(_) => author_map(author, problems),
            _ => problems.push(
                Diagnostic::error(
                    "spec::about",
                    format!("an author is {}, not a name", author.type_name()),
                )
                .at(author.span, "")
                .help("write a name, or `{ name: …, orcid: … }`"),
            ),
        }
    }
}

fn author_map(author: &Node, problems: &mut Vec<Diagnostic>) {
    if author
        .find("name")
        .and_then(|name| name.value.as_str())
        .is_none()
    {
        problems.push(
            Diagnostic::error("spec::about", "an author has no name")
                .at(author.span, "")
                .help("add `name: …`"),
        );
    }
    for entry in author.entries() {
        if !AUTHOR_KEYS.contains(&entry.key.as_str()) {
            problems.push(
                Diagnostic::error(
                    "spec::unknown_key",
                    format!("unknown key `{}` of an author", entry.key),
                )
                .at(entry.key_span, "not a key of an author")
                .help(super::suggest::help(&entry.key, AUTHOR_KEYS, "remove it")),
            );
        }
    }
    let Some(orcid) = author.find("orcid") else {
        return;
    };
    let text = orcid.value.as_str().unwrap_or_default();
    if let Err(problem) = check_orcid(text) {
        problems.push(
            Diagnostic::error("spec::orcid", format!("`{text}` is no ORCID: {problem}"))
                .at(orcid.value.span, "")
                .help("copy it from the author's page at orcid.org, such as `0000-0002-1825-0097`"),
        );
    }
}

/// The sixteen digits of an ORCID, with or without `https://orcid.org/` before them.
#[must_use]
pub fn orcid_digits(text: &str) -> &str {
    let text = text.trim();
    ["https://orcid.org/", "http://orcid.org/", "orcid.org/"]
        .iter()
        .find_map(|before| text.strip_prefix(before))
        .unwrap_or(text)
}

/// Holds an ORCID against its own check digit (ISO 7064, mod 11-2).
fn check_orcid(text: &str) -> Result<(), &'static str> {
    let digits = orcid_digits(text);
    let groups: Vec<&str> = digits.split('-').collect();
    if groups.len() != 4 || groups.iter().any(|group| group.len() != 4) {
        return Err("it is four groups of four digits");
    }
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b'-').collect();
    let (last, body) = digits.split_last().expect("sixteen digits");
    if !body.iter().all(u8::is_ascii_digit) || !(last.is_ascii_digit() || *last == b'X') {
        return Err("it is digits, and at the end a digit or `X`");
    }
    let sum = body
        .iter()
        .fold(0_u32, |sum, digit| (sum + u32::from(digit - b'0')) * 2);
    let expected = match (12 - sum % 11) % 11 {
        10 => b'X',
        digit => b'0' + u8::try_from(digit).expect("below ten"),
    };
    if expected == *last {
        Ok(())
    } else {
        Err("its check digit is another: a digit is mistyped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceId;
    use crate::spec::yaml;

    fn problems(text: &str) -> Vec<String> {
        let node = yaml::parse(text, SourceId(0)).node.expect("YAML");
        let mut problems = Vec::new();
        check(node.find("about").expect("there"), &mut problems);
        problems.into_iter().map(|one| one.message).collect()
    }

    #[test]
    fn an_orcid_is_held_against_its_check_digit() {
        for right in [
            "0000-0002-1825-0097",
            "0000-0001-5109-3700",
            "0000-0002-1694-233X",
            "https://orcid.org/0000-0002-1825-0097",
        ] {
            assert_eq!(check_orcid(right), Ok(()), "{right}");
        }
        for wrong in [
            "0000-0002-1825-0079",
            "0000-0002-1825-009X",
            "0000-0002-1825-009",
            "0000000218250097",
            "000a-0002-1825-0097",
            "",
            "é000-0002-1825-009",
        ] {
            assert!(check_orcid(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_others_read_has_a_form_and_the_rest_is_free() {
        let good = "about: { title: T, year: 2026, language: [en, de], award: { of: 2026 },
          authors: [A. One, { name: B. Two, orcid: 0000-0002-1825-0097 }] }";
        assert_eq!(problems(good), [""; 0]);
        assert_eq!(problems("about: { authors: A. One }"), [""; 0]);
        assert_eq!(
            problems(
                "about: { title: [a], license: MIT, authors: [3, { orcid: 0000-0002-1825-0098, mail: x }] }"
            ),
            [
                "`title` of `about` is a list, not a text",
                "`license` of `about` is called `licence` here",
                "an author is a whole number, not a name",
                "an author has no name",
                "unknown key `mail` of an author",
                "`0000-0002-1825-0098` is no ORCID: its check digit is another: a digit is mistyped",
            ]
        );
        assert_eq!(problems("about: words"), ["`about` is a string, not a map"]);
    }
}
