//! Training examples for pre-training: built from sentences, shuffled, stored and read again. Knows no stages and no models.

pub mod builder;
pub mod format;
mod map;
pub mod pack;
mod random;
pub mod read;
pub mod write;

#[cfg(test)]
mod tests;
