//! Files as `torch.save` writes them, written here opcode by opcode, and what becomes of them when they are changed.

use std::io::{Cursor, Write as _};

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// A tensor to be written: name, storage, type, elements of the storage, offset, shape, strides.
type Entry<'a> = (&'a str, &'a str, &'a str, i32, i32, &'a [i32], &'a [i32]);

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn int(out: &mut Vec<u8>, number: i32) {
    out.push(b'J');
    out.extend(number.to_le_bytes());
}

fn tuple(out: &mut Vec<u8>, numbers: &[i32]) {
    out.push(b'(');
    numbers.iter().for_each(|number| int(out, *number));
    out.push(b't');
}

/// The pickle of a state dict with `_metadata`; every second tensor is a parameter.
fn pickle(entries: &[Entry<'_>], is_legacy: bool) -> Vec<u8> {
    let mut out = b"\x80\x02ccollections\nOrderedDict\nq\0)Rq\x01(".to_vec();
    for (i, (name, key, kind, count, first, shape, strides)) in entries.iter().enumerate() {
        text(&mut out, name);
        if i % 2 == 1 {
            out.extend(b"ctorch._utils\n_rebuild_parameter\n");
        }
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{kind}Storage\n").bytes());
        text(&mut out, key);
        text(&mut out, "cpu");
        int(&mut out, *count);
        if is_legacy {
            out.push(b'N');
        }
        out.extend(b"tQ");
        int(&mut out, *first);
        tuple(&mut out, shape);
        tuple(&mut out, strides);
        out.extend(b"\x89h\0)RtR");
        if i % 2 == 1 {
            out.extend(b"\x88h\0)R\x87R");
        }
    }
    out.extend(b"u}");
    text(&mut out, "_metadata");
    out.extend(b"h\0)Rsb.");
    out
}

type Data<'a> = [(&'a str, Vec<u8>)];

fn legacy_of(pickle: &[u8], data: &Data<'_>, size: usize, little: bool) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    out.extend(b"\x80\x02M\xe9\x03.\x80\x02}(");
    text(&mut out, "little_endian");
    out.push(if little { 0x88 } else { 0x89 });
    out.extend(b"u.");
    out.extend(pickle);
    out.extend(b"\x80\x02](");
    data.iter().for_each(|(key, _)| text(&mut out, key));
    out.extend(b"e.");
    for (_, bytes) in data {
        out.extend(((bytes.len() / size) as u64).to_le_bytes());
        out.extend(bytes);
    }
    out
}

fn archive_of(pickle: &[u8], data: &Data<'_>) -> Vec<u8> {
    let stored = CompressionMethod::Stored;
    let mut entries = vec![("m/data.pkl".to_owned(), pickle.to_vec(), stored)];
    entries.push(("m/byteorder".to_owned(), b"little".to_vec(), stored));
    for (key, bytes) in data {
        entries.push((format!("m/data/{key}"), bytes.clone(), stored));
    }
    zip_of(&entries)
}

fn zip_of(entries: &[(String, Vec<u8>, CompressionMethod)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes, method) in entries {
        let options = SimpleFileOptions::default().compression_method(*method);
        zip.start_file(name.as_str(), options).expect("begun");
        zip.write_all(bytes).expect("written");
    }
    zip.finish().expect("finished").into_inner()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A matrix, its transpose and a row of it in one storage, and a tensor without elements.
const VIEWS: [Entry<'_>; 4] = [
    ("a", "0", "Float", 6, 0, &[2, 3], &[3, 1]),
    ("b", "0", "Float", 6, 0, &[3, 2], &[1, 3]),
    ("c", "0", "Float", 6, 3, &[3], &[1]),
    ("d", "0", "Float", 6, 6, &[0, 7], &[7, 1]),
];

fn views_in_both_layouts() -> [Vec<u8>; 2] {
    let data = [("0", floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))];
    [
        legacy_of(&pickle(&VIEWS, true), &data, 4, true),
        archive_of(&pickle(&VIEWS, false), &data),
    ]
}

