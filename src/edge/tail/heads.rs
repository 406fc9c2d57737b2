//! Heads whose files have not been found (yet): which file continues which head.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::identity::{Evidence, FileId};
use super::inspection::Candidate;
use super::source::{Former, Source};
use crate::flow::engine::Intake;
use crate::flow::event::{Head, InputId, SourceKey};

/// Scans for which a head is kept whose file is not to be found: an hour by default, so that a file system that is
/// mounted late does not have its files read again.
const MISSING_SCANS: u32 = 3_600;

/// The same where the file is known to be deleted or rewritten: its copy or compressed rotation is there already, or
/// never will be.
pub(super) const GONE_SCANS: u32 = 60;

/// Scans after which bytes that were cut away unread are given up, if no copy of them has turned up.
const LOST_SCANS: u32 = 10;

/// The evidence of a head that names no file but says that its input was started once.
pub(super) const STARTED: &str = "started";

/// Heads without a file.
#[derive(Debug, Default)]
pub(super) struct Heads(BTreeMap<SourceKey, Missing>);

#[derive(Debug)]
pub(super) struct Missing {
    pub(super) head: Head,
    pub(super) evidence: Evidence,
    /// Bytes that were known to be there and were not read.
    unread_bytes: u64,
    scans: u32,
    patience: u32,
}

impl Heads {
    /// Those among `heads` that belong to files of these inputs.
    pub(super) fn new(heads: &BTreeMap<SourceKey, Head>, inputs: &[InputId]) -> Self {
        let mut missing = Self::default();
        for (key, head) in heads {
            if !inputs.contains(&InputId(head.input)) || head.evidence == STARTED {
                continue;
            }
            match serde_json::from_str(&head.evidence) {
                Ok(evidence) => {
                    let former = Former {
                        key: key.clone(),
                        head: head.clone(),
                        evidence,
                        unread_bytes: 0,
                    };
                    missing.keep(former, MISSING_SCANS);
                }
                Err(error) => {
                    warn!(%key, %error, "head is not a file's: its file is read as a new one");
                }
            }
        }
        missing
    }

    /// A file that is still somewhere.
    pub(super) fn keep_missing(&mut self, former: Former) {
        self.keep(former, MISSING_SCANS);
    }

    /// A file whose content can only turn up as a copy, or compressed.
    pub(super) fn keep_gone(&mut self, former: Former) {
        self.keep(former, GONE_SCANS);
    }

    fn keep(&mut self, former: Former, patience: u32) {
        let missing = Missing {
            head: former.head,
            evidence: former.evidence,
            unread_bytes: former.unread_bytes,
            scans: 0,
            patience,
        };
        self.0.insert(former.key, missing);
    }

    /// True if a head of this input was made for this inode.
    pub(super) fn knows(&self, id: FileId) -> bool {
        self.0.values().any(|missing| missing.is_of(id))
    }

    /// Goes on from the head of the file's own inode, if the content agrees. True if it did.
    ///
    /// A head whose content does not agree is kept: device numbers may have changed hands at a boot, and then its
    /// file is found by content; and a file that was cut or rewritten may have been copied before.
    pub(super) fn resume_by_inode(&mut self, source: &mut Source) -> io::Result<bool> {
        let Some(file) = &source.file else {
            return Ok(false);
        };
        let mut rewritten = Vec::new();
        let mut fits = None;
        for (key, missing) in self
            .0
            .iter_mut()
            .filter(|(_, missing)| missing.is_of(source.id))
        {
            let is_same = match source.packing() {
                None => missing.evidence.fits(file, missing.head.offset)?,
                // Otherwise its content has to be looked at, which takes turns.
                Some(_) => missing.evidence.unpacked == Some(source.seen),
            };
            if is_same {
                fits = Some(key.clone());
                break;
            }
            if source.packing().is_none() {
                warn!(
                    path = %source.path.display(), old_offset = missing.head.offset, size = source.size,
                    "file was truncated or replaced since its last record was stored: reading it from its start"
                );
                missing.patience = GONE_SCANS;
            }
            rewritten.push(key.clone());
        }
        for key in rewritten {
            source.avoid(key);
        }
        let Some((key, missing)) = fits.and_then(|key| self.0.remove_entry(&key)) else {
            return Ok(false);
        };
        source.resume(key, missing.head.offset, missing.evidence);
        Ok(true)
    }

