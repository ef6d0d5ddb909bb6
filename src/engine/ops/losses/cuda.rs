//! Losses on an accelerator: a row a thread or a sequence a block; sums of blocks, then those added up in order.

use bytemuck::{Pod, Zeroable};

use super::{Choices, Losses, RTD_SUMS};
use crate::arena::{Ints, Real};
use crate::backend::Sequences;
use crate::cuda::driver::{Driver, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, count, sums};

pub(crate) static SOURCE: Source = Source {
    name: "losses",
    text: include_str!("kernel.cu"),
};
static REPLACED_TOKEN: Kernel = Kernel {
    source: &SOURCE,
    name: "losses_replaced_token",
};
static CROSS_ENTROPY: Kernel = Kernel {
    source: &SOURCE,
    name: "losses_cross_entropy",
};
static SQUARED_ERROR: Kernel = Kernel {
    source: &SOURCE,
    name: "losses_squared_error",
};
static SEQUENCE: Kernel = Kernel {
    source: &SOURCE,
    name: "losses_sequence",
};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RowLossArguments {
    logits: Pointer,
    labels: Pointer,
    targets: Pointer,
    d: Pointer,
    parts: Pointer,
    rows: u32,
    rows_of_block: u32,
    classes: u32,
    scale: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SequenceLossArguments {
    logits: Pointer,
    starts: Pointer,
    labels: Pointer,
    ends: Pointer,
    allowed: Pointer,
    d: Pointer,
    parts: Pointer,
    rows: u32,
    sequences: u32,
    scale: f32,
    weight: f32,
}

/// What rows are compared with.
#[derive(Clone, Copy)]
enum Right {
    Labels(Ints),
    Targets(Real),
}

impl<D: Driver> Cuda<D> {
    fn gradient_to(&self, gradient: Option<(f32, Real)>) -> (f32, Pointer) {
        match gradient {
            None => (0.0, Pointer::default()),
            Some((scale, place)) => (scale, self.real(place)),
        }
    }

    fn row_loss(
        &mut self,
        kernel: &'static Kernel,
        logits: Real,
        right: Right,
        classes: usize,
        gradient: Option<(f32, Real)>,
        n_sums: usize,
        sums: Real,
    ) {
        let (rows, labels, targets) = match right {
            Right::Labels(labels) => (labels.len(), self.int(labels), Pointer::default()),
            Right::Targets(targets) => (targets.len(), Pointer::default(), self.real(targets)),
        };
        assert_eq!(logits.len(), rows * classes, "as many logits as labels");
        let (rows_of_block, blocks) = sums::split(rows);
        let (scale, d) = self.gradient_to(gradient);
        let arguments = RowLossArguments {
            logits: self.real(logits),
            labels,
            targets,
            d,
            parts: self.scratch(blocks * n_sums * 4),
            rows: count(rows),
            rows_of_block: count(rows_of_block),
            classes: count(classes),
            scale,
        };
        self.launch(kernel, Grid::row(blocks, 256), &arguments);
        let to = self.real(sums.first(n_sums));
        sums::add(self, arguments.parts, blocks, n_sums, n_sums, to);
    }

    fn sequence_loss(&mut self, sequences: Sequences, made: SequenceLossArguments, sums: Real) {
        let outputs = 1 + u32::from(made.ends != Pointer::default());
        let parts = sequences.count * outputs as usize;
        let arguments = SequenceLossArguments {
            starts: self.int(sequences.starts),
            parts: self.scratch(parts * 4),
            sequences: count(sequences.count),
            ..made
        };
        let mut grid = Grid::row(sequences.count + 1, 128);
        grid.blocks[1] = outputs;
        self.launch(&SEQUENCE, grid, &arguments);
        let to = self.real(sums.first(1));
        sums::add(self, arguments.parts, parts, 1, 1, to);
    }
}

impl<D: Driver> Losses for Cuda<D> {
    fn replaced_token(
        &mut self,
        logits: Real,
        targets: Ints,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let right = Right::Labels(targets);
        self.row_loss(&REPLACED_TOKEN, logits, right, 1, gradient, RTD_SUMS, sums);
    }

    fn cross_entropy(
        &mut self,
        logits: Real,
        labels: Ints,
        classes: usize,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let right = Right::Labels(labels);
        self.row_loss(&CROSS_ENTROPY, logits, right, classes, gradient, 1, sums);
    }

    fn span(
        &mut self,
        logits: Real,
        sequences: Sequences,
        start: Ints,
        end: Ints,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let (scale, d) = self.gradient_to(gradient);
        let arguments = SequenceLossArguments {
            logits: self.real(logits),
            labels: self.int(start),
            ends: self.int(end),
            d,
            rows: count(logits.len() / 2),
            scale: 0.5 * scale,
            weight: 0.5,
            ..Zeroable::zeroed()
        };
        self.sequence_loss(sequences, arguments, sums);
    }

    fn choice(
        &mut self,
        logits: Real,
        choices: Choices,
        labels: Ints,
        weight: f32,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let (scale, d) = self.gradient_to(gradient);
        let arguments = SequenceLossArguments {
            logits: self.real(logits),
            labels: self.int(labels),
            allowed: self.int(choices.allowed),
            d,
            rows: count(logits.len()),
            scale: scale * weight,
            weight,
            ..Zeroable::zeroed()
        };
        self.sequence_loss(choices.sequences, arguments, sums);
    }

    fn squared_error(
        &mut self,
        predictions: Real,
        targets: Real,
        gradient: Option<(f32, Real)>,
        sums: Real,
    ) {
        let right = Right::Targets(targets);
        self.row_loss(&SQUARED_ERROR, predictions, right, 1, gradient, 1, sums);
    }
}
