//! Any text as a pipeline file: it loads, or every problem has a place in the text. Touches no file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        flow::spec::fuzz_load(text);
    }
});
