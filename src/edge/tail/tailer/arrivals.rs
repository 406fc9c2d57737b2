//! Files the tail meets for the first time: to be gone on with from a head, skipped to their end, read whole, or waited
//! for until that can be told.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use tracing::info;

use super::undecided::Undecided;
use super::{Input, Tailer};
use crate::edge::tail::StartAt;
use crate::edge::tail::filesystem::LOCAL;
use crate::edge::tail::find::{Found, find_by_inode, folders_near, packed_near};
use crate::edge::tail::heads::STARTED;
use crate::edge::tail::identity::{FileId, Seen, open};
use crate::edge::tail::packed::Packing;
use crate::edge::tail::source::Source;
use crate::flow::engine::Intake;
use crate::flow::event::{Batch, Head, InputId, SourceKey, Timestamp};

impl Tailer {
    /// Files whose inode no source has. Those whose inode a head names go first, lest their heads be taken by copies of
    /// them; among the others, the one longest unchanged, so that a rotated log is read in the order in which it was
    /// written, whatever its inodes are.
    pub(super) fn take_in_new(
        &mut self,
        index: usize,
        now: Timestamp,
        found: &Found,
        out: &mut Vec<Intake>,
    ) {
        let Some(input) = self.inputs.get(index) else {
            return;
        };
        let oldest = input
            .settings
            .ignore_older
            .map(|age| now.plus(-i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let mut arrivals = Vec::new();
        for (id, (path, metadata)) in &found.files {
            if self.sources.contains_key(id) || self.undecided.contains_key(id) {
                continue;
            }
            let seen = Seen::of(metadata);
            let is_known = self.missing.knows(*id);
            let is_old = oldest.is_some_and(|oldest| seen.modified.0 < oldest.0 / 1_000);
            if is_known || !is_old || self.may_be_rotation(path) {
                arrivals.push((!is_known, seen.modified, path, *id));
            }
        }
        arrivals.sort();
        for (_, _, path, id) in arrivals {
            match self.open_new(index, path) {
                Ok(Some(source)) if source.id == id => self.take_in(index, source, out),
                // Replaced or unmade since the scan looked: the next one looks again.
                Ok(_) => {}
                Err(error) => self.troubles.report(path, &error),
            }
        }
    }

    /// A compressed file near a head whose file is missing is looked at whatever its age.
    fn may_be_rotation(&self, path: &Path) -> bool {
        let has_folder = |former: &Path| former.parent() == path.parent();
        Packing::of(path).is_some() && self.missing.inodes().any(|(_, former)| has_folder(&former))
    }

    pub(super) fn open_new(&mut self, index: usize, path: &Path) -> io::Result<Option<Source>> {
        let Some(input) = self.inputs.get(index) else {
            return Ok(None);
        };
        let file = match open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let filesystem = self.filesystems.of(path, file.metadata()?.dev());
        let source = Source::new(
            &input.settings,
            &self.pool,
            path.to_owned(),
            file,
            filesystem,
        )?;
        self.troubles.clear(path);
        Ok(Some(source))
    }

    /// Starts it, if it can be told from where.
    fn take_in(&mut self, index: usize, mut source: Source, out: &mut Vec<Intake>) {
        match self.missing.resume_by_inode(&mut source) {
            Ok(true) => self.start(source),
            Ok(false) if self.skips(index) => self.start_at_end(source, out),
            Ok(false) => self.wait_to_decide(source),
            Err(error) => self.troubles.report(&source.path, &error),
        }
    }

    /// What is there at the first start is skipped.
    fn skips(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(|input| {
            input.first_start && input.scans == 0 && input.settings.start_at == StartAt::End
        })
    }

    fn start_at_end(&mut self, mut source: Source, out: &mut Vec<Intake>) {
        let skipped = if source.packing().is_some() {
            Ok(Some(source.skip_packed()))
        } else {
            source.skip_to_end()
        };
        match skipped {
            Ok(batch) => {
                out.extend(batch);
                self.start(source);
            }
            Err(error) => self.troubles.report(&source.path, &error),
        }
    }

    /// From here on it is read.
    pub(super) fn start(&mut self, source: Source) {
        let is_known = source.key().is_some();
        info!(path = %source.path.display(), offset = source.offset(), size = source.size, is_known, "tailing file");
        let id = source.id;
        self.make_room();
        self.sources.insert(id, source);
        self.enqueue(id);
    }

    /// At the start: files that were renamed out of the globs meanwhile still have their last records, and so have those
    /// that were compressed after that.
    pub(super) fn look_nearby(&mut self, index: usize) {
        let Some(input) = self.inputs.get(index).map(|input| input.settings.input) else {
            return;
        };
        let missing: Vec<_> = self
            .missing
            .inodes()
            .filter(|(id, _)| id.input == input)
            .collect();
        let wanted = missing.iter().map(|(id, _)| (id.dev, id.inode)).collect();
        let folders = folders_near(missing.iter().map(|(_, path)| path.as_path()));
        let found = find_by_inode(&folders, &wanted);
        for (id, former) in missing {
            // Under its own name it is another file by now, or the pipeline no longer asks for it.
            let renamed = found
                .get(&(id.dev, id.inode))
                .filter(|path| **path != former);
            if !renamed.is_some_and(|path| self.follow_renamed(index, path)) {
                self.look_for_rotation(input, &former);
            }
        }
    }

    /// True if it is the file that a head names.
    fn follow_renamed(&mut self, index: usize, path: &Path) -> bool {
        let opened = self.open_new(index, path);
        let resumed = opened.and_then(|source| {
            let Some(mut source) = source else {
                return Ok(None);
            };
            let is_new = !self.sources.contains_key(&source.id);
            Ok((is_new && self.missing.resume_by_inode(&mut source)?).then_some(source))
        });
        match resumed {
            Ok(Some(mut source)) => {
                source.named = false;
                self.start(source);
                return true;
            }
            Ok(None) => {}
            Err(error) => self.troubles.report(path, &error),
        }
        false
    }

    /// A file that is gone may have been compressed, under a name that no glob matches.
    pub(super) fn look_for_rotation(&mut self, input: InputId, former: &Path) {
        for path in packed_near(former) {
            let Ok(metadata) = path.metadata() else {
                continue;
            };
            let id = FileId::of(input, &path, &metadata, LOCAL);
            let is_new = !self.sources.contains_key(&id) && !self.undecided.contains_key(&id);
            if is_new && let Some(packing) = Packing::of(&path) {
                let undecided = Undecided::unnamed(path, packing, Seen::of(&metadata));
                self.undecided.insert(id, undecided);
            }
        }
    }

    /// Leaves a head for an input that skips what is there at its first start, so that this start was the first even if
    /// there was nothing to skip.
    pub(super) fn remember_first_start(&self, index: usize, out: &mut Vec<Intake>) {
        let Some(Input {
            settings,
            first_start,
            ..
        }) = self.inputs.get(index)
        else {
            return;
        };
        if !first_start || settings.start_at != StartAt::End {
            return;
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
