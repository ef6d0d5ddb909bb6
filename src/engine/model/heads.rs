//! What stands on an encoder: the heads of pre-training and of fine-tuning. Spec C.2, C.3, E.3 to E.5. Knows no labels'
//! names and no examples.

use crate::arena::{Act, Ints, Plan, Real};
use crate::backend::{Backend, Write};
use crate::config::ElectraConfig;
use crate::model::batch::{Batch, Sequence};
use crate::model::encoder::{
    Encoder, EncoderSaved, EncoderScratch, add_embeddings, add_linear, add_norm, norm_of, plan_norm,
};
use crate::model::joint::{Answers, Beams, JointHead, JointSaved};
use crate::ops::embedding::EmbeddingWeights;
use crate::ops::layernorm::{NormSaved, NormWeights};
use crate::ops::linear::LinearWeights;
use crate::ops::mlm::{OutputWeights, Sampling, stride_of};
use crate::parameters::{Init, Parameters};
use crate::random::{Network, Place};

/// Depth of heads: `L + 2` (spec E.1).
fn head_depth(config: &ElectraConfig) -> u32 {
    u32::try_from(config.num_hidden_layers).expect("few layers") + 2
}

/// The discriminator's head: `GELU(Linear H -> H)`, `Linear H -> 1`, at every position.
#[derive(Clone, Copy, Debug)]
pub struct ReplacedTokenHead {
    dense: LinearWeights,
    prediction: LinearWeights,
}

/// What it keeps.
#[derive(Clone, Copy, Debug)]
pub struct ReplacedTokenSaved {
    u: Act,
    g: Act,
    /// Logits (tokens).
    pub logits: Real,
    /// Their gradients (tokens).
    pub d_logits: Real,
}

impl ReplacedTokenHead {
    /// Adds its parameters.
    pub fn add(parameters: &mut Parameters, config: &ElectraConfig) -> Self {
        let (h, depth) = (config.hidden_size, head_depth(config));
        let init = Init::TruncatedNormal(config.initializer_range);
        let dense = "discriminator_predictions.dense";
        let prediction = "discriminator_predictions.dense_prediction";
        Self {
            dense: add_linear(parameters, dense, [h, h], init, depth),
            prediction: add_linear(parameters, prediction, [h, 1], Init::GlorotUniform, depth),
        }
    }

    /// Lays out room.
    pub fn plan(plan: &mut Plan, config: &ElectraConfig, tokens: usize) -> ReplacedTokenSaved {
        ReplacedTokenSaved {
            u: plan.act(tokens * config.hidden_size),
            g: plan.act(tokens * config.hidden_size),
            logits: plan.real(tokens),
            d_logits: plan.real(tokens),
        }
    }

    /// Fills the logits of `rows` tokens.
    pub fn forward<B: Backend>(
        &self,
        backend: &mut B,
        x: Act,
        rows: usize,
        saved: ReplacedTokenSaved,
    ) {
        let width = rows * self.dense.outputs;
        let (u, g) = (saved.u.first(width), saved.g.first(width));
        backend.linear_gelu(x, self.dense, u, g, rows);
        backend.logits(g, self.prediction, saved.logits.first(rows), rows);
    }

    /// From the logits' gradients to that of `x`, overwritten.
    pub fn backward<B: Backend>(
        &self,
        backend: &mut B,
        x: Act,
        rows: usize,
        saved: ReplacedTokenSaved,
        dx: Act,
        spare: Act,
    ) {
        let width = rows * self.dense.outputs;
        let (u, g) = (saved.u.first(width), saved.g.first(width));
        let d = saved.d_logits.first(rows);
        let dg = spare.first(width);
        backend.logits_backward(d, g, self.prediction, (dg, Write::Over), rows);
        backend.gelu_backward(u, dg, None);
        backend.linear_backward(dg, x, self.dense, Some((dx, Write::Over)), rows);
    }
}

/// The generator's head: `LN(GELU(Linear H -> E))`, then the shared token table as output matrix.
#[derive(Clone, Copy, Debug)]
pub struct MaskedLmHead {
    dense: LinearWeights,
    norm: NormWeights,
    output: OutputWeights,
}

