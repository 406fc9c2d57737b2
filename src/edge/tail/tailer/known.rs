//! Files that have been met: changed, renamed, rotated out of sight, deleted, at rest?

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::{debug, info, warn};

use super::{QUIET_SCANS_DELETED, QUIET_SCANS_RENAMED, Tailer};
use crate::edge::tail::find::{Found, find_by_inode, folders_near};
use crate::edge::tail::identity::{FileId, Seen};
use crate::edge::tail::source::Former;
use crate::flow::engine::Intake;
use crate::flow::event::{InputId, Timestamp};

impl Tailer {
    /// Known files of an input.
    pub(super) fn look_at_known(&mut self, input: InputId, found: &Found, out: &mut Vec<Intake>) {
        let own = self.sources.keys().filter(|id| id.input == input);
        let ids: Vec<_> = own.copied().collect();
        let mut left = BTreeSet::new();
        for id in ids {
            match found.files.get(&id) {
                Some((path, metadata)) => self.look_at_named(id, path, metadata, found, out),
                // It may be in what could not be looked at.
                None if found.is_incomplete() => {}
                None if self.sources.get(&id).is_some_and(|source| source.named) => {
                    left.insert(id);
                }
                None => self.look_at_unnamed(id, out),
            }
        }
        self.follow(&left);
    }

    fn look_at_named(
        &mut self,
        id: FileId,
        path: &Path,
        metadata: &Metadata,
        found: &Found,
        out: &mut Vec<Intake>,
    ) {
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        source.named = true;
        if source.path != path {
            source.rename(path.to_owned());
        }
        if source
            .former_path
            .as_ref()
            .is_some_and(|former| found.paths.contains_key(former.as_os_str()))
        {
            source.superseded = true;
        }
        let seen = Seen::of(metadata);
        if source.seen != seen {
            source.quiet_scans = 0;
            source.seen = seen;
            if source.packing().is_none() {
                source.size = metadata.len();
            }
            self.enqueue(id);
            return;
        }
        source.quiet_scans = source.quiet_scans.saturating_add(1);
        if source.quiet_scans < QUIET_SCANS_RENAMED || source.queued {
            return;
        }
        if source.is_broken() {
            source.give_up(out);
        } else if source.superseded && source.packing().is_none() && source.size > source.offset() {
            if source.is_behind() {
                // Its unfinished record was given back: that is read again first.
                self.enqueue(id);
            } else {
                source.finish(out);
            }
        }
    }

    /// No glob leads to these any more. An open descriptor still does; the others may be found under another name.
    fn follow(&mut self, left: &BTreeSet<FileId>) {
        let sources = &self.sources;
        let closed = left
            .iter()
            .filter_map(|id| sources.get(id))
            .filter(|source| source.file.is_none() && source.may_stay_open());
        let wanted: BTreeSet<_> = closed
            .clone()
            .map(|source| (source.id.dev, source.id.inode))
            .collect();
        let mut folders = folders_near(closed.map(|source| source.path.as_path()));
        if !wanted.is_empty() {
            folders.extend(self.all_folders());
        }
        let found = find_by_inode(&folders, &wanted);
        for id in left {
            let Some(source) = self.sources.get_mut(id) else {
                continue;
            };
            source.named = false;
            source.quiet_scans = 0;
            if source.file.is_none()
                && let Some(path) = found.get(&(id.dev, id.inode))
            {
                source.rename(path.clone());
            }
            info!(path = %source.path.display(), offset = source.offset(), "file left the paths: reading it to its end");
            self.enqueue(*id);
        }
    }

    fn all_folders(&self) -> impl Iterator<Item = std::path::PathBuf> {
        let roots = self.inputs.iter().flat_map(|input| input.finder.roots());
        let sources = self.sources.values();
        roots.chain(sources.filter_map(|source| source.path.parent().map(Path::to_owned)))
    }

    fn look_at_unnamed(&mut self, id: FileId, out: &mut Vec<Intake>) {
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        let metadata = source
            .file
            .as_ref()
            .map(File::metadata)
            .transpose()
            .unwrap_or_default();
        let is_deleted = metadata
            .as_ref()
            .is_some_and(|metadata| metadata.nlink() == 0);
        let seen = metadata.as_ref().map_or(source.seen, Seen::of);
        if seen != source.seen {
            source.quiet_scans = 0;
            source.seen = seen;
            self.enqueue(id);
            return;
        }
        source.quiet_scans = source.quiet_scans.saturating_add(1);
        let patience = if is_deleted {
            QUIET_SCANS_DELETED
        } else {
            QUIET_SCANS_RENAMED
        };
        if source.quiet_scans < patience || source.queued {
            return;
        }
        if source.file.is_some() && source.packing().is_none() && source.is_behind() {
            // Its unfinished record was given back: that is read again before it ends.
            self.enqueue(id);
            return;
        }
        self.retire(id, is_deleted, out);
    }

    /// Nothing more is expected of this file.
    fn retire(&mut self, id: FileId, is_deleted: bool, out: &mut Vec<Intake>) {
        let Some(mut source) = self.sources.remove(&id) else {
            return;
        };
        source.give_up(out);
        source.finish(out);
        self.unpack_next(id);
        debug!(path = %source.path.display(), offset = source.offset(), is_deleted, "done with file");
        self.lost_bytes += source.lost_bytes;
        if let Some(input) = self.input_mut(id.input) {
            input.read_bytes += source.read_bytes;
        }
        let unread_bytes = if source.file.is_none() {
            source.size.saturating_sub(source.offset())
        } else {
            0
        };
        if unread_bytes > 0 {
            warn!(path = %source.path.display(), unread_bytes, "file went away while it was closed and had news");
        }
        let (head, evidence) = (source.head(), source.evidence());
        let Some(key) = source.key().cloned() else {
            self.lost_bytes += unread_bytes;
            return;
        };
        let former = Former {
            key,
            head,
            evidence,
            unread_bytes,
        };
        if is_deleted {
            self.missing.keep_gone(former);
        } else {
            self.missing.keep_missing(former);
        }
        if unread_bytes > 0 {
            self.look_for_rotation(id.input, &source.path);
        }
    }

    /// Closes what has had no news for long.
    pub(super) fn rest(&mut self, input: InputId, now: Timestamp) {
        let Some(patience) = self
            .input_mut(input)
            .map(|input| input.settings.close_inactive)
        else {
            return;
        };
        for source in self.sources.values_mut() {
            if source.id.input != input {
                continue;
            }
            source.look(now);
            let idle = source.idle_since(now);
            let is_idle =
                u128::try_from(now.since(idle)).is_ok_and(|idle| idle >= patience.as_millis());
            if is_idle && source.file.is_some() && source.named && !source.queued {
                debug!(path = %source.path.display(), offset = source.offset(), "file is quiet: closing it until it has news");
                source.close();
            }
        }
    }
}
