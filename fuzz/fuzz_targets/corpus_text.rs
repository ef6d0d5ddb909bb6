//! Any bytes as sentences, paragraphs, lines or JSON lines: the same corpus whole and in pieces. Writes to memory only.
#![no_main]

mod corpus;

use data::corpus::config::Format;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, text)) = bytes.split_first() else { return };
    let formats = [Format::Sentences, Format::Paragraphs, Format::Lines, Format::JsonLines];
    corpus::check(text, formats[usize::from(first & 3)], first & 4 > 0);
});
