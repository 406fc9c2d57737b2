//! Files that may repeat what we know: copies (copytruncate, an editor's save) and compressed rotations.
//!
//! | an unknown file | then |
//! |---|---|
//! | fits the head of a file that is gone | goes on there |
//! | repeats a file that is still there, and no more than that (a copy) | is not read while that lasts |
//! | repeats a file that is still there, and goes on otherwise | waits, for that may be about to be cut or deleted; then it is a file of its own |
//! | fits nothing | is read whole |
//!
//! A compressed file is compared once it has not changed for a scan and every plain file has had a turn; one that ends
//! too early is waited for as long as it changes.

use std::path::PathBuf;

use tracing::{debug, info, warn};

use super::{QUIET_SCANS_RENAMED, Tailer};
use crate::edge::tail::find::Found;
use crate::edge::tail::heads::beginning;
use crate::edge::tail::identity::{FileId, Seen, open};
use crate::edge::tail::inspection::{Candidate, Finding, Inspection};
use crate::edge::tail::packed::{Packing, Unpacker};
use crate::edge::tail::source::Source;
use crate::flow::engine::Intake;
use crate::flow::event::{InputId, SourceKey};

/// One such file.
#[derive(Debug)]
pub(super) struct Undecided {
    path: PathBuf,
    seen: Seen,
    /// Scans since it was met, and those in a row that found it unchanged.
    scans: u32,
    quiet_scans: u32,
    /// A glob leads to it.
    named: bool,
    /// Not compressed: ready to be read, and open lest it be lost; a copy is closed.
    source: Option<Box<Source>>,
    packing: Option<Packing>,
    inspection: Option<Box<Inspection>>,
    queued: bool,
    verdict: Option<Verdict>,
}

/// What is known of it so far.
#[derive(Debug)]
enum Verdict {
    /// The file that it repeats, as long as that has this name.
    Repeats {
        of: FileId,
        key: Option<SourceKey>,
        is_copy: bool,
    },
    /// It could not be unpacked far enough: as far as this head, if one fits; and does it begin as a known file did?
    Broken {
        why: String,
        best: Option<SourceKey>,
        is_known: bool,
    },
}

/// What to do with it after a scan.
enum Next {
    Wait,
    Compare,
    /// A file of its own.
    Start,
    /// What can be unpacked of it.
    StartBroken,
    Forget,
}

impl Undecided {
    /// A compressed file that no glob leads to: of interest only if it goes on from a head.
    pub(super) fn unnamed(path: PathBuf, packing: Packing, seen: Seen) -> Self {
        Self {
            named: false,
            ..Self::new(path, Some(packing), seen)
        }
    }

    fn new(path: PathBuf, packing: Option<Packing>, seen: Seen) -> Self {
        Self {
            path,
            seen,
            scans: 0,
            quiet_scans: 0,
            named: true,
            source: None,
            packing,
            inspection: None,
            queued: false,
            verdict: None,
        }
    }

    pub(super) fn is_packed(&self) -> bool {
        self.packing.is_some()
    }

    /// Nothing will change about it unless files do.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.verdict, Some(Verdict::Repeats { is_copy: true, .. }))
    }

    fn look(&mut self, seen: Seen) {
        // The scan that meets it proves no quiet.
        let quiet = u32::from(self.scans > 0);
        self.scans = self.scans.saturating_add(1);
        if seen == self.seen {
            self.quiet_scans = self.quiet_scans.saturating_add(quiet);
        } else {
            self.seen = seen;
            self.quiet_scans = 0;
            if !matches!(self.verdict, Some(Verdict::Repeats { is_copy: false, .. })) {
                self.verdict = None;
            }
        }
    }
}

impl Tailer {
    /// A file whose inode nobody knows.
    pub(super) fn wait_to_decide(&mut self, source: Source) {
        let id = source.id;
        let mut undecided = Undecided::new(source.path.clone(), source.packing(), source.seen);
        if undecided.packing.is_none() {
            undecided.source = Some(Box::new(source));
        }
        self.undecided.insert(id, undecided);
    }

