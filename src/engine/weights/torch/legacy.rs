//! The layout before PyTorch 1.6: pickles of a magic number, a version, the machine, the state dict and the storages'
//! names, then each storage behind its length. `torch/serialization.py`, `_legacy_save`. Knows no tensors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::TorchError;

use super::Storages;
use super::pickle::{Built, Storage, Value, broken, build};

/// The pickle of 0x1950a86a20f9469cfc6c behind its protocol, which is 2 unless somebody asks for another.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Version of the layout.
const VERSION: i64 = 1001;

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2 | 3, rest @ ..] if rest.starts_with(MAGIC))
}

/// Where each storage lies in the file.
pub(super) struct Places<'a> {
    file: &'a [u8],
    by_key: BTreeMap<String, Range<usize>>,
}

/// What the file builds, and where its storages are.
pub(super) fn open(file: &[u8]) -> Result<(Built, Places<'_>), TorchError> {
    let mut at = 2 + MAGIC.len();
    let mut next = || -> Result<Built, TorchError> {
        let built = build(&file[at..])?;
        at += built.length;
        Ok(built)
    };
    let version = next()?;
    if *version.value(version.result) != Value::Int(VERSION) {
        return Err(broken("its version of the layout is not known"));
    }
    let machine = next()?;
    if is_big_endian(&machine) {
        return Err(TorchError::BigEndian);
    }
    let built = next()?;
    let keys = next()?;
    let Value::List(names) = keys.value(keys.result) else {
        return Err(broken("the list of storages is missing"));
    };
    let known: BTreeMap<&str, &Storage> = built
        .storages
        .iter()
        .map(|storage| (storage.key.as_str(), storage))
        .collect();
    let mut by_key = BTreeMap::new();
    for name in names {
        let name = keys.find_text(*name);
        let storage = name.and_then(|name| known.get(name));
        let storage = storage.ok_or_else(|| broken("a storage is listed that no tensor names"))?;
        let cut = || broken("the file ends within a storage");
        let count = file.get(at..at + 8).ok_or_else(cut)?;
        let count = u64::from_le_bytes(count.try_into().expect("eight bytes"));
        if usize::try_from(count) != Ok(storage.count) {
            return Err(broken("a storage has another length than its tensors say"));
        }
        let begin = at + 8;
        let end = begin.checked_add(storage.bytes()?).ok_or_else(cut)?;
        if end > file.len() {
            return Err(cut());
        }
        if by_key.insert(storage.key.clone(), begin..end).is_some() {
            return Err(broken("a storage is listed twice"));
        }
        at = end;
    }
    Ok((built, Places { file, by_key }))
}

/// What the file says of the machine that wrote it.
fn is_big_endian(machine: &Built) -> bool {
    let Value::Dict(facts) = machine.value(machine.result) else {
        return false;
    };
    facts.iter().any(|(key, value)| {
        machine.find_text(*key) == Some("little_endian")
            && *machine.value(*value) == Value::Bool(false)
    })
}

impl Storages for Places<'_> {
    fn bytes(&mut self, storage: &Storage) -> Result<Cow<'_, [u8]>, TorchError> {
        let place = self.by_key.get(&storage.key);
        let place = place.ok_or_else(|| broken("a storage is not in the file"))?;
        Ok(Cow::Borrowed(&self.file[place.clone()]))
    }
}
