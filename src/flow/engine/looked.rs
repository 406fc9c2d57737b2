//! Windows as they were looked at last. Of hundreds of windows a few change between two looks; the others need not be
//! summed up again.
//!
//! It lies with who looks, not with the engine, which a look does not change. It holds what the last look showed, no more.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::flow::engine::view::WindowView;
use crate::flow::event::Timestamp;
use crate::flow::windows::WindowKey;

/// A host snapshot may be this late: until then, what the host did in a window may change.
const HOST_LATE_MS: i64 = 60_000;

/// How much is told of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Detail {
    /// Counts.
    Counts,
    /// … and times.
    Times,
    /// … and rows of classes and cells.
    Rows,
}

/// What the last look showed.
#[derive(Debug, Default)]
pub struct Looked {
    last: HashMap<(WindowKey, Detail), Seen>,
    next: HashMap<(WindowKey, Detail), Seen>,
}

#[derive(Debug)]
struct Seen {
    /// Of the window's counts.
    revision: u64,
    at: Timestamp,
    window: Arc<WindowView>,
}

impl Looked {
    /// The window as it was, if that is what it still is; else as `make` makes it.
    pub(super) fn window(
        &mut self,
        (key, detail): (WindowKey, Detail),
        revision: u64,
        now: Timestamp,
        (is_filling, is_final): (bool, bool),
        make: impl FnOnce() -> WindowView,
    ) -> Arc<WindowView> {
        let is_same = |seen: &Seen| {
            seen.revision == revision
                && (seen.window.is_filling, seen.window.is_final) == (is_filling, is_final)
                && seen.window.until.plus(HOST_LATE_MS) <= seen.at
        };
        let seen = self.last.remove(&(key, detail)).filter(is_same);
        let seen = seen.unwrap_or_else(|| Seen {
            revision,
            at: now,
            window: Arc::new(make()),
        });
        let window = Arc::clone(&seen.window);
        self.next.insert((key, detail), seen);
        window
    }

    /// The look is over: what it did not show is forgotten.
    pub(super) fn over(&mut self) {
        self.last = std::mem::take(&mut self.next);
    }
}
