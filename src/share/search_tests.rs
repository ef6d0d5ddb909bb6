//! Tests of the search: words, packed files, what cannot be searched.

use super::*;

fn has(needle: &Needle, text: &str) -> bool {
    let mut hits = [false];
    scan(
        &mut text.as_bytes(),
        std::slice::from_ref(needle),
        &mut hits,
    )
    .expect("reads");
    hits[0]
}

#[test]
fn words_are_found_as_words_in_any_case_and_across_pieces() {
    let word = Needle::word("x", "Ada");
    assert!(has(&word, "by ADA.") && has(&word, "/ada/") && has(&word, "ada"));
    assert!(!has(&word, "armada Canada adage"));
    let far = format!(
        "{}Ada{}",
        " ".repeat(PIECE_BYTES - 2),
        " ".repeat(PIECE_BYTES)
    );
    assert!(has(&word, &far));
    // As JSON has a text of several lines.
    assert!(has(&word, r"by\nAda\n") && has(&word, r"\tada\r") && !has(&word, r"nAda"));
    let folder = Needle::folder("x", "/home/ada");
    assert!(has(&folder, "file:///home/ada/x") && !has(&folder, "/home/adam"));
}

#[test]
fn what_is_packed_is_searched_and_what_cannot_be_is_told() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().expect("a folder");
    let text = b"nothing to see but xyzzy here".repeat(3);
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&text).expect("packed");
    let gz = gz.finish().expect("packed");
    let mut twice = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(gz.len() as u64);
    header.set_cksum();
    twice
        .append_data(&mut header, "inner.gz", gz.as_slice())
        .expect("packed");
    let twice =
        zstd::encode_all(twice.into_inner().expect("packed").as_slice(), 3).expect("packed");
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored: zip::write::SimpleFileOptions = zip::write::FileOptions::default();
    zip.start_file("a.txt", stored).expect("begun");
    zip.write_all(&text).expect("packed");
    let zip = zip.finish().expect("packed").into_inner();
    let columns = [report::frame::SheetColumn::Text(
        "a".to_owned(),
        vec![Some("by xyzzy".to_owned())],
    )];
    let (_, parquet) = report::frame::sheet(&columns).expect("a sheet");
    let mut broken = gz.clone();
    broken.truncate(gz.len() - 9);
    for (name, bytes) in [
        ("plain", text.as_slice()),
        ("one.gz", &gz),
        ("two.tar.zst", &twice),
        ("three.zip", &zip),
        ("four.parquet", &parquet),
        ("five.gz", &broken),
        ("six.bz2", b"BZh91AY&SY..."),
    ] {
        fs_err::write(folder.path().join(name), bytes).expect("written");
    }
    let found = search(folder.path(), &[Needle::word("the word", "xyzzy")]).expect("searched");
    let found = found.certain;
    for name in [
        "plain",
        "one.gz",
        "two.tar.zst",
        "three.zip",
        "four.parquet",
    ] {
        assert!(
            found.contains(&format!("`{name}`: the word")),
            "{name}: {found:?}"
        );
    }
    for name in ["five.gz", "six.bz2"] {
        assert!(
            found
                .iter()
                .any(|line| line.starts_with(&format!("`{name}`")) && line.contains("search")),
            "{name}: {found:?}"
        );
    }
    assert!(
        search(folder.path(), &[Needle::word("x", "plugh")])
            .expect("searched")
            .certain
            .iter()
            .all(|line| line.contains("search"))
    );
}

#[test]
fn letters_of_any_script_are_found_in_any_case() {
    for (needle, text) in [
        ("Zoë Müller", "by ZOË MÜLLER."),
        ("zoË mÜLLER", "by Zoë Müller."),
        ("Weiß", "WEISS"),
        ("Ελένη Παπαδοπούλου", "ΕΛΈΝΗ ΠΑΠΑΔΟΠΟΎΛΟΥ"),
        ("Νίκος", "ΝΊΚΟΣ"),
        ("Шевченко", "ШЕВЧЕНКО"),
    ] {
        let word = Needle::word("x", needle);
        assert!(has(&word, text), "{needle}: {text}");
        let far = format!("{}{text}", "é".repeat(PIECE_BYTES / 2 - 3));
        assert!(has(&word, &(far + &" ".repeat(PIECE_BYTES))), "{needle}");
    }
    assert!(!has(&Needle::word("x", "Zoë"), "Zoe"));
}

#[test]
fn a_name_is_found_however_its_letters_are_put_together() {
    let whole = "Zo\u{eb} M\u{fc}ller-\u{1e69}";
    let apart = "Zoe\u{308} Mu\u{308}ller-s\u{323}\u{307}";
    // Accents in another order, capitals, and as programs escape them.
    let texts = [
        whole,
        apart,
        "Zoe\u{308} Mu\u{308}ller-s\u{307}\u{323}",
        "ZOE\u{308} MU\u{308}LLER-S\u{323}\u{307}",
        r"Zo\u00eb M\u00fcller-\u1e69",
        r"Zoe\u0308 Mu\u0308ller-s\u0323\u0307",
        r"ZO\u00CB M\u00DCLLER-\u1E68",
        "Zo%C3%AB%20M%c3%bcller-%E1%B9%A9",
    ];
    for needle in [whole, apart] {
        for text in texts {
            let word = Needle::word("x", needle);
            assert!(has(&word, &format!("by {text}.")), "{needle}: {text}");
            let far = format!("{}{text}", "e\u{301}".repeat(PIECE_BYTES / 3 - 3));
            assert!(has(&word, &far), "{needle}: {text}");
        }
        assert!(!has(&Needle::word("x", needle), "Zoe Muller-s"));
    }
}

#[test]
fn what_may_mean_somebody_else_is_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    for at in 0..2 * MOST_NAMED {
        fs_err::write(folder.path().join(format!("a{at}")), "by Brown").expect("written");
    }
    fs_err::write(folder.path().join("b"), "by Ada Brown").expect("written");
    let needles = [
        Needle::word("a family name", "Brown").doubtful(),
        Needle::word("a name", "Ada Brown"),
    ];
    let found = search(folder.path(), &needles).expect("searched");
    assert_eq!(found.certain, ["`b`: a name"]);
    assert_eq!(found.doubtful.len(), MOST_NAMED);
}
