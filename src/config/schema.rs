//! The pipeline file's JSON Schema (draft 2020-12), for editors: `modelbeat check --print-schema`.
//!
//! Written by hand, because its descriptions are for people; a test compares its keys with those the readers ask for.

/// The schema, as JSON.
pub const TEXT: &str = include_str!("pipeline.schema.json");
