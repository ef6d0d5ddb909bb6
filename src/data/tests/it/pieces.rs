//! Properties of tokenization that hold for any text.

use data::vocabulary::{SPECIALS, Vocabulary};
use data::wordpiece::{Encoder, Settings, Splitter, WordPiece};
use proptest::prelude::*;

/// Characters of every class that the tokenizer knows.
const STRANGE: &str = "aabcXYZ019 ..,-\t\u{0}\u{ad}\u{200b}\u{a0}\u{2028}éÉñİßẞΣςσΩβ漢豈글カ±→—\u{301}\u{323}\u{37e}𠀀\u{1d165}";

/// A vocabulary of all letters that `STRANGE` becomes, and some longer pieces.
fn spelling() -> Vocabulary {
    let letters = "abcxyz019.,-einσςßωβ漢豈ᄀ가ᅳᆯカ±→—;𠀀\u{1d165}";
    let mut entries: Vec<String> = SPECIALS.iter().map(|name| (*name).to_owned()).collect();
    for c in letters.chars() {
        entries.extend([c.to_string(), format!("##{c}")]);
    }
    entries.extend(["ab", "##ab", "abc", "xy", "##yz"].map(str::to_owned));
    Vocabulary::new(entries, "v").expect("sound")
}

fn text_of(choices: &[prop::sample::Index]) -> String {
    let all: Vec<char> = STRANGE.chars().collect();
    choices
        .iter()
        .map(|choice| all[choice.index(all.len())])
        .collect()
}

proptest! {
    /// A piece's range, normalised alone, is the piece; ranges go forward; both ways of asking give the same ids.
    #[test]
    fn ranges_are_the_text_that_pieces_stand_for(
        choices in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let text = text_of(&choices);
        let vocabulary = spelling();
        let compiled = WordPiece::new(&vocabulary, Settings::default());
        let mut encoder = Encoder::new(&compiled);
        let (mut ids, mut pieces) = (Vec::new(), Vec::new());
        encoder.ids(&text, &mut ids);
        encoder.pieces(&text, &mut pieces);
        prop_assert_eq!(&ids, &pieces.iter().map(|piece| piece.id).collect::<Vec<_>>());
        let mut splitter = Splitter::new(Settings::default());
        let mut before = 0;
        for piece in &pieces {
            prop_assert!(piece.start >= before && piece.end > piece.start, "{:?} {:?}", text, piece);
            before = piece.start;
            let mut alone = String::new();
            splitter.words(&text[piece.start..piece.end], &mut |word| alone.push_str(word));
            let entry = vocabulary.find_entry(piece.id).expect("an id");
            let bare = entry.strip_prefix("##").unwrap_or(entry);
            // A sigma at the end of a slice is a final one, whatever followed it in the text; and a character that
            // becomes several lies in the range of each of its parts.
            let fold = |text: &str| text.replace('ς', "σ");
            let is_piece = entry == "[UNK]" || fold(&alone).contains(&fold(bare));
            prop_assert!(is_piece, "{:?}: {:?} is not {:?}", text, alone, entry);
        }
    }

    /// What an encoder has seen before changes nothing, nor does white space around a text.
    #[test]
    fn answers_do_not_depend_on_what_came_before(
        first in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        second in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let (first, second) = (text_of(&first), text_of(&second));
        let vocabulary = spelling();
        let compiled = WordPiece::new(&vocabulary, Settings::default());
        let fresh = |text: &str| {
            let mut ids = Vec::new();
            Encoder::new(&compiled).ids(text, &mut ids);
            ids
        };
        let mut used = Encoder::new(&compiled);
        let mut ids = Vec::new();
        used.ids(&first, &mut ids);
        used.ids(&second, &mut ids);
        let both = [fresh(&first), fresh(&second)].concat();
        prop_assert_eq!(&ids, &both);
        prop_assert_eq!(fresh(&format!("{first}\n {second} ")), both);
    }

    /// Any bytes are a vocabulary or an error.
    #[test]
    fn a_vocabulary_of_any_text_is_read_or_refused(
        text in "(\\[PAD\\]\n)?(\\[UNK\\]\n)?(\\PC{0,4}\r?\n){0,6}(\\[CLS\\]\n\\[SEP\\]\n\\[MASK\\]\n)?\\PC{0,30}",
    ) {
        if let Ok((vocabulary, _)) = Vocabulary::parse(text.as_bytes(), "v") {
            let again = Vocabulary::parse(vocabulary.to_text().as_bytes(), "v").expect("sound").0;
            prop_assert_eq!(&again, &vocabulary);
            let json = vocabulary.to_json(Settings::default());
            let again = Vocabulary::parse(json.as_bytes(), "v").expect("sound").0;
            prop_assert_eq!(again, vocabulary);
        }
    }
}
