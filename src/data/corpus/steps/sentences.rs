//! Sentences of running biomedical English, by rules. Knows nothing of tokens or documents.
//!
//! A sentence ends at `.`, `?` or `!` (with closing brackets and quotes) before white space, unless what stands around
//! it says otherwise: an abbreviation, an initial, a number of a list, a small letter that begins no symbol's name, an
//! open bracket. `docs/corpus.md` says how well this does on annotated text.

/// Abbreviations after which a sentence goes on, whatever follows; without the last dot, in small letters.
const GO_ON: &[&str] = &[
    "al", "approx", "ca", "cf", "chap", "dr", "drs", "e.g", "eg", "eq", "eqs", "et", "fig", "figs",
    "i.e", "ie", "incl", "mr", "mrs", "ms", "nos", "p.p", "pp", "prof", "ref", "refs", "resp",
    "sect", "st", "suppl", "tab", "viz", "vol", "vols", "vs",
];

/// Abbreviations that may end a sentence: it does if the next word is one that often begins one.
const MAY_END: &[&str] = &[
    "a.m", "acad", "ann", "assoc", "biol", "bros", "bull", "chem", "co", "corp", "dept", "diss",
    "ed", "eds", "etc", "exp", "gen", "gov", "hosp", "inc", "inst", "int", "jr", "lab", "ltd",
    "max", "med", "min", "natl", "no", "nov", "p.m", "ph.d", "proc", "publ", "sci", "soc", "sp",
    "spp", "sr", "ssp", "subsp", "univ", "var", "wk", "wt",
];

/// Words that begin sentences so often that even an abbreviation before them ends one.
const STARTERS: &[&str] = &[
    "A",
    "Additionally",
    "After",
    "Again",
    "All",
    "Also",
    "Although",
    "Among",
    "An",
    "Analysis",
    "And",
    "As",
    "At",
    "Because",
    "Both",
    "But",
    "By",
    "Conclusions",
    "Consequently",
    "Data",
    "Despite",
    "Due",
    "During",
    "Each",
    "Eight",
    "Finally",
    "Five",
    "Following",
    "For",
    "Four",
    "From",
    "Furthermore",
    "Given",
    "He",
    "Hence",
    "Here",
    "How",
    "However",
    "If",
    "In",
    "Indeed",
    "Interestingly",
    "Is",
    "It",
    "Its",
    "Many",
    "Moreover",
    "Most",
    "Neither",
    "Nevertheless",
    "No",
    "None",
    "Nonetheless",
    "Of",
    "On",
    "One",
    "Only",
    "Other",
    "Our",
    "Over",
    "Patients",
    "Previous",
    "Recent",
    "Recently",
    "Results",
    "Seven",
    "Several",
    "She",
    "Similar",
    "Similarly",
    "Since",
    "Six",
    "So",
    "Some",
    "Studies",
    "Such",
    "Ten",
    "That",
    "The",
    "Their",
    "Then",
    "There",
    "Therefore",
    "These",
    "They",
    "This",
    "Those",
    "Three",
    "Thus",
    "To",
    "Together",
    "Two",
    "Under",
    "Unlike",
    "Until",
    "Upon",
    "Using",
    "Very",
    "We",
    "What",
    "When",
    "Whereas",
    "Whether",
    "Which",
    "While",
    "With",
    "Within",
    "Without",
];

/// How PubMed ends what it has cut, without a space before.
const TRUNCATED: &str = "(ABSTRACT TRUNCATED";

/// Longer words of small letters before an initial name what it tells apart, as in `vitamin D.`; not so these.
const LEADS_ON: &[&str] = &[
    "against", "between", "from", "into", "than", "that", "their", "these", "when", "where",
    "which", "with",
];

/// Characters an open bracket keeps a sentence together at most.
const BRACKET_REACH: usize = 400;

