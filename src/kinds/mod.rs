//! The table of stage kinds: glue between the workflow core and the rooms that do the work.
//!
//! A new kind is one file here and one line in [`KINDS`].

use flow::kind::{KindEntry, kind};

pub mod aggregate;
pub mod checkpoint;
pub mod command;
pub mod corpus;
pub mod dataset;
pub mod device;
mod facts;
pub mod fetch;
pub mod finetune;
pub(crate) mod handing_out;
mod in_effect;
mod model;
pub mod pack;
pub mod params_file;
pub mod predict;
pub mod pretrain;
pub mod report;
pub mod score;
pub mod select;
pub mod speed;
mod tasks;
pub(crate) mod texts;
mod trainers;
mod training;
pub mod vocab;

/// Every kind of stage, in the order of the documentation.
pub const KINDS: &[KindEntry] = &[
    kind::<fetch::Fetch>(),
    kind::<dataset::Dataset>(),
    kind::<corpus::Corpus>(),
    kind::<vocab::Vocab>(),
    kind::<pack::Pack>(),
    kind::<checkpoint::Checkpoint>(),
    kind::<pretrain::Pretrain>(),
    kind::<finetune::Finetune>(),
    kind::<predict::Predict>(),
    kind::<score::Score>(),
    kind::<select::Select>(),
    kind::<aggregate::Aggregate>(),
    kind::<report::Report>(),
    kind::<command::Command>(),
];
