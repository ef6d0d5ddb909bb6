//! Every op's cases, in sets: small ones that an emulation can run, and sizes of base models beside them. Knows no device.

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod corrupt;
pub(crate) mod embedding;
pub(crate) mod layernorm;
pub(crate) mod linear;
pub(crate) mod losses;
pub(crate) mod mixture;
pub(crate) mod mlm;
pub(crate) mod rows;

use super::{CaseFound, Judge, Make, Noting};
use crate::cpu::Cpu;
use crate::cuda::driver::Driver;

/// The one list of sets, handed to another macro: `op { small sets } { sets of base models' sizes }`.
#[macro_export]
macro_rules! op_sets {
    ($with:ident) => {
        $with! {
            adamw {
                odd_tensors_are_updated
                gradients_are_held
                a_group_may_begin_anywhere
                nothing_changes_where_the_norm_is_not_finite
                products_read_the_new_weights
            } { base_models }
            attention {
                odd_lengths_of_heads_of_models
                a_long_sequence_between_short_ones
                heads_of_every_size
                heads_wider_than_tiles
                padding_and_rows_of_no_sequence
                gradients_are_those_of_the_definition
            } { base_models }
            corrupt { devices_agree } { base_models }
            embedding { odd_rows_and_widths more_rows_than_a_block_sorts widths_of_models } { base_models }
            layernorm { odd_rows_and_widths widths_of_models } { base_models }
            linear {
                dense_layers_of_odd_sizes
                dense_layers_of_models
                heads_of_few_outputs
                heads_of_many_outputs
                the_gelu_is_exact_and_not_the_tanh_form
            } { base_models }
            losses { losses_by_row losses_by_sequence } { base_models }
            mixture { lengths_and_widths } { base_models }
            mlm { odd_slots_and_vocabularies temperature_and_forbidden_targets a_vocabulary_of_models } { base_models }
            rows {
                indices_that_ascend
                long_runs_of_one_row
                indices_in_any_order
                units_are_dropped
            } { base_models }
        }
    };
}

/// A set of cases of an op.
pub struct Set<D: Driver> {
    /// The op.
    pub op: &'static str,
    /// What the cases have in common.
    pub name: &'static str,
    /// Whether its sizes are those of base models, too many for an emulation.
    pub is_large: bool,
    /// Takes them one after another.
    pub run: fn(&mut dyn Judge<D>),
}

/// All sets.
#[must_use]
pub fn sets<D: Driver>() -> Vec<Set<D>> {
    macro_rules! list {
        ($($op:ident { $($small:ident)* } { $($large:ident)* })*) => {
            vec![$(
                $(Set { op: stringify!($op), name: stringify!($small), is_large: false, run: $op::$small::<D> },)*
                $(Set { op: stringify!($op), name: stringify!($large), is_large: true, run: $op::$large::<D> },)*
            )*]
        };
    }
    op_sets!(list)
}

/// Names of the ops.
#[must_use]
pub fn names() -> Vec<&'static str> {
    macro_rules! list {
        ($($op:ident { $($small:ident)* } { $($large:ident)* })*) => { vec![$(stringify!($op)),*] };
    }
    op_sets!(list)
}

/// One set by name, as tests take them.
///
/// # Panics
/// When there is none.
pub fn run_set<D: Driver>(op: &str, name: &str, judge: &mut dyn Judge<D>) {
    let sets = sets::<D>();
    let set = sets.iter().find(|set| set.op == op && set.name == name);
    (set.expect("a set of the list").run)(judge);
}

/// The sets of an op on a device in both precisions, told set by set.
pub fn run<D: Driver>(
    op: &str,
    with_large: bool,
    cpu: Cpu,
    make: Make<'_, D>,
    tell: &mut dyn FnMut(&[CaseFound]),
) -> Vec<CaseFound> {
    let mut judge = Noting::new(cpu, make);
    let sets = sets::<D>().into_iter();
    for set in sets.filter(|set| set.op == op && (with_large || !set.is_large)) {
        judge.begin(set.name);
        (set.run)(&mut judge);
        tell(&judge.found);
    }
    judge.found
}
