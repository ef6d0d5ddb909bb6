//! Tests of whole networks.

mod bits;
mod oracles;
