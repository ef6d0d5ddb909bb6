//! Names of tensors that transformers gave in other years, to those of today. Spec C.5. Knows neither shapes nor files.

use crate::error::WeightsError;
use crate::weights::Tensors;

/// Parts that a bare `ElectraModel` has at its top, where other classes have them below `electra.`.
const BODY: [&str; 3] = ["embeddings.", "embeddings_project.", "encoder."];
/// Buffers of some years: numbers from 0 on and zeros, which are not learned.
const BUFFERS: [&str; 2] = [
    "electra.embeddings.position_ids",
    "electra.embeddings.token_type_ids",
];

/// Tensors under today's names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Renamed {
    /// All but buffers.
    pub tensors: Tensors,
    /// How many had another name.
    pub renamed: usize,
}

/// Today's names: without the `module.` of parallel training, with `electra.` before a bare encoder's, with `weight` and
/// `bias` of a layer normalisation for `gamma` and `beta`. Buffers are dropped.
///
/// # Errors
/// When two tensors have one name today.
pub fn current(tensors: Tensors) -> Result<Renamed, WeightsError> {
    let mut found = Renamed::default();
    let mut before = std::collections::BTreeMap::new();
    for (old, tensor) in tensors {
        let new = current_name(&old);
        if BUFFERS.contains(&new.as_str()) {
            continue;
        }
        found.renamed += usize::from(new != old);
        if let Some(first) = before.insert(new.clone(), old.clone()) {
            return Err(WeightsError::Twice { first, second: old });
        }
        found.tensors.insert(new, tensor);
    }
    Ok(found)
}

fn current_name(old: &str) -> String {
    let name = old.strip_prefix("module.").unwrap_or(old);
    let name = match BODY.iter().any(|part| name.starts_with(part)) {
        true => format!("electra.{name}"),
        false => name.to_owned(),
    };
    for (was, is) in [
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    ] {
        if let Some(place) = name.strip_suffix(was) {
            return format!("{place}{is}");
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Tensor;

    fn tensors(names: &[&str]) -> Tensors {
        let one = Tensor {
            shape: vec![1],
            values: vec![0.0],
        };
        names
            .iter()
            .map(|name| ((*name).to_owned(), one.clone()))
            .collect()
    }

    #[test]
    fn old_names_become_those_of_today() {
        let old = [
            "module.electra.embeddings.LayerNorm.gamma",
            "embeddings.LayerNorm.beta",
            "embeddings.position_ids",
            "embeddings_project.weight",
            "encoder.layer.0.output.dense.bias",
            "discriminator_predictions.dense.weight",
        ];
        let found = current(tensors(&old)).expect("no name twice");
        let names: Vec<&String> = found.tensors.keys().collect();
        assert_eq!(
            names,
            [
                "discriminator_predictions.dense.weight",
                "electra.embeddings.LayerNorm.bias",
                "electra.embeddings.LayerNorm.weight",
                "electra.embeddings_project.weight",
                "electra.encoder.layer.0.output.dense.bias",
            ]
        );
        assert_eq!(found.renamed, 4);
    }

    #[test]
    fn two_names_of_one_tensor_are_refused() {
        let both = tensors(&["a.LayerNorm.gamma", "a.LayerNorm.weight"]);
        let said = current(both).expect_err("refused").to_string();
        assert!(said.contains("`a.LayerNorm.gamma` and `a.LayerNorm.weight`"));
    }
}
