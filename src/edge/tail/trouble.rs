//! What cannot be read, said often enough to be seen and seldom enough to be borne.
//!
//! A path is in trouble until it can be read, or is gone; or until nobody has met the trouble again for a while, for what
//! is not tried any more is no trouble.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::status::Unread;

/// A standing trouble is logged at its first and then at every so-many-th report: once a minute at the default poll.
const REPORT_EVERY: u32 = 60;

/// Paths in trouble that are remembered; beyond, new ones are logged at each report.
const PATHS_MAX: usize = 1_024;

/// Scans of every input without a report after which a path is in trouble no more. A trouble is met again at each scan, or at the
/// file's next turn, which a backlog of others may put off.
const STANDS_FOR: u64 = 60;

/// The paths that could not be read.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    paths: BTreeMap<PathBuf, Trouble>,
    /// How often every input has been scanned.
    round: u64,
}

#[derive(Debug)]
struct Trouble {
    /// How often in a row.
    times: u32,
    /// When it was last met.
    round: u64,
    reason: String,
}

impl Troubles {
    pub(super) fn report(&mut self, path: &Path, error: &io::Error) {
        let hint = hint(error);
        let mut trouble = Trouble {
            times: 0,
            round: self.round,
            reason: format!("{error}; {hint}"),
        };
        let known = self.paths.get_mut(path);
        trouble.times = known
            .as_ref()
            .map_or(0, |known| known.times.wrapping_add(1));
        if trouble.times.is_multiple_of(REPORT_EVERY) {
            warn!(path = %path.display(), %error, hint, "cannot read: trying again at the next scan");
        }
        if let Some(known) = known {
            *known = trouble;
        } else if self.paths.len() < PATHS_MAX {
            self.paths.insert(path.to_owned(), trouble);
        }
    }

    /// This path could be read.
    pub(super) fn clear(&mut self, path: &Path) {
        if !self.paths.is_empty() && self.paths.remove(path).is_some() {
            info!(path = %path.display(), "can be read again");
        }
    }

    /// Every input has been scanned so often: forgets what is gone, and what has not been met for long.
    pub(super) fn forget(&mut self, round: u64) {
        self.round = round;
        let is_gone = |path: &Path| {
            let looked = std::fs::symlink_metadata(path);
            looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        self.paths
            .retain(|path, trouble| round - trouble.round < STANDS_FOR && !is_gone(path));
    }

    /// What is in trouble now, and why.
    pub(super) fn unread(&self) -> Vec<Unread> {
        let unread = self.paths.iter().map(|(path, trouble)| Unread {
            path: path.clone(),
            reason: trouble.reason.clone(),
        });
        unread.collect()
    }

    /// The paths that are in trouble now.
    pub(super) fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.paths.keys()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report(troubles: &mut Troubles, path: &Path) {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        troubles.report(path, &error);
    }

    #[test]
    fn a_path_is_in_trouble_until_it_can_be_read_or_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["mended", "gone", "stays"].map(|name| folder.path().join(name));
        let mut troubles = Troubles::default();
        for path in &paths {
            std::fs::write(path, "").unwrap();
            report(&mut troubles, path);
        }
        troubles.clear(&paths[0]);
        std::fs::remove_file(&paths[1]).unwrap();
        troubles.forget(1);
        let unread = troubles.unread();
        assert_eq!(unread.len(), 1);
        assert_eq!(unread[0].path, paths[2]);
        assert!(unread[0].reason.contains("let modelbeat's user read"));
    }

    #[test]
    fn a_trouble_that_is_not_met_again_is_forgotten_in_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut troubles = Troubles::default();
        for round in 0..2 * STANDS_FOR {
            troubles.forget(round);
            report(&mut troubles, file.path());
        }
        assert_eq!(troubles.unread().len(), 1);
        troubles.forget(3 * STANDS_FOR - 2);
        assert_eq!(troubles.unread().len(), 1);
        troubles.forget(3 * STANDS_FOR - 1);
        assert_eq!(troubles.unread(), []);
    }
}
