//! Archives that are fine, and archives that mean harm.

use std::io::{Read as _, Write as _};

use serde_json::json;

use super::*;

/// One entry of a tar archive as it is written, without any care for what it says.
enum Entry<'a> {
    File(&'a str, u32, &'a [u8]),
    Folder(&'a str),
    Symbolic(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Other(&'a str, tar::EntryType),
}

fn tar_of(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let (name, kind, mode, link, content): (_, _, _, _, &[u8]) = match entry {
            Entry::File(name, mode, content) => {
                (name, tar::EntryType::Regular, *mode, None, content)
            }
            Entry::Folder(name) => (name, tar::EntryType::Directory, 0o700, None, b""),
            Entry::Symbolic(name, to) => (name, tar::EntryType::Symlink, 0o777, Some(to), b""),
            Entry::Hard(name, to) => (name, tar::EntryType::Link, 0o644, Some(to), b""),
            Entry::Other(name, kind) => (name, *kind, 0o644, None, b""),
        };
        let mut header = tar::Header::new_ustar();
        // The library's own setters refuse `..`; harm is written by hand.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content).expect("appended");
    }
    builder.into_inner().expect("finished")
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1))
        .expect("an encoder");
    encoder.write_all(bytes).expect("written");
    encoder.finish().expect("finished")
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).expect("encoded")
}

fn zip_of(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode, content) in entries {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
        if name.ends_with('/') {
            writer.add_directory(*name, options).expect("added");
        } else if mode & 0o170_000 == 0o120_000 {
            writer
                .add_symlink(*name, String::from_utf8_lossy(content), options)
                .expect("added");
        } else {
            writer.start_file(*name, options).expect("started");
            writer.write_all(content).expect("written");
        }
    }
    writer.finish().expect("finished").into_inner()
}

/// Fetches an archive through a mirror with further keys.
fn unpack(bench: &Bench, archive: &[u8], more: &Value) -> Result<StageReport, StageError> {
    let path = bench.put("archive", archive);
    let url = url::Url::from_file_path(path).expect("a path").to_string();
    let mut config = json!({"url": url, "unpack": "auto"});
    for (key, value) in more.as_object().expect("a map") {
        config[key] = value.clone();
    }
    bench.run(config)
}

fn refused(archive: &[u8], more: &Value) -> String {
    let bench = Bench::new();
    let error = unpack(&bench, archive, more).expect_err("it must be refused");
    assert_eq!(
        names(&bench.home.path().join("root")),
        [""; 0],
        "nothing outside the folder"
    );
    assert!(error.diagnostic.help.is_some(), "{error:?}");
    error.diagnostic.message
}

#[test]
fn each_format_is_told_by_its_bytes() {
    let tar = tar_of(&[
        Entry::Folder("d/"),
        Entry::File("d/a.txt", 0o4777, b"alpha"),
        Entry::File("b", 0o600, b""),
    ]);
    let zip = zip_of(&[
        ("d/", 0o755, b""),
        ("d/a.txt", 0o777, b"alpha"),
        ("b", 0o600, b""),
    ]);
    for archive in [tar.clone(), gz(&tar), xz(&tar), zst(&tar), zip] {
        let bench = Bench::new();
        unpack(&bench, &archive, &json!({})).expect("done");
        assert_eq!(
            names(&bench.folder()),
            ["data", "data/b", "data/d", "data/d/a.txt"]
        );
        assert_eq!(bench.text("data/d/a.txt"), "alpha");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |path| {
                fs_err::metadata(bench.folder().join(path))
                    .expect("there")
                    .permissions()
                    .mode()
                    & 0o7777
            };
            assert_eq!((mode("data/d/a.txt"), mode("data/b")), (0o755, 0o644));
        }
    }
    for file in [
        gz(b"text"),
        [gz(b"te"), gz(b"xt")].concat(),
        xz(b"text"),
        zst(b"text"),
    ] {
        let bench = Bench::new();
        unpack(&bench, &file, &json!({})).expect("done");
        assert_eq!(bench.text("data"), "text");
    }
    assert_eq!(
        refused(b"plain text", &json!({})),
        "the file is no archive that is known here"
    );
    assert_eq!(
        refused(b"plain text", &json!({"unpack": "gz"})),
        "the gz file cannot be read"
    );
}