    /// Goes on by content alone: the inode got another number, or this is a copy of what was cut away. Of several
    /// heads that fit, the one of the same name, then the one read furthest. True if one did.
    pub(super) fn resume_by_content(
        &mut self,
        source: &mut Source,
        beginning: &[u8],
    ) -> io::Result<bool> {
        let Some(file) = &source.file else {
            return Ok(false);
        };
        let mut best = None;
        for (key, missing) in &self.0 {
            let evidence = &missing.evidence;
            if missing.head.input == source.id.input.0
                && !evidence.fingerprint.is_empty()
                && evidence.fingerprint.fits_beginning(beginning)
                && evidence.fits(file, missing.head.offset)?
            {
                let has_name = Path::new(&evidence.path) == source.path;
                best = best.max(Some((has_name, missing.head.offset, key.clone())));
            }
        }
        let Some((_, _, key)) = best else {
            return Ok(false);
        };
        info!(path = %source.path.display(), %key, "file is known by its content");
        Ok(self.resume(&key, source))
    }

    /// Goes on from this head. False if it is not here any more.
    pub(super) fn resume(&mut self, key: &SourceKey, source: &mut Source) -> bool {
        let Some(missing) = self.0.remove(key) else {
            return false;
        };
        source.resume(key.clone(), missing.head.offset, missing.evidence);
        true
    }

    /// What a compressed rotation may continue.
    pub(super) fn candidates(&self, input: InputId) -> impl Iterator<Item = Candidate> {
        let own = move |missing: &Missing| {
            missing.head.input == input.0 && !missing.evidence.fingerprint.is_empty()
        };
        self.0
            .iter()
            .filter(move |(_, missing)| own(missing))
            .map(|(key, missing)| Candidate {
                key: key.clone(),
                offset: missing.head.offset,
                fingerprint: missing.evidence.fingerprint.clone(),
                marker: missing.evidence.marker,
                live: None,
            })
    }

    /// Each head's input, inode and last known name.
    pub(super) fn inodes(&self) -> impl Iterator<Item = (FileId, PathBuf)> {
        self.0.values().map(|missing| {
            let id = FileId {
                input: InputId(missing.head.input),
                dev: missing.evidence.dev,
                inode: missing.evidence.inode,
            };
            (id, PathBuf::from(&missing.evidence.path))
        })
    }

    /// A scan of this input has passed. Heads that have been missing for long are gone. Returns the bytes that are lost
    /// for good.
    pub(super) fn age(
        &mut self,
        input: InputId,
        live: &BTreeSet<&SourceKey>,
        out: &mut Vec<Intake>,
    ) -> u64 {
        let mut lost_bytes = 0;
        self.0.retain(|key, missing| {
            if missing.head.input != input.0 {
                return true;
            }
            missing.scans += 1;
            if missing.scans >= LOST_SCANS {
                lost_bytes += std::mem::take(&mut missing.unread_bytes);
            }
            let keep = missing.scans <= missing.patience;
            if !keep && !live.contains(key) {
                info!(
                    path = missing.evidence.path,
                    offset = missing.head.offset,
                    "file was not found for long: forgetting how far it was read"
                );
                out.push(Intake::Gone(key.clone()));
            }
            keep
        });
        lost_bytes
    }

    /// A live source has this name.
    pub(super) fn forget(&mut self, key: &SourceKey) {
        self.0.remove(key);
    }
}

impl Missing {
    fn is_of(&self, id: FileId) -> bool {
        self.head.input == id.input.0
            && self.evidence.dev == id.dev
            && self.evidence.inode == id.inode
    }
}

/// A file's first bytes, as many as a fingerprint covers.
pub(super) fn beginning(file: &File) -> io::Result<Vec<u8>> {
    super::identity::read_whole(file, 0, super::identity::FINGERPRINT_BYTES)
}
