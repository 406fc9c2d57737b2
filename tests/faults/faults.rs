//! What happens when things break: each row of the failure table (DESIGN §9) against the real binary, each fault a small
//! file here.
//!
//! The nouns of `tests/it` serve here too: [`crate::agent`] (the program under test), [`crate::cluster`] (the node that
//! `tests/run` started). A fault that needs a cluster to misbehave, or a node of its own to stop and start, finds it here.

mod broken_off;
mod busy;
mod certificate;
mod clock;
mod data_folder;
pub(crate) mod delivery;
mod disk_full;
mod fail_over;
mod forbidden;
mod healthy;
mod hostile_http;
mod kill_storm;
mod nonsense;
mod odd_lines;
mod outage;
mod refused;
mod reload;
mod rotations;
mod silent;
mod small_disk;
mod spool;
pub(crate) mod stub;
mod too_large;
mod torn;
pub(crate) mod written;