#[test]
fn entries_are_chosen_and_renamed() {
    let tar = gz(&tar_of(&[
        Entry::File("top-1/README", 0o644, b"r"),
        Entry::File("top-1/data/train.txt", 0o644, b"t"),
        Entry::File("top-1/data/deep/dev.txt", 0o644, b"d"),
    ]));
    let unpacked = |more| {
        let bench = Bench::new();
        unpack(&bench, &tar, &more).expect("done");
        names(&bench.folder())
    };
    assert_eq!(
        unpacked(json!({"strip": 1, "only": ["data/*"]})),
        ["data", "data/data", "data/data/train.txt"]
    );
    assert_eq!(
        unpacked(json!({"strip": 2, "only": ["**/*.txt"]})),
        ["data", "data/deep", "data/deep/dev.txt", "data/train.txt"]
    );
    assert_eq!(
        unpacked(json!({"strip": 1, "take": "data/train.txt"})),
        ["data"]
    );
    assert_eq!(
        refused(&tar, &json!({"only": ["nothing/*"]})),
        "the archive has no entry `nothing/*`"
    );
    assert_eq!(
        refused(&tar, &json!({"take": "data"})),
        "the archive has no entry `data`"
    );
    assert_eq!(
        refused(&tar, &json!({"strip": 9})),
        "nothing of the archive is left"
    );
    let bench = Bench::new();
    unpack(&bench, &tar, &json!({"strip": 1, "take": "data/train.txt"})).expect("done");
    assert_eq!(bench.text("data"), "t");
}

#[test]
fn entries_that_lead_out_are_refused() {
    let long = "x".repeat(300);
    let cases: [(&str, &str); 6] = [
        (
            "../root/evil",
            "entry `../root/evil` leads out of its folder",
        ),
        (
            "a/../../root/evil",
            "entry `a/../../root/evil` leads out of its folder",
        ),
        ("/tmp/evil", "entry `/tmp/evil` has an absolute path"),
        ("C:/evil", "entry `C:/evil` begins with a drive letter"),
        (
            "a\u{1}b",
            "entry `a\\u{1}b` has a control character in its name",
        ),
        (
            &long,
            &format!("entry `{}` has a name that is too long", &long[..200]),
        ),
    ];
    for (name, message) in cases {
        if name.len() < 100 {
            assert_eq!(
                refused(
                    &tar_of(&[
                        Entry::File("fine", 0o644, b""),
                        Entry::File(name, 0o644, b"x")
                    ]),
                    &json!({})
                ),
                message
            );
        }
        assert_eq!(
            refused(
                &zip_of(&[("fine", 0o644, b""), (name, 0o644, b"x")]),
                &json!({})
            ),
            message
        );
    }
    assert_eq!(
        refused(&zip_of(&[("..\\evil", 0o644, b"x")]), &json!({})),
        "entry `../evil` leads out of its folder"
    );
}

