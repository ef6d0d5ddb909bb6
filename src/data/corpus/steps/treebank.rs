//! Treebank tokens as NLTK's `TreebankWordTokenizer` gives them, joined by one space. Knows nothing of documents.
//!
//! There are two lists of rules. [`Rules::Class`] are those of the class (spec A.1). NLTK 3.3 and 3.4 add four rules
//! to the lists of that class when `nltk.tokenize` is imported (for their `word_tokenize`), so that whoever imports the
//! class gets them too: [`Rules::Imported`]. Later versions have a class of its own for them.
//!
//! Two ways to one answer: [`by_rules`] is the list of substitutions in NLTK's order (spec A.1), a pass each; the way of
//! most lines is one pass over bytes, for ASCII without quotes. A property test holds the second to the first, and
//! `tests/parity/treebank.py` holds both to NLTK.

/// Which rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Those of the class.
    Class,
    /// Those of the class and the four that importing NLTK 3.4 adds.
    Imported,
}

/// Appends the tokens of `sentence` to `out`, one space between them; returns how many there are.
pub fn tokenize(sentence: &str, rules: Rules, out: &mut Vec<u8>) -> u64 {
    let start = out.len();
    if let Some(words) = one_pass(sentence.as_bytes(), rules, out) {
        return words;
    }
    out.truncate(start);
    let text = by_rules(sentence, rules);
    let mut words = 0;
    for token in text.split(is_space).filter(|token| !token.is_empty()) {
        if words > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(token.as_bytes());
        words += 1;
    }
    words
}

/// What a byte is to the one pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Letters, digits and `_`, as `\w` has it.
    Word,
    /// Stands for itself, and ends a word.
    Other,
    Space,
    /// A token of its own wherever it stands.
    Alone,
    /// `:` and `,`, which stay in front of a digit.
    Mark,
    Dot,
    Dash,
    /// Quotes and non-ASCII: only the rules know.
    Hard,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => Class::Word,
            b' ' | 0x09..=0x0d | 0x1c..=0x1f => Class::Space,
            b';' | b'@' | b'#' | b'$' | b'%' | b'&' | b'?' | b'!' => Class::Alone,
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' => Class::Alone,
            b':' | b',' => Class::Mark,
            b'.' => Class::Dot,
            b'-' => Class::Dash,
            b'"' | b'\'' | b'`' | 0x80..=0xff => Class::Hard,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

/// Text so far, with spaces that are never doubled.
struct Joined<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    gaps: u64,
}

impl Joined<'_> {
    #[inline]
    fn gap(&mut self) {
        if self.out.len() > self.start && self.out.last() != Some(&b' ') {
            self.out.push(b' ');
            self.gaps += 1;
        }
    }

    #[inline]
    fn alone(&mut self, token: &[u8]) {
        self.gap();
        self.out.extend_from_slice(token);
        self.gap();
    }

    /// Takes back a space at the end; the number of tokens.
    fn finish(mut self) -> u64 {
        if self.out.len() == self.start {
            return 0;
        }
        if self.out.last() == Some(&b' ') {
            self.out.pop();
            self.gaps -= 1;
        }
        self.gaps + 1
    }
}

