//! Sizes of an ELECTRA network, under the names of Hugging Face's `config.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::WeightsError;

/// What `config.json` says of a network. Every field is written, since the defaults of `transformers` are those of
/// the small model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ElectraConfig {
    /// Entries of the vocabulary (V).
    pub vocab_size: usize,
    /// Width of the embedding tables (E).
    pub embedding_size: usize,
    /// Width of the encoder (H).
    pub hidden_size: usize,
    /// Encoder layers (L).
    pub num_hidden_layers: usize,
    /// Attention heads (A); each is `hidden_size / num_attention_heads` wide.
    pub num_attention_heads: usize,
    /// Width of the feed-forward block (F).
    pub intermediate_size: usize,
    /// Longest sequence.
    #[serde(default = "default_positions")]
    pub max_position_embeddings: usize,
    /// Segments.
    #[serde(default = "default_types")]
    pub type_vocab_size: usize,
    /// Dropout of embeddings, block outputs and heads.
    #[serde(default = "default_dropout")]
    pub hidden_dropout_prob: f32,
    /// Dropout of attention probabilities.
    #[serde(default = "default_dropout")]
    pub attention_probs_dropout_prob: f32,
    /// Dropout of a head's input; that of the encoder where it is absent.
    #[serde(default)]
    pub classifier_dropout: Option<f32>,
    /// Standard deviation of first values.
    #[serde(default = "default_range")]
    pub initializer_range: f32,
    /// What layer normalisation adds to the variance.
    #[serde(default = "default_eps")]
    pub layer_norm_eps: f32,
}

fn default_positions() -> usize {
    512
}

fn default_types() -> usize {
    2
}

fn default_dropout() -> f32 {
    0.1
}

fn default_range() -> f32 {
    0.02
}

fn default_eps() -> f32 {
    1e-12
}

/// The published sizes. Clark et al. 2020, tables 6 and 7; spec C.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// 2 layers of width 128: for trying things out.
    Tiny,
    /// 12 layers of width 256, embeddings of 128.
    Small,
    /// 12 layers of width 768.
    Base,
    /// 24 layers of width 1024.
    Large,
}

impl Size {
    /// The discriminator of this size.
    #[must_use]
    pub fn config(self, vocab_size: usize) -> ElectraConfig {
        let (embedding_size, hidden_size, num_hidden_layers) = match self {
            Self::Tiny => (128, 128, 2),
            Self::Small => (128, 256, 12),
            Self::Base => (768, 768, 12),
            Self::Large => (1024, 1024, 24),
        };
        ElectraConfig {
            vocab_size,
            embedding_size,
            hidden_size,
            num_hidden_layers,
            num_attention_heads: hidden_size / 64,
            intermediate_size: 4 * hidden_size,
            max_position_embeddings: default_positions(),
            type_vocab_size: default_types(),
            hidden_dropout_prob: default_dropout(),
            attention_probs_dropout_prob: default_dropout(),
            classifier_dropout: None,
            initializer_range: default_range(),
            layer_norm_eps: default_eps(),
        }
    }

    /// Width of the generator as a share of the discriminator's.
    #[must_use]
    pub fn generator_share(self) -> f64 {
        match self {
            Self::Tiny | Self::Small | Self::Large => 0.25,
            Self::Base => 0.33333,
        }
    }
}

impl ElectraConfig {
    /// What is wrong with ids of which one is no entry of the vocabulary.
    pub(crate) fn unknown_id(&self, ids: &[u32]) -> Option<String> {
        let size = self.vocab_size;
        let id = ids.iter().find(|id| **id as usize >= size)?;
        Some(format!("id {id} is outside the vocabulary of {size}"))
    }

    /// The generator that goes with this discriminator: `width` and `layers` as shares. Google's code rounds the
    /// width and makes one head of each 64 (spec C.3).
    #[must_use]
    pub fn generator(&self, width: f64, layers: f64) -> Self {
        let hidden_size = (self.hidden_size as f64 * width).round() as usize;
        Self {
            hidden_size,
            num_hidden_layers: (self.num_hidden_layers as f64 * layers).round() as usize,
            num_attention_heads: (hidden_size / 64).max(1),
            intermediate_size: 4 * hidden_size,
            ..self.clone()
        }
    }

    /// Whether embeddings are projected to the encoder's width.
    #[must_use]
    pub fn has_projection(&self) -> bool {
        self.embedding_size != self.hidden_size
    }

    /// Width of an attention head (D).
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Dropout of a head's input.
    #[must_use]
    pub fn head_dropout(&self) -> f32 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    /// Checks that the sizes make a network.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self) -> Result<(), WeightsError> {
        let wrong = |text: String| Err(WeightsError::Config(text));
        let positive = [
            ("vocab_size", self.vocab_size),
            ("embedding_size", self.embedding_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return wrong(format!("`{name}` is 0"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return wrong(format!(
                "`hidden_size` {} is no multiple of `num_attention_heads` {}",
                self.hidden_size, self.num_attention_heads
            ));
        }
        for (name, rate) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            (
                "attention_probs_dropout_prob",
                self.attention_probs_dropout_prob,
            ),
            ("classifier_dropout", self.head_dropout()),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return wrong(format!("`{name}` is {rate}, not in 0 to below 1"));
            }
        }
        Ok(())
    }
}
