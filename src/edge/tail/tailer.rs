//! The machine of the tail: which files are there, which is which, whose turn it is. No thread, no waiting, no clock:
//! [`Tailer::scan`] looks, [`Tailer::read_some`] gives one file its turn; time is counted in scans.
//!
//! What becomes of a file, by what a scan finds:
//!
//! | the scan finds | then |
//! |---|---|
//! | known inode, same name | a turn, if size or time changed |
//! | known inode, other name | renamed: goes on; if its old name has a new file and it is quiet, its last record ends |
//! | known inode nowhere, still linked | rotated out of sight: read until quiet, closed, its head kept for an hour |
//! | known inode nowhere, not linked | deleted: read to its end, then gone |
//! | unknown inode, a head's evidence fits | goes on from the head |
//! | unknown inode, nothing fits | a new source |
//!
//! That a file was cut or replaced under its inode is noticed in its turn, by [`Source`].

mod arrivals;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tracing::{debug, info, warn};

use super::find::{Finder, Found, find_nearby};
use super::heads::Heads;
use super::identity::FileId;
use super::source::{Seen, Source};
use super::trouble::Troubles;
use super::{Error, InputStatus, Settings, Snapshot};
use crate::flow::engine::Intake;
use crate::flow::event::{Head, InputId, SourceKey, Timestamp};
use crate::flow::lines::Pool;

/// Descriptors held open. Far below the usual limit of 1,024; a file that is open cannot get lost by a rename, so as
/// many as is decent. Beyond, the file that has been quiet longest is closed and opened again at its next news.
pub(super) const OPEN_MAX: usize = 256;

/// Scans in a row without news after which nothing more is expected of a file that was renamed away: 10 s by
/// default, ample for a writer to be told by logrotate to open the new one.
pub(super) const QUIET_SCANS_RENAMED: u32 = 10;

/// The same for a file without any name.
const QUIET_SCANS_DELETED: u32 = 1;

/// All files of a pipeline's file inputs.
#[derive(Debug)]
pub(super) struct Tailer {
    inputs: Vec<Input>,
    sources: BTreeMap<FileId, Source>,
    by_path: BTreeMap<PathBuf, Vec<FileId>>,
    /// Heads whose files are not to be found now.
    missing: Heads,
    /// Files that wait for a turn, the next first.
    queue: VecDeque<FileId>,
    troubles: Troubles,
    pool: Pool,
    turns: u64,
    scans: u64,
    once: bool,
    /// Of sources that are gone.
    lost_bytes: u64,
}

#[derive(Debug)]
struct Input {
    settings: Settings,
    finder: Finder,
    /// No start before this one left a head.
    first_start: bool,
    /// Handed over of sources that are gone.
    read_bytes: u64,
}

impl Tailer {
    pub(super) fn new(
        settings: Vec<Settings>,
        heads: &BTreeMap<SourceKey, Head>,
        once: bool,
    ) -> Result<Self, Error> {
        let mut inputs = Vec::new();
        for settings in settings {
            let first_start = heads.values().all(|head| head.input != settings.input.0);
            inputs.push(Input {
                finder: Finder::new(&settings)?,
                settings,
                first_start,
                read_bytes: 0,
            });
        }
        let ids: Vec<_> = inputs.iter().map(|input| input.settings.input).collect();
        let missing = Heads::new(heads, &ids);
        Ok(Self {
            inputs,
            sources: BTreeMap::new(),
            by_path: BTreeMap::new(),
            missing,
            queue: VecDeque::new(),
            troubles: Troubles::default(),
            pool: Pool::default(),
            turns: 0,
            scans: 0,
            once,
            lost_bytes: 0,
        })
    }

