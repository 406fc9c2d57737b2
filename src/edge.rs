//! The world: files, sockets, clocks, Elasticsearch. Thin loops around machines; a decision found here belongs in flow.

pub mod acknowledged;
pub mod budget;
pub mod checkpoint;
pub mod dead_letters;
pub mod elastic;
pub mod journal;
pub mod notify;
pub mod now;
pub mod operations;
pub mod receive;
pub mod sample;
mod segments;
pub mod setup;
pub mod ship;
pub mod spool;
pub mod state;
pub mod status;
pub mod tail;
mod torn;
pub mod write;
