//! Any bytes to any reader, chosen by the first byte: sound examples, or a fault with the next action. Files beside the
//! input are cut out of it, in a folder of their own that is made once.
#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;

use data::readers::{Column, Columns, Input, Options, READERS, Separator};
use data::tags::Encoding;

thread_local! {
    static FOLDER: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

fn folder() -> PathBuf {
    FOLDER.with_borrow_mut(|folder| {
        folder
            .get_or_insert_with(|| {
                let path = std::env::temp_dir().join(format!("fuzz-readers-{}", std::process::id()));
                std::fs::create_dir_all(&path).expect("made");
                path
            })
            .clone()
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let [which, how, rest @ ..] = bytes else {
        return;
    };
    let reader = READERS[usize::from(*which) % READERS.len()];
    let bit = |n: u8| how & (1 << n) != 0;
    let options = Options {
        columns: Columns {
            id: bit(0).then_some(Column::Index(0)),
            text: bit(1).then_some(Column::Index(1)),
            label: bit(1).then_some(Column::Index(-1)),
            ..Columns::default()
        },
        separator: bit(2).then(|| Separator::Text(" ".to_owned())),
        header: bit(3).then_some(bit(1)),
        quoting: if bit(4) { data::readers::Quoting::None } else { data::readers::Quoting::Csv },
        encoding: if bit(5) { Encoding::Lenient } else { Encoding::Iob2 },
        entity_type: bit(6).then(|| "X".to_owned()),
        tag_names: vec!["O".to_owned(), "B-X".to_owned()],
        label_names: if bit(7) { vec!["a".to_owned(), "b".to_owned()] } else { Vec::new() },
        ..Options::default()
    };
    // What stands behind a form feed are the files beside.
    let mut parts = rest.splitn(3, |byte| *byte == 0x0c);
    let mut main = parts.next().unwrap_or_default();
    let second = parts.next().unwrap_or_default();
    let third = parts.next().unwrap_or_default();
    let name = if reader.name() == "standoff" { "1.txt" } else { "x_abstracts.tsv" };
    let has_companions = reader.name() == "standoff" || reader.name().starts_with("chemprot");
    let path = has_companions.then(|| {
        let folder = folder();
        std::fs::write(folder.join("1.ann"), second).expect("written");
        std::fs::write(folder.join("x_entities.tsv"), second).expect("written");
        std::fs::write(folder.join("x_gold_standard.tsv"), third).expect("written");
        folder.join(name)
    });
    let input = Input {
        file: name,
        split: "train",
        already: 0,
        path: path.as_deref(),
        reader: &mut main,
    };
    let read = reader.read(input, &options, &mut |example, document| {
        assert_eq!(example.task(), reader.task());
        assert!(document != Some(""));
        if let Err(problem) = example.check() {
            panic!("{} gives an example with {}", reader.name(), problem.message);
        }
        Ok(())
    });
    if let Err(error) = read {
        assert!(error.help().is_some(), "{}: {error} says no next action", reader.name());
    }
});
