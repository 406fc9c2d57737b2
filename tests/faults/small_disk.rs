//! A disk small enough to fill: a tmpfs, whose "no space left" is the kernel's own.
//!
//! The story is told by a second process in a mount namespace of its own: so the disk goes when the story does, however it
//! ends, and nobody but the story sees it. Root needs no more for that; others get a user namespace besides.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in the process that tells the story.
const INSIDE: &str = "MODELBEAT_TEST_OWN_MOUNTS";

/// Tells a story where disks may be mounted. `story` is the test's name as `cargo test` prints it.
#[track_caller]
pub(crate) fn where_disks_may_be_mounted(story: &str, tell: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return tell();
    }
    let namespaces = if rustix::process::geteuid().is_root() {
        "--mount"
    } else {
        "--map-root-user"
    };
    let status = Command::new("unshare")
        .args(["--mount", namespaces])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", story, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare, of util-linux: a story needs a small disk of its own");
    assert!(status.success(), "{story}: see above");
}

/// A mounted disk; unmounted when dropped. Make it before the agent that uses it.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `size` as mount(8) writes it: `4m`.
    pub(crate) fn mount(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).expect("a mount point");
        let options = format!("size={size},mode=700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path));
        Self(path)
    }

    /// Takes every free byte.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("a file on the small disk");
        loop {
            match ballast.write_all(&[b'x'; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the small disk fails: {error}"),
            }
        }
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).expect("the ballast");
    }

    /// Makes the disk larger.
    pub(crate) fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.0));
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        // Lazily: the agent may be dropped after.
        Command::new("umount").arg("-l").arg(path).status().ok();
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.status().expect("mount, of util-linux");
    assert!(status.success(), "{command:?}: {status}");
}
