//! A disk small enough to fill: a tmpfs, whose "no space left" is the kernel's own.
//!
//! The story is told by a second process in a mount namespace of its own: so the disk goes when the story does, however it
//! ends, and nobody but the story sees it. Root needs no more for that; others get a user namespace besides.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
pub(crate) struct SmallDisk {
    path: PathBuf,
    filler: Option<(Sender<()>, JoinHandle<()>)>,
}

impl SmallDisk {
    /// `size` as mount(8) writes it: `4m`.
    pub(crate) fn mount(path: PathBuf, size: &str) -> Self {
        fs::create_dir_all(&path).expect("a mount point");
        let options = format!("size={size},mode=700");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path));
        Self { path, filler: None }
    }

    /// Takes every free byte, and every byte that the agent gives back, until [`free`](Self::free).
    pub(crate) fn fill(&mut self) {
        let ballast = File::create(self.ballast()).expect("a file on the small disk");
        take_all(&ballast);
        let (stop, stopped) = channel();
        let filler = thread::spawn(move || {
            while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                take_all(&ballast);
            }
        });
        self.filler = Some((stop, filler));
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub(crate) fn free(&mut self) {
        self.stop_filling();
        fs::remove_file(self.ballast()).expect("the ballast");
    }

    fn stop_filling(&mut self) {
        if let Some((stop, filler)) = self.filler.take() {
            drop(stop);
            filler.join().expect("the filler");
        }
    }

    /// Makes the disk larger.
    pub(crate) fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        run(Command::new("mount").args(["-o", &options]).arg(&self.path));
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.stop_filling();
        // Lazily: the agent may be dropped after.
        Command::new("umount")
            .arg("-l")
            .arg(&self.path)
            .status()
            .ok();
    }
}

fn take_all(mut ballast: &File) {
    loop {
        match ballast.write_all(&[b'x'; 4096]) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return,
            Err(error) => panic!("the small disk fails: {error}"),
        }
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.status().expect("mount, of util-linux");
    assert!(status.success(), "{command:?}: {status}");
}
