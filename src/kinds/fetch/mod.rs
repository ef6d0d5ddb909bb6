//! The kind `fetch`: files from the web, from mirrors, hubs and people's hands, verified. Knows nothing of what they hold.
//!
//! Outputs. `url:` leaves one output `data`: a file, or a folder when an archive was unpacked. `files:` leaves one output
//! for each of its names, so that `needs: {train: corpus.train}` takes one file. `folder:` and `hf:` leave one output
//! `data`, a folder with the files under the names (paths) given.
//!
//! Keys. A file with `sha256:` or `blake3:` is its digest, wherever it comes from. A hub file is its commit. Anything else
//! is its URL with, if there is one, the digest of the lock file, and with the mirror that was really used. Limits of
//! size decide no result and stay out. `licence` and `redistribute` enter, since they are recorded and travel downstream.

use std::collections::BTreeMap;

use flow::kind::{
    BindContext, ConfigProblem, Ports, StageContext, StageError, StageKind, StageReport,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::client::ClientOptions;
use self::config::{FileMap, FileSpec, Files, Format};
use self::extract::Limits;
use self::hub::{Hub, Repository};
use self::run::Surroundings;

pub(crate) use self::cuda::cuda_libraries;

mod check;
mod client;
mod config;
mod cuda;
mod download;
mod extract;
mod folder;
mod hub;
mod network;
mod origin;
mod pin;
mod pinned;
mod run;
mod unpack;

pub(crate) use network::lacking;
pub(crate) use origin::redact;
pub(crate) use pinned::{Pinned, pinned};
pub(crate) use unpack::{Unpacked, unpacked};
pub(super) use unpack::{decompressed, each_text};

#[cfg(test)]
mod tests;

const GIB: u64 = 1 << 30;
/// Largest download unless `max_bytes` says otherwise: 256 GiB.
const MAX_BYTES: u64 = 256 * GIB;
/// Most bytes out of an archive unless `max_unpacked_bytes` says otherwise: 1 TiB.
const MAX_UNPACKED_BYTES: u64 = 1024 * GIB;
/// Most entries of an archive unless `max_entries` says otherwise.
const MAX_ENTRIES: u64 = 1_000_000;
/// Most bytes out of an archive for each of its own unless `max_ratio` says otherwise; looked at from 64 MiB on.
const MAX_RATIO: u64 = 200;

/// `with:` of a fetch. Exactly one of `url`, `manual`, `files`, `folder`, `hf`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// `https:`, `http:` or `file:` URL of one file; the output is `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// SHA-256 of the file as downloaded, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    /// BLAKE3 of the file as downloaded, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blake3: Option<String>,
    /// Unpack it; an archive becomes a folder, a compressed file a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unpack: Option<Format>,
    /// Of an archive only the entries that one of these globs matches, after `strip`; `*` stops at `/`, `**` does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    only: Vec<String>,
    /// Leading folders to drop from the names of an archive's entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    strip: Option<u32>,
    /// Of an archive this one entry (its name after `strip`), which becomes the output: a file, not a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    take: Option<String>,
    /// For data behind a door: where to register or how to get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manual: Option<String>,
    /// Where, under the root, the user puts a `manual` file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    put: Option<String>,
    /// Several files, an output each: name and URL, or name and the keys above. With `hf` a list of paths in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<config::MapOrList>")]
    files: Option<Files>,
    /// Several files in one folder, the output `data`: path inside it and URL, or path and the keys above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, config::UrlOrFile>>")]
    folder: Option<FileMap>,
    /// A Hugging Face repository, `owner/name` or `datasets/owner/name`; the output `data` is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hf: Option<String>,
    /// The commit of the hub repository, 40 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    /// The licence or terms of the data; shown in reports that rest on it.
    #[serde(default, alias = "license", skip_serializing_if = "Option::is_none")]
    licence: Option<String>,
    /// `false` when the data must not be passed on; what is made from it inherits that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    redistribute: Option<bool>,
    /// Largest download in bytes; 256 GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_bytes: Option<u64>,
    /// Most bytes out of an archive; 1 TiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_unpacked_bytes: Option<u64>,
    /// Most entries of an archive; a million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_entries: Option<u64>,
    /// Most bytes out of an archive for each of its own, looked at from 64 MiB on; 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_ratio: Option<u64>,
    /// Filled in from settings; whatever stands in the file is overwritten.
    #[serde(
        default,
        rename = "_settings",
        skip_serializing_if = "Settings::is_empty"
    )]
    #[schemars(skip)]
    settings: Settings,
}

