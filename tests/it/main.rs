//! The integration tests: one binary, each story a file, told against the real `modelbeat` and a real Elasticsearch.
//!
//! `tests/run` starts the nodes and fetches the data; a story that needs them and does not find them fails and says so.
//! What the stories share are nouns of their own: [`agent`] (the program under test), [`cluster`] (the node it ships to),
//! [`documents`] (what is stored, in a form that can be compared), [`published`] (the quality documents, by window), [`told`] (what they must say, by a recount),
//! [`nannyml`] (real data, and what scikit-learn makes of it), [`browser`] (a page before a person), [`wait`] (conditions with a deadline). What breaks, and what
//! becomes of it then, is in [`faults`]. Nothing here asserts on time.
#![allow(
    clippy::format_collect,
    clippy::format_push_string,
    reason = "plain before quick"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and shows what it saw"
)]

mod again;
mod agent;
mod alerts;
mod browser;
mod check;
mod cluster;
mod corpus;
mod dead_letters;
mod demo;
mod documents;
mod false_alarms;
#[path = "../faults/faults.rs"]
mod faults;
mod gpu;
mod http_equals_file;
mod kibana;
mod late_labels;
mod late_updates;
mod law;
mod nannyml;
mod notify;
mod on_screen;
mod operations;
mod ports;
mod privacy;
mod published;
mod rotation;
mod scikit_learn;
mod security;
mod setup;
mod simulation;
mod spill;
mod status;
mod told;
mod wait;