/// What it needs for at most so many slots.
#[derive(Clone, Copy, Debug)]
pub struct MaskedLmSaved {
    hidden: Act,
    u: Act,
    norm: NormSaved,
    y: Act,
    dy: Act,
    d_hidden: Act,
    scratch: Real,
}

/// The masked slots of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Row of each slot among the batch's tokens.
    pub rows: Ints,
    /// The original token of each.
    pub targets: Ints,
    /// Sequence and number within the sequence of each.
    pub place: crate::backend::Rows,
}

impl MaskedLmHead {
    /// Adds its parameters under `prefix`; the table is the embeddings'.
    pub fn add(
        parameters: &mut Parameters,
        prefix: &str,
        config: &ElectraConfig,
        embeddings: EmbeddingWeights,
    ) -> Self {
        let (h, e, depth) = (
            config.hidden_size,
            config.embedding_size,
            head_depth(config),
        );
        let init = Init::TruncatedNormal(config.initializer_range);
        let dense = format!("{prefix}generator_predictions.dense");
        let norm = format!("{prefix}generator_predictions.LayerNorm");
        let bias = format!("{prefix}generator_lm_head.bias");
        Self {
            dense: add_linear(parameters, &dense, [h, e], init, depth),
            norm: add_norm(parameters, &norm, e, config.layer_norm_eps, depth),
            output: OutputWeights {
                table: embeddings.tokens,
                bias: parameters.add(bias, &[config.vocab_size], Init::Zeros, depth),
                entries: config.vocab_size,
                width: e,
            },
        }
    }

    /// Lays out room.
    pub fn plan(plan: &mut Plan, config: &ElectraConfig, slots: usize) -> MaskedLmSaved {
        let (h, e) = (config.hidden_size, config.embedding_size);
        MaskedLmSaved {
            hidden: plan.act(slots * h),
            u: plan.act(slots * e),
            norm: plan_norm(plan, slots, e),
            y: plan.act(slots * e),
            dy: plan.act(slots * e),
            d_hidden: plan.act(slots * h),
            scratch: plan
                .real(plan.granularity().slots.min(slots.max(1)) * stride_of(config.vocab_size)),
        }
    }

    /// Loss, samples and, with `gradient` `(scale, dx)`, all gradients: that of `x` (tokens, H) is overwritten.
    pub fn run<B: Backend>(
        &self,
        backend: &mut B,
        x: Act,
        slots: Slots,
        saved: MaskedLmSaved,
        sampling: Option<(Sampling, Ints)>,
        gradient: Option<(f32, Act)>,
        sums: Real,
    ) {
        let n = slots.place.count;
        let (h, e) = (self.dense.inputs, self.dense.outputs);
        let hidden = saved.hidden.first(n * h);
        let norm = norm_of(saved.norm, n, e);
        let (u, y, dy) = (
            saved.u.first(n * e),
            saved.y.first(n * e),
            saved.dy.first(n * e),
        );
        backend.gather(x, slots.rows, h, hidden);
        backend.linear_gelu(hidden, self.dense, u, norm.z, n);
        backend.norm(self.norm, n, norm, y);
        let to = gradient.map(|(scale, _)| (scale, dy));
        backend.masked_lm(
            y,
            self.output,
            slots.targets,
            slots.place,
            sampling,
            to,
            sums,
            saved.scratch,
        );
        if let Some((_, dx)) = gradient {
            backend.norm_backward(dy, norm, self.norm, n);
            backend.gelu_backward(u, dy, None);
            let d_hidden = saved.d_hidden.first(n * h);
            let to = Some((d_hidden, Write::Over));
            backend.linear_backward(dy, hidden, self.dense, to, n);
            backend.zero_acts(dx);
            backend.gather_backward(d_hidden, slots.rows, h, dx);
        }
    }
}

