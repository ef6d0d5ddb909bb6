//! One run of a fetch: obtains each file, verifies it, unpacks it, and moves everything out at the end.
//! Knows nothing of keys and settings.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flow::event::Progress;
use flow::kind::{Pin, StageContext, StageError, StageKind as _, StageReport};
use flow::notes::BY_OUTPUT;
use serde_json::{Map, Value, json};
use url::Url;

use super::client::{Client, ClientOptions};
use super::config::{FileSpec, Files};
use super::download::{Downloader, Request};
use super::extract::Selection;
use super::folder;
use super::hub::{self, Hub};
use super::{Fetch, Item, MAX_BYTES, Source, origin, pin, unpack};

/// Fruitless tries of one download.
const TRIES: u32 = 5;

/// What a run depends on besides its stage; tests bring their own.
pub(super) struct Surroundings<'a> {
    pub client: ClientOptions,
    pub hub: Hub,
    pub wait: &'a dyn Fn(Duration),
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
    /// Carries the stage out.
    ///
    /// # Errors
    /// Anything of this kind; then no output exists in the stage's folder.
    pub(super) fn run_in(
        &self,
        stage: &StageContext,
        around: &Surroundings<'_>,
    ) -> Result<StageReport, StageError> {
        let items = self.items();
        // Everything is made here and moved out at the end: after a failure no output exists.
        let staging = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&stage.folder)?;
        let run = Run {
            fetch: self,
            stage,
            around,
            client: OnceCell::new(),
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
            // A mirror's folder is unpacked already.
            let Some(format) = item.spec.unpack.filter(|_| file.path.is_file()) else {
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
        let stand_ins: Map<String, Value> = (items.iter().zip(ready))
            .filter(|(_, file)| file.stand_in)
            .map(|(item, file)| (item.name.clone(), json!(stand_in(item, file))))
            .collect();
        if !stand_ins.is_empty() {
            let note = match &self.files {
                // What is made of one output rests on that output's stand-in only.
                Some(Files::Map(_)) => json!({ BY_OUTPUT: stand_ins }),
                _ => stand_ins.into_iter().map(|(_, text)| text).collect(),
            };
            report.notes.insert("stand_in".to_owned(), note);
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

impl Item {
    /// Whether a mirror's folder may stand in for it, once it is known to be unpacked.
    ///
    /// # Errors
    /// Where a digest or `take` is about the archive that the folder stands in for.
    pub(super) fn takes_folder(&self, origin: &str) -> Result<(), StageError> {
        let refuse =
            |message: String, help: &str| Err(StageError::new("fetch::mirror", message).help(help));
        if self.spec.is_pinned() {
            return refuse(
                format!("`{origin}` is a folder, which no digest of a file can be held against"),
                "name a copy of the file itself as its mirror",
            );
        }
        if self.spec.take.is_some() {
            return refuse(
                format!("`{origin}` is a folder, of which `take` cannot take one entry"),
                "name that entry's copy as its mirror",
            );
        }
        Ok(())
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
    /// Made for the first file that needs the network.
    client: OnceCell<Client>,
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
                let is_unpacked = item.spec.unpack.is_some();
                let root = &self.stage.root;
                let path = origin::mirror_file(mirror, &item.address, root, is_unpacked)?;
                match path.is_dir() {
                    true => self.copy_folder(&path, index, item, origin)?,
                    false => self.copy_in(&path, index, &pins, origin)?,
                }
            }
            (Some(mirror), _) => self.fetch_url(index, item, &parse_url(mirror)?, &pins)?,
            (None, Source::Url(url)) => self.fetch_url(index, item, &parse_url(url)?, &pins)?,
            (None, Source::Put { path, advice }) => {
                let path = self.find_put(path, advice)?;
                self.copy_in(&path, index, &pins, origin)?
            }
            (None, Source::Hub { file }) => {
                let (path, pin) = self.fetch_hub(index, item, file)?;
                hub_pin = pin;
                path
            }
        };
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
            let stage = &self.fetch.settings.stage;
            found = Some(match self.fetch.settings.locked.get(&item.name) {
                Some(locked) => pin::verify_locked(&path, locked, origin, stage)?,
                None => pin::digest_file(&path, "blake3:")?,
            });
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
    fn copy_in(
        &self,
        path: &Path,
        index: usize,
        pins: &[String],
        origin: &str,
    ) -> Result<PathBuf, StageError> {
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
        pin::verify(&to, pins, origin)?;
        Ok(to)
    }

    /// A copy of a mirror's folder, which holds what an archive does.
    fn copy_folder(
        &self,
        from: &Path,
        index: usize,
        item: &Item,
        origin: &str,
    ) -> Result<PathBuf, StageError> {
        item.takes_folder(origin)?;
        let to = self.staging.join(format!("file-{index}"));
        folder::copy(from, &to, &selection(&item.spec), &self.fetch.limits())?;
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
            let path = origin::local_file(url)?;
            return self.copy_in(&path, index, pins, url.as_str());
        }
        let progress = |done, total| self.tell(item, done, total);
        let downloader = self.downloader(&progress)?;
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
            return Ok((
                self.copy_in(&cached, index, &[], &item.address)?,
                hub::blob_sha256(&cached),
            ));
        }
        let url = hub.file_url(repository, file)?;
        let progress = |done, total| self.tell(item, done, total);
        let downloader = self.downloader(&progress)?;
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

    fn downloader<'a>(
        &'a self,
        progress: &'a dyn Fn(u64, Option<u64>),
    ) -> Result<Downloader<'a>, StageError> {
        let client = match self.client.get() {
            Some(client) => client,
            None => {
                let client = Client::new(self.around.client)?;
                self.client.get_or_init(|| client)
            }
        };
        Ok(Downloader {
            client,
            scratch: &self.downloads,
            tries: TRIES,
            max_bytes: self.fetch.max_bytes.unwrap_or(MAX_BYTES),
            wait: self.around.wait,
            progress,
        })
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

/// What people read about a file that is not the one named.
fn stand_in(item: &Item, file: &Ready) -> String {
    format!(
        "`{}` in place of {}",
        file.origin,
        origin::redact(&item.address)
    )
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
