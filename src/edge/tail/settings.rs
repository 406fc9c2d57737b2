//! What a `type: file` input may be told.

use std::time::Duration;

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
    /// A file that was not modified for so long is not opened, unless a head knows it. Default: every file is.
    pub ignore_older: Option<Duration>,
    /// A file without news for so long is closed, and opened again at its next news: descriptors are given back, and
    /// nothing else changes. Default 5 min.
    pub close_inactive: Duration,
    /// How news is heard of.
    pub watch: WatchMode,
    /// Time between two scans, which find what no notification told of. Default 1 s.
    pub poll: Duration,
}

/// Where reading of an unknown file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At its first byte.
    Beginning,
    /// At its end, if it was there when the agent first started; files that appear later are read whole.
    End,
}

/// How news is heard of. The periodic scan goes on in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchMode {
    /// By the kernel's notifications, but for folders on network file systems, where they do not tell what others write.
    Auto,
    /// By the kernel's notifications.
    Notify,
    /// By the scan alone.
    Poll,
}