    /// Looks at the file system: finds new files, notices renames and deletions, queues what has news.
    pub(super) fn scan(&mut self, now: Timestamp, out: &mut Vec<Intake>) {
        self.by_path.clear();
        for index in 0..self.inputs.len() {
            let Some(input) = self.inputs.get_mut(index) else {
                continue;
            };
            let sources = &self.sources;
            let current = |id: &FileId| sources.get(id).map(|source| source.path.clone());
            let found = input
                .finder
                .find(&input.settings, current, &mut self.troubles);
            if self.scans == 0 && found.files.is_empty() {
                report_no_files(input.finder.patterns(), self.once);
            }
            self.look_at_known(index, &found, out);
            self.take_in_new(index, &found, out);
            for (path, id) in found.paths {
                self.by_path.entry(path).or_default().push(id);
            }
        }
        if self.scans == 0 {
            self.look_nearby(out);
            self.remember_first_start(out);
        }
        let sources = &self.sources;
        let is_live = |key: &SourceKey| sources.values().any(|source| source.key() == Some(key));
        self.missing.age(is_live, out);
        for source in self.sources.values_mut() {
            source.look(now);
        }
        self.scans += 1;
    }

    /// A notification says that this file may have grown.
    pub(super) fn mark(&mut self, path: &Path) {
        for id in self.by_path.get(path).cloned().unwrap_or_default() {
            self.enqueue(id);
        }
    }

    /// Gives the file that has waited longest its turn. False if none waits.
    pub(super) fn read_some(&mut self, now: Timestamp, out: &mut Vec<Intake>) -> bool {
        let Some(id) = self.queue.pop_front() else {
            return false;
        };
        self.turns += 1;
        if self
            .sources
            .get(&id)
            .is_some_and(|source| source.file.is_none())
        {
            self.make_room();
        }
        let Some(source) = self.sources.get_mut(&id) else {
            return true;
        };
        source.queued = false;
        source.used = self.turns;
        match turn(source, out) {
            // The next scan finds out where it went.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.once => {}
            Ok(is_more) => {
                self.troubles.clear(&source.path);
                if is_more {
                    self.enqueue(id);
                } else if self.once {
                    source.finish(out);
                }
            }
            Err(error) => {
                self.troubles.report(&source.path, &error);
                source.seen = Seen::default();
                if source.named {
                    source.close();
                }
            }
        }
        if let Some(source) = self.sources.get_mut(&id) {
            source.look(now);
        }
        true
    }

