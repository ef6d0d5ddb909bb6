//! Tests of whole networks.

mod bits;
mod cuda;
mod emulated;
mod joint;
mod nvidia;
mod oracles;
mod parity;
mod products;
mod steps;
mod tails;
mod tasks;
mod together;
mod training;
