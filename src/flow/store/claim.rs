//! A claim: a file that its holder keeps fresh, where locks are missing or hold on one machine only. Knows no keys.
//!
//! A claim is stale when its holder is a dead process of this machine, or when nobody touched it for [`STALE_AFTER`] by
//! the observer's own monotonic clock; clocks of machines are never compared. A stale one is taken away by one process
//! alone, that which makes a folder beside it.

#![expect(clippy::disallowed_types, reason = "a map looked up by path only")]

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How often a claim's holder touches it.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long an untouched claim is respected.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// How often a folder may be removed while it is made.
const REMOVED_MEANWHILE: u32 = 100;

/// Its name in the key's folder.
pub(super) const FILE: &str = "claim";
/// The folder that whoever takes a stale claim away makes first.
const BREAKING: &str = "claim-goes";

/// A file kept fresh by a thread.
#[derive(Debug)]
pub(super) struct Claim {
    path: PathBuf,
    text: String,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if fs_err::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Who holds a lock or a claim, in a line for people and one for other processes of the same machine.
pub(super) fn holder_text() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let pid = std::process::id();
    let since = crate::clock::rfc3339(crate::clock::now_ns());
    let mut text = format!("process {pid} on {host} since {since}\n");
    if let (Some(machine), Some(began)) = (machine(), began(pid)) {
        text.push_str(&format!("{machine} {pid} {began}\n"));
    }
    text
}

/// What the holder is called.
pub(super) fn holder_name(text: &str) -> String {
    let name = text.lines().next().unwrap_or_default();
    let name = name.split(" since ").next().unwrap_or_default();
    if name.is_empty() {
        "another process".to_owned()
    } else {
        name.to_owned()
    }
}

/// What tells process numbers of this machine from those of another, and of another container on it: when it was
/// started and the name space of numbers. Hosts of one name are common.
fn machine() -> Option<String> {
    let boot = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs_err::read_link("/proc/self/ns/pid").ok()?;
    let space = space.to_str()?.trim_start_matches("pid:").to_owned();
    Some(format!("{} {space}", boot.trim()))
}

/// When a process began, in ticks since the machine did: a number is given again, that is not.
fn began(pid: u32) -> Option<u64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything but ends with the last parenthesis.
    text.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// Whether the holder that a text names lives; `None` where it cannot be known from here.
pub(super) fn is_alive(text: &str) -> Option<bool> {
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let Some(second) = lines.next() else {
        // Of a system without `/proc`: its host is all there is to go by.
        let host = rustix::system::uname();
        let (pid, on) = first.strip_prefix("process ")?.split_once(" on ")?;
        if on.split(" since ").next() != Some(&*host.nodename().to_string_lossy()) {
            return None;
        }
        let pid = rustix::process::Pid::from_raw(pid.parse().ok()?)?;
        return Some(rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
    };
    let process = second.strip_prefix(&machine()?)?.trim();
    let (pid, since) = process.split_once(' ')?;
    Some(began(pid.parse().ok()?).is_some_and(|began| began.to_string() == since))
}

/// Who has a claim that counts.
pub(super) fn find_claim(folder: &Path) -> Option<String> {
    let path = folder.join(FILE);
    let text = fs_err::read_to_string(&path).ok()?;
    (!is_stale(&path, &text)).then(|| holder_name(&text))
}

/// Makes a key's folder, which whoever finishes the key removes: what was there a moment ago may be gone by now, and
/// then making it fails because it is there, or because what it lies in is not.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    for _ in 0..REMOVED_MEANWHILE {
        match fs_err::create_dir_all(folder) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                ) => {}
            done => return done,
        }
    }
    fs_err::create_dir_all(folder)
}

/// Takes a claim, or says who has it.
pub(super) fn try_claim(folder: &Path) -> io::Result<Result<Claim, String>> {
    let path = folder.join(FILE);
    for _ in 0..3 {
        make_folder(folder)?;
        let text = holder_text();
        let made = fs_err::OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(&path);
        match made {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                return Ok(Ok(keep_fresh(path, text)?));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        }
        let Ok(there) = fs_err::read_to_string(&path) else {
            continue;
        };
        if !is_stale(&path, &there) || !take_away(folder, &there) {
            return Ok(Err(holder_name(&there)));
        }
    }
    Ok(Err("another process".to_owned()))
}

/// Takes exactly the stale claim away. Whether it did: while another process is at it, nothing is done.
fn take_away(folder: &Path, stale: &str) -> bool {
    let breaking = folder.join(BREAKING);
    if fs_err::create_dir(&breaking).is_err() {
        // Whoever made it may have died since.
        if is_untouched(&breaking) {
            let _ = fs_err::remove_dir(&breaking);
        }
        return false;
    }
    let path = folder.join(FILE);
    let is_gone = fs_err::read_to_string(&path).is_ok_and(|text| text == stale)
        && fs_err::remove_file(&path).is_ok();
    let _ = fs_err::remove_dir(&breaking);
    is_gone
}