/// What a fine-tuned model says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// A class for each token: dropout, `Linear H -> classes`.
    Tokens,
    /// The same without dropout, as Google's code has it.
    TokensPlain,
    /// A class (or a number) for each sequence from its first token, with a hidden layer as Hugging Face has it:
    /// dropout, `GELU(Linear H -> H)`, dropout, `Linear H -> classes`.
    Sequence,
    /// The same without the hidden layer, as Google's code has it.
    SequencePlain,
    /// Start and end of an answer: `Linear H -> 2`, no dropout.
    Span,
    /// Start and end together and whether there is an answer, as Google's code has it: [`crate::model::joint`]. Its
    /// logits are those of starts.
    Joint,
}

impl HeadKind {
    /// Whether it says something of each token rather than of the sequence.
    #[must_use]
    pub fn is_by_token(self) -> bool {
        !matches!(self, Self::Sequence | Self::SequencePlain)
    }
}

/// A head of fine-tuning.
#[derive(Clone, Copy, Debug)]
pub struct TaskHead {
    kind: HeadKind,
    hidden: Option<LinearWeights>,
    output: LinearWeights,
    joint: Option<JointHead>,
}

/// What it needs.
#[derive(Clone, Copy, Debug)]
pub struct TaskSaved {
    first: Act,
    dropped: Act,
    u: Act,
    g: Act,
    g_dropped: Act,
    d: Act,
    /// Logits (tokens or sequences, classes).
    pub logits: Real,
    /// Their gradients.
    pub d_logits: Real,
}

impl TaskHead {
    fn add(
        parameters: &mut Parameters,
        config: &ElectraConfig,
        kind: HeadKind,
        outputs: usize,
    ) -> Self {
        let (h, depth) = (config.hidden_size, head_depth(config));
        // Glorot is what Google's heads begin with; Hugging Face's begin like everything else (spec C.1, E.3).
        let normal = Init::TruncatedNormal(config.initializer_range);
        if kind == HeadKind::Joint {
            let (output, joint) = JointHead::add(parameters, config, depth);
            return Self {
                kind,
                hidden: None,
                output,
                joint: Some(joint),
            };
        }
        let mut linear = |name: &str, shape: [usize; 2], init: Init| {
            add_linear(parameters, name, shape, init, depth)
        };
        let (hidden, output) = match kind {
            HeadKind::Tokens => (None, linear("classifier", [h, outputs], normal)),
            HeadKind::TokensPlain | HeadKind::SequencePlain => (
                None,
                linear("classifier", [h, outputs], Init::GlorotUniform),
            ),
            HeadKind::Sequence => (
                Some(linear("classifier.dense", [h, h], normal)),
                linear("classifier.out_proj", [h, outputs], normal),
            ),
            HeadKind::Span | HeadKind::Joint => (None, linear("qa_outputs", [h, 2], normal)),
        };
        Self {
            kind,
            hidden,
            output,
            joint: None,
        }
    }

    fn is_by_sequence(&self) -> bool {
        !self.kind.is_by_token()
    }
}

/// An encoder with a head.
#[derive(Clone, Debug)]
pub struct TaskModel {
    /// All parameters.
    pub parameters: Parameters,
    /// The body.
    pub encoder: Encoder,
    head: TaskHead,
}

/// Room for a fine-tuning step or for prediction.
#[derive(Clone, Debug)]
pub struct TaskPlan {
    encoder: EncoderSaved,
    scratch: EncoderScratch,
    /// The head's room.
    pub head: TaskSaved,
    joint: Option<JointSaved>,
}

impl TaskModel {
    /// A model of these sizes; `outputs` classes (2 for spans).
    #[must_use]
    pub fn new(config: &ElectraConfig, kind: HeadKind, outputs: usize) -> Self {
        let mut parameters = Parameters::default();
        let embeddings = add_embeddings(&mut parameters, "electra.", config);
        let encoder = Encoder::add(
            &mut parameters,
            "electra.",
            config,
            Network::Discriminator,
            embeddings,
        );
        let head = TaskHead::add(&mut parameters, config, kind, outputs);
        Self {
            parameters,
            encoder,
            head,
        }
    }

