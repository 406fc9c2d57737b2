//! Files the tail meets for the first time: to be gone on with from a head, skipped to their end, or read whole.

use std::io;
use std::path::Path;

use bytes::Bytes;
use tracing::info;

use super::{Input, Tailer};
use crate::edge::tail::StartAt;
use crate::edge::tail::find::Found;
use crate::edge::tail::heads::STARTED;
use crate::edge::tail::identity::open;
use crate::edge::tail::source::{Seen, Source};
use crate::flow::engine::Intake;
use crate::flow::event::{Batch, Head, SourceKey};

/// New files that are taken in together, all of them open: a file known only by its content must be unambiguous among
/// them.
const CANDIDATES_MAX: usize = 256;

impl Tailer {
    /// Files whose inode no source has: those a head fits go on from it, the others are new. The one longest unchanged
    /// comes first, so that a rotated log is read in the order in which it was written, whatever its inodes are.
    pub(super) fn take_in_new(&mut self, index: usize, found: &Found, out: &mut Vec<Intake>) {
        let mut arrivals: Vec<_> = found
            .files
            .iter()
            .filter(|(id, _)| !self.sources.contains_key(id))
            .collect();
        arrivals.sort_by_key(|(_, (path, metadata))| (Seen::of(metadata).modified, path));
        let mut candidates = Vec::new();
        for (id, (path, _)) in arrivals {
            match self.open_new(index, path, out) {
                Ok(Some(source)) if source.id == *id => candidates.push(source),
                // Replaced or unmade since the scan looked: the next one looks again.
                Ok(_) => {}
                Err(error) => self.troubles.report(path, &error),
            }
            if candidates.len() >= CANDIDATES_MAX {
                self.start_all(index, &mut candidates, out);
            }
        }
        self.start_all(index, &mut candidates, out);
    }

    fn open_new(
        &mut self,
        index: usize,
        path: &Path,
        out: &mut Vec<Intake>,
    ) -> io::Result<Option<Source>> {
        let Some(input) = self.inputs.get(index) else {
            return Ok(None);
        };
        let file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut source = Source::new(&input.settings, &self.pool, path.to_owned(), file)?;
        self.missing.resume_by_inode(&mut source, out)?;
        self.troubles.clear(path);
        Ok(Some(source))
    }

    fn start_all(&mut self, index: usize, candidates: &mut Vec<Source>, out: &mut Vec<Intake>) {
        self.missing.resume_by_content(candidates);
        for source in candidates.drain(..) {
            self.start(index, source, out);
        }
    }

    fn start(&mut self, index: usize, mut source: Source, out: &mut Vec<Intake>) {
        let Some(input) = self.inputs.get(index) else {
            return;
        };
        let is_known = source.key().is_some();
        let skips = input.first_start && self.scans == 0 && input.settings.start_at == StartAt::End;
        if skips && !is_known {
            match source.skip_to_end() {
                Ok(batch) => out.extend(batch),
                Err(error) => {
                    self.troubles.report(&source.path, &error);
                    return;
                }
            }
        }
        info!(path = %source.path.display(), offset = source.offset(), size = source.size, is_known, "tailing file");
        let id = source.id;
        self.make_room();
        self.sources.insert(id, source);
        self.enqueue(id);
    }

    /// At the start: files that were renamed out of the globs meanwhile still have their last records.
    pub(super) fn look_nearby(&mut self, out: &mut Vec<Intake>) {
        for (input, path) in self.missing.nearby() {
            let Some(index) = self
                .inputs
                .iter()
                .position(|known| known.settings.input == input)
            else {
                continue;
            };
            match self.open_new(index, &path, out) {
                Ok(Some(mut source))
                    if source.key().is_some() && !self.sources.contains_key(&source.id) =>
                {
                    source.named = false;
                    self.start(index, source, out);
                }
                Ok(_) => {}
                Err(error) => self.troubles.report(&path, &error),
            }
        }
    }

    /// Leaves a head for each input that skips what is there at its first start, so that this start was the first
    /// even if there was nothing to skip.
    pub(super) fn remember_first_start(&self, out: &mut Vec<Intake>) {
        for Input {
            settings,
            first_start,
            ..
        } in &self.inputs
        {
            if !first_start || settings.start_at != StartAt::End {
                continue;
            }
            out.push(Intake::Batch(Batch {
                input: settings.input,
                source: SourceKey(format!("file-{}-{STARTED}", settings.input.0).into()),
                origin: STARTED.into(),
                kind: None,
                bytes: Bytes::new(),
                base: 0,
                faults: Vec::new(),
                restart: false,
                head: Head {
                    input: settings.input.0,
                    offset: 0,
                    evidence: STARTED.to_owned(),
                },
            }));
        }
    }
}
