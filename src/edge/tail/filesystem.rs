//! What kind of file system a file is on: may its notifications and its inodes be trusted?

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Devices that are remembered; beyond, they are asked again.
const DEVICES_MAX: usize = 1_024;

/// As the kernel's `statfs` names them, in its low 32 bits: (magic, inodes are reliable).
///
/// NFS, Ceph, Lustre, AFS and the cluster file systems hand out the server's own file numbers. CIFS and SMB without
/// `serverino`, 9p and FUSE may make numbers up, and make up others after a remount.
const NETWORK: [(u32, bool); 16] = [
    (0x0000_6969, true),  // NFS
    (0x00C3_6400, true),  // Ceph
    (0x0BD0_0BD0, true),  // Lustre
    (0x5346_414F, true),  // AFS
    (0x6B41_4653, true),  // kAFS
    (0x7375_7245, true),  // Coda
    (0x0116_1970, true),  // GFS2
    (0x7461_636F, true),  // OCFS2
    (0x4750_4653, true),  // GPFS
    (0x1983_0326, true),  // BeeGFS
    (0xFF53_4D42, false), // CIFS
    (0xFE53_4D42, false), // SMB 2 and 3
    (0x0000_517B, false), // SMB
    (0x0102_1997, false), // 9p
    (0x6573_5546, false), // FUSE
    (0x786F_4256, false), // VirtualBox's shared folders
];

/// What a file system can be relied on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filesystem {
    /// Others may write to it without the kernel here knowing.
    pub(super) is_network: bool,
    /// An inode's number stays the same, and is one file's only.
    pub(super) has_inodes: bool,
}

/// A disk of this machine.
pub(super) const LOCAL: Filesystem = Filesystem {
    is_network: false,
    has_inodes: true,
};

/// The file systems met so far, by device.
#[derive(Clone, Debug, Default)]
pub(super) struct Filesystems(BTreeMap<u64, Filesystem>);

impl Filesystems {
    /// Of a file or folder at `path`, on device `dev`. What cannot be asked counts as local.
    pub(super) fn of(&mut self, path: &Path, dev: u64) -> Filesystem {
        if let Some(known) = self.0.get(&dev) {
            return *known;
        }
        let Ok(found) = rustix::fs::statfs(path) else {
            return LOCAL;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "magic numbers have 32 bits; some kernels extend their sign"
        )]
        let filesystem = of_magic(found.f_type as u32);
        if self.0.len() >= DEVICES_MAX {
            self.0.clear();
        }
        self.0.insert(dev, filesystem);
        filesystem
    }

    /// Of a folder, which need not be there.
    pub(super) fn of_folder(&mut self, folder: &Path) -> Filesystem {
        let metadata = folder.metadata();
        metadata.map_or(LOCAL, |metadata| self.of(folder, metadata.dev()))
    }

    /// Whatever the kernel would say.
    #[cfg(test)]
    pub(super) fn assume(&mut self, dev: u64, filesystem: Filesystem) {
        self.0.insert(dev, filesystem);
    }
}

fn of_magic(magic: u32) -> Filesystem {
    let known = NETWORK.iter().find(|(known, _)| *known == magic);
    known.map_or(LOCAL, |(_, has_inodes)| Filesystem {
        is_network: true,
        has_inodes: *has_inodes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_their_magic() {
        assert!(of_magic(0x6969).is_network && of_magic(0x6969).has_inodes);
        assert!(of_magic(0xFF53_4D42).is_network && !of_magic(0xFF53_4D42).has_inodes);
        assert_eq!(of_magic(0xEF53), LOCAL, "ext4");
    }

    #[test]
    fn the_kernel_is_asked_once_a_device() {
        // /proc is on every Linux, and is no network.
        let path = Path::new("/proc");
        let dev = path.metadata().unwrap().dev();
        let mut filesystems = Filesystems::default();
        assert_eq!(filesystems.of(path, dev), LOCAL);
        assert_eq!(filesystems.of(Path::new("/not there"), dev), LOCAL);
        assert_eq!(filesystems.0.len(), 1);
    }
}
