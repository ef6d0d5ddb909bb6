//! Any bytes as PubMed's XML: the same corpus whole and in pieces. Writes to memory only.
#![no_main]

mod corpus;

use data::corpus::config::Format;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((first, text)) = bytes.split_first() else { return };
    corpus::check(text, Format::PubmedXml, first & 4 > 0);
});
