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
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::event::Progress;
use flow::kind::{
    BindContext, ConfigProblem, Pin, Ports, StageContext, StageError, StageKind, StageReport,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use self::client::{Client, ClientOptions};
use self::config::{FileMap, FileSpec, Files, Format};
use self::download::{Downloader, Request};
use self::extract::{Limits, Selection};
use self::hub::{Hub, Repository};

mod check;
mod client;
mod config;
mod download;
mod extract;
mod hub;
mod origin;
mod pin;
mod unpack;

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
/// Fruitless tries of one download.
const TRIES: u32 = 5;

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

/// What a run depends on besides its stage; tests bring their own.
struct Surroundings<'a> {
    client: ClientOptions,
    hub: Hub,
    wait: &'a dyn Fn(Duration),
}

/// A file that lies ready, verified.
struct Ready {
    path: PathBuf,
    origin: String,
    stand_in: bool,
    /// For the lock file.
    found: Option<(String, u64)>,
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

    fn run_in(
        &self,
        stage: &StageContext,
        around: &Surroundings<'_>,
    ) -> Result<StageReport, StageError> {
        let items = self.items();
        // Everything is made here and moved out at the end: after a failure no output exists.
        let staging = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&stage.folder)?;
        let client = Client::new(around.client)?;
        let run = Run {
            fetch: self,
            stage,
            around,
            client: &client,
            staging: staging.path(),
            downloads: stage.scratch.join("fetch"),
        };
        let mut ready = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let twin = items[..index]
                .iter()
                .position(|earlier| same_bytes(earlier, item));
            ready.push(match twin {
                Some(twin) => run.again(item, &ready[twin])?,
                None => run.obtain(index, item)?,
            });
        }
        let out = staging.path().join("out");
        fs_err::create_dir(&out)?;
        for (index, (item, file)) in items.iter().zip(&ready).enumerate() {
            let to = out.join(&item.place);
            fs_err::create_dir_all(to.parent().expect("a place below `out`"))?;
            let Some(format) = item.spec.unpack else {
                let needed_later = ready[index + 1..]
                    .iter()
                    .any(|later| later.path == file.path);
                move_or_copy(&file.path, &to, needed_later)?;
                continue;
            };
            let work = staging.path().join(format!("work-{index}"));
            fs_err::create_dir(&work)?;
            unpack::unpack(
                &file.path,
                format,
                &selection(&item.spec),
                self.limits(),
                &work,
                &to,
            )
            .map_err(|error| error.detail(format!("in `{}`", origin::redact(&item.address))))?;
            fs_err::remove_dir_all(&work)?;
        }
        for (_, path) in self.ports().outputs {
            fs_err::rename(out.join(&path), stage.folder.join(&path))?;
        }
        run.forget_all();
        Ok(self.report(&items, &ready))
    }

    fn report(&self, items: &[Item], ready: &[Ready]) -> StageReport {
        let mut report = StageReport::default();
        let origin = match ready {
            [file] => json!(file.origin),
            files => {
                let named = items.iter().zip(files);
                let origins = named.map(|(item, file)| (item.name.clone(), json!(file.origin)));
                Value::Object(origins.collect())
            }
        };
        report.notes.insert("origin".to_owned(), origin);
        if ready.iter().any(|file| file.stand_in) {
            report.notes.insert("stand_in".to_owned(), json!(true));
        }
        if let Some(licence) = &self.licence {
            report.notes.insert("licence".to_owned(), json!(licence));
        }
        if self.redistribute == Some(false) {
            report.notes.insert("redistribute".to_owned(), json!(false));
        }
        let found: Vec<_> = (items.iter().zip(ready))
            .filter_map(|(item, file)| Some((item, file.found.as_ref()?)))
            .collect();
        if !found.is_empty() {
            let alone = items.len() == 1;
            let join = |text: &dyn Fn(&Item, &str) -> String| {
                let texts: Vec<String> = found
                    .iter()
                    .map(|(item, (digest, _))| text(item, digest))
                    .collect();
                texts.join(" ")
            };
            report.pin = Some(Pin {
                url: join(&|item, _| origin::redact(&item.address)),
                digest: join(&|item, digest| {
                    if alone {
                        digest.to_owned()
                    } else {
                        format!("{}={digest}", item.name)
                    }
                }),
                bytes: found.iter().map(|(_, (_, size_bytes))| size_bytes).sum(),
            });
        }
        report
    }
}

fn selection(spec: &FileSpec) -> Selection {
    let pattern = |text: &String| glob::Pattern::new(text).ok();
    Selection {
        strip: spec.strip,
        only: spec.only.iter().filter_map(pattern).collect(),
        take: spec.take.clone(),
    }
}

