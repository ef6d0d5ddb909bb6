//! Tensors in files, and how they become a model's parameters. The one door to safetensors; PyTorch's files are read in
//! `torch`. Knows no networks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::backend::{Array, Memory};
use crate::error::WeightsError;
use crate::parameters::Parameters;

mod element;
pub mod names;
pub mod torch;

use element::Element;

/// A tensor in f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, last axis fastest.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Reads a safetensors file; f16 and bf16 become f32, integers too (they are exact up to 2²⁴).
///
/// # Errors
/// When the file cannot be read, is damaged, or holds a type that is not read.
pub fn read(path: &Path) -> Result<Tensors, WeightsError> {
    parse(&bytes_of(path)?, path)
}

/// Reads a safetensors file or one of PyTorch, whatever its name is.
///
/// # Errors
/// When the file cannot be read, is damaged, asks to run code, or holds a type that is not read.
pub fn read_any(path: &Path) -> Result<Tensors, WeightsError> {
    let bytes = bytes_of(path)?;
    if !torch::is_torch(&bytes) {
        return parse(&bytes, path);
    }
    torch::read(&bytes).map_err(|source| WeightsError::Torch {
        path: path.to_path_buf(),
        source,
    })
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, WeightsError> {
    fs_err::read(path).map_err(|source| WeightsError::Read {
        path: path.to_path_buf(),
        source,
    })
}

fn parse(bytes: &[u8], path: &Path) -> Result<Tensors, WeightsError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| WeightsError::Format {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let values = values_of(&view).ok_or_else(|| WeightsError::Type {
                name: name.clone(),
                found: format!("{:?}", view.dtype()),
            })?;
            let shape = view.shape().to_vec();
            Ok((name, Tensor { shape, values }))
        })
        .collect()
}

fn values_of(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let element = match view.dtype() {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        _ => return None,
    };
    Some(element.values(view.data()))
}

/// Writes tensors in the order of their names.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, tensors: &Tensors) -> Result<(), WeightsError> {
    let views: Vec<(&String, Bytes<'_>)> = tensors
        .iter()
        .map(|(name, tensor)| (name, Bytes(tensor)))
        .collect();
    // What `transformers` looks for before it reads.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| {
        WeightsError::Format {
            path: path.to_path_buf(),
            reason: error.to_string(),
        }
    })
}

struct Bytes<'a>(&'a Tensor);

impl safetensors::View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.0.values.iter().flat_map(|value| value.to_le_bytes());
        Cow::Owned(bytes.collect())
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * 4
    }
}

/// What a file had and a model had not, and the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// Parameters that keep their first values.
    pub missing: Vec<String>,
    /// Tensors that nothing took.
    pub unused: Vec<String>,
}

/// Copies tensors into the parameters of the same name.
///
/// # Errors
/// When one of them has another shape; then nothing is copied.
pub fn load<M: Memory>(
    memory: &mut M,
    parameters: &Parameters,
    tensors: &Tensors,
) -> Result<Unmatched, WeightsError> {
    let mut unmatched = Unmatched::default();
    for parameter in parameters.list() {
        match tensors.get(&parameter.name) {
            None => unmatched.missing.push(parameter.name.clone()),
            Some(tensor) if tensor.shape != parameter.shape => {
                return Err(WeightsError::Shape {
                    name: parameter.name.clone(),
                    found: tensor.shape.clone(),
                    expected: parameter.shape.clone(),
                });
            }
            Some(_) => {}
        }
    }
    for parameter in parameters.list() {
        if let Some(tensor) = tensors.get(&parameter.name) {
            memory.write_weights(Array::Value, parameter.at, &tensor.values);
        }
    }
    unmatched.unused = tensors
        .keys()
        .filter(|name| parameters.find(name).is_none())
        .cloned()
        .collect();
    Ok(unmatched)
}

/// Copies one of the parameters' arrays out, by name.
pub fn save<M: Memory>(memory: &mut M, parameters: &Parameters, array: Array) -> Tensors {
    parameters
        .list()
        .iter()
        .map(|parameter| {
            let tensor = Tensor {
                shape: parameter.shape.clone(),
                values: memory.read_weights(array, parameter.at),
            };
            (parameter.name.clone(), tensor)
        })
        .collect()
}

/// First values of all parameters.
pub fn initialise<M: Memory>(memory: &mut M, parameters: &Parameters, seed: u64) {
    for (index, parameter) in parameters.list().iter().enumerate() {
        let values = parameters.first_values(index, seed);
        memory.write_weights(Array::Value, parameter.at, &values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("model.safetensors");
        let tensor = Tensor {
            shape: vec![2, 3],
            values: vec![1.0, -2.5, 0.0, 3e-8, f32::MAX, 7.0],
        };
        let tensors: Tensors = [("a.weight".to_owned(), tensor)].into();
        write(&path, &tensors).expect("written");
        assert_eq!(read(&path).expect("read"), tensors);
        fs_err::write(&path, b"not this").expect("written");
        assert!(matches!(read(&path), Err(WeightsError::Format { .. })));
    }
}
