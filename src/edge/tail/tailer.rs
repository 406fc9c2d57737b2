//! The machine of the tail: which files are there, which is which, whose turn it is. No thread, no waiting, no clock:
//! [`Tailer::scan`] looks, [`Tailer::read_some`] gives one file its turn; patience is counted in scans.
//!
//! What becomes of a file, by what a scan finds:
//!
//! | the scan finds | then |
//! |---|---|
//! | known inode, same name | a turn, if size or time changed |
//! | known inode, other name | renamed: goes on; if its old name has a new file and it is quiet, its last record ends |
//! | known inode nowhere, still linked | rotated out of sight: read until quiet, closed, its head kept for an hour |
//! | known inode nowhere, not linked | deleted: read to its end, its head kept for a minute |
//! | unknown inode, a head's evidence fits | goes on from the head |
//! | unknown inode, repeats a file that is there | waits (`undecided`) until that is gone, then goes on from its head |
//! | unknown inode, compressed | is compared with all heads first (`undecided`) |
//! | unknown inode, nothing fits | a new source |
//!
//! That a file was cut or replaced under its inode is noticed in its turn, by [`Source`].

mod arrivals;
mod known;
mod undecided;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::filesystem::Filesystems;
use super::find::Finder;
use super::heads::Heads;
use super::identity::{FileId, Seen};
use super::limits::Limits;
use super::source::Source;
use super::trouble::Troubles;
use super::{Error, InputStatus, Settings, Snapshot, WatchMode};
use crate::flow::engine::Intake;
use crate::flow::event::{Head, InputId, SourceKey, Timestamp};
use crate::flow::pool::Pool;
use undecided::Undecided;

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
    /// Files that may repeat what we know, and are not read yet.
    undecided: BTreeMap<FileId, Undecided>,
    /// Heads whose files are not to be found now.
    missing: Heads,
    /// Files that wait for a turn, the next first.
    queue: VecDeque<FileId>,
    /// The compressed file that is being unpacked: one at a time, for a decoder may need 128 MiB.
    unpacking: Option<FileId>,
    /// Compressed files that wait for that one.
    packed_queue: VecDeque<FileId>,
    filesystems: Filesystems,
    troubles: Troubles,
    limits: Limits,
    pool: Pool,
    turns: u64,
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
    scans: u64,
    by_path: BTreeMap<OsString, FileId>,
    /// What the last scan could not look at.
    unreadable: BTreeSet<PathBuf>,
    /// Handed over of sources that are gone.
    read_bytes: u64,
}

impl Tailer {
    pub(super) fn new(
        settings: Vec<Settings>,
        heads: &BTreeMap<SourceKey, Head>,
        once: bool,
        limits: Limits,
    ) -> Result<Self, Error> {
        let mut inputs = Vec::new();
        for settings in settings {
            let first_start = heads.values().all(|head| head.input != settings.input.0);
            inputs.push(Input {
                finder: Finder::new(&settings)?,
                settings,
                first_start,
                scans: 0,
                by_path: BTreeMap::new(),
                unreadable: BTreeSet::new(),
                read_bytes: 0,
            });
        }
        let ids: Vec<_> = inputs.iter().map(|input| input.settings.input).collect();
        let missing = Heads::new(heads, &ids);
        Ok(Self {
            inputs,
            sources: BTreeMap::new(),
            undecided: BTreeMap::new(),
            missing,
            queue: VecDeque::new(),
            unpacking: None,
            packed_queue: VecDeque::new(),
            filesystems: Filesystems::default(),
            troubles: Troubles::default(),
            limits,
            pool: Pool::default(),
            turns: 0,
            once,
            lost_bytes: 0,
        })
    }

    /// The inputs, by the index that [`Tailer::scan`] takes.
    pub(super) fn settings(&self) -> impl Iterator<Item = &Settings> {
        self.inputs.iter().map(|input| &input.settings)
    }

    /// Looks at the file system for one input: finds new files, notices renames and deletions, queues what has news.
    pub(super) fn scan(&mut self, index: usize, now: Timestamp, out: &mut Vec<Intake>) {
        let rounds = self.inputs.iter().map(|input| input.scans).min();
        let Some(input) = self.inputs.get(index) else {
            return;
        };
        let (id, is_first) = (input.settings.input, input.scans == 0);
        let sources = &self.sources;
        let current = |id: &FileId| sources.get(id).map(|source| source.path.clone());
        let found = input.finder.find(
            &input.settings,
            current,
            &mut self.filesystems,
            &mut self.troubles,
        );
        if !self.once {
            // Otherwise what is gone unread is to be told at the end.
            self.troubles.forget(rounds.unwrap_or(0));
        }
        for path in input.unreadable.difference(&found.unreadable) {
            self.troubles.clear(path);
        }
        if is_first && found.files.is_empty() {
            report_no_files(input.finder.patterns(), self.once);
        }
        self.look_at_known(id, &found, out);
        self.take_in_new(index, now, &found, out);
        if is_first {
            self.look_nearby(index);
            self.remember_first_start(index, out);
        }
        self.decide_all(index, &found, out);
        let live = self.sources.values().filter_map(Source::key).collect();
        self.lost_bytes += self.missing.age(id, &live, out);
        self.rest(id, now);
        if let Some(input) = self.inputs.get_mut(index) {
            input.by_path = found.paths;
            input.unreadable = found.unreadable;
            input.scans += 1;
        }
    }

