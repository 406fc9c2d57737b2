//! Tailed files as replayable logs: notify wakes, a periodic scan decides; identity, rotation, fair reads.

use crate::flow::event::InputId;
use crate::flow::lines::Framing;

/// One `type: file` input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its index in the pipeline's `inputs:`.
    pub input: InputId,
    /// Globs, relative to the working directory.
    pub paths: Vec<String>,
    /// How records are told apart.
    pub framing: Framing,
    /// Where a file that is there at the first start is read from.
    pub start_at: StartAt,
    /// Longest record; beyond, it is a dead letter. Default 16 MiB.
    pub record_bytes_max: usize,
}

/// Where reading of an unknown file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At its first byte.
    Beginning,
    /// At its end, if it was there when the agent first started; files that appear later are read whole.
    End,
}
