//! Embeddings and Transformer layers: post-LN BERT, spec C.1. Forward keeps what backward needs, nothing more.

use crate::arena::{Act, Plan, Real};
use crate::backend::{Backend, DropoutAt, Write};
use crate::config::ElectraConfig;
use crate::model::batch::Batch;
use crate::ops;
use crate::ops::attention::Heads;
use crate::ops::embedding::EmbeddingWeights;
use crate::ops::layernorm::{NormSaved, NormWeights};
use crate::ops::linear::LinearWeights;
use crate::parameters::{Init, Parameters};
use crate::random::{Network, Place, Rate, Site};

/// The parameters of a network's body.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: ElectraConfig,
    network: Network,
    embeddings: EmbeddingWeights,
    project: Option<LinearWeights>,
    layers: Vec<Layer>,
}

#[derive(Clone, Copy, Debug)]
struct Layer {
    qkv: LinearWeights,
    output: LinearWeights,
    attention_norm: NormWeights,
    up: LinearWeights,
    down: LinearWeights,
    norm: NormWeights,
}

/// Adds a dense layer `name.weight`, `name.bias`.
pub(crate) fn add_linear(
    parameters: &mut Parameters,
    name: &str,
    [inputs, outputs]: [usize; 2],
    init: Init,
    depth: u32,
) -> LinearWeights {
    LinearWeights {
        weight: parameters.add(format!("{name}.weight"), &[outputs, inputs], init, depth),
        bias: parameters.add(format!("{name}.bias"), &[outputs], Init::Zeros, depth),
        inputs,
        outputs,
    }
}

/// Adds a normalisation `name.weight`, `name.bias`.
pub(crate) fn add_norm(
    parameters: &mut Parameters,
    name: &str,
    width: usize,
    eps: f32,
    depth: u32,
) -> NormWeights {
    NormWeights {
        gain: parameters.add(format!("{name}.weight"), &[width], Init::Ones, depth),
        bias: parameters.add(format!("{name}.bias"), &[width], Init::Zeros, depth),
        width,
        eps,
    }
}

/// Adds the embedding tables under `prefix`.
pub fn add_embeddings(
    parameters: &mut Parameters,
    prefix: &str,
    config: &ElectraConfig,
) -> EmbeddingWeights {
    let init = Init::TruncatedNormal(config.initializer_range);
    let width = config.embedding_size;
    let mut table = |name: &str, entries: usize| {
        let name = format!("{prefix}embeddings.{name}_embeddings.weight");
        parameters.add(name, &[entries, width], init, 0)
    };
    let tokens = table("word", config.vocab_size);
    let positions = table("position", config.max_position_embeddings);
    let types = table("token_type", config.type_vocab_size);
    let name = format!("{prefix}embeddings.LayerNorm");
    EmbeddingWeights {
        tokens,
        positions,
        types,
        norm: add_norm(parameters, &name, width, config.layer_norm_eps, 0),
    }
}

