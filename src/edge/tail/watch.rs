//! The file system's notifications, as a doorbell: they say *look now*, never what happened.
//!
//! Everything here may fail, be late or be lost (inotify's limits, network file systems) without a byte being lost:
//! the periodic scan decides. So a failure is logged once and the tail polls.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tracing::warn;

/// Changed paths that are told apart; beyond, a scan looks at all.
const CHANGED_MAX: usize = 1_024;

/// Folders that are watched; files in others are polled. inotify's own default limit is 8,192 for a user.
const FOLDERS_MAX: usize = 1_024;

/// How long the watcher's thread waits when it hears of a path again that has not been looked at yet. The kernel
/// folds equal notifications that wait into one, so a writer that makes 100,000 small writes a second costs the
/// watcher a few hundred wake-ups and not 100,000.
const REPEAT_WAIT: Duration = Duration::from_millis(5);

/// Stops a tail, and is what its notifications ring. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    state: Mutex<Rung>,
    rung: Condvar,
}

/// What the bell was rung for since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Rung {
    /// Files that may have grown.
    pub(super) changed: BTreeSet<PathBuf>,
    /// Names came, went or moved, or notifications were lost: scan.
    pub(super) names: bool,
    pub(super) stopped: bool,
}

impl Stop {
    /// Not stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the tail return after what it is handing over. Under [`Mode::Once`](super::Mode::Once), one that waits for a full
    /// channel returns once the receiver takes from it or is dropped.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.0.rung.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Takes what it was rung for, waiting for a ring until `deadline`.
    pub(super) fn wait_until(&self, deadline: Instant) -> Rung {
        let mut state = self.lock();
        while !state.stopped && !state.names && state.changed.is_empty() {
            let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                break;
            };
            state = self
                .0
                .rung
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Rung {
            stopped: state.stopped,
            names: std::mem::take(&mut state.names),
            changed: std::mem::take(&mut state.changed),
        }
    }

    /// Sleeps; returns early only if stopped.
    pub(super) fn pause(&self, length: Duration) {
        let state = self.lock();
        // Poisoned or timed out, the caller goes on.
        drop(
            self.0
                .rung
                .wait_timeout_while(state, length, |state| !state.stopped),
        );
    }

    /// Runs on the watcher's thread.
    fn ring(&self, event: notify::Result<Event>) {
        let mut is_repeat = false;
        {
            let mut state = self.lock();
            match event {
                Ok(event) if event.need_rescan() => state.names = true,
                Ok(event) => match event.kind {
                    // Our own opening and reading.
                    EventKind::Access(AccessKind::Close(AccessMode::Write))
                    | EventKind::Modify(
                        ModifyKind::Data(_) | ModifyKind::Any | ModifyKind::Metadata(_),
                    ) => {
                        for path in event.paths {
                            is_repeat |= !state.changed.insert(path);
                        }
                    }
                    EventKind::Access(_) => return,
                    _ => state.names = true,
                },
                Err(_) => state.names = true,
            }
            if state.changed.len() > CHANGED_MAX {
                state.changed.clear();
                state.names = true;
            }
        }
        self.0.rung.notify_all();
        if is_repeat {
            std::thread::sleep(REPEAT_WAIT);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rung> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches folders, as far as that is possible.
#[derive(Debug)]
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    /// By path: device and inode, since a folder that is made anew needs a new watch.
    folders: BTreeMap<PathBuf, (u64, u64)>,
}

impl Watch {
    pub(super) fn new(bell: &Stop) -> Self {
        let bell = bell.clone();
        let watcher = notify::recommended_watcher(move |event| bell.ring(event));
        let watcher = watcher
            .inspect_err(|error| warn!(%error, "no notifications of file changes: polling"))
            .ok();
        Self {
            watcher,
            folders: BTreeMap::new(),
        }
    }

    /// Watches these folders and no others.
    pub(super) fn watch(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        let identity = |path: &Path| {
            std::fs::metadata(path)
                .ok()
                .map(|found| (found.dev(), found.ino()))
        };
        self.folders.retain(|path, known| {
            let keep = wanted.contains(path) && identity(path) == Some(*known);
            if !keep {
                // A folder that was deleted has lost its watch already.
                drop(watcher.unwatch(path));
            }
            keep
        });
        for path in wanted {
            if self.folders.contains_key(path) || self.folders.len() >= FOLDERS_MAX {
                continue;
            }
            let Some(identity) = identity(path) else {
                continue;
            };
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(path.clone(), identity);
                }
                Err(error) => {
                    warn!(
                        folder = %path.display(), %error,
                        hint = "raise fs.inotify.max_user_watches if its limit is reached",
                        "no more notifications of file changes: polling"
                    );
                    self.watcher = None;
                    return;
                }
            }
        }
    }
}