    /// Looks at all undecided files of an input again.
    pub(super) fn decide_all(&mut self, index: usize, found: &Found, out: &mut Vec<Intake>) {
        let Some(input) = self.inputs.get(index).map(|input| input.settings.input) else {
            return;
        };
        let own = self.undecided.iter().filter(|(id, _)| id.input == input);
        // As they were met: the oldest first.
        let mut ids: Vec<_> = own
            .map(|(id, undecided)| (undecided.seen.modified, undecided.path.clone(), *id))
            .collect();
        ids.sort();
        for (_, _, id) in ids {
            let Some(mut undecided) = self.undecided.remove(&id) else {
                continue;
            };
            match self.look_again(id, &mut undecided, found) {
                Next::Wait => {
                    self.undecided.insert(id, undecided);
                }
                Next::Compare => self.start_comparing(id, undecided),
                Next::Start => self.start_undecided(index, id, undecided),
                Next::StartBroken => self.start_broken(index, id, undecided, out),
                Next::Forget => {}
            }
        }
    }

    fn look_again(&mut self, id: FileId, undecided: &mut Undecided, found: &Found) -> Next {
        if let Some((path, metadata)) = found.files.get(&id) {
            undecided.named = true;
            undecided.path.clone_from(path);
            undecided.look(Seen::of(metadata));
        } else if undecided.named && found.is_incomplete() {
            return Next::Wait;
        } else if undecided.named {
            // It left the paths: an open one is read to its end, a copy repeats what is read elsewhere.
            undecided.named = false;
            return if undecided.source.is_some() {
                Next::Start
            } else {
                Next::Forget
            };
        } else if let Ok(metadata) = undecided.path.metadata() {
            undecided.look(Seen::of(&metadata));
        } else {
            return Next::Forget;
        }
        if undecided.queued {
            return Next::Wait;
        }
        match undecided.packing {
            Some(_) => self.look_at_packed(id.input, undecided),
            None => self.look_at_plain(id.input, undecided),
        }
    }

    fn look_at_plain(&mut self, input: InputId, undecided: &mut Undecided) -> Next {
        if self.is_repeated_still(undecided) && undecided.is_settled() {
            return Next::Wait;
        }
        let source = if let Some(source) = undecided.source.take() {
            Ok(Some(*source))
        } else {
            let index = self.index_of(input);
            self.open_new(index, &undecided.path)
        };
        let mut source = match source {
            Ok(Some(source)) => source,
            Ok(None) => return Next::Forget,
            Err(error) => {
                self.troubles.report(&undecided.path, &error);
                return Next::Wait;
            }
        };
        let next = self.compare_plain(undecided, &mut source);
        match next {
            Ok(true) => {
                if !undecided.is_settled() {
                    undecided.source = Some(Box::new(source));
                }
                Next::Wait
            }
            Ok(false) => {
                undecided.source = Some(Box::new(source));
                Next::Start
            }
            Err(error) => {
                self.troubles.report(&undecided.path, &error);
                undecided.source = Some(Box::new(source));
                Next::Wait
            }
        }
    }

    /// True if it must wait.
    fn compare_plain(
        &mut self,
        undecided: &mut Undecided,
        source: &mut Source,
    ) -> std::io::Result<bool> {
        let Some(file) = source.file.as_ref() else {
            return Ok(false);
        };
        let size = file.metadata()?.len();
        let beginning = beginning(file)?;
        let is_older = |other: &Source| other.id.input == source.id.input;
        let mut repeats = None;
        for other in self.sources.values().filter(|other| is_older(other)) {
            // One that cannot be read now says so in its turn.
            if let Ok(Some(is_copy)) = other.is_repeated_by(file, size, &beginning) {
                repeats = repeats.max(Some((is_copy, other.id)));
            }
        }
        if let Some((true, of)) = repeats {
            debug!(path = %source.path.display(), "file is a copy of one that is read: waiting");
            undecided.verdict = Some(self.repeats(of, true));
            return Ok(true);
        }
        if self.missing.resume_by_content(source, &beginning)? {
            return Ok(false);
        }
        let Some((_, of)) = repeats else {
            return Ok(false);
        };
        undecided.verdict = Some(self.repeats(of, false));
        Ok(!self.once && undecided.scans < QUIET_SCANS_RENAMED)
    }

