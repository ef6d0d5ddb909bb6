//! The `with:` of a fetch: one file, several, a folder of them, or files of a hub repository. Knows nothing of networks.

use std::fmt;

use flow::kind::ConfigProblem;
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an archive or a compressed file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(super) enum Format {
    /// Decided by the first bytes of the file, never by its name; anything unknown is an error.
    #[serde(rename = "auto")]
    Auto,
    /// A zip archive.
    #[serde(rename = "zip")]
    Zip,
    /// An uncompressed tar archive.
    #[serde(rename = "tar")]
    Tar,
    /// A tar archive under gzip.
    #[serde(rename = "tar.gz")]
    TarGz,
    /// A tar archive under xz.
    #[serde(rename = "tar.xz")]
    TarXz,
    /// A tar archive under Zstandard.
    #[serde(rename = "tar.zst")]
    TarZst,
    /// One file under gzip.
    #[serde(rename = "gz")]
    Gz,
    /// One file under xz.
    #[serde(rename = "xz")]
    Xz,
    /// One file under Zstandard.
    #[serde(rename = "zst")]
    Zst,
}

impl Format {
    /// Whether it holds one file, without a name of its own.
    #[must_use]
    pub(super) fn is_single(self) -> bool {
        matches!(self, Self::Gz | Self::Xz | Self::Zst)
    }
}

/// One file to fetch. In short form its URL alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSpec {
    /// `https:`, `http:` or `file:` URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// SHA-256 of the file as downloaded, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// BLAKE3 of the file as downloaded, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Unpack it; an archive becomes a folder, a compressed file a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<Format>,
    /// Of an archive only the entries that one of these globs matches, after `strip`; `*` stops at `/`, `**` does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// Leading folders to drop from the names of an archive's entries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strip: u32,
    /// Of an archive this one entry (its name after `strip`), which becomes the output: a file, not a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<String>,
    /// For data behind a door: where to register or how to get it. The URL, if there is one, is never downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<String>,
    /// Where, under the root, the user puts a `manual` file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub put: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Named files in the order of the text. A name's value is a URL or a [`FileSpec`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FileMap(pub Vec<(String, FileSpec)>);

/// `files:`: a map of outputs for URLs, a list of names for a hub repository.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Files {
    /// Output name and file.
    Map(FileMap),
    /// Paths inside the hub repository.
    List(Vec<String>),
}

/// The schema's view of a [`FileSpec`] with its short form.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum UrlOrFile {
    Url(String),
    File(FileSpec),
}

/// The schema's view of [`Files`].
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum MapOrList {
    Map(std::collections::BTreeMap<String, UrlOrFile>),
    List(Vec<String>),
}

/// The keys of a [`FileSpec`].
const FILE_KEYS: &[&str] = &[
    "url", "sha256", "blake3", "unpack", "only", "strip", "take", "manual", "put",
];

/// A [`FileSpec`] that may be written as its URL alone. JSON, in which configurations travel, has the long form only.
struct ShortOrLong(FileSpec);

impl<'de> Deserialize<'de> for ShortOrLong {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FileSpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or a map with `url`")
            }
            fn visit_str<E: de::Error>(self, url: &str) -> Result<FileSpec, E> {
                Ok(FileSpec {
                    url: Some(url.to_owned()),
                    ..FileSpec::default()
                })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FileSpec, A::Error> {
                FileSpec::deserialize(MapAccessDeserializer::new(map))
            }
        }
        // As a struct, so that the reader of pipeline files knows the keys and can say which one was meant.
        let file = deserializer.deserialize_struct("FileSpec", FILE_KEYS, Either)?;
        Ok(Self(file))
    }
}

impl<'de> Deserialize<'de> for FileMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;
        impl<'de> Visitor<'de> for Named {
            type Value = FileMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names and URLs")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FileMap, A::Error> {
                let mut files = Vec::new();
                while let Some((name, file)) = map.next_entry::<String, ShortOrLong>()? {
                    files.push((name, file.0));
                }
                Ok(FileMap(files))
            }
        }
        deserializer.deserialize_map(Named)
    }
}

