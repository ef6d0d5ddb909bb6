//! Any text: ids and ranges agree, and ranges lie at characters of the text. Touches no file.
#![no_main]

use std::sync::LazyLock;

use data::vocabulary::{SPECIALS, Vocabulary};
use data::wordpiece::{Encoder, Settings, WordPiece};

static PIECES: LazyLock<WordPiece> = LazyLock::new(|| {
    let mut entries: Vec<String> = SPECIALS.map(str::to_owned).into();
    for c in ('!'..='~').chain("αβγςσ漢ßıŋ\u{1100}\u{1161}±→".chars()) {
        entries.extend([c.to_string(), format!("##{c}")]);
    }
    entries.extend(["the", "##ing", "αβ", "##γσ"].map(str::to_owned));
    let vocabulary = Vocabulary::new(entries, "fuzz").expect("sound");
    WordPiece::new(&vocabulary, Settings::default())
});

libfuzzer_sys::fuzz_target!(|text: &str| {
    let mut encoder = Encoder::new(&PIECES);
    let (mut ids, mut pieces) = (Vec::new(), Vec::new());
    encoder.ids(text, &mut ids);
    encoder.pieces(text, &mut pieces);
    assert!(ids.iter().eq(pieces.iter().map(|piece| &piece.id)));
    for piece in pieces {
        assert!(piece.start < piece.end);
        assert!(text.is_char_boundary(piece.start) && text.is_char_boundary(piece.end));
    }
});