/// What settings say about the files, by item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Settings {
    /// The stage's name, for messages.
    #[serde(default)]
    stage: String,
    /// Mirrors in use: a URL, or a path as it was given.
    #[serde(default)]
    mirrors: BTreeMap<String, String>,
    /// Digests of the lock file.
    #[serde(default)]
    locked: BTreeMap<String, String>,
}

impl Settings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a file comes from when no mirror stands in.
#[derive(Clone, Debug, PartialEq)]
enum Source {
    Url(String),
    Put { path: String, advice: String },
    Hub { file: String },
}

/// One file of the stage.
#[derive(Clone, Debug)]
struct Item {
    /// Its name in `files:` or `folder:`, its path in the hub repository, or `data`.
    name: String,
    /// Where it goes in the stage's folder.
    place: String,
    /// Pins and unpacking.
    spec: FileSpec,
    /// The address that mirrors are looked up by and people know it by.
    address: String,
    source: Source,
}

impl Fetch {
    fn single(&self) -> FileSpec {
        FileSpec {
            url: self.url.clone(),
            sha256: self.sha256.clone(),
            blake3: self.blake3.clone(),
            unpack: self.unpack,
            only: self.only.clone(),
            strip: self.strip.unwrap_or_default(),
            take: self.take.clone(),
            manual: self.manual.clone(),
            put: self.put.clone(),
        }
    }

    fn repository(&self) -> Option<Repository<'_>> {
        Some(Repository {
            name: self.hf.as_deref()?,
            revision: self.revision.as_deref().unwrap_or_default(),
        })
    }

    /// The files, in the order of the text.
    fn items(&self) -> Vec<Item> {
        let item = |name: &str, place: String, spec: &FileSpec| {
            let source = match (&spec.manual, &spec.put, &spec.url) {
                (Some(advice), Some(path), _) => Source::Put {
                    path: path.clone(),
                    advice: advice.clone(),
                },
                (_, _, url) => Source::Url(url.clone().unwrap_or_default()),
            };
            let address = spec.url.clone().or_else(|| spec.put.clone());
            Item {
                name: name.to_owned(),
                place,
                spec: spec.clone(),
                address: address.unwrap_or_default(),
                source,
            }
        };
        if let Some(repository) = self.repository() {
            let Some(Files::List(files)) = &self.files else {
                return Vec::new();
            };
            let of_hub = |file: &String| Item {
                name: file.clone(),
                place: format!("data/{file}"),
                spec: FileSpec::default(),
                address: hub::public_url(repository, file),
                source: Source::Hub { file: file.clone() },
            };
            return files.iter().map(of_hub).collect();
        }
        if let Some(Files::Map(files)) = &self.files {
            let files = files.0.iter();
            return files
                .map(|(name, spec)| item(name, name.clone(), spec))
                .collect();
        }
        if let Some(files) = &self.folder {
            let files = files.0.iter();
            return files
                .map(|(name, spec)| item(name, format!("data/{name}"), spec))
                .collect();
        }
        vec![item("data", "data".to_owned(), &self.single())]
    }

    /// Whether a file of it comes from its true origin without a digest in the pipeline file, so that the lock counts.
    #[must_use]
    pub fn is_unpinned(&self) -> bool {
        self.items().iter().any(|item| {
            !item.spec.is_pinned()
                && !matches!(item.source, Source::Hub { .. })
                && !self.settings.mirrors.contains_key(&item.name)
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            bytes: self.max_unpacked_bytes.unwrap_or(MAX_UNPACKED_BYTES),
            entries: self.max_entries.unwrap_or(MAX_ENTRIES),
            ratio: self.max_ratio.unwrap_or(MAX_RATIO),
        }
    }

    /// What identifies one file in the key.
    fn manifest_item(&self, item: &Item) -> Value {
        let spec = &item.spec;
        let mut fields = Map::new();
        if spec.is_pinned() {
            for text in pin::pins_of(spec) {
                let (algorithm, hex) = text.split_once(':').expect("pins have an algorithm");
                fields.insert(algorithm.to_owned(), json!(hex));
            }
        } else {
            let name = match &spec.url {
                Some(_) => "url",
                None => "put",
            };
            fields.insert(name.to_owned(), json!(origin::redact(&item.address)));
            if let Some(mirror) = self.settings.mirrors.get(&item.name) {
                fields.insert("origin".to_owned(), json!(origin::redact(mirror)));
            }
            if let Some(locked) = self.settings.locked.get(&item.name) {
                fields.insert("locked".to_owned(), json!(locked));
            }
        }
        let unpacking = FileSpec {
            unpack: spec.unpack,
            only: spec.only.clone(),
            strip: spec.strip,
            take: spec.take.clone(),
            ..FileSpec::default()
        };
        if let Ok(Value::Object(unpacking)) = serde_json::to_value(unpacking) {
            fields.extend(unpacking);
        }
        Value::Object(fields)
    }
}

