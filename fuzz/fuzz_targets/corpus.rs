//! What the targets over corpora share: one text made twice, whole and in small pieces on two threads. Run them with
//! `ASAN_OPTIONS=detect_leaks=0`: a thread of a scope may still be freeing its own variables when the scope has ended.

use data::corpus::config::{Format, Lengths, OnOverlap, Settings, Steps, Tokens};
use data::corpus::steps::overlap::HeldOut;
use data::corpus::{Outcome, Sources, make};
use data::texts::TextFile;

/// Makes a corpus of `text` both ways; they must be the same.
pub fn check(text: &[u8], format: Format, small: bool) {
    let mut settings = Settings {
        format,
        text_fields: vec!["text".to_owned()],
        titles: true,
        section_labels: true,
        abstracts_only: false,
        steps: Steps {
            split: true,
            lower_case: true,
            ascii: !small,
            tokens: if small { Tokens::TreebankImported } else { Tokens::Treebank },
            possessives: true,
        },
        deduplicate: true,
        lengths: Lengths {
            sentence: (0, u64::MAX),
            document: (0, u64::MAX),
        },
        on_overlap: OnOverlap::Remove,
        max_bad_records: u64::MAX,
        shard_bytes: 100,
        max_document_bytes: if small { 50 } else { 1 << 20 },
        piece_bytes: 1 << 20,
        threads: 1,
    };
    let whole = run(text, &settings);
    settings.threads = 2;
    settings.piece_bytes = 13;
    assert_eq!(run(text, &settings), whole);
}

fn run(text: &[u8], settings: &Settings) -> (Result<Outcome, String>, Vec<Vec<u8>>) {
    let space = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let path = space.path().join("text");
    fs_err::write(&path, text).expect("written");
    let name = "text".to_owned();
    let sources = Sources::plain(vec![TextFile { name, path }]);
    let out = space.path().join("out");
    fs_err::create_dir(&out).expect("made");
    let outcome = make(&sources, settings, &HeldOut::default(), &out, &mut |_| {});
    let shards = (0..)
        .map(|number| out.join(format!("{number:05}.txt")))
        .take_while(|path| path.is_file())
        .map(|path| fs_err::read(path).expect("readable"))
        .collect();
    (outcome.map_err(|error| error.to_string()), shards)
}
