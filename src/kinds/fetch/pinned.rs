//! What a manifest of a fetch says of the digests of its downloads. Knows nothing of the files themselves.

use std::collections::BTreeMap;

use serde_json::Value;

/// A download whose digest is in the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pinned {
    /// Its name in `files:` or `folder:`, else `data`.
    pub(crate) name: String,
    /// The output that it is, or is in.
    pub(crate) output: String,
    /// Its path below that output, where that is a folder.
    pub(crate) path: Option<String>,
    /// Digests of the file as it was downloaded: `sha256:…`, `blake3:…`, of the pipeline file or its lock.
    pub(crate) digests: Vec<String>,
    /// Whether the output holds what came out of it, not the file itself.
    pub(crate) is_unpacked: bool,
}

/// The downloads with a digest of the manifest of a fetch; none of that of another kind.
pub(crate) fn pinned(manifest: &str) -> Vec<Pinned> {
    let is_fetch = manifest
        .lines()
        .any(|line| line.starts_with("kind = fetch "));
    if !is_fetch {
        return Vec::new();
    }
    let mut files: BTreeMap<(String, String), Pinned> = BTreeMap::new();
    for line in manifest.lines() {
        let Some((path, value)) = line.split_once(" = ") else {
            continue;
        };
        let Some(steps) = steps(path) else { continue };
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        let (group, name, field) = match steps[..] {
            ["config", field] => ("", "data", field),
            ["config", group @ ("files" | "folder"), name, field, ..] => (group, name, field),
            ["config", field, ..] => ("", "data", field),
            _ => continue,
        };
        let file = files
            .entry((group.to_owned(), name.to_owned()))
            .or_insert_with(|| Pinned {
                name: name.to_owned(),
                output: if group == "files" { name } else { "data" }.to_owned(),
                path: (group == "folder").then(|| name.to_owned()),
                digests: Vec::new(),
                is_unpacked: false,
            });
        let text = || match serde_json::from_str(value) {
            Ok(Value::String(text)) => text.to_ascii_lowercase(),
            // Nothing is equal to it.
            _ => value.to_owned(),
        };
        match field {
            "sha256" | "blake3" => file.digests.push(format!("{field}:{}", text())),
            "locked" => file.digests.push(text()),
            "unpack" => file.is_unpacked = true,
            _ => {}
        }
    }
    let mut pinned: Vec<Pinned> = files.into_values().collect();
    pinned.retain(|file| !file.digests.is_empty());
    pinned
}

/// The steps of a path of a manifest, of which odd ones are JSON texts; `None` of what is no such path.
fn steps(path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    let mut rest = path;
    loop {
        if rest.starts_with('"') {
            let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
            steps.push(values.next()?.ok()?);
            rest = &rest[values.byte_offset()..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            steps.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix('.') {
            Some(more) => rest = more,
            None => return rest.is_empty().then_some(steps),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_stand_by_the_outputs_they_are_about() {
        let of = |lines: &str| pinned(&format!("{lines}kind = fetch 1\n"));
        let one = of("config.sha256 = \"AB\"\n");
        assert_eq!(one[0].digests, ["sha256:ab"]);
        assert_eq!((one[0].output.as_str(), &one[0].path), ("data", &None));
        let folder = of("config.folder.\"a/b.c\".blake3 = \"cd\"\nconfig.folder.x.url = \"u\"\n");
        assert_eq!(folder.len(), 1);
        assert_eq!(folder[0].path.as_deref(), Some("a/b.c"));
        assert_eq!(folder[0].output, "data");
        let files = of(
            "config.files.test.locked = \"sha256:ef\"\nconfig.files.test.unpack = \"gz\"\nconfig.files.train.blake3 = \"01\"\n",
        );
        assert!(files[0].is_unpacked && !files[1].is_unpacked);
        assert_eq!(files[1].output, "train");
        assert_eq!(
            of("config.files.0 = \"model.bin\"\nconfig.hf = \"a/b\"\n"),
            []
        );
        assert_eq!(pinned("config.sha256 = \"ab\"\nkind = command 1\n"), []);
    }
}
