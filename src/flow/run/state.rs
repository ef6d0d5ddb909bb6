//! What a run knows of each stage while it works. Decides nothing.

use std::time::Instant;

use crate::digest::Digest;
use crate::event::End;
use crate::exec::job::Force;
use crate::store::index::IndexEntry;

#[derive(Debug)]
pub(super) enum State {
    /// Upstream stages are not known yet; so many.
    Waiting(usize),
    /// It can run.
    Ready,
    /// It can run at this time: a key is busy, or a retry waits.
    Later(Instant),
    /// A supervisor has it.
    Running(Running),
    /// It is over.
    Over(End),
}

#[derive(Debug)]
pub(super) struct Running {
    pub(super) key: Digest,
    pub(super) started: Instant,
}

#[derive(Debug, Default)]
pub(super) struct History {
    /// Tries that failed so far.
    pub(super) tries: u32,
    /// Starts that were said.
    pub(super) starts: u32,
    /// Whether the last of them is still to be followed by a retry or an end.
    pub(super) is_open: bool,
    /// Times its inputs moved.
    pub(super) moved: u32,
    /// Times its supervisor died.
    pub(super) lost: u32,
    /// Times its bytes were made again because they were gone or damaged.
    pub(super) remade: u32,
    /// Why it runs.
    pub(super) because: String,
    /// Whether its record does not count, and why.
    pub(super) force: Force,
    /// Digests of its outputs before it is remade.
    pub(super) before: Option<IndexEntry>,
    /// How often it was found with another runner since it was last started here.
    pub(super) busy: u32,
    /// Whether waiting for another runner was said.
    pub(super) waiting_said: bool,
    pub(super) seconds: f64,
    pub(super) started_after: Option<f64>,
    pub(super) key: Option<Digest>,
}
