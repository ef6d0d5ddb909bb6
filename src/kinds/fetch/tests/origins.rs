//! Mirrors, hands, hubs, the lock file, and what of all that enters the key.

use serde_json::json;

use super::super::Lacking;
use super::server::{Server, send, send_all};
use super::*;

#[test]
fn a_mirror_stands_in_and_says_so() {
    let bench = Bench::new().mirror("https://example.org/sets/", "../shared");
    bench.put("shared/a b.txt", "near");
    let report = bench
        .run(json!({"url": "https://example.org/sets/a%20b.txt"}))
        .expect("done");
    assert_eq!(bench.text("data"), "near");
    assert_eq!(report.pin, None, "a stand-in never becomes the lock");
    assert_eq!(
        serde_json::to_value(report.notes).expect("notes"),
        json!({"origin": "../shared/a b.txt", "stand_in": ["`../shared/a b.txt` in place of https://example.org/sets/a%20b.txt"]})
    );
}

#[test]
fn a_folder_may_hold_what_an_archive_would() {
    let bench = Bench::new().mirror("https://example.org/texts.tar.gz", "../shared/texts");
    bench.put("shared/texts/a.txt", "one");
    bench.put("shared/texts/deep/b.txt", "two");
    bench.put("shared/texts/deep/c.md", "three");
    let url = "https://example.org/texts.tar.gz";
    let report = bench
        .run(json!({"url": url, "unpack": "tar.gz", "only": ["**/*.txt"], "strip": 1}))
        .expect("done");
    assert_eq!(bench.text("data/a.txt"), "one");
    assert_eq!(bench.text("data/deep/b.txt"), "two");
    assert!(!bench.folder().join("data/deep/c.md").exists());
    assert_eq!(
        report.notes["stand_in"],
        json!([format!("`../shared/texts` in place of {url}")])
    );
    fs_err::remove_dir_all(bench.folder().join("data")).expect("removed");

    let not_unpacked = bench.fails(json!({"url": url}));
    assert!(not_unpacked.diagnostic.message.contains("has no file"));
    let pinned = bench.fails(json!({"url": url, "unpack": "auto", "blake3": "0".repeat(64)}));
    assert!(pinned.diagnostic.message.contains("no digest"));
    let bounded = bench.fails(json!({"url": url, "unpack": "auto", "max_entries": 2}));
    assert!(bounded.diagnostic.message.contains("more than 2 files"));
    let bounded = bench.fails(json!({"url": url, "unpack": "auto", "max_unpacked_bytes": 8}));
    assert!(bounded.diagnostic.message.contains("8 bytes"));
    let none = bench.fails(json!({"url": url, "unpack": "auto", "only": ["*.xml"]}));
    assert!(none.diagnostic.message.contains("no file that is wanted"));
    #[cfg(unix)]
    {
        let link = bench.folder().join("../shared/texts/out");
        let there = std::path::Path::new("/etc");
        if std::os::unix::fs::symlink(there, &link).is_ok() {
            let linked = bench.fails(json!({"url": url, "unpack": "auto"}));
            assert!(linked.diagnostic.message.contains("is a link"));
        }
    }
}

#[test]
fn each_output_says_what_stands_in_for_it() {
    let bench = Bench::new().mirror("https://example.org/", "../shared");
    bench.put("shared/a", "near");
    bench.put("shared/b", "near, too");
    let pinned = json!({"url": "https://example.org/b", "sha256": sha256(b"near, too")});
    let report = bench
        .run(json!({"files": {"train": "https://example.org/a", "test": pinned}}))
        .expect("done");
    assert_eq!(
        report.notes["stand_in"],
        json!({"by_output": {"train": "`../shared/a` in place of https://example.org/a"}})
    );
}

