//! The crate from outside: properties of its formats, and the counts of real corpora.

mod corpus;
mod features;
mod oracles;
mod parity;
mod pieces;
mod properties;
mod real_files;
mod sentences;
