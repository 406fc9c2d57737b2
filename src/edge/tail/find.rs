//! Globs to files: what is there now, each file once whatever its names are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};
use tracing::info;

use super::identity::FileId;
use super::trouble::Troubles;
use super::{Error, Settings};

/// How globs are meant: as a shell means them, so `*` neither crosses a folder nor finds hidden files.
const MATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Skipped files that are remembered as already reported; beyond, the oldest memory goes and a line is logged twice.
const REPORTED_MAX: usize = 1_024;

/// The globs of one input.
#[derive(Debug)]
pub(super) struct Finder {
    /// Absolute.
    patterns: Vec<String>,
    reported: BTreeSet<PathBuf>,
}

/// What one look at the file system gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<FileId, (PathBuf, Metadata)>,
    /// Every name that led to a file.
    pub(super) paths: BTreeMap<PathBuf, FileId>,
    /// Some folder could not be read: what is missing here may exist.
    pub(super) incomplete: bool,
}

impl Finder {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let mut patterns = Vec::new();
        for pattern in &settings.paths {
            let refuse = |reason: String| Error::Pattern {
                pattern: pattern.clone(),
                reason,
            };
            let absolute =
                std::path::absolute(pattern).map_err(|error| refuse(error.to_string()))?;
            let absolute = absolute
                .to_str()
                .ok_or_else(|| refuse("not UTF-8".into()))?
                .to_owned();
            Pattern::new(&absolute).map_err(|error| refuse(error.to_string()))?;
            patterns.push(absolute);
        }
        Ok(Self {
            patterns,
            reported: BTreeSet::new(),
        })
    }

    /// Looks. `current` is the name a file is known by: where it has several, that one stays.
    pub(super) fn find(
        &mut self,
        settings: &Settings,
        current: impl Fn(&FileId) -> Option<PathBuf>,
        troubles: &mut Troubles,
    ) -> Found {
        let mut found = Found::default();
        for pattern in &self.patterns {
            // The pattern was parsed once: a failure now cannot be.
            let Ok(paths) = glob::glob_with(pattern, MATCH) else {
                continue;
            };
            for path in paths {
                let path = match path {
                    Ok(path) => path,
                    Err(error) => {
                        found.incomplete = true;
                        troubles.report(error.path(), error.error());
                        continue;
                    }
                };
                match std::fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => {
                        if is_compressed(&path) {
                            report_compressed(&mut self.reported, path);
                            continue;
                        }
                        let id = FileId::of(settings.input, &metadata);
                        found.paths.insert(path.clone(), id);
                        if !found.files.contains_key(&id) || current(&id).as_ref() == Some(&path) {
                            found.files.insert(id, (path, metadata));
                        }
                    }
                    Ok(_) => {}
                    // Gone since the folder was read, or a dangling link.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        found.incomplete = true;
                        troubles.report(&path, &error);
                    }
                }
            }
        }
        found
    }

    /// The globs, for messages.
    pub(super) fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// The folders from which the globs' names fan out.
    pub(super) fn roots(&self) -> impl Iterator<Item = PathBuf> {
        self.patterns.iter().filter_map(|pattern| {
            let is_literal = |part: &Component<'_>| {
                !part.as_os_str().to_string_lossy().contains(['*', '?', '['])
            };
            let parent = Path::new(pattern).parent()?;
            Some(parent.components().take_while(is_literal).collect())
        })
    }
}

/// A file that left the globs by a rename, if it stayed in its folder.
pub(super) fn find_nearby(former_path: &Path, dev: u64, inode: u64) -> Option<PathBuf> {
    let folder = former_path.parent()?;
    std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            !is_compressed(path)
                && std::fs::symlink_metadata(path).is_ok_and(|metadata| {
                    metadata.is_file() && metadata.dev() == dev && metadata.ino() == inode
                })
        })
}

fn is_compressed(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

fn report_compressed(reported: &mut BTreeSet<PathBuf>, path: PathBuf) {
    if reported.contains(&path) {
        return;
    }
    info!(path = %path.display(), "compressed file is skipped: leave *.gz out of the paths, or unpack it to have it read");
    if reported.len() >= REPORTED_MAX {
        reported.pop_first();
    }
    reported.insert(path);
}