#[test]
fn a_pinned_file_from_a_mirror_is_no_stand_in() {
    let bench = Bench::new().mirror("https://example.org/", "../shared");
    bench.put("shared/a", "near");
    let config = json!({"url": "https://example.org/a", "blake3": blake3::hash(b"near").to_hex().to_string()});
    let report = bench.run(config.clone()).expect("done");
    assert_eq!(
        serde_json::to_value(report.notes).expect("notes"),
        json!({"origin": "../shared/a"})
    );
    assert_eq!(
        bench.bind(config.clone()).manifest_config(),
        Bench::new().bind(config.clone()).manifest_config()
    );
    bench.put("shared/a", "other");
    fs_err::remove_file(bench.folder().join("data")).expect("removed");
    assert_eq!(bench.fails(config).diagnostic.code, "fetch::digest");
}

#[test]
fn a_mirror_may_be_on_the_web() {
    let server = Server::start(|asked, stream| send_all(stream, asked.path.as_bytes()));
    let bench = Bench::new().mirror("https://example.org/sets", &server.url("/copy"));
    let report = bench
        .run(json!({"url": "https://example.org/sets/a.txt?raw=1"}))
        .expect("done");
    assert_eq!(bench.text("data"), "/copy/a.txt?raw=1");
    assert!(
        report.notes["stand_in"][0].is_string(),
        "{:?}",
        report.notes
    );
}

#[test]
fn offline_names_the_url_and_the_way_out() {
    let mut bench = Bench::new();
    bench.offline = true;
    let error = bench.fails(json!({"url": "https://me:pw@example.org/a"}));
    assert_eq!(
        error.diagnostic.message,
        "`https://***@example.org/a` would need the network, which `--offline` forbids"
    );
    assert!(error.diagnostic.help.expect("help").contains("--mirrors"));
    let bench = Bench {
        offline: true,
        ..Bench::new()
    }
    .mirror("https://example.org/", "near");
    bench.put("root/near/a", "here");
    bench
        .run(json!({"url": "https://example.org/a"}))
        .expect("mirrors need no network");
    assert_eq!(bench.text("data"), "here");
}

#[test]
fn what_is_not_on_this_machine_is_known_before() {
    let mut bench = Bench::new();
    bench.mirrors = vec![
        ("https://example.org/m".to_owned(), "copies".to_owned()),
        (
            "https://example.org/w".to_owned(),
            "https://u:p@mirror.org".to_owned(),
        ),
    ];
    let hub = |bench: &Bench| Hub::from_environment(|name| bench.variables.get(name).cloned());
    let fetch = bench.bind(json!({"files": {
        "a": "https://example.org/a", "b": "https://example.org/a", "c": "https://example.org/m/c",
        "d": "https://example.org/w/d", "e": "file:///nowhere",
        "f": {"manual": "ask", "put": "data/f"},
    }}));
    let lacking = fetch.lacking(&hub(&bench), &bench.root());
    assert_eq!(
        lacking.online,
        ["https://example.org/a", "https://***@mirror.org/d"]
    );
    // What should lie here is looked for.
    let place = bench.root().join("copies/c");
    let no_copy = format!(
        "the mirror has no file for `https://example.org/m/c` (looked for `{}`)",
        place.display()
    );
    assert_eq!(
        lacking.absent,
        [no_copy, "`file:///nowhere` is no file here".to_owned()]
    );
    let near = bench.put("near", "here");
    bench.put("root/copies/c", "here");
    let near = format!("file://{}", near.display());
    let fetch = bench.bind(json!({"files": {"c": "https://example.org/m/c", "e": near}}));
    let nothing = Lacking::default();
    assert_eq!(fetch.lacking(&hub(&bench), &bench.root()), nothing);
    // A folder stands in for an archive that no digest is stated of.
    bench.put("root/copies/z/inside", "here");
    let lacks = |config: Value| {
        let fetch = bench.bind(config);
        fetch.lacking(&hub(&bench), &bench.root()).absent.len()
    };
    let url = "https://example.org/m/z";
    assert_eq!(lacks(json!({"url": url})), 1);
    assert_eq!(lacks(json!({"url": url, "unpack": "auto"})), 0);
    let pin = "0".repeat(64);
    assert_eq!(
        lacks(json!({"url": url, "unpack": "auto", "sha256": pin})),
        1
    );

    let config = json!({"hf": "o/n", "revision": COMMIT, "files": ["model.bin"]});
    let fetch = bench.bind(config);
    assert_eq!(fetch.lacking(&hub(&bench), &bench.root()).online.len(), 1);
    let place = format!("hf/hub/models--o--n/snapshots/{COMMIT}/model.bin");
    bench.put(&place, "model");
    let home = bench.home.path().join("hf").to_string_lossy().into_owned();
    bench.variables.insert("HF_HOME".to_owned(), home);
    assert_eq!(fetch.lacking(&hub(&bench), &bench.root()), nothing);
}

