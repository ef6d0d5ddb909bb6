//! The networks, one sequence at a time. Spec C. Knows no losses and no steps.

use dfdx::prelude::*;
use engine::backend::{Dropout, DropoutAt};
use engine::config::ElectraConfig;
use engine::model::batch::Sequence;
use engine::model::heads::HeadKind;
use engine::random::{Draw, HALVES_PER_BLOCK, Network, Place, Rate, Site};

use crate::ops::{Matrix, attention, dropout, gelu, layer_norm, linear, rows};
use crate::weights::Weights;

/// A network: its tensors, its sizes, and what is dropped in it.
pub(crate) struct Net<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) config: &'a ElectraConfig,
    pub(crate) network: Network,
    pub(crate) dropout: &'a Dropout,
}

impl Net<'_> {
    /// What stands before the names of this network's own tensors; the embeddings are shared.
    fn prefix(&self) -> &'static str {
        match self.network {
            Network::Generator => "generator.",
            Network::Discriminator => "",
        }
    }

    pub(crate) fn linear(&self, x: Matrix, name: &str) -> Matrix {
        let weight = self.weights.matrix(&format!("{name}.weight"));
        linear(x, weight, self.weights.row(&format!("{name}.bias")))
    }

    fn norm(&self, x: Matrix, name: &str) -> Matrix {
        let gain = self.weights.row(&format!("{name}.weight"));
        let bias = self.weights.row(&format!("{name}.bias"));
        layer_norm(x, gain, bias, self.config.layer_norm_eps)
    }

    /// Factors of dropout for so many rows of a sequence: row `r` begins at block `r * ceil(width / 128)` (see
    /// [`engine::random`]).
    fn factors(
        &self,
        sequence: u32,
        layer: usize,
        place: Place,
        [rows, width]: [usize; 2],
    ) -> Option<Vec<f32>> {
        let config = self.config;
        let site = Site {
            network: self.network,
            layer: u16::try_from(layer).expect("few layers"),
            place,
        };
        let rate = Rate::new(match place {
            Place::Attention => config.attention_probs_dropout_prob,
            Place::Head | Place::HeadHidden => config.head_dropout(),
            _ => config.hidden_dropout_prob,
        });
        let (stream, step) = self.dropout.stream(DropoutAt { site, rate })?;
        let blocks = width.div_ceil(HALVES_PER_BLOCK) as u64;
        let mut factors = vec![0.0; rows * width];
        for (row, factors) in (0..).zip(factors.chunks_mut(width)) {
            rate.factors(stream, Draw { step, sequence }, row * blocks, factors);
        }
        Some(factors)
    }

    fn dropped(&self, x: Matrix, sequence: u32, layer: usize, place: Place) -> Matrix {
        let (rows, width) = *x.shape();
        dropout(x, self.factors(sequence, layer, place, [rows, width]))
    }

    /// What the encoder says of a sequence (tokens, H).
    pub(crate) fn encode(&self, sequence: &Sequence<'_>) -> Matrix {
        let table = |name: &str| {
            let name = format!("electra.embeddings.{name}_embeddings.weight");
            self.weights.matrix(&name)
        };
        let positions = 0..u32::try_from(sequence.ids.len()).expect("sequences are short");
        let x = rows(table("word"), sequence.ids.iter().copied())
            + rows(table("position"), positions)
            + rows(table("token_type"), sequence.types.iter().copied());
        let x = self.norm(x, "electra.embeddings.LayerNorm");
        let mut x = self.dropped(x, sequence.index, 0, Place::Embeddings);
        let prefix = self.prefix();
        if self.config.has_projection() {
            x = self.linear(x, &format!("{prefix}electra.embeddings_project"));
        }
        for i in 0..self.config.num_hidden_layers {
            x = self.layer(x, i, sequence.index);
        }
        x
    }

    /// A post-LN Transformer layer: `a = LN(x + attention(x))`, `LN(a + W GELU(V a))`.
    fn layer(&self, x: Matrix, i: usize, sequence: u32) -> Matrix {
        let name = |part: &str| format!("{}electra.encoder.layer.{i}.{part}", self.prefix());
        let heads = self.config.num_attention_heads;
        let tokens = x.shape().0;
        let copies = ["query", "key", "value"].map(|part| {
            let part = name(&format!("attention.self.{part}"));
            self.linear(x.retaped(), &part)
        });
        let shape = [heads * tokens, tokens];
        let factors = self.factors(sequence, i, Place::Attention, shape);
        let h = attention(copies, heads, factors);
        let h = self.linear(h, &name("attention.output.dense"));
        let h = self.dropped(h, sequence, i, Place::AttentionOutput);
        let a = self.norm(x + h, &name("attention.output.LayerNorm"));
        let u = self.linear(a.retaped(), &name("intermediate.dense"));
        let h = self.linear(gelu(u), &name("output.dense"));
        let h = self.dropped(h, sequence, i, Place::FeedForward);
        self.norm(a + h, &name("output.LayerNorm"))
    }

    /// The generator's logits at the given positions: (positions, V), the shared table as output matrix. Spec C.3.
    pub(crate) fn masked_lm(&self, sequence: &Sequence<'_>, positions: &[u32]) -> Matrix {
        let prefix = self.prefix();
        let x = rows(self.encode(sequence), positions.iter().copied());
        let x = gelu(self.linear(x, &format!("{prefix}generator_predictions.dense")));
        let x = self.norm(x, &format!("{prefix}generator_predictions.LayerNorm"));
        let table = self
            .weights
            .matrix("electra.embeddings.word_embeddings.weight");
        linear(
            x,
            table,
            self.weights.row(&format!("{prefix}generator_lm_head.bias")),
        )
    }

    /// The discriminator's logits (tokens, 1). Spec C.2.
    pub(crate) fn replaced_token(&self, sequence: &Sequence<'_>) -> Matrix {
        let x = self.encode(sequence);
        let x = gelu(self.linear(x, "discriminator_predictions.dense"));
        self.linear(x, "discriminator_predictions.dense_prediction")
    }

    /// A task's logits of what the encoder says: (tokens, classes), or (1, classes) where the head judges a sequence by
    /// its first token; of a joint head its start logits (tokens, 1), see `joint`. Spec E.3 to E.5.
    pub(crate) fn task(&self, x: Matrix, index: u32, head: HeadKind) -> Matrix {
        match head {
            HeadKind::Joint => self.linear(x, "joint.start"),
            HeadKind::TokensPlain => self.linear(x, "classifier"),
            HeadKind::Span => self.linear(x, "qa_outputs"),
            HeadKind::Tokens => self.linear(self.dropped(x, index, 0, Place::Head), "classifier"),
            HeadKind::SequencePlain => {
                let x = self.dropped(rows(x, [0]), index, 0, Place::Head);
                self.linear(x, "classifier")
            }
            HeadKind::Sequence => {
                let x = self.dropped(rows(x, [0]), index, 0, Place::Head);
                let x = gelu(self.linear(x, "classifier.dense"));
                let x = self.dropped(x, index, 0, Place::HeadHidden);
                self.linear(x, "classifier.out_proj")
            }
        }
    }
}