    /// The folders in which news may happen.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let files = self
            .sources
            .values()
            .filter_map(|source| source.path.parent().map(Path::to_owned));
        files.chain(self.inputs.iter().flat_map(|input| input.finder.roots()))
    }

    /// How far everything is.
    pub(super) fn snapshot(&self) -> Snapshot {
        let lost = self.sources.values().map(|source| source.lost_bytes);
        let sources: Vec<_> = self.sources.values().map(Source::status).collect();
        let inputs = self.inputs.iter().map(|input| {
            let id = input.settings.input;
            let own = || sources.iter().filter(move |source| source.input == id);
            let live = self.sources.values().filter(|source| source.id.input == id);
            InputStatus {
                input: id,
                files: own().count(),
                read_bytes_total: input.read_bytes
                    + live.map(|source| source.read_bytes).sum::<u64>(),
                lag_bytes: own().map(|source| source.lag_bytes).sum(),
                waiting_since: own().filter_map(|source| source.waiting_since).min(),
            }
        });
        Snapshot {
            inputs: inputs.collect(),
            lost_bytes_total: self.lost_bytes + lost.sum::<u64>(),
            sources,
        }
    }

    /// The paths that could not be read when last tried.
    pub(super) fn unread(&self) -> impl Iterator<Item = &PathBuf> {
        self.troubles.paths()
    }

    fn input_mut(&mut self, id: InputId) -> Option<&mut Input> {
        self.inputs
            .iter_mut()
            .find(|input| input.settings.input == id)
    }

    fn enqueue(&mut self, id: FileId) {
        if let Some(source) = self.sources.get_mut(&id)
            && !source.queued
        {
            source.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Known files of an input: changed, renamed, out of sight?
    fn look_at_known(&mut self, index: usize, found: &Found, out: &mut Vec<Intake>) {
        let Some(input) = self.inputs.get(index).map(|input| input.settings.input) else {
            return;
        };
        let ids: Vec<_> = self
            .sources
            .keys()
            .filter(|id| id.input == input)
            .copied()
            .collect();
        for id in ids {
            match found.files.get(&id) {
                Some((path, metadata)) => self.look_at_named(id, path, metadata, found, out),
                // It may be in what could not be looked at.
                None if found.incomplete => {}
                None => self.look_at_unnamed(id, out),
            }
        }
    }

    fn look_at_named(
        &mut self,
        id: FileId,
        path: &Path,
        metadata: &std::fs::Metadata,
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
            .is_some_and(|former| found.paths.contains_key(former))
        {
            source.superseded = true;
        }
        let seen = Seen::of(metadata);
        if source.seen == seen {
            source.quiet_scans = source.quiet_scans.saturating_add(1);
            let is_done = source.superseded && source.quiet_scans >= QUIET_SCANS_RENAMED;
            if is_done && !source.queued && source.size > source.offset() {
                if source.file.is_some() {
                    source.finish(out);
                } else {
                    // Closing it dropped the unfinished record: read that again first.
                    self.enqueue(id);
                }
            }
        } else {
            source.quiet_scans = 0;
            source.seen = seen;
            source.size = metadata.len();
            self.enqueue(id);
        }
    }

    /// No glob leads to it any more. An open descriptor still does.
    fn look_at_unnamed(&mut self, id: FileId, out: &mut Vec<Intake>) {
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        if source.named {
            source.named = false;
            source.quiet_scans = 0;
            if source.file.is_none()
                && let Some(path) = find_nearby(&source.path, id.dev, id.inode)
            {
                source.rename(path);
            }
            info!(path = %source.path.display(), offset = source.offset(), "file left the paths: reading it to its end");
            self.enqueue(id);
            return;
        }
        let metadata = source
            .file
            .as_ref()
            .map(File::metadata)
            .transpose()
            .unwrap_or_default();
        let seen = metadata.as_ref().map(Seen::of).unwrap_or_default();
        let is_deleted = metadata
            .as_ref()
            .is_some_and(|metadata| metadata.nlink() == 0);
        let patience = if is_deleted {
            QUIET_SCANS_DELETED
        } else {
            QUIET_SCANS_RENAMED
        };
        if seen != source.seen {
            source.quiet_scans = 0;
            source.seen = seen;
            self.enqueue(id);
            return;
        }
        source.quiet_scans = source.quiet_scans.saturating_add(1);
        if source.quiet_scans < patience || source.queued {
            return;
        }
        let Some(mut source) = self.sources.remove(&id) else {
            return;
        };
        source.finish(out);
        debug!(path = %source.path.display(), offset = source.offset(), is_deleted, "done with file");
        self.lost_bytes += source.lost_bytes;
        if let Some(input) = self.input_mut(id.input) {
            input.read_bytes += source.read_bytes;
        }
        if source.file.is_none() && source.size > source.offset() {
            let unread_bytes = source.size - source.offset();
            warn!(path = %source.path.display(), unread_bytes, "file went away while it was closed and had news");
            self.lost_bytes += unread_bytes;
        }
        let Some(key) = source.key().cloned() else {
            return;
        };
        if is_deleted {
            out.push(Intake::Gone(key));
        } else {
            self.missing.keep(key, source.head(), source.evidence());
        }
    }

    /// Closes the file that has been quiet longest, if too many are open. One without a name cannot be opened again.
    fn make_room(&mut self) {
        if self
            .sources
            .values()
            .filter(|source| source.file.is_some())
            .count()
            < OPEN_MAX
        {
            return;
        }
        let can_close = self
            .sources
            .values_mut()
            .filter(|source| source.file.is_some() && source.named);
        if let Some(source) = can_close.min_by_key(|source| (source.queued, source.used)) {
            source.close();
        }
    }
}

fn turn(source: &mut Source, out: &mut Vec<Intake>) -> io::Result<bool> {
    if source.file.is_none() && !source.reopen()? {
        // Another file has its name: the next scan finds out where it went.
        return Ok(false);
    }
    source.read(out)
}

fn report_no_files(patterns: &[String], once: bool) {
    if once {
        warn!(
            ?patterns,
            "no file matches: nothing to read; check the paths and the working directory"
        );
    } else {
        info!(?patterns, "no file matches yet: waiting for one");
    }
}
