//! What BERT's basic tokenizer asks of a character: its class, its lower-case form without accents. Knows no vocabulary.
//!
//! The door to `unicode-properties` and `unicode-normalization`. Spec B.1; the tables are those crates' (Unicode 16 or
//! later), so characters younger than the Python that made an older answer are letters here and dropped there.

use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::canonical_combining_class;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// What happens to a character before anything is lower-cased (spec B.1, steps 1 to 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Deleted: U+0000, U+FFFD and every category that starts with C, but tab and ends of line.
    Dropped,
    /// Parts words: Zs, Zl, Zp, tab and ends of line.
    Space,
    /// A word of its own: the ideographs of the CJK blocks.
    Ideograph,
    /// Anything else.
    Kept,
}

/// Words of the basic multilingual plane, one byte each: class, and [`PLAIN`] and [`PUNCTUATION`].
const CLASS: u8 = 0b11;
/// Lower-casing and decomposing leave the character as it is, and it is no mark.
const PLAIN: u8 = 0b100;
const PUNCTUATION: u8 = 0b1000;

fn bits(c: char) -> u8 {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        (0..=0xffff_u32)
            .map(|code| char::from_u32(code).map_or(0, compute))
            .collect()
    });
    table.get(c as usize).copied().unwrap_or_else(|| compute(c))
}

fn compute(c: char) -> u8 {
    let class = match c {
        '\t' | '\n' | '\r' | ' ' => Class::Space,
        '\0' | '\u{fffd}' => Class::Dropped,
        c if is_ideograph(c) => Class::Ideograph,
        c => match c.general_category() {
            GeneralCategory::SpaceSeparator
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator => Class::Space,
            _ if c.general_category_group() == GeneralCategoryGroup::Other => Class::Dropped,
            _ => Class::Kept,
        },
    };
    let mut bits = class as u8;
    let mut lower = c.to_lowercase();
    let is_same = lower.next() == Some(c) && lower.next().is_none();
    if is_same && std::iter::once(c).nfd().eq([c]) && !is_accent(c) && !is_mark(c) {
        bits |= PLAIN;
    }
    if c.is_ascii_punctuation() || c.general_category_group() == GeneralCategoryGroup::Punctuation {
        bits |= PUNCTUATION;
    }
    bits
}

/// The class of a character.
pub(crate) fn class(c: char) -> Class {
    match bits(c) & CLASS {
        0 => Class::Dropped,
        1 => Class::Space,
        2 => Class::Ideograph,
        _ => Class::Kept,
    }
}

/// What `\w` matches in Python: every category of letters and numbers, and the underscore. Rust's `is_alphanumeric` takes
/// vowel signs and circled letters too.
#[must_use]
pub fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number
    )
}

/// Whether the character stays as it is whatever surrounds it.
pub(crate) fn is_plain(c: char) -> bool {
    bits(c) & PLAIN != 0
}

/// ASCII 33-47, 58-64, 91-96, 123-126 and every category that starts with P: a word of its own.
pub(crate) fn is_punctuation(c: char) -> bool {
    bits(c) & PUNCTUATION != 0
}

/// Category Mn: what is deleted after decomposition.
pub(crate) fn is_accent(c: char) -> bool {
    c.general_category() == GeneralCategory::NonspacingMark
}

/// Whether canonical ordering may move the character.
pub(crate) fn is_mark(c: char) -> bool {
    canonical_combining_class(c) != 0
}

/// A character's place among neighbouring marks; 0 for what stays where it is.
pub(crate) fn combining_class(c: char) -> u8 {
    canonical_combining_class(c)
}

/// The full canonical decomposition of one character.
pub(crate) fn decompose(c: char, each: impl FnMut(char)) {
    unicode_normalization::char::decompose_canonical(c, each);
}

/// Whether decomposing a text and deleting its accents leaves it as it is.
pub(crate) fn is_decomposed(text: &str) -> bool {
    text.nfd().filter(|c| !is_accent(*c)).eq(text.chars())
}

/// A text with every letter apart from its accents (NFD), so that two texts that read the same are the same.
#[must_use]
pub fn decomposed(text: &str) -> String {
    text.nfd().collect()
}

/// The same with every letter and its accents as one character where there is one (NFC).
#[must_use]
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// The blocks that BERT surrounds with spaces; neither Hangul nor Kana.
fn is_ideograph(c: char) -> bool {
    matches!(
        u32::from(c),
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_b81f
            | 0x2_b820..=0x2_ceaf
            | 0xf900..=0xfaff
            | 0x2_f800..=0x2_fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_the_class_of_the_specification() {
        for (c, expected) in [
            ('\0', Class::Dropped),
            ('\u{7}', Class::Dropped),
            ('\u{85}', Class::Dropped),
            ('\u{ad}', Class::Dropped),
            ('\u{200b}', Class::Dropped),
            ('\u{feff}', Class::Dropped),
            ('\u{e000}', Class::Dropped),
            ('\u{378}', Class::Dropped),
            ('\u{10ffff}', Class::Dropped),
            ('\n', Class::Space),
            ('\u{a0}', Class::Space),
            ('\u{2028}', Class::Space),
            ('\u{3000}', Class::Space),
            ('漢', Class::Ideograph),
            ('\u{2f800}', Class::Ideograph),
            ('글', Class::Kept),
            ('カ', Class::Kept),
            ('β', Class::Kept),
            ('\u{301}', Class::Kept),
        ] {
            assert_eq!(class(c), expected, "{:04x}", u32::from(c));
        }
        assert!(is_punctuation('`') && is_punctuation('—') && is_punctuation('$'));
        assert!(!is_punctuation('±') && !is_punctuation('→') && !is_punctuation('a'));
        assert!(is_plain('β') && is_plain('±') && !is_plain('Β') && !is_plain('é'));
        assert!(!is_plain('\u{301}') && !is_plain('\u{1d165}') && !is_plain('글'));
    }
}
