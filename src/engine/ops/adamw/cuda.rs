//! The optimizer on an accelerator: one launch for all tensors, whose parts stand in a table on the device. Knows no model.

use bytemuck::{Pod, Zeroable};

use super::{AdamW, Group, Update};
use crate::arena::Real;
use crate::cuda::driver::{Driver, Grid, Kernel, Pointer, Source};
use crate::cuda::{Cuda, Pool, ROW_THREADS, count};

pub(crate) static SOURCE: Source = Source {
    name: "adamw",
    text: include_str!("kernel.cu"),
};
static UPDATE: Kernel = Kernel {
    source: &SOURCE,
    name: "adamw_update",
};
static SQUARES: Kernel = Kernel {
    source: &SOURCE,
    name: "adamw_squares",
};
static ROOT: Kernel = Kernel {
    source: &SOURCE,
    name: "adamw_root",
};
static HOLD: Kernel = Kernel {
    source: &SOURCE,
    name: "adamw_hold",
};

/// Elements of a block that updates.
const PART: usize = 1 << 14;
/// Groups that the table has room for; models have two or three for each layer, some hundreds at most.
const MOST_GROUPS: usize = 1 << 12;
/// Fewest elements that a block squares, and most blocks that do.
const FEWEST: usize = 1 << 13;
const MOST_SQUARES: usize = 2048;
/// Elements of a thread at a time.
const EIGHT: usize = 8;

/// Neighbours in memory that one block updates.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
struct Part {
    start: u32,
    len: u32,
    multiplier: f32,
    decay: f32,
}

/// Table of the parts of all groups on the device. It changes with the groups alone: no step but the first writes it.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) table: Pool,
    groups: Vec<Group>,
    len: usize,
}

impl Parts {
    /// Bytes of an entry.
    pub(crate) const SIZE: usize = size_of::<Part>();

    /// Entries for so many parameters.
    pub(crate) fn room(n_parameters: usize) -> usize {
        n_parameters / PART + MOST_GROUPS
    }

    /// An empty table.
    pub(crate) fn new(table: Pool) -> Self {
        Self {
            table,
            groups: Vec::new(),
            len: 0,
        }
    }

    /// Writes the table, unless these are the groups it is of; where it is, and its entries.
    fn of(&mut self, groups: &[Group], driver: &mut impl Driver) -> (Pointer, usize) {
        if self.groups != groups {
            let parts: Vec<Part> = groups.iter().flat_map(split).collect();
            let at = self.table.at(0..parts.len());
            driver.write(at, bytemuck::cast_slice(&parts));
            self.groups = groups.to_vec();
            self.len = parts.len();
        }
        (self.table.at(0..self.len), self.len)
    }
}

/// A group in parts of [`PART`] elements, all but the last.
fn split(group: &Group) -> impl Iterator<Item = Part> {
    let (range, multiplier, decay) = (group.at.range(), group.multiplier, group.decay);
    range.clone().step_by(PART).map(move |start| Part {
        start: count(start),
        len: count(PART.min(range.end - start)),
        multiplier,
        decay,
    })
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct UpdateArguments {
    parts: Pointer,
    p: Pointer,
    g: Pointer,
    m: Pointer,
    v: Pointer,
    rounded: Pointer,
    norm: Pointer,
    learning_rate: f32,
    b1: f32,
    b2: f32,
    new1: f32,
    new2: f32,
    epsilon: f32,
    correction: f32,
    clip: f32,
    clips: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct SquaresArguments {
    g: Pointer,
    parts: Pointer,
    n: u32,
    of_block: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct RootArguments {
    parts: Pointer,
    norm: Pointer,
    n_parts: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct HoldArguments {
    g: Pointer,
    held: Pointer,
    norm: Pointer,
    n: u32,
    clip: f32,
    is_first: u32,
    unused: u32,
}

impl<D: Driver> AdamW for Cuda<D> {
    fn gradient_norm(&mut self, norm: Real) {
        let states = self.states();
        let of_block = states.len.div_ceil(MOST_SQUARES).max(FEWEST);
        let of_block = of_block.next_multiple_of(EIGHT);
        let n_parts = states.len.div_ceil(of_block);
        let parts = self.scratch(n_parts * 4);
        let squares = SquaresArguments {
            g: states.gradients,
            parts,
            n: count(states.len),
            of_block: count(of_block),
        };
        self.launch(&SQUARES, Grid::row(n_parts, ROW_THREADS), &squares);
        let root = RootArguments {
            parts,
            norm: self.real(norm.first(1)),
            n_parts: count(n_parts),
            unused: 0,
        };
        self.launch(&ROOT, Grid::row(1, ROW_THREADS), &root);
    }

    fn adamw(&mut self, groups: &[Group], update: Update, norm: Real) {
        let states = self.states();
        for group in groups {
            let end = group.at.range().end;
            assert!(end <= states.len, "what is trained has moments");
        }
        let (table, driver) = self.parts_mut();
        let (parts, n_parts) = table.of(groups, driver);
        let arguments = UpdateArguments {
            parts,
            p: states.values,
            g: states.gradients,
            m: states.first,
            v: states.second,
            rounded: states.rounded,
            norm: self.real(norm.first(1)),
            learning_rate: update.learning_rate,
            b1: update.beta1 as f32,
            b2: update.beta2 as f32,
            new1: (1.0 - update.beta1) as f32,
            new2: (1.0 - update.beta2) as f32,
            epsilon: update.epsilon,
            correction: update.correction,
            clip: update.clip.unwrap_or(1.0),
            clips: u32::from(update.clip.is_some()),
            unused: 0,
        };
        self.launch(&UPDATE, Grid::row(n_parts, ROW_THREADS), &arguments);
    }

    fn hold_gradients(&mut self, clip: f32, norm: Real, is_first: bool) {
        let states = self.states();
        assert_eq!(states.n_held, states.len, "the plan asked for the room");
        let arguments = HoldArguments {
            g: states.gradients,
            held: states.held,
            norm: self.real(norm.first(1)),
            n: count(states.len),
            clip,
            is_first: u32::from(is_first),
            unused: 0,
        };
        let blocks = states.len.div_ceil(EIGHT * ROW_THREADS as usize);
        self.launch(&HOLD, Grid::row(blocks, ROW_THREADS), &arguments);
    }

    fn take_held_gradients(&mut self) {
        let states = self.states();
        assert_eq!(states.n_held, states.len, "the plan asked for the room");
        let bytes = states.len * 4;
        self.driver_mut().copy(states.gradients, states.held, bytes);
    }
}