#[test]
fn links_stay_inside_and_become_copies() {
    let inside = tar_of(&[
        Entry::Symbolic("a/soft", "../b/file"),
        Entry::Hard("hard", "a/soft"),
        Entry::File("b/file", 0o644, b"content"),
    ]);
    let bench = Bench::new();
    unpack(&bench, &inside, &json!({})).expect("done");
    assert_eq!(
        (bench.text("data/a/soft"), bench.text("data/hard")),
        ("content".to_owned(), "content".to_owned())
    );
    assert!(!bench.folder().join("data/a/soft").is_symlink());

    let cases: [(&[Entry<'_>], &str); 7] = [
        (
            &[Entry::Symbolic("a", "../../etc/passwd")],
            "entry `a` links out of the archive, to `../../etc/passwd`",
        ),
        (
            &[Entry::Symbolic("a", "/etc/passwd")],
            "entry `a` links out of the archive, to `/etc/passwd`",
        ),
        (
            &[Entry::Hard("a", "/etc/passwd")],
            "entry `a` links out of the archive, to `/etc/passwd`",
        ),
        (
            &[Entry::Hard("a", "../x")],
            "entry `a` links out of the archive, to `../x`",
        ),
        (
            &[Entry::Symbolic("a", "b"), Entry::Symbolic("b", "a")],
            "entry `a` links to `b`, which is not unpacked",
        ),
        (
            &[Entry::Folder("d"), Entry::Symbolic("a", "d")],
            "entry `a` links to the folder `d`",
        ),
        (
            &[Entry::Symbolic("d", "."), Entry::File("d/x", 0o644, b"x")],
            "entry `d/x` lies below a file",
        ),
    ];
    for (entries, message) in cases {
        assert_eq!(refused(&tar_of(entries), &json!({})), message);
    }
    assert_eq!(
        refused(&zip_of(&[("a", 0o120_777, b"../../x")]), &json!({})),
        "entry `a` links out of the archive, to `../../x`"
    );
}

#[test]
fn devices_and_conflicts_are_refused() {
    let file = |name| Entry::File(name, 0o644, b"x");
    let cases: [(&[Entry<'_>], &str); 5] = [
        (
            &[Entry::Other("dev", tar::EntryType::Block)],
            "entry `dev` is a device, a pipe or of an unknown type",
        ),
        (
            &[Entry::Other("pipe", tar::EntryType::Fifo)],
            "entry `pipe` is a device, a pipe or of an unknown type",
        ),
        (&[file("a"), file("./a")], "entry `./a` occurs twice"),
        (&[file("a"), file("a/b")], "entry `a/b` lies below a file"),
        (
            &[file("a/b"), file("a")],
            "entry `a` is a file and a folder at once",
        ),
    ];
    for (entries, message) in cases {
        assert_eq!(refused(&tar_of(entries), &json!({})), message);
    }
}

#[test]
fn bombs_are_stopped() {
    // 80 MiB of zeros: some 80 kB in a zip, over 200 times its size once past the floor.
    let zeros = vec![0_u8; 80 << 20];
    let zip = zip_of(&[("zeros", 0o644, &zeros)]);
    assert_eq!(
        refused(&zip, &json!({})),
        "entry `zeros` takes the archive over 200 times its size: a bomb?"
    );
    assert_eq!(
        refused(&gz(&zeros), &json!({"unpack": "gz"})),
        "entry `its content` takes the archive over 200 times its size: a bomb?"
    );
    assert_eq!(
        refused(
            &gz(&tar_of(&[Entry::File("zeros", 0o644, &zeros)])),
            &json!({"only": ["other"]})
        ),
        "entry `its content` takes the archive over 200 times its size: a bomb?"
    );
    let bench = Bench::new();
    unpack(&bench, &zip, &json!({"max_ratio": 100_000})).expect("allowed");
    let mut count = 0;
    let mut file = fs_err::File::open(bench.folder().join("data/zeros")).expect("there");
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("readable") {
            0 => break,
            n => count += n,
        }
    }
    assert_eq!(count, zeros.len());

    let many: Vec<String> = (0..20).map(|i| format!("f{i}")).collect();
    let many: Vec<(&str, u32, &[u8])> = many
        .iter()
        .map(|name| (name.as_str(), 0o644, &b"x"[..]))
        .collect();
    assert_eq!(
        refused(&zip_of(&many), &json!({"max_entries": 10})),
        "entry `f10` is one more than 10 entries"
    );
    assert_eq!(
        refused(&zip_of(&many), &json!({"max_unpacked_bytes": 5})),
        "entry `f5` takes the archive over 5 bytes"
    );
}

#[test]
fn names_of_any_script_are_kept() {
    let tar = tar_of(&[Entry::File("ü/日本/é", 0o644, b"x")]);
    let bench = Bench::new();
    unpack(&bench, &tar, &json!({})).expect("done");
    assert_eq!(bench.text("data/ü/日本/é"), "x");
}

#[test]
fn the_holes_of_an_unwanted_sparse_file_are_bounded() {
    let mut header = tar::Header::new_gnu();
    header.set_path("hole").expect("a name");
    header.set_entry_type(tar::EntryType::GNUSparse);
    header.set_size(0);
    let sparse = header.as_gnu_mut().expect("a GNU header");
    sparse.sparse[0].set_offset(1 << 50);
    sparse.sparse[0].set_length(0);
    sparse.set_real_size(1 << 50);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, &b""[..]).expect("appended");
    let archive = builder.into_inner().expect("finished");
    let message = "entry `its content` takes the archive over 200 times its size: a bomb?";
    assert_eq!(refused(&archive, &json!({"only": ["other"]})), message);
    assert_eq!(
        refused(&archive, &json!({})),
        "entry `hole` takes the archive over 200 times its size: a bomb?"
    );
}

#[test]
fn a_long_name_of_a_tar_archive_cannot_fill_the_memory() {
    let name = vec![b'n'; 2 << 20];
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(name.len() as u64);
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, name.as_slice()).expect("appended");
    let archive = builder.into_inner().expect("finished");
    let bench = Bench::new();
    let error = unpack(&bench, &gz(&archive), &json!({"unpack": "tar.gz"}))
        .expect_err("it must be refused");
    assert!(
        error
            .diagnostic
            .details
            .iter()
            .any(|line| line.contains("header is too long")),
        "{error:?}"
    );
}

#[test]
fn damaged_archives_are_refused_whole() {
    let tar = tar_of(&[
        Entry::File("a", 0o644, &corpus()),
        Entry::File("b", 0o644, &corpus()),
    ]);
    for archive in [gz(&tar), xz(&tar), zst(&tar), tar.clone()] {
        let message = refused(&archive[..archive.len() / 2], &json!({}));
        assert!(message.ends_with("cannot be read"), "{message}");
    }
    let zip = zip_of(&[("a", 0o644, &corpus())]);
    let mut flipped = zip.clone();
    flipped[2000] ^= 0x10;
    for archive in [&zip[..zip.len() - 30], &flipped] {
        let message = refused(archive, &json!({}));
        assert!(message.ends_with("cannot be read"), "{message}");
    }
    // Only the checksum at the end is wrong.
    let mut sum = gz(&tar);
    let at = sum.len() - 6;
    sum[at] ^= 1;
    assert_eq!(refused(&sum, &json!({})), "the tar.gz file cannot be read");
}

/// Text that does not compress to nothing.
fn corpus() -> Vec<u8> {
    let hash = |i: u32| blake3::hash(&i.to_le_bytes()).to_hex().to_string();
    (0..2000_u32).flat_map(|i| hash(i).into_bytes()).collect()
}

#[test]
fn the_libraries_of_wheels_are_laid_into_a_folder_and_nothing_else() {
    let bench = Bench::new();
    let wheel = zip_of(&[
        ("nvidia/", 0o755, b""),
        ("nvidia/cuda_nvrtc/lib/libnvrtc.so.12", 0o644, b"a compiler"),
        (
            "nvidia/cuda_nvrtc/lib/libnvrtc.alt.so.12",
            0o644,
            b"another",
        ),
        (
            "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8",
            0o644,
            b"more",
        ),
        ("dist-info/RECORD", 0o644, b"a list"),
    ]);
    let path = bench.put("nvrtc.whl", &wheel);
    let url = url::Url::from_file_path(path).expect("a path").to_string();
    let digest = sha256(&wheel);
    let files = [
        "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
        "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8",
    ];
    let of = |sha256| crate::kinds::fetch::cuda::Wheel {
        name: "nvrtc",
        url: &url,
        sha256,
        files: &files,
    };
    let around = Surroundings {
        client: ClientOptions::default(),
        hub: Hub::from_environment(|_| None),
        wait: &|_| {},
    };
    let to = bench.root().join("carried/cuda-libs");
    let fetch = |sha256| crate::kinds::fetch::cuda::fetch(&to, &[of(sha256)], &around, |_| {});
    let other = "0".repeat(64);
    let error = fetch(&other).expect_err("another file");
    assert_eq!(error.diagnostic.code, "fetch::digest");
    assert!(!to.join("libnvrtc.so.12").exists());
    // Twice, since what lies there is replaced.
    for _ in 0..2 {
        let laid = fetch(&digest).expect("done");
        assert_eq!(
            laid,
            files.map(|file| to.join(file.rsplit('/').next().expect("a name")))
        );
        assert_eq!(names(&to), ["libnvrtc-builtins.so.12.8", "libnvrtc.so.12"]);
    }
}