/// Gives the sentences of `text` in order, without white space around them; none is empty.
pub fn split<'a>(text: &'a str, emit: &mut dyn FnMut(&'a str)) {
    let bytes = text.as_bytes();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'.', b'?', b'!', &bytes[at..]) {
        let mark = at + found;
        let mut end = mark + 1;
        while matches!(bytes.get(end), Some(b'.' | b'?' | b'!')) {
            end += 1;
        }
        at = end;
        // Inside a number, a name or an address: by far the most frequent mark that ends nothing.
        if bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
            continue;
        }
        let closed = skip(text, end, is_closing);
        let next = skip(text, closed, char::is_whitespace);
        if next == closed && !text[next..].starts_with(TRUNCATED) {
            continue;
        }
        if next == text.len() {
            break;
        }
        if ends_here(text, start, mark..end, closed, next) {
            emit_trimmed(&text[start..closed], emit);
            start = next;
            at = next;
        }
    }
    emit_trimmed(&text[start..], emit);
}

fn emit_trimmed<'a>(sentence: &'a str, emit: &mut dyn FnMut(&'a str)) {
    let sentence = sentence.trim();
    if !sentence.is_empty() {
        emit(sentence);
    }
}

/// The first place from `at` on whose character is not `wanted`.
fn skip(text: &str, mut at: usize, wanted: impl Fn(char) -> bool) -> usize {
    while let Some(c) = text[at..].chars().next() {
        if !wanted(c) {
            break;
        }
        at += c.len_utf8();
    }
    at
}

fn is_closing(c: char) -> bool {
    matches!(
        c,
        ')' | ']' | '}' | '"' | '\'' | '\u{2019}' | '\u{201d}' | '\u{bb}'
    )
}

fn is_opening(c: char) -> bool {
    matches!(
        c,
        '(' | '[' | '{' | '"' | '\'' | '\u{2018}' | '\u{201c}' | '\u{ab}'
    )
}

/// Whether the marks at `mark` end the sentence that began at `start`; `closed` is past closing brackets, `next` where
/// the text goes on.
fn ends_here(
    text: &str,
    start: usize,
    mark: std::ops::Range<usize>,
    closed: usize,
    next: usize,
) -> bool {
    let word_at = skip(text, next, is_opening);
    let next_word = word_from(text, word_at);
    let Some(first) = next_word.chars().next() else {
        return false;
    };
    if is_open(&text[start..closed]) {
        return false;
    }
    let before = word_before(text, start, mark.start);
    if !text[mark.clone()].starts_with('.') {
        return !first.is_lowercase() && (first.is_alphanumeric() || word_at > next);
    }
    if mark.len() > 1 {
        return first.is_uppercase();
    }
    if first.is_lowercase() {
        return names_symbol(next_word) && !shortens(before) && before.len() > 1;
    }
    if !first.is_alphanumeric() {
        return false;
    }
    // A bracket or quote between the dot and the next word: the dot is the sentence's own.
    if closed > mark.end {
        return !goes_on(before) || STARTERS.binary_search(&next_word).is_ok();
    }
    let starter = STARTERS.binary_search(&next_word).is_ok();
    if goes_on(before) {
        return false;
    }
    if before.chars().all(|c| c.is_ascii_digit()) && !before.is_empty() {
        // `1. Methods` at the beginning counts something; `in 1998. Patients` ends.
        return text[start..mark.start].trim_start().len() > before.len();
    }
    if is_initial(before) {
        return starter || is_told_apart(&text[start..mark.start - before.len()]);
    }
    if may_end(before) || has_inner_dots(before) {
        return starter;
    }
    true
}

/// The word that begins at `at`, up to white space or punctuation that ends words.
fn word_from(text: &str, at: usize) -> &str {
    let rest = &text[at..];
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':' | ')' | ']' | '?' | '!'))
        .unwrap_or(rest.len());
    rest[..end].trim_end_matches('.')
}

/// The word that ends at `end`, without brackets and quotes before it.
fn word_before(text: &str, start: usize, end: usize) -> &str {
    let head = &text[start..end];
    let from = head
        .rfind(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | '[' | '/' | '"'))
        .map_or(0, |at| {
            at + head[at..].chars().next().map_or(1, char::len_utf8)
        });
    &head[from..]
}

fn listed(list: &[&str], word: &str) -> bool {
    word.len() <= 8
        && word.is_ascii()
        && list
            .binary_search(&word.to_ascii_lowercase().as_str())
            .is_ok()
}

