//! **modelbeat**: the beat of your models in Elasticsearch.
//!
//! The house has two floors and one staircase:
//!
//! ```text
//! main → cli → agent → edge → flow          config knows every room; no room knows config
//!
//! edge   tail, receive → journal                         async or blocking, fallible, thin
//!          │ batches of records, with positions
//! flow     └▶ decode → mapping → join → quality → document    pure: no I/O, no clock, `now` is an argument
//!                                                  │ documents, and behind them the checkpoint
//! edge                                     ship ◀──┘ → Elasticsearch, files, dead letters
//! ```
//!
//! The law, kept by `tests/it/law.rs`: a room may `use` only rooms further right in the first line;
//! nothing under [`flow`] names tokio, reqwest, elasticsearch, files, sockets or a clock.
//! ARCHITECTURE.md is the long form.

#![forbid(unsafe_code)]

pub mod agent;
pub mod cli;
pub mod config;
pub mod edge;
pub mod flow;
