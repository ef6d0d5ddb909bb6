//! Digests that say which bytes are meant: those of the pipeline file and those of the lock file. Knows nothing of origins.

use std::io::Read as _;
use std::path::Path;

use flow::kind::StageError;
use sha2::Digest as _;

use super::config::FileSpec;
use super::origin::redact;

/// Text such as `sha256:…` or `blake3:…`, lower case.
pub(super) type PinText = String;

/// The digests the pipeline file asks for.
#[must_use]
pub(super) fn pins_of(spec: &FileSpec) -> Vec<PinText> {
    let named = [("sha256", &spec.sha256), ("blake3", &spec.blake3)];
    named
        .into_iter()
        .filter_map(|(name, hex)| Some(format!("{name}:{}", hex.as_ref()?.to_ascii_lowercase())))
        .collect()
}

/// The digest of a file in the algorithm of `like` (`sha256:…`; anything else is BLAKE3), with its size in bytes.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn digest_file(path: &Path, like: &str) -> Result<(PinText, u64), StageError> {
    let mut file = fs_err::File::open(path)?;
    if !like.starts_with("sha256:") {
        let size_bytes = file.metadata()?.len();
        let hash = flow::hashing::blake3_of(path, size_bytes)?;
        return Ok((format!("blake3:{}", hash.to_hex()), size_bytes));
    }
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0_u8; 1 << 18];
    let mut size_bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        size_bytes += n as u64;
        hasher.update(&buffer[..n]);
    }
    let hex: String = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok((format!("sha256:{hex}"), size_bytes))
}

/// Compares a file with what the pipeline file asks for.
///
/// # Errors
/// [`StageError`] `fetch::digest` that names both digests and the size, and says so when the file looks like a web page.
pub(super) fn verify(path: &Path, pins: &[PinText], origin: &str) -> Result<(), StageError> {
    for pin in pins {
        let (found, size_bytes) = digest_file(path, pin)?;
        if found == *pin {
            continue;
        }
        let mut error = StageError::new(
            "fetch::digest",
            format!(
                "`{}` has another digest than the pipeline file says",
                redact(origin)
            ),
        )
        .detail(format!("expected {pin}"))
        .detail(format!("found    {found} ({size_bytes} bytes)"));
        if looks_like_a_page(path) {
            error = error.detail("the answer is a web page: a login, a consent form or an error");
        }
        return Err(error.help(
            "if the file was changed on purpose, put the new digest into the pipeline file; else look for the right version or a `--mirror`",
        ));
    }
    Ok(())
}

/// Compares a file with the lock file, and returns its digest and size.
///
/// # Errors
/// [`StageError`] `fetch::locked` that names both digests and the command that accepts the new one.
pub(super) fn verify_locked(
    path: &Path,
    locked: &str,
    origin: &str,
    stage: &str,
) -> Result<(PinText, u64), StageError> {
    let (found, size_bytes) = digest_file(path, locked)?;
    if found == locked {
        return Ok((found, size_bytes));
    }
    let stage = if stage.is_empty() { "STAGE" } else { stage };
    Err(StageError::new(
        "fetch::locked",
        format!("`{}` has changed since it was locked", redact(origin)),
    )
    .detail(format!("locked {locked}"))
    .detail(format!("found  {found} ({size_bytes} bytes)"))
    .help(format!(
        "`pipeline lock FILE --update {stage}` accepts the new file; a `sha256:` in the stage pins the old one"
    )))
}

/// Whether the file starts like HTML.
#[must_use]
pub(super) fn looks_like_a_page(path: &Path) -> bool {
    let mut head = [0_u8; 256];
    let read = fs_err::File::open(path).and_then(|mut file| file.read(&mut head));
    let Ok(n) = read else { return false };
    let text = String::from_utf8_lossy(&head[..n]).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with("<!doctype html") || text.starts_with("<html")
}
