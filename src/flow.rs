//! The pure floor: records in, documents out, plus state. No async, no I/O, no clock, no randomness;
//! time comes in as `now`. Everything worth testing is tested here.

pub mod alert;
pub mod body;
pub mod bulk;
pub mod canonical;
pub mod decode;
pub mod detect;
pub mod document;
pub mod engine;
pub mod event;
pub mod host;
pub mod join;
pub mod json;
pub mod lines;
pub mod mapping;
pub mod names;
pub mod notify;
pub mod operation;
pub mod pool;
pub mod privacy;
pub mod quality;
pub mod slices;
pub mod windows;
