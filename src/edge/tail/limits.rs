//! What all files of a pipeline together may take.

use rustix::process::{Resource, getrlimit};

/// Unfinished records held in memory, over all files: four of the longest permitted by default. A writer that stops in
/// mid-line costs its file's re-reading, not memory.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Descriptors held open, however many the process may have. A file that is open cannot get lost by a rename, so as many
/// as is decent. Beyond, the file that has been quiet longest is closed and opened again at its next news.
const OPEN_MAX: u64 = 4_096;

/// The process has sockets, a journal and a store to open, too.
const OPEN_MIN: u64 = 64;

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) open_max: usize,
    pub(super) held_bytes_max: usize,
}

impl Limits {
    /// Half of the descriptors that the process may have: 512 at the usual limit of 1,024.
    pub(super) fn of_process() -> Self {
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let open_max = (allowed / 2).clamp(OPEN_MIN, OPEN_MAX);
        Self {
            open_max: usize::try_from(open_max).unwrap_or(usize::MAX),
            held_bytes_max: HELD_BYTES_MAX,
        }
    }
}
