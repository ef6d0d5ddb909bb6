//! A download that goes on where it broke off: partial files, validators, retries. Knows nothing of pins and archives.
//!
//! In the scratch folder a download is `<name>.part` and `<name>.json` ([`State`]); the name is a digest of the URL,
//! so neither holds a secret. A part is only continued when the server says that it still is the same file
//! (`If-Range`), or when a pinned digest will tell anyhow.

use std::cell::Cell;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flow::digest::Use;
use flow::kind::StageError;
use serde::{Deserialize, Serialize};
use url::Url;

use super::client::{Client, Reply};
use super::origin::redact;

/// A try that brought at least this many bytes does not count as a failed one.
const GAIN_BYTES: u64 = 1 << 20;
/// The longest wait a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
/// Tries in all, whatever they gained.
const MAX_TRIES: u32 = 1000;

/// What a download needs besides its URL.
pub(super) struct Downloader<'a> {
    /// Sends the requests.
    pub client: &'a Client,
    /// Where parts survive kill and retry.
    pub scratch: &'a Path,
    /// Fruitless tries before giving up.
    pub tries: u32,
    /// Largest size taken, in bytes.
    pub max_bytes: u64,
    /// Waits between tries.
    pub wait: &'a dyn Fn(Duration),
    /// Told bytes done and bytes in all.
    pub progress: &'a dyn Fn(u64, Option<u64>),
}

/// What to download.
pub(super) struct Request<'a> {
    /// From where.
    pub url: &'a Url,
    /// A token for that host.
    pub bearer: Option<&'a str>,
    /// Whether a digest decides in the end, so that parts without a validator may be continued.
    pub pinned: bool,
}

/// What was downloaded.
#[derive(Debug)]
pub(super) struct Downloaded {
    /// Where it lies, in the scratch folder.
    pub path: PathBuf,
    /// Whether it was put together from several answers, or kept from before.
    pub pieced: bool,
    /// `x-linked-etag` of a hub.
    pub linked_etag: Option<String>,
    /// `x-repo-commit` of a hub.
    pub commit: Option<String>,
}

/// What is known of a part.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(default)]
    complete: bool,
}

impl State {
    fn load(path: &Path) -> Self {
        fs_err::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    fn save(&self, path: &Path) -> Result<(), StageError> {
        let text = serde_json::to_vec(self).expect("a state serialises");
        Ok(fs_err::write(path, text)?)
    }

    fn of(reply: &Reply, total: Option<u64>) -> Self {
        Self {
            etag: reply.header("etag").map(str::to_owned),
            last_modified: reply.header("last-modified").map(str::to_owned),
            total,
            complete: false,
        }
    }

    /// What `If-Range` may carry: a strong entity tag, else a date.
    fn validator(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }
}

struct Stumble {
    error: StageError,
    retry_after: Option<Duration>,
}

impl<E: Into<StageError>> From<E> for Stumble {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            retry_after: None,
        }
    }
}

