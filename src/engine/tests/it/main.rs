//! Tests of whole networks.

mod bits;
mod oracles;
mod parity;
mod steps;
mod tasks;
mod training;
