//! Heads whose files have not been found (yet): which file continues which head.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use tracing::{info, warn};

use super::find::find_nearby;
use super::identity::{Evidence, FileId};
use super::source::Source;
use crate::flow::engine::Intake;
use crate::flow::event::{Head, InputId, SourceKey};

/// Scans for which a head is kept whose file is not to be found: an hour by default, so that a file system that is
/// mounted late does not have its files read again.
const MISSING_SCANS: u32 = 3_600;

/// The evidence of a head that names no file but says that its input was started once.
pub(super) const STARTED: &str = "started";

/// Heads without a file.
#[derive(Debug, Default)]
pub(super) struct Heads(BTreeMap<SourceKey, Missing>);

#[derive(Debug)]
struct Missing {
    head: Head,
    evidence: Evidence,
    scans: u32,
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
                Ok(evidence) => missing.keep(key.clone(), head.clone(), evidence),
                Err(error) => {
                    warn!(%key, %error, "head is not a file's: its file is read as a new one")
                }
            }
        }
        missing
    }

    pub(super) fn keep(&mut self, key: SourceKey, head: Head, evidence: Evidence) {
        self.0.insert(
            key,
            Missing {
                head,
                evidence,
                scans: 0,
            },
        );
    }

    /// Goes on from the head of the file's own inode, if the content agrees. True if it did.
    ///
    /// A head whose content does not agree is kept: device numbers may have changed hands at a boot, and then its
    /// file is found by content. Only one whose file was visibly cut or rewritten is gone.
    pub(super) fn resume_by_inode(
        &mut self,
        source: &mut Source,
        out: &mut Vec<Intake>,
    ) -> io::Result<bool> {
        let FileId { input, dev, inode } = source.id;
        let Some(file) = &source.file else {
            return Ok(false);
        };
        let is_own = |missing: &Missing| {
            missing.head.input == input.0
                && missing.evidence.dev == dev
                && missing.evidence.inode == inode
        };
        let mut rewritten = Vec::new();
        let mut fits = None;
        for (key, missing) in self.0.iter_mut().filter(|(_, missing)| is_own(missing)) {
            if missing.evidence.fits(file, missing.head.offset)? {
                fits = Some(key.clone());
                break;
            }
            warn!(
                path = %source.path.display(), old_offset = missing.head.offset, size = source.size,
                "file was truncated or replaced since its last record was stored: reading it from its start"
            );
            if missing.evidence.fingerprint.still_fits(file)? {
                rewritten.push(key.clone());
            }
        }
        for key in rewritten {
            self.0.remove(&key);
            out.push(Intake::Gone(key));
        }
        let Some((key, missing)) = fits.and_then(|key| self.0.remove_entry(&key)) else {
            return Ok(false);
        };
        source.resume(key, missing.head.offset, missing.evidence);
        Ok(true)
    }

    /// Devices get other numbers at a remount: goes on by content alone, where one file fits one head and no other.
    pub(super) fn resume_by_content(&mut self, sources: &mut [Source]) {
        if self.0.is_empty() {
            return;
        }
        let mut pairs = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let Some(file) = source.file.as_ref().filter(|_| source.key().is_none()) else {
                continue;
            };
            for (key, missing) in &self.0 {
                let mut evidence = missing.evidence.clone();
                if missing.head.input == source.id.input.0
                    && evidence.dev != source.id.dev
                    && !evidence.fingerprint.is_empty()
                    // A file that cannot be read now says so when it is read.
                    && evidence.fits(file, missing.head.offset).unwrap_or(false)
                {
                    pairs.push((index, key.clone(), evidence));
                }
            }
        }
        for (index, key, evidence) in &pairs {
            let rivals = pairs
                .iter()
                .filter(|pair| pair.0 == *index || pair.1 == *key)
                .count();
            if rivals == 1
                && let Some(source) = sources.get_mut(*index)
                && let Some(missing) = self.0.remove(key)
            {
                info!(path = %source.path.display(), %key, "file is known by its content: its device has a new number");
                source.resume(key.clone(), missing.head.offset, evidence.clone());
            }
        }
    }

    /// Files that were renamed out of the globs while nobody looked, as far as they stayed in their folder.
    pub(super) fn nearby(&self) -> Vec<(InputId, PathBuf)> {
        let renamed = self.0.values().filter_map(|missing| {
            let former = PathBuf::from(&missing.evidence.path);
            let path = find_nearby(&former, missing.evidence.dev, missing.evidence.inode)?;
            // Under its own name it is there, but the pipeline no longer asks for it.
            (path != former).then_some((InputId(missing.head.input), path))
        });
        renamed.collect()
    }

    /// A scan has passed. Heads that have been missing for long are gone.
    pub(super) fn age(&mut self, is_live: impl Fn(&SourceKey) -> bool, out: &mut Vec<Intake>) {
        self.0.retain(|key, missing| {
            missing.scans += 1;
            let keep = missing.scans <= MISSING_SCANS;
            if !keep && !is_live(key) {
                info!(
                    path = missing.evidence.path,
                    offset = missing.head.offset,
                    "file was not found for long: forgetting how far it was read"
                );
                out.push(Intake::Gone(key.clone()));
            }
            keep
        });
    }
}