/// `None` where the line needs the rules; `out` then holds a part.
fn one_pass(line: &[u8], rules: Rules, out: &mut Vec<u8>) -> Option<u64> {
    let class = |at: usize| CLASSES[usize::from(line[at])];
    let last_dot = closing_dot(line, false);
    let early_dot = match rules {
        Rules::Class => None,
        Rules::Imported => closing_dot(line, true),
    };
    let start = out.len();
    out.reserve(line.len() + line.len() / 4 + 16);
    let mut joined = Joined {
        out,
        start,
        gaps: 0,
    };
    let mut at = 0;
    while at < line.len() {
        let from = at;
        match class(at) {
            Class::Word => {
                while at < line.len() && class(at) == Class::Word {
                    at += 1;
                }
                word(&line[from..at], &mut joined)?;
            }
            Class::Other => {
                joined.out.push(line[at]);
                at += 1;
            }
            Class::Space => {
                joined.gap();
                at += 1;
            }
            Class::Alone => {
                joined.alone(&line[at..=at]);
                at += 1;
            }
            Class::Mark => match line.get(at + 1) {
                Some(next) if next.is_ascii_digit() => {
                    joined.out.push(line[at]);
                    at += 1;
                }
                // The substitution eats the character behind the mark, so that a mark there is not looked at again.
                Some(next @ (b':' | b',')) => {
                    joined.alone(&line[at..=at]);
                    joined.out.push(*next);
                    at += 2;
                }
                _ => {
                    joined.alone(&line[at..=at]);
                    at += 1;
                }
            },
            Class::Dot => {
                while at < line.len() && line[at] == b'.' {
                    at += 1;
                }
                for _ in 0..(at - from) / 3 {
                    joined.alone(b"...");
                }
                match (at - from) % 3 {
                    1 if last_dot == Some(at - 1) => joined.alone(b"."),
                    1 if early_dot == Some(at - 1) && at - from == 1 => joined.alone(b"."),
                    rest => joined.out.extend_from_slice(&b".."[..rest]),
                }
            }
            Class::Dash => {
                while at < line.len() && line[at] == b'-' {
                    at += 1;
                }
                for _ in 0..(at - from) / 2 {
                    joined.alone(b"--");
                }
                joined.out.extend_from_slice(&b"-"[..(at - from) % 2]);
            }
            Class::Hard => return None,
        }
    }
    Some(joined.finish())
}

/// The dot that ends the line, before closing brackets (and spaces between them, where `spaced`) and white space.
fn closing_dot(line: &[u8], spaced: bool) -> Option<usize> {
    let mut end = line.len();
    while end > 0 && CLASSES[usize::from(line[end - 1])] == Class::Space {
        end -= 1;
    }
    while end > 0
        && (matches!(line[end - 1], b')' | b']' | b'}' | b'>') || (spaced && line[end - 1] == b' '))
    {
        end -= 1;
    }
    (end > 0 && line[end - 1] == b'.').then(|| end - 1)
}

/// A run of word characters, in two where it is a contraction.
#[inline]
fn word(word: &[u8], joined: &mut Joined<'_>) -> Option<()> {
    if matches!(word.len(), 5 | 6) && matches!(word[0] | 0x20, b'c' | b'g' | b'l' | b'w') {
        let is = |other: &[u8]| word.eq_ignore_ascii_case(other);
        // Whether white space follows `wanna` is a question for the rules.
        if is(b"wanna") {
            return None;
        }
        if is(b"cannot") || is(b"gimme") || is(b"gonna") || is(b"gotta") || is(b"lemme") {
            joined.gap();
            joined.out.extend_from_slice(&word[..3]);
            joined.alone(&word[3..]);
            return Some(());
        }
    }
    joined.out.extend_from_slice(word);
    Some(())
}

/// White space as Python's `\s` has it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// A letter, digit or `_`, as Python's `\w` has it (but for combining marks, which Rust counts as letters).
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A decimal digit of any script (category Nd), as Python's `\d` has it.
fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
        || (!c.is_ascii()
            && c.is_numeric()
            && DIGIT_ZEROS
                .iter()
                .any(|zero| (*zero..*zero + 10).contains(&u32::from(c))))
}