#[test]
fn views_of_one_storage_are_read_in_both_layouts() {
    for file in views_in_both_layouts() {
        assert!(is_torch(&file));
        let found = read(&file).expect("read");
        let is = |name: &str, shape: &[usize], values: &[f32]| {
            assert_eq!(found[name].shape, shape, "{name}");
            assert_eq!(found[name].values, values, "{name}");
        };
        is("a", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        is("b", &[3, 2], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        is("c", &[3], &[4.0, 5.0, 6.0]);
        is("d", &[0, 7], &[]);
        assert_eq!(found.len(), 4);
    }
}

#[test]
fn types_become_f32() {
    let cases: [(&str, Vec<u8>, f32); 4] = [
        ("Half", vec![0x00, 0xc0], -2.0),
        ("BFloat16", vec![0x80, 0x3f], 1.0),
        ("Double", 0.5_f64.to_le_bytes().to_vec(), 0.5),
        ("Long", 7_i64.to_le_bytes().to_vec(), 7.0),
    ];
    for (kind, bytes, value) in cases {
        let pickle = pickle(&[("x", "9", kind, 1, 0, &[], &[])], false);
        let found = read(&archive_of(&pickle, &[("9", bytes)])).expect("read");
        assert_eq!(found["x"].values, [value], "{kind}");
    }
}

#[test]
fn a_state_dict_may_be_wrapped() {
    let inner = pickle(&VIEWS[..1], false);
    let mut outer = b"\x80\x02}(".to_vec();
    text(&mut outer, "epoch");
    int(&mut outer, 3);
    text(&mut outer, "state_dict");
    outer.extend(&inner[2..inner.len() - 1]);
    outer.extend(b"u.");
    let found = read(&archive_of(&outer, &[("0", floats(&[0.5; 6]))])).expect("read");
    assert_eq!(found["a"].values, [0.5; 6]);
}

fn refusal(file: &[u8]) -> String {
    read(file).expect_err("refused").to_string()
}

#[test]
fn views_beyond_their_storage_are_refused() {
    let cases: [(i32, &[i32], &[i32]); 6] = [
        (0, &[7], &[1]),
        (1, &[2, 3], &[3, 1]),
        (0, &[2, 3], &[4, 1]),
        // Elements repeated by a stride of 0.
        (0, &[1000, 1000], &[0, 0]),
        (-1, &[1], &[1]),
        (0, &[2], &[-1]),
    ];
    for (first, shape, strides) in cases {
        let pickle = pickle(&[("x", "0", "Float", 6, first, shape, strides)], false);
        let said = refusal(&archive_of(&pickle, &[("0", floats(&[0.0; 6]))]));
        let expected = ["a tensor reaches beyond its storage", "a size is negative"];
        assert!(expected.contains(&said.as_str()), "{said}");
    }
    let many: Vec<String> = (0..2_000).map(|i| i.to_string()).collect();
    let shared: Vec<Entry<'_>> = many
        .iter()
        .map(|name| {
            (
                name.as_str(),
                "0",
                "Byte",
                500_000,
                0,
                &[500_000][..],
                &[1][..],
            )
        })
        .collect();
    let file = archive_of(&pickle(&shared, false), &[("0", vec![0; 500_000])]);
    assert_eq!(read(&file).expect_err("too much"), TorchError::TooLarge);
}

#[test]
fn storages_that_are_not_as_long_as_stated_are_refused() {
    let pickle = |legacy| pickle(&VIEWS[..1], legacy);
    for n in [5, 7] {
        let data = [("0", floats(&vec![0.0; n]))];
        let said = refusal(&archive_of(&pickle(false), &data));
        assert!(
            said.contains("larger than") || said.contains("another length"),
            "{said}"
        );
        let said = refusal(&legacy_of(&pickle(true), &data, 4, true));
        assert!(said.contains("another length"), "{said}");
    }
    let none = archive_of(&pickle(false), &[("1", floats(&[0.0; 6]))]);
    assert_eq!(refusal(&none), "a storage is not in the archive");
    let none = legacy_of(&pickle(true), &[], 4, true);
    assert_eq!(refusal(&none), "a storage is not in the file");
    let other = legacy_of(&pickle(true), &[("1", floats(&[0.0; 6]))], 4, true);
    assert!(refusal(&other).contains("that no tensor names"));
}

#[test]
fn archives_that_torch_does_not_write_are_refused() {
    let (pickle, data) = (pickle(&VIEWS, false), floats(&[0.0; 6]));
    let stored = CompressionMethod::Stored;
    let with = |name: &str, bytes: &[u8]| {
        let entries = [
            ("m/data.pkl".to_owned(), pickle.clone(), stored),
            ("m/data/0".to_owned(), data.clone(), stored),
            (name.to_owned(), bytes.to_vec(), stored),
        ];
        refusal(&zip_of(&entries))
    };
    assert!(with("m/../../x", b"").contains("leads out of it: refused"));
    assert!(with("m/..\\x", b"").contains("leads out of it: refused"));
    assert!(with("n/data.pkl", &pickle).contains("stands in two folders"));
    assert_eq!(with("m/byteorder", b"big"), "the file is big-endian");
    assert!(with("m/byteorder", &[b' '; 99]).contains("larger than what it is for"));
    assert!(refusal(&zip_of(&[])).contains("does not begin"));
    let alone = zip_of(&[("m/x".to_owned(), Vec::new(), stored)]);
    assert_eq!(refusal(&alone), "the archive has no `data.pkl`");
    // What says to be compressed: the method in the local and in the central header.
    let mut packed = archive_of(&pickle, &[("0", data.clone())]);
    let local = packed
        .windows(4)
        .position(|w| w == b"PK\x03\x04")
        .expect("there");
    let central = packed
        .windows(4)
        .position(|w| w == b"PK\x01\x02")
        .expect("there");
    (packed[local + 8], packed[central + 10]) = (8, 8);
    assert!(
        refusal(&packed).contains("is compressed: refused"),
        "{}",
        refusal(&packed)
    );
    let big = legacy_of(&self::pickle(&VIEWS, true), &[("0", data)], 4, false);
    assert_eq!(refusal(&big), "the file is big-endian");
}

#[test]
fn a_file_that_would_run_code_is_refused_in_both_layouts() {
    let mut attack = b"\x80\x02cposix\nsystem\n".to_vec();
    text(&mut attack, "true");
    attack.extend(b"\x85R.");
    for file in [archive_of(&attack, &[]), legacy_of(&attack, &[], 4, true)] {
        assert_eq!(
            refusal(&file),
            "the file asks to run `posix.system`: refused"
        );
    }
}

/// Whatever a file becomes by one byte or by its length, it is tensors or an error.
#[test]
fn every_changed_byte_and_every_cut_is_an_error_or_tensors() {
    for file in views_in_both_layouts() {
        let truth = read(&file).expect("read");
        let mut unchanged = 0;
        for at in 0..file.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = file.clone();
                changed[at] ^= change;
                if let Ok(found) = read(&changed) {
                    for tensor in found.values() {
                        let count: usize = tensor.shape.iter().product();
                        assert_eq!(count, tensor.values.len());
                    }
                    unchanged += usize::from(found == truth);
                }
            }
            assert!(read(&file[..at]).is_err(), "cut at {at}");
        }
        // Dates and places of memo matter to nobody; most bytes do.
        assert!(
            unchanged < file.len() * 2,
            "{unchanged} of {}",
            file.len() * 3
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_behind_a_beginning_are_an_error_or_tensors(
        which in 0_usize..2,
        cut in 0_usize..2_000,
        noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let file = &views_in_both_layouts()[which];
        let mut bytes = file[..cut.min(file.len())].to_vec();
        bytes.extend(&noise);
        bytes.extend(&file[cut.min(file.len())..]);
        let _ = read(&bytes);
    }
}
