//! Tests of loading as a whole, by theme.

mod layers;
mod matrices;
mod problems;
mod stages;