impl Serialize for FileMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, file) in &self.0 {
            map.serialize_entry(name, file)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Files;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of output names and URLs, or with `hf` a list of files")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Files, A::Error> {
                FileMap::deserialize(MapAccessDeserializer::new(map)).map(Files::Map)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Files, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Files::List)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Serialize for Files {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Map(map) => map.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl FileSpec {
    /// Whether the pipeline file itself says which bytes are meant.
    #[must_use]
    pub(super) fn is_pinned(&self) -> bool {
        self.sha256.is_some() || self.blake3.is_some()
    }

    /// Whether nothing is set.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds everything wrong with this file, found at `path`.
    pub(super) fn check(&self, path: &[&str], problems: &mut Vec<ConfigProblem>) {
        let mut problem = |key: &str, message: String, help: &str| {
            problems.push(ConfigProblem {
                path: path
                    .iter()
                    .copied()
                    .chain([key])
                    .map(str::to_owned)
                    .collect(),
                message,
                help: Some(help.to_owned()),
            });
        };
        for (key, text) in [("sha256", &self.sha256), ("blake3", &self.blake3)] {
            let Some(text) = text else { continue };
            if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                problem(
                    key,
                    format!("`{text}` is not 64 hex digits"),
                    if key == "sha256" {
                        "`sha256sum FILE` prints it"
                    } else {
                        "`b3sum FILE` prints it"
                    },
                );
            }
        }
        match (&self.url, &self.manual, &self.put) {
            (None, None, None) => problem(
                "url",
                "nothing says where the file comes from".to_owned(),
                "set `url`, or for data behind a door `manual` and `put`",
            ),
            (_, Some(_), None) => problem(
                "manual",
                "`manual` without `put`".to_owned(),
                "say with `put: PATH` where, under the root, the file is to be put",
            ),
            (_, None, Some(_)) => problem(
                "put",
                "`put` without `manual`".to_owned(),
                "say with `manual: TEXT` where to register or how to get the file",
            ),
            _ => {}
        }
        if let Some(put) = &self.put
            && !is_relative_path(put)
        {
            problem(
                "put",
                format!("`{put}` does not lie under the root"),
                "use a relative path without `..`, such as `data/corpus.zip`",
            );
        }
        if let Some(text) = &self.url {
            match url::Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") => {}
                Ok(url) if url.scheme() == "file" && text.starts_with("file:///") => {}
                Ok(url) if url.scheme() == "file" => problem(
                    "url",
                    format!("`{text}` is not an absolute file URL"),
                    "write `file:///…`; a file of the project belongs in `needs` of the stage that reads it",
                ),
                Ok(url) => problem(
                    "url",
                    format!("`{}:` URLs cannot be fetched", url.scheme()),
                    "use an `https:`, `http:` or `file:` URL, or a `command` stage",
                ),
                Err(error) => problem(
                    "url",
                    format!("`{}` is not a URL: {error}", super::origin::redact(text)),
                    "a URL starts with `https://`; a file of the project belongs in `needs` of the stage that reads it",
                ),
            }
        }
        let archive = self.unpack.is_some_and(|format| !format.is_single());
        for (key, set) in [
            ("only", !self.only.is_empty()),
            ("strip", self.strip > 0),
            ("take", self.take.is_some()),
        ] {
            if set && !archive {
                problem(
                    key,
                    format!("`{key}` needs an archive to work on"),
                    "add `unpack: auto`",
                );
            }
        }
        if self.take.is_some() && !self.only.is_empty() {
            problem(
                "take",
                "`take` and `only` exclude each other".to_owned(),
                "`take` names the one entry that becomes the output",
            );
        }
        for pattern in &self.only {
            if let Err(error) = glob::Pattern::new(pattern) {
                problem(
                    "only",
                    format!("`{pattern}` is not a glob: {}", error.msg),
                    "`*`, `**`, `?` and `[a-z]` have a meaning; write `[*]` for a star itself",
                );
            }
        }
    }
}

/// Whether `path` is relative, has no `..`, and names something.
pub(super) fn is_relative_path(path: &str) -> bool {
    use std::path::{Component, Path};
    !path.is_empty()
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Whether `name` may name an output.
pub(super) fn is_output_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    #[test]
    fn a_url_alone_is_a_file_and_the_order_is_kept() {
        let pairs = [("train", "https://h/a"), ("dev", "https://h/b")];
        let map = MapDeserializer::<_, Error>::new(pairs.into_iter());
        let files = FileMap::deserialize(map).expect("it decodes");
        let urls: Vec<_> = (files.0.iter())
            .map(|(name, file)| (name.as_str(), file.url.as_deref()))
            .collect();
        assert_eq!(urls, pairs.map(|(name, url)| (name, Some(url))));
    }

    #[test]
    fn the_keys_are_those_of_a_file() {
        let schema = serde_json::to_value(schemars::schema_for!(FileSpec)).expect("it serialises");
        let mut keys: Vec<&str> = schema["properties"]
            .as_object()
            .expect("a map")
            .keys()
            .map(String::as_str)
            .collect();
        let mut known = FILE_KEYS.to_vec();
        keys.sort_unstable();
        known.sort_unstable();
        assert_eq!(keys, known);
    }
}
