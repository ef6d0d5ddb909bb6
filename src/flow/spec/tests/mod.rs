//! Tests of loading as a whole, by theme.

mod choices;
mod departures;
mod layers;
mod matrices;
mod problems;
mod stages;
