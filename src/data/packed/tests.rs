//! Packing whole texts: what is kept, what order it has, and what a damaged file says.

use std::path::Path;

use proptest::prelude::*;

use super::builder::Overflow;
use super::format::fuzz_seal;
use super::pack::{Packed, Settings, Target, pack};
use super::read::{Ids, PackedExamples};
use crate::texts::{TextFile, Texts};
use crate::vocabulary::{SPECIALS, Vocabulary};

/// The special entries, then as many words as wanted: `w0`, `w1` …
fn vocabulary(words: u32) -> Vocabulary {
    let specials = SPECIALS.iter().map(|name| (*name).to_owned());
    let words = (0..words).map(|i| format!("w{i}"));
    Vocabulary::new(specials.chain(words).collect(), "v").expect("sound")
}

/// The id of `w0`.
const FIRST: u32 = 5;

const SETTINGS: Settings = Settings {
    words: crate::wordpiece::Settings {
        lower_case: true,
        strip_accents: true,
        max_word_chars: 200,
    },
    flush_documents: true,
    overflow: Overflow::Drop,
    shuffle: true,
    seed: 3,
};

fn texts(folder: &Path, contents: &[String]) -> Texts {
    let files = contents.iter().enumerate().map(|(i, text)| {
        let path = folder.join(format!("{i:05}.txt"));
        fs_err::write(&path, text).expect("written");
        let name = format!("{i:05}.txt");
        TextFile { name, path }
    });
    Texts::plain(files.collect())
}

type Example = (Vec<u32>, u32);

struct Made {
    packed: Packed,
    /// Bytes of each target's file.
    files: Vec<Vec<u8>>,
    examples: Vec<Vec<Example>>,
}

fn make(
    contents: &[String],
    words: u32,
    settings: Settings,
    lengths: &[u32],
    threads: usize,
) -> Made {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = texts(folder.path(), contents);
    let target = |length: &u32| Target {
        length: *length,
        path: folder.path().join(format!("{length}.packed")),
    };
    let targets: Vec<Target> = lengths.iter().map(target).collect();
    let work = folder.path().join("work");
    let vocabulary = vocabulary(words);
    let packed = pack(
        &texts,
        &vocabulary,
        &settings,
        &targets,
        threads,
        &work,
        &mut |_| {},
    )
    .expect("the text is sound");
    let read = |target: &Target| {
        let examples = PackedExamples::open(&target.path).expect("sound");
        examples.check_ids().expect("sound");
        let all = examples.iter();
        all.map(|example| (example.ids.iter().collect(), example.segment_b))
            .collect()
    };
    let examples = targets.iter().map(read).collect();
    let bytes = |target: &Target| fs_err::read(&target.path).expect("readable");
    let files = targets.iter().map(bytes).collect();
    assert_eq!(
        fs_err::read_dir(work).map(Iterator::count).ok(),
        Some(0),
        "buckets are removed"
    );
    Made {
        packed,
        files,
        examples,
    }
}

/// A text of `documents` documents, each of sentences of up to 30 words; the words count up.
fn counted(documents: u32) -> (String, u32) {
    let (mut text, mut word) = (String::new(), 0);
    for document in 0..documents {
        for sentence in 0..1 + document % 7 {
            for _ in 0..1 + (document * 5 + sentence * 11) % 30 {
                text.push_str(&format!("w{word} "));
                word += 1;
            }
            text.push('\n');
        }
        text.push('\n');
    }
    (text, word)
}

fn pieces(example: &Example) -> impl Iterator<Item = u32> {
    example.0.iter().copied().filter(|id| *id >= FIRST)
}

#[test]
fn the_file_does_not_depend_on_threads_and_not_on_shards_at_documents() {
    let (text, words) = counted(3000);
    let documents: Vec<&str> = text.split_inclusive("\n\n").collect();
    let shards: Vec<String> = documents.chunks(700).map(<[&str]>::concat).collect();
    assert_eq!(shards.len(), 5);
    let one = make(std::slice::from_ref(&text), words, SETTINGS, &[32, 128], 1);
    for (contents, threads) in [
        (vec![text.clone()], 2),
        (vec![text], 5),
        (shards.clone(), 1),
        (shards, 3),
    ] {
        let other = make(&contents, words, SETTINGS, &[32, 128], threads);
        assert!(other.files == one.files);
        assert_eq!(other.packed.targets, one.packed.targets);
    }
    let counts = one.packed.counts;
    assert_eq!((counts.documents, counts.unknown), (3000, 0));
    assert_eq!(counts.pieces, u64::from(words));
    // A target does not know of the others.
    let alone = make(&[counted(3000).0], words, SETTINGS, &[128], 1);
    assert!(alone.files[0] == one.files[1]);
}

#[test]
fn a_shuffle_is_a_permutation_that_the_seed_decides() {
    let (text, words) = counted(2000);
    let unshuffled = Settings {
        shuffle: false,
        ..SETTINGS
    };
    let built = make(std::slice::from_ref(&text), words, unshuffled, &[64], 2);
    let shuffled = make(std::slice::from_ref(&text), words, SETTINGS, &[64], 2);
    let firsts: Vec<u32> = built.examples[0]
        .iter()
        .map(|example| example.0[1])
        .collect();
    assert!(firsts.is_sorted(), "as built is the order of the text");
    let sorted = |made: &Made| {
        let mut examples = made.examples[0].clone();
        examples.sort();
        examples
    };
    assert_eq!(sorted(&shuffled), sorted(&built));
    assert_ne!(shuffled.examples[0], built.examples[0]);
    // Far from the old place: the mean distance of a random permutation is a third of its length.
    let places = shuffled.examples[0].iter().map(|example| {
        built.examples[0]
            .iter()
            .position(|other| other == example)
            .expect("there")
    });
    let n = built.examples[0].len();
    let moved: usize = places
        .enumerate()
        .map(|(now, then)| now.abs_diff(then))
        .sum();
    let mean = moved as f64 / n as f64 / n as f64;
    assert!((0.30..0.37).contains(&mean), "{mean}");
    let other = Settings {
        seed: 4,
        ..SETTINGS
    };
    let other = make(&[text], words, other, &[64], 2);
    assert_ne!(other.examples[0], shuffled.examples[0]);
}

