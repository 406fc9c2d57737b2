//! Globs to files: what is there now, each file once whatever its names are.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::filesystem::Filesystems;
use super::identity::FileId;
use super::packed::Packing;
use super::trouble::Troubles;
use super::{Error, Settings};

/// How globs are meant: as a shell means them, so `*` neither crosses a folder nor finds hidden files.
const MATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Files that are looked at, at most, to find those that left the globs by a rename.
const LOOKED_AT_MAX: usize = 20_000;

/// The globs of one input.
#[derive(Debug)]
pub(super) struct Finder {
    /// Absolute.
    patterns: Vec<String>,
}

/// What one look at the file system gave.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<FileId, (PathBuf, Metadata)>,
    /// Every name that led to a file. As it is written: paths are compared part by part, which of a thousand files takes
    /// longer than asking the disk for them.
    pub(super) paths: BTreeMap<OsString, FileId>,
    /// Folders and names that could not be looked at: what is missing here may exist.
    pub(super) unreadable: BTreeSet<PathBuf>,
}

impl Found {
    pub(super) fn is_incomplete(&self) -> bool {
        !self.unreadable.is_empty()
    }
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
        Ok(Self { patterns })
    }

    /// Looks. `current` is the name a file is known by: where it has several, that one stays.
    pub(super) fn find(
        &self,
        settings: &Settings,
        current: impl Fn(&FileId) -> Option<PathBuf>,
        filesystems: &mut Filesystems,
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
                        troubles.report(error.path(), error.error());
                        found.unreadable.insert(error.path().to_owned());
                        continue;
                    }
                };
                match std::fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => {
                        let filesystem = filesystems.of(&path, metadata.dev());
                        let id = FileId::of(settings.input, &path, &metadata, filesystem);
                        found.paths.insert(path.clone().into_os_string(), id);
                        if !found.files.contains_key(&id) || current(&id).as_ref() == Some(&path) {
                            found.files.insert(id, (path, metadata));
                        }
                    }
                    Ok(_) => {}
                    // Gone since the folder was read, or a dangling link.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => {
                        troubles.report(&path, &error);
                        found.unreadable.insert(path);
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

/// Files that left the globs by a rename: those among `wanted` (device, inode) that these folders hold now.
pub(super) fn find_by_inode(
    folders: &BTreeSet<PathBuf>,
    wanted: &BTreeSet<(u64, u64)>,
) -> BTreeMap<(u64, u64), PathBuf> {
    let mut found = BTreeMap::new();
    let entries = folders.iter().filter_map(|folder| folder.read_dir().ok());
    for entry in entries.flatten().flatten().take(LOOKED_AT_MAX) {
        if found.len() == wanted.len() {
            break;
        }
        let path = entry.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let inode = (metadata.dev(), metadata.ino());
        if metadata.is_file() && wanted.contains(&inode) {
            found.insert(inode, path);
        }
    }
    found
}

/// The folders of files, and the folders in them: where logrotate puts what it rotates away (`olddir`). A folder of many
/// files is looked at once.
pub(super) fn folders_near<'a>(files: impl Iterator<Item = &'a Path>) -> BTreeSet<PathBuf> {
    let own: BTreeSet<_> = files.filter_map(Path::parent).collect();
    let mut folders = BTreeSet::new();
    for folder in own {
        let inner = folder.read_dir().into_iter().flatten().flatten();
        let inner = inner.take(LOOKED_AT_MAX).map(|entry| entry.path());
        folders.extend(inner.filter(|path| path.is_dir()));
        folders.insert(folder.to_owned());
    }
    folders
}

/// Compressed files near a file that may be its rotations: their names start as its own does, up to the first full stop.
pub(super) fn packed_near(path: &Path) -> Vec<PathBuf> {
    let stem = |path: &Path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        name.split('.').next().map(str::to_owned)
    };
    let Some(own) = stem(path) else {
        return Vec::new();
    };
    let entries = folders_near(std::iter::once(path))
        .into_iter()
        .filter_map(|folder| folder.read_dir().ok());
    let mut found: Vec<_> = entries
        .flatten()
        .flatten()
        .take(LOOKED_AT_MAX)
        .map(|entry| entry.path())
        .filter(|path| {
            Packing::of(path).is_some() && stem(path).is_some_and(|stem| stem.starts_with(&own))
        })
        .collect();
    found.sort();
    found
}
