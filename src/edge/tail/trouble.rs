//! What cannot be read, said often enough to be seen and seldom enough to be borne.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

/// A standing trouble is logged at its first and then at every so-many-th report: once a minute at the default poll.
const REPORT_EVERY: u32 = 60;

/// Paths in trouble that are remembered; beyond, new ones are logged at each report.
const PATHS_MAX: usize = 1_024;

/// The paths that could not be read, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<PathBuf, u32>);

impl Troubles {
    pub(super) fn report(&mut self, path: &Path, error: &io::Error) {
        let mut times = 0;
        if let Some(known) = self.0.get_mut(path) {
            *known += 1;
            times = *known;
        } else if self.0.len() < PATHS_MAX {
            self.0.insert(path.to_owned(), 0);
        }
        if times % REPORT_EVERY == 0 {
            warn!(path = %path.display(), %error, hint = hint(error), "cannot read: trying again at the next scan");
        }
    }

    /// This path could be read.
    pub(super) fn clear(&mut self, path: &Path) {
        if !self.0.is_empty() && self.0.remove(path).is_some() {
            info!(path = %path.display(), "can be read again");
        }
    }

    /// The paths that are in trouble now.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "let modelbeat's user read the file and enter its folders"
        }
        io::ErrorKind::StaleNetworkFileHandle => "check the network file system's mount",
        io::ErrorKind::NotFound => "the file vanished while it was being opened",
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "raise the limit of open files (ulimit -n)"
        }
        _ => "check the disk and the kernel's log",
    }
}