impl Downloader<'_> {
    /// Downloads a file into the scratch folder, going on with what lies there.
    ///
    /// # Errors
    /// `may_pass` when the tries were used up on something that may be over later; else at once.
    pub(super) fn download(&self, request: &Request<'_>) -> Result<Downloaded, StageError> {
        fs_err::create_dir_all(self.scratch)?;
        let name = Use::File.digest(request.url.as_str().as_bytes()).short();
        let part = self.scratch.join(format!("{name}.part"));
        let state = self.scratch.join(format!("{name}.json"));
        let size = |path: &Path| fs_err::metadata(path).map_or(0, |metadata| metadata.len());
        let mut failures = 0;
        let most = Cell::new(size(&part));
        for tries in 1..=MAX_TRIES {
            let Stumble { error, retry_after } = match self.attempt(request, &part, &state) {
                Ok(mut done) => {
                    done.pieced |= tries > 1;
                    return Ok(done);
                }
                Err(stumble) => stumble,
            };
            if !error.may_pass {
                return Err(error);
            }
            // Only ground beyond what any earlier try reached counts: a server that starts over each time gains nothing.
            let now = size(&part);
            if now >= most.get() + GAIN_BYTES {
                failures = 0;
            }
            most.set(most.get().max(now));
            failures += 1;
            if failures >= self.tries {
                return Err(error.detail(format!("gave up after {tries} tries")));
            }
            let back_off = Duration::from_secs(1 << (failures - 1).min(5));
            (self.wait)(retry_after.map_or(back_off, |asked| asked.min(MAX_RETRY_AFTER)));
        }
        Err(StageError::new(
            "fetch::network",
            format!(
                "`{}` broke off {MAX_TRIES} times",
                redact(request.url.as_str())
            ),
        )
        .environment()
        .may_pass()
        .help("try again later, or use `--mirror PREFIX=DIR_OR_URL`"))
    }

    /// Forgets a download, so that the next one starts from nothing.
    ///
    /// # Errors
    /// When the part cannot be removed.
    pub(super) fn forget(&self, url: &Url) -> Result<(), StageError> {
        let name = Use::File.digest(url.as_str().as_bytes()).short();
        for ending in ["part", "json"] {
            match fs_err::remove_file(self.scratch.join(format!("{name}.{ending}"))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn attempt(
        &self,
        request: &Request<'_>,
        part: &Path,
        state_path: &Path,
    ) -> Result<Downloaded, Stumble> {
        let state = State::load(state_path);
        let have = fs_err::metadata(part).map_or(0, |metadata| metadata.len());
        let kept = |reply: Option<&Reply>| Downloaded {
            path: part.to_path_buf(),
            pieced: true,
            linked_etag: reply.and_then(|reply| reply.header("x-linked-etag").map(str::to_owned)),
            commit: reply.and_then(|reply| reply.header("x-repo-commit").map(str::to_owned)),
        };
        if state.complete && part.is_file() && request.pinned {
            return Ok(kept(None));
        }
        let mut headers: Vec<(&str, String)> = Vec::new();
        let resumes =
            !state.complete && have > 0 && (request.pinned || state.validator().is_some());
        if state.complete && part.is_file() {
            if let Some(tag) = &state.etag {
                headers.push(("if-none-match", tag.clone()));
            } else if let Some(date) = &state.last_modified {
                headers.push(("if-modified-since", date.clone()));
            }
        } else if resumes {
            headers.push(("range", format!("bytes={have}-")));
            if let Some(validator) = state.validator() {
                headers.push(("if-range", validator.to_owned()));
            }
        }
        let reply = self.client.get(request.url, &headers, request.bearer)?;
        match reply.status {
            200 => {
                let total = content_length(&reply);
                self.receive(request, reply, part, state_path, 0, total)
            }
            206 if resumes => {
                let (start, total) = reply
                    .header("content-range")
                    .and_then(parse_content_range)
                    .unwrap_or((None, None));
                let fresh = State::of(&reply, total);
                let same = start == Some(have)
                    && (state.total.is_none() || total.is_none() || state.total == total)
                    && (state.etag.is_none() || fresh.etag.is_none() || state.etag == fresh.etag);
                if !same {
                    self.forget(request.url)?;
                    return Err(self
                        .broke_off(request, "the server continued another file")
                        .into());
                }
                let total = total
                    .or(state.total)
                    .or_else(|| content_length(&reply).map(|rest| have + rest));
                self.receive(request, reply, part, state_path, have, total)
            }
            304 if state.complete => Ok(kept(Some(&reply))),
            416 if resumes => {
                let total = reply
                    .header("content-range")
                    .and_then(parse_content_range)
                    .and_then(|(_, total)| total);
                let tag = reply.header("etag");
                if total == Some(have) && (tag.is_none() || tag == state.etag.as_deref()) {
                    State {
                        complete: true,
                        ..state
                    }
                    .save(state_path)?;
                    return Ok(kept(Some(&reply)));
                }
                self.forget(request.url)?;
                Err(self
                    .broke_off(
                        request,
                        "the server has nothing behind the part that is here",
                    )
                    .into())
            }
            status => Err(Stumble {
                retry_after: reply
                    .header("retry-after")
                    .and_then(|text| text.trim().parse().ok())
                    .map(Duration::from_secs),
                error: explain_status(status, &reply, request),
            }),
        }
    }

    /// Writes the body behind the first `have` bytes of the part.
    fn receive(
        &self,
        request: &Request<'_>,
        mut reply: Reply,
        part: &Path,
        state_path: &Path,
        have: u64,
        total: Option<u64>,
    ) -> Result<Downloaded, Stumble> {
        if total.is_some_and(|total| total > self.max_bytes) {
            return Err(self.too_large(request, total).into());
        }
        let mut file = fs_err::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(have == 0)
            .open(part)?;
        file.seek(SeekFrom::Start(have))?;
        let mut state = State::of(&reply, total);
        state.save(state_path)?;
        let mut done = have;
        let mut buffer = vec![0_u8; 1 << 17];
        let mut told: Option<Instant> = None;
        loop {
            let n = match reply.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) => {
                    return Err(self
                        .broke_off(request, &progress_text(done, total))
                        .detail(error.to_string())
                        .into());
                }
            };
            file.write_all(&buffer[..n])?;
            done += n as u64;
            if done > self.max_bytes {
                drop(file);
                self.forget(request.url)?;
                return Err(self.too_large(request, None).into());
            }
            if told.is_none_or(|last| last.elapsed() > Duration::from_millis(250)) {
                told = Some(Instant::now());
                (self.progress)(done, total);
            }
        }
        match total {
            Some(total) if done < total => {
                return Err(self
                    .broke_off(request, &progress_text(done, Some(total)))
                    .into());
            }
            Some(total) if done > total => {
                drop(file);
                self.forget(request.url)?;
                let why = format!("it sent {done} bytes where it had announced {total}");
                return Err(self.broke_off(request, &why).into());
            }
            _ => {}
        }
        (self.progress)(done, total);
        state.total = Some(done);
        state.complete = true;
        state.save(state_path)?;
        Ok(Downloaded {
            path: part.to_path_buf(),
            pieced: have > 0,
            linked_etag: reply.header("x-linked-etag").map(str::to_owned),
            commit: reply.header("x-repo-commit").map(str::to_owned),
        })
    }

    fn broke_off(&self, request: &Request<'_>, why: &str) -> StageError {
        StageError::new(
            "fetch::network",
            format!(
                "the download of `{}` broke off",
                redact(request.url.as_str())
            ),
        )
        .environment()
        .may_pass()
        .detail(why)
        .help("run again: it goes on from there; or use `--mirror PREFIX=DIR_OR_URL`")
    }

    fn too_large(&self, request: &Request<'_>, total: Option<u64>) -> StageError {
        let size = total.map_or_else(|| "more".to_owned(), |total| format!("{total} bytes"));
        StageError::new(
            "fetch::size",
            format!(
                "`{}` is larger than allowed: {size}, with at most {} bytes",
                redact(request.url.as_str()),
                self.max_bytes
            ),
        )
        .help("if that is right, raise `max_bytes` of the stage")
    }
}

