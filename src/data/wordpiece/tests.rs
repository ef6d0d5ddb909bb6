//! The tokenizer's rules one by one, and its ranges.

use super::*;

fn vocabulary(more: &[&str]) -> Vocabulary {
    let entries = crate::vocabulary::SPECIALS.iter().chain(more);
    Vocabulary::new(entries.map(|entry| (*entry).to_owned()).collect(), "v").expect("sound")
}

/// The pieces of a text as text, with the slices they stand for.
fn pieces(text: &str, settings: Settings, more: &[&str]) -> Vec<(String, String)> {
    let vocabulary = vocabulary(more);
    let compiled = WordPiece::new(&vocabulary, settings);
    let mut encoder = Encoder::new(&compiled);
    let mut found = Vec::new();
    encoder.pieces(text, &mut found);
    let mut ids = Vec::new();
    encoder.ids(text, &mut ids);
    assert_eq!(
        ids,
        found.iter().map(|piece| piece.id).collect::<Vec<_>>(),
        "{text:?}"
    );
    found
        .iter()
        .map(|piece| {
            let entry = vocabulary.find_entry(piece.id).expect("an id");
            (entry.to_owned(), text[piece.start..piece.end].to_owned())
        })
        .collect()
}

fn entries(text: &str, more: &[&str]) -> String {
    let found = pieces(text, Settings::default(), more);
    found
        .into_iter()
        .map(|piece| piece.0)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn words_are_spelt_greedily_or_not_at_all() {
    let more = ["un", "##aff", "##able", "##a", "unaff", "(", "x", "##x"];
    assert_eq!(
        entries("unaffable (UNAFF)", &more),
        "unaff ##able ( unaff [UNK]"
    );
    assert_eq!(entries("unaffb", &more), "[UNK]");
    assert_eq!(entries("", &more), "");
    let long = "x".repeat(200);
    assert_eq!(entries(&long, &more).split(' ').count(), 200);
    assert_eq!(entries(&format!("{long}x"), &more), "[UNK]");
    // Twice in one text, so that the second comes from the cache.
    assert_eq!(
        entries("unaffable unaffable", &more),
        "unaff ##able unaff ##able"
    );
}

#[test]
fn accents_controls_and_ideographs_go_as_the_specification_says() {
    let more = [
        "cafe", "##s", "漢", "i", "ab", "ς", "σ", "ας", "##σ", ".", "ᄀ", "##ᅡ", "ß", ";",
    ];
    assert_eq!(entries("Cafe\u{301}s", &more), "cafe ##s");
    assert_eq!(
        entries("a\u{0}b a\u{ad}b \u{200b} a\u{fffd}b", &more),
        "ab ab ab"
    );
    assert_eq!(entries("ab漢ab", &more), "ab 漢 ab");
    assert_eq!(entries("İ", &more), "i");
    assert_eq!(entries("가", &more), "ᄀ ##ᅡ");
    assert_eq!(entries("ẞ", &more), "ß");
    // The Greek question mark decomposes to a semicolon, a word of its own.
    assert_eq!(entries("ab\u{37e}ab", &more), "ab ; ab");
    // A sigma at a word's end, also behind letters that are ASCII, and alone.
    assert_eq!(entries("ΑΣ", &more), "ας");
    assert_eq!(entries("ab.Σ Σ", &more), "ab . ς σ");
    assert_eq!(
        entries("ab\u{a0}ab\u{2028}ab\u{3000}ab\u{85}", &more),
        "ab ab ab ab"
    );
}

#[test]
fn ranges_name_the_bytes_of_the_original() {
    let more = ["cafe", "##s", "un", "##do", "."];
    let found = pieces(" CAFÉs undo.Q", Settings::default(), &more);
    let expected = [
        ("cafe", "CAFÉ"),
        ("##s", "s"),
        ("un", "un"),
        ("##do", "do"),
        (".", "."),
        ("[UNK]", "Q"),
    ];
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(entry, slice)| ((*entry).to_owned(), (*slice).to_owned()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn case_and_accents_can_be_kept() {
    let cased = Settings {
        lower_case: false,
        strip_accents: false,
        ..Settings::default()
    };
    let found = pieces("Né ne", cased, &["N", "##é", "##e", "n"]);
    assert_eq!(
        found.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(),
        ["N", "##é", "n", "##e"]
    );
    let accented = Settings {
        strip_accents: false,
        ..Settings::default()
    };
    assert_eq!(pieces("É", accented, &["é"])[0].0, "é");
}
