//! Results as a folder for others: written, held against itself and taken over. Knows nothing of the command line.
//!
//! ```text
//! README.md               what this is, three checks and how long they take
//! ro-crate-metadata.json  the same for programs: RO-Crate 1.1, Provenance Run Crate
//! bundle.json             the stages with their keys, where each object lies, what was left out and why
//! records/<key>.json      the records, as a cache holds them
//! reports/ results/       outputs of stages, by the stage's name; each file is an object of some record, but for
//!                         `run.html` beside a report, which follows from all records
//! trees/<digest>          listings of outputs that are folders
//! pipeline/               the pipeline as one file, its lock, and files of the author's that stages read
//! resolved.yaml           the same with profiles and settings merged in, where there were some
//! original/               the file as it was written, what it extends, its recipes
//! B3SUMS  SHA256SUMS      digests of all other files, for `b3sum -c` and `sha256sum -c`
//! ```
//! Nothing here is compressed or linked by this room, and no name leads out of the folder: whatever has another form is
//! refused before it is read.

mod agreement;
pub(crate) mod anonymous;
pub(crate) mod bundle;
mod chain;
mod compare;
pub(crate) mod excerpts;
pub(crate) mod export;
pub(crate) mod gap;
pub(crate) mod import;
pub(crate) mod lineage;
mod noted;
pub(crate) mod opened;
mod pages;
mod pins;
mod places;
mod search;
mod sums;
pub(crate) mod verify;
mod workshop;