/// SHA-256 of a file, 64 hex digits, as the hub shows it.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn sha256_of(path: &std::path::Path) -> Result<String, StageError> {
    let (text, _) = pin::digest_file(path, "sha256:")?;
    Ok(text.trim_start_matches("sha256:").to_owned())
}

impl StageKind for Fetch {
    const NAME: &'static str = "fetch";
    /// 1: first.
    const VERSION: u32 = 1;
    const DOC: &'static str = "Downloads files, verifies and unpacks them.";

    fn ports(&self) -> Ports {
        let mut ports = Ports::default();
        // What a digest names needs no look at the file.
        let put = self
            .items()
            .into_iter()
            .filter(|item| !item.spec.is_pinned());
        ports.put_files = put
            .filter_map(|item| match item.source {
                Source::Put { path, .. } => Some(path),
                Source::Url(_) | Source::Hub { .. } => None,
            })
            .collect();
        match (&self.hf, &self.files) {
            (None, Some(Files::Map(files))) => {
                let names = files.0.iter().map(|(name, _)| (name.clone(), name.clone()));
                ports.outputs.extend(names);
                ports
            }
            _ => ports.outputs(["data"]),
        }
    }

    fn check(&self) -> Vec<ConfigProblem> {
        check::check(self)
    }

    fn complete(&mut self, context: &BindContext<'_>) {
        let mut settings = Settings::default();
        let items = self.items();
        for item in &items {
            if let Some(mirror) = origin::find_mirror(&item.address, context.mirrors, context.root)
            {
                settings.mirrors.insert(item.name.clone(), mirror);
            }
        }
        // A mirror may hold a stand-in: the lock file speaks of the true origin only.
        for item in items.iter().filter(|item| !item.spec.is_pinned()) {
            let locked = context.locked.into_iter().flat_map(str::split_whitespace);
            let mut locked = locked.filter_map(|word| match word.split_once('=') {
                Some((name, digest)) => (name == item.name).then_some(digest),
                None => (items.len() == 1).then_some(word),
            });
            if let Some(digest) = locked.next()
                && !settings.mirrors.contains_key(&item.name)
                && !matches!(item.source, Source::Hub { .. })
            {
                settings.locked.insert(item.name.clone(), digest.to_owned());
            }
        }
        if !settings.locked.is_empty() {
            settings.stage = context.stage.to_owned();
        }
        self.settings = settings;
    }

    fn manifest_config(&self) -> Value {
        let items = self.items();
        let mut config = Map::new();
        let each = || {
            let named = items
                .iter()
                .map(|item| (item.name.clone(), self.manifest_item(item)));
            Value::Object(named.collect())
        };
        if let Some(repository) = self.repository() {
            config.insert("hf".to_owned(), json!(repository.name));
            config.insert("revision".to_owned(), json!(repository.revision));
            let mut names: Vec<&str> = items.iter().map(|item| item.name.as_str()).collect();
            names.sort_unstable();
            config.insert("files".to_owned(), json!(names));
            if !self.settings.mirrors.is_empty() {
                config.insert("origin".to_owned(), json!(self.settings.mirrors));
            }
        } else if matches!(self.files, Some(Files::Map(_))) {
            config.insert("files".to_owned(), each());
        } else if self.folder.is_some() {
            config.insert("folder".to_owned(), each());
        } else if let Value::Object(fields) = self.manifest_item(&items[0]) {
            config.extend(fields);
        }
        if let Some(licence) = &self.licence {
            config.insert("licence".to_owned(), json!(licence));
        }
        if self.redistribute == Some(false) {
            config.insert("redistribute".to_owned(), json!(false));
        }
        Value::Object(config)
    }

    fn run(&self, stage: &StageContext) -> Result<StageReport, StageError> {
        let around = Surroundings {
            client: ClientOptions::default(),
            hub: Hub::from_environment(|name| std::env::var(name).ok()),
            wait: &|time| std::thread::sleep(time),
        };
        self.run_in(stage, &around)
    }
}
