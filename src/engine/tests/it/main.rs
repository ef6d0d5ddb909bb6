//! Tests of whole networks.

mod bits;
mod oracles;
mod tasks;
mod training;
