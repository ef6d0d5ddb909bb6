//! Tools of a forger: bundles that are changed and made to look whole again. Knows no verdicts but how to ask for one.

use std::path::Path;

use flow::content::{Content, Tree};
use flow::digest::Use;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::sharing::rungs;
use crate::space::{Space, contents, files_below};

/// Writes both lists of digests anew, as somebody does who wants nothing to be noticed.
pub(crate) fn seal(bundle: &Path) {
    let lists = ["B3SUMS", "SHA256SUMS"];
    for name in lists {
        let mut text = String::new();
        for (path, bytes) in contents(bundle) {
            let path = path.display().to_string();
            let is_apart = path == "SHA256SUMS" || name == "B3SUMS" && path == name;
            if is_apart {
                continue;
            }
            let hex = match name {
                "B3SUMS" => Use::File.digest(&bytes).to_string(),
                _ => sha2::Sha256::digest(&bytes)
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            };
            text.push_str(&format!("{hex}  {path}\n"));
        }
        let lines: std::collections::BTreeSet<(&str, &str)> = text
            .lines()
            .map(|line| line.split_once("  ").expect("two"))
            .map(|(hex, path)| (path, hex))
            .collect();
        let text: String = lines
            .into_iter()
            .map(|(path, hex)| format!("{hex}  {path}\n"))
            .collect();
        fs_err::write(bundle.join(name), text).expect("written");
    }
}

pub(crate) fn edit_json(space: &Space, path: &str, edit: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_str(&space.read(path)).expect("JSON");
    edit(&mut value);
    space.write(path, value.to_string());
}

/// The path of the record of a stage in a bundle.
pub(crate) fn record_of(space: &Space, stage: &str) -> String {
    let is_it = |path: &std::path::PathBuf| {
        let text = fs_err::read_to_string(path).expect("a record");
        serde_json::from_str::<Value>(&text).expect("JSON")["stage"] == stage
    };
    let path = files_below(&space.path("bundle/records"))
        .into_iter()
        .find(is_it);
    let path = path.expect("a record of it");
    path.strip_prefix(space.root())
        .expect("below")
        .display()
        .to_string()
}

pub(crate) fn verdict(space: &Space, level: u64) -> (String, String) {
    rungs(space, &[]).remove(&level).expect("a rung")
}

/// Gives the table of a report in the author's cache another text: the file, the listing of its folder, the record and all
/// pages of the next bundle tell the same tale.
pub(crate) fn forge_table(space: &Space, new: &str) {
    let object = |digest: &str| {
        let (top, rest) = digest.split_at(2);
        let path = space.path(&format!("cache/objects-v1/{top}/{rest}"));
        fs_err::create_dir_all(path.parent().expect("a folder")).expect("made");
        path
    };
    let key = space.records()["table"]["key"]
        .as_str()
        .expect("hex")
        .to_owned();
    let record = format!("cache/records-v1/{}/{}.json", &key[..2], &key[2..]);
    let outputs: Value = serde_json::from_str(&space.read(&record)).expect("JSON");
    let tree = outputs["outputs"]["report"]["digest"]
        .as_str()
        .expect("hex");
    let listing = fs_err::read_to_string(object(tree)).expect("a listing");
    let mut listing = Tree::parse(&listing).expect("a listing");
    let is = Use::File.digest(new.as_bytes());
    for entry in listing
        .entries
        .iter_mut()
        .filter(|entry| entry.path == "tables/rows.csv")
    {
        let content = entry.content.as_mut().expect("a file");
        (content.digest, content.bytes) = (is, new.len() as u64);
    }
    let forged: Content = listing.content();
    fs_err::write(object(&is.to_string()), new).expect("written");
    fs_err::write(object(&forged.digest.to_string()), listing.listing()).expect("written");
    edit_json(space, &record, |record| {
        record["outputs"]["report"] = json!(forged);
    });
    fs_err::remove_file(space.path("cache/records-v1/index")).expect("removed");
    fs_err::remove_dir_all(space.path("out")).expect("removed");
}

/// Gives the files in the RO-Crate of a bundle the sizes and digests that they have.
pub(crate) fn retell(space: &Space) {
    let root = space.path("bundle");
    edit_json(space, "bundle/ro-crate-metadata.json", |document| {
        for entity in document["@graph"].as_array_mut().expect("a list") {
            let Some(bytes) = entity["sha256"].as_str().map(|_| {
                let name = entity["name"].as_str().expect("a path");
                fs_err::read(root.join(name)).expect("a file")
            }) else {
                continue;
            };
            entity["contentSize"] = bytes.len().to_string().into();
            let digest = sha2::Sha256::digest(&bytes);
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            entity["sha256"] = hex.into();
        }
    });
}

/// Gives an output of a record in the author's own cache other bytes; what follows is made from them.
pub(crate) fn replace(space: &Space, stage: &str, output: &str, edit: impl Fn(&str) -> String) {
    let path = files_below(&space.path("cache/records-v1"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .find(|path| {
            fs_err::read_to_string(path)
                .expect("a record")
                .contains(&format!("\"stage\":\"{stage}\""))
        })
        .expect("the record of the stage");
    let mut record: Value =
        serde_json::from_str(&fs_err::read_to_string(&path).expect("read")).expect("JSON");
    let object = |digest: &str| {
        space.path(&format!(
            "cache/objects-v1/{}/{}",
            &digest[..2],
            &digest[2..]
        ))
    };
    let old = record["outputs"][output]["digest"]
        .as_str()
        .expect("hex")
        .to_owned();
    let text = fs_err::read_to_string(object(&old)).expect("text");
    let forged = edit(&text);
    assert_ne!(text, forged);
    let new = Use::File.digest(forged.as_bytes()).to_string();
    let to = object(&new);
    fs_err::create_dir_all(to.parent().expect("a folder")).expect("made");
    fs_err::write(&to, &forged).expect("written");
    record["outputs"][output] = json!({ "form": "file", "digest": new, "bytes": forged.len() });
    fs_err::write(&path, record.to_string()).expect("written");
    fs_err::remove_file(space.path("cache/records-v1/index")).expect("removed");
}

/// Changes a number in the author's own cache and lets everything that follows be made from it.
pub(crate) fn forge(space: &Space) {
    replace(space, "score[seed=1]", "metrics", |rows| {
        rows.lines()
            .map(|line| {
                let mut row: Value = serde_json::from_str(line).expect("a row");
                if row["metric"] == "f1" && row.get("class").is_none_or(Value::is_null) {
                    row["value"] = json!(99.5);
                }
                format!("{row}\n")
            })
            .collect()
    });
}