#[test]
fn a_file_behind_a_door_is_taken_from_its_place() {
    let bench = Bench::new();
    let config = json!({"manual": "register at https://example.org", "put": "data/door.txt", "sha256": sha256(b"key")});
    let error = bench.fails(config.clone());
    assert_eq!(
        error.diagnostic.message,
        "`data/door.txt` must be put there by hand"
    );
    assert_eq!(
        error.diagnostic.details[0],
        "register at https://example.org"
    );
    bench.put("root/data/door.txt", "wrong");
    assert_eq!(bench.fails(config.clone()).diagnostic.code, "fetch::digest");
    bench.put("root/data/door.txt", "key");
    bench.run(config).expect("done");
    assert_eq!(bench.text("data"), "key");
    assert!(
        bench.root().join("data/door.txt").is_file(),
        "the user's file stays"
    );
}

#[test]
fn a_mirror_opens_a_door() {
    let bench = Bench::new().mirror("https://example.org/", "../shared");
    bench.put("shared/task.zip", "from the mirror");
    let config = json!({"url": "https://example.org/task.zip", "manual": "register there", "put": "data/task.zip"});
    let report = bench.run(config.clone()).expect("done");
    assert_eq!(bench.text("data"), "from the mirror");
    assert!(
        report.notes["stand_in"][0].is_string(),
        "{:?}",
        report.notes
    );
    let without = Bench::new();
    assert_eq!(
        without.fails(config.clone()).diagnostic.code,
        "fetch::manual"
    );
    without.put("root/data/task.zip", "by hand");
    let report = without.run(config).expect("done");
    assert_eq!(without.text("data"), "by hand");
    assert!(report.pin.is_some() && !report.notes.contains_key("stand_in"));
}

#[test]
fn file_urls_are_copied() {
    let bench = Bench::new();
    let path = bench.put("else where/a.txt", "local");
    let url = url::Url::from_file_path(&path).expect("a path").to_string();
    bench.run(json!({"url": url})).expect("done");
    assert_eq!(bench.text("data"), "local");
    let error = bench_fails_for("file:///no/such/file");
    assert_eq!(
        error.diagnostic.message,
        "`file:///no/such/file` is no file here"
    );
}

fn bench_fails_for(url: &str) -> StageError {
    Bench::new().fails(json!({"url": url}))
}

#[test]
fn the_lock_is_verified_and_names_the_way_on() {
    let server = Server::start(|_, stream| send_all(stream, b"second"));
    let digest = |text: &str| format!("blake3:{}", blake3::hash(text.as_bytes()).to_hex());
    let mut bench = Bench::new();
    bench.locked = Some(digest("first"));
    let config = json!({"url": server.url("/a")});
    let error = bench.fails(config.clone());
    assert_eq!(error.diagnostic.code, "fetch::locked");
    assert_eq!(
        error.diagnostic.details,
        [
            format!("locked {}", digest("first")),
            format!("found  {} (6 bytes)", digest("second"))
        ]
    );
    assert!(
        error
            .diagnostic
            .help
            .expect("help")
            .contains("pipeline lock FILE --update corpus")
    );
    bench.locked = Some(format!("sha256:{}", sha256(b"second")));
    let report = bench.run(config.clone()).expect("done");
    assert_eq!(
        report.pin.expect("a pin").digest,
        format!("sha256:{}", sha256(b"second")),
        "in the lock's own algorithm"
    );
    assert_eq!(
        bench.bind(config).manifest_config(),
        json!({"url": server.url("/a"), "locked": format!("sha256:{}", sha256(b"second"))})
    );
    // Several files: each its own.
    let mut bench = Bench::new();
    bench.locked = Some(format!(
        "train={} dev={}",
        digest("second"),
        digest("first")
    ));
    let error = bench.fails(json!({"files": {"train": server.url("/a"), "dev": server.url("/b")}}));
    assert!(error.diagnostic.message.contains("/b"), "{error}");
}