    /// Classes.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.head.output.outputs
    }

    /// Lays out room for batches of at most so many tokens and sequences.
    pub fn plan(&self, plan: &mut Plan, tokens: usize, sequences: usize) -> TaskPlan {
        let encoder = EncoderSaved::new(plan, self.encoder.config(), tokens);
        self.plan_with(plan, encoder, tokens, sequences)
    }

    /// The same for [`forward`](Self::forward) alone.
    pub fn plan_forward(&self, plan: &mut Plan, tokens: usize, sequences: usize) -> TaskPlan {
        plan.forward_only();
        let encoder = EncoderSaved::forward_only(plan, self.encoder.config(), tokens);
        self.plan_with(plan, encoder, tokens, sequences)
    }

    fn plan_with(
        &self,
        plan: &mut Plan,
        encoder: EncoderSaved,
        tokens: usize,
        sequences: usize,
    ) -> TaskPlan {
        let config = self.encoder.config();
        let rows = if self.head.is_by_sequence() {
            sequences
        } else {
            tokens
        };
        let width = rows * config.hidden_size;
        let outputs = rows * self.outputs();
        TaskPlan {
            encoder,
            scratch: EncoderScratch::new(plan, &[config], tokens),
            head: TaskSaved {
                first: plan.act(width),
                dropped: plan.act(width),
                u: plan.act(width),
                g: plan.act(width),
                g_dropped: plan.act(width),
                d: plan.act(width),
                logits: plan.real(outputs),
                d_logits: plan.real(outputs),
            },
            joint: (self.head.joint.is_some())
                .then(|| JointHead::plan(plan, config.hidden_size, tokens, sequences)),
        }
    }

    /// Rows of logits for a batch.
    #[must_use]
    pub fn rows(&self, batch: &Batch) -> usize {
        if self.head.is_by_sequence() {
            batch.sequences.count
        } else {
            batch.rows.count
        }
    }

    /// Fills the logits: (tokens or sequences, classes).
    pub fn forward<B: Backend>(&self, backend: &mut B, batch: &Batch, plan: &TaskPlan) -> Real {
        self.encoder
            .forward(backend, batch, &plan.encoder, &plan.scratch);
        let h = self.encoder.config().hidden_size;
        let tokens = batch.rows.count;
        let x = plan.encoder.output(self.encoder.config(), tokens);
        let n = self.rows(batch);
        let saved = plan.head;
        let logits = saved.logits.first(n * self.outputs());
        let dropped = saved.dropped.first(n * h);
        let at = self.encoder.dropout(0, Place::Head);
        match self.head.kind {
            HeadKind::Span | HeadKind::TokensPlain | HeadKind::Joint => {
                backend.logits(x, self.head.output, logits, n);
            }
            HeadKind::Tokens => {
                backend.dropout(x, h, at, batch.rows, dropped);
                backend.logits(dropped, self.head.output, logits, n);
            }
            HeadKind::Sequence | HeadKind::SequencePlain => {
                let first = saved.first.first(n * h);
                backend.gather(x, batch.first_rows, h, first);
                backend.dropout(first, h, at, batch.firsts, dropped);
                let mut last = dropped;
                if let Some(hidden) = self.head.hidden {
                    let (u, g) = (saved.u.first(n * h), saved.g.first(n * h));
                    backend.linear_gelu(dropped, hidden, u, g, n);
                    last = saved.g_dropped.first(n * h);
                    let at = self.encoder.dropout(0, Place::HeadHidden);
                    backend.dropout(g, h, at, batch.firsts, last);
                }
                backend.logits(last, self.head.output, logits, n);
            }
        }
        logits
    }

    fn joint<'a>(&self, plan: &'a TaskPlan) -> (JointHead, &'a JointSaved) {
        let head = self.head.joint.zip(plan.joint.as_ref());
        head.expect("this is asked of a joint head only")
    }

    /// For [`HeadKind::Joint`], between [`forward`](Self::forward) and [`backward`](Self::backward): the losses, added
    /// to `sums` (1 and `RTD_SUMS`), and gradients of `scale` times their sum. Spec E.5.
    ///
    /// # Panics
    /// With another head.
    pub fn joint_loss<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        plan: &TaskPlan,
        answers: &Answers<'_>,
        scale: f32,
        sums: [Real; 2],
    ) {
        let (joint, room) = self.joint(plan);
        room.write(backend, batch.rows.count, answers);
        let n = batch.rows.count;
        let x = plan.encoder.output(self.encoder.config(), n);
        let logits = (plan.head.logits.first(n), plan.head.d_logits.first(n));
        joint.loss(backend, batch, room, x, logits, scale, sums);
    }

    /// For [`HeadKind::Joint`], after [`forward`](Self::forward): the best answers of each sequence. Waits for the
    /// device.
    ///
    /// # Panics
    /// With another head, or with a padded batch.
    pub fn beams<B: Backend>(
        &self,
        backend: &mut B,
        batch: &Batch,
        plan: &TaskPlan,
        sequences: &[Sequence<'_>],
    ) -> Vec<Beams> {
        let (joint, room) = self.joint(plan);
        let zeros = vec![0; sequences.len()];
        let unknown = Answers {
            sequences,
            starts: &zeros,
            ends: &zeros,
            impossible: &zeros,
            padded_to: None,
        };
        room.write(backend, batch.rows.count, &unknown);
        let x = plan.encoder.output(self.encoder.config(), batch.rows.count);
        let starts = plan.head.logits.first(batch.rows.count);
        let impossible = joint.answerable(backend, batch, room, x, starts);
        let (starts, impossible) = (backend.read_reals(starts), backend.read_reals(impossible));
        joint.beams(backend, room, x, sequences, &starts, &impossible)
    }

    /// Adds to all gradients, from the logits' gradients.
    pub fn backward<B: Backend>(&self, backend: &mut B, batch: &Batch, plan: &TaskPlan) {
        let h = self.encoder.config().hidden_size;
        let tokens = batch.rows.count;
        let x = plan.encoder.output(self.encoder.config(), tokens);
        let down = plan.scratch.gradient(self.encoder.config(), tokens);
        let n = self.rows(batch);
        let saved = plan.head;
        let d_logits = saved.d_logits.first(n * self.outputs());
        let (dropped, d) = (saved.dropped.first(n * h), saved.d.first(n * h));
        let at = self.encoder.dropout(0, Place::Head);
        let over = |to: Act| (to, Write::Over);
        match self.head.kind {
            HeadKind::Span | HeadKind::TokensPlain => {
                backend.logits_backward(d_logits, x, self.head.output, over(down), n);
            }
            HeadKind::Joint => {
                let (joint, room) = self.joint(plan);
                joint.backward(backend, batch, room, (x, down), d_logits);
                let add = (down, Write::Add);
                backend.logits_backward(d_logits, x, self.head.output, add, n);
            }
            HeadKind::Tokens => {
                backend.logits_backward(d_logits, dropped, self.head.output, over(d), n);
                backend.dropout(d, h, at, batch.rows, down);
            }
            HeadKind::Sequence | HeadKind::SequencePlain => {
                let mut last = d;
                if let Some(hidden) = self.head.hidden {
                    let (u, g) = (saved.u.first(n * h), saved.g.first(n * h));
                    let g_dropped = saved.g_dropped.first(n * h);
                    backend.logits_backward(d_logits, g_dropped, self.head.output, over(d), n);
                    // `g` is read no more.
                    let again = self.encoder.dropout(0, Place::HeadHidden);
                    backend.dropout(d, h, again, batch.firsts, g);
                    backend.gelu_backward(u, g, None);
                    backend.linear_backward(g, dropped, hidden, Some(over(d)), n);
                } else {
                    backend.logits_backward(d_logits, dropped, self.head.output, over(d), n);
                }
                let first = saved.first.first(n * h);
                backend.dropout(last, h, at, batch.firsts, first);
                last = first;
                backend.zero_acts(down);
                backend.gather_backward(last, batch.first_rows, h, down);
            }
        }
        self.encoder
            .backward(backend, batch, &plan.encoder, &plan.scratch);
    }
}
