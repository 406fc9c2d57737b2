//! What is fuzzed, and what must hold of it whatever the bytes are: a function a subject, which panics where it does not.
//!
//! Shared by the fuzz targets (`fuzz_targets/`, libFuzzer makes the bytes) and by `tests/it/corpus.rs` (the bytes kept in
//! `corpus/`, run as ordinary tests). That nothing panics, overflows or runs out of memory goes without saying.
#![allow(
    dead_code,
    unused_imports,
    reason = "each target uses one of the subjects"
)]

#[path = "subjects/body.rs"]
mod body;
#[path = "subjects/journal.rs"]
mod journal;
#[path = "subjects/pipeline.rs"]
mod pipeline;
#[path = "subjects/records.rs"]
mod records;
#[path = "subjects/reply.rs"]
mod reply;

pub(crate) use body::body;
pub(crate) use journal::journal;
pub(crate) use pipeline::pipeline;
pub(crate) use records::records;
pub(crate) use reply::reply;
