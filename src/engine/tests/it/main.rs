//! Tests of whole networks.

mod bits;
mod joint;
mod oracles;
mod parity;
mod products;
mod steps;
mod tasks;
mod training;