/// The zeros of the scripts with decimal digits that occur outside ASCII (Unicode's Nd, in tens).
const DIGIT_ZEROS: &[u32] = &[
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66,
    0x0de6, 0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90,
    0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10,
    0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650,
    0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x16a60, 0x16ac0, 0x16b50,
    0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// NLTK's substitutions in their order; tokens are what stands between white space afterwards.
#[must_use]
pub fn by_rules(sentence: &str, rules: Rules) -> String {
    let mut text: Vec<char> = sentence.chars().collect();
    let imported = rules == Rules::Imported;
    if imported {
        text = pad_open_quotes(&text);
    }
    if text.first() == Some(&'"') {
        text.splice(0..1, ['`', '`']);
    }
    if text.contains(&'`') {
        text = replace(&text, |rest| {
            rest.starts_with(&['`', '`']).then_some((2, " `` "))
        });
    }
    text = replace_after(
        &text,
        |c| matches!(c, ' ' | '(' | '[' | '{' | '<'),
        |rest| match rest {
            ['"', ..] => Some((1, " `` ")),
            ['\'', '\'', ..] => Some((2, " `` ")),
            _ => None,
        },
    );
    if imported {
        text = split_single_letters(&text);
        split_early_period(&mut text);
    }
    text = pad_marks(&text);
    text = replace(&text, |rest| {
        rest.starts_with(&['.', '.', '.']).then_some((3, " ... "))
    });
    text = pad(&text, |c| matches!(c, ';' | '@' | '#' | '$' | '%' | '&'));
    split_final_period(&mut text);
    text = pad(&text, |c| matches!(c, '?' | '!'));
    text = replace_after(
        &text,
        |c| c != '\'',
        |rest| rest.starts_with(&['\'', ' ']).then_some((2, " ' ")),
    );
    text = pad(&text, |c| {
        matches!(c, '[' | ']' | '(' | ')' | '{' | '}' | '<' | '>')
    });
    text = replace(&text, |rest| {
        rest.starts_with(&['-', '-']).then_some((2, " -- "))
    });
    text.insert(0, ' ');
    text.push(' ');
    if imported {
        text = pad(&text, |c| matches!(c, '\u{bb}' | '\u{201d}' | '\u{2019}'));
    }
    text = replace(&text, |rest| {
        rest.starts_with(&['"']).then_some((1, " '' "))
    });
    text = replace_after(
        &text,
        |c| !is_space(c),
        |rest| rest.starts_with(&['\'', '\'']).then_some((2, " '' ")),
    );
    if text.contains(&'\'') {
        text = split_endings(&text);
    }
    if !may_contract(&text) {
        return text.into_iter().collect();
    }
    for (first, second) in CONTRACTIONS {
        text = contract(&text, first, second, true, false);
    }
    text = contract(&text, "wan", "na", true, true);
    if text.contains(&'\'') {
        text = contract(&text, " 't", "is", false, false);
        text = contract(&text, " 't", "was", false, false);
    }
    text.into_iter().collect()
}

/// Contractions that stand between word boundaries, in NLTK's order.
const CONTRACTIONS: [(&str, &str); 7] = [
    ("can", "not"),
    ("d", "'ye"),
    ("gim", "me"),
    ("gon", "na"),
    ("got", "ta"),
    ("lem", "me"),
    ("mor", "'n"),
];

/// Whether the first four characters of some contraction stand anywhere: one look instead of one for each of them.
fn may_contract(text: &[char]) -> bool {
    text.windows(4).any(|found| {
        let is = |wanted: [char; 3]| found[1..].iter().zip(wanted).all(|(c, w)| same(*c, w));
        match found[0] {
            'c' | 'C' | 'w' | 'W' => is(['a', 'n', 'n']),
            'd' | 'D' => is(['\'', 'y', 'e']),
            'g' | 'G' => is(['i', 'm', 'm']) || is(['o', 'n', 'n']) || is(['o', 't', 't']),
            'l' | 'L' => is(['e', 'm', 'm']),
            'm' | 'M' => is(['o', 'r', '\'']),
            ' ' => found[1] == '\'' && same(found[2], 't'),
            _ => false,
        }
    })
}

/// Replaces from left to right; `find` looks at what lies ahead and says how many characters become which text.
fn replace(text: &[char], find: impl Fn(&[char]) -> Option<(usize, &'static str)>) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < text.len() {
        if let Some((length, with)) = find(&text[at..]) {
            out.extend(with.chars());
            at += length;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// As [`replace`], where the character before must fit and is eaten with the match.
fn replace_after(
    text: &[char],
    before: impl Fn(char) -> bool,
    find: impl Fn(&[char]) -> Option<(usize, &'static str)>,
) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < text.len() {
        out.push(text[at]);
        if before(text[at])
            && let Some((length, with)) = find(&text[at + 1..])
        {
            out.extend(with.chars());
            at += length;
        }
        at += 1;
    }
    out
}

/// A space on both sides.
fn pad(text: &[char], wanted: impl Fn(char) -> bool) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for &c in text {
        if wanted(c) {
            out.extend([' ', c, ' ']);
        } else {
            out.push(c);
        }
    }
    out
}

/// `:` and `,` before anything but a digit, then at the end (or before a line feed at the end).
fn pad_marks(text: &[char]) -> Vec<char> {
    let is_mark = |c: char| c == ':' || c == ',';
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < text.len() {
        match text.get(at + 1) {
            Some(&next) if is_mark(text[at]) && !is_digit(next) => {
                out.extend([' ', text[at], ' ', next]);
                at += 2;
            }
            _ => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    let end = match out.as_slice() {
        [.., mark, '\n'] if is_mark(*mark) => out.len() - 2,
        [.., mark] if is_mark(*mark) => out.len() - 1,
        _ => return out,
    };
    let mark = out[end];
    out.splice(end..=end, [' ', mark, ' ']);
    out
}

/// The period that ends the text, before closing brackets, quotes and white space.
fn split_final_period(text: &mut Vec<char>) {
    let mut end = text.len();
    while end > 0 && is_space(text[end - 1]) {
        end -= 1;
    }
    let closed = end;
    while end > 0 && matches!(text[end - 1], ']' | ')' | '}' | '>' | '"' | '\'') {
        end -= 1;
    }
    if end >= 2 && text[end - 1] == '.' && text[end - 2] != '.' {
        text.truncate(closed);
        text.push(' ');
        text.insert(end - 1, ' ');
    }
}

/// Added by importing: a space on both sides of opening quotes, and of runs of backticks.
fn pad_open_quotes(text: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < text.len() {
        let run = text[at..].iter().take_while(|c| **c == '`').count();
        match text[at] {
            _ if run > 0 => {
                out.push(' ');
                out.extend(&text[at..at + run]);
                out.push(' ');
                at += run;
            }
            c @ ('\u{ab}' | '\u{201c}' | '\u{2018}' | '\u{201e}') => {
                out.extend([' ', c, ' ']);
                at += 1;
            }
            c => {
                out.push(c);
                at += 1;
            }
        }
    }
    out
}

/// Added by importing: `'` parts from a word of one letter behind it, unless that is an ending such as `'s`.
fn split_single_letters(text: &[char]) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 16);
    for (at, &c) in text.iter().enumerate() {
        out.push(c);
        if c == '\''
            && let Some(&letter) = text.get(at + 1)
            && is_word(letter)
            && text.get(at + 2).is_none_or(|c| !is_word(*c))
            && !['m', 't', 's', 'd']
                .iter()
                .any(|ending| same(letter, *ending))
        {
            out.push(' ');
        }
    }
    out
}

/// Added by importing: the period that ends the text, before closing brackets, quotes and spaces between them too.
fn split_early_period(text: &mut Vec<char>) {
    let mut end = text.len();
    while end > 0 && is_space(text[end - 1]) {
        end -= 1;
    }
    let is_closing = |c: char| {
        matches!(
            c,
            ']' | ')' | '}' | '>' | '"' | '\'' | '\u{bb}' | '\u{201d}' | '\u{2019}' | ' '
        )
    };
    while end > 0 && is_closing(text[end - 1]) {
        end -= 1;
    }
    if end >= 2 && text[end - 1] == '.' && text[end - 2] != '.' {
        let closed = end + text[end..].iter().take_while(|c| is_closing(**c)).count();
        text.truncate(closed);
        text.push(' ');
        text.insert(end, ' ');
        text.insert(end - 1, ' ');
    }
}

/// `'s`, `'m`, `'d` and a lone `'`, then `'ll`, `'re`, `'ve` and `n't`, each before a space.
fn split_endings(text: &[char]) -> Vec<char> {
    let before = |c: char| c != '\'' && c != ' ';
    let text = replace_after(text, before, |rest| match rest {
        ['\'', 's', ' ', ..] => Some((3, " 's ")),
        ['\'', 'S', ' ', ..] => Some((3, " 'S ")),
        ['\'', 'm', ' ', ..] => Some((3, " 'm ")),
        ['\'', 'M', ' ', ..] => Some((3, " 'M ")),
        ['\'', 'd', ' ', ..] => Some((3, " 'd ")),
        ['\'', 'D', ' ', ..] => Some((3, " 'D ")),
        ['\'', ' ', ..] => Some((2, " ' ")),
        _ => None,
    });
    replace_after(&text, before, |rest| match rest {
        ['\'', 'l', 'l', ' ', ..] => Some((4, " 'll ")),
        ['\'', 'L', 'L', ' ', ..] => Some((4, " 'LL ")),
        ['\'', 'r', 'e', ' ', ..] => Some((4, " 're ")),
        ['\'', 'R', 'E', ' ', ..] => Some((4, " 'RE ")),
        ['\'', 'v', 'e', ' ', ..] => Some((4, " 've ")),
        ['\'', 'V', 'E', ' ', ..] => Some((4, " 'VE ")),
        ['n', '\'', 't', ' ', ..] => Some((4, " n't ")),
        ['N', '\'', 'T', ' ', ..] => Some((4, " N'T ")),
        _ => None,
    })
}

/// Splits `first` from `second` wherever they stand together, in any case; `bounded`: only at the beginning of a word;
/// `spaced`: only before white space, which goes, else only at the end of a word.
fn contract(text: &[char], first: &str, second: &str, bounded: bool, spaced: bool) -> Vec<char> {
    let pattern: Vec<char> = first.chars().chain(second.chars()).collect();
    let cut = first.chars().count();
    let matches = |at: usize| {
        let Some(found) = text.get(at..at + pattern.len()) else {
            return false;
        };
        if !found
            .iter()
            .zip(&pattern)
            .all(|(c, wanted)| same(*c, *wanted))
        {
            return false;
        }
        let starts = !bounded || at == 0 || !is_word(text[at - 1]);
        let ends = match text.get(at + pattern.len()) {
            Some(&next) if spaced => is_space(next),
            Some(&next) => !is_word(next),
            None => !spaced,
        };
        starts && ends
    };
    let Some(found) = (0..text.len()).find(|at| matches(*at)) else {
        return text.to_vec();
    };
    let mut out = text[..found].to_vec();
    let mut at = found;
    while at < text.len() {
        if matches(at) {
            out.push(' ');
            out.extend(&text[at..at + cut]);
            out.push(' ');
            out.extend(&text[at + cut..at + pattern.len()]);
            out.push(' ');
            at += pattern.len() + usize::from(spaced);
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// Whether `c` is the lower-case ASCII character `wanted` but for its case, by the folding of Python's `re`.
fn same(c: char, wanted: char) -> bool {
    c.eq_ignore_ascii_case(&wanted)
        || match wanted {
            'i' => matches!(c, '\u{130}' | '\u{131}'),
            's' => c == '\u{17f}',
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slowly(line: &str, rules: Rules) -> String {
        let text = by_rules(line, rules);
        let tokens: Vec<&str> = text.split(is_space).filter(|t| !t.is_empty()).collect();
        tokens.join(" ")
    }

    fn quickly(line: &str, rules: Rules) -> (String, u64) {
        let mut out = b"before ".to_vec();
        let words = tokenize(line, rules, &mut out);
        (String::from_utf8(out.split_off(7)).expect("UTF-8"), words)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn one_pass_is_the_rules(line in "([a-c0-9.,:;()\\[\\]<>%?!_/ \t\n-]|\\.\\.\\.|cannot|wanna|gonna|Lemme| ){0,14}") {
            for rules in [Rules::Class, Rules::Imported] {
                let (text, words) = quickly(&line, rules);
                prop_assert_eq!(&text, &slowly(&line, rules));
                prop_assert_eq!(words, text.split(' ').filter(|t| !t.is_empty()).count() as u64);
            }
        }

        #[test]
        fn tokens_keep_every_character_but_white_space_and_quotes(line in "\\PC{0,40}") {
            let kept = |text: &str| text.chars().filter(|c| !is_space(*c) && !matches!(c, '"' | '\'' | '`')).collect::<String>();
            prop_assert_eq!(kept(&quickly(&line, Rules::Class).0), kept(&line));
            prop_assert_eq!(kept(&quickly(&line, Rules::Imported).0), kept(&line));
        }
    }
}