impl Encoder {
    /// Adds projection and layers under `prefix` (such as `electra.`); the embeddings may be another network's.
    pub fn add(
        parameters: &mut Parameters,
        prefix: &str,
        config: &ElectraConfig,
        network: Network,
        embeddings: EmbeddingWeights,
    ) -> Self {
        let init = Init::TruncatedNormal(config.initializer_range);
        let (h, f, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.layer_norm_eps,
        );
        let project = config.has_projection().then(|| {
            let name = format!("{prefix}embeddings_project");
            let shape = [config.embedding_size, h];
            add_linear(parameters, &name, shape, Init::GlorotUniform, 0)
        });
        let layers = (0..config.num_hidden_layers)
            .map(|i| {
                let depth = u32::try_from(i).expect("few layers") + 1;
                let name = |part: &str| format!("{prefix}encoder.layer.{i}.{part}");
                let parts = ["query", "key", "value"].map(|p| name(&format!("attention.self.{p}")));
                let [q, k, v] = &parts;
                let weight = parameters.add(format!("{q}.weight"), &[h, h], init, depth);
                parameters.add_joined(format!("{k}.weight"), &[h, h], init, depth);
                parameters.add_joined(format!("{v}.weight"), &[h, h], init, depth);
                let bias = parameters.add(format!("{q}.bias"), &[h], Init::Zeros, depth);
                parameters.add_joined(format!("{k}.bias"), &[h], Init::Zeros, depth);
                parameters.add_joined(format!("{v}.bias"), &[h], Init::Zeros, depth);
                let qkv = LinearWeights {
                    weight: weight.joined(3 * h * h),
                    bias: bias.joined(3 * h),
                    inputs: h,
                    outputs: 3 * h,
                };
                let mut linear = |part: &str, shape: [usize; 2]| {
                    add_linear(parameters, &name(part), shape, init, depth)
                };
                let output = linear("attention.output.dense", [h, h]);
                let up = linear("intermediate.dense", [h, f]);
                let down = linear("output.dense", [f, h]);
                let mut norm = |part: &str| add_norm(parameters, &name(part), h, eps, depth);
                Layer {
                    qkv,
                    output,
                    attention_norm: norm("attention.output.LayerNorm"),
                    up,
                    down,
                    norm: norm("output.LayerNorm"),
                }
            })
            .collect();
        Self {
            config: config.clone(),
            network,
            embeddings,
            project,
            layers,
        }
    }

    /// Sizes.
    #[must_use]
    pub fn config(&self) -> &ElectraConfig {
        &self.config
    }

    /// The embedding tables.
    #[must_use]
    pub fn embeddings(&self) -> EmbeddingWeights {
        self.embeddings
    }

    fn heads(&self) -> Heads {
        Heads {
            count: self.config.num_attention_heads,
            size: self.config.head_size(),
        }
    }

    /// Dropout at a place of this network.
    #[must_use]
    pub fn dropout(&self, layer: usize, place: Place) -> DropoutAt {
        let rate = match place {
            Place::Attention => self.config.attention_probs_dropout_prob,
            Place::Head | Place::HeadHidden => self.config.head_dropout(),
            _ => self.config.hidden_dropout_prob,
        };
        DropoutAt {
            site: Site {
                network: self.network,
                layer: u16::try_from(layer).expect("few layers"),
                place,
            },
            rate: Rate::new(rate),
        }
    }
}

/// What a forward pass keeps for at most so many tokens: `12 H` numbers a token and layer.
#[derive(Clone, Debug)]
pub struct EncoderSaved {
    embedded: NormSaved,
    entered: Act,
    projected: Option<Act>,
    layers: Vec<LayerSaved>,
}

#[derive(Clone, Copy, Debug)]
struct LayerSaved {
    qkv: Act,
    lse: Real,
    context: Act,
    attention: NormSaved,
    between: Act,
    u: Act,
    output: NormSaved,
    y: Act,
}

impl LayerSaved {
    fn new(plan: &mut Plan, config: &ElectraConfig, tokens: usize) -> Self {
        let (h, f) = (config.hidden_size, config.intermediate_size);
        Self {
            qkv: plan.act(tokens * 3 * h),
            lse: plan.real(tokens * config.num_attention_heads),
            context: plan.act(tokens * h),
            attention: plan_norm(plan, tokens, h),
            between: plan.act(tokens * h),
            u: plan.act(tokens * f),
            output: plan_norm(plan, tokens, h),
            y: plan.act(tokens * h),
        }
    }
}

/// Room that passes use and give back: shared by networks and layers.
#[derive(Clone, Copy, Debug)]
pub struct EncoderScratch {
    /// (tokens, H): the gradient that goes down.
    down: Act,
    /// (tokens, H): output of a block before the residual, and its gradient.
    block: Act,
    /// (tokens, H)
    context: Act,
    /// (tokens, F)
    wide: Act,
    /// (tokens, F)
    wide_gradient: Act,
    /// (tokens, 3 H)
    qkv: Act,
}

pub(crate) fn plan_norm(plan: &mut Plan, tokens: usize, width: usize) -> NormSaved {
    NormSaved {
        z: plan.act(tokens * width),
        mean: plan.real(tokens),
        rstd: plan.real(tokens),
    }
}

