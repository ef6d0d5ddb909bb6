//! Any bytes as `vocab.txt` or `tokenizer.json`: refused, or the same after being written in both forms. Touches no file.
#![no_main]

use data::vocabulary::{Vocabulary, measure};
use data::wordpiece::Settings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((vocabulary, _)) = Vocabulary::parse(bytes, "fuzz") {
        let text = vocabulary.to_text();
        let json = vocabulary.to_json(Settings::default());
        for form in [text, json] {
            let (again, _) = Vocabulary::parse(form.as_bytes(), "again").expect("what was written reads");
            assert_eq!(again, vocabulary);
        }
        let _ = measure::unreachable(&vocabulary, Settings::default());
    }
});