/// Whether two items are one download.
fn same_bytes(a: &Item, b: &Item) -> bool {
    a.source == b.source && a.address == b.address && pin::pins_of(&a.spec) == pin::pins_of(&b.spec)
}

fn move_or_copy(from: &Path, to: &Path, keep: bool) -> Result<(), StageError> {
    if !keep && fs_err::rename(from, to).is_ok() {
        return Ok(());
    }
    reflink_copy::reflink_or_copy(from, to)?;
    Ok(())
}

/// One run of a fetch.
struct Run<'a> {
    fetch: &'a Fetch,
    stage: &'a StageContext,
    around: &'a Surroundings<'a>,
    client: &'a Client,
    staging: &'a Path,
    /// Downloads under way; survives a failure, so that a retry goes on.
    downloads: PathBuf,
}

impl Run<'_> {
    /// Brings one file to this machine and verifies it.
    fn obtain(&self, index: usize, item: &Item) -> Result<Ready, StageError> {
        let pins = pin::pins_of(&item.spec);
        let mirror = self.fetch.settings.mirrors.get(&item.name);
        let origin = mirror.unwrap_or(&item.address);
        let mut hub_pin = None;
        let path = match (mirror, &item.source) {
            (Some(mirror), _) if !origin::is_url(mirror) => {
                let path = origin::mirror_file(mirror, &item.address, &self.stage.root)?;
                self.copy_in(&path, index)?
            }
            (Some(mirror), _) => self.fetch_url(index, item, &parse_url(mirror)?, &pins)?,
            (None, Source::Url(url)) => self.fetch_url(index, item, &parse_url(url)?, &pins)?,
            (None, Source::Put { path, advice }) => {
                let path = self.find_put(path, advice)?;
                self.copy_in(&path, index)?
            }
            (None, Source::Hub { file }) => {
                let (path, pin) = self.fetch_hub(index, item, file)?;
                hub_pin = pin;
                path
            }
        };
        pin::verify(&path, &pins, origin)?;
        if let Some(pin) = hub_pin {
            pin::verify(&path, &[pin], origin).map_err(|error| {
                self.forget_all();
                error.detail("the hub itself states the expected digest").help("run again: the file is downloaded anew; if that fails too, the cache in `HF_HOME` or the hub is damaged")
            })?;
        }
        let is_hub = matches!(item.source, Source::Hub { .. });
        let unpinned = pins.is_empty();
        let mut found = None;
        if unpinned && mirror.is_none() && !is_hub {
            let locked = self.fetch.settings.locked.get(&item.name);
            if let Some(locked) = locked {
                pin::verify_locked(&path, locked, origin, &self.fetch.settings.stage)?;
            }
            found = Some(pin::digest_file(
                &path,
                locked.map_or("blake3:", String::as_str),
            )?);
        }
        Ok(Ready {
            path,
            origin: origin::redact(origin),
            stand_in: unpinned && mirror.is_some(),
            found,
        })
    }

    /// A file that an earlier item brought already.
    fn again(&self, item: &Item, twin: &Ready) -> Result<Ready, StageError> {
        if let (Some(locked), None) = (
            self.fetch.settings.locked.get(&item.name),
            self.fetch.settings.mirrors.get(&item.name),
        ) && !item.spec.is_pinned()
        {
            pin::verify_locked(
                &twin.path,
                locked,
                &item.address,
                &self.fetch.settings.stage,
            )?;
        }
        Ok(Ready {
            path: twin.path.clone(),
            origin: twin.origin.clone(),
            stand_in: twin.stand_in,
            found: twin.found.clone(),
        })
    }

    fn find_put(&self, put: &str, advice: &str) -> Result<PathBuf, StageError> {
        let path = self.stage.root.join(put);
        if path.is_file() {
            return Ok(path);
        }
        Err(StageError::new(
            "fetch::manual",
            format!("`{put}` must be put there by hand"),
        )
        .environment()
        .detail(advice)
        .detail(format!("looked for `{}`", path.display()))
        .help(format!(
            "get the file as said, put it at `{put}` below the pipeline's root, and run again"
        )))
    }

    /// A copy in the staging folder: what is verified is what is used.
    fn copy_in(&self, path: &Path, index: usize) -> Result<PathBuf, StageError> {
        let size_bytes = fs_err::metadata(path)?.len();
        let most = self.fetch.max_bytes.unwrap_or(MAX_BYTES);
        if size_bytes > most {
            return Err(StageError::new(
                "fetch::size",
                format!(
                    "`{}` has {size_bytes} bytes, with at most {most} allowed",
                    path.display()
                ),
            )
            .help("if that is right, raise `max_bytes` of the stage"));
        }
        let to = self.staging.join(format!("file-{index}"));
        reflink_copy::reflink_or_copy(path, &to)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            fs_err::set_permissions(&to, std::fs::Permissions::from_mode(0o644))?;
        }
        Ok(to)
    }

    fn fetch_url(
        &self,
        index: usize,
        item: &Item,
        url: &Url,
        pins: &[String],
    ) -> Result<PathBuf, StageError> {
        if url.scheme() == "file" {
            let path = origin::file_path(url)?;
            if !path.is_file() {
                return Err(
                    StageError::new("fetch::url", format!("`{url}` is no file here"))
                        .environment()
                        .help("correct the path, or name a copy with `--mirror PREFIX=DIR_OR_URL`"),
                );
            }
            return self.copy_in(&path, index);
        }
        let progress = |done, total| self.tell(item, done, total);
        let downloader = self.downloader(&progress);
        let request = Request {
            url,
            bearer: None,
            pinned: !pins.is_empty(),
        };
        self.refuse_offline(url)?;
        let done = downloader.download(&request)?;
        let Err(error) = pin::verify(&done.path, pins, url.as_str()) else {
            return Ok(done.path);
        };
        downloader.forget(url)?;
        if !done.pieced {
            return Err(error);
        }
        // Pieces of two versions, or a damaged part: once more in one go.
        let done = downloader.download(&request)?;
        pin::verify(&done.path, pins, url.as_str()).inspect_err(|_| {
            let _ = downloader.forget(url);
        })?;
        Ok(done.path)
    }

    /// The file, and the digest that the hub or the cache states for it.
    fn fetch_hub(
        &self,
        index: usize,
        item: &Item,
        file: &str,
    ) -> Result<(PathBuf, Option<String>), StageError> {
        let repository = self
            .fetch
            .repository()
            .expect("hub items have a repository");
        let hub = &self.around.hub;
        if let Some(cached) = hub.find_cached(repository, file) {
            return Ok((self.copy_in(&cached, index)?, hub::blob_sha256(&cached)));
        }
        let url = hub.file_url(repository, file)?;
        let progress = |done, total| self.tell(item, done, total);
        let downloader = self.downloader(&progress);
        self.refuse_offline(&url)?;
        let request = Request {
            url: &url,
            bearer: hub.token(),
            pinned: false,
        };
        let done = downloader
            .download(&request)
            .map_err(|error| hub::advise(error, repository, hub.token().is_some()))?;
        if let Some(commit) = done
            .commit
            .as_deref()
            .filter(|commit| *commit != repository.revision)
        {
            return Err(StageError::new(
                "fetch::hub",
                format!(
                    "the hub answered with commit `{commit}` for `{}`",
                    repository.revision
                ),
            )
            .help("give the full hash of a commit that the repository has"));
        }
        let stated = done.linked_etag.as_deref().and_then(hub::sha256_of_tag);
        Ok((done.path, stated))
    }

    fn downloader<'a>(&'a self, progress: &'a dyn Fn(u64, Option<u64>)) -> Downloader<'a> {
        Downloader {
            client: self.client,
            scratch: &self.downloads,
            tries: TRIES,
            max_bytes: self.fetch.max_bytes.unwrap_or(MAX_BYTES),
            wait: self.around.wait,
            progress,
        }
    }

    /// Removes what was downloaded; what cannot be removed goes with the scratch folder.
    fn forget_all(&self) {
        let _ = fs_err::remove_dir_all(&self.downloads);
    }

    fn refuse_offline(&self, url: &Url) -> Result<(), StageError> {
        if !self.stage.offline {
            return Ok(());
        }
        Err(StageError::new(
            "fetch::offline",
            format!("`{}` would need the network, which `--offline` forbids", origin::redact(url.as_str())),
        )
        .environment()
        .help("name copies with `--mirrors FILE` or `--mirror PREFIX=DIR`, or run without `--offline`"))
    }

    fn tell(&self, item: &Item, done: u64, total: Option<u64>) {
        self.stage.progress(&Progress {
            done,
            total,
            unit: "B".to_owned(),
            text: item.name.clone(),
        });
    }
}

fn parse_url(text: &str) -> Result<Url, StageError> {
    Url::parse(text).map_err(|error| {
        StageError::new(
            "fetch::url",
            format!("`{}` is not a URL: {error}", origin::redact(text)),
        )
        .help("a URL starts with `https://`")
    })
}

impl StageKind for Fetch {
    const NAME: &'static str = "fetch";
    /// 1: first.
    const VERSION: u32 = 1;
    const DOC: &'static str = "Downloads files, verifies and unpacks them.";

    fn ports(&self) -> Ports {
        let mut ports = Ports::default();
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
            let locked = locked.filter_map(|word| match word.split_once('=') {
                Some((name, digest)) => (name == item.name).then_some(digest),
                None => (items.len() == 1).then_some(word),
            });
            if let Some(digest) = locked.last()
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