#[test]
fn the_key_has_what_decides_and_nothing_else() {
    let bench = Bench::new().mirror("https://example.org/", "../shared");
    let hex = "ab".repeat(32);
    let config = |value| bench.bind(value).manifest_config();
    assert_eq!(
        config(
            json!({"url": "https://elsewhere.org/a", "sha256": hex.to_uppercase(), "max_bytes": 9})
        ),
        json!({"sha256": hex})
    );
    assert_eq!(
        config(json!({"url": "https://elsewhere.org/a?key=1"})),
        json!({"url": "https://elsewhere.org/a?key=***"})
    );
    assert_eq!(
        config(
            json!({"url": "https://example.org/a.zip", "unpack": "zip", "strip": 1, "only": ["*.txt"], "redistribute": false})
        ),
        json!({"url": "https://example.org/a.zip", "origin": "../shared/a.zip", "unpack": "zip", "only": ["*.txt"], "strip": 1, "redistribute": false})
    );
    assert_eq!(
        config(
            json!({"files": {"b": "https://example.org/b", "a": {"url": "https://x.org/a", "sha256": hex}}})
        ),
        json!({"files": {"a": {"sha256": hex}, "b": {"url": "https://example.org/b", "origin": "../shared/b"}}})
    );
    assert_eq!(
        config(json!({"hf": "o/n", "revision": COMMIT, "files": ["b", "a"]})),
        json!({"hf": "o/n", "revision": COMMIT, "files": ["a", "b"]})
    );
}

#[test]
fn settings_in_the_file_have_no_effect() {
    let fetch = Bench::new()
        .bind(json!({"url": "https://h/a", "_settings": {"mirrors": {"data": "/etc/passwd"}}}));
    assert_eq!(fetch, Bench::new().bind(json!({"url": "https://h/a"})));
}

#[test]
fn a_hub_is_asked_with_its_token_which_stays_there() {
    let weights = b"weights".to_vec();
    let cdn = Server::start({
        let weights = weights.clone();
        move |asked, stream| {
            assert_eq!(
                asked.header("authorization"),
                None,
                "the token is the hub's alone"
            );
            send_all(stream, &weights);
        }
    });
    let (elsewhere, tag) = (cdn.url("/blob"), format!("\"{}\"", sha256(&weights)));
    let server = Server::start(move |asked, stream| {
        let commit = ("X-Repo-Commit", COMMIT);
        if asked.header("authorization") != Some("Bearer hf_secret") {
            send(stream, "401 Unauthorized", &[("Content-Length", "0")], b"");
        } else if asked.path == format!("/o/n/resolve/{COMMIT}/model.bin") {
            send(
                stream,
                "302 Found",
                &[
                    commit,
                    ("X-Linked-ETag", &tag),
                    ("Location", &elsewhere),
                    ("Content-Length", "0"),
                ],
                b"",
            );
        } else {
            send(
                stream,
                "200 OK",
                &[
                    commit,
                    ("ETag", "\"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\""),
                    ("Content-Length", "2"),
                ],
                b"{}",
            );
        }
    });
    let mut bench = Bench::new();
    bench.variables = BTreeMap::from([
        ("HF_ENDPOINT".to_owned(), server.url("")),
        ("HF_TOKEN".to_owned(), "hf_secret".to_owned()),
    ]);
    let config =
        json!({"hf": "o/n", "revision": COMMIT, "files": ["model.bin", "sub/config.json"]});
    let report = bench.run(config.clone()).expect("done");
    assert_eq!(
        names(&bench.folder()),
        ["data", "data/model.bin", "data/sub", "data/sub/config.json"]
    );
    assert_eq!(
        (
            bench.text("data/model.bin"),
            bench.text("data/sub/config.json")
        ),
        ("weights".to_owned(), "{}".to_owned())
    );
    assert_eq!(
        report.notes["origin"]["model.bin"],
        json!(format!(
            "https://huggingface.co/o/n/resolve/{COMMIT}/model.bin"
        ))
    );
    assert!(!format!("{report:?}").contains("hf_secret"));

    let mut bench = Bench::new();
    bench
        .variables
        .insert("HF_ENDPOINT".to_owned(), server.url(""));
    let error = bench.fails(config);
    assert!(
        error
            .diagnostic
            .help
            .as_deref()
            .expect("help")
            .contains("set `HF_TOKEN`"),
        "{error:?}"
    );
}

