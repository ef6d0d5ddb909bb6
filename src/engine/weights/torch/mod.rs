//! State dicts of PyTorch (`pytorch_model.bin`, `.pt`) as tensors in f32, from both of its layouts. Runs no code of the
//! file: see `pickle`. Knows no model.

mod archive;
mod legacy;
mod pickle;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::error::TorchError;
use crate::weights::element::Element;
use crate::weights::{Tensor, Tensors};

use pickle::{Built, Id, Storage, Value, View, broken};

/// Where training programs put the state dict, beside numbers of their own.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Where the bytes of storages are.
trait Storages {
    /// Those of one, as many as its type and length say.
    fn bytes(&mut self, storage: &Storage) -> Result<Cow<'_, [u8]>, TorchError>;
}

/// Whether bytes begin as a file of `torch.save` does.
#[must_use]
pub fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(archive::MAGIC) || legacy::is_legacy(bytes)
}

/// The tensors of a state dict by name, in f32: half precision exactly, f64 rounded, integers exact up to 2²⁴. What is
/// no tensor is left out. Memory is bounded by the file's size.
///
/// # Errors
/// What is refused, by name, and files that do not hold together.
pub fn read(bytes: &[u8]) -> Result<Tensors, TorchError> {
    if bytes.starts_with(archive::MAGIC) {
        let (built, mut archive) = archive::open(bytes)?;
        return tensors(&built, &mut archive, bytes.len());
    }
    if legacy::is_legacy(bytes) {
        let (built, mut storages) = legacy::open(bytes)?;
        return tensors(&built, &mut storages, bytes.len());
    }
    Err(broken("it does not begin as a file of `torch.save` does"))
}

/// The entries of the state dict, be it wrapped in another dictionary or not.
fn state_dict(built: &Built) -> Result<&[(Id, Id)], TorchError> {
    let Value::Dict(top) = built.value(built.result) else {
        return Err(broken("it holds no dictionary of tensors"));
    };
    let is_tensor = |(_, id): &(Id, Id)| matches!(built.value(*id), Value::Tensor(_));
    if !top.iter().any(is_tensor) {
        for wrapper in WRAPPERS {
            let inner = top.iter().find_map(|(key, value)| {
                let Value::Dict(inner) = built.value(*value) else {
                    return None;
                };
                (built.find_text(*key) == Some(wrapper)).then_some(inner)
            });
            if let Some(inner) = inner {
                return Ok(inner);
            }
        }
    }
    Ok(top)
}

fn tensors(
    built: &Built,
    storages: &mut dyn Storages,
    file_bytes: usize,
) -> Result<Tensors, TorchError> {
    let mut views: BTreeMap<&str, &View> = BTreeMap::new();
    for (key, value) in state_dict(built)? {
        if let Value::Tensor(view) = built.value(*value) {
            let name = built.find_text(*key);
            views.insert(name.ok_or_else(|| broken("a tensor has no name"))?, view);
        }
    }
    if views.is_empty() {
        return Err(broken("it holds no dictionary of tensors"));
    }
    // Tensors may share storages, and entries of an archive bytes, so neither is bounded by the other; a tied table is
    // far from doubling them.
    let bound = file_bytes.saturating_mul(2);
    let elements = sum(views.values().map(|view| Some(view.count())));
    let bytes = sum(built.storages.iter().map(|storage| storage.bytes().ok()));
    if [elements, bytes]
        .iter()
        .any(|n| n.is_none_or(|n| n > bound))
    {
        return Err(TorchError::TooLarge);
    }
    let mut by_storage: Vec<(&str, &View)> = views.into_iter().collect();
    by_storage.sort_by_key(|(_, view)| view.storage);
    let mut found = Tensors::new();
    for group in by_storage.chunk_by(|(_, a), (_, b)| a.storage == b.storage) {
        let storage = &built.storages[group[0].1.storage];
        let bytes = storages.bytes(storage)?;
        for (name, view) in group {
            let tensor = Tensor {
                shape: view.shape.clone(),
                values: values(view, storage.element, &bytes),
            };
            found.insert((*name).to_owned(), tensor);
        }
    }
    Ok(found)
}

fn sum(mut counts: impl Iterator<Item = Option<usize>>) -> Option<usize> {
    counts.try_fold(0_usize, |sum, count| sum.checked_add(count?))
}

/// The elements of a view, last axis fastest. Its bounds were checked when it was built.
fn values(view: &View, element: Element, bytes: &[u8]) -> Vec<f32> {
    let (count, size) = (view.count(), element.size());
    if count == 0 {
        return Vec::new();
    }
    let at = view.first * size;
    if view.is_contiguous() {
        return element.values(&bytes[at..at + count * size]);
    }
    let mut index = vec![0; view.shape.len()];
    let mut gathered = Vec::with_capacity(count * size);
    for _ in 0..count {
        let place: usize = index.iter().zip(&view.strides).map(|(i, by)| i * by).sum();
        let from = at + place * size;
        gathered.extend_from_slice(&bytes[from..from + size]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            if index[axis] < view.shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    element.values(&gathered)
}

#[cfg(test)]
mod tests;