    fn look_at_packed(&mut self, input: InputId, undecided: &mut Undecided) -> Next {
        match &undecided.verdict {
            Some(Verdict::Repeats { is_copy, .. }) if self.is_repeated_still(undecided) => {
                let is_patient = !self.once && undecided.quiet_scans < QUIET_SCANS_RENAMED;
                if *is_copy || is_patient {
                    return Next::Wait;
                }
                return if undecided.named {
                    Next::Start
                } else {
                    Next::Forget
                };
            }
            Some(Verdict::Broken { .. }) if undecided.quiet_scans < QUIET_SCANS_RENAMED => {
                return Next::Wait;
            }
            Some(Verdict::Broken { .. }) => return Next::StartBroken,
            _ => {}
        }
        let own = self
            .sources
            .values()
            .filter(|source| source.id.input == input);
        let all_had_a_turn = own
            .filter(|source| source.packing().is_none())
            .all(|source| {
                // What a deleted file still holds must have been read: only then is there evidence of it.
                let has_evidence = source.key().is_some() && !source.queued;
                source.used > 0 && (source.named || has_evidence)
            });
        if all_had_a_turn && (self.once || undecided.quiet_scans > 0) {
            Next::Compare
        } else {
            Next::Wait
        }
    }

    /// True if the file that it repeats is still what it was.
    fn is_repeated_still(&self, undecided: &Undecided) -> bool {
        let Some(Verdict::Repeats { of, key, .. }) = &undecided.verdict else {
            return false;
        };
        let other = self.sources.get(of);
        other.is_some_and(|other| other.key() == key.as_ref())
    }

    fn repeats(&self, of: FileId, is_copy: bool) -> Verdict {
        let key = self.sources.get(&of).and_then(Source::key).cloned();
        Verdict::Repeats { of, key, is_copy }
    }

    fn start_comparing(&mut self, id: FileId, mut undecided: Undecided) {
        let live = self
            .sources
            .values()
            .filter(|source| source.id.input == id.input);
        let live = live.filter_map(|source| {
            let (fingerprint, marker) = source.fingerprint_and_marker();
            let key = source.key().filter(|_| !fingerprint.is_empty())?;
            Some(Candidate {
                key: key.clone(),
                offset: source.offset(),
                fingerprint: fingerprint.clone(),
                marker,
                live: Some((source.id, source.size)),
            })
        });
        let candidates = self.missing.candidates(id.input).chain(live).collect();
        let opened = open(&undecided.path).and_then(|file| {
            let packing = undecided.packing.unwrap_or(Packing::Gzip);
            Inspection::new(&file, packing, candidates)
        });
        match opened {
            Ok(inspection) => {
                undecided.inspection = Some(Box::new(inspection));
                undecided.verdict = None;
                undecided.queued = true;
                self.queue.push_back(id);
            }
            Err(error) => self.troubles.report(&undecided.path, &error),
        }
        self.undecided.insert(id, undecided);
    }

