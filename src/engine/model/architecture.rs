//! Classes of transformers by what they are made of: which tensors of which shapes a model has, found and compared.
//! Spec C.5. Computes nothing.

use crate::config::{ElectraConfig, Size};
use crate::error::WeightsError;
use crate::model::heads::{HeadKind, TaskModel};
use crate::model::pretraining::{GENERATOR, PretrainingModel};
use crate::parameters::Parameters;
use crate::weights::Tensors;

/// A copy of the token table, which some years wrote beside it.
const TIED: &str = "generator_lm_head.weight";
const TABLE: &str = "electra.embeddings.word_embeddings.weight";

/// A class of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// An encoder alone.
    Body,
    /// A discriminator.
    PreTraining,
    /// A generator.
    MaskedLm,
    /// A class for each token, of so many.
    Tokens(usize),
    /// So many outputs for the sequence.
    Sequence(usize),
    /// Start and end of an answer.
    Questions,
}

/// A tensor of another shape than the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshaped {
    /// Its name.
    pub name: String,
    /// Its shape in the file.
    pub found: Vec<usize>,
    /// The shape by the configuration.
    pub expected: Vec<usize>,
}

/// What tensors are, held against an architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Tensors that the architecture has and the file has not.
    pub missing: Vec<String>,
    /// Tensors that only the file has.
    pub unused: Vec<String>,
    /// All tensors of another shape.
    pub reshaped: Vec<Reshaped>,
}

impl Architecture {
    /// What tensors make: the class that `stated` names if its head is there, else that of the first head that is.
    #[must_use]
    pub fn of(tensors: &Tensors, stated: Option<&str>) -> Self {
        let outputs = |name: &str| tensors.get(name)?.shape.first().copied();
        let has = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
        let found = [
            has("discriminator_predictions.").then_some(Self::PreTraining),
            has("generator_predictions.").then_some(Self::MaskedLm),
            outputs("classifier.out_proj.weight").map(Self::Sequence),
            outputs("classifier.weight").map(Self::Tokens),
            has("qa_outputs.").then_some(Self::Questions),
        ];
        let mut found = found.into_iter().flatten();
        let first = found.clone().next().unwrap_or(Self::Body);
        found
            .find(|class| Some(class.name()) == stated)
            .unwrap_or(first)
    }

    /// Its name in `architectures` of a `config.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Body => "ElectraModel",
            Self::PreTraining => "ElectraForPreTraining",
            Self::MaskedLm => "ElectraForMaskedLM",
            Self::Tokens(_) => "ElectraForTokenClassification",
            Self::Sequence(_) => "ElectraForSequenceClassification",
            Self::Questions => "ElectraForQuestionAnswering",
        }
    }

    /// Outputs that have names: 0 where there are none.
    #[must_use]
    pub fn classes(self) -> usize {
        match self {
            Self::Tokens(n) | Self::Sequence(n) => n,
            Self::Body | Self::PreTraining | Self::MaskedLm | Self::Questions => 0,
        }
    }

    /// Names and shapes of its tensors.
    #[must_use]
    pub fn tensors(self, config: &ElectraConfig) -> Vec<(String, Vec<usize>)> {
        let task = |kind, outputs| TaskModel::new(config, kind, outputs).parameters;
        let (parameters, keeps): (Parameters, fn(&str) -> Option<&str>) = match self {
            Self::Body => (task(HeadKind::Span, 2), |name| {
                name.starts_with("electra.").then_some(name)
            }),
            Self::PreTraining => (PretrainingModel::new(config, config).parameters, |name| {
                (!name.starts_with(GENERATOR)).then_some(name)
            }),
            Self::MaskedLm => (PretrainingModel::new(config, config).parameters, |name| {
                name.strip_prefix(GENERATOR)
                    .or_else(|| name.starts_with("electra.embeddings.").then_some(name))
            }),
            Self::Tokens(outputs) => (task(HeadKind::Tokens, outputs), all),
            Self::Sequence(outputs) => (task(HeadKind::Sequence, outputs), all),
            Self::Questions => (task(HeadKind::Span, 2), all),
        };
        let list = parameters.list().iter();
        list.filter_map(|parameter| {
            Some((keeps(&parameter.name)?.to_owned(), parameter.shape.clone()))
        })
        .collect()
    }

    /// Holds tensors against what the configuration gives. A copy of the token table as a generator's output matrix is
    /// not said to be unused: it is tied.
    #[must_use]
    pub fn compare(self, config: &ElectraConfig, tensors: &Tensors) -> Comparison {
        let mut comparison = Comparison::default();
        let expected = self.tensors(config);
        for (name, shape) in &expected {
            match tensors.get(name) {
                None => comparison.missing.push(name.clone()),
                Some(tensor) if tensor.shape != *shape => comparison.reshaped.push(Reshaped {
                    name: name.clone(),
                    found: tensor.shape.clone(),
                    expected: shape.clone(),
                }),
                Some(_) => {}
            }
        }
        let is_tied = |name: &str| {
            name == TIED && self == Self::MaskedLm && tensors.get(TIED) == tensors.get(TABLE)
        };
        let is_expected = |name: &str| expected.iter().any(|(own, _)| own == name);
        let unused = tensors
            .keys()
            .filter(|name| !is_expected(name) && !is_tied(name));
        comparison.unused = unused.cloned().collect();
        comparison
    }
}

