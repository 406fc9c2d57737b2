//! What the host is doing: CPU, memory, load, disk, network; the model server's process; the cgroup.

use std::path::PathBuf;
use std::time::Duration;

/// `host:`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Time between snapshots.
    pub every: Duration,
    /// The model server's process.
    pub process: Option<ProcessSelector>,
}

/// How to find the model server's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessSelector {
    /// By number.
    Pid(u32),
    /// By a file that holds the number; read anew at each snapshot.
    PidFile(PathBuf),
    /// By exact process name; of several the oldest.
    Name(String),
}