/// The same for a batch of fewer rows.
pub(crate) fn norm_of(saved: NormSaved, rows: usize, width: usize) -> NormSaved {
    NormSaved {
        z: saved.z.first(rows * width),
        mean: saved.mean.first(rows),
        rstd: saved.rstd.first(rows),
    }
}

impl EncoderSaved {
    /// Lays out room for passes that go backward too.
    pub fn new(plan: &mut Plan, config: &ElectraConfig, tokens: usize) -> Self {
        let layers = |plan: &mut Plan| {
            (0..config.num_hidden_layers)
                .map(|_| LayerSaved::new(plan, config, tokens))
                .collect()
        };
        Self::with_layers(plan, config, tokens, layers)
    }

    /// Lays out room for forward passes alone: all layers take that of one, which then stays in the caches. A layer's
    /// input is not read any more when its output is written.
    pub fn forward_only(plan: &mut Plan, config: &ElectraConfig, tokens: usize) -> Self {
        Self::with_layers(plan, config, tokens, |plan| {
            vec![LayerSaved::new(plan, config, tokens); config.num_hidden_layers]
        })
    }

    fn with_layers(
        plan: &mut Plan,
        config: &ElectraConfig,
        tokens: usize,
        layers: impl FnOnce(&mut Plan) -> Vec<LayerSaved>,
    ) -> Self {
        let (e, h) = (config.embedding_size, config.hidden_size);
        Self {
            embedded: plan_norm(plan, tokens, e),
            entered: plan.act(tokens * e),
            projected: config.has_projection().then(|| plan.act(tokens * h)),
            layers: layers(plan),
        }
    }

    /// What the encoder says (tokens, H), after a forward pass of `tokens`.
    #[must_use]
    pub fn output(&self, config: &ElectraConfig, tokens: usize) -> Act {
        let whole = match self.layers.last() {
            Some(layer) => layer.y,
            None => self.projected.unwrap_or(self.entered),
        };
        whole.first(tokens * config.hidden_size)
    }
}

impl EncoderScratch {
    /// Lays out room for networks up to these sizes.
    pub fn new(plan: &mut Plan, configs: &[&ElectraConfig], tokens: usize) -> Self {
        let most = |of: fn(&ElectraConfig) -> usize| {
            tokens * configs.iter().map(|c| of(c)).max().unwrap_or(0)
        };
        plan.between(ops::embedding::between(tokens));
        for config in configs {
            plan.between(ops::attention::between(tokens, config.num_attention_heads));
        }
        let h = most(|c| c.hidden_size.max(c.embedding_size));
        let f = most(|c| c.intermediate_size);
        Self {
            down: plan.act(h),
            block: plan.act(h),
            context: plan.act(h),
            wide: plan.act(f),
            wide_gradient: plan.act(f),
            qkv: plan.act(most(|c| 3 * c.hidden_size)),
        }
    }

    /// Where the gradient of the encoder's output (tokens, H) goes before [`Encoder::backward`].
    #[must_use]
    pub fn gradient(&self, config: &ElectraConfig, tokens: usize) -> Act {
        self.down.first(tokens * config.hidden_size)
    }

    /// Room of (tokens, H) that a head may use before [`Encoder::backward`].
    #[must_use]
    pub fn spare(&self, config: &ElectraConfig, tokens: usize) -> Act {
        self.block.first(tokens * config.hidden_size)
    }
}

