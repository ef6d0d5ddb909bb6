//! Who and where must not be read from a bundle, and records without them. The proof is a search (`search.rs`); knows
//! nothing of where it looks.

use std::path::Path;
use std::process::Command;

use flow::store::record::Record;
use serde_json::{Map, Value};

use super::bundle::authors;
use super::search::Needle;

/// Names that say nothing of anybody, and stand in many texts.
const COMMON: [&str; 14] = [
    "root",
    "user",
    "admin",
    "ubuntu",
    "debian",
    "fedora",
    "docker",
    "runner",
    "nobody",
    "home",
    "test",
    "localhost",
    "local",
    "data",
];
/// Letters of a name that is looked for without what stands before it.
const SHORTEST_NAME: usize = 4;
/// Commits whose authors are looked for.
const MOST_COMMITS: usize = 20_000;
/// What of `about:` says nothing of people.
const IMPERSONAL: [&str; 5] = ["title", "licence", "language", "year", "abstract"];

/// `about:` without people.
pub(super) fn without_people(about: &Value) -> Value {
    let Value::Object(about) = about else {
        return Value::Null;
    };
    let kept: Map<String, Value> = about
        .iter()
        .filter(|(key, _)| IMPERSONAL.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if kept.is_empty() {
        Value::Null
    } else {
        Value::Object(kept)
    }
}

/// A record without host names and without those it was imported from. Its manifest is what it is: the key hangs on it.
pub(super) fn without_machine(record: &mut Record) {
    record.machine.host.clear();
    let system = record
        .machine
        .system
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    record.machine.system = system;
    for attempt in &mut record.attempts {
        attempt.host.clear();
    }
    record.environment.clear();
    record.log = None;
    record.imported = None;
}

/// Whatever would give away people and machines: the user, the host, folders, addresses known to git, the authors. `hosts`
/// are those of the records.
pub(super) fn needles(root: &Path, about: &Value, hosts: &[String]) -> Vec<Needle> {
    let mut needles = Vec::new();
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    for user in [variable("USER"), variable("LOGNAME"), account()]
        .into_iter()
        .flatten()
    {
        let is_common = user.len() < 3 || COMMON.contains(&user.to_lowercase().as_str());
        if is_common {
            // The word alone is everywhere: where it names somebody it stands before an `@` or behind a slash.
            needles.push(Needle::text("the user's name", &format!("{user}@")));
            needles.push(Needle::text("the user's name", &format!("/home/{user}")));
        } else {
            needles.push(Needle::word("the user's name", &user));
        }
    }
    let this = flow::store::record::this_machine().host;
    for host in hosts.iter().chain([&this]) {
        let first = host.split('.').next().unwrap_or_default();
        for name in [host.as_str(), first] {
            if name.len() >= 3 && !COMMON.contains(&name.to_lowercase().as_str()) {
                needles.push(Needle::word("the host's name", name));
            }
        }
    }
    let mut folders = vec![root.to_path_buf()];
    folders.extend(fs_err::canonicalize(root));
    folders.extend(variable("HOME").map(Into::into));
    for folder in folders {
        let text = folder.to_string_lossy().trim_end_matches('/').to_owned();
        // `/` and `/work` say nothing; a slash behind makes them a place.
        if text.len() >= 3 {
            needles.push(Needle::folder("a folder of this machine", &text));
        }
    }
    for text in git(root) {
        needles.push(Needle::word("a name or an address of git's", &text));
    }
    for text in committers(root) {
        let needle = Needle::word("somebody who committed to the project", &text);
        // One word may be a word of any language.
        let is_plain = !text.contains(|c: char| c.is_whitespace() || c == '@');
        match is_plain {
            true if text.chars().count() < SHORTEST_NAME => {}
            true => needles.push(needle.doubtful()),
            false => {
                needles.push(needle);
                needles.extend(family_name(&text));
            }
        }
    }
    for author in authors(about) {
        needles.push(Needle::word("an author's name", &author.name));
        needles.extend(family_name(&author.name));
        for text in [author.orcid, author.email].into_iter().flatten() {
            needles.push(Needle::word("an author's address or ORCID", &text));
        }
        if let Some(text) = author.affiliation {
            needles.push(Needle::word("an author's affiliation", &text));
        }
    }
    needles.retain(|needle| needle.len() >= 3);
    needles.sort();
    needles.dedup();
    needles
}

/// A family name alone. It may be that of somebody else, as in data sets and lists of references, or a word: so it
/// forbids nothing.
fn family_name(name: &str) -> Option<Needle> {
    let family = match name.split_once(',') {
        Some((family, _)) => family,
        None => name.split_whitespace().skip(1).last()?,
    };
    let is_long = family.chars().filter(|c| c.is_alphabetic()).count() >= SHORTEST_NAME;
    is_long.then(|| Needle::word("a family name", family).doubtful())
}

/// Names and addresses of those who committed to the project, as far back as is looked; none without git.
fn committers(root: &Path) -> Vec<String> {
    let most = format!("--max-count={MOST_COMMITS}");
    let output = Command::new("git")
        .args(["log", "--all", &most, "--format=%an%n%ae"])
        .current_dir(root)
        .output();
    let Some(output) = output.ok().filter(|output| output.status.success()) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut found: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    found.sort();
    found.dedup();
    let says_nothing = |text: &String| {
        COMMON.contains(&text.to_lowercase().as_str()) || text.starts_with("noreply@")
    };
    found.retain(|text| text.len() >= 3 && !says_nothing(text));
    found
}

/// The account of this process, as the system knows it.
fn account() -> Option<String> {
    let user = rustix::process::getuid().as_raw().to_string();
    let accounts = fs_err::read_to_string("/etc/passwd").ok()?;
    accounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&user.as_str())).then(|| fields[0].to_owned())
    })
}

/// `user.name` and `user.email` and their like: none without git.
fn git(root: &Path) -> Vec<String> {
    let ask = |words: &[&str]| {
        let output = Command::new("git")
            .args(words)
            .current_dir(root)
            .output()
            .ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let mut found = Vec::new();
    for words in [
        ["config", "user.name"].as_slice(),
        &["config", "user.email"],
        &["config", "author.email"],
        &["config", "committer.email"],
    ] {
        found.extend(
            ask(words)
                .iter()
                .flat_map(|text| text.lines())
                .map(|line| line.trim().to_owned()),
        );
    }
    found.retain(|text| text.len() >= 3 && !COMMON.contains(&text.to_lowercase().as_str()));
    found
}