fn keep_fresh(path: PathBuf, text: String) -> io::Result<Claim> {
    let (stop, stopped) = mpsc::channel::<()>();
    let (file, content) = (path.clone(), text.clone());
    let thread = std::thread::Builder::new()
        .name("claim".into())
        .spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // Touched, not written: should it be another's by now, its text stays.
                if fs_err::read_to_string(&file).is_ok_and(|there| there == content) {
                    let now = rustix::fs::Timespec {
                        tv_sec: 0,
                        tv_nsec: rustix::fs::UTIME_NOW,
                    };
                    let now = rustix::fs::Timestamps {
                        last_access: now,
                        last_modification: now,
                    };
                    let flags = rustix::fs::AtFlags::empty();
                    let _ = rustix::fs::utimensat(rustix::fs::CWD, &file, &now, flags);
                }
            }
        })?;
    Ok(Claim {
        path,
        text,
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// Whether a claim, whose text was just read, counts no longer.
fn is_stale(path: &Path, text: &str) -> bool {
    is_alive(text) == Some(false) || is_untouched(path)
}

/// Whether this process has seen no change of a file for [`STALE_AFTER`].
fn is_untouched(path: &Path) -> bool {
    static SEEN: OnceLock<Mutex<HashMap<PathBuf, (i64, Instant)>>> = OnceLock::new();
    let Ok(metadata) = std::fs::metadata(path) else {
        return false;
    };
    let mtime_ns = crate::content::Stamp::of(&metadata).mtime_ns;
    let mut seen = SEEN
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let (known, since) = *seen
        .entry(path.to_path_buf())
        .or_insert((mtime_ns, Instant::now()));
    if known != mtime_ns {
        seen.insert(path.to_path_buf(), (mtime_ns, Instant::now()));
        return false;
    }
    since.elapsed() > STALE_AFTER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_with(pid: &str, began: &str) -> String {
        let machine = machine().expect("Linux");
        format!("process {pid} on here since x\n{machine} {pid} {began}\n")
    }

    fn is_taken(folder: &Path) -> bool {
        try_claim(folder).expect("asks").is_ok()
    }

    #[test]
    fn a_claim_has_one_holder_and_goes_with_it() {
        let folder = tempfile::tempdir().expect("temp");
        let claim = try_claim(folder.path()).expect("claims").expect("free");
        assert!(!is_taken(folder.path()));
        let holder = find_claim(folder.path()).expect("held");
        assert!(
            holder.starts_with(&format!("process {} on ", std::process::id())),
            "{holder}"
        );
        drop(claim);
        assert!(!folder.path().join(FILE).exists());
    }

    #[test]
    fn a_claim_of_a_dead_process_of_this_machine_is_taken_over_and_no_other() {
        let own = std::process::id().to_string();
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let there = began(std::process::id()).expect("Linux").to_string();
        for (text, is_free) in [
            (own_with("2147483646", "1"), true),
            // The number was given again, to this very process.
            (own_with(&own, "1"), true),
            (own_with(&own, &there), false),
            // Another machine of the same name, where the number means nothing.
            (
                format!("process 2147483646 on {host} since x\nother-boot [1] 2147483646 1\n"),
                false,
            ),
            (format!("process 2147483646 on {host} since x\n"), true),
            ("process 1 on elsewhere since x\n".to_owned(), false),
            // Its holder is about to write it.
            (String::new(), false),
        ] {
            let folder = tempfile::tempdir().expect("temp");
            fs_err::write(folder.path().join(FILE), &text).expect("writes");
            assert_eq!(is_taken(folder.path()), is_free, "{text}");
            assert!(!folder.path().join(BREAKING).exists());
        }
    }

    #[test]
    fn many_that_find_a_stale_claim_make_one_holder() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().expect("temp");
            fs_err::write(folder.path().join(FILE), own_with("2147483646", "1")).expect("writes");
            let claims: Vec<Option<Claim>> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| try_claim(folder.path()).expect("asks").ok()))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("ends"))
                    .collect()
            });
            assert!(claims.iter().flatten().count() <= 1);
            drop(claims);
            // Those that were in each other's way come again.
            assert!(is_taken(folder.path()));
        }
    }

    /// What finishes a key removes its folder under the hands of whoever asks for it.
    #[test]
    fn a_folder_that_is_removed_meanwhile_is_made() {
        let top = tempfile::tempdir().expect("temp");
        let folder = top.path().join("key");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs_err::remove_dir(&folder);
                }
            });
            let made = (0..20_000).try_for_each(|_| make_folder(&folder));
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            made.expect("made every time");
        });
    }
}