    /// Its turn to be compared.
    pub(super) fn compare(&mut self, id: FileId) {
        let Some(undecided) = self.undecided.get_mut(&id) else {
            return;
        };
        undecided.queued = false;
        let Some(inspection) = undecided.inspection.take() else {
            self.unpack_next(id);
            return;
        };
        let (more, finding) = inspection.step();
        if let Some(more) = more {
            undecided.inspection = Some(Box::new(more));
            undecided.queued = true;
            self.queue.push_back(id);
            return;
        }
        let index = self.index_of(id.input);
        match finding {
            Finding::Continues(key, unpacker) => {
                if let Some(undecided) = self.undecided.remove(&id)
                    && self.go_on(index, id, &undecided, &key, unpacker)
                {
                    return;
                }
            }
            Finding::Unknown | Finding::More => {
                if let Some(undecided) = self.undecided.remove(&id)
                    && undecided.named
                {
                    self.start_undecided(index, id, undecided);
                    return;
                }
            }
            Finding::Repeats { of, is_copy } => {
                let verdict = self.repeats(of, is_copy);
                if let Some(undecided) = self.undecided.get_mut(&id) {
                    undecided.quiet_scans = 0;
                    undecided.verdict = Some(verdict);
                }
            }
            Finding::Broken {
                broken,
                best,
                is_known,
            } => {
                if let Some(undecided) = self.undecided.get_mut(&id) {
                    let why = broken.to_string();
                    debug!(path = %undecided.path.display(), why, "compressed file cannot be unpacked: waiting for it to change");
                    undecided.verdict = Some(Verdict::Broken {
                        why,
                        best,
                        is_known,
                    });
                }
            }
        }
        self.unpack_next(id);
    }

    /// True if it is read from here on.
    fn go_on(
        &mut self,
        index: usize,
        id: FileId,
        undecided: &Undecided,
        key: &SourceKey,
        unpacker: Option<Unpacker>,
    ) -> bool {
        let Some(mut source) = self.open_undecided(index, id, undecided) else {
            return false;
        };
        if !self.missing.resume(key, &mut source) {
            // Its head was taken meanwhile: the next scan meets the file again.
            return false;
        }
        info!(path = %source.path.display(), offset = source.offset(), "compressed file is the rotation of a known one");
        if let Some(unpacker) = unpacker {
            source.go_on_with(unpacker);
        }
        self.start(source);
        true
    }

    /// A file of its own after all, or one that has found its head.
    fn start_undecided(&mut self, index: usize, id: FileId, mut undecided: Undecided) {
        let source = match undecided.source.take() {
            Some(source) => Some(*source),
            None => self.open_undecided(index, id, &undecided),
        };
        if let Some(mut source) = source {
            source.path.clone_from(&undecided.path);
            source.named = undecided.named;
            self.start(source);
        }
    }

    /// It will not get whole: what can be had of it is read, unless that was read before.
    fn start_broken(
        &mut self,
        index: usize,
        id: FileId,
        undecided: Undecided,
        out: &mut Vec<Intake>,
    ) {
        let Some(Verdict::Broken {
            why,
            best,
            is_known,
        }) = &undecided.verdict
        else {
            return;
        };
        if let Some(key) = best {
            self.go_on(index, id, &undecided, key, None);
        } else if !undecided.named {
            warn!(path = %undecided.path.display(), why, "compressed file near a missing one cannot be unpacked: leaving it");
        } else if *is_known {
            if let Some(mut source) = self.open_undecided(index, id, &undecided) {
                source.condemn(why, out);
                self.start(source);
            }
        } else {
            self.start_undecided(index, id, undecided);
        }
    }

    fn open_undecided(
        &mut self,
        index: usize,
        id: FileId,
        undecided: &Undecided,
    ) -> Option<Source> {
        match self.open_new(index, &undecided.path) {
            Ok(source) => {
                let mut source = source.filter(|source| source.id == id)?;
                source.named = undecided.named;
                Some(source)
            }
            Err(error) => {
                self.troubles.report(&undecided.path, &error);
                None
            }
        }
    }

    fn index_of(&self, input: InputId) -> usize {
        let own = |known: &super::Input| known.settings.input == input;
        self.inputs.iter().position(own).unwrap_or(usize::MAX)
    }
}