#[test]
fn a_hub_file_with_another_digest_than_stated_is_refused() {
    let tag = format!("\"{}\"", sha256(b"promised"));
    let server = Server::start(move |_, stream| {
        send(
            stream,
            "200 OK",
            &[("X-Linked-Etag", &tag), ("Content-Length", "4")],
            b"sent",
        );
    });
    let mut bench = Bench::new();
    bench
        .variables
        .insert("HF_ENDPOINT".to_owned(), server.url(""));
    let error = bench.fails(json!({"hf": "o/n", "revision": COMMIT, "files": ["model.bin"]}));
    assert_eq!(error.diagnostic.code, "fetch::digest");
}

#[cfg(unix)]
#[test]
fn an_existing_hub_cache_is_used_offline() {
    let mut bench = Bench::new();
    bench.offline = true;
    let blob = bench.put(
        &format!("hf/hub/datasets--o--n/blobs/{}", sha256(b"blob")),
        "blob",
    );
    let snapshot = bench
        .home
        .path()
        .join(format!("hf/hub/datasets--o--n/snapshots/{COMMIT}"));
    fs_err::create_dir_all(&snapshot).expect("a folder");
    fs_err::os::unix::fs::symlink(&blob, snapshot.join("a.bin")).expect("a link");
    let home = bench.home.path().join("hf").to_string_lossy().into_owned();
    bench.variables.insert("HF_HOME".to_owned(), home);
    let config = json!({"hf": "datasets/o/n", "revision": COMMIT, "files": ["a.bin"]});
    bench.run(config.clone()).expect("done");
    assert_eq!(bench.text("data/a.bin"), "blob");
    assert!(!bench.folder().join("data/a.bin").is_symlink());
    // Damaged: its name tells.
    fs_err::remove_dir_all(bench.folder().join("data")).expect("removed");
    fs_err::write(&blob, "blub").expect("written");
    assert_eq!(bench.fails(config).diagnostic.code, "fetch::digest");
}

#[test]
fn the_real_corpora_are_taken_through_a_mirror() {
    let shared = std::env::var_os("PIPELINE_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if !shared.join("README.md").is_file() {
        #[expect(clippy::print_stderr, reason = "a test without its data says so")]
        {
            eprintln!("skipped: no shared data at {}", shared.display());
        }
        return;
    }
    let bench = Bench::new().mirror("https://example.org/data/", &shared.to_string_lossy());
    let file = |name: &str| format!("https://example.org/data/ner/BC5CDR/{name}.txt");
    bench
        .run(json!({"files": {"train": file("train"), "dev": file("dev"), "test": file("test")}}))
        .expect("done");
    for name in ["train", "dev", "test"] {
        let original =
            fs_err::read(shared.join(format!("ner/BC5CDR/{name}.txt"))).expect("the original");
        assert_eq!(bench.text(name).as_bytes(), original);
    }
}
