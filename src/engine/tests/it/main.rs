//! Tests of whole networks.

mod bits;
mod oracles;
mod parity;
mod tasks;
mod training;