    /// A notification says that this file may have grown.
    pub(super) fn mark(&mut self, path: &Path) {
        let ids: Vec<_> = self
            .inputs
            .iter()
            .filter_map(|input| input.by_path.get(path.as_os_str()).copied())
            .collect();
        for id in ids {
            self.enqueue(id);
        }
    }

    /// Gives the file that has waited longest its turn. False if none waits.
    pub(super) fn read_some(&mut self, now: Timestamp, out: &mut Vec<Intake>) -> bool {
        let Some(id) = self.queue.pop_front() else {
            return false;
        };
        if self.must_wait_for_another(id) {
            return true;
        }
        if self.undecided.contains_key(&id) {
            self.compare(id);
            return true;
        }
        self.turns += 1;
        if self
            .sources
            .get(&id)
            .is_some_and(|source| source.file.is_none())
        {
            self.make_room();
        }
        let Some(source) = self.sources.get_mut(&id) else {
            self.unpack_next(id);
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
        self.after_turn(id, now);
        true
    }

    /// Files that cannot be read or judged yet, and may be at a later scan: a compressed one that is being written.
    pub(super) fn is_waiting(&self) -> bool {
        self.undecided
            .values()
            .any(|undecided| !undecided.is_settled())
            || self.sources.values().any(Source::is_broken)
    }

    /// The folders in which news may happen, as far as they are to be watched.
    pub(super) fn folders(&mut self) -> BTreeSet<PathBuf> {
        let watches = |input: &Input| input.settings.watch != WatchMode::Poll;
        let mut watched = BTreeSet::new();
        for input in self.inputs.iter().filter(|input| watches(input)) {
            let own = |id: &FileId| id.input == input.settings.input;
            let files = self.sources.iter().filter(|(id, _)| own(id));
            let folders = files.filter_map(|(_, source)| source.path.parent());
            let folders: HashSet<_> = folders.map(Path::as_os_str).collect();
            let folders = folders.into_iter().map(PathBuf::from);
            // Each once: what file system it is on is asked of the disk.
            let folders: BTreeSet<_> = folders.chain(input.finder.roots()).collect();
            for folder in folders {
                let is_trusted = input.settings.watch == WatchMode::Notify
                    || !self.filesystems.of_folder(&folder).is_network;
                if is_trusted {
                    watched.insert(folder);
                }
            }
        }
        watched
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
            unread: self.troubles.unread(),
        }
    }

    /// The paths that could not be read when last tried.
    pub(super) fn unread(&self) -> impl Iterator<Item = &PathBuf> {
        self.troubles.paths()
    }

    #[cfg(test)]
    pub(super) fn assume(&mut self, dev: u64, filesystem: super::filesystem::Filesystem) {
        self.filesystems.assume(dev, filesystem);
    }

    #[cfg(test)]
    pub(super) fn open_files(&self) -> usize {
        let open = self.sources.values().filter(|source| source.file.is_some());
        open.count()
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.sources.values().map(Source::held_bytes).sum()
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

    /// True if this file is compressed and another one is being unpacked: it waits for that.
    fn must_wait_for_another(&mut self, id: FileId) -> bool {
        let is_packed = self.undecided.get(&id).is_some_and(Undecided::is_packed)
            || self
                .sources
                .get(&id)
                .is_some_and(|source| source.packing().is_some());
        if !is_packed {
            return false;
        }
        if self.unpacking.is_some_and(|other| other != id) {
            self.packed_queue.push_back(id);
            return true;
        }
        self.unpacking = Some(id);
        false
    }

    /// Done with unpacking this one for now.
    fn unpack_next(&mut self, id: FileId) {
        if self.unpacking == Some(id) {
            self.unpacking = None;
            self.queue.extend(self.packed_queue.pop_front());
        }
    }

    fn after_turn(&mut self, id: FileId, now: Timestamp) {
        let Some(source) = self.sources.get_mut(&id) else {
            return;
        };
        source.look(now);
        for former in source.take_former() {
            self.missing.keep_gone(former);
        }
        if let Some(key) = source.key() {
            self.missing.forget(key);
        }
        if !source.may_stay_open() && source.named {
            source.file = None;
        }
        let (is_unpacking, held) = (source.is_unpacking(), source.held_bytes());
        if !is_unpacking {
            self.unpack_next(id);
        }
        if held > 0 {
            self.bound_held_bytes(id);
        }
    }

    /// Unfinished records of all files have a bound together: beyond, the longest is given back, and read again at its
    /// file's next news.
    fn bound_held_bytes(&mut self, current: FileId) {
        let mut held: usize = self.sources.values().map(Source::held_bytes).sum();
        while held > self.limits.held_bytes_max {
            // One that has no name may be about to be finished.
            let others = self
                .sources
                .values_mut()
                .filter(|source| source.id != current);
            let longest = others.max_by_key(|source| (source.named, source.held_bytes()));
            let Some(longest) = longest.filter(|source| source.held_bytes() > 0) else {
                return;
            };
            held -= longest.held_bytes();
            longest.give_back();
        }
    }

    /// Closes the file that has been quiet longest, if too many are open. One without a name cannot be opened again.
    fn make_room(&mut self) {
        let open = self.sources.values().filter(|source| source.file.is_some());
        if open.count() < self.limits.open_max {
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