fn all(name: &str) -> Option<&str> {
    Some(name)
}

/// Sizes by the shapes of tensors, for weights without a `config.json`. A head is taken to be 64 wide, as in all published
/// sizes, since no shape tells.
///
/// # Errors
/// When a tensor that tells a size is missing, or has another number of axes.
pub fn sizes_of(tensors: &Tensors) -> Result<ElectraConfig, WeightsError> {
    let matrix = |name: &str| match tensors.get(name).map(|tensor| tensor.shape.as_slice()) {
        Some([rows, columns]) => Ok((*rows, *columns)),
        Some(_) => Err(WeightsError::Config(format!("`{name}` is no matrix"))),
        None => Err(WeightsError::Config(format!("there is no tensor `{name}`"))),
    };
    let (vocab_size, embedding_size) = matrix(TABLE)?;
    let (intermediate_size, hidden_size) =
        matrix("electra.encoder.layer.0.intermediate.dense.weight")?;
    let (max_position_embeddings, _) = matrix("electra.embeddings.position_embeddings.weight")?;
    let (type_vocab_size, _) = matrix("electra.embeddings.token_type_embeddings.weight")?;
    let layer = |i: usize| format!("electra.encoder.layer.{i}.intermediate.dense.weight");
    let num_hidden_layers = (0..)
        .take_while(|i| tensors.contains_key(&layer(*i)))
        .count();
    if hidden_size > 64 && !hidden_size.is_multiple_of(64) {
        return Err(WeightsError::Config(format!(
            "the encoder is {hidden_size} wide, which does not tell the number of heads"
        )));
    }
    Ok(ElectraConfig {
        embedding_size,
        hidden_size,
        num_hidden_layers,
        num_attention_heads: (hidden_size / 64).max(1),
        intermediate_size,
        max_position_embeddings,
        type_vocab_size,
        ..Size::Small.config(vocab_size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Tensor;

    fn config(embedding: usize) -> ElectraConfig {
        ElectraConfig {
            embedding_size: embedding,
            hidden_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 512,
            max_position_embeddings: 40,
            ..Size::Small.config(11)
        }
    }

    const ALL: [Architecture; 6] = [
        Architecture::Body,
        Architecture::PreTraining,
        Architecture::MaskedLm,
        Architecture::Tokens(5),
        Architecture::Sequence(3),
        Architecture::Questions,
    ];

    fn zeros(architecture: Architecture, config: &ElectraConfig) -> Tensors {
        let tensors = architecture.tensors(config).into_iter();
        tensors
            .map(|(name, shape)| {
                let values = vec![0.0; shape.iter().product()];
                (name, Tensor { shape, values })
            })
            .collect()
    }

    #[test]
    fn each_class_is_found_by_its_tensors_and_its_sizes_by_their_shapes() {
        for architecture in ALL {
            for embedding in [128, 24] {
                let config = config(embedding);
                let tensors = zeros(architecture, &config);
                assert_eq!(Architecture::of(&tensors, None), architecture);
                assert_eq!(sizes_of(&tensors).expect("told"), config);
                let comparison = architecture.compare(&config, &tensors);
                assert_eq!(comparison, Comparison::default(), "{architecture:?}");
                let has = tensors.contains_key("electra.embeddings_project.weight");
                assert_eq!(has, embedding == 24);
            }
        }
    }

    #[test]
    fn of_two_heads_that_is_meant_which_is_stated() {
        let config = config(128);
        let mut both = zeros(Architecture::PreTraining, &config);
        both.extend(zeros(Architecture::Tokens(5), &config));
        let of = |stated| Architecture::of(&both, stated);
        assert_eq!(of(None), Architecture::PreTraining);
        let tokens = "ElectraForTokenClassification";
        assert_eq!(of(Some(tokens)), Architecture::Tokens(5));
        assert_eq!(of(Some("ElectraForMaskedLM")), Architecture::PreTraining);
        let unused = of(Some(tokens)).compare(&config, &both).unused;
        assert_eq!(unused.len(), 4, "{unused:?}");
    }

    #[test]
    fn a_tied_table_is_no_surplus_and_another_one_is() {
        let config = config(24);
        let mut tensors = zeros(Architecture::MaskedLm, &config);
        tensors.insert(TIED.to_owned(), tensors[TABLE].clone());
        let compare = |tensors: &Tensors| Architecture::MaskedLm.compare(&config, tensors);
        assert_eq!(compare(&tensors), Comparison::default());
        tensors.get_mut(TIED).expect("there").values[0] = 1.0;
        assert_eq!(compare(&tensors).unused, [TIED]);
    }

    #[test]
    fn every_mismatch_is_told_at_once() {
        let mut tensors = zeros(Architecture::Questions, &config(128));
        tensors.remove("qa_outputs.bias");
        let wide = ElectraConfig {
            intermediate_size: 256,
            ..config(128)
        };
        let comparison = Architecture::Questions.compare(&wide, &tensors);
        assert_eq!(comparison.missing, ["qa_outputs.bias"]);
        assert_eq!(comparison.reshaped.len(), 6);
        assert_eq!(comparison.reshaped[0].found, [512, 128]);
    }
}