fn goes_on(word: &str) -> bool {
    listed(GO_ON, word)
}

fn may_end(word: &str) -> bool {
    listed(MAY_END, word)
}

/// One capital letter, as of a name or a genus.
fn is_initial(word: &str) -> bool {
    let mut chars = word.chars();
    matches!((chars.next(), chars.next()), (Some(c), None) if c.is_uppercase())
}

/// Whether the text before an initial ends with a name that the initial is a part of: `kappa` of `NF-kappa B.`.
fn is_told_apart(head: &str) -> bool {
    let head = head.trim_end();
    let from = head.rfind(|c: char| !c.is_ascii_alphabetic());
    let word = &head[from.map_or(0, |at| {
        at + head[at..].chars().next().map_or(1, char::len_utf8)
    })..];
    word.len() >= 4
        && word.bytes().all(|byte| byte.is_ascii_lowercase())
        && LEADS_ON.binary_search(&word).is_err()
}

/// `U.S`, `i.v`, `Ph.D`: short parts between dots, letters only.
fn has_inner_dots(word: &str) -> bool {
    word.contains('.')
        && word.split('.').all(|part| {
            (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic())
        })
}

fn shortens(word: &str) -> bool {
    goes_on(word) || may_end(word) || is_initial(word) || has_inner_dots(word)
}

/// `mRNA`, `p53`, `c-fos`, `alpha-2`: a name that begins with a small letter and can begin a sentence.
fn names_symbol(word: &str) -> bool {
    let mut rest = word.chars().skip(1);
    word.as_bytes().get(1) == Some(&b'-') || rest.any(|c| c.is_uppercase() || c.is_ascii_digit())
}

/// Whether a bracket is open at the end, and not so long ago that it was forgotten.
fn is_open(sentence: &str) -> bool {
    let bytes = sentence.as_bytes();
    let from = bytes.len().saturating_sub(BRACKET_REACH);
    let mut depth = 0_u32;
    for byte in bytes[from..].iter().rev() {
        match byte {
            b')' => depth += 1,
            b'(' if depth == 0 => return true,
            b'(' => depth -= 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        let mut parts = Vec::new();
        split(text, &mut |part| parts.push(part));
        parts
    }

    #[test]
    fn lists_are_sorted_for_the_search() {
        assert!(
            GO_ON.is_sorted()
                && MAY_END.is_sorted()
                && LEADS_ON.is_sorted()
                && STARTERS.is_sorted()
        );
    }

    /// `|` marks each boundary wanted.
    #[test]
    fn ends_sentences_where_they_end() {
        for text in [
            "Serum zinc fell.|It rose later.",
            "Levels fell (Fig. 2).|They rose (see Tab. 3 and ref. 14) in rats vs. Controls, e.g. Wistar rats.",
            "As shown by Miller et al. The effect, i.e. Growth, was 0.5 mg/kg.|No change was seen.",
            "E. coli and S. Typhimurium were grown.|Hepatitis B.|The rest was fine.",
            "Doses of 5 mg i.v. Ketamine were given.|P < 0.05.|In 1998. ",
            "Was it safe?|Yes!|We think so.",
            "1. Methods were old.|2. Results were new.",
            "It was found (data not shown.|So far.)",
            "It binds NF-kappa B.|Binding of vitamin D.|Others of A. Smith and B. Jones (data).",
            "It rose.|c-myc fell.|It was induced.|(ABSTRACT TRUNCATED AT 250 WORDS)",
            "Growth stopped.|mRNA was low.|p53 was not. it went on.",
            "He said \"it works.\"|Then he left.",
            "Samples of Candida spp. Were kept at 4 degrees C.|The others, etc.|These grew.",
            "",
            "no mark at all",
            "...",
        ] {
            let expected: Vec<&str> = text
                .split('|')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .collect();
            let joined = text.replace('|', " ");
            // A bracket that is still open holds its sentence together.
            if text.contains("not shown") {
                assert_eq!(parts(&joined).len(), 1);
            } else {
                assert_eq!(parts(&joined), expected);
            }
        }
    }
}
