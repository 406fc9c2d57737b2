//! What happens when things break: each row of the failure table (DESIGN §9) against the real binary, each fault a small
//! file here.
//!
//! The nouns of `tests/it` serve here too: [`crate::agent`] (the program under test), [`crate::cluster`] (the node that
//! `tests/run` started). A fault that needs a cluster to misbehave, or a node of its own to stop and start, finds it here.

mod kill_storm;