impl Encoder {
    /// Fills `saved`; what it says is [`EncoderSaved::output`].
    pub fn forward<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        saved: &EncoderSaved,
        scratch: &EncoderScratch,
    ) {
        let n = batch.rows.count;
        let (e, h, f) = (
            self.config.embedding_size,
            self.config.hidden_size,
            self.config.intermediate_size,
        );
        let entered = saved.entered.first(n * e);
        backend.embedding(
            batch.inputs,
            self.embeddings,
            self.dropout(0, Place::Embeddings),
            batch.rows,
            norm_of(saved.embedded, n, e),
            entered,
        );
        let mut x = entered;
        if let (Some(project), Some(projected)) = (self.project, saved.projected) {
            let projected = projected.first(n * h);
            backend.linear(x, project, projected, n);
            x = projected;
        }
        let (block, wide) = (scratch.block.first(n * h), scratch.wide.first(n * f));
        for (i, (layer, saved)) in self.layers.iter().zip(&saved.layers).enumerate() {
            let (qkv, context) = (saved.qkv.first(n * 3 * h), saved.context.first(n * h));
            backend.linear(x, layer.qkv, qkv, n);
            backend.attention(
                qkv,
                self.heads(),
                batch.sequences,
                self.dropout(i, Place::Attention),
                saved.lse.first(n * self.config.num_attention_heads),
                context,
            );
            backend.linear(context, layer.output, block, n);
            let between = saved.between.first(n * h);
            backend.residual_norm(
                block,
                x,
                layer.attention_norm,
                self.dropout(i, Place::AttentionOutput),
                batch.rows,
                norm_of(saved.attention, n, h),
                between,
            );
            backend.linear_gelu(between, layer.up, saved.u.first(n * f), wide, n);
            backend.linear(wide, layer.down, block, n);
            x = saved.y.first(n * h);
            backend.residual_norm(
                block,
                between,
                layer.norm,
                self.dropout(i, Place::FeedForward),
                batch.rows,
                norm_of(saved.output, n, h),
                x,
            );
        }
    }

    /// Adds to the gradients of all parameters, from the gradient of the output in [`EncoderScratch::gradient`].
    pub fn backward<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        saved: &EncoderSaved,
        scratch: &EncoderScratch,
    ) {
        let n = batch.rows.count;
        let (e, h, f) = (
            self.config.embedding_size,
            self.config.hidden_size,
            self.config.intermediate_size,
        );
        let entered = saved.entered.first(n * e);
        let first = saved.projected.map_or(entered, |p| p.first(n * h));
        let d = scratch.down.first(n * h);
        let (block, context) = (scratch.block.first(n * h), scratch.context.first(n * h));
        let (wide, d_wide) = (
            scratch.wide.first(n * f),
            scratch.wide_gradient.first(n * f),
        );
        let d_qkv = scratch.qkv.first(n * 3 * h);
        for i in (0..self.layers.len()).rev() {
            let (layer, kept) = (self.layers[i], saved.layers[i]);
            let x = match i {
                0 => first,
                _ => saved.layers[i - 1].y.first(n * h),
            };
            let between = kept.between.first(n * h);
            backend.residual_norm_backward(
                d,
                norm_of(kept.output, n, h),
                layer.norm,
                self.dropout(i, Place::FeedForward),
                batch.rows,
                block,
            );
            // The input of `down` is made again from `u`, which the derivative needs anyway.
            backend.linear_input_gradient(block, layer.down, d_wide, n);
            backend.gelu_backward(kept.u.first(n * f), d_wide, Some(wide));
            backend.linear_backward(block, wide, layer.down, None, n);
            backend.linear_backward(d_wide, between, layer.up, Some((d, Write::Add)), n);
            backend.residual_norm_backward(
                d,
                norm_of(kept.attention, n, h),
                layer.attention_norm,
                self.dropout(i, Place::AttentionOutput),
                batch.rows,
                block,
            );
            let forward = kept.context.first(n * h);
            backend.linear_backward(
                block,
                forward,
                layer.output,
                Some((context, Write::Over)),
                n,
            );
            backend.attention_backward(
                context,
                kept.qkv.first(n * 3 * h),
                forward,
                self.heads(),
                batch.sequences,
                self.dropout(i, Place::Attention),
                kept.lse.first(n * self.config.num_attention_heads),
                d_qkv,
            );
            backend.linear_backward(d_qkv, x, layer.qkv, Some((d, Write::Add)), n);
        }
        let mut d_entered = d;
        if let Some(project) = self.project {
            d_entered = scratch.block.first(n * e);
            let to = Some((d_entered, Write::Over));
            backend.linear_backward(d, entered, project, to, n);
        }
        backend.embedding_backward(
            d_entered,
            batch.inputs,
            self.embeddings,
            self.dropout(0, Place::Embeddings),
            batch.rows,
            norm_of(saved.embedded, n, e),
        );
    }
}
