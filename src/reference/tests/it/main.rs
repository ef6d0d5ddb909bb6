//! The engine against the reference, and the reference against PyTorch.

mod engine;
mod oracles;
