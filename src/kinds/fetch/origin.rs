//! Where a file really comes from: mirrors, and URLs made fit to be shown. Knows nothing of transfers.

use std::path::{Component, Path, PathBuf};

use flow::kind::StageError;
use url::Url;

/// Words in the name of a query parameter whose value is taken for a secret.
const SECRET_WORDS: [&str; 8] = [
    "token",
    "key",
    "sig",
    "secret",
    "password",
    "passwd",
    "credential",
    "auth",
];

/// The URL without user, password and the values of query parameters that look like secrets.
#[must_use]
pub(crate) fn redact(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else {
        return redact_unparsed(text);
    };
    if url.password().is_some() || !url.username().is_empty() {
        let _ = url.set_password(None);
        let _ = url.set_username("***");
    }
    if let Some(query) = url.query() {
        let shown: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if is_secret(name) => format!("{name}=***"),
                _ => pair.to_owned(),
            })
            .collect();
        let shown = shown.join("&");
        if shown != query {
            url.set_query(Some(&shown));
        }
    }
    // A URL that needs no change keeps its own spelling.
    let normal = Url::parse(text).map(String::from).unwrap_or_default();
    if normal == url.as_str() {
        text.to_owned()
    } else {
        url.into()
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// What does not parse may still hold a password: everything up to the last `@` goes.
fn redact_unparsed(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => text.to_owned(),
    }
}

/// What stands in for `url`: the first mirror whose prefix covers it, with the rest of the URL appended.
///
/// A prefix covers whole path segments only: `https://a/b` covers `https://a/b/c`, not `https://a/bc`.
/// The answer is a URL, or a path as it was given (relative ones start at the root); a path below `root` is made relative.
#[must_use]
pub(super) fn find_mirror(url: &str, mirrors: &[(String, String)], root: &Path) -> Option<String> {
    let (rest, target) = mirrors
        .iter()
        .find_map(|(prefix, target)| Some((covered(url, prefix)?, target)))?;
    if is_url(target) {
        let gap = if rest.is_empty() || target.ends_with('/') || rest.starts_with(['?', '#']) {
            ""
        } else {
            "/"
        };
        return Some(format!("{target}{gap}{rest}"));
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = Path::new(target);
    let path = match path.strip_prefix(root) {
        Ok(inside) if path.is_absolute() => inside,
        _ => path,
    };
    let path = if rest.is_empty() {
        path.to_path_buf()
    } else {
        path.join(decode_percent(rest))
    };
    Some(path.to_string_lossy().into_owned())
}

/// The part of `url` behind `prefix`, without a leading slash.
fn covered<'a>(url: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = url.strip_prefix(prefix)?;
    if prefix.ends_with('/') || rest.is_empty() || rest.starts_with(['?', '#']) {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

/// Whether an origin is a URL rather than a path.
#[must_use]
pub(super) fn is_url(origin: &str) -> bool {
    origin.contains("://")
}

/// The text with `%xx` replaced by the bytes they mean; what is not UTF-8 then is replaced.
pub(super) fn decode_percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = (bytes[i] == b'%')
            .then(|| text.get(i + 1..i + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                i += 3;
            }
            None => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The file that a mirror's path means, below `root` when it is relative; of an archive that is unpacked also a folder with
/// what it holds.
///
/// # Errors
/// When there is no such file. The message names the URL that was asked for and the place that was looked at.
pub(super) fn mirror_file(
    origin: &str,
    asked: &str,
    root: &Path,
    is_unpacked: bool,
) -> Result<PathBuf, StageError> {
    let path = root.join(origin);
    if path.is_file() || (is_unpacked && path.is_dir()) {
        return Ok(path);
    }
    // Show `a/../b` as `b`: mirrors that leave the root are read more easily so.
    let mut shown = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir if shown.file_name().is_some() => {
                shown.pop();
            }
            Component::CurDir => {}
            part => shown.push(part),
        }
    }
    Err(StageError::new(
        "fetch::mirror",
        format!("the mirror has no file for `{}`", redact(asked)),
    )
    .environment()
    .detail(format!("looked for `{}`", shown.display()))
    .help("put the file there, or leave that line out of the mirrors to use the network"))
}

/// The file of a `file:` URL.
///
/// # Errors
/// When the URL names a host, is no path here, or there is no such file.
pub(super) fn local_file(url: &Url) -> Result<PathBuf, StageError> {
    let path = url.to_file_path().map_err(|()| {
        StageError::new(
            "fetch::url",
            format!("`{url}` names no file of this machine"),
        )
        .help("write `file:///absolute/path`")
    })?;
    if path.is_file() {
        return Ok(path);
    }
    Err(
        StageError::new("fetch::url", format!("`{url}` is no file here"))
            .environment()
            .help("correct the path, or name a copy with `--mirror PREFIX=DIR_OR_URL`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(
            redact("https://me:pw@host/a.zip?x=1&X-Amz-Signature=ab&access_token=t"),
            "https://***@host/a.zip?x=1&X-Amz-Signature=***&access_token=***"
        );
        assert_eq!(redact("https://host/a?b=c"), "https://host/a?b=c");
        assert_eq!(redact("https://host"), "https://host");
        assert_eq!(redact("https//me:pw@host"), "***@host");
    }

    #[test]
    fn the_first_mirror_that_covers_whole_segments_wins() {
        let pair = |prefix: &str, target: &str| (prefix.to_owned(), target.to_owned());
        let mirrors = [
            pair("https://a/b", "../shared/b"),
            pair("https://a/", "https://near/copy"),
            pair("https://one/file.txt", "local/other.txt"),
            pair("https://abs/", "/root/dir"),
        ];
        let find = |url| find_mirror(url, &mirrors, Path::new("/root"));
        assert_eq!(
            find("https://a/b/c%20d.txt?raw=1").as_deref(),
            Some("../shared/b/c d.txt")
        );
        assert_eq!(
            find("https://a/bc").as_deref(),
            Some("https://near/copy/bc")
        );
        assert_eq!(
            find("https://one/file.txt").as_deref(),
            Some("local/other.txt")
        );
        assert_eq!(find("https://one/file.txt2"), None);
        assert_eq!(find("https://abs/x").as_deref(), Some("dir/x"));
    }

    #[test]
    fn a_mirror_without_the_file_says_where_it_looked() {
        let error = mirror_file("../m/x", "https://u:p@h/x", Path::new("/no/root"), true)
            .expect_err("absent");
        assert_eq!(
            error.diagnostic.message,
            "the mirror has no file for `https://***@h/x`"
        );
        assert_eq!(error.diagnostic.details, ["looked for `/no/m/x`"]);
    }
}
