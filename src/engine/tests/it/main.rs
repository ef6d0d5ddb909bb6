//! Tests of whole networks.

mod oracles;
