//! Files of a Hugging Face hub repository: addresses, an existing cache, the token. Knows nothing of transfers.

use std::fmt;
use std::path::{Path, PathBuf};

use flow::kind::StageError;
use url::Url;

/// The public hub; mirrors are looked up by its addresses, whatever the endpoint.
const PUBLIC: &str = "https://huggingface.co";

/// What the environment says about hubs.
pub(super) struct Hub {
    endpoint: String,
    token: Option<String>,
    /// The folder with `models--owner--name`.
    cache: Option<PathBuf>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("has_token", &self.token.is_some())
            .field("cache", &self.cache)
            .finish()
    }
}

/// A repository at a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repository<'a> {
    /// `owner/name`, or `datasets/owner/name`.
    pub name: &'a str,
    /// The commit, 40 hex digits.
    pub revision: &'a str,
}

impl Hub {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN` (else the token file), `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HOME` through `variable`.
    #[must_use]
    pub(super) fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let caches = variable("XDG_CACHE_HOME").map(PathBuf::from);
            let caches = caches.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
            Some(caches?.join("huggingface"))
        });
        let token = variable("HF_TOKEN").or_else(|| {
            let file = variable("HF_TOKEN_PATH")
                .map(PathBuf::from)
                .or_else(|| Some(home.as_ref()?.join("token")))?;
            fs_err::read_to_string(file).ok()
        });
        Self {
            endpoint: variable("HF_ENDPOINT")
                .unwrap_or_else(|| PUBLIC.to_owned())
                .trim_end_matches('/')
                .to_owned(),
            token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty()),
            cache: variable("HF_HUB_CACHE")
                .map(PathBuf::from)
                .or_else(|| Some(home?.join("hub"))),
        }
    }

    /// The token, to be sent to the endpoint and never shown.
    #[must_use]
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Where the file is downloaded from.
    ///
    /// # Errors
    /// When `HF_ENDPOINT` is no URL.
    pub(super) fn file_url(
        &self,
        repository: Repository<'_>,
        file: &str,
    ) -> Result<Url, StageError> {
        let text = address(&self.endpoint, repository, file);
        Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| {
                StageError::new("fetch::hub", "`HF_ENDPOINT` is not a web address")
                    .environment()
                    .help("it looks like `https://huggingface.co`; unset it to use that")
            })
    }

    /// The file in a cache that other programs filled, if that exact commit lies there.
    #[must_use]
    pub(super) fn find_cached(&self, repository: Repository<'_>, file: &str) -> Option<PathBuf> {
        let name = match repository.name.strip_prefix("datasets/") {
            Some(name) => format!("datasets--{}", name.replace('/', "--")),
            None => format!("models--{}", repository.name.replace('/', "--")),
        };
        let snapshot = self.cache.as_ref()?.join(name).join("snapshots");
        let path = snapshot.join(repository.revision).join(file);
        path.is_file().then_some(path)
    }
}

/// The public address of a file; what mirrors and messages go by.
#[must_use]
pub(super) fn public_url(repository: Repository<'_>, file: &str) -> String {
    address(PUBLIC, repository, file)
}

fn address(endpoint: &str, repository: Repository<'_>, file: &str) -> String {
    let mut url = format!(
        "{endpoint}/{}/resolve/{}",
        repository.name, repository.revision
    );
    for part in file.split('/') {
        url.push('/');
        url.extend(
            url::form_urlencoded::byte_serialize(part.as_bytes()).map(|piece| {
                // Forms write a space as `+`, paths do not.
                if piece == "+" { "%20" } else { piece }
            }),
        );
    }
    url
}

/// The SHA-256 that a cached file's blob is named by, if it is a large file; small ones are named by their git hash.
#[must_use]
pub(super) fn blob_sha256(cached: &Path) -> Option<String> {
    let target = fs_err::read_link(cached).ok()?;
    sha256_of_tag(target.file_name()?.to_str()?)
}

/// The SHA-256 in a hub's entity tag, which large files have.
#[must_use]
pub(super) fn sha256_of_tag(tag: &str) -> Option<String> {
    let hex = tag.trim_start_matches("W/").trim_matches('"');
    let is_sha256 = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256.then(|| format!("sha256:{}", hex.to_ascii_lowercase()))
}

/// Whether `name` is `owner/name`, or `datasets/owner/name`.
#[must_use]
pub(super) fn is_repository_name(name: &str) -> bool {
    let bare = name.strip_prefix("datasets/").unwrap_or(name);
    let is_word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('.')
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    matches!(bare.split_once('/'), Some((owner, name)) if is_word(owner) && is_word(name))
}

/// Whether `revision` is a full commit hash.
#[must_use]
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40
        && revision
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Turns the answer of a hub into advice: gated repositories and wrong names.
#[must_use]
pub(super) fn advise(
    mut error: StageError,
    repository: Repository<'_>,
    has_token: bool,
) -> StageError {
    let status = |code: &str| {
        error
            .diagnostic
            .message
            .ends_with(&format!("status {code}"))
    };
    if status("401") || status("403") {
        let name = repository.name;
        error.diagnostic.help = Some(if has_token {
            format!(
                "the token of `HF_TOKEN` gives no access: accept the terms at https://huggingface.co/{name} with its account"
            )
        } else {
            format!(
                "the repository may be private or ask for consent: accept the terms at https://huggingface.co/{name} and set `HF_TOKEN`"
            )
        });
    } else if status("404") {
        error.diagnostic.help = Some(
            "look at the repository's name (a data set is `datasets/owner/name`), the revision and the file's path there".to_owned(),
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_environment_decides_place_and_token() {
        let hub = Hub::from_environment(|name| match name {
            "HF_ENDPOINT" => Some("http://127.0.0.1:1/".to_owned()),
            "HF_TOKEN" => Some("hf_secret\n".to_owned()),
            "HF_HOME" => Some("/h".to_owned()),
            _ => None,
        });
        let repository = Repository {
            name: "datasets/o/n",
            revision: COMMIT,
        };
        let url = hub.file_url(repository, "a b/c+d.txt").expect("an address");
        assert_eq!(
            url.as_str(),
            format!("http://127.0.0.1:1/datasets/o/n/resolve/{COMMIT}/a%20b/c%2Bd.txt")
        );
        assert_eq!(hub.token(), Some("hf_secret"));
        assert_eq!(hub.cache.as_deref(), Some(Path::new("/h/hub")));
        assert!(!format!("{hub:?}").contains("hf_secret"));
    }

    #[test]
    fn names_and_commits() {
        assert!(is_repository_name("google/electra-small"));
        assert!(is_repository_name("datasets/a/b.c_d"));
        for wrong in ["electra", "a/b/c", "../b", "a/..", "a/b?x", ""] {
            assert!(!is_repository_name(wrong), "{wrong}");
        }
        assert!(is_commit(COMMIT) && !is_commit("main") && !is_commit(&COMMIT[..39]));
    }
}