fn progress_text(done: u64, total: Option<u64>) -> String {
    match total {
        Some(total) => format!("after {done} of {total} bytes"),
        None => format!("after {done} bytes"),
    }
}

/// The announced size; none for a chunked body, whose end the protocol marks.
fn content_length(reply: &Reply) -> Option<u64> {
    if reply.header("transfer-encoding").is_some() {
        return None;
    }
    reply.header("content-length")?.trim().parse().ok()
}

/// First byte and size of the whole of `bytes 5-9/10`, `bytes */10`.
fn parse_content_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let start = range
        .split_once('-')
        .and_then(|(start, _)| start.parse().ok());
    Some((start, total.trim().parse().ok()))
}

fn explain_status(status: u16, reply: &Reply, request: &Request<'_>) -> StageError {
    let asked = redact(request.url.as_str());
    let error = StageError::new(
        "fetch::status",
        format!("`{asked}` answers with status {status}"),
    )
    .environment();
    let error = if reply.url == *request.url {
        error
    } else {
        error.detail(format!(
            "after a redirect to `{}`",
            redact(reply.url.as_str())
        ))
    };
    match status {
        404 | 410 => error.help("the file has moved or was removed: correct `url`, or name a copy with `--mirror PREFIX=DIR_OR_URL`"),
        401 | 403 | 407 => error.help("the server wants a login: get the file by hand and say so with `manual: TEXT` and `put: PATH`, or name a copy with `--mirror PREFIX=DIR_OR_URL`"),
        429 => error.help("the server wants fewer requests: try again later, or use `--mirror PREFIX=DIR_OR_URL`").may_pass(),
        408 | 425 | 500..=599 => error.help("the server has trouble: try again later, or use `--mirror PREFIX=DIR_OR_URL`").may_pass(),
        _ => error.help("open it in a browser to see what it wants"),
    }
}