#[test]
fn the_order_does_not_depend_on_the_number_of_buckets() {
    use super::builder::Example;
    use super::write::{Order, Writer};
    let vocabulary = vocabulary(70_000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    for bucket_bits in [0, 1, 6] {
        let order = Order::Shuffled { bucket_bits };
        let work = folder.path().join("work");
        let mut writer = Writer::new(&vocabulary, 16, 1, order, &work).expect("a folder");
        for i in 0..500 {
            let ids = [2, FIRST + 140 * i, 3];
            let example = Example {
                ids: &ids,
                segment_b: 3,
            };
            writer.add(example).expect("written");
        }
        let path = folder.path().join("file");
        writer.finish(&path, &mut |_| {}).expect("written");
        files.push(fs_err::read(&path).expect("there"));
        let read = PackedExamples::open(&path).expect("sound");
        assert!(matches!(read.find(0).expect("one").ids, Ids::Wide(_)));
        assert_eq!((read.len(), read.find(500)), (500, None));
    }
    assert!(files[0] == files[1] && files[1] == files[2]);
}

#[test]
fn a_text_without_a_word_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = texts(folder.path(), &["\n \n".to_owned()]);
    let targets = [Target {
        length: 16,
        path: folder.path().join("x"),
    }];
    let work = folder.path().join("work");
    let error = pack(
        &texts,
        &vocabulary(1),
        &SETTINGS,
        &targets,
        1,
        &work,
        &mut |_| {},
    );
    assert_eq!(
        error.expect_err("refused").to_string(),
        "the text holds no word"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// In the packed mode every piece stands in exactly one example, and all examples but the last are full or aimed short.
    #[test]
    fn no_token_is_lost(
        sentences in prop::collection::vec(0_u32..60, 1..60),
        length in 5_u32..80,
        flush in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut text = String::new();
        let mut word = 0;
        for n in &sentences {
            for _ in 0..*n {
                text.push_str(&format!("W{word} "));
                word += 1;
            }
            text.push('\n');
        }
        prop_assume!(word > 0);
        let settings = Settings {
            flush_documents: flush,
            overflow: Overflow::Carry,
            seed,
            ..SETTINGS
        };
        let made = make(&[text], word, settings, &[length], 2);
        let mut found: Vec<u32> = made.examples[0].iter().flat_map(pieces).collect();
        found.sort_unstable();
        prop_assert_eq!(found, (FIRST..FIRST + word).collect::<Vec<_>>());
        prop_assert_eq!(made.packed.targets[0].0.dropped, 0);
        for (ids, segment_b) in &made.examples[0] {
            prop_assert!(ids.len() <= length as usize);
            prop_assert!(*segment_b as usize == ids.len() || ids[*segment_b as usize - 1] == 3);
        }
    }
}

/// Bytes at an address that is a multiple of 8, as a map has.
struct Aligned(Vec<u64>, usize);

impl Aligned {
    fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0_u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self(words, bytes.len())
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..self.1]
    }
}

/// Everything that a reader of the file may touch.
fn use_all(bytes: &[u8]) -> Result<(), String> {
    let examples = PackedExamples::new(Aligned::new(bytes), "f").map_err(|e| e.to_string())?;
    for example in examples.iter() {
        assert_eq!(example.ids.iter().count(), example.ids.len());
        assert!(example.segment_b as usize <= example.ids.len() && !example.ids.is_empty());
    }
    examples.check_ids().map_err(|error| error.to_string())
}

#[test]
fn every_changed_byte_is_noticed_and_none_makes_the_reader_panic() {
    let (text, words) = counted(12);
    let sound = make(&[text], words, SETTINGS, &[32], 1).files.remove(0);
    use_all(&sound).expect("sound");
    let mut told = std::collections::BTreeSet::new();
    for at in 0..sound.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = sound.clone();
            bytes[at] ^= flip;
            use_all(&bytes).expect_err("noticed");
            fuzz_seal(&mut bytes);
            if let Err(error) = use_all(&bytes) {
                told.insert(error);
            }
        }
        use_all(&sound[..at]).expect_err("noticed");
    }
    use_all(&[&sound[..], &[0]].concat()).expect_err("noticed");
    for fault in [
        "the width of its ids does not fit its vocabulary",
        "its sequence length is out of bounds",
        "a special id is not below the vocabulary's size",
        "its sections do not lie where its counts put them",
        "its examples do not cover its ids",
        "an example ends before it begins",
        "an example is empty or too long",
        "a second segment begins outside its example",
        "the checksum of its ids is wrong",
        "its header does not end in zeros",
    ] {
        assert!(
            told.contains(&format!("`f` is damaged: {fault}")),
            "{fault}: {told:#?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_damage_is_an_error_and_no_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
        reseals in any::<bool>(),
    ) {
        static SOUND: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let sound = SOUND.get_or_init(|| {
            let (text, words) = counted(5);
            make(&[text], words, SETTINGS, &[16], 1).files.remove(0)
        });
        let mut bytes = sound.clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        if reseals {
            fuzz_seal(&mut bytes);
        }
        let is_same = bytes == *sound;
        prop_assert_eq!(use_all(&bytes).is_ok() && !reseals, is_same && !reseals);
    }
}
